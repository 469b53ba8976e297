//! Request paths: percent-decoding and cleaning.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// Bytes that a path in a Location header may not hold as they are.
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}');

/// The path as text; `None` when it is no UTF-8 or an escape is malformed.
pub fn decode(raw: &str) -> Option<String> {
    if !raw.contains('%') {
        return Some(raw.to_owned());
    }
    let escapes_sound = raw
        .split('%')
        .skip(1)
        .all(|after| after.as_bytes().get(..2).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)));
    if !escapes_sound {
        return None;
    }
    percent_decode_str(raw).decode_utf8().ok().map(Cow::into_owned)
}

/// Whether every character shows: none that controls, blanks only as blanks, nothing that is for private
/// use or without a shape. What does not show can make one key look like another one, or more than one.
pub fn is_printable(path: &str) -> bool {
    path.bytes().all(|byte| (b' '..0x7f).contains(&byte)) || path.chars().all(shows)
}

fn shows(c: char) -> bool {
    let hidden = c.is_control() || (c.is_whitespace() && c != ' ');
    let shapeless = matches!(c,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..);
    !hidden && !shapeless
}

/// The path without empty, `.` and `..` elements, if that makes a difference.
pub fn clean(path: &str) -> Option<String> {
    let dirty = path.contains("//") || path.split('/').any(|part| part == "." || part == "..");
    if !dirty && path.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let mut clean = format!("/{}", parts.join("/"));
    if path.ends_with('/') && clean.len() > 1 {
        clean.push('/');
    }
    (clean != path).then_some(clean)
}

/// The path as a Location header holds it.
pub fn encode(path: &str) -> String {
    utf8_percent_encode(path, PATH).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_show_is_found() {
        for shown in ["/v1/kv/a b", "/v1/kv/\u{fc}", "/v1/kv/e\u{301}", "/v1/kv/\u{65e5}"] {
            assert!(is_printable(shown), "{shown:?}");
        }
        for hidden in ["/v1/kv/\0", "/v1/kv/a\nb", "/v1/kv/\u{7f}", "/\u{200b}", "/\u{a0}", "/\u{feff}"] {
            assert!(!is_printable(hidden), "{hidden:?}");
        }
    }

    #[test]
    fn cleaning() {
        assert_eq!(clean("/v1/catalog/nodes"), None);
        assert_eq!(clean("/v1/kv/a/"), None);
        assert_eq!(clean("/"), None);
        assert_eq!(clean("/v1//catalog/nodes").as_deref(), Some("/v1/catalog/nodes"));
        assert_eq!(clean("/v1/./kv/../kv/x//").as_deref(), Some("/v1/kv/x/"));
        assert_eq!(clean("/../..").as_deref(), Some("/"));
        assert_eq!(clean("/v1/kv/..a"), None);
    }

    #[test]
    fn decoding() {
        assert_eq!(decode("/v1/kv/gr%C3%BC%C3%9Fe/%E2%82%AC").as_deref(), Some("/v1/kv/grüße/€"));
        assert_eq!(decode("/v1/kv/plus+sign").as_deref(), Some("/v1/kv/plus+sign"));
        assert_eq!(decode("/v1/kv/percent%25").as_deref(), Some("/v1/kv/percent%"));
        for bad in ["/v1/kv/%", "/v1/kv/%4", "/v1/kv/%zz", "/v1/kv/%ff"] {
            assert_eq!(decode(bad), None, "{bad} was taken");
        }
    }
}
