//! Maintenance: a critical check that takes the node or a service out of service.

use std::time::Instant;

use http_api::ApiError;
use model::health::HealthCheck;

use super::{Services, Source};

/// The check of a node in maintenance.
pub const NODE_MAINTENANCE: &str = "_node_maintenance";
const SERVICE_MAINTENANCE: &str = "_service_maintenance:";
const NO_NODE_REASON: &str =
    "Maintenance mode is enabled for this node, but no reason was provided. This is a default message.";
const NO_SERVICE_REASON: &str =
    "Maintenance mode is enabled for this service, but no reason was provided. This is a default message.";

/// Whether a check stands for maintenance.
pub fn is_maintenance(check_id: &str) -> bool {
    check_id == NODE_MAINTENANCE || check_id.starts_with(SERVICE_MAINTENANCE)
}

impl Services {
    /// Maintenance of the node on or off; what is on already stays as it is.
    ///
    /// # Errors
    /// A disk that cannot be written.
    pub async fn node_maintenance(&self, enable: bool, reason: &str, token: &str) -> Result<(), ApiError> {
        let _turn = self.turn.lock().await;
        if !enable {
            return self.end_maintenance(NODE_MAINTENANCE, "Node left maintenance mode").await;
        }
        let check = HealthCheck {
            name: "Node Maintenance Mode".to_owned(),
            ..self.maintenance_check(NODE_MAINTENANCE.to_owned(), reason, NO_NODE_REASON)
        };
        self.begin_maintenance(check, token, "Node entered maintenance mode").await
    }

    /// Maintenance of one service on or off.
    ///
    /// # Errors
    /// 404 for an unknown service; a disk that cannot be written.
    pub async fn service_maintenance(
        &self,
        id: &str,
        enable: bool,
        reason: &str,
        token: &str,
    ) -> Result<(), ApiError> {
        let _turn = self.turn.lock().await;
        let Some(service) = self.local.read(|state| state.service(id).map(|entry| entry.service.clone()))
        else {
            return Err(ApiError::not_found(format!("No service registered with ID {id:?}")));
        };
        let check_id = format!("{SERVICE_MAINTENANCE}{id}");
        if !enable {
            return self.end_maintenance(&check_id, "Service left maintenance mode").await;
        }
        let check = HealthCheck {
            name: "Service Maintenance Mode".to_owned(),
            service_id: service.id.clone(),
            service_name: service.service.clone(),
            service_tags: service.tags.clone(),
            ..self.maintenance_check(check_id, reason, NO_SERVICE_REASON)
        };
        self.begin_maintenance(check, token, "Service entered maintenance mode").await
    }

    fn maintenance_check(&self, check_id: String, reason: &str, default_reason: &str) -> HealthCheck {
        HealthCheck {
            node: self.node_name.clone(),
            check_id,
            notes: if reason.is_empty() { default_reason } else { reason }.to_owned(),
            status: "critical".to_owned(),
            r#type: "maintenance".to_owned(),
            ..HealthCheck::default()
        }
    }

    async fn begin_maintenance(&self, check: HealthCheck, token: &str, said: &str) -> Result<(), ApiError> {
        if self.local.read(|state| state.check(&check.check_id).is_some()) {
            return Ok(());
        }
        if let Some(store) = &self.store {
            store.put_check(&check, None, token, Source::Local).await?;
        }
        tracing::info!(target: "agent", service = %check.service_id, "{said}");
        self.local.change(|state| state.put_check(check, token.to_owned(), Instant::now()));
        Ok(())
    }

    async fn end_maintenance(&self, check_id: &str, said: &str) -> Result<(), ApiError> {
        if self.local.read(|state| state.check(check_id).is_none()) {
            return Ok(());
        }
        tracing::info!(target: "agent", check = %check_id, "{said}");
        self.drop_check(check_id).await
    }
}
