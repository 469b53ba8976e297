//! Nodes: names are unique, ids are unique where there are any, and an id may change its name.

use std::sync::Arc;

use imbl::OrdMap;
use model::catalog::Node;

use super::indexes::Table;
use super::{NodeRow, Tables, Writer};
use crate::answer::Refusal;
use crate::text::{lower, name, same};
use crate::watch::Thing;

/// The check that gossip keeps of its members.
pub(crate) const SERF_CHECK: &str = "serfhealth";
pub(crate) const CRITICAL: &str = "critical";

fn is_same(a: &Node, b: &Node) -> bool {
    a.id == b.id
        && a.node == b.node
        && a.address == b.address
        && a.datacenter == b.datacenter
        && a.tagged_addresses == b.tagged_addresses
        && a.meta == b.meta
}

impl Tables {
    pub(crate) fn node(&self, node: &str) -> Option<&Arc<NodeRow>> {
        self.nodes.get(&*lower(node))
    }

    pub(crate) fn node_by_id(&self, id: &str) -> Option<&Arc<NodeRow>> {
        self.nodes.get(self.node_ids.get(&*lower(id))?)
    }

    /// Whether the name belongs to another living node. One whose member is gone, or that never
    /// was a member, gives its name away.
    fn reserved(&self, node: &Node, spare_nameless: bool) -> Option<Refusal> {
        let row = self.node(&node.node)?;
        let other = &row.node;
        if other.id == node.id || (other.id.is_empty() && spare_nameless) {
            return None;
        }
        let alive = row.checks.get(SERF_CHECK).is_some_and(|check| check.status != CRITICAL);
        alive.then(|| {
            Refusal::text(format!(
                "Node name {} is reserved by node {} with name {} ({})",
                node.node, other.id, other.node, other.address
            ))
        })
    }
}

impl Writer {
    /// Inserts or updates a node; an equal one is left alone.
    pub(crate) fn ensure_node(&mut self, mut node: Node) -> Result<(), Refusal> {
        let mut existing = None;
        if !node.id.is_empty() {
            if let Some(row) = self.tables.node_by_id(&node.id) {
                let old = Arc::clone(&row.node);
                if old.node != node.node {
                    if let Some(conflict) = self.tables.reserved(&node, false) {
                        return Err(Refusal::text(format!(
                            "Error while renaming Node ID: {:?} ({}): {conflict}",
                            node.id, node.address
                        )));
                    }
                    self.delete_node(&old.node);
                }
                existing = Some(old);
            } else if let Some(conflict) = self.tables.reserved(&node, true) {
                return Err(Refusal::text(format!(
                    "Error while renaming Node ID: {:?}: {conflict}",
                    node.id
                )));
            }
        }
        if existing.is_none() {
            existing = self.tables.node(&node.node).map(|row| Arc::clone(&row.node));
        }
        node.create_index = self.index;
        node.modify_index = self.index;
        if let Some(old) = existing {
            if is_same(&old, &node) {
                return Ok(());
            }
            node.create_index = old.create_index;
        }
        self.put_node(Arc::new(node));
        Ok(())
    }

    /// Stores a node as it is.
    pub(crate) fn put_node(&mut self, node: Arc<Node>) {
        let index = node.modify_index;
        let key = name(&node.node);
        if let Some(row) = self.tables.nodes.get_mut(&key) {
            let old = Arc::clone(&row.node);
            Arc::make_mut(row).node = Arc::clone(&node);
            if !same(&old.id, &node.id) {
                self.tables.node_ids.remove(&*lower(&old.id));
            }
        } else {
            let row = NodeRow { node: Arc::clone(&node), services: OrdMap::new(), checks: OrdMap::new() };
            self.tables.nodes.insert(Arc::clone(&key), Arc::new(row));
        }
        if !node.id.is_empty() {
            self.tables.node_ids.insert(name(&node.id), Arc::clone(&key));
        }
        self.tables.indexes.raise(Table::Nodes, index);
        self.touch_node(&key);
        self.join_node(&key, index);
    }

    fn touch_node(&mut self, key: &str) {
        self.touched.add(Thing::Nodes);
        self.touched.add(Thing::Node(key));
        self.touched.add(Thing::NodeChecks(key));
        self.touched.add(Thing::Catalog);
    }

    /// Removes a node with everything that hangs on it.
    pub(crate) fn delete_node(&mut self, node: &str) {
        let Some((key, row)) = self.tables.nodes.get_key_value(&*lower(node)) else { return };
        let (key, row) = (Arc::clone(key), Arc::clone(row));
        for service in row.services.values() {
            self.delete_service(&key, &service.id);
        }
        for check in row.checks.values() {
            self.delete_check(&key, &check.check_id);
        }
        self.delete_coordinates(&key);
        self.tables.nodes.remove(&key);
        if !row.node.id.is_empty() {
            self.tables.node_ids.remove(&*lower(&row.node.id));
        }
        self.tables.indexes.raise(Table::Nodes, self.index);
        self.touch_node(&key);
        for session in self.tables.sessions_of_node(&key) {
            self.delete_session(&session);
        }
    }
}
