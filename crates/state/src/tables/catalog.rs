//! The joined view of service instances, kept up to date with nodes, services and checks.

use std::sync::Arc;

use imbl::OrdMap;
use model::catalog::NodeService;
use model::health::CheckServiceNode;

use super::indexes::Table;
use super::{Instance, InstanceKey, NodeRow, ServiceRow, Writer};
use crate::text::{Name, lower, name, same};
use crate::watch::Thing;

/// The kind of a service that speaks connect for another one.
const CONNECT_PROXY: &str = "connect-proxy";

/// The service that an instance can be reached for over connect.
fn stands_for(service: &NodeService) -> Option<&str> {
    if service.connect.native {
        Some(&service.service)
    } else if service.kind == CONNECT_PROXY {
        Some(&service.proxy.destination_service_name)
    } else {
        None
    }
}

fn join(row: &NodeRow, id: &str, service: &Arc<NodeService>) -> Instance {
    let of_node = row.checks.values().filter(|check| check.service_id.is_empty());
    let of_service =
        row.checks.values().filter(|check| !check.service_id.is_empty() && same(&check.service_id, id));
    let mut checks: Vec<_> = of_node.chain(of_service).cloned().collect();
    checks.shrink_to_fit();
    Arc::new(CheckServiceNode { checks, node: Arc::clone(&row.node), service: Arc::clone(service) })
}

impl ServiceRow {
    fn add_tags(&mut self, tags: &[String]) {
        for tag in tags {
            match self.tags.get_mut(tag.as_str()) {
                Some(count) => *count = count.saturating_add(1),
                None => drop(self.tags.insert(Arc::from(tag.as_str()), 1)),
            }
        }
    }

    fn remove_tags(&mut self, tags: &[String]) {
        for tag in tags {
            match self.tags.get_mut(tag.as_str()) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(self.tags.remove(tag.as_str())),
            }
        }
    }
}

impl Writer {
    /// Joins one instance anew and marks its service as changed at `index`.
    pub(crate) fn join_instance(&mut self, node: &Name, id: &Name, index: u64) {
        let Some(row) = self.tables.nodes.get(node) else { return };
        let Some(service) = row.services.get(id) else { return };
        let instance = join(row, id, service);
        let service = Arc::clone(service);
        let key: InstanceKey = (Arc::clone(node), Arc::clone(id));

        if let Some(row) = self.tables.services.get_mut(&*lower(&service.service)) {
            let row = Arc::make_mut(row);
            row.index = index.max(row.index);
            if *row.name != *service.service {
                row.name = Arc::from(service.service.as_str());
            }
            let old = row.instances.insert(key.clone(), Arc::clone(&instance));
            self.tables.instances += usize::from(old.is_none());
            // Mostly it is the node or a check that changed.
            if old.as_ref().is_none_or(|old| old.service.tags != service.tags) {
                row.add_tags(&service.tags);
                old.iter().for_each(|old| row.remove_tags(&old.service.tags));
            }
        } else {
            let mut row = ServiceRow {
                name: Arc::from(service.service.as_str()),
                index,
                instances: OrdMap::unit(key.clone(), Arc::clone(&instance)),
                tags: OrdMap::new(),
            };
            row.add_tags(&service.tags);
            self.tables.services.insert(name(&service.service), Arc::new(row));
            self.tables.instances += 1;
        }
        if let Some(destination) = stands_for(&service) {
            match self.tables.connect.get_mut(&*lower(destination)) {
                Some(instances) => drop(instances.insert(key, instance)),
                None => drop(self.tables.connect.insert(name(destination), OrdMap::unit(key, instance))),
            }
        }
        self.touch_service(&service, index);
    }

    /// Joins all instances of a node anew: its data or its own checks changed.
    pub(crate) fn join_node(&mut self, node: &Name, index: u64) {
        let Some(row) = self.tables.nodes.get(node) else { return };
        let ids: Vec<Name> = row.services.keys().cloned().collect();
        for id in ids {
            self.join_instance(node, &id, index);
        }
    }

    /// Takes an instance out of the joined view.
    pub(crate) fn part_instance(&mut self, node: &Name, id: &Name, service: &NodeService, index: u64) {
        let key: InstanceKey = (Arc::clone(node), Arc::clone(id));
        let service_key = lower(&service.service);
        if let Some(row) = self.tables.services.get_mut(&*service_key) {
            let row = Arc::make_mut(row);
            row.index = index.max(row.index);
            if let Some(old) = row.instances.remove(&key) {
                self.tables.instances -= 1;
                row.remove_tags(&old.service.tags);
            }
            if row.instances.is_empty() {
                self.tables.services.remove(&*service_key);
                self.tables.indexes.raise(Table::LastExtinction, index);
            }
        }
        if let Some(destination) = stands_for(service) {
            let destination = lower(destination);
            if let Some(instances) = self.tables.connect.get_mut(&*destination) {
                instances.remove(&key);
                if instances.is_empty() {
                    self.tables.connect.remove(&*destination);
                }
            }
        }
        self.touch_service(service, index);
    }

    fn touch_service(&mut self, service: &NodeService, index: u64) {
        self.tables.indexes.raise_kind(&service.kind, index);
        self.touched.add(Thing::Service(&service.service));
        self.touched.add(Thing::Kind(&service.kind));
        self.touched.add(Thing::Catalog);
        if let Some(destination) = stands_for(service) {
            self.touched.add(Thing::Connect(destination));
        }
    }
}
