//! The pure core: which query is next, and what its answer means.

use std::time::Duration;

use serde_json::Value;

use crate::shape::shape;
use crate::{Change, Kind, Plan};

/// The first pause after a failure; it grows with the square of the number of failures in a row.
const RETRY: Duration = Duration::from_secs(5);
/// The longest pause.
const RETRY_MAX: Duration = Duration::from_secs(180);

/// A GET request to the HTTP API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Path, not encoded, e.g. `/v1/kv/a key`.
    pub path: String,
    /// Query parameters of the view, not encoded; an empty value is a parameter without `=`.
    pub params: Vec<(&'static str, String)>,
    /// Wait until the index passes this one; 0 answers at once.
    pub index: u64,
    /// Datacenter to ask.
    pub datacenter: Option<String>,
    /// ACL token.
    pub token: Option<String>,
    /// Accept a stale answer.
    pub stale: bool,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `X-Consul-Index`, 0 if absent.
    pub index: u64,
    /// The body.
    pub body: Vec<u8>,
}

/// Why no answer came back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);

/// What to do after an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Run the handler, then ask again.
    Changed(Change),
    /// Ask again at once.
    Again,
    /// Pause, then ask again.
    Retry {
        /// How long to pause.
        after: Duration,
        /// What went wrong.
        error: String,
    },
}

/// The state of one running watch.
#[derive(Debug)]
pub struct Poller {
    plan: Plan,
    index: u64,
    last: Option<Value>,
    last_event: Option<String>,
    failures: u32,
}

impl Poller {
    /// A watch that has seen nothing yet.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        Self { plan, index: 0, last: None, last_event: None, failures: 0 }
    }

    /// The query to send now.
    #[must_use]
    pub fn query(&self) -> Query {
        let mut params = Vec::new();
        let path = match &self.plan.kind {
            Kind::Key { key } => format!("/v1/kv/{key}"),
            Kind::KeyPrefix { prefix } => {
                params.push(("recurse", String::new()));
                format!("/v1/kv/{prefix}")
            }
            Kind::Services => "/v1/catalog/services".to_owned(),
            Kind::Nodes => "/v1/catalog/nodes".to_owned(),
            Kind::Service { service, tags, passing_only } => {
                params.extend(tags.iter().map(|tag| ("tag", tag.clone())));
                if *passing_only {
                    params.push(("passing", "1".to_owned()));
                }
                format!("/v1/health/service/{service}")
            }
            Kind::Checks { service: Some(service), .. } => format!("/v1/health/checks/{service}"),
            Kind::Checks { state, .. } => {
                format!("/v1/health/state/{}", state.as_deref().unwrap_or("any"))
            }
            Kind::Event { name } => {
                params.extend(name.iter().map(|name| ("name", name.clone())));
                "/v1/event/list".to_owned()
            }
        };
        Query {
            path,
            params,
            index: self.index,
            datacenter: self.plan.datacenter.clone(),
            token: self.plan.token.clone(),
            stale: self.plan.stale,
        }
    }

    /// Takes the answer to the last query.
    pub fn step(&mut self, answer: Result<Answer, SourceError>) -> Step {
        let (index, value) = match answer.map_err(|e| e.0).and_then(|a| self.read(a)) {
            Ok(read) => read,
            Err(error) => return self.failed(error),
        };
        self.failures = 0;
        if let Kind::Event { .. } = self.plan.kind {
            return self.events(index, value);
        }
        if index == self.index {
            return Step::Again;
        }
        // Indexes only fall when the state was replaced (a restored snapshot, another cluster
        // behind the address): what was seen before says nothing about the new counting.
        self.index = if index < self.index { 0 } else { index };
        if self.last.as_ref() == Some(&value) {
            return Step::Again;
        }
        self.last = Some(value.clone());
        Step::Changed(Change { index, value })
    }

    fn read(&self, answer: Answer) -> Result<(u64, Value), String> {
        let absent_is_null = matches!(self.plan.kind, Kind::Key { .. } | Kind::KeyPrefix { .. });
        let body = match answer.status {
            200 => serde_json::from_slice(&answer.body).map_err(|e| format!("unreadable answer: {e}"))?,
            404 if absent_is_null => Value::Null,
            status => {
                let text = String::from_utf8_lossy(&answer.body);
                return Err(format!("Unexpected response code: {status} ({text})"));
            }
        };
        // Index 0 would turn the next blocking query into one that answers at once, for ever.
        Ok((answer.index.max(1), shape(&self.plan.kind, body)))
    }

    /// The list keeps old events; only those after the last one seen are news. Its index is
    /// derived from the last event's id and may rise or fall.
    fn events(&mut self, index: u64, value: Value) -> Step {
        self.index = index;
        let Value::Array(mut events) = value else {
            return Step::Again;
        };
        let id = |event: &Value| event["ID"].as_str().map(str::to_owned);
        let first = self.last.is_none();
        self.last = Some(Value::Null);
        if let Some(seen) = &self.last_event
            && let Some(at) = events.iter().rposition(|event| id(event).as_ref() == Some(seen))
        {
            events.drain(..=at);
        }
        if let Some(newest) = events.last() {
            self.last_event = id(newest);
        } else if !first {
            return Step::Again;
        }
        Step::Changed(Change { index, value: Value::Array(events) })
    }

    fn failed(&mut self, error: String) -> Step {
        self.failures = self.failures.saturating_add(1);
        let squared = self.failures.saturating_mul(self.failures);
        Step::Retry { after: RETRY.saturating_mul(squared).min(RETRY_MAX), error }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn poller(params: Value) -> Poller {
        Poller::new(Plan::parse(params.as_object().unwrap().clone()).unwrap())
    }

    fn ok(index: u64, body: &Value) -> Result<Answer, SourceError> {
        Ok(Answer { status: 200, index, body: body.to_string().into_bytes() })
    }

    #[test]
    fn queries_of_every_type() {
        let query = |params| {
            let query = poller(params).query();
            (query.path, query.params)
        };
        let none = Vec::new;
        assert_eq!(query(json!({"type": "key", "key": "a/b"})), ("/v1/kv/a/b".into(), none()));
        assert_eq!(
            query(json!({"type": "keyprefix", "prefix": "a/"})),
            ("/v1/kv/a/".into(), vec![("recurse", String::new())])
        );
        assert_eq!(
            query(json!({"type": "service", "service": "w", "tag": "t", "passingonly": true})),
            ("/v1/health/service/w".into(), vec![("tag", "t".into()), ("passing", "1".into())])
        );
        assert_eq!(query(json!({"type": "checks", "service": "w"})), ("/v1/health/checks/w".into(), none()));
        assert_eq!(query(json!({"type": "checks"})), ("/v1/health/state/any".into(), none()));
        assert_eq!(
            query(json!({"type": "event", "name": "e"})),
            ("/v1/event/list".into(), vec![("name", "e".into())])
        );
    }

    #[test]
    fn only_changes_of_the_value_reach_the_handler() {
        let mut poller = poller(json!({"type": "services"}));
        let a = json!({"a": []});
        let b = json!({"b": []});
        assert_eq!(poller.step(ok(5, &a)), Step::Changed(Change { index: 5, value: a.clone() }));
        assert_eq!(poller.query().index, 5);
        assert_eq!(poller.step(ok(5, &a)), Step::Again);
        assert_eq!(poller.step(ok(6, &a)), Step::Again);
        assert_eq!(poller.query().index, 6);
        assert_eq!(poller.step(ok(7, &b)), Step::Changed(Change { index: 7, value: b }));
    }

    #[test]
    fn a_falling_index_starts_over() {
        let mut poller = poller(json!({"type": "services"}));
        poller.step(ok(50, &json!({"a": []})));
        let b = json!({"b": []});
        assert_eq!(poller.step(ok(3, &b)), Step::Changed(Change { index: 3, value: b.clone() }));
        assert_eq!(poller.query().index, 0);
        assert_eq!(poller.step(ok(3, &b)), Step::Again);
        assert_eq!(poller.query().index, 3);
    }

    #[test]
    fn absent_keys_are_null_and_other_errors_back_off() {
        let mut poller = poller(json!({"type": "key", "key": "a"}));
        let status = |status| Ok(Answer { status, index: 9, body: b"No cluster leader".to_vec() });
        assert_eq!(poller.step(status(404)), Step::Changed(Change { index: 9, value: Value::Null }));
        let mut pauses = Vec::new();
        for _ in 0..7 {
            match poller.step(status(500)) {
                Step::Retry { after, error } => {
                    assert_eq!(error, "Unexpected response code: 500 (No cluster leader)");
                    pauses.push(after.as_secs());
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(pauses, [5, 20, 45, 80, 125, 180, 180]);
        assert_eq!(poller.query().index, 9);
        poller.step(ok(10, &json!([])));
        assert!(
            matches!(poller.step(Err(SourceError("refused".into()))), Step::Retry { after, .. } if after == RETRY)
        );
    }

    #[test]
    fn a_missing_index_never_becomes_a_busy_loop() {
        let mut poller = poller(json!({"type": "nodes"}));
        poller.step(ok(0, &json!([])));
        assert_eq!(poller.query().index, 1);
    }

    #[test]
    fn events_are_handed_over_once() {
        let mut poller = poller(json!({"type": "event"}));
        let list = |ids: &[&str]| json!(ids.iter().map(|id| json!({"ID": id})).collect::<Vec<_>>());
        let changed = |step| match step {
            Step::Changed(change) => change.value,
            other => panic!("{other:?}"),
        };
        assert_eq!(changed(poller.step(ok(900, &list(&["a", "b"])))), list(&["a", "b"]));
        assert_eq!(changed(poller.step(ok(100, &list(&["a", "b", "c"])))), list(&["c"]));
        assert_eq!(poller.query().index, 100);
        assert_eq!(poller.step(ok(100, &list(&["a", "b", "c"]))), Step::Again);
        // The last seen one has fallen out of the bounded list.
        assert_eq!(changed(poller.step(ok(7, &list(&["x", "y"])))), list(&["x", "y"]));
    }

    #[test]
    fn an_empty_list_of_events_is_shown_once() {
        let mut poller = poller(json!({"type": "event"}));
        assert!(matches!(poller.step(ok(1, &json!([]))), Step::Changed(_)));
        assert_eq!(poller.step(ok(1, &json!([]))), Step::Again);
    }
}
