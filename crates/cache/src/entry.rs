//! One remembered answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::error::RpcError;
use model::method::Method;
use model::options::QueryOptions;
use model::road::Road;
use tokio::sync::{Mutex, watch};

use super::Freshness;

/// What an entry knows now.
#[derive(Debug)]
pub struct State<R> {
    /// The last good answer.
    pub value: Option<Arc<R>>,
    /// Its index.
    pub index: u64,
    /// When it came.
    pub fetched: Option<Instant>,
    /// Since when the servers cannot be asked.
    pub failing: Option<Instant>,
    /// The last failure, while there is no answer at all.
    pub error: Option<RpcError>,
}

/// See the module.
pub struct Entry<R> {
    state: watch::Sender<State<R>>,
    fetching: Mutex<()>,
}

impl<R: Send + Sync + 'static> Entry<R> {
    /// An entry that knows nothing yet.
    pub fn new() -> Self {
        let (state, _) =
            watch::channel(State { value: None, index: 0, fetched: None, failing: None, error: None });
        Self { state, fetching: Mutex::new(()) }
    }

    /// Takes a good answer.
    pub fn succeeded(&self, value: Arc<R>, index: u64) {
        self.state.send_modify(|state| {
            *state = State {
                value: Some(value),
                index,
                fetched: Some(Instant::now()),
                failing: None,
                error: None,
            };
        });
    }

    /// Takes a failure; tells whether there is an answer to go on with.
    pub fn failed(&self, error: RpcError) -> bool {
        self.state.send_modify(|state| {
            state.failing.get_or_insert_with(Instant::now);
            if state.value.is_none() {
                state.error = Some(error);
            }
        });
        self.state.borrow().value.is_some()
    }

    /// The answer of an entry that is refreshed in the background; waits for the first one, and
    /// for one with another index than the caller has.
    pub async fn current(
        &self,
        wanted: &QueryOptions,
        default_wait: Duration,
    ) -> Result<(Arc<R>, Freshness), RpcError> {
        let mut changes = self.state.subscribe();
        let wait = match wanted.max_query_time.to_std() {
            Duration::ZERO => default_wait,
            wait => wait,
        };
        let known = wanted.min_query_index;
        let ready = |state: &State<R>| {
            state.error.is_some() || (state.value.is_some() && (known == 0 || state.index != known))
        };
        let hit = ready(&self.state.borrow());
        // A timeout is an answer too: the unchanged one.
        let _ = tokio::time::timeout(wait, changes.wait_for(ready)).await;
        let state = self.state.borrow();
        match (&state.value, &state.error) {
            (Some(value), _) => {
                let age = state.failing.map(|since| since.elapsed()).unwrap_or_default();
                Ok((Arc::clone(value), Freshness { hit, age }))
            }
            (None, Some(error)) => Err(error.clone()),
            (None, None) => Err(RpcError::from_text("no answer from the servers within the wait time")),
        }
    }

    /// The answer of a simple entry: the remembered one while it is young enough, else a new one.
    /// Requests that come meanwhile wait for the same call.
    pub async fn fetch<M: Method<Reply = R>>(
        &self,
        road: &Road,
        args: M::Args,
        wanted: &QueryOptions,
    ) -> Result<(Arc<R>, Freshness), RpcError> {
        let young = |age: Duration| {
            let max_age = wanted.max_age.to_std();
            age < super::IDLE && !wanted.must_revalidate && (max_age.is_zero() || age <= max_age)
        };
        if let Some((value, age)) = self.remembered()
            && young(age)
        {
            return Ok((value, Freshness { hit: true, age }));
        }
        let _turn = self.fetching.lock().await;
        if let Some((value, age)) = self.remembered()
            && young(age)
        {
            return Ok((value, Freshness { hit: true, age }));
        }
        match road.call::<M>(args).await {
            Ok(reply) => {
                let value = Arc::new(reply);
                self.succeeded(Arc::clone(&value), 0);
                Ok((value, Freshness { hit: false, age: Duration::ZERO }))
            }
            Err(error) => match self.remembered() {
                Some((value, age)) if age <= wanted.stale_if_error.to_std() => {
                    Ok((value, Freshness { hit: true, age }))
                }
                _ => Err(error),
            },
        }
    }

    fn remembered(&self) -> Option<(Arc<R>, Duration)> {
        let state = self.state.borrow();
        Some((Arc::clone(state.value.as_ref()?), state.fetched?.elapsed()))
    }
}
