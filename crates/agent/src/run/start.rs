//! Starting and stopping the parts of an agent in order.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use cache::Cache;
use gossip::driver::Pool;
use http_api::Face;
use http_api::serve::Server as HttpServer;
use parking_lot::RwLock;
use server::Server;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{RunError, banner, setup};
use crate::agent::{Agent, Request};
use crate::client::ClientRoad;
use crate::config::{Loaded, RuntimeConfig};
use crate::coordinates::{self, Pace};
use crate::data_dir::{DataDir, PidFile, node_id};
use crate::delegate::Delegate;
use crate::dns_face;
use crate::events::Events;
use crate::join::{self, RetryJoin};
use crate::limit::RateLimit;
use crate::local::{Local, SyncConfig, Trigger, run_sync};
use crate::pools;
use crate::remote_exec::RemoteExec;
use crate::services::{Services, ServicesConfig};

/// How long requests in progress may take to end when the agent stops.
const GRACE: Duration = Duration::from_secs(1);

/// When an agent has started as far as its code is concerned: first join, first election, first sync.
const SETTLED: Duration = Duration::from_secs(1);

/// An agent with all that has to be stopped in the end.
pub(super) struct Running {
    pub agent: Arc<Agent>,
    tasks: TaskTracker,
    faces: TaskTracker,
    stop_faces: CancellationToken,
    _data_dir: Option<DataDir>,
    _pid_file: Option<PidFile>,
}

pub(super) async fn start(loaded: Loaded, requests: mpsc::Sender<Request>) -> Result<Running, RunError> {
    let Loaded { config, warnings } = loaded;
    crate::watches::check(&config).map_err(RunError::new)?;
    let data_dir = match &config.data_dir {
        Some(path) if !config.dev_mode => Some(DataDir::open(path).map_err(RunError::new)?),
        _ => None,
    };
    if let Some(dir) = data_dir.as_ref().filter(|_| config.server) {
        dir.claim_datacenter(&config.datacenter).map_err(RunError::new)?;
    }
    let id = node_id(data_dir.as_ref(), config.node_id.as_deref(), config.disable_host_node_id)
        .map_err(RunError::new)?;
    let pid_file = config.pid_file.as_deref().map(PidFile::create).transpose().map_err(RunError::new)?;
    banner::print(&config, &id, &warnings);
    let log = telemetry::logging::init(setup::logging(&config)?).map_err(RunError::new)?;
    let metrics = telemetry::metrics::install(setup::metrics(&config)).map_err(RunError::new)?;
    for warning in &warnings {
        tracing::warn!(target: "agent", "{warning}");
    }
    // Ports are bound before any peer hears of this agent.
    let http = HttpServer::bind(&setup::http_binds(&config)?).await.map_err(RunError::new)?;
    let dns = dns_face::bind(&config).await.map_err(RunError::new)?;
    let dns_settings = Arc::new(ArcSwap::from_pointee(dns_face::settings(&config).map_err(RunError::new)?));
    let lan = Pool::start(pools::lan(&config, &id).map_err(RunError::new)?).await.map_err(RunError::new)?;
    let wan = match pools::wan(&config, &id).map_err(RunError::new)? {
        Some(pool) => Some(Pool::start(pool).await.map_err(RunError::new)?),
        None => None,
    };
    let delegate = if config.server {
        let server = Server::start(setup::server(&config, &id)?, lan.clone(), wan.clone());
        Delegate::Server(Arc::new(server.await.map_err(RunError::new)?))
    } else {
        let limit = RateLimit::new(config.limits.rpc_rate, config.limits.rpc_max_burst);
        let road = ClientRoad::new(
            &config.datacenter,
            config.net.bind_addr,
            config.rpc_hold_timeout,
            setup::query_times(&config),
            limit,
        );
        Delegate::Client(Arc::new(road))
    };
    let road = delegate.road();
    let local = Local::new(setup::node_record(&config, &id), Trigger::default());
    let tokens = Arc::new(RwLock::new(setup::tokens(&config)));
    let own_token = {
        let tokens = tokens.clone();
        move || tokens.read().own().to_owned()
    };
    let default_token = tokens.clone();
    let services_config =
        ServicesConfig::new(&config, road.clone(), Arc::new(move || default_token.read().default.clone()));
    let services = Services::new(services_config, local.clone());
    services.load(&config).await.map_err(RunError::new)?;
    let stop = CancellationToken::new();
    let remote_exec = (!config.disable_remote_exec).then(|| {
        let token = Arc::new(own_token.clone());
        RemoteExec::new(road.clone(), config.node_name.clone(), config.datacenter.clone(), token)
    });
    let agent = Arc::new(Agent {
        face: ArcSwap::from_pointee(setup::face_config(&config)),
        dns: dns_settings.clone(),
        datacenter: config.datacenter.clone(),
        node_id: id,
        lan: lan.clone(),
        wan: wan.clone(),
        delegate: delegate.clone(),
        local: local.clone(),
        services: services.clone(),
        events: Events::default(),
        watches: crate::watches::Watches::default(),
        remote_exec,
        tokens,
        requests,
        log,
        metrics,
        stop: stop.clone(),
        config: ArcSwap::from_pointee(config),
    });
    let config = agent.config.load_full();
    let running = Running {
        agent: agent.clone(),
        tasks: TaskTracker::new(),
        faces: TaskTracker::new(),
        stop_faces: CancellationToken::new(),
        _data_dir: data_dir,
        _pid_file: pid_file,
    };
    running.duty(agent.clone().follow_events());
    running.duty(crate::vitals::run());
    running.duty(agent.clone().follow_consensus());
    if let Delegate::Client(road) = &delegate {
        let (road, lan) = (road.clone(), lan.clone());
        running.duty(async move { road.follow(lan).await });
    }
    running.duty(services.clone().run(stop.clone()));
    let pool_size = {
        let lan = lan.clone();
        move || lan.members().len()
    };
    let sync = SyncConfig {
        interval: config.ae_interval,
        pool_size: Box::new(pool_size),
        agent_token: Box::new(own_token.clone()),
    };
    running.duty(run_sync(local, road.clone(), sync));
    if !config.disable_coordinates {
        let pace = Pace {
            rate_target: config.sync_coordinate_rate_target,
            min: config.sync_coordinate_interval_min,
        };
        running.duty(coordinates::run(
            lan.clone(),
            road.clone(),
            config.node_name.clone(),
            config.datacenter.clone(),
            pace,
            Arc::new(own_token),
        ));
    }
    let cache = Arc::new(Cache::new(road.clone()));
    let face = Arc::new(Face::new(agent.clone(), road.clone(), cache.clone(), Arc::new(delegate)));
    running.faces.spawn(http.serve(face.clone(), None, running.stop_faces.clone(), GRACE));
    agent.watches.start(face, &config);
    let face = dns_face::face(dns_settings, road, cache, agent.tokens.clone());
    running.faces.spawn(dns.serve(face, running.stop_faces.clone()));
    if let Err(error) = find_others(&running, &config).await {
        running.stop().await;
        return Err(error);
    }
    running.duty(async {
        tokio::time::sleep(SETTLED).await;
        match resident::release_code() {
            Ok(bytes) => tracing::debug!(target: "agent", bytes, "gave back the code of the start"),
            Err(error) => tracing::debug!(target: "agent", error = %error, "kept the code of the start"),
        }
    });
    crate::systemd::notify_ready();
    tracing::info!(target: "agent", "started state syncer");
    Ok(running)
}

/// `start_join` has to work, `retry_join` goes on in the background.
async fn find_others(running: &Running, config: &RuntimeConfig) -> Result<(), RunError> {
    let agent = &running.agent;
    join::start(&agent.lan, &config.join.start_lan, false)
        .await
        .map_err(|error| RunError::new(format!("Failed to join LAN: {error}")))?;
    if let Some(wan) = &agent.wan {
        join::start(wan, &config.join.start_wan, true)
            .await
            .map_err(|error| RunError::new(format!("Failed to join WAN: {error}")))?;
    } else if !config.join.start_wan.is_empty() {
        return Err(RunError::new("Failed to join WAN: Must be a server to join WAN cluster"));
    }
    let lan = RetryJoin {
        addresses: config.join.retry_lan.clone(),
        interval: config.join.retry_interval_lan,
        max: config.join.retry_max_lan,
        cluster: "LAN",
    };
    let wan = RetryJoin {
        addresses: config.join.retry_wan.clone(),
        interval: config.join.retry_interval_wan,
        max: config.join.retry_max_wan,
        cluster: "WAN",
    };
    for (pool, join) in [(Some(agent.lan.clone()), lan), (agent.wan.clone(), wan)] {
        let Some(pool) = pool else { continue };
        let requests = agent.requests.clone();
        running.duty(async move {
            if let Err(error) = join::retry(&pool, &join).await {
                // The main loop may have ended already.
                let _ = requests.send(Request::Fail(error.to_string())).await;
            }
        });
    }
    Ok(())
}

impl Running {
    /// A task that ends with the agent at the latest.
    fn duty(&self, duty: impl Future<Output = ()> + Send + 'static) {
        let stop = self.agent.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = duty => {}
                () = stop.cancelled() => {}
            }
        });
    }

    /// Leaves the datacenter.
    pub async fn leave(&self) {
        crate::systemd::notify_stopping();
        let drain = self.agent.config.load().leave_drain_time;
        match &self.agent.delegate {
            Delegate::Server(server) => {
                server.leave().await;
                // Calls that found this server before it left still get their answer.
                tokio::time::sleep(drain).await;
            }
            Delegate::Client(_) => {
                if let Err(error) = self.agent.lan.leave().await {
                    tracing::error!(target: "agent", error = %error, "failed to leave the LAN pool");
                }
            }
        }
    }

    /// Stops everything, the faces first, the pools last.
    pub async fn stop(&self) {
        let agent = &self.agent;
        agent.watches.stop();
        self.stop_faces.cancel();
        agent.stop.cancel();
        self.faces.close();
        self.tasks.close();
        self.faces.wait().await;
        self.tasks.wait().await;
        match &agent.delegate {
            Delegate::Server(server) => server.shutdown().await,
            Delegate::Client(road) => road.pool().shutdown().await,
        }
        if let Some(wan) = &agent.wan {
            wan.shutdown().await;
        }
        agent.lan.shutdown().await;
        tracing::info!(target: "agent", "shutdown complete");
    }
}
