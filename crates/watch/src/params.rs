//! The parameters of a watch, taken one by one so that what is left over is known to be wrong.

use serde_json::{Map, Value};

use crate::PlanError;

pub(crate) struct Params(pub Map<String, Value>);

impl Params {
    pub fn text(&mut self, name: &'static str) -> Result<Option<String>, PlanError> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(PlanError::Type(name, "a string")),
        }
    }

    /// A boolean, or its text.
    pub fn flag(&mut self, name: &'static str) -> Result<Option<bool>, PlanError> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(Value::String(text)) => match text.as_str() {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Some(true)),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Some(false)),
                _ => Err(PlanError::Type(name, "a boolean")),
            },
            Some(_) => Err(PlanError::Type(name, "a boolean")),
        }
    }

    /// A string or a list of strings.
    pub fn list(&mut self, name: &'static str) -> Result<Vec<String>, PlanError> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text]),
            Some(Value::Array(items)) => items
                .into_iter()
                .map(|item| match item {
                    Value::String(text) => Ok(text),
                    _ => Err(PlanError::Type(name, "a list of strings")),
                })
                .collect(),
            Some(_) => Err(PlanError::Type(name, "a list of strings")),
        }
    }
}
