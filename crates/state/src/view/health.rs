//! Checks by node, by service and by state.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::health::HealthCheck;

use super::View;
use super::catalog::has_meta;
use crate::tables::indexes::Table;
use crate::text::lower;
use crate::watch::{Thing, WatchSet};

/// Stands for checks in whatever state.
const ANY: &str = "any";

impl View {
    /// One check of a node.
    pub fn node_check(&self, ws: &mut WatchSet, node: &str, id: &str) -> (u64, Option<Arc<HealthCheck>>) {
        self.watch(ws, Thing::NodeChecks(node));
        (self.max_index(&[Table::Checks]), self.tables().check(node, id).cloned())
    }

    /// The checks of a node and of its services.
    pub fn node_checks(&self, ws: &mut WatchSet, node: &str) -> (u64, Vec<Arc<HealthCheck>>) {
        self.watch(ws, Thing::NodeChecks(node));
        let checks = self.tables().node(node).map(|row| row.checks.values().cloned().collect());
        (self.max_index(&[Table::Nodes, Table::Checks]), checks.unwrap_or_default())
    }

    /// The checks of a service's instances, not those of their nodes.
    pub fn service_checks(
        &self,
        ws: &mut WatchSet,
        service: &str,
        node_meta: &BTreeMap<String, String>,
    ) -> (u64, Vec<Arc<HealthCheck>>) {
        self.watch(ws, Thing::Service(service));
        let row = self.tables().services.get(&*lower(service));
        let checks = row
            .into_iter()
            .flat_map(|row| row.instances.values())
            .filter(|instance| has_meta(&instance.node.meta, node_meta))
            .flat_map(|instance| &instance.checks)
            .filter(|check| !check.service_id.is_empty())
            .cloned()
            .collect();
        (self.checks_index(ws, node_meta), checks)
    }

    /// The checks in a state; `any` stands for all.
    pub fn checks_in_state(
        &self,
        ws: &mut WatchSet,
        state: &str,
        node_meta: &BTreeMap<String, String>,
    ) -> (u64, Vec<Arc<HealthCheck>>) {
        let tables = self.tables();
        let wanted = |node: &str| {
            node_meta.is_empty()
                || tables.nodes.get(node).is_some_and(|row| has_meta(&row.node.meta, node_meta))
        };
        let checks = if state == ANY {
            self.watch(ws, Thing::Checks);
            let rows = tables.nodes.values().filter(|row| has_meta(&row.node.meta, node_meta));
            rows.flat_map(|row| row.checks.values().cloned()).collect()
        } else {
            self.watch(ws, Thing::ChecksIn(state));
            let checks = tables.checks_in.get(state).into_iter().flatten();
            checks.filter(|((node, _), _)| wanted(node)).map(|(_, check)| Arc::clone(check)).collect()
        };
        (self.checks_index(ws, node_meta), checks)
    }

    fn checks_index(&self, ws: &mut WatchSet, node_meta: &BTreeMap<String, String>) -> u64 {
        if node_meta.is_empty() {
            return self.max_index(&[Table::Checks]);
        }
        self.watch(ws, Thing::Nodes);
        self.max_index(&[Table::Nodes, Table::Checks])
    }
}
