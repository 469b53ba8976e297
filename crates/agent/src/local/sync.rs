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

/// The clock of the timers, which tests may turn.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
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
        wait_and_send(&local, &road, &config, now() + pause).await;
    }
}

/// Sends what is to be sent and changes as they come, until it is time to compare again.
async fn wait_and_send(local: &Local, road: &Road, config: &SyncConfig, mut until: Instant) {
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
                Some(now() + pause)
            }
        };
        let wake = again.map_or(until, |again| again.min(until));
        tokio::select! {
            () = tokio::time::sleep_until(wake.into()) => {
                if now() >= until {
                    return;
                }
            }
            // What changes while this is sent goes out together.
            () = local.trigger.changed.notified() => {}
            () = local.trigger.server_up.notified() => {
                // Not everybody at once; what changes meanwhile need not wait.
                until = until.min(now() + jitter(SERVER_UP_STAGGER));
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
    let mut steps = local.note(|state| state.steps(now()));
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
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::BoxFuture;
    use model::catalog::{IndexedNodeServiceList, Node, NodeService, NodeServiceList};
    use model::health::{HealthCheck, IndexedHealthChecks};
    use model::method::Method;
    use model::road::{ErasedCall, ErasedReply, RoadBackend};
    use model::scalar::Empty;
    use parking_lot::Mutex;

    use super::super::NodeRecord;
    use super::*;

    /// A catalog of one node, out of reach for the first calls.
    #[derive(Default)]
    struct Catalog {
        node: Mutex<Option<Node>>,
        services: Mutex<BTreeMap<String, Arc<NodeService>>>,
        checks: Mutex<BTreeMap<String, Arc<HealthCheck>>>,
        failures: AtomicUsize,
        registrations: AtomicUsize,
        denied: &'static str,
    }

    struct Backend(Arc<Catalog>);

    impl RoadBackend for Backend {
        fn call(&self, call: ErasedCall) -> BoxFuture<'_, Result<ErasedReply, RpcError>> {
            Box::pin(async move { self.0.answer(call) })
        }
    }

    impl Catalog {
        fn answer(&self, call: ErasedCall) -> Result<ErasedReply, RpcError> {
            if self
                .failures
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                .is_ok()
            {
                return Err(RpcError::no_leader());
            }
            let name = call.info.name;
            let args = call.args.into_any();
            if name == CatalogRegister::INFO.name {
                let request = *args.downcast::<RegisterRequest>().unwrap();
                self.registrations.fetch_add(1, Ordering::SeqCst);
                if request.service.as_ref().is_some_and(|service| service.id == self.denied) {
                    return Err(RpcError::from_text("Permission denied"));
                }
                if !request.skip_node_update {
                    *self.node.lock() = Some(Node { node: request.node, ..Node::default() });
                }
                if let Some(service) = request.service {
                    self.services.lock().insert(service.id.clone(), Arc::new(service));
                }
                for check in request.check.into_iter().map(Arc::new).chain(request.checks) {
                    self.checks.lock().insert(check.check_id.clone(), check);
                }
                return Ok(Box::new(Empty {}));
            }
            if name == CatalogDeregister::INFO.name {
                let request = *args.downcast::<DeregisterRequest>().unwrap();
                if !request.service_id.is_empty() {
                    self.services.lock().remove(&request.service_id);
                    self.checks.lock().retain(|_, check| check.service_id != request.service_id);
                }
                self.checks.lock().remove(&request.check_id);
                return Ok(Box::new(Empty {}));
            }
            if name == CatalogNodeServiceList::INFO.name {
                let node_services = NodeServiceList {
                    node: self.node.lock().clone().map(Arc::new),
                    services: self.services.lock().values().cloned().collect(),
                };
                return Ok(Box::new(IndexedNodeServiceList { node_services, ..Default::default() }));
            }
            let health_checks = self.checks.lock().values().cloned().collect();
            Ok(Box::new(IndexedHealthChecks { health_checks, ..Default::default() }))
        }
    }

    fn service(id: &str, port: i64) -> NodeService {
        NodeService { id: id.into(), service: id.into(), port, ..NodeService::default() }
    }

    fn check(id: &str, service: &str) -> HealthCheck {
        HealthCheck {
            check_id: id.into(),
            service_id: service.into(),
            status: "passing".into(),
            ..Default::default()
        }
    }

    fn start(catalog: Catalog) -> (Arc<Catalog>, Arc<Local>) {
        let catalog = Arc::new(catalog);
        let record = NodeRecord { name: "n".into(), ..NodeRecord::default() };
        let local = Local::new(record, Trigger::default());
        let config = SyncConfig {
            interval: Duration::from_secs(60),
            pool_size: Box::new(|| 1),
            agent_token: Box::new(String::new),
        };
        tokio::spawn(run(local.clone(), Road::new(Arc::new(Backend(catalog.clone()))), config));
        (catalog, local)
    }

    async fn until(what: impl Fn() -> bool) {
        let wait = async {
            while !what() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(600), wait).await.expect("it does not come to be");
    }

    #[tokio::test(start_paused = true)]
    async fn the_catalog_follows_through_failures() {
        let (catalog, local) = start(Catalog { failures: AtomicUsize::new(3), ..Catalog::default() });
        local.change(|state| {
            for at in 0..50 {
                let id = format!("s{at}");
                state.put_check(check(&format!("c{at}"), &id), String::new(), now());
                state.put_service(service(&id, 1), String::new());
            }
        });
        until(|| catalog.services.lock().len() == 50 && catalog.checks.lock().len() == 50).await;
        // Checks travel with their services.
        assert_eq!(catalog.registrations.load(Ordering::SeqCst), 50);
        assert!(catalog.node.lock().is_some());

        let before = catalog.registrations.load(Ordering::SeqCst);
        local.change(|state| state.put_service(service("s7", 2), String::new()));
        until(|| catalog.services.lock()["s7"].port == 2).await;
        assert_eq!(catalog.registrations.load(Ordering::SeqCst), before + 1);
        local.change(|state| state.remove_service("s7"));
        until(|| !catalog.services.lock().contains_key("s7")).await;
        assert!(!catalog.checks.lock().contains_key("c7"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_server_does_not_hold_changes_up() {
        let (catalog, local) = start(Catalog::default());
        until(|| catalog.registrations.load(Ordering::SeqCst) == 1).await;
        for at in 1..20 {
            local.trigger().server_up();
            tokio::time::sleep(Duration::from_millis(1)).await;
            local.change(|state| state.put_service(service("own", at), String::new()));
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert_eq!(catalog.services.lock()["own"].port, at);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn drift_is_repaired() {
        let (catalog, local) = start(Catalog::default());
        local.change(|state| state.put_service(service("own", 1), String::new()));
        until(|| catalog.services.lock().contains_key("own")).await;
        catalog.services.lock().remove("own");
        catalog.services.lock().insert("alien".into(), Arc::new(service("alien", 1)));
        catalog.services.lock().insert("consul".into(), Arc::new(service("consul", 1)));
        until(|| catalog.services.lock().keys().eq(["consul", "own"])).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_not_be_is_asked_for_once_in_a_while() {
        let (catalog, local) = start(Catalog { denied: "secret", ..Catalog::default() });
        local.change(|state| {
            state.put_service(service("open", 1), String::new());
            state.put_service(service("secret", 1), String::new());
        });
        until(|| catalog.services.lock().contains_key("open")).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert!(catalog.registrations.load(Ordering::SeqCst) <= 4);
        until(|| catalog.registrations.load(Ordering::SeqCst) >= 5).await;
    }

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
