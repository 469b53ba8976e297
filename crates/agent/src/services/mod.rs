//! The services and checks that this agent is told of: over HTTP, by configuration, and by what it
//! kept from its last run.
//!
//! [`Services`] decides what a registration means and keeps it on disk; the local state
//! ([`crate::local`]) carries it into the catalog, the runner ([`crate::checks`]) probes.

mod define;
mod load;
mod maintenance;
mod reap;
mod store;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_api::ApiError;
use http_api::api::types::{CheckRegistration, ServiceRegistration};
use model::catalog::NodeService;
use model::definition::{CheckType, ServiceDefinition};
use model::health::HealthCheck;
use model::road::Road;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::checks::{Runner, RunnerConfig};
use crate::config::{CheckDefinition, ChecksPolicy, RuntimeConfig};
use crate::local::Local;
use define::Defined;
pub use load::LoadError;
use store::Store;

/// Gives the token of the agent's own work, as it is now.
pub type TokenSource = Arc<dyn Fn() -> String + Send + Sync>;

/// What services and checks need to know of their agent.
pub struct ServicesConfig {
    /// Name of this node.
    pub node_name: String,
    /// Datacenter of this agent.
    pub datacenter: String,
    /// What checks may do.
    pub policy: ChecksPolicy,
    /// Where registrations are kept; `None` keeps nothing (development mode).
    pub data_dir: Option<PathBuf>,
    /// Ports for sidecar proxies that name none, first and last.
    pub sidecar_ports: Option<(u16, u16)>,
    /// To the catalog, for checks that mirror other nodes.
    pub road: Road,
    /// For checks without a token of their own.
    pub default_token: TokenSource,
    /// Certificates that probes over TLS use.
    pub tls: http_client::TlsOptions,
}

impl ServicesConfig {
    /// As an agent's configuration wants it.
    pub fn new(config: &RuntimeConfig, road: Road, default_token: TokenSource) -> Self {
        let tls = &config.tls;
        let path =
            |text: &str| (tls.enable_agent_tls_for_checks && !text.is_empty()).then(|| PathBuf::from(text));
        Self {
            node_name: config.node_name.clone(),
            datacenter: config.datacenter.clone(),
            policy: config.checks_policy.clone(),
            data_dir: config.data_dir.clone().filter(|_| !config.dev_mode),
            sidecar_ports: config.ports.sidecar_min.zip(config.ports.sidecar_max),
            road,
            default_token,
            tls: http_client::TlsOptions {
                ca_file: path(&tls.ca_file),
                ca_path: path(&tls.ca_path),
                client_cert: path(&tls.cert_file),
                client_key: path(&tls.key_file),
                skip_verify: false,
            },
        }
    }
}

/// Whence a definition came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// A configuration file.
    Local,
    /// The HTTP API.
    Remote,
}

/// What the configuration defines now, to tell at a reload what differs.
#[derive(Default)]
struct Configured {
    services: BTreeMap<String, ServiceDefinition>,
    checks: BTreeMap<String, CheckDefinition>,
}

/// The services and checks of this agent.
pub struct Services {
    node_name: String,
    policy: ChecksPolicy,
    sidecar_ports: Option<(u16, u16)>,
    store: Option<Store>,
    local: Arc<Local>,
    runner: Arc<Runner>,
    configured: Mutex<Configured>,
    /// One change at a time, so that disk, state and runner agree.
    turn: tokio::sync::Mutex<()>,
}

impl Services {
    /// Nothing registered yet, nothing running.
    pub fn new(config: ServicesConfig, local: Arc<Local>) -> Arc<Self> {
        let runner = Runner::new(
            RunnerConfig {
                node_name: config.node_name.clone(),
                datacenter: config.datacenter,
                road: config.road,
                default_token: config.default_token,
                tls: config.tls,
                output_max_size: config.policy.output_max_size,
                update_interval: config.policy.update_interval,
                discard_output: config.policy.discard_output,
            },
            local.clone(),
        );
        Arc::new(Self {
            node_name: config.node_name,
            policy: config.policy,
            sidecar_ports: config.sidecar_ports,
            store: config.data_dir.map(Store::new),
            local,
            runner,
            configured: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        })
    }

    /// Probes, lets TTLs expire and takes services away that have been critical for too long, until
    /// stopped.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let reaping = self.clone().reap(stop.clone());
        tokio::join!(self.runner.clone().run(stop), reaping);
    }

    /// Figures for `/v1/agent/self`.
    pub fn stats(&self) -> BTreeMap<String, String> {
        let (services, checks) = self.local.read(|state| (state.services().count(), state.checks().count()));
        let running = self.runner.count();
        [
            ("check_monitors", running.scripts),
            ("check_ttls", running.ttls),
            ("checks", checks),
            ("services", services),
        ]
        .into_iter()
        .map(|(name, count)| (name.to_owned(), count.to_string()))
        .collect()
    }

    /// Adds or replaces a service with its checks, and its sidecar proxy if it asks for one.
    ///
    /// # Errors
    /// Scripts that are off, no port left for a sidecar, a disk that cannot be written.
    pub async fn register_service(&self, registration: ServiceRegistration) -> Result<(), ApiError> {
        let ServiceRegistration { service, replace_existing_checks, token } = registration;
        let token = if service.token.is_empty() { token } else { service.token.clone() };
        let _turn = self.turn.lock().await;
        self.define(&service, token, Source::Remote, replace_existing_checks, true).await
    }

    /// A definition and what follows from it, made part of everything.
    async fn define(
        &self,
        definition: &ServiceDefinition,
        token: String,
        source: Source,
        replace_checks: bool,
        persist: bool,
    ) -> Result<(), ApiError> {
        let main = define::service(definition, &self.node_name);
        let sidecar = match define::sidecar(definition, &main.service) {
            None => None,
            Some(mut sidecar) => {
                if sidecar.port == 0 {
                    sidecar.port = self.free_sidecar_port(&sidecar.id)?;
                }
                define::sidecar_checks(&mut sidecar, &main.service);
                let token = if sidecar.token.is_empty() { token.clone() } else { sidecar.token.clone() };
                let mut defined = define::service(&sidecar, &self.node_name);
                defined.service.locally_registered_as_sidecar = true;
                Some((defined, token))
            }
        };
        for defined in std::iter::once(&main).chain(sidecar.as_ref().map(|(sidecar, _)| sidecar)) {
            for (_, check) in &defined.checks {
                self.may_run(check, source)?;
            }
        }
        self.put(main, token, source, replace_checks, persist).await?;
        if let Some((sidecar, token)) = sidecar {
            self.put(sidecar, token, source, replace_checks, persist).await?;
        }
        Ok(())
    }

    /// The first port of the range that no other service of this agent has.
    fn free_sidecar_port(&self, sidecar_id: &str) -> Result<i64, ApiError> {
        let Some((first, last)) = self.sidecar_ports else {
            return Err(ApiError::internal(
                "no port provided for sidecar_service and auto-assignment disabled in config",
            ));
        };
        let (own, used) = self.local.read(|state| {
            let own = state.service(sidecar_id).map(|entry| entry.service.port);
            let used: BTreeSet<i64> = state.services().map(|entry| entry.service.port).collect();
            (own, used)
        });
        let range = i64::from(first)..=i64::from(last);
        // One that was given a port before keeps it.
        if let Some(port) = own.filter(|port| range.contains(port)) {
            return Ok(port);
        }
        range.into_iter().find(|port| !used.contains(port)).ok_or_else(|| {
            ApiError::internal(format!("none left in the configured sidecar port range [{first}, {last}]"))
        })
    }

    /// Whether checks from there may run scripts.
    fn may_run(&self, check: &CheckType, source: Source) -> Result<(), ApiError> {
        if check.script_args.is_empty() {
            return Ok(());
        }
        match source {
            Source::Local if !self.policy.enable_local_scripts && !self.policy.enable_remote_scripts => {
                Err(ApiError::internal(
                    "Scripts are disabled on this agent; to enable, configure 'enable_script_checks' or 'enable_local_script_checks' to true",
                ))
            }
            Source::Remote if !self.policy.enable_remote_scripts => Err(ApiError::internal(
                "Scripts are disabled on this agent from remote calls; to enable, configure 'enable_script_checks' to true",
            )),
            _ => Ok(()),
        }
    }

    async fn put(
        &self,
        defined: Defined,
        token: String,
        source: Source,
        replace_checks: bool,
        persist: bool,
    ) -> Result<(), ApiError> {
        let Defined { service, checks } = defined;
        for warning in define::name_warnings(&service) {
            tracing::warn!(target: "agent", "{warning}");
        }
        if persist && let Some(store) = &self.store {
            store.put_service(&service, &token, source).await?;
        }
        let mut runs = Vec::with_capacity(checks.len());
        for (mut check, definition) in checks {
            self.restore_status(&mut check, &definition).await;
            if persist && let Some(store) = &self.store {
                store.put_check(&check, Some(&definition), &token, source).await?;
            }
            runs.push((check, definition));
        }
        let id = service.id.clone();
        if replace_checks {
            let keep: BTreeSet<&str> = runs.iter().map(|(check, _)| check.check_id.as_str()).collect();
            for check in self.local.read(|state| state.checks_of(&id)) {
                if !keep.contains(check.as_str()) && !maintenance::is_maintenance(&check) {
                    self.drop_check(&check).await?;
                }
            }
        }
        let now = Instant::now();
        self.local.change(|state| {
            state.put_service(service, token.clone());
            for (check, _) in &runs {
                state.put_check(check.clone(), token.clone(), now);
            }
        });
        for (check, definition) in runs {
            let reap_after = self.reap_after(&check.check_id, &definition);
            self.runner.start(&check, definition, &token, reap_after);
        }
        Ok(())
    }

    /// A check that is known already keeps its status; one fed by its application takes up what it
    /// was before the restart.
    async fn restore_status(&self, check: &mut HealthCheck, definition: &CheckType) {
        let known = self.local.read(|state| {
            state.check(&check.check_id).map(|entry| (entry.check.status.clone(), entry.check.output.clone()))
        });
        if let Some((status, output)) = known {
            (check.status, check.output) = (status, output);
        } else if !definition.ttl.is_zero()
            && let Some(store) = &self.store
            && let Some((status, output)) = store.ttl_state(&check.check_id).await
        {
            (check.status, check.output) = (status, output);
        }
    }

    /// How long the service of a check may be critical.
    fn reap_after(&self, check_id: &str, definition: &CheckType) -> Option<Duration> {
        let wanted = definition.deregister_critical_service_after;
        if wanted.0 <= 0 {
            return None;
        }
        let (wanted, least) = (wanted.to_std(), self.policy.deregister_interval_min);
        if wanted < least {
            tracing::warn!(target: "agent", check = %check_id, ?wanted, ?least,
                "deregister_critical_service_after is below the minimum, which is used instead");
        }
        Some(wanted.max(least))
    }

    /// Removes a service with its checks, and the sidecar registered with it. An unknown one is no
    /// error.
    ///
    /// # Errors
    /// A disk that cannot be written.
    pub async fn deregister_service(&self, id: &str, _token: &str) -> Result<(), ApiError> {
        let _turn = self.turn.lock().await;
        self.drop_service(id).await
    }

    async fn drop_service(&self, id: &str) -> Result<(), ApiError> {
        let sidecar = define::sidecar_id(id);
        let with_sidecar = self.local.read(|state| {
            state.service(&sidecar).is_some_and(|entry| entry.service.locally_registered_as_sidecar)
        });
        self.drop_one_service(id).await?;
        if with_sidecar {
            self.drop_one_service(&sidecar).await?;
        }
        Ok(())
    }

    async fn drop_one_service(&self, id: &str) -> Result<(), ApiError> {
        for check in self.local.read(|state| state.checks_of(id)) {
            self.drop_check(&check).await?;
        }
        if let Some(store) = &self.store {
            store.remove_service(id).await?;
        }
        if self.local.change(|state| state.remove_service(id)) {
            tracing::debug!(target: "agent", service = %id, "removed service");
        }
        Ok(())
    }

    /// Adds or replaces a check of the node or of a service.
    ///
    /// # Errors
    /// An unknown service, scripts that are off, a disk that cannot be written.
    pub async fn register_check(&self, registration: CheckRegistration) -> Result<(), ApiError> {
        let CheckRegistration { check: definition, service_id, check_token, token } = registration;
        let token = if check_token.is_empty() { token } else { check_token };
        let _turn = self.turn.lock().await;
        let service = self.service_of(&service_id)?;
        self.may_run(&definition, Source::Remote)?;
        let check = define::check(&definition, service.as_deref(), &self.node_name, true);
        self.put_check(check, definition, token, Source::Remote, true).await
    }

    fn service_of(&self, id: &str) -> Result<Option<Arc<NodeService>>, ApiError> {
        if id.is_empty() {
            return Ok(None);
        }
        match self.local.read(|state| state.service(id).map(|entry| entry.service.clone())) {
            Some(service) => Ok(Some(service)),
            None => Err(ApiError::internal(format!("ServiceID {id:?} does not exist"))),
        }
    }

    async fn put_check(
        &self,
        mut check: HealthCheck,
        definition: CheckType,
        token: String,
        source: Source,
        persist: bool,
    ) -> Result<(), ApiError> {
        self.restore_status(&mut check, &definition).await;
        if persist && let Some(store) = &self.store {
            store.put_check(&check, Some(&definition), &token, source).await?;
        }
        self.local.change(|state| state.put_check(check.clone(), token.clone(), Instant::now()));
        let reap_after = self.reap_after(&check.check_id, &definition);
        self.runner.start(&check, definition, &token, reap_after);
        Ok(())
    }

    /// Removes a check; an unknown one is no error.
    ///
    /// # Errors
    /// A disk that cannot be written.
    pub async fn deregister_check(&self, id: &str, _token: &str) -> Result<(), ApiError> {
        let _turn = self.turn.lock().await;
        self.drop_check(id).await
    }

    async fn drop_check(&self, id: &str) -> Result<(), ApiError> {
        self.runner.stop(id);
        if let Some(store) = &self.store {
            store.remove_check(id).await?;
        }
        if self.local.change(|state| state.remove_check(id)) {
            tracing::debug!(target: "agent", check = %id, "removed check");
        }
        Ok(())
    }

    /// Feeds a TTL check.
    ///
    /// # Errors
    /// 500 where there is no such check; a disk that cannot be written.
    pub async fn update_ttl(
        &self,
        id: &str,
        status: &str,
        output: &str,
        _token: &str,
    ) -> Result<(), ApiError> {
        let Some((ttl, output)) = self.runner.feed_ttl(id, status, output) else {
            return Err(ApiError::internal(format!("CheckID {id:?} does not have associated TTL")));
        };
        if let Some(store) = &self.store {
            store.put_ttl_state(id, status, &output, ttl).await?;
        }
        Ok(())
    }
}
