//! Command-line flags in the style users of the reference know: `-name=x`, `-name x`, `--name x`,
//! `-switch`, `-switch=false`; flags come before arguments, the first argument or `--` ends them.

use std::collections::BTreeMap;
use std::time::Duration;

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// Any text; may be given more than once.
    List,
    /// Nothing, or `=true` / `=false`.
    Switch,
    /// A whole number.
    Int,
    /// A whole number that is not negative.
    Uint,
    /// A duration such as `10s`.
    Duration,
}

/// One flag.
#[derive(Debug)]
pub struct Flag {
    /// Its name without dashes.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// The value if it is not given.
    pub default: &'static str,
    /// For the help text.
    pub help: &'static str,
}

impl Flag {
    /// Declares a flag without a default.
    pub const fn new(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { name, kind, default: "", help }
    }

    /// Sets its default.
    pub const fn or(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    fn check(&self, value: &str) -> Result<(), FlagError> {
        let fits = match self.kind {
            Kind::Text | Kind::List => true,
            Kind::Switch => boolean(value).is_some(),
            Kind::Int => value.parse::<i64>().is_ok(),
            Kind::Uint => value.parse::<u64>().is_ok(),
            Kind::Duration => model::duration::parse_go(value).is_ok(),
        };
        match (fits, self.kind) {
            (true, _) => Ok(()),
            (false, Kind::Switch) => Err(FlagError::NotBoolean { value: value.into(), name: self.name }),
            (false, _) => Err(FlagError::Invalid { value: value.into(), name: self.name }),
        }
    }
}

/// Why arguments were not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// `-h` or `-help`: not really an error.
    #[error("help requested")]
    Help,
    /// No such flag.
    #[error("flag provided but not defined: -{0}")]
    Undefined(String),
    /// A flag without its value at the end.
    #[error("flag needs an argument: -{0}")]
    NoValue(String),
    /// A value of another kind.
    #[error("invalid value {value:?} for flag -{name}: parse error")]
    Invalid {
        /// As given.
        value: String,
        /// Of which flag.
        name: &'static str,
    },
    /// A switch set to something else than true or false.
    #[error("invalid boolean value {value:?} for -{name}: parse error")]
    NotBoolean {
        /// As given.
        value: String,
        /// Of which flag.
        name: &'static str,
    },
    /// `---x`, `-=x` and the like.
    #[error("bad flag syntax: {0}")]
    Syntax(String),
}

/// What was given.
#[derive(Debug, Default)]
pub struct Parsed {
    given: BTreeMap<&'static str, Vec<String>>,
    defaults: BTreeMap<&'static str, &'static str>,
    /// Every flag given, in order.
    pub ordered: Vec<(&'static str, String)>,
    /// What came after the flags.
    pub args: Vec<String>,
}

/// Reads arguments against tables of flags.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse(tables: &[&'static [Flag]], args: &[String]) -> Result<Parsed, FlagError> {
    let flags = || tables.iter().flat_map(|table| table.iter());
    let mut parsed =
        Parsed { defaults: flags().map(|flag| (flag.name, flag.default)).collect(), ..Parsed::default() };
    let mut rest = args.iter();
    while let Some(arg) = rest.as_slice().first() {
        if arg == "--" {
            rest.next();
            break;
        }
        let Some(body) = arg.strip_prefix('-').filter(|body| !body.is_empty()) else {
            break;
        };
        rest.next();
        let body = body.strip_prefix('-').unwrap_or(body);
        if body.starts_with(['-', '=']) {
            return Err(FlagError::Syntax(arg.clone()));
        }
        let (name, inline) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (body, None),
        };
        let Some(flag) = flags().find(|flag| flag.name == name) else {
            return Err(match name {
                "h" | "help" => FlagError::Help,
                _ => FlagError::Undefined(name.to_owned()),
            });
        };
        let value = match (inline, flag.kind) {
            (Some(value), _) => value,
            (None, Kind::Switch) => "true".to_owned(),
            (None, _) => rest.next().cloned().ok_or_else(|| FlagError::NoValue(name.to_owned()))?,
        };
        flag.check(&value)?;
        parsed.ordered.push((flag.name, value.clone()));
        parsed.given.entry(flag.name).or_default().push(value);
    }
    parsed.args = rest.cloned().collect();
    Ok(parsed)
}

impl Parsed {
    /// Whether it was given.
    pub fn is_set(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// The last value given, if any.
    pub fn given(&self, name: &str) -> Option<&str> {
        self.given.get(name).and_then(|values| values.last()).map(String::as_str)
    }

    /// The value, or the default.
    pub fn text(&self, name: &str) -> &str {
        self.given(name).unwrap_or_else(|| self.defaults.get(name).copied().unwrap_or(""))
    }

    /// All values given.
    pub fn list(&self, name: &str) -> &[String] {
        self.given.get(name).map_or(&[], Vec::as_slice)
    }

    /// A switch.
    pub fn on(&self, name: &str) -> bool {
        boolean(self.text(name)).unwrap_or(false)
    }

    /// A number; 0 without a default.
    pub fn int(&self, name: &str) -> i64 {
        self.text(name).parse().unwrap_or(0)
    }

    /// A number; 0 without a default.
    pub fn uint(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or(0)
    }

    /// A duration; zero without a default, or if negative.
    pub fn duration(&self, name: &str) -> Duration {
        model::duration::parse_go(self.text(name)).map_or(Duration::ZERO, |d| d.to_std())
    }
}

/// The words for true and false.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Flag] = &[
        Flag::new("name", Kind::Text, "").or("x"),
        Flag::new("n", Kind::Int, ""),
        Flag::new("tag", Kind::List, ""),
        Flag::new("wan", Kind::Switch, ""),
        Flag::new("wait", Kind::Duration, "").or("2s"),
    ];

    fn parse(args: &[&str]) -> Result<Parsed, FlagError> {
        let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
        super::parse(&[TABLE], &args)
    }

    #[test]
    fn every_way_to_write_a_flag() {
        let p = parse(&["-name=a=b", "--n", "-5", "-tag", "a", "-tag=", "-wan", "x", "-n=7"]).unwrap();
        assert_eq!((p.text("name"), p.int("n"), p.on("wan")), ("a=b", -5, true));
        assert_eq!(p.list("tag"), ["a", ""]);
        assert_eq!(p.args, ["x", "-n=7"]);
        assert!(!parse(&["-wan=false"]).unwrap().on("wan"));
        assert_eq!(parse(&["--", "-n"]).unwrap().args, ["-n"]);
        assert_eq!(parse(&["-", "-n"]).unwrap().args, ["-", "-n"]);
        let p = parse(&[]).unwrap();
        assert_eq!((p.text("name"), p.duration("wait")), ("x", Duration::from_secs(2)));
        assert!(!p.is_set("name"));
    }

    #[test]
    fn mistakes_are_worded_as_users_know_them() {
        let error = |args: &[&str]| parse(args).unwrap_err().to_string();
        assert_eq!(error(&["-nonsense"]), "flag provided but not defined: -nonsense");
        assert_eq!(error(&["-name"]), "flag needs an argument: -name");
        assert_eq!(error(&["-n=x"]), "invalid value \"x\" for flag -n: parse error");
        assert_eq!(error(&["-wan=x"]), "invalid boolean value \"x\" for -wan: parse error");
        assert_eq!(error(&["---n"]), "bad flag syntax: ---n");
        assert_eq!(parse(&["--help"]).unwrap_err(), FlagError::Help);
    }
}
