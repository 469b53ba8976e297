//! A datacenter of processes.

use serde_json::{Value, json};

use crate::{Agent, LONG, Slice, Spec, until};

/// Servers and clients of one datacenter, joined over the LAN.
pub struct Datacenter {
    pub name: String,
    pub servers: Vec<Agent>,
    pub clients: Vec<Agent>,
}

impl Datacenter {
    /// Starts them; does not wait. `number` gives their addresses, `config` is added to each.
    pub fn start(binary: &str, slice: &Slice, number: u8, servers: u8, clients: u8, config: &Value) -> Self {
        let mut datacenter = Self::prepared(binary, slice, number, servers, clients, config);
        datacenter.spawn();
        datacenter
    }

    /// As [`Datacenter::start`], not started yet.
    pub fn prepared(
        binary: &str,
        slice: &Slice,
        number: u8,
        servers: u8,
        clients: u8,
        config: &Value,
    ) -> Self {
        let name = format!("dc{number}");
        let peers: Vec<String> = (1..=servers).map(|n| slice.addr(number, n).to_string()).collect();
        let agent = |n: u8, server: bool| {
            let mut own = json!({ "retry_join": peers });
            let more = own.as_object_mut().expect("an object");
            if server {
                more.extend([
                    ("server".to_owned(), json!(true)),
                    ("bootstrap_expect".to_owned(), json!(servers)),
                ]);
            }
            more.extend(config.as_object().cloned().unwrap_or_default());
            let kind = if server { "s" } else { "c" };
            let spec = Spec {
                name: format!("{name}-{kind}{n}"),
                datacenter: name.clone(),
                addr: slice.addr(number, if server { n } else { 100 + n }),
                config: own,
            };
            Agent::prepared(binary, spec)
        };
        Datacenter {
            servers: (1..=servers).map(|n| agent(n, true)).collect(),
            clients: (1..=clients).map(|n| agent(n, false)).collect(),
            name,
        }
    }

    pub fn spawn(&mut self) {
        self.servers.iter_mut().chain(&mut self.clients).for_each(Agent::spawn);
    }

    pub fn agents(&self) -> impl Iterator<Item = &Agent> {
        self.servers.iter().chain(&self.clients)
    }

    /// Names of all agents, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.agents().map(|a| a.spec.name.clone()).collect();
        names.sort();
        names
    }

    /// Waits until every running agent answers reads and the catalog has all of them, alive.
    pub fn ready(&self) {
        let running: Vec<&Agent> = self.agents().filter(|a| a.running()).collect();
        let mut names: Vec<String> = running.iter().map(|a| a.spec.name.clone()).collect();
        names.sort();
        for agent in running {
            until(&format!("{} is ready", agent.spec.name), LONG, || {
                let http = agent.http();
                let checks = http.json("/v1/health/state/passing")?;
                let alive: Vec<&str> = checks
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter(|check| check["CheckID"] == "serfHealth")
                    .filter_map(|check| check["Node"].as_str())
                    .collect();
                match names.iter().find(|name| !alive.contains(&name.as_str())) {
                    Some(missing) => Err(format!("{missing} is not in the catalog, alive: {alive:?}")),
                    None => Ok(()),
                }
            });
        }
    }

    /// The place in `servers` of the leader, as one of the running servers tells it; waits for one.
    pub fn leader(&self) -> usize {
        until(&format!("{} has a leader", self.name), LONG, || self.leader_now())
    }

    fn leader_now(&self) -> Result<usize, String> {
        let mut seen = Vec::new();
        for server in self.servers.iter().filter(|s| s.running()) {
            let told = server.http().json("/v1/status/leader")?;
            let told = told.as_str().unwrap_or_default().to_owned();
            let place = self.servers.iter().position(|s| told == format!("{}:8300", s.spec.addr));
            match place {
                Some(place) if self.servers[place].running() => return Ok(place),
                _ => seen.push(told),
            }
        }
        Err(format!("{seen:?}"))
    }

    /// As [`Datacenter::leader`]; fails at once when a server has ended by itself.
    pub fn led(&mut self) -> usize {
        until(&format!("{} has a leader", self.name), LONG, || {
            for server in &mut self.servers {
                assert!(!server.exited(), "{} has ended by itself", server.spec.name);
            }
            self.leader_now()
        })
    }

    /// Waits until every server has a vote, and every running one knows: were it only the leader, the others
    /// could not do without it.
    pub fn voters(&self) {
        until(&format!("all servers of {} vote", self.name), LONG, || {
            for server in self.servers.iter().filter(|s| s.running()) {
                let config = server.http().json("/v1/operator/raft/configuration?stale")?;
                let voters =
                    config["Servers"].as_array().into_iter().flatten().filter(|s| s["Voter"] == true);
                if voters.count() != self.servers.len() {
                    return Err(format!("{}: {config}", server.spec.name));
                }
            }
            Ok(())
        });
    }

    /// Kills every process.
    pub fn kill(&mut self) {
        self.servers.iter_mut().chain(&mut self.clients).for_each(Agent::kill);
    }

    /// Stops every process in its tracks.
    pub fn pause(&self) {
        self.agents().for_each(Agent::pause);
    }

    pub fn resume(&self) {
        self.agents().for_each(Agent::resume);
    }
}
