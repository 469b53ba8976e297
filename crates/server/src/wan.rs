//! The WAN pool's side of a server: its members fill the router, and servers of the own datacenter
//! that the pool lacks are brought in (join flooding).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use federation::{ServerInfo, flood};
use gossip::coordinate::Coordinate as Position;
use gossip::driver::PoolHandle;
use gossip::serf::MemberStatus;
use gossip::serf::consul::ServerParts;
use model::coordinate::{Coordinate, DatacenterMap};

use crate::core::Core;
use crate::endpoints::sort::to_model;

/// How often the LAN is compared with the WAN when no event says so.
const FLOOD_INTERVAL: Duration = Duration::from_secs(60);
/// How soon a failed flood is tried again.
const FLOOD_RETRY: Duration = Duration::from_secs(2);
/// Area that the plain WAN pool is, in answers about coordinates.
const WAN_AREA: &str = "wan";

/// Runs both duties for the life of the server.
pub(crate) async fn run(core: Arc<Core>, wan: PoolHandle) {
    tokio::join!(follow(&core, &wan), flood(&core, &wan));
}

/// Keeps the router equal to the pool. It works from the list of members, not from events, so that
/// none can be missed.
async fn follow(core: &Core, wan: &PoolHandle) {
    let mut changed = wan.members_changed();
    let mut known: BTreeMap<String, (ServerInfo, bool)> = BTreeMap::new();
    loop {
        let members = wan.members();
        let now: BTreeMap<String, (ServerInfo, bool)> = members
            .iter()
            .filter(|member| member.status != MemberStatus::Left)
            .filter_map(|member| {
                let info = server_info(ServerParts::from_member(member)?);
                Some((info.name.clone(), (info, member.status == MemberStatus::Failed)))
            })
            .collect();
        core.remotes.with_router(|router| {
            for name in known.keys().filter(|name| !now.contains_key(*name)) {
                router.remove(name);
            }
            for (name, state) in &now {
                if known.get(name) == Some(state) {
                    continue;
                }
                let (info, failed) = state;
                router.upsert(info.clone());
                if *failed {
                    router.failed(name);
                }
            }
        });
        known = now;
        estimate(core, wan, known.keys()).await;
        if changed.changed().await.is_err() {
            return;
        }
    }
}

fn server_info(parts: ServerParts) -> ServerInfo {
    ServerInfo {
        name: parts.name.to_string(),
        address: parts.rpc_addr(),
        use_tls: parts.use_tls,
        datacenter: parts.datacenter,
    }
}

/// Tells the router how far the servers are, for those that no call has timed yet.
async fn estimate(core: &Core, wan: &PoolHandle, names: impl Iterator<Item = &String>) {
    let Ok(Some(own)) = wan.coordinate().await else { return };
    for name in names {
        if let Ok(Some(other)) = wan.cached_coordinate(name).await
            && let Some(distance) = own.distance(&other)
        {
            core.remotes.with_router(|router| router.estimate(name, distance));
        }
    }
}

/// Joins the servers of this datacenter that are not in the WAN pool yet. It asks the pool for them, as the
/// list of servers that others keep may follow a change later than this does.
async fn flood(core: &Core, wan: &PoolHandle) {
    let mut changed = core.lan.members_changed();
    loop {
        let lan: Vec<flood::LanServer> = core
            .lan_servers()
            .into_iter()
            .filter(|server| server.alive)
            .map(|server| flood::LanServer { name: server.name, wan: server.wan })
            .collect();
        let missing = flood::missing(core.datacenter(), &lan, |name| wan.member(name).is_some());
        let mut pause = FLOOD_INTERVAL;
        if !missing.is_empty() {
            let targets: Vec<String> =
                missing.iter().map(|(name, address)| format!("{name}/{address}")).collect();
            let report = wan.join(&targets, true).await;
            tracing::info!(target: "server", joined = report.joined(), servers = targets.join(","), "Handled event for server in area");
            if report.joined() < targets.len() {
                pause = FLOOD_RETRY;
            }
        }
        tokio::select! {
            changed = changed.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Servers' positions by datacenter, as far as this server knows them.
async fn positions(core: &Core) -> BTreeMap<String, Vec<(String, Option<Position>)>> {
    let mut all: BTreeMap<String, Vec<(String, Option<Position>)>> = BTreeMap::new();
    let Some(wan) = &core.wan else { return all };
    let servers: Vec<ServerInfo> = core.remotes.with_router(|router| {
        let names: Vec<String> = router.datacenters().into_iter().map(str::to_owned).collect();
        names
            .iter()
            .flat_map(|name| router.servers(name).map(|(info, _)| info.clone()).collect::<Vec<_>>())
            .collect()
    });
    for server in servers {
        let position = if *server.name == **wan.name() {
            wan.coordinate().await.ok().flatten()
        } else {
            wan.cached_coordinate(&server.name).await.ok().flatten()
        };
        all.entry(server.datacenter).or_default().push((server.name, position));
    }
    all
}

impl Core {
    /// Datacenters by the median round-trip time of their servers, then by name; the own one first.
    pub(crate) async fn datacenters_by_distance(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.remotes.with_router(|router| router.datacenters().into_iter().map(str::to_owned).collect());
        let own = match &self.wan {
            Some(wan) => wan.coordinate().await.ok().flatten(),
            None => None,
        };
        if let Some(own) = own {
            let all = positions(self).await;
            let median = |name: &String| {
                let mut distances: Vec<Duration> = all
                    .get(name)
                    .into_iter()
                    .flatten()
                    .filter_map(|(_, position)| own.distance(position.as_ref()?))
                    .collect();
                distances.sort_unstable();
                distances.get(distances.len() / 2).copied().unwrap_or(Duration::MAX)
            };
            names.sort_by_cached_key(|name| (name != self.datacenter(), median(name), name.clone()));
        }
        names
    }

    /// Every datacenter with the coordinates of its servers.
    pub(crate) async fn datacenter_maps(&self) -> Vec<DatacenterMap> {
        positions(self)
            .await
            .into_iter()
            .filter(|(_, servers)| servers.iter().any(|(_, position)| position.is_some()))
            .map(|(datacenter, servers)| DatacenterMap {
                area_id: WAN_AREA.to_owned(),
                coordinates: servers
                    .into_iter()
                    .filter_map(|(name, position)| {
                        // Answers name the node without its datacenter.
                        let node = name.strip_suffix(&format!(".{datacenter}")).unwrap_or(&name).to_owned();
                        Some(Coordinate { coord: Some(to_model(&position?)), node, segment: String::new() })
                    })
                    .collect(),
                datacenter,
            })
            .collect()
    }
}
