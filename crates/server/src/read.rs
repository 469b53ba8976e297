//! Reads: consistency, blocking and meta data, once for all endpoints.
//!
//! A read endpoint is a pure function of a view. The loop here runs it, and while the index has not
//! passed the caller's, waits for what was looked at to change, and runs it again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::error::RpcError;
use model::method::{Method, Reply as _, Routing as _};
use model::options::{QueryMeta, QueryOptions};
use rand::Rng as _;
use state::{View, Wake, WatchSet};

use crate::core::Core;

/// Times of blocking queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryTimes {
    /// How long one waits that does not say (`default_query_time`).
    pub default: Duration,
    /// The longest that one may ask for (`max_query_time`).
    pub max: Duration,
}

impl Default for QueryTimes {
    fn default() -> Self {
        Self { default: Duration::from_secs(300), max: Duration::from_secs(600) }
    }
}

/// The part of the wait by which it is lengthened at random, so that callers do not come back
/// together.
const JITTER_FRACTION: u32 = 16;

/// What a read endpoint sees.
pub struct ReadContext<'a> {
    /// The state at one index.
    pub view: &'a View,
    /// The server, for configuration; not for anything that changes while a query blocks.
    pub core: &'a Core,
}

/// A read endpoint: a pure function of a view, which notes what it looks at.
pub type ReadFn<M> =
    fn(&ReadContext<'_>, &mut WatchSet, &<M as Method>::Args) -> Result<<M as Method>::Reply, RpcError>;

impl QueryTimes {
    /// How long a blocking query waits, without its jitter; zero if it is none.
    fn wait(&self, options: &QueryOptions) -> Duration {
        if options.min_query_index == 0 {
            return Duration::ZERO;
        }
        let asked = options.max_query_time.to_std();
        if asked.is_zero() { self.default } else { asked.min(self.max) }
    }

    /// The longest that the answer to these options may be held back on purpose.
    pub fn hold(&self, options: &QueryOptions) -> Duration {
        let wait = self.wait(options);
        wait + wait / JITTER_FRACTION
    }
}

/// Runs a read endpoint.
pub async fn run<M: Method>(
    core: &Arc<Core>,
    args: &M::Args,
    caller_deadline: Option<Instant>,
    answer: ReadFn<M>,
) -> Result<M::Reply, RpcError> {
    let no_options = QueryOptions::default();
    let options = args.query_options().unwrap_or(&no_options);
    let deadline = (options.min_query_index > 0).then(|| {
        let wait = core.config.query_times.wait(options);
        let jitter = rand::rng().random_range(Duration::ZERO..=wait / JITTER_FRACTION);
        let end = Instant::now() + wait + jitter;
        caller_deadline.map_or(end, |caller| caller.min(end))
    });
    // After a restore of the state, indexes of before mean nothing: every waiter is answered.
    let mut restored = false;
    loop {
        core.ensure_query_consistency(options).await?;
        let view = core.store.view();
        let mut watched = if deadline.is_some() { WatchSet::new() } else { WatchSet::none() };
        let mut reply = answer(&ReadContext { view: &view, core }, &mut watched, args)?;
        let Some(meta) = reply.query_meta_mut() else { return Ok(reply) };
        // Zero would make the next blocking query return at once, for ever.
        meta.index = meta.index.max(1);
        match deadline {
            Some(deadline)
                if meta.index <= options.min_query_index && !restored && Instant::now() < deadline =>
            {
                // What was read is given up before the wait: a blocked query holds its watches only.
                drop((reply, view));
                restored = core.wait_for_change(watched, deadline).await? == Wake::Restored;
            }
            _ => {
                *meta = QueryMeta { index: meta.index, ..core.query_meta() };
                return Ok(reply);
            }
        }
    }
}

impl Core {
    /// What every read answer says of this server; without an index.
    pub(crate) fn query_meta(&self) -> QueryMeta {
        QueryMeta {
            known_leader: self.leader_known(),
            last_contact: self.last_contact().into(),
            ..QueryMeta::default()
        }
    }

    /// `consistent` asks a quorum whether this server still leads; `default` trusts the leader's
    /// lease while it is valid; `stale` takes what is there.
    pub(crate) async fn ensure_query_consistency(&self, options: &QueryOptions) -> Result<(), RpcError> {
        if options.require_consistent {
            self.linearizable().await
        } else if options.allow_stale {
            Ok(())
        } else {
            self.ensure_lease().await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_those_of_the_configuration() {
        let times = QueryTimes { default: Duration::from_secs(1), max: Duration::from_secs(16) };
        let hold = |index, wait: u64| {
            let max_query_time = Duration::from_secs(wait).into();
            times.hold(&QueryOptions { min_query_index: index, max_query_time, ..QueryOptions::default() })
        };
        assert_eq!(hold(0, 5), Duration::ZERO);
        assert_eq!(hold(7, 0), Duration::from_millis(1_062) + Duration::from_micros(500));
        assert_eq!(hold(7, 8), Duration::from_millis(8_500));
        assert_eq!(hold(7, 3600), Duration::from_secs(17));
    }
}
