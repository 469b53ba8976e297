//! Numbers and truth values in parameters, with the errors that clients of the API know.

use std::num::IntErrorKind;

fn told(function: &str, text: &str, out_of_range: bool) -> String {
    let reason = if out_of_range { "value out of range" } else { "invalid syntax" };
    format!("strconv.{function}: parsing {text:?}: {reason}")
}

fn is_overflow(kind: &IntErrorKind) -> bool {
    matches!(kind, IntErrorKind::PosOverflow | IntErrorKind::NegOverflow)
}

/// A number of 64 bits; it has no sign, not even a plus.
///
/// # Errors
/// What is wrong with it.
pub fn unsigned(text: &str) -> Result<u64, String> {
    if text.starts_with('+') {
        return Err(told("ParseUint", text, false));
    }
    text.parse::<u64>().map_err(|error| told("ParseUint", text, is_overflow(error.kind())))
}

/// A number that may have a sign.
///
/// # Errors
/// What is wrong with it.
pub fn signed(text: &str) -> Result<i64, String> {
    text.parse::<i64>().map_err(|error| told("Atoi", text, is_overflow(error.kind())))
}

/// A truth value.
///
/// # Errors
/// What is wrong with it.
pub fn truth(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(told("ParseBool", text, false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_what_is_wrong_with_them() {
        assert_eq!(unsigned("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(signed("-3"), Ok(-3));
        assert_eq!(truth("T"), Ok(true));
        for (text, reason) in [
            ("", "invalid syntax"),
            ("abc", "invalid syntax"),
            ("-1", "invalid syntax"),
            ("+1", "invalid syntax"),
            ("18446744073709551616", "value out of range"),
        ] {
            let error = unsigned(text).unwrap_err();
            assert_eq!(error, format!("strconv.ParseUint: parsing {text:?}: {reason}"));
        }
        assert_eq!(signed("x").unwrap_err(), "strconv.Atoi: parsing \"x\": invalid syntax");
        assert_eq!(truth("maybe").unwrap_err(), "strconv.ParseBool: parsing \"maybe\": invalid syntax");
    }
}
