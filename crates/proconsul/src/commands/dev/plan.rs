//! What to start: every agent with its address, ports and configuration.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// What was asked for.
#[derive(Debug, Clone)]
pub struct Wishes {
    /// Names of the datacenters.
    pub datacenters: Vec<String>,
    /// Servers in each.
    pub servers: u8,
    /// Clients in each.
    pub clients: u8,
    /// The first two parts of the addresses.
    pub base: (u8, u8),
    /// Whether every agent can have an address of its own.
    pub own_addresses: bool,
    /// Where data, configuration and logs go.
    pub folder: PathBuf,
}

/// Ports of one agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    pub dns: u16,
    pub http: u16,
    pub serf_lan: u16,
    pub serf_wan: u16,
    pub server: u16,
}

/// The usual ports, for agents with an address of their own.
const USUAL: Ports = Ports { dns: 8600, http: 8500, serf_lan: 8301, serf_wan: 8302, server: 8300 };
/// Where ports begin when all agents share one address; ten for each agent.
const FIRST_SHARED: u16 = 21_000;

/// One agent.
#[derive(Debug, Clone)]
pub struct Agent {
    pub name: String,
    pub datacenter: String,
    pub server: bool,
    pub address: IpAddr,
    pub ports: Ports,
    /// Its own folder: `config/agent.json`, `data`, `agent.log`.
    pub folder: PathBuf,
    /// Its configuration.
    pub config: Value,
}

impl Agent {
    /// `address:port` of its HTTP API.
    pub fn http(&self) -> String {
        format!("{}:{}", self.address, self.ports.http)
    }

    /// Its log.
    pub fn log(&self) -> PathBuf {
        self.folder.join("agent.log")
    }
}

/// Why wishes cannot be fulfilled.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("name at least one datacenter")]
    NoDatacenter,
    #[error("at most 100 datacenters, 99 servers and 99 clients each")]
    TooMany,
    #[error("every datacenter needs a server")]
    NoServer,
    #[error("datacenter {0:?} is named twice")]
    Twice(String),
    #[error("{0:?} is no name for a datacenter: use lower-case letters, digits, - and _")]
    Name(String),
}

/// Lays out all agents.
pub fn plan(wishes: &Wishes) -> Result<Vec<Agent>, PlanError> {
    if wishes.datacenters.is_empty() {
        return Err(PlanError::NoDatacenter);
    }
    if wishes.servers == 0 {
        return Err(PlanError::NoServer);
    }
    if wishes.datacenters.len() > 100 || wishes.servers > 99 || wishes.clients > 99 {
        return Err(PlanError::TooMany);
    }
    for (i, dc) in wishes.datacenters.iter().enumerate() {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
        if dc.is_empty() || !dc.chars().all(fits) {
            return Err(PlanError::Name(dc.clone()));
        }
        if wishes.datacenters[..i].contains(dc) {
            return Err(PlanError::Twice(dc.clone()));
        }
    }
    let mut agents = Vec::new();
    for (i, dc) in (1_u8..).zip(&wishes.datacenters) {
        for (server, count) in [(true, wishes.servers), (false, wishes.clients)] {
            for n in 1..=count {
                let ordinal = u16::try_from(agents.len()).unwrap_or(u16::MAX);
                let host = if server { n } else { 100 + n };
                let (address, ports) = place(wishes, i, host, ordinal);
                let name = format!("{dc}-{}{n}", if server { "s" } else { "c" });
                let folder = wishes.folder.join(&name);
                agents.push(Agent {
                    name,
                    datacenter: dc.clone(),
                    server,
                    address,
                    ports,
                    folder,
                    config: Value::Null,
                });
            }
        }
    }
    let configs: Vec<Value> = agents.iter().map(|agent| config(agent, &agents, wishes.servers)).collect();
    for (agent, config) in agents.iter_mut().zip(configs) {
        agent.config = config;
    }
    Ok(agents)
}

fn place(wishes: &Wishes, dc: u8, host: u8, ordinal: u16) -> (IpAddr, Ports) {
    if wishes.own_addresses {
        return (Ipv4Addr::new(wishes.base.0, wishes.base.1, dc, host).into(), USUAL);
    }
    let first = FIRST_SHARED.saturating_add(ordinal.saturating_mul(10));
    let ports =
        Ports { dns: first, http: first + 1, serf_lan: first + 2, serf_wan: first + 3, server: first + 4 };
    (Ipv4Addr::LOCALHOST.into(), ports)
}

fn config(agent: &Agent, all: &[Agent], servers: u8) -> Value {
    let lan: Vec<String> = all
        .iter()
        .filter(|other| other.server && other.datacenter == agent.datacenter && other.name != agent.name)
        .map(|other| format!("{}:{}", other.address, other.ports.serf_lan))
        .collect();
    let wan: Vec<String> = all
        .iter()
        .filter(|other| other.server && other.datacenter != agent.datacenter)
        .map(|other| format!("{}:{}", other.address, other.ports.serf_wan))
        .collect();
    let ports = agent.ports;
    let mut config = json!({
        "node_name": agent.name,
        "datacenter": agent.datacenter,
        "data_dir": path_text(&agent.folder.join("data")),
        "bind_addr": agent.address.to_string(),
        "client_addr": agent.address.to_string(),
        "server": agent.server,
        "retry_join": lan,
        "retry_interval": "1s",
        "leave_on_terminate": false,
        "disable_update_check": true,
        "performance": {"raft_multiplier": 1},
        "ports": {"dns": ports.dns, "http": ports.http, "serf_lan": ports.serf_lan,
                  "serf_wan": ports.serf_wan, "server": ports.server, "grpc": -1},
    });
    if agent.server {
        config["bootstrap_expect"] = json!(servers);
        config["retry_join_wan"] = json!(wan);
        config["retry_interval_wan"] = json!("1s");
    }
    config
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes(own_addresses: bool) -> Wishes {
        Wishes {
            datacenters: vec!["dc1".into(), "dc2".into()],
            servers: 2,
            clients: 1,
            base: (127, 26),
            own_addresses,
            folder: "/tmp/x".into(),
        }
    }

    #[test]
    fn own_addresses_with_the_usual_ports() {
        let agents = plan(&wishes(true)).unwrap();
        let names: Vec<String> = agents.iter().map(|a| format!("{} {}", a.name, a.http())).collect();
        assert_eq!(
            names,
            [
                "dc1-s1 127.26.1.1:8500",
                "dc1-s2 127.26.1.2:8500",
                "dc1-c1 127.26.1.101:8500",
                "dc2-s1 127.26.2.1:8500",
                "dc2-s2 127.26.2.2:8500",
                "dc2-c1 127.26.2.101:8500"
            ]
        );
        let s1 = &agents[0].config;
        assert_eq!(s1["retry_join"], json!(["127.26.1.2:8301"]));
        assert_eq!(s1["retry_join_wan"], json!(["127.26.2.1:8302", "127.26.2.2:8302"]));
        assert_eq!(s1["bootstrap_expect"], json!(2));
        let c1 = &agents[2].config;
        assert_eq!(c1["retry_join"], json!(["127.26.1.1:8301", "127.26.1.2:8301"]));
        assert_eq!((c1.get("bootstrap_expect"), c1.get("retry_join_wan")), (None, None));
    }

    #[test]
    fn ports_never_collide_on_a_shared_address() {
        let agents = plan(&wishes(false)).unwrap();
        let mut ports: Vec<u16> = agents
            .iter()
            .flat_map(|a| [a.ports.dns, a.ports.http, a.ports.serf_lan, a.ports.serf_wan, a.ports.server])
            .collect();
        let count = ports.len();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), count);
        assert!(agents.iter().all(|a| a.address == IpAddr::from(Ipv4Addr::LOCALHOST)));
    }

    #[test]
    fn impossible_wishes() {
        let with = |change: fn(&mut Wishes)| {
            let mut wishes = wishes(true);
            change(&mut wishes);
            plan(&wishes).unwrap_err()
        };
        assert_eq!(with(|w| w.datacenters.clear()), PlanError::NoDatacenter);
        assert_eq!(with(|w| w.servers = 0), PlanError::NoServer);
        assert_eq!(with(|w| w.clients = 200), PlanError::TooMany);
        assert_eq!(with(|w| w.datacenters.push("dc1".into())), PlanError::Twice("dc1".into()));
        assert_eq!(with(|w| w.datacenters.push("DC 9".into())), PlanError::Name("DC 9".into()));
    }
}
