//! Finding the others: `start_join` once, `retry_join` until it worked.

use std::time::Duration;

use gossip::driver::PoolHandle;

/// What to join and how persistently.
#[derive(Clone, Debug)]
pub struct RetryJoin {
    /// Addresses; names are resolved again at every try.
    pub addresses: Vec<String>,
    /// Pause between tries.
    pub interval: Duration,
    /// Tries; zero is without end.
    pub max: u32,
    /// `LAN` or `WAN`, for the log.
    pub cluster: &'static str,
}

/// All tries failed.
#[derive(Debug, thiserror::Error)]
#[error("agent: max join retry exhausted, exiting")]
pub struct Exhausted;

/// Joins once; all addresses may fail only if there are none.
pub async fn start(pool: &PoolHandle, addresses: &[String], wan: bool) -> Result<usize, String> {
    if addresses.is_empty() {
        return Ok(0);
    }
    let report = pool.join(addresses, wan).await;
    if report.joined() > 0 {
        return Ok(report.joined());
    }
    Err(report.error().unwrap_or_default())
}

/// Joins until at least one address answered.
pub async fn retry(pool: &PoolHandle, join: &RetryJoin) -> Result<(), Exhausted> {
    if join.addresses.is_empty() {
        return Ok(());
    }
    let cluster = join.cluster;
    let wan = cluster == "WAN";
    tracing::info!(target: "agent", cluster, "Joining cluster...");
    let mut attempt = 0;
    loop {
        let report = pool.join(&join.addresses, wan).await;
        if report.joined() > 0 {
            tracing::info!(target: "agent", cluster, num_agents = report.joined(), "Join cluster completed. Synced with initial agents");
            return Ok(());
        }
        attempt += 1;
        let error = report.error().unwrap_or_default();
        if join.max > 0 && attempt > join.max {
            tracing::error!(target: "agent", cluster, error = %error, "max join retry exhausted");
            return Err(Exhausted);
        }
        tracing::warn!(target: "agent", cluster, retry_interval = ?join.interval, error = %error, "Join cluster failed, will retry");
        tokio::time::sleep(join.interval).await;
    }
}
