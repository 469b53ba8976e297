//! A deserializer over a JSON tree that matches keys and types leniently.

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Error, Value};

/// How lenient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Keys in any case.
    Strict,
    /// Keys in any case, with or without underscores.
    Lenient,
}

/// Other names of fields: struct, name without underscores in lower case, field.
const ALIASES: &[(&str, &str, &str)] = &[("CheckType", "args", "ScriptArgs")];

/// Fields that callers may send though nothing is made of them here, by struct. They come back in
/// answers, so clients send them on.
const IGNORED: &[(&str, &[&str])] = &[
    ("HealthCheck", &["Namespace"]),
    ("NodeService", &["ContentHash", "Datacenter", "Namespace"]),
    ("KvOp", &["Namespace"]),
    ("SessionArgs", &["ID", "CreateIndex", "ModifyIndex"]),
    ("KeyringArgs", &["LocalOnly", "RelayFactor", "Token"]),
];

/// How the error of a key that names no field begins.
const UNKNOWN_FIELD: &str = "json: unknown field";

/// Whether a key names a field.
pub fn same_key(key: &str, field: &str, style: Style) -> bool {
    match style {
        Style::Strict => key.eq_ignore_ascii_case(field),
        Style::Lenient => {
            let mut key = key.bytes().filter(|byte| *byte != b'_');
            let mut field = field.bytes().filter(|byte| *byte != b'_');
            loop {
                match (key.next(), field.next()) {
                    (None, None) => return true,
                    (Some(a), Some(b)) if a.eq_ignore_ascii_case(&b) => {}
                    _ => return false,
                }
            }
        }
    }
}

/// See the module.
pub struct ValueDeserializer {
    value: Value,
    style: Style,
}

impl ValueDeserializer {
    /// Over a tree.
    pub fn new(value: Value, style: Style) -> Self {
        Self { value, style }
    }
}

/// The field that a key names; an exact match goes before others.
fn field_of(
    key: &str,
    name: &'static str,
    fields: &'static [&'static str],
    style: Style,
) -> Option<&'static str> {
    if let Some(field) = fields.iter().find(|field| **field == key) {
        return Some(field);
    }
    if let Some(field) = fields.iter().find(|field| same_key(key, field, style)) {
        return Some(field);
    }
    ALIASES
        .iter()
        .find(|(of, alias, _)| style == Style::Lenient && *of == name && same_key(key, alias, style))
        .and_then(|(_, _, field)| fields.iter().find(|known| *known == field))
        .copied()
}

fn is_ignored(key: &str, name: &str, style: Style) -> bool {
    IGNORED
        .iter()
        .filter(|(of, _)| *of == name)
        .any(|(_, fields)| fields.iter().any(|field| same_key(key, field, style)))
}

/// An error inside a field, with the field's name; which key is unknown says enough by itself.
fn within(field: &str, error: Error) -> Error {
    if error.to_string().starts_with(UNKNOWN_FIELD) {
        error
    } else {
        Error::custom(format_args!("{field}: {error}"))
    }
}

macro_rules! numbers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.value {
                Value::Null => visitor.visit_u64(0),
                other => other.$method(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for ValueDeserializer {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.value.deserialize_any(visitor)
    }

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_f64(0.0),
            other => other.deserialize_f64(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_bool(false),
            other => other.deserialize_bool(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_string(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_str(""),
            other => other.deserialize_string(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let style = self.style;
        let items = match self.value {
            Value::Null => Vec::new(),
            Value::Array(items) => items,
            other => return other.deserialize_seq(visitor),
        };
        visitor.visit_seq(Items { items: items.into_iter(), style })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let entries = match self.value {
            Value::Null => serde_json::Map::new(),
            Value::Object(entries) => entries,
            other => return other.deserialize_map(visitor),
        };
        visitor.visit_map(Entries { entries: entries.into_iter(), value: None, style: self.style })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let style = self.style;
        let entries = match self.value {
            Value::Null => serde_json::Map::new(),
            Value::Object(entries) => entries,
            Value::Array(_) => return Err(Error::custom("a list where an object was expected")),
            other => return other.deserialize_struct(name, fields, visitor),
        };
        let mut known: Vec<(&'static str, Value)> = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let Some(field) = field_of(&key, name, fields, style) else {
                if is_ignored(&key, name, style) {
                    continue;
                }
                return Err(Error::custom(format_args!("{UNKNOWN_FIELD} {key:?}")));
            };
            if value.is_null() {
                continue;
            }
            match known.iter_mut().find(|(taken, _)| *taken == field) {
                // Of two spellings of one field the exact one counts.
                Some(slot) if key == field => slot.1 = value,
                Some(_) => {}
                None => known.push((field, value)),
            }
        }
        visitor.visit_map(Fields { fields: known.into_iter(), value: None, style })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct enum identifier
    }
}

struct Items {
    items: std::vec::IntoIter<Value>,
    style: Style,
}

impl<'de> SeqAccess<'de> for Items {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        self.items.next().map(|value| seed.deserialize(ValueDeserializer::new(value, self.style))).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Entries {
    entries: serde_json::map::IntoIter,
    value: Option<(String, Value)>,
    style: Style,
}

impl<'de> MapAccess<'de> for Entries {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        let result = seed.deserialize(IntoDeserializer::<Error>::into_deserializer(key.clone()));
        self.value = Some((key, value));
        result.map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let (key, value) = self.value.take().ok_or_else(|| Error::custom("value without key"))?;
        seed.deserialize(ValueDeserializer::new(value, self.style)).map_err(|error| within(&key, error))
    }
}

struct Fields {
    fields: std::vec::IntoIter<(&'static str, Value)>,
    value: Option<(&'static str, Value)>,
    style: Style,
}

impl<'de> MapAccess<'de> for Fields {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some((field, value)) = self.fields.next() else { return Ok(None) };
        self.value = Some((field, value));
        seed.deserialize(StrDeserializer::<Error>::new(field)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let (field, value) = self.value.take().ok_or_else(|| Error::custom("value without key"))?;
        seed.deserialize(ValueDeserializer::new(value, self.style)).map_err(|error| within(field, error))
    }
}

#[cfg(test)]
mod tests {
    use model::catalog::RegisterRequest;
    use model::definition::ServiceDefinition;
    use model::duration::GoDuration;

    use crate::decode::{lenient, strict};

    #[test]
    fn keys_in_any_case() {
        let body = br#"{"node":"n1","ADDRESS":"10.0.0.1","Service":{"service":"web","port":80,"tags":null}}"#;
        let request: RegisterRequest = strict(body).unwrap();
        assert_eq!((request.node.as_str(), request.address.as_str()), ("n1", "10.0.0.1"));
        let service = request.service.unwrap();
        assert_eq!((service.service.as_str(), service.port, service.tags.len()), ("web", 80, 0));
    }

    #[test]
    fn wrong_types_are_refused() {
        for body in ["", "{", "[]", r#"{"Node":1}"#, r#"{"Service":{"Service":"web","Port":"80"}}"#] {
            let error = strict::<RegisterRequest>(body.as_bytes()).unwrap_err();
            assert_eq!(error.status, 400, "{body}");
        }
        for body in [
            r#"{"Name":"web","Port":"80"}"#,
            r#"{"Name":"web","Port":true}"#,
            r#"{"Name":1}"#,
            r#"{"Name":"web","Tags":"a"}"#,
            r#"{"Name":"web","EnableTagOverride":"true"}"#,
            r#"{"Name":"web","Checks":{"TTL":"10s"}}"#,
        ] {
            assert_eq!(lenient::<ServiceDefinition>(body.as_bytes()).unwrap_err().status, 400, "{body}");
        }
    }

    #[test]
    fn unknown_fields_are_refused_by_name() {
        for (body, field) in [
            (r#"{"Node":"n1","WriteRequest":{"Token":"t"}}"#, "WriteRequest"),
            (r#"{"Node":"n1","Service":{"Service":"web","Tag":"x"}}"#, "Tag"),
            (r#"{"Node":"n1","Checks":[{"CheckID":"c","ttl":"9s"}]}"#, "ttl"),
        ] {
            let error = strict::<RegisterRequest>(body.as_bytes()).unwrap_err();
            assert_eq!(error.text, format!("Request decode failed: json: unknown field \"{field}\""));
        }
        for (body, field) in [
            (r#"{"ID":"a","Service":"redis"}"#, "Service"),
            (r#"{"Name":"web","Check":{"ID":"c","TTL":"9s"}}"#, "ID"),
            (r#"{"Name":"web","Proxy":{"direct":1}}"#, "direct"),
        ] {
            let error = lenient::<ServiceDefinition>(body.as_bytes()).unwrap_err();
            assert_eq!(error.text, format!("Request decode failed: json: unknown field \"{field}\""));
        }
        let returned = br#"{"Node":"n1","Service":{"Service":"web","ContentHash":"77","Datacenter":"dc1"}}"#;
        assert!(strict::<RegisterRequest>(returned).is_ok());
    }

    #[test]
    fn what_follows_the_first_value_does_not_matter() {
        assert_eq!(strict::<RegisterRequest>(br#" {"Node":"n1"} trailing"#).unwrap().node, "n1");
        let error = strict::<RegisterRequest>(br#"{"Node": "#).unwrap_err();
        assert_eq!(error.text, "Request decode failed: unexpected EOF");
    }

    #[test]
    fn registrations_take_snake_case() {
        let body = br#"{"id":"app-1","name":"app","port":99,"enable_tag_override":true,
            "tagged_addresses":{"lan":{"address":"10.0.0.1","port":5}},"weights":{"passing":3},
            "check":{"ttl":"30s","deregister_critical_service_after":"90m","args":["a","b"],"check_id":"c"}}"#;
        let service: ServiceDefinition = lenient(body).unwrap();
        assert_eq!((service.id.as_str(), service.port, service.enable_tag_override), ("app-1", 99, true));
        assert_eq!(service.tagged_addresses["lan"].port, 5);
        assert_eq!(service.weights.unwrap().passing, 3);
        assert_eq!(service.check.ttl, GoDuration::from_secs(30));
        assert_eq!(service.check.deregister_critical_service_after, GoDuration::from_secs(5400));
        assert_eq!(service.check.script_args, ["a", "b"]);
        assert_eq!(service.check.check_id, "c");
    }
}
