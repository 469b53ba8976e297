//! Names compare without regard to case.

use std::borrow::Cow;
use std::sync::Arc;

/// A name as the key of a table: in lower case.
pub(crate) type Name = Arc<str>;

/// The lower-case form, without a copy when it is that already.
pub(crate) fn lower(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase()) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.to_lowercase())
    }
}

/// The key of a name.
pub(crate) fn name(text: &str) -> Name {
    Arc::from(&*lower(text))
}

/// Whether two names are the same.
pub(crate) fn same(a: &str, b: &str) -> bool {
    if a.is_ascii() && b.is_ascii() { a.eq_ignore_ascii_case(b) } else { lower(a) == lower(b) }
}

/// Whether the text has the form of an id: 8-4-4-4-12 hexadecimal digits.
pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}
