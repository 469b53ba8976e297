//! Whether the federation is up: what is still missing, milestone by milestone.

use std::time::Duration;

use http_client::Transport;
use serde::Deserialize;

use super::plan::Agent;
use crate::api::{Api, Settings};

/// How long one question to an agent may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pause between rounds of questions.
pub const ROUND: Duration = Duration::from_millis(250);

/// An agent's client.
pub fn api(agent: &Agent) -> Result<Api, http_client::Error> {
    Api::new(Settings::for_address(agent.http()))
}

/// Something that has to happen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Milestone {
    /// A datacenter has a leader.
    Leader(String),
    /// All agents of a datacenter see each other.
    Members(String),
    /// The catalog of a datacenter has all its nodes.
    Catalog(String),
    /// All servers see all servers.
    Wan,
    /// Every datacenter is reached from every agent.
    Reachable,
}

impl Milestone {
    /// Everything that has to happen.
    pub fn all(datacenters: &[String]) -> Vec<Self> {
        let mut all = Vec::new();
        for dc in datacenters {
            all.extend([Self::Leader(dc.clone()), Self::Members(dc.clone()), Self::Catalog(dc.clone())]);
        }
        if datacenters.len() > 1 {
            all.extend([Self::Wan, Self::Reachable]);
        }
        all
    }

    /// For the user.
    pub fn text(&self) -> String {
        match self {
            Self::Leader(dc) => format!("{dc}: leader elected"),
            Self::Members(dc) => format!("{dc}: all members see each other"),
            Self::Catalog(dc) => format!("{dc}: all nodes in the catalog"),
            Self::Wan => "WAN: all servers see each other".to_owned(),
            Self::Reachable => "every datacenter answers everywhere".to_owned(),
        }
    }

    /// Whether it has happened.
    pub async fn reached(&self, agents: &[Agent]) -> bool {
        let asked = tokio::time::timeout(PATIENCE, async {
            match self {
                Self::Leader(dc) => leader(agents, dc).await,
                Self::Members(dc) => members(agents, dc).await,
                Self::Catalog(dc) => catalog(agents, dc, dc).await,
                Self::Wan => wan(agents).await,
                Self::Reachable => reachable(agents).await,
            }
        });
        matches!(asked.await, Ok(Ok(true)))
    }
}

type Asked = Result<bool, crate::api::ApiError>;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Member {
    status: u8,
}

async fn alive(agent: &Agent, wan: bool) -> Result<usize, crate::api::ApiError> {
    let Ok(api) = api(agent) else {
        return Ok(0);
    };
    let mut request = api.get("/v1/agent/members");
    if wan {
        request = request.param("wan", 1);
    }
    let members: Option<Vec<Member>> = request.json().await?;
    Ok(members.unwrap_or_default().iter().filter(|m| m.status == 1).count())
}

fn of<'a>(agents: &'a [Agent], dc: &'a str) -> impl Iterator<Item = &'a Agent> {
    agents.iter().filter(move |agent| agent.datacenter == dc)
}

async fn leader(agents: &[Agent], dc: &str) -> Asked {
    for agent in of(agents, dc) {
        let Ok(api) = api(agent) else {
            return Ok(false);
        };
        let leader: String = api.get("/v1/status/leader").json().await?;
        if leader.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn members(agents: &[Agent], dc: &str) -> Asked {
    let expected = of(agents, dc).count();
    for agent in of(agents, dc) {
        if alive(agent, false).await? != expected {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn wan(agents: &[Agent]) -> Asked {
    let servers = || agents.iter().filter(|agent| agent.server);
    let expected = servers().count();
    for agent in servers() {
        if alive(agent, true).await? != expected {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether all agents of `from` find all nodes of `dc` in its catalog.
pub async fn catalog(agents: &[Agent], from: &str, dc: &str) -> Asked {
    let expected = of(agents, dc).count();
    for agent in of(agents, from) {
        let Ok(api) = api(agent) else {
            return Ok(false);
        };
        let nodes: Option<Vec<serde_json::Value>> =
            api.get("/v1/catalog/nodes").datacenter(dc).json().await?;
        if nodes.map_or(0, |nodes| nodes.len()) != expected {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn reachable(agents: &[Agent]) -> Asked {
    let mut datacenters: Vec<&str> = agents.iter().map(|agent| agent.datacenter.as_str()).collect();
    datacenters.dedup();
    for from in &datacenters {
        for to in &datacenters {
            if !catalog(agents, from, to).await? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Whether something answers at an agent's HTTP address already.
pub async fn occupied(agent: &Agent) -> bool {
    let Ok(target) = http_client::Target::parse(&agent.http(), None) else {
        return false;
    };
    let Ok(transport) = Transport::new(target, &http_client::TlsOptions::default(), None) else {
        return false;
    };
    let Ok(request) = http_client::Request::get("/v1/status/leader").body(http_client::empty()) else {
        return false;
    };
    match tokio::time::timeout(PATIENCE, transport.send(request)).await {
        Ok(Err(http_client::Error::Dial { .. })) => false,
        // Whoever takes the connection is in the way, whatever it says.
        Ok(_) | Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_datacenter_needs_no_wan() {
        assert_eq!(Milestone::all(&["a".into()]).len(), 3);
        let two = Milestone::all(&["a".into(), "b".into()]);
        assert_eq!(two.len(), 8);
        assert_eq!(two[7], Milestone::Reachable);
    }
}
