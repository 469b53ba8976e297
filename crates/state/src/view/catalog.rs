//! Nodes, and services by node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::catalog::{Node, NodeInfo, NodeService, NodeServiceList, NodeServices, ServiceName};

use super::View;
use crate::tables::indexes::Table;
use crate::tables::{NodeRow, ServiceRow};
use crate::text::lower;
use crate::watch::{Thing, WatchSet};

/// Shorter texts are not tried as the beginning of a node id.
const MIN_ID_PREFIX: usize = 2;

/// Whether the pairs of `filter` are all among `meta`.
pub(super) fn has_meta(meta: &BTreeMap<String, String>, filter: &BTreeMap<String, String>) -> bool {
    filter.iter().all(|(key, value)| meta.get(key) == Some(value))
}

fn info(row: &NodeRow) -> NodeInfo {
    let node = &row.node;
    NodeInfo {
        address: node.address.clone(),
        checks: row.checks.values().cloned().collect(),
        id: node.id.clone(),
        meta: node.meta.clone(),
        node: node.node.clone(),
        services: row.services.values().cloned().collect(),
        tagged_addresses: node.tagged_addresses.clone(),
    }
}

impl View {
    /// All nodes by name; with a non-empty filter those that have all its pairs.
    pub fn nodes(&self, ws: &mut WatchSet, meta: &BTreeMap<String, String>) -> (u64, Vec<Arc<Node>>) {
        self.watch(ws, Thing::Nodes);
        let nodes = self.tables().nodes.values().map(|row| &row.node);
        let nodes = nodes.filter(|node| has_meta(&node.meta, meta)).cloned().collect();
        (self.max_index(&[Table::Nodes]), nodes)
    }

    /// A node by name.
    pub fn node(&self, ws: &mut WatchSet, node: &str) -> (u64, Option<Arc<Node>>) {
        self.watch(ws, Thing::Node(node));
        (self.max_index(&[Table::Nodes]), self.tables().node(node).map(|row| Arc::clone(&row.node)))
    }

    /// A node by its whole id.
    pub fn node_by_id(&self, ws: &mut WatchSet, id: &str) -> (u64, Option<Arc<Node>>) {
        self.watch(ws, Thing::Nodes);
        (self.max_index(&[Table::Nodes]), self.tables().node_by_id(id).map(|row| Arc::clone(&row.node)))
    }

    /// A node by name, else by id, else by the beginning of an id that no other node shares.
    fn find_node(&self, ws: &mut WatchSet, text: &str) -> Option<&Arc<NodeRow>> {
        self.watch(ws, Thing::Node(text));
        let tables = self.tables();
        if let Some(row) = tables.node(text) {
            return Some(row);
        }
        // Without a match anything new may be one; a match by id may be renamed.
        self.watch(ws, Thing::Nodes);
        if text.len() < MIN_ID_PREFIX {
            return None;
        }
        let id = lower(text);
        let mut matches = tables
            .node_ids
            .range::<_, str>((std::ops::Bound::Included(&*id), std::ops::Bound::Unbounded))
            .take_while(|(other, _)| other.starts_with(&*id));
        let (_, name) = matches.next()?;
        if matches.next().is_some() {
            return None;
        }
        self.watch(ws, Thing::Node(name));
        tables.nodes.get(name)
    }

    /// The services of a node, named or identified, by id. `None` for an unknown node.
    pub fn node_services(&self, ws: &mut WatchSet, node: &str) -> (u64, Option<NodeServices>) {
        let index = self.max_index(&[Table::Nodes, Table::Services]);
        let services = self.find_node(ws, node).map(|row| NodeServices {
            node: Some(Arc::clone(&row.node)),
            services: row
                .services
                .values()
                .map(|service| (service.id.clone(), Arc::clone(service)))
                .collect(),
        });
        (index, services)
    }

    /// The same as a list.
    pub fn node_service_list(&self, ws: &mut WatchSet, node: &str) -> (u64, Option<NodeServiceList>) {
        let index = self.max_index(&[Table::Nodes, Table::Services]);
        let services = self.find_node(ws, node).map(|row| NodeServiceList {
            node: Some(Arc::clone(&row.node)),
            services: row.services.values().cloned().collect(),
        });
        (index, services)
    }

    /// One instance on a node.
    pub fn node_service(&self, ws: &mut WatchSet, node: &str, id: &str) -> (u64, Option<Arc<NodeService>>) {
        self.watch(ws, Thing::Node(node));
        (self.max_index(&[Table::Services]), self.tables().service(node, id).cloned())
    }

    /// Every service name with the tags of its instances, sorted; with a non-empty filter of the
    /// instances on nodes that have all its pairs.
    pub fn services(
        &self,
        ws: &mut WatchSet,
        meta: &BTreeMap<String, String>,
    ) -> (u64, BTreeMap<String, Vec<String>>) {
        self.watch(ws, Thing::Services);
        if meta.is_empty() {
            let rows = self.tables().services.values();
            let tags = |row: &ServiceRow| row.tags.keys().map(ToString::to_string).collect();
            let services = rows.map(|row| (row.name.to_string(), tags(row))).collect();
            return (self.max_index(&[Table::Services]), services);
        }
        self.watch(ws, Thing::Nodes);
        let mut tags: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for row in self.tables().services.values() {
            for instance in row.instances.values().filter(|one| has_meta(&one.node.meta, meta)) {
                let tags = tags.entry(&row.name).or_default();
                tags.extend(instance.service.tags.iter().map(String::as_str));
            }
        }
        let owned = |tags: BTreeSet<&str>| tags.into_iter().map(str::to_owned).collect();
        let services = tags.into_iter().map(|(name, tags)| (name.to_owned(), owned(tags))).collect();
        (self.max_index(&[Table::Services, Table::Nodes]), services)
    }

    /// Every service name.
    pub fn service_names(&self, ws: &mut WatchSet) -> (u64, Vec<ServiceName>) {
        self.watch(ws, Thing::Services);
        let names = self.tables().services.values().map(|row| ServiceName { name: row.name.to_string() });
        (self.max_index(&[Table::Services]), names.collect())
    }

    /// A node with its services and checks; empty for an unknown one.
    pub fn node_info(&self, ws: &mut WatchSet, node: &str) -> (u64, Vec<NodeInfo>) {
        self.watch(ws, Thing::Node(node));
        self.watch(ws, Thing::NodeChecks(node));
        let index = self.max_index(&[Table::Nodes, Table::Services, Table::Checks]);
        (index, self.tables().node(node).map(|row| info(row)).into_iter().collect())
    }

    /// All nodes with their services and checks.
    pub fn node_dump(&self, ws: &mut WatchSet) -> (u64, Vec<NodeInfo>) {
        self.watch(ws, Thing::Catalog);
        let index = self.max_index(&[Table::Nodes, Table::Services, Table::Checks]);
        (index, self.tables().nodes.values().map(|row| info(row)).collect())
    }
}
