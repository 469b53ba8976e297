//! JSON texts, read into the same tree.

use crate::{Entry, Error, MAX_DEPTH, Node, Object, Pos, Value};

const NOWHERE: Pos = Pos { line: 0, column: 0 };

pub(crate) fn parse(text: &str) -> Result<Object, Error> {
    let text = text.trim_start_matches('\u{feff}');
    let parsed: serde_json::Value = serde_json::from_str(text).map_err(|e| Error {
        line: e.line() as u32,
        column: e.column() as u32,
        message: e.to_string(),
    })?;
    match convert(parsed, 0)? {
        Value::Object(object) => Ok(object),
        other => {
            Err(Error { line: 1, column: 1, message: format!("expected an object, got {}", other.kind()) })
        }
    }
}

fn convert(value: serde_json::Value, depth: usize) -> Result<Value, Error> {
    if depth > MAX_DEPTH {
        return Err(Error { line: 1, column: 1, message: format!("nested deeper than {MAX_DEPTH}") });
    }
    Ok(match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(b) => Value::Bool(b),
        serde_json::Value::Number(n) => match n.as_i64() {
            Some(i) => Value::Int(i),
            None => Value::Float(n.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(s) => Value::String(s),
        serde_json::Value::Array(items) => {
            let mut list = Vec::with_capacity(items.len());
            for item in items {
                list.push(Node { value: convert(item, depth + 1)?, pos: NOWHERE });
            }
            Value::List(list)
        }
        serde_json::Value::Object(map) => {
            let mut entries = Vec::with_capacity(map.len());
            for (key, item) in map {
                entries.push(Entry {
                    key,
                    pos: NOWHERE,
                    value: Node { value: convert(item, depth + 1)?, pos: NOWHERE },
                    block: false,
                });
            }
            Value::Object(Object::from_entries(entries))
        }
    })
}
