//! The driver: asks, hands over, pauses.

use std::ops::ControlFlow;

use async_trait::async_trait;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{Answer, Plan, Poller, Query, SourceError, Step};

/// A new state of the view.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The index it was read at.
    pub index: u64,
    /// The data as handlers get it.
    pub value: Value,
}

/// Whoever answers queries.
#[async_trait]
pub trait WatchSource: Send + Sync {
    /// Answers one query; with `query.index` > 0 it blocks until there is news or a server-side
    /// limit has passed.
    async fn fetch(&self, query: &Query) -> Result<Answer, SourceError>;
}

/// Whoever takes changes, one at a time.
#[async_trait]
pub trait Handler: Send {
    /// Takes one change; `Break` ends the watch.
    async fn changed(&mut self, change: Change) -> ControlFlow<()>;

    /// A query failed and will be repeated after a pause; `Break` ends the watch.
    async fn failed(&mut self, error: &str) -> ControlFlow<()> {
        tracing::error!(%error, "watch query failed, retrying");
        ControlFlow::Continue(())
    }
}

/// Runs a watch until the handler or `cancel` ends it.
pub async fn run(
    plan: Plan,
    source: &dyn WatchSource,
    handler: &mut dyn Handler,
    cancel: &CancellationToken,
) {
    let mut poller = Poller::new(plan);
    let work = async {
        loop {
            let answer = source.fetch(&poller.query()).await;
            let next = match poller.step(answer) {
                Step::Again => ControlFlow::Continue(()),
                Step::Changed(change) => handler.changed(change).await,
                Step::Retry { after, error } => {
                    let next = handler.failed(&error).await;
                    if next.is_continue() {
                        tokio::time::sleep(after).await;
                    }
                    next
                }
            };
            if next.is_break() {
                return;
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = cancel.cancelled() => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::json;

    use super::*;

    struct Script(Mutex<Vec<Result<Answer, SourceError>>>);

    #[async_trait]
    impl WatchSource for Script {
        async fn fetch(&self, _query: &Query) -> Result<Answer, SourceError> {
            let next = self.0.lock().unwrap().pop();
            match next {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        }
    }

    struct Collect {
        seen: Vec<Value>,
        errors: usize,
        until: usize,
    }

    #[async_trait]
    impl Handler for Collect {
        async fn changed(&mut self, change: Change) -> ControlFlow<()> {
            self.seen.push(change.value);
            if self.seen.len() == self.until { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }

        async fn failed(&mut self, _error: &str) -> ControlFlow<()> {
            self.errors += 1;
            ControlFlow::Continue(())
        }
    }

    fn source() -> Script {
        let answer =
            |index, value: Value| Ok(Answer { status: 200, index, body: value.to_string().into_bytes() });
        // Popped from the end.
        Script(Mutex::new(vec![
            answer(3, json!({"b": []})),
            Err(SourceError("refused".into())),
            answer(2, json!({"a": []})),
        ]))
    }

    fn plan() -> Plan {
        Plan::parse(json!({"type": "services"}).as_object().unwrap().clone()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn it_goes_on_after_errors_until_the_handler_has_enough() {
        let mut handler = Collect { seen: vec![], errors: 0, until: 2 };
        run(plan(), &source(), &mut handler, &CancellationToken::new()).await;
        assert_eq!(handler.seen, [json!({"a": []}), json!({"b": []})]);
        assert_eq!(handler.errors, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn cancelling_ends_a_blocked_query() {
        let cancel = CancellationToken::new();
        let mut handler = Collect { seen: vec![], errors: 0, until: 9 };
        let source = source();
        let watch = run(plan(), &source, &mut handler, &cancel);
        tokio::select! {
            () = watch => panic!("ended by itself"),
            () = tokio::time::sleep(std::time::Duration::from_secs(60)) => cancel.cancel(),
        }
        let mut handler = Collect { seen: vec![], errors: 0, until: 9 };
        run(plan(), &source, &mut handler, &cancel).await;
        assert!(handler.seen.is_empty());
    }
}
