//! Services that have been critical for too long go.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::Services;

impl Services {
    pub(super) async fn reap(self: Arc<Self>, stop: CancellationToken) {
        let every = self.policy.reap_interval.max(Duration::from_secs(1));
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(every) => {}
            }
            for (check, service) in self.overdue(Instant::now()) {
                tracing::info!(target: "agent", %check, %service,
                    "Check for service has been critical for too long; deregistering service");
                if let Err(error) = self.deregister_service(&service, "").await {
                    tracing::error!(target: "agent", %service, %error, "unable to deregister service");
                }
            }
        }
    }

    /// Checks whose service has had its time, each with the service.
    pub(super) fn overdue(&self, now: Instant) -> Vec<(String, String)> {
        let limits = self.runner.reap_limits();
        self.local.read(|state| {
            limits
                .into_iter()
                .filter_map(|(id, limit)| {
                    let entry = state.check(&id)?;
                    let service = &entry.check.service_id;
                    let over = now.saturating_duration_since(entry.critical_since?) > limit;
                    (over && !service.is_empty()).then(|| (id, service.clone()))
                })
                .collect()
        })
    }
}
