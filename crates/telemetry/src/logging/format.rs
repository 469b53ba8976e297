//! One event as a line of text or of JSON.
//!
//! Text: `2021-07-01T12:30:45.123Z [INFO]  agent.server: message: key=value other="two words"`.

use std::fmt::{self, Write as _};
use std::time::SystemTime;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};

use super::level::Level;
use crate::civil::Civil;

/// An event with everything that is shown of it.
#[derive(Debug)]
pub(crate) struct Record {
    pub time: SystemTime,
    pub level: Level,
    pub module: String,
    pub message: String,
    pub fields: Vec<(&'static str, Shown)>,
}

/// The value of a field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shown {
    Text(String),
    Json(Value),
}

impl Record {
    pub(crate) fn of(event: &tracing::Event<'_>, time: SystemTime, client: bool) -> Self {
        let metadata = event.metadata();
        let mut visitor = Visitor::default();
        event.record(&mut visitor);
        Self {
            time,
            level: Level::of(metadata.level()),
            module: module_of(metadata.target(), client),
            message: visitor.message,
            fields: visitor.fields,
        }
    }

    /// The line with its end.
    pub(crate) fn text(&self) -> String {
        let t = Civil::of(self.time);
        let mut line = format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z ",
            t.year,
            t.month,
            t.day,
            t.hour,
            t.minute,
            t.second,
            t.nanos / 1_000_000
        );
        line.push_str(self.level.tag());
        line.push(' ');
        self.push_body(&mut line);
        line.push('\n');
        line
    }

    /// Without time and level, which the system log has of its own.
    pub(crate) fn body(&self) -> String {
        let mut line = String::new();
        self.push_body(&mut line);
        line
    }

    fn push_body(&self, line: &mut String) {
        if !self.module.is_empty() {
            line.push_str(&self.module);
            line.push_str(": ");
        }
        line.push_str(&self.message);
        if !self.fields.is_empty() {
            line.push(':');
            for (key, value) in &self.fields {
                line.push(' ');
                line.push_str(key);
                line.push('=');
                match value {
                    Shown::Json(value) => line.push_str(&value.to_string()),
                    Shown::Text(text) => push_quoted(line, text),
                }
            }
        }
        // A line is a line, whatever a peer put into a name.
        if line.contains(['\n', '\r']) {
            *line = line.replace('\r', "\\r").replace('\n', "\\n");
        }
    }

    /// The JSON object with a line end.
    pub(crate) fn json(&self) -> String {
        let t = Civil::of(self.time);
        let mut map = Map::new();
        map.insert("@level".to_owned(), self.level.to_string().into());
        map.insert("@message".to_owned(), self.message.clone().into());
        if !self.module.is_empty() {
            map.insert("@module".to_owned(), self.module.clone().into());
        }
        let time = format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
            t.year,
            t.month,
            t.day,
            t.hour,
            t.minute,
            t.second,
            t.nanos / 1000
        );
        map.insert("@timestamp".to_owned(), time.into());
        for (key, value) in &self.fields {
            let value = match value {
                Shown::Json(value) => value.clone(),
                Shown::Text(text) => text.clone().into(),
            };
            map.insert((*key).to_owned(), value);
        }
        let mut line = Value::Object(map).to_string();
        line.push('\n');
        line
    }
}

fn push_quoted(line: &mut String, text: &str) {
    let plain = !text.is_empty() && text.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '"');
    if plain {
        line.push_str(text);
    } else {
        // Writing to a string cannot fail.
        let _ = write!(line, "{text:?}");
    }
}

/// The name of a part of the program as operators know it. A target with no
/// `::` was chosen by hand and stands for itself. Gossip is part of the client in an agent that is no server.
pub(crate) fn module_of(target: &str, client: bool) -> String {
    let mut parts = target.split("::");
    let first = parts.next().unwrap_or_default();
    let second = parts.next();
    match (first, second) {
        ("proconsul" | "agent" | "telemetry", _) => "agent",
        ("server", _) => "agent.server",
        ("consensus", _) => "agent.server.raft",
        ("state", _) => "agent.server.fsm",
        ("federation", _) => "agent.router",
        ("gossip", Some("serf")) if client => "agent.client.serf",
        ("gossip", Some("serf")) => "agent.server.serf",
        ("gossip", _) if client => "agent.client.memberlist",
        ("gossip", _) => "agent.server.memberlist",
        ("rpc", _) => "agent.rpc",
        ("http_api", _) => "agent.http",
        ("dns", _) => "agent.dns",
        ("snapshot", _) => "agent.server.snapshot",
        (own, None) => own,
        _ => return target.replace("::", "."),
    }
    .to_owned()
}

/// Whether a target is part of this program, not of a library under it:
/// libraries speak only from warnings on.
pub(crate) fn is_own(target: &str) -> bool {
    const ROOMS: &[&str] = &[
        "proconsul",
        "agent",
        "telemetry",
        "server",
        "consensus",
        "state",
        "federation",
        "gossip",
        "rpc",
        "http_api",
        "http_client",
        "dns",
        "snapshot",
        "filter",
        "model",
        "msgpack",
    ];
    let first = target.split("::").next().unwrap_or_default();
    let room = first.split('.').next().unwrap_or_default();
    ROOMS.contains(&room)
}

#[derive(Default)]
struct Visitor {
    message: String,
    fields: Vec<(&'static str, Shown)>,
}

impl Visitor {
    fn add(&mut self, field: &Field, value: Shown) {
        if field.name() == "message" {
            self.message = match value {
                Shown::Text(text) => text,
                Shown::Json(value) => value.to_string(),
            };
        } else {
            self.fields.push((field.name(), value));
        }
    }
}

impl Visit for Visitor {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, Shown::Text(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, Shown::Text(value.to_owned()));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, Shown::Text(value.to_string()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Shown::Json(value.into()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Shown::Json(value.into()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, Shown::Json(value.into()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, Shown::Json(value.into()));
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn record() -> Record {
        Record {
            time: UNIX_EPOCH + Duration::from_millis(1_625_142_645_123),
            level: Level::Info,
            module: module_of("server::leader", false),
            message: "member joined".to_owned(),
            fields: vec![
                ("member", Shown::Text("c1".to_owned())),
                ("why", Shown::Text("two words".to_owned())),
                ("n", Shown::Json(3.into())),
            ],
        }
    }

    #[test]
    fn text_lines() {
        assert_eq!(
            record().text(),
            "2021-07-01T12:30:45.123Z [INFO]  agent.server: member joined: member=c1 why=\"two words\" n=3\n"
        );
        let plain = Record { fields: Vec::new(), level: Level::Error, ..record() };
        assert_eq!(plain.text(), "2021-07-01T12:30:45.123Z [ERROR] agent.server: member joined\n");
        let torn = Record { message: "a\nb".to_owned(), fields: Vec::new(), ..record() };
        assert_eq!(torn.text().matches('\n').count(), 1);
    }

    #[test]
    fn json_lines() {
        let line = record().json();
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["@level"], "info");
        assert_eq!(value["@message"], "member joined");
        assert_eq!(value["@module"], "agent.server");
        assert_eq!(value["@timestamp"], "2021-07-01T12:30:45.123000Z");
        assert_eq!(value["n"], 3);
        assert!(line.ends_with("}\n"));
    }

    #[test]
    fn names_of_parts() {
        assert_eq!(module_of("gossip::serf::members", false), "agent.server.serf");
        assert_eq!(module_of("gossip::serf::members", true), "agent.client.serf");
        assert_eq!(module_of("gossip::swim", true), "agent.client.memberlist");
        assert_eq!(module_of("agent.client", false), "agent.client");
        assert_eq!(module_of("hyper::proto::h1", false), "hyper.proto.h1");
        assert!(is_own("agent.client") && is_own("rpc::pool") && !is_own("hyper::proto"));
    }
}
