//! Regular expressions as users give them, with errors in the words they know.

use regex::{Regex, RegexBuilder};

/// Most memory that a compiled pattern may take, bytes.
const PATTERN_SIZE: usize = 1 << 20;

/// Compiles an expression.
///
/// # Errors
/// What is wrong with it.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern).size_limit(PATTERN_SIZE).build().map_err(|error| match error {
        regex::Error::Syntax(_) => format!("error parsing regexp: {}", reason(pattern)),
        other => format!("error parsing regexp: {other}"),
    })
}

/// Finds what is left open; other mistakes are only named as such.
fn reason(pattern: &str) -> String {
    let mut groups = 0;
    let mut class: Option<usize> = None;
    let mut before = '^';
    let mut chars = pattern.char_indices();
    while let Some((at, c)) = chars.next() {
        let repeats = matches!(c, '*' | '+') || (c == '?' && before != '(');
        if class.is_none() && repeats && matches!(before, '(' | '|' | '^') {
            return format!("missing argument to repetition operator: `{c}`");
        }
        before = c;
        match (c, class) {
            ('\\', _) if chars.next().is_none() => {
                return "trailing backslash at end of expression: ``".to_owned();
            }
            ('\\', _) => {}
            (']', Some(start)) if at > start + 1 => class = None,
            (_, Some(_)) => {}
            ('[', None) => class = Some(at),
            ('(', None) => groups += 1,
            (')', None) if groups == 0 => return format!("unexpected ): `{pattern}`"),
            (')', None) => groups -= 1,
            _ => {}
        }
    }
    match class {
        Some(start) => format!("missing closing ]: `{}`", &pattern[start..]),
        None if groups > 0 => format!("missing closing ): `{pattern}`"),
        None => format!("invalid expression: `{pattern}`"),
    }
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
        assert!(compile("(al|le).*[)]").is_ok());
    }
}
