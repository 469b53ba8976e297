//! From the configuration to the gossip pools.

use std::path::Path;
use std::sync::Arc;

use gossip::driver::{PoolConfig, Tuning};
use gossip::serf::consul::{AclMode, AgentTags, LanPolicy, ServerTags, WanPolicy};
use gossip::serf::keyring_file;
use gossip::swim;
use gossip::wire::Keyring;
use model::VERSION_SPOKEN;
use model::duration::{GoDuration, format_go};

use crate::config::interfaces::Cidr;
use crate::config::{Gossip, RuntimeConfig};

/// Our own version, told in a tag of its own beside the level that we speak.
pub const OWN_VERSION_TAG: &str = "proconsul";

/// Why a pool cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum PoolSetupError {
    /// The keyring's file or the configured key.
    #[error("failed to set up the gossip keyring: {0}")]
    Keyring(String),
}

/// What this agent says of itself.
pub fn tags(config: &RuntimeConfig, node_id: &str) -> AgentTags {
    let reconnect = config.join.advertise_reconnect_timeout;
    AgentTags {
        id: node_id.to_owned(),
        datacenter: config.datacenter.clone(),
        segment: String::new(),
        version: VERSION_SPOKEN.to_owned(),
        revision: String::new(),
        acls: if config.acl.enabled { AclMode::Enabled } else { AclMode::Disabled },
        reconnect_timeout: reconnect.map(|timeout| format_go(GoDuration::from(timeout))),
        server: config.server.then(|| ServerTags {
            port: config.net.rpc_advertise.port(),
            wan_join_port: config.net.serf_wan_advertise.map(|address| address.port()),
            bootstrap: config.bootstrap,
            expect: config.bootstrap_expect,
            raft_version: 3,
            read_replica: false,
            use_tls: false,
        }),
    }
}

/// Settings of the pool of all agents of the datacenter.
pub fn lan(config: &RuntimeConfig, node_id: &str) -> Result<PoolConfig, PoolSetupError> {
    let mut pool = PoolConfig::lan(&config.node_name, config.net.serf_lan_bind);
    pool.advertise_addr = Some(config.net.serf_lan_advertise.ip());
    pool.advertise_port = Some(config.net.serf_lan_advertise.port());
    pool.serf.tags = tags(config, node_id).lan();
    pool.serf.policy = Arc::new(LanPolicy {
        datacenter: config.datacenter.clone(),
        segment: String::new(),
        node_name: config.node_name.clone(),
        node_id: node_id.to_owned(),
    });
    pool.swim.allowed_cidrs = allowed(&config.net.serf_lan_allowed_cidrs);
    if let Some(timeout) = config.join.reconnect_timeout_lan {
        pool.serf.reconnect_timeout = timeout;
    }
    common(&mut pool, config, &config.gossip_lan, "local")?;
    Ok(pool)
}

/// Settings of the pool of the servers of all datacenters; `None` if this agent is not in it.
pub fn wan(config: &RuntimeConfig, node_id: &str) -> Result<Option<PoolConfig>, PoolSetupError> {
    let (true, Some(bind), Some(advertise)) =
        (config.has_wan(), config.net.serf_wan_bind, config.net.serf_wan_advertise)
    else {
        return Ok(None);
    };
    let name = format!("{}.{}", config.node_name, config.datacenter);
    let mut pool = PoolConfig::wan(&name, bind);
    pool.advertise_addr = Some(advertise.ip());
    pool.advertise_port = Some(advertise.port());
    pool.serf.tags = tags(config, node_id).wan();
    pool.serf.policy = Arc::new(WanPolicy::default());
    pool.swim.allowed_cidrs = allowed(&config.net.serf_wan_allowed_cidrs);
    if let Some(timeout) = config.join.reconnect_timeout_wan {
        pool.serf.reconnect_timeout = timeout;
    }
    common(&mut pool, config, &config.gossip_wan, "remote")?;
    Ok(Some(pool))
}

fn common(
    pool: &mut PoolConfig,
    config: &RuntimeConfig,
    gossip: &Gossip,
    file: &str,
) -> Result<(), PoolSetupError> {
    pool.serf.tags.insert(OWN_VERSION_TAG.to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    pool.serf.coordinates = !config.disable_coordinates;
    pool.rejoin_after_leave = config.join.rejoin_after_leave;
    pool.tune(Tuning {
        gossip_interval: Some(gossip.gossip_interval),
        gossip_nodes: Some(gossip.gossip_nodes),
        probe_interval: Some(gossip.probe_interval),
        probe_timeout: Some(gossip.probe_timeout),
        suspicion_mult: Some(gossip.suspicion_mult),
        retransmit_mult: Some(gossip.retransmit_mult),
    });
    pool.swim.verify_incoming = config.encrypt.verify_incoming;
    pool.swim.verify_outgoing = config.encrypt.verify_outgoing;
    let folder = config.data_dir.as_deref().filter(|_| !config.dev_mode).map(|dir| dir.join("serf"));
    if let Some(folder) = &folder {
        pool.snapshot_path = Some(folder.join(format!("{file}.snapshot")));
    }
    pool.swim.keyring = keyring(pool, config, folder.as_deref(), file)?;
    Ok(())
}

/// The keys in the file, which rotation keeps up to date; the configured key founds it.
fn keyring(
    pool: &mut PoolConfig,
    config: &RuntimeConfig,
    folder: Option<&Path>,
    file: &str,
) -> Result<Option<Keyring>, PoolSetupError> {
    let failed = |error: &dyn std::fmt::Display| PoolSetupError::Keyring(error.to_string());
    let path =
        folder.filter(|_| !config.disable_keyring_file).map(|folder| folder.join(format!("{file}.keyring")));
    let Some(path) = path else {
        return config
            .encrypt
            .key
            .as_deref()
            .map(|key| Keyring::new(key).map_err(|error| failed(&error)))
            .transpose();
    };
    let configured = config.encrypt.key.as_deref().map(keyring_file::key_to_text);
    if configured.is_none() && !path.exists() {
        return Ok(None);
    }
    let keys = keyring_file::load_or_init(&path, configured.as_deref()).map_err(|error| failed(&error))?;
    pool.keyring_path = Some(path);
    Keyring::from_keys(&keys).map_err(|error| failed(&error))
}

fn allowed(cidrs: &[Cidr]) -> Option<Vec<swim::Cidr>> {
    (!cidrs.is_empty())
        .then(|| cidrs.iter().filter_map(|cidr| swim::Cidr::new(cidr.network, cidr.prefix)).collect())
}
