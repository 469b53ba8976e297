//! Services and checks at the start and at a reload: those of the configuration, and those kept
//! from the last run.
//!
//! What a configuration file defines wins over what was registered before under the same id.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use model::definition::{CheckType, ServiceDefinition};
use model::health::HealthCheck;

use super::{Services, Source, define};
use crate::config::{CheckDefinition, RuntimeConfig};

/// Why a definition of the configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// A service.
    #[error("Failed to register service {id:?}: {reason}")]
    Service {
        /// Its id.
        id: String,
        /// Why.
        reason: String,
    },
    /// A check.
    #[error("Failed to register check {id:?}: {reason}")]
    Check {
        /// Its id.
        id: String,
        /// Why.
        reason: String,
    },
}

fn service_id(definition: &ServiceDefinition) -> String {
    if definition.id.is_empty() { definition.name.clone() } else { definition.id.clone() }
}

fn check_id(definition: &CheckDefinition) -> String {
    let check = &definition.check;
    if check.check_id.is_empty() { check.name.clone() } else { check.check_id.clone() }
}

impl Services {
    /// Takes up what the configuration defines and what was kept; once, at the start.
    ///
    /// # Errors
    /// A definition of the configuration that breaks a rule.
    pub async fn load(&self, config: &RuntimeConfig) -> Result<(), LoadError> {
        let _turn = self.turn.lock().await;
        let services: BTreeMap<_, _> =
            config.services.iter().map(|definition| (service_id(definition), definition.clone())).collect();
        let checks: BTreeMap<_, _> =
            config.checks.iter().map(|definition| (check_id(definition), definition.clone())).collect();
        for (id, definition) in &services {
            self.configure_service(id, definition).await?;
        }
        self.restore_services().await;
        for (id, definition) in &checks {
            self.configure_check(id, definition).await?;
        }
        self.restore_checks().await;
        *self.configured.lock() = super::Configured { services, checks };
        Ok(())
    }

    /// Takes up a changed configuration. What did not change goes on undisturbed, and what stays
    /// keeps its status.
    ///
    /// # Errors
    /// A definition that breaks a rule; what came before it has been taken up.
    pub async fn reload(&self, config: &RuntimeConfig) -> Result<(), LoadError> {
        let _turn = self.turn.lock().await;
        self.runner.set_discard_output(config.checks_policy.discard_output);
        let services: BTreeMap<_, _> =
            config.services.iter().map(|definition| (service_id(definition), definition.clone())).collect();
        let checks: BTreeMap<_, _> =
            config.checks.iter().map(|definition| (check_id(definition), definition.clone())).collect();
        let old = std::mem::take(&mut *self.configured.lock());
        let result = self.take_up(&old, &services, &checks).await;
        *self.configured.lock() = super::Configured { services, checks };
        result
    }

    async fn take_up(
        &self,
        old: &super::Configured,
        services: &BTreeMap<String, ServiceDefinition>,
        checks: &BTreeMap<String, CheckDefinition>,
    ) -> Result<(), LoadError> {
        for id in old.checks.keys().filter(|id| !checks.contains_key(*id)) {
            self.drop_check(id).await.map_err(|error| check_error(id, error))?;
        }
        for id in old.services.keys().filter(|id| !services.contains_key(*id)) {
            self.drop_service(id).await.map_err(|error| service_error(id, error))?;
        }
        for (id, definition) in services {
            let there = self.local.read(|state| state.service(id).is_some());
            let before = old.services.get(id);
            if there && before == Some(definition) {
                continue;
            }
            if let Some(before) = before {
                self.drop_leftovers(id, before, definition)
                    .await
                    .map_err(|error| service_error(id, error))?;
            }
            self.configure_service(id, definition).await?;
        }
        for (id, definition) in checks {
            let there = self.local.read(|state| state.check(id).is_some());
            if !there || old.checks.get(id) != Some(definition) {
                self.configure_check(id, definition).await?;
            }
        }
        Ok(())
    }

    /// Drops what an earlier definition of a service brought along and a later one does not.
    async fn drop_leftovers(
        &self,
        id: &str,
        before: &ServiceDefinition,
        after: &ServiceDefinition,
    ) -> Result<(), http_api::ApiError> {
        let now = define::service(after, &self.node_name);
        for (check, _) in define::service(before, &self.node_name).checks {
            if !now.checks.iter().any(|(kept, _)| kept.check_id == check.check_id) {
                self.drop_check(&check.check_id).await?;
            }
        }
        let has_sidecar = |definition: &ServiceDefinition| {
            definition.connect.as_ref().is_some_and(|c| c.sidecar_service.is_some())
        };
        if has_sidecar(before) && !has_sidecar(after) {
            self.drop_one_service(&define::sidecar_id(id)).await?;
        }
        Ok(())
    }

    async fn configure_service(&self, id: &str, definition: &ServiceDefinition) -> Result<(), LoadError> {
        let failed = |error| service_error(id, error);
        http_api::validate::service(definition).map_err(failed)?;
        // The file is where it comes from; a copy kept from an earlier registration is void.
        if let Some(store) = &self.store {
            store.remove_service(id).await.map_err(failed)?;
        }
        self.define(definition, definition.token.clone(), Source::Local, false, false).await.map_err(failed)
    }

    async fn configure_check(&self, id: &str, definition: &CheckDefinition) -> Result<(), LoadError> {
        let failed = |error| check_error(id, error);
        let kind = &definition.check;
        if kind.name.is_empty() {
            return Err(LoadError::Check { id: id.to_owned(), reason: "Missing check name".to_owned() });
        }
        http_api::validate::check(kind).map_err(failed)?;
        if !http_api::validate::is_status(&kind.status) {
            return Err(LoadError::Check { id: id.to_owned(), reason: "Bad check status".to_owned() });
        }
        self.may_run(kind, Source::Local).map_err(failed)?;
        let service = self.service_of(&definition.service_id).map_err(failed)?;
        let check = define::check(kind, service.as_deref(), &self.node_name, false);
        self.put_check(check, kind.clone(), definition.token.clone(), Source::Local, false)
            .await
            .map_err(failed)
    }

    async fn restore_services(&self) {
        let Some(store) = &self.store else { return };
        for kept in store.all_services().await {
            let id = kept.service.id.clone();
            if id.is_empty() {
                continue;
            }
            let defined_by_file = self.local.read(|state| state.service(&id).is_some());
            if defined_by_file || kept.source == "local" {
                tracing::debug!(target: "agent", service = %id, "service definition is not restored from file");
                if let Err(error) = store.remove_service(&id).await {
                    tracing::warn!(target: "agent", service = %id, %error, "failed purging service");
                }
                continue;
            }
            let mut service = kept.service;
            service.locally_registered_as_sidecar |= kept.locally_registered_as_sidecar;
            tracing::debug!(target: "agent", service = %id, "restored service definition from file");
            self.local.change(|state| state.put_service(service, kept.token));
        }
    }

    async fn restore_checks(&self) {
        let Some(store) = &self.store else { return };
        for kept in store.all_checks().await {
            let id = kept.check.check_id.clone();
            if id.is_empty() {
                continue;
            }
            let mut usable = self.local.read(|state| state.check(&id).is_none());
            if let Err(reason) = self.restorable(&kept.check, kept.chk_type.as_ref()) {
                tracing::warn!(target: "agent", check = %id, %reason, "Failed to restore check");
                usable = false;
            }
            if !usable {
                if let Err(error) = store.remove_check(&id).await {
                    tracing::warn!(target: "agent", check = %id, %error, "failed purging check");
                }
                continue;
            }
            // Until it has been looked at, nobody should rely on it.
            let check = HealthCheck { status: "critical".to_owned(), ..kept.check };
            tracing::debug!(target: "agent", check = %id, "restored health check from file");
            match kept.chk_type {
                None => self.local.change(|state| state.put_check(check, kept.token, Instant::now())),
                Some(kind) => {
                    if let Err(error) = self.put_check(check, kind, kept.token, Source::Remote, false).await {
                        tracing::warn!(target: "agent", check = %id, %error, "Failed to restore check");
                    }
                }
            }
        }
    }

    fn restorable(&self, check: &HealthCheck, kind: Option<&CheckType>) -> Result<(), String> {
        let told = |error: http_api::ApiError| error.text;
        let _service: Option<Arc<_>> = self.service_of(&check.service_id).map_err(told)?;
        let Some(kind) = kind else { return Ok(()) };
        http_api::validate::check(kind).map_err(told)?;
        self.may_run(kind, Source::Remote).map_err(told)
    }
}

fn service_error(id: &str, error: http_api::ApiError) -> LoadError {
    LoadError::Service { id: id.to_owned(), reason: error.text }
}

fn check_error(id: &str, error: http_api::ApiError) -> LoadError {
    LoadError::Check { id: id.to_owned(), reason: error.text }
}
