//! Writing to the terminal. A reader that went away (`| head`) is no reason to fail.

use std::fmt::Display;
use std::io::Write;

/// One line (or several) on standard output.
pub fn line(text: impl Display) {
    let mut out = std::io::stdout().lock();
    let _reader_gone = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Bytes on standard output, as they are.
pub fn raw(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    let _reader_gone = out.write_all(bytes).and_then(|()| out.flush());
}

/// One line on standard error.
pub fn error(text: impl Display) {
    let mut err = std::io::stderr().lock();
    let _reader_gone = writeln!(err, "{text}");
}
