//! Files that users name, and errors about them as users know them: `open x: no such file or directory`.

use std::io;
use std::path::Path;

/// An error about a file.
pub fn error(doing: &str, path: impl AsRef<Path>, error: &io::Error) -> String {
    let text = error.to_string();
    // The system's text stands before its number.
    let why = text.split(" (os error").next().unwrap_or(&text);
    let mut why = why.to_owned();
    if let Some(first) = why.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    format!("{doing} {}: {why}", path.as_ref().display())
}

/// A file's content.
///
/// # Errors
/// `open x: ...`.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<u8>, String> {
    std::fs::read(&path).map_err(|e| error("open", &path, &e))
}

/// The content of a file of text.
///
/// # Errors
/// `open x: ...`.
pub fn read_text(path: impl AsRef<Path>) -> Result<String, String> {
    std::fs::read_to_string(&path).map_err(|e| error("open", &path, &e))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_missing_file_is_named() {
        assert_eq!(super::read("/no/such").unwrap_err(), "open /no/such: no such file or directory");
    }
}
