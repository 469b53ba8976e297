//! Anti-entropy: the catalog follows the local state.
//!
//! A change goes out at once. Once in a while everything is compared, so that a catalog changed by
//! others is put right again; the larger the pool, the rarer, so that the servers' load grows with
//! the logarithm of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use model::catalog::{DeregisterRequest, RegisterRequest};
use model::duration::GoDuration;
use model::error::{ErrorKind, RpcError};
use model::methods::{CatalogDeregister, CatalogNodeServiceList, CatalogRegister, HealthNodeChecks};
use model::options::{NodeSpecificRequest, QueryOptions};
use model::road::Road;
use rand::Rng as _;
use tokio::sync::Notify;

use super::Local;
use super::state::Step;

/// Up to this many members the interval is as configured.
const SCALE_THRESHOLD: f64 = 128.0;
/// Pause after something failed for the first time, without its jitter; it doubles each time.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest such pause.
const RETRY: Duration = Duration::from_secs(15);
/// Registrations on their way at a time.
const AT_ONCE: usize = 8;
/// The longest that a comparison waits after a new server was heard of.
const SERVER_UP_STAGGER: Duration = Duration::from_secs(3);
/// How old the catalog compared with may be.
const MAX_STALE: GoDuration = GoDuration::from_secs(2);
/// Changes that come within this time go out together.
const GATHER: Duration = Duration::from_millis(5);

/// What anti-entropy needs to know.
pub struct SyncConfig {
    /// Time between comparisons in a small pool.
    pub interval: Duration,
    /// Members of the LAN pool now.
    pub pool_size: Box<dyn Fn() -> usize + Send + Sync>,
    /// The agent's own token, for what has none of its own.
    pub agent_token: Box<dyn Fn() -> String + Send + Sync>,
}

/// Rings that wake anti-entropy.
#[derive(Clone, Debug, Default)]
pub struct Trigger {
    changed: Arc<Notify>,
    server_up: Arc<Notify>,
}

impl Trigger {
    /// Something local changed: send it.
    pub fn changed(&self) {
        self.changed.notify_one();
    }

    /// There is a server again: compare soon.
    pub fn server_up(&self) {
        self.server_up.notify_one();
    }
}

/// The interval in a pool of `size` members.
fn scaled(interval: Duration, size: usize) -> Duration {
    let size = size as f64;
    if size <= SCALE_THRESHOLD {
        return interval;
    }
    let factor = (size.log2() - SCALE_THRESHOLD.log2()).ceil() + 1.0;
    interval.mul_f64(factor)
}

fn jitter(up_to: Duration) -> Duration {
    rand::rng().random_range(Duration::ZERO..=up_to)
}

/// Runs for the life of the agent.
pub async fn run(local: Arc<Local>, road: Road, config: SyncConfig) {
    let mut retry = RETRY_FIRST;
    loop {
        let pause = match compare(&local, &road, &config).await {
            Ok(()) => {
                retry = RETRY_FIRST;
                let interval = scaled(config.interval, (config.pool_size)());
                interval + jitter(interval / 4)
            }
            Err(error) => {
                if error.kind() == ErrorKind::NoLeader || error.kind() == ErrorKind::NoServers {
                    // A pool that is just starting; nothing to be alarmed about yet.
                    tracing::warn!(target: "agent.anti_entropy", error = %error, "failed to sync remote state");
                } else {
                    tracing::error!(target: "agent.anti_entropy", error = %error, "failed to sync remote state");
                }
                local.note(super::state::State::forget_sync);
                let pause = retry + jitter(retry);
                retry = (retry * 2).min(RETRY);
                pause
            }
        };
        wait_and_send(&local, &road, &config, Instant::now() + pause).await;
    }
}

/// Sends what is to be sent and changes as they come, until it is time to compare again.
async fn wait_and_send(local: &Local, road: &Road, config: &SyncConfig, until: Instant) {
    let mut retry = RETRY_FIRST;
    loop {
        let again = match send(local, road, config).await {
            Ok(()) => {
                retry = RETRY_FIRST;
                local.read(super::state::State::next_deferred)
            }
            Err(()) => {
                let pause = retry + jitter(retry);
                retry = (retry * 2).min(RETRY);
                Some(Instant::now() + pause)
            }
        };
        let wake = again.map_or(until, |again| again.min(until));
        tokio::select! {
            () = tokio::time::sleep_until(wake.into()) => {
                if Instant::now() >= until {
                    return;
                }
            }
            () = local.trigger.changed.notified() => tokio::time::sleep(GATHER).await,
            () = local.trigger.server_up.notified() => {
                tokio::time::sleep(jitter(SERVER_UP_STAGGER)).await;
                return;
            }
        }
    }
}

/// Reads what the catalog holds of this node and notes the differences.
async fn compare(local: &Local, road: &Road, config: &SyncConfig) -> Result<(), RpcError> {
    let (node, datacenter) = local.read(|state| (state.node().name.clone(), state.node().datacenter.clone()));
    let request = NodeSpecificRequest {
        datacenter,
        node,
        options: QueryOptions {
            token: (config.agent_token)(),
            allow_stale: true,
            max_stale_duration: MAX_STALE,
            ..QueryOptions::default()
        },
    };
    let services = road.call::<CatalogNodeServiceList>(request.clone()).await?;
    let checks = road.call::<HealthNodeChecks>(request).await?;
    let list = services.node_services;
    local.note(|state| state.compare(list.node.as_deref(), &list.services, &checks.health_checks));
    Ok(())
}

/// Sends what the catalog lacks, several things at a time. What fails stays marked; so does what
/// comes after it, since the next would most likely fail as well.
async fn send(local: &Local, road: &Road, config: &SyncConfig) -> Result<(), ()> {
    let mut steps = local.note(|state| state.steps(Instant::now()));
    if !steps.is_empty() && local.read(super::state::State::needs_node) {
        // The first brings the node along; the others need not.
        let first = steps.remove(0);
        send_or_tell(local, road, config, &first).await?;
    }
    futures::stream::iter(steps.into_iter().map(Ok))
        .try_for_each_concurrent(
            AT_ONCE,
            |step| async move { send_or_tell(local, road, config, &step).await },
        )
        .await
}

async fn send_or_tell(local: &Local, road: &Road, config: &SyncConfig, step: &Step) -> Result<(), ()> {
    let Err(error) = send_one(local, road, config, step).await else { return Ok(()) };
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::AclNotFound => {
            tracing::warn!(target: "agent", ?step, error = %error, "sync blocked by ACLs");
            local.note(|state| state.refused(step));
            Ok(())
        }
        _ => {
            tracing::warn!(target: "agent", ?step, error = %error, "syncing failed.");
            Err(())
        }
    }
}

async fn send_one(local: &Local, road: &Road, config: &SyncConfig, step: &Step) -> Result<(), RpcError> {
    let or_agent = |token: &str| if token.is_empty() { (config.agent_token)() } else { token.to_owned() };
    match step {
        Step::Node => {
            // A service registered before has brought the node along.
            let Some(request) = local.read(|state| state.needs_node().then(|| registration(state))) else {
                return Ok(());
            };
            road.call::<CatalogRegister>(RegisterRequest { token: or_agent(""), ..request }).await?;
            local.note(super::state::State::node_synced);
            tracing::info!(target: "agent", "Synced node info");
        }
        Step::Service { id, checks } => {
            let Some((request, service, checks)) = local.read(|state| {
                let entry = state.raw_service(id)?;
                let checks: Vec<_> =
                    checks.iter().filter_map(|id| Some(state.raw_check(id)?.check.clone())).collect();
                let request = RegisterRequest {
                    service: Some((*entry.service).clone()),
                    checks: checks.clone(),
                    token: or_agent(&entry.token),
                    ..registration(state)
                };
                Some((request, entry.service.clone(), checks))
            }) else {
                return Ok(());
            };
            road.call::<CatalogRegister>(request).await?;
            local.note(|state| {
                state.node_synced();
                state.service_synced(&service);
                checks.iter().for_each(|check| state.check_synced(check));
            });
            tracing::info!(target: "agent", service = %id, "Synced service");
        }
        Step::Check { id } => {
            let Some((request, check)) = local.read(|state| {
                let entry = state.raw_check(id)?;
                let request = RegisterRequest {
                    check: Some((*entry.check).clone()),
                    token: or_agent(&entry.token),
                    ..registration(state)
                };
                Some((request, entry.check.clone()))
            }) else {
                return Ok(());
            };
            road.call::<CatalogRegister>(request).await?;
            local.note(|state| {
                state.node_synced();
                state.check_synced(&check);
            });
            tracing::info!(target: "agent", check = %id, "Synced check");
        }
        Step::RemoveService { id } => {
            let token = local.read(|state| state.raw_service(id).map(|entry| entry.token.clone()));
            let request = DeregisterRequest {
                service_id: id.clone(),
                token: or_agent(&token.unwrap_or_default()),
                ..removal(local)
            };
            road.call::<CatalogDeregister>(request).await?;
            local.note(|state| state.service_removed(id));
            tracing::info!(target: "agent", service = %id, "Deregistered service");
        }
        Step::RemoveCheck { id } => {
            let token = local.read(|state| state.raw_check(id).map(|entry| entry.token.clone()));
            // Its service's removal may have taken it along.
            let Some(token) = token else { return Ok(()) };
            let request =
                DeregisterRequest { check_id: id.clone(), token: or_agent(&token), ..removal(local) };
            road.call::<CatalogDeregister>(request).await?;
            local.note(|state| state.check_removed(id));
            tracing::info!(target: "agent", check = %id, "Deregistered check");
        }
    }
    Ok(())
}

/// The node's part of a registration. Its own record is left alone where the catalog has it right.
fn registration(state: &super::state::State) -> RegisterRequest {
    let node = state.node();
    RegisterRequest {
        datacenter: node.datacenter.clone(),
        id: node.id.clone(),
        node: node.name.clone(),
        address: node.address.clone(),
        tagged_addresses: node.tagged_addresses.clone(),
        node_meta: node.meta.clone(),
        skip_node_update: !state.needs_node(),
        ..RegisterRequest::default()
    }
}

fn removal(local: &Local) -> DeregisterRequest {
    local.read(|state| DeregisterRequest {
        datacenter: state.node().datacenter.clone(),
        node: state.node().name.clone(),
        ..DeregisterRequest::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_pools_compare_less_often() {
        let minute = Duration::from_secs(60);
        assert_eq!(scaled(minute, 1), minute);
        assert_eq!(scaled(minute, 128), minute);
        assert_eq!(scaled(minute, 200), minute * 2);
        assert_eq!(scaled(minute, 1000), minute * 4);
        assert_eq!(scaled(minute, 8192), minute * 7);
    }
}
