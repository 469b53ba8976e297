//! Words, strings and signs.

use crate::error::Reason;

/// A token and where it begins, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub kind: Kind,
    pub at: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A bare word: a selector, a keyword, or a value without quotes.
    Word(String),
    /// A string in quotes.
    Text(String),
    Equal,
    NotEqual,
    Open,
    Close,
    OpenIndex,
    CloseIndex,
    End,
}

impl Kind {
    /// What it is called in errors.
    pub fn describe(&self) -> String {
        match self {
            Self::Word(word) => format!("{word:?}"),
            Self::Text(text) => format!("the string {text:?}"),
            Self::Equal => "\"==\"".to_owned(),
            Self::NotEqual => "\"!=\"".to_owned(),
            Self::Open => "\"(\"".to_owned(),
            Self::Close => "\")\"".to_owned(),
            Self::OpenIndex => "\"[\"".to_owned(),
            Self::CloseIndex => "\"]\"".to_owned(),
            Self::End => "the end".to_owned(),
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '/' | '.' | '-' | ':')
}

/// Takes an expression apart.
pub(crate) fn tokens(text: &str) -> Result<Vec<Token>, Reason> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let (kind, len) = match c {
            c if c.is_whitespace() => {
                at += c.len_utf8();
                continue;
            }
            '(' => (Kind::Open, 1),
            ')' => (Kind::Close, 1),
            '[' => (Kind::OpenIndex, 1),
            ']' => (Kind::CloseIndex, 1),
            '=' if rest.starts_with("==") => (Kind::Equal, 2),
            '!' if rest.starts_with("!=") => (Kind::NotEqual, 2),
            '"' => quoted(rest).ok_or(Reason::Unclosed { at })?,
            '`' => {
                let len = rest[1..].find('`').ok_or(Reason::Unclosed { at })?;
                (Kind::Text(rest[1..=len].to_owned()), len + 2)
            }
            c if is_word(c) => {
                let len = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                (Kind::Word(rest[..len].to_owned()), len)
            }
            c => {
                return Err(Reason::Unexpected {
                    found: format!("{c:?}"),
                    at,
                    expected: "a selector, a value or an operator",
                });
            }
        };
        tokens.push(Token { kind, at });
        at += len;
    }
    tokens.push(Token { kind: Kind::End, at: text.len() });
    Ok(tokens)
}

/// A string in double quotes with backslash escapes, and its length with the quotes.
fn quoted(rest: &str) -> Option<(Kind, usize)> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((Kind::Text(text), at + 1)),
            '\\' => match chars.next()?.1 {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'r' => text.push('\r'),
                c @ ('"' | '\\') => text.push(c),
                // Regular expressions are full of other escapes: they stay as they are.
                c => text.extend(['\\', c]),
            },
            c => text.push(c),
        }
    }
    None
}
