//! How much there is, as gauges of every server.

use std::sync::Arc;
use std::time::Duration;

use gossip::serf::consul::MemberParts;
use metrics::{Gauge, gauge};

use crate::core::Core;

/// As often as numbers are put together.
const INTERVAL: Duration = Duration::from_secs(10);

/// Sets the gauges again and again.
pub(crate) async fn run(core: Arc<Core>) {
    let datacenter = core.config.datacenter.clone();
    let both = |name: &'static str| Both::new(name, &datacenter);
    let nodes = both("state.nodes");
    let services = both("state.services");
    let instances = both("state.service_instances");
    let clients = both("members.clients");
    let servers = both("members.servers");
    let mut tick = tokio::time::interval(INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let counts = core.store.view().counts();
        nodes.set(counts.nodes);
        services.set(counts.services);
        instances.set(counts.instances);
        let (mut of_clients, mut of_servers) = (0, 0);
        for member in core.lan.members().iter() {
            match MemberParts::from_member(member) {
                MemberParts::Server(_) => of_servers += 1,
                MemberParts::Client { .. } => of_clients += 1,
                _ => {}
            }
        }
        clients.set(of_clients);
        servers.set(of_servers);
    }
}

/// A gauge under the name in the documentation, and under the one that this version of the reference
/// really gives it, with its prefix twice. Dashboards use either.
struct Both([Gauge; 2]);

impl Both {
    fn new(name: &'static str, datacenter: &str) -> Self {
        let of = |name: String| gauge!(name, "datacenter" => datacenter.to_owned());
        Self([of(name.to_owned()), of(format!("consul.{name}"))])
    }

    fn set(&self, value: usize) {
        for gauge in &self.0 {
            gauge.set(value as f64);
        }
    }
}
