//! Service instances.

use std::sync::Arc;

use model::catalog::{NodeService, Weights};

use super::indexes::Table;
use super::{Tables, Writer};
use crate::answer::Refusal;
use crate::text::{lower, name, same};
use crate::watch::Thing;

/// Weights that say nothing become one each.
fn settle_weights(weights: Option<Weights>) -> Weights {
    match weights {
        None | Some(Weights { passing: 0, warning: 0 }) => Weights { passing: 1, warning: 1 },
        Some(weights) => Weights { passing: weights.passing.max(1), ..weights },
    }
}

fn is_same(a: &NodeService, b: &NodeService) -> bool {
    a.id == b.id
        && a.service == b.service
        && a.kind == b.kind
        && a.tags == b.tags
        && a.address == b.address
        && a.tagged_addresses == b.tagged_addresses
        && a.port == b.port
        && a.weights == b.weights
        && a.meta == b.meta
        && a.enable_tag_override == b.enable_tag_override
        && a.proxy == b.proxy
        && a.connect == b.connect
        && a.locally_registered_as_sidecar == b.locally_registered_as_sidecar
}

impl Tables {
    pub(crate) fn service(&self, node: &str, id: &str) -> Option<&Arc<NodeService>> {
        self.node(node)?.services.get(&*lower(id))
    }
}

impl Writer {
    /// Inserts or updates an instance; an equal one is left alone.
    pub(crate) fn ensure_service(&mut self, node: &str, mut service: NodeService) -> Result<(), Refusal> {
        let Some(row) = self.tables.node(node) else { return Err(Refusal::MissingNode) };
        service.weights = Some(settle_weights(service.weights.take()));
        service.create_index = self.index;
        service.modify_index = self.index;
        if let Some(old) = row.services.get(&*lower(&service.id)) {
            if is_same(old, &service) {
                return Ok(());
            }
            service.create_index = old.create_index;
        }
        self.put_service(node, Arc::new(service));
        Ok(())
    }

    /// Stores an instance as it is. Its node must exist.
    pub(crate) fn put_service(&mut self, node: &str, service: Arc<NodeService>) {
        let index = service.modify_index;
        let Some((node, _)) = self.tables.nodes.get_key_value(&*lower(node)) else { return };
        let node = Arc::clone(node);
        let id = name(&service.id);
        let Some(row) = self.tables.nodes.get_mut(&node) else { return };
        let old = Arc::make_mut(row).services.insert(Arc::clone(&id), Arc::clone(&service));
        if let Some(old) = old {
            // It may have stood elsewhere in the joined view.
            let moved = !same(&old.service, &service.service)
                || old.connect.native != service.connect.native
                || old.kind != service.kind
                || old.proxy.destination_service_name != service.proxy.destination_service_name;
            if moved {
                self.part_instance(&node, &id, &old, index);
            }
        }
        self.tables.indexes.raise(Table::Services, index);
        self.touched.add(Thing::Services);
        self.touched.add(Thing::Node(&node));
        self.join_instance(&node, &id, index);
    }

    /// Removes an instance and its checks.
    pub(crate) fn delete_service(&mut self, node: &str, id: &str) {
        let Some((key, row)) = self.tables.nodes.get_key_value(&*lower(node)) else { return };
        let Some((id, service)) = row.services.get_key_value(&*lower(id)) else { return };
        let (key, id, service) = (Arc::clone(key), Arc::clone(id), Arc::clone(service));
        let checks: Vec<_> =
            row.checks.values().filter(|check| same(&check.service_id, &id)).cloned().collect();
        for check in checks {
            self.delete_check(&key, &check.check_id);
        }
        self.tables.indexes.raise(Table::Checks, self.index);
        self.touched.add(Thing::Checks);
        if let Some(row) = self.tables.nodes.get_mut(&key) {
            Arc::make_mut(row).services.remove(&id);
        }
        self.tables.indexes.raise(Table::Services, self.index);
        self.touched.add(Thing::Services);
        self.touched.add(Thing::Node(&key));
        self.touched.add(Thing::NodeChecks(&key));
        self.part_instance(&key, &id, &service, self.index);
    }
}
