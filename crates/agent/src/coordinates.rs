//! The agent's network coordinate on its way to the servers.

use std::sync::Arc;
use std::time::Duration;

use gossip::driver::PoolHandle;
use model::coordinate::{Coord, CoordinateUpdateRequest};
use model::methods::CoordinateUpdate;
use model::road::Road;
use rand::Rng as _;

/// A coordinate as the catalog stores it.
pub fn to_model(coordinate: &gossip::coordinate::Coordinate) -> Coord {
    Coord {
        adjustment: coordinate.adjustment,
        error: coordinate.error,
        height: coordinate.height,
        vec: coordinate.vec.clone(),
    }
}

/// How often coordinates are sent.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Updates a second that all nodes together aim at.
    pub rate_target: f64,
    /// The shortest pause of one node.
    pub min: Duration,
}

impl Pace {
    /// The pause of one node among `size`, without jitter.
    pub fn pause(self, size: usize) -> Duration {
        let ideal = size as f64 / self.rate_target.max(f64::MIN_POSITIVE);
        Duration::try_from_secs_f64(ideal).unwrap_or(Duration::MAX).max(self.min)
    }
}

/// Sends the coordinate once a pause, for the life of the agent.
pub async fn run(
    lan: PoolHandle,
    road: Road,
    node: String,
    datacenter: String,
    pace: Pace,
    token: Arc<dyn Fn() -> String + Send + Sync>,
) {
    loop {
        let pause = pace.pause(lan.members().len());
        let jitter = rand::rng().random_range(Duration::ZERO..=pause / 16);
        tokio::time::sleep(pause + jitter).await;
        let Ok(Some(coordinate)) = lan.coordinate().await else { continue };
        let request = CoordinateUpdateRequest {
            coord: Some(to_model(&coordinate)),
            datacenter: datacenter.clone(),
            node: node.clone(),
            segment: String::new(),
            token: token(),
        };
        if let Err(error) = road.call::<CoordinateUpdate>(request).await {
            tracing::warn!(target: "agent", error = %error, "Coordinate update error");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pools_send_at_the_shortest_pause() {
        let pace = Pace { rate_target: 64.0, min: Duration::from_secs(15) };
        assert_eq!(pace.pause(3), Duration::from_secs(15));
        assert_eq!(pace.pause(6400), Duration::from_secs(100));
    }
}
