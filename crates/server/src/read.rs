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

/// How long a blocking query waits when it does not say.
const DEFAULT_WAIT: Duration = Duration::from_secs(300);
/// The longest that a blocking query may ask for.
const MAX_WAIT: Duration = Duration::from_secs(600);
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

/// How long a blocking query waits, without its jitter; zero if it is none.
fn wait(options: &QueryOptions) -> Duration {
    if options.min_query_index == 0 {
        return Duration::ZERO;
    }
    let asked = options.max_query_time.to_std();
    if asked.is_zero() { DEFAULT_WAIT } else { asked.min(MAX_WAIT) }
}

/// The longest that the answer to these options may be held back on purpose.
pub fn hold(options: &QueryOptions) -> Duration {
    let wait = wait(options);
    wait + wait / JITTER_FRACTION
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
        let wait = wait(options);
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
