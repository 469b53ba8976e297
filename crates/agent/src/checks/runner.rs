//! Runs the checks of this agent: one set of timers for all, a short-lived task per probe.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::definition::CheckType;
use model::duration::GoDuration;
use model::health::HealthCheck;
use model::methods::HealthNodeChecks;
use model::options::{NodeSpecificRequest, QueryOptions};
use model::road::Road;
use parking_lot::Mutex;
use rand::Rng as _;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::alias::Alias;
use super::output::head;
use super::probe::{Probe, Tls, interval};
use super::thresholds::Thresholds;
use super::timers::Timers;
use super::{CRITICAL, Outcome};
use crate::local::Local;
use crate::services::TokenSource;

/// Bytes of output kept where nothing else is said.
const OUTPUT_MAX: usize = 4096;
/// Changes within this time count as one for aliases.
const GATHER: Duration = Duration::from_millis(10);
/// How long an alias of another node waits for a change there.
const ALIAS_WAIT: GoDuration = GoDuration::from_secs(60);
/// Pause after an alias could not ask, growing with each failure.
const ALIAS_RETRY: Duration = Duration::from_secs(1);
const ALIAS_RETRY_MAX: Duration = Duration::from_secs(60);
/// So many failures are no passing trouble.
const ALIAS_PATIENCE: u32 = 3;

/// What checks need to know of their agent.
pub struct RunnerConfig {
    /// Name of this node.
    pub node_name: String,
    /// Datacenter of this agent.
    pub datacenter: String,
    /// To the catalog, for aliases of other nodes.
    pub road: Road,
    /// For aliases without a token of their own.
    pub default_token: TokenSource,
    /// Certificates for probes over TLS.
    pub tls: http_client::TlsOptions,
    /// Most bytes of output that a check may keep; 0 stands for the default.
    pub output_max_size: usize,
    /// How long a change of output alone may wait, on average.
    pub update_interval: Duration,
    /// Keep no output at all.
    pub discard_output: bool,
}

/// How many checks run, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Scripts.
    pub scripts: usize,
    /// Those that their applications feed.
    pub ttls: usize,
}

/// What a check does.
enum Work {
    Probe {
        probe: Arc<Probe>,
        every: Duration,
    },
    Ttl {
        ttl: Duration,
        last_output: String,
    },
    Alias(Alias),
    /// Its own task watches another node.
    RemoteAlias,
}

/// A check that runs.
struct Running {
    /// Number of this run; what belongs to an earlier one is void.
    run: u64,
    definition: CheckType,
    token: String,
    work: Work,
    thresholds: Thresholds,
    reap_after: Option<Duration>,
    output_max: usize,
    due: Option<Instant>,
    task: Option<AbortHandle>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

#[derive(Default)]
struct Table {
    checks: HashMap<String, Running>,
    ids: HashMap<u64, String>,
    timers: Timers,
    last_run: u64,
    /// Until when the driver sleeps.
    asleep_until: Option<Instant>,
    aliases: usize,
    discard_output: bool,
}

/// The checks that run on this agent.
pub struct Runner {
    node_name: String,
    datacenter: String,
    road: Road,
    default_token: TokenSource,
    tls: Tls,
    output_max: usize,
    update_interval: Duration,
    local: Arc<Local>,
    table: Mutex<Table>,
    wake: Notify,
}

impl Runner {
    /// Runs nothing yet.
    pub fn new(config: RunnerConfig, local: Arc<Local>) -> Arc<Self> {
        let table = Table { discard_output: config.discard_output, ..Table::default() };
        Arc::new(Self {
            node_name: config.node_name,
            datacenter: config.datacenter,
            road: config.road,
            default_token: config.default_token,
            tls: Tls::new(config.tls),
            output_max: if config.output_max_size == 0 { OUTPUT_MAX } else { config.output_max_size },
            update_interval: config.update_interval,
            local,
            table: Mutex::new(table),
            wake: Notify::new(),
        })
    }

    /// Whether outputs are kept from now on.
    pub fn set_discard_output(&self, discard: bool) {
        self.table.lock().discard_output = discard;
    }

    /// How many run.
    pub fn count(&self) -> Counts {
        let mut counts = Counts::default();
        for check in self.table.lock().checks.values() {
            match &check.work {
                Work::Probe { probe, .. } if probe.is_script() => counts.scripts += 1,
                Work::Ttl { .. } => counts.ttls += 1,
                _ => {}
            }
        }
        counts
    }

    /// The checks whose services are taken away after a while, each with the time.
    pub fn reap_limits(&self) -> Vec<(String, Duration)> {
        let table = self.table.lock();
        table.checks.iter().filter_map(|(id, check)| Some((id.clone(), check.reap_after?))).collect()
    }

    /// Runs a check from now on, in place of what ran under its id. One that does the same already
    /// goes on undisturbed.
    pub fn start(
        self: &Arc<Self>,
        check: &HealthCheck,
        definition: CheckType,
        token: &str,
        reap_after: Option<Duration>,
    ) {
        let now = Instant::now();
        let id = check.check_id.clone();
        let mut table = self.table.lock();
        if let Some(there) = table.checks.get_mut(&id)
            && there.definition == definition
            && there.token == token
            && !matches!(there.work, Work::Ttl { .. })
        {
            there.reap_after = reap_after;
            return;
        }
        table.stop(&id);
        let output_max = match usize::try_from(definition.output_max_size) {
            Ok(wanted) if wanted > 0 => wanted.min(self.output_max),
            _ => self.output_max,
        };
        table.last_run += 1;
        let run = table.last_run;
        let thresholds =
            Thresholds::new(definition.success_before_passing, definition.failures_before_critical);
        let alias =
            Alias { node: definition.alias_node.clone(), service_id: definition.alias_service.clone() };
        let (work, due) = if let Some(probe) = Probe::new(&definition, &self.tls, output_max) {
            let every = interval(&definition);
            // Spread, so that checks that began together do not probe together.
            let first = now + rand::rng().random_range(Duration::ZERO..every);
            (Work::Probe { probe: Arc::new(probe), every }, Some(first))
        } else if !alias.node.is_empty() {
            (Work::RemoteAlias, None)
        } else if !alias.service_id.is_empty() {
            table.aliases += 1;
            (Work::Alias(alias.clone()), None)
        } else if !definition.ttl.is_zero() {
            let ttl = definition.ttl.to_std();
            (Work::Ttl { ttl, last_output: String::new() }, Some(now + ttl))
        } else {
            return;
        };
        let is_alias = matches!(work, Work::Alias(_));
        let task = matches!(work, Work::RemoteAlias).then(|| {
            let watching = self.clone().watch_node(id.clone(), run, alias, token.to_owned());
            tokio::spawn(watching).abort_handle()
        });
        let running = Running {
            run,
            definition,
            token: token.to_owned(),
            work,
            thresholds,
            reap_after,
            output_max,
            due: None,
            task,
        };
        table.checks.insert(id.clone(), running);
        table.ids.insert(run, id.clone());
        let wake = due.is_some_and(|due| table.schedule(&id, due));
        drop(table);
        if wake {
            self.wake.notify_one();
        }
        if is_alias {
            self.look_at_alias(&id);
        }
    }

    /// Ends a check; a probe under way is broken off.
    pub fn stop(&self, id: &str) {
        self.table.lock().stop(id);
    }

    /// Feeds a TTL check. Gives its time to live and the output as kept; `None` if there is no such
    /// check.
    pub fn feed_ttl(&self, id: &str, status: &str, output: &str) -> Option<(Duration, String)> {
        let now = Instant::now();
        let mut table = self.table.lock();
        let check = table.checks.get_mut(id)?;
        let Work::Ttl { ttl, last_output } = &mut check.work else { return None };
        let (ttl, output) = (*ttl, head(output, check.output_max));
        last_output.clone_from(&output);
        let wake = table.schedule(id, now + ttl);
        drop(table);
        if wake {
            self.wake.notify_one();
        }
        self.report(id, status, &output);
        Some((ttl, output))
    }

    /// Probes until stopped; then breaks off what is under way.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut changes = self.local.changes();
        loop {
            let next = {
                let mut table = self.table.lock();
                table.asleep_until = table.timers.next();
                table.asleep_until
            };
            let due = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.wake.notified() => {}
                () = due => {}
                changed = changes.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    if self.table.lock().aliases > 0 {
                        tokio::time::sleep(GATHER).await;
                        changes.borrow_and_update();
                        self.look_at_aliases();
                    }
                }
            }
            self.fire(Instant::now());
        }
        let checks = std::mem::take(&mut self.table.lock().checks);
        drop(checks);
    }

    /// Does what is due.
    fn fire(self: &Arc<Self>, now: Instant) {
        let mut expired = Vec::new();
        let mut table = self.table.lock();
        while let Some(run) = table.timers.pop(now) {
            let Table { checks, ids, .. } = &mut *table;
            let Some(id) = ids.get(&run) else { continue };
            let Some(check) = checks.get_mut(id) else { continue };
            check.due = None;
            match &check.work {
                Work::Probe { probe, .. } => {
                    let (runner, probe, id) = (self.clone(), probe.clone(), id.clone());
                    let task = tokio::spawn(async move {
                        let outcome = probe.run().await;
                        runner.finished(&id, run, &outcome);
                    });
                    check.task = Some(task.abort_handle());
                }
                Work::Ttl { last_output, .. } => {
                    let says = if last_output.is_empty() {
                        "TTL expired".to_owned()
                    } else {
                        format!("TTL expired (last output before timeout follows): {last_output}")
                    };
                    expired.push((id.clone(), says));
                }
                Work::Alias(_) | Work::RemoteAlias => {}
            }
        }
        drop(table);
        for (id, says) in expired {
            tracing::warn!(target: "agent", check = %id, "Check missed TTL, is now critical");
            self.report(&id, CRITICAL, &says);
        }
    }

    /// Takes the result of a probe and plans the next.
    fn finished(&self, id: &str, run: u64, outcome: &Outcome) {
        let mut table = self.table.lock();
        let Some(check) = table.checks.get_mut(id).filter(|check| check.run == run) else { return };
        // Not to be aborted: this is it.
        check.task = None;
        let Work::Probe { every, .. } = &check.work else { return };
        let every = *every;
        let counts = check.thresholds.accept(outcome.status);
        let wake = table.schedule(id, Instant::now() + every);
        drop(table);
        if wake {
            self.wake.notify_one();
        }
        if counts {
            self.report(id, outcome.status, &outcome.output);
        } else {
            tracing::debug!(target: "agent", check = %id, status = outcome.status,
                "Check result does not yet count");
        }
    }

    /// Brings a result into the local state.
    fn report(&self, id: &str, status: &str, output: &str) {
        let output = if self.table.lock().discard_output { "" } else { output };
        let now = Instant::now();
        let defer = (!self.update_interval.is_zero()).then(|| {
            // Between half and one and a half of it, so that updates do not come in bunches.
            let half = self.update_interval / 2;
            now + half + rand::rng().random_range(Duration::ZERO..=self.update_interval)
        });
        let before = self.local.set_result(id, status, output, now, defer);
        if before.is_some_and(|before| before != status) {
            if status == CRITICAL {
                tracing::warn!(target: "agent", check = %id, "Check is now critical");
            } else {
                tracing::info!(target: "agent", check = %id, status, "Check status has changed");
            }
        }
    }

    fn look_at_aliases(&self) {
        let ids: Vec<String> = {
            let table = self.table.lock();
            let aliases = table.checks.iter().filter(|(_, check)| matches!(check.work, Work::Alias(_)));
            aliases.map(|(id, _)| id.clone()).collect()
        };
        for id in ids {
            self.look_at_alias(&id);
        }
    }

    fn look_at_alias(&self, id: &str) {
        let (alias, output_max) = match self.table.lock().checks.get(id) {
            Some(Running { work: Work::Alias(alias), output_max, .. }) => (alias.clone(), *output_max),
            _ => return,
        };
        let outcome = self.local.read(|state| {
            let of_node = state.entries_of("").map(|entry| &*entry.check);
            let of_service = state.entries_of(&alias.service_id).map(|entry| &*entry.check);
            alias.look(id, of_service.chain(of_node))
        });
        self.report(id, outcome.status, &head(&outcome.output, output_max));
    }

    /// Follows the checks of another node in the catalog.
    async fn watch_node(self: Arc<Self>, id: String, run: u64, alias: Alias, token: String) {
        let own_id = if alias.node.eq_ignore_ascii_case(&self.node_name) { id.as_str() } else { "" };
        let mut index = 0;
        let mut failures = 0_u32;
        loop {
            let token = if token.is_empty() { (self.default_token)() } else { token.clone() };
            let request = NodeSpecificRequest {
                datacenter: self.datacenter.clone(),
                node: alias.node.clone(),
                options: QueryOptions {
                    token,
                    allow_stale: true,
                    min_query_index: index,
                    max_query_time: ALIAS_WAIT,
                    ..QueryOptions::default()
                },
            };
            let outcome = match self.road.call::<HealthNodeChecks>(request).await {
                Ok(reply) => {
                    failures = 0;
                    // An index that goes back belongs to a new history; 0 would not wait.
                    index = if reply.meta.index < index { 0 } else { reply.meta.index.max(1) };
                    alias.look(own_id, reply.health_checks.iter().map(|check| &**check))
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    let pause = ALIAS_RETRY.saturating_mul(1 << failures.min(6)).min(ALIAS_RETRY_MAX);
                    tokio::time::sleep(pause).await;
                    if failures < ALIAS_PATIENCE {
                        continue;
                    }
                    Outcome::critical(format!("Failure checking aliased node or service: {error}"))
                }
            };
            let output_max = match self.table.lock().checks.get(&id) {
                Some(check) if check.run == run => check.output_max,
                // Not in the table yet can not be: this task was spawned under its lock.
                _ => return,
            };
            self.report(&id, outcome.status, &head(&outcome.output, output_max));
        }
    }
}

impl Table {
    /// Plans a check; tells whether the driver sleeps too long for it.
    fn schedule(&mut self, id: &str, at: Instant) -> bool {
        let Some(check) = self.checks.get_mut(id) else { return false };
        if let Some(before) = check.due.replace(at) {
            self.timers.remove(before, check.run);
        }
        self.timers.add(at, check.run);
        self.asleep_until.is_none_or(|until| at < until)
    }

    fn stop(&mut self, id: &str) {
        let Some(check) = self.checks.remove(id) else { return };
        self.ids.remove(&check.run);
        if let Some(due) = check.due {
            self.timers.remove(due, check.run);
        }
        if matches!(check.work, Work::Alias(_)) {
            self.aliases -= 1;
        }
    }
}
