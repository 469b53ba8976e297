//! Regular expressions as users give them, with errors in the words they know.

use regex::Regex;

/// Compiles an expression.
///
/// # Errors
/// What is wrong with it.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern).map_err(|error| match error {
        regex::Error::Syntax(_) => format!("error parsing regexp: {}", reason(pattern)),
        other => format!("error parsing regexp: {other}"),
    })
}

/// Finds what is left open; other mistakes are only named as such.
fn reason(pattern: &str) -> String {
    let mut groups = 0;
    let mut class: Option<usize> = None;
    let mut chars = pattern.char_indices();
    while let Some((at, c)) = chars.next() {
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
        assert!(compile("(al|le).*[)]").is_ok());
    }
}
