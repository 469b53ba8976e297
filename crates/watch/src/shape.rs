//! The form in which handlers get the data.
//!
//! Handlers of the reference see its client library's types, not the HTTP answer: fields that the
//! answer leaves out are there with their empty value. Programs written for it rely on them.

use serde_json::{Map, Value, json};

use crate::Kind;

/// Turns an answer's body into what the handler gets.
pub(crate) fn shape(kind: &Kind, body: Value) -> Value {
    match kind {
        Kind::Key { .. } => match body {
            Value::Array(mut entries) if !entries.is_empty() => entry(entries.swap_remove(0)),
            _ => Value::Null,
        },
        Kind::KeyPrefix { .. } => each(body, entry),
        Kind::Checks { .. } => each(body, check),
        Kind::Service { .. } => each(body, |mut instance| {
            if let Some(checks) = instance.get_mut("Checks") {
                *checks = each(checks.take(), check);
            }
            instance
        }),
        Kind::Services | Kind::Nodes | Kind::Event { .. } => body,
    }
}

fn each(list: Value, change: impl Fn(Value) -> Value) -> Value {
    match list {
        Value::Array(items) => Value::Array(items.into_iter().map(change).collect()),
        other => other,
    }
}

fn entry(mut entry: Value) -> Value {
    if let Value::Object(fields) = &mut entry {
        fill(fields, json!({"Session": "", "Flags": 0, "LockIndex": 0, "Value": null}));
    }
    entry
}

fn check(mut check: Value) -> Value {
    if let Some(Value::Object(definition)) = check.get_mut("Definition") {
        definition.retain(|name, _| !name.ends_with("Duration"));
        fill(
            definition,
            json!({
                "HTTP": "", "Header": null, "Method": "", "Body": "", "TLSSkipVerify": false, "TCP": "",
                "Interval": "0s", "Timeout": "0s", "DeregisterCriticalServiceAfter": "0s",
            }),
        );
    }
    check
}

fn fill(fields: &mut Map<String, Value>, defaults: Value) {
    if let Value::Object(defaults) = defaults {
        for (name, value) in defaults {
            fields.entry(name).or_insert(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_entry_with_all_fields_or_null() {
        let kind = Kind::Key { key: "a".into() };
        let body = json!([{"Key": "a", "Value": "YQ==", "Flags": 7, "LockIndex": 0}]);
        assert_eq!(
            shape(&kind, body),
            json!({"Key": "a", "Value": "YQ==", "Flags": 7, "LockIndex": 0, "Session": ""})
        );
        assert_eq!(shape(&kind, Value::Null), Value::Null);
        assert_eq!(shape(&kind, json!([])), Value::Null);
    }

    #[test]
    fn definitions_of_checks_are_complete() {
        let kind = Kind::Service { service: "w".into(), tags: vec![], passing_only: false };
        let body = json!([{"Checks": [{"CheckID": "c",
            "Definition": {"TCP": "x:1", "Interval": "10s", "IntervalDuration": 10}}]}]);
        assert_eq!(
            shape(&kind, body)[0]["Checks"][0]["Definition"],
            json!({"HTTP": "", "Header": null, "Method": "", "Body": "", "TLSSkipVerify": false, "TCP": "x:1",
                "Interval": "10s", "Timeout": "0s", "DeregisterCriticalServiceAfter": "0s"})
        );
    }
}
