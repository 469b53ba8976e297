//! What is wrong with an expression.

use std::fmt;

/// Why an expression is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Failed to create boolean expression evaluator: {0}")]
pub struct FilterError(pub(crate) Reason);

/// The reason alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Selector(String),
    Operator { operator: &'static str, selector: String },
    Number { value: String, selector: String },
    Truth { value: String, selector: String },
    Pattern { pattern: String, reason: String },
    Unexpected { found: String, at: usize, expected: &'static str },
    Unclosed { at: usize },
    TooDeep,
    TooLong,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Selector(selector) => write!(f, "Selector {selector:?} is not valid"),
            Self::Operator { operator, selector } => {
                write!(f, "Invalid match operator {operator:?} for selector {selector:?}")
            }
            Self::Number { value, selector } => {
                write!(f, "Failed to coerce value {value:?} for selector {selector:?}: it is no number")
            }
            Self::Truth { value, selector } => {
                write!(f, "Failed to coerce value {value:?} for selector {selector:?}: it is no truth value")
            }
            Self::Pattern { pattern, reason } => {
                write!(f, "Failed to compile regular expression {pattern:?}: {reason}")
            }
            Self::Unexpected { found, at, expected } => {
                write!(f, "1:{} ({at}): found {found} where {expected} was expected", at + 1)
            }
            Self::Unclosed { at } => write!(f, "1:{} ({at}): the string that begins here has no end", at + 1),
            Self::TooDeep => f.write_str("the expression is nested too deeply"),
            Self::TooLong => f.write_str("the expression is too long"),
        }
    }
}

impl From<Reason> for FilterError {
    fn from(reason: Reason) -> Self {
        Self(reason)
    }
}
