//! Regular expressions as users give them, with errors in the words they know.

use regex::{Regex, RegexBuilder};

/// Most memory that a compiled pattern may take, bytes.
const PATTERN_SIZE: usize = 1 << 20;

/// Most repetitions that a count may ask for.
const MOST_REPEATS: u32 = 1000;

/// Compiles an expression.
///
/// # Errors
/// What is wrong with it.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    let found = mistake(pattern);
    if let Err(Mistake::Grave(reason)) = found {
        return Err(format!("error parsing regexp: {reason}"));
    }
    RegexBuilder::new(pattern).size_limit(PATTERN_SIZE).build().map_err(|error| match (error, found) {
        (regex::Error::Syntax(_), Err(Mistake::Open(reason) | Mistake::Grave(reason))) => {
            format!("error parsing regexp: {reason}")
        }
        (regex::Error::Syntax(_), Ok(())) => format!("error parsing regexp: invalid expression: `{pattern}`"),
        (other, _) => format!("error parsing regexp: {other}"),
    })
}

/// What a look at an expression shows.
enum Mistake {
    /// An error in users' language, whatever ours thinks of it.
    Grave(String),
    /// Where our language finds an error, it is probably this one.
    Open(String),
}

/// Finds mistakes with words of their own.
fn mistake(pattern: &str) -> Result<(), Mistake> {
    let grave = |text: String| Err(Mistake::Grave(text));
    let mut groups = 0;
    let mut class: Option<usize> = None;
    // What a repetition would apply to; the begin is as good as after a bar.
    let mut before = '|';
    // The last repetition operator, where it ends, and whether it may still take a `?`.
    let mut repeated: Option<(usize, usize, bool)> = None;
    let mut chars = pattern.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if class.is_none()
            && let Some(len) = repetition(&pattern[at..])
            && !(c == '?' && before == '(')
        {
            let operator = &pattern[at..at + len];
            if matches!(before, '(' | '|') {
                return grave(format!("missing argument to repetition operator: `{operator}`"));
            }
            if too_often(operator) {
                return grave(format!("invalid repeat count: `{operator}`"));
            }
            let lazy = match repeated {
                Some((_, end, may_be_lazy)) if end == at && c == '?' && may_be_lazy => false,
                Some((start, end, _)) if end == at => {
                    return grave(format!(
                        "invalid nested repetition operator: `{}`",
                        &pattern[start..at + len]
                    ));
                }
                _ => true,
            };
            let start = repeated.filter(|r| r.1 == at).map_or(at, |r| r.0);
            repeated = Some((start, at + len, lazy));
            while chars.peek().is_some_and(|(next, _)| *next < at + len) {
                chars.next();
            }
            before = 'x';
            continue;
        }
        before = c;
        match (c, class) {
            ('\\', _) => match chars.next() {
                None => return grave("trailing backslash at end of expression: ``".to_owned()),
                Some((_, '1'..='9')) => {
                    return grave(format!("invalid escape sequence: `{}`", &pattern[at..at + 2]));
                }
                Some(_) => before = 'x',
            },
            (']', Some(start)) if at > start + 1 => class = None,
            (_, Some(_)) => {}
            ('[', None) => class = Some(at),
            ('(', None) => {
                groups += 1;
                if let Some(length) = foreign_group(&pattern[at..]) {
                    let begin = &pattern[at..at + length];
                    return grave(format!("invalid or unsupported Perl syntax: `{begin}`"));
                }
            }
            (')', None) if groups == 0 => return grave(format!("unexpected ): `{pattern}`")),
            (')', None) => groups -= 1,
            _ => {}
        }
    }
    match class {
        Some(start) => Err(Mistake::Open(format!("missing closing ]: `{}`", &pattern[start..]))),
        None if groups > 0 => Err(Mistake::Open(format!("missing closing ): `{pattern}`"))),
        None => Ok(()),
    }
}

/// Length of the repetition operator that a text begins with.
fn repetition(text: &str) -> Option<usize> {
    match text.as_bytes().first()? {
        b'*' | b'+' | b'?' => Some(1),
        b'{' => {
            let end = text.find('}')?;
            let (least, most) = text[1..end].split_once(',').unwrap_or((&text[1..end], ""));
            let number = |n: &str| n.bytes().all(|b| b.is_ascii_digit());
            (!least.is_empty() && number(least) && number(most)).then_some(end + 1)
        }
        _ => None,
    }
}

fn too_often(operator: &str) -> bool {
    let counts: Vec<u32> = operator
        .trim_matches(['{', '}'])
        .split(',')
        .filter(|n| !n.is_empty())
        .map(|n| n.parse().unwrap_or(if operator.starts_with('{') { u32::MAX } else { 0 }))
        .collect();
    counts.iter().any(|n| *n > MOST_REPEATS) || matches!(counts[..], [least, most] if least > most)
}

/// Length of the begin of a group of other languages: what looks around, and flags nobody knows.
fn foreign_group(text: &str) -> Option<usize> {
    let inner = text.strip_prefix("(?")?;
    if inner.starts_with("P<") {
        return None;
    }
    let (at, c) = inner.char_indices().find(|(_, c)| !matches!(c, 'i' | 'm' | 's' | 'U' | '-'))?;
    (!matches!(c, ':' | ')')).then_some(2 + at + c.len_utf8())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_what_is_open() {
        let error = |pattern| compile(pattern).unwrap_err();
        assert_eq!(error("["), "error parsing regexp: missing closing ]: `[`");
        assert_eq!(error("a(b"), "error parsing regexp: missing closing ): `a(b`");
        assert_eq!(error("a)"), "error parsing regexp: unexpected ): `a)`");
        assert_eq!(error("*a"), "error parsing regexp: missing argument to repetition operator: `*`");
        assert_eq!(error("a|+"), "error parsing regexp: missing argument to repetition operator: `+`");
        assert_eq!(error("(?i)a("), "error parsing regexp: missing closing ): `(?i)a(`");
        for good in ["(al|le).*[)]", "a*?b+?c??", "(?i:a)(?P<n>b)(?s)", r"\d\*\+[*+?]{2,3}$", "x{2}", ""] {
            assert!(compile(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn what_other_languages_have_is_refused() {
        let error = |pattern| compile(pattern).unwrap_err();
        assert_eq!(error("a**"), "error parsing regexp: invalid nested repetition operator: `**`");
        assert_eq!(error("a*?+"), "error parsing regexp: invalid nested repetition operator: `*?+`");
        assert_eq!(error("a{1001}"), "error parsing regexp: invalid repeat count: `{1001}`");
        assert_eq!(error("a{2,1}"), "error parsing regexp: invalid repeat count: `{2,1}`");
        assert_eq!(error("(?=a)"), "error parsing regexp: invalid or unsupported Perl syntax: `(?=`");
        assert_eq!(error("(?<!a)"), "error parsing regexp: invalid or unsupported Perl syntax: `(?<`");
        assert_eq!(error("(?z)"), "error parsing regexp: invalid or unsupported Perl syntax: `(?z`");
        assert_eq!(error(r"(a)\1"), r"error parsing regexp: invalid escape sequence: `\1`");
        assert_eq!(error("a\\"), "error parsing regexp: trailing backslash at end of expression: ``");
        assert_eq!(error("(?i"), "error parsing regexp: missing closing ): `(?i`");
    }
}
