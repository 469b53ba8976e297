//! Checks of nodes and services.

use std::sync::Arc;

use imbl::OrdMap;
use model::health::HealthCheck;

use super::indexes::Table;
use super::nodes::CRITICAL;
use super::{InstanceKey, Tables, Writer};
use crate::answer::Refusal;
use crate::text::{Name, lower, name};
use crate::watch::Thing;

fn is_same(a: &HealthCheck, b: &HealthCheck) -> bool {
    a.node == b.node
        && a.check_id == b.check_id
        && a.name == b.name
        && a.status == b.status
        && a.notes == b.notes
        && a.output == b.output
        && a.service_id == b.service_id
        && a.service_name == b.service_name
        && a.service_tags == b.service_tags
        && a.definition == b.definition
        && a.r#type == b.r#type
}

impl Tables {
    pub(crate) fn check(&self, node: &str, id: &str) -> Option<&Arc<HealthCheck>> {
        self.node(node)?.checks.get(&*lower(id))
    }
}

impl Writer {
    /// Inserts or updates a check; an equal one is left alone. A critical one ends the sessions
    /// that rely on it in either case.
    pub(crate) fn ensure_check(&mut self, mut check: HealthCheck) -> Result<(), Refusal> {
        let Some(row) = self.tables.node(&check.node) else { return Err(Refusal::MissingNode) };
        if check.status.is_empty() {
            check.status = CRITICAL.to_owned();
        }
        if !check.service_id.is_empty() {
            let Some(service) = row.services.get(&*lower(&check.service_id)) else {
                return Err(Refusal::MissingService);
            };
            check.service_name.clone_from(&service.service);
            check.service_tags.clone_from(&service.tags);
        }
        check.create_index = self.index;
        check.modify_index = self.index;
        let mut modified = true;
        if let Some(old) = row.checks.get(&*lower(&check.check_id)) {
            check.create_index = old.create_index;
            modified = !is_same(old, &check);
        }
        if check.status == CRITICAL {
            let node = name(&check.node);
            let id = name(&check.check_id);
            for session in self.tables.sessions_of_check(&node, &id) {
                self.delete_session(&session);
            }
        }
        if modified {
            self.put_check(Arc::new(check));
        }
        Ok(())
    }

    /// Stores a check as it is. Its node must exist.
    pub(crate) fn put_check(&mut self, check: Arc<HealthCheck>) {
        let index = check.modify_index;
        let Some((node, _)) = self.tables.nodes.get_key_value(&*lower(&check.node)) else { return };
        let node = Arc::clone(node);
        let id = name(&check.check_id);
        let Some(row) = self.tables.nodes.get_mut(&node) else { return };
        let old = Arc::make_mut(row).checks.insert(Arc::clone(&id), Arc::clone(&check));
        let key: InstanceKey = (Arc::clone(&node), id);
        match &old {
            Some(old) if old.status == check.status => {}
            Some(old) => self.leave_state(&old.status, &key),
            None => {}
        }
        match self.tables.checks_in.get_mut(check.status.as_str()) {
            Some(checks) => drop(checks.insert(key, Arc::clone(&check))),
            None => {
                let state = Arc::from(check.status.as_str());
                self.tables.checks_in.insert(state, OrdMap::unit(key, Arc::clone(&check)));
            }
        }
        self.touch_check(&node, &check, index);
        // It may have belonged to another service, or to the node.
        if let Some(old) = old.filter(|old| old.service_id != check.service_id) {
            self.touch_check(&node, &old, index);
        }
    }

    fn leave_state(&mut self, status: &str, key: &InstanceKey) {
        self.touched.add(Thing::ChecksIn(status));
        if let Some(checks) = self.tables.checks_in.get_mut(status) {
            checks.remove(key);
            if checks.is_empty() {
                self.tables.checks_in.remove(status);
            }
        }
    }

    /// Tells of a check that came, changed or went, and joins the instances it speaks for anew.
    fn touch_check(&mut self, node: &Name, check: &HealthCheck, index: u64) {
        self.tables.indexes.raise(Table::Checks, index);
        self.touched.add(Thing::Checks);
        self.touched.add(Thing::ChecksIn(&check.status));
        self.touched.add(Thing::NodeChecks(node));
        self.touched.add(Thing::Catalog);
        if check.service_id.is_empty() {
            self.join_node(node, index);
        } else {
            self.join_instance(node, &name(&check.service_id), index);
        }
    }

    /// Removes a check and ends the sessions that rely on it.
    pub(crate) fn delete_check(&mut self, node: &str, id: &str) {
        let Some((node, row)) = self.tables.nodes.get_key_value(&*lower(node)) else { return };
        let Some((id, check)) = row.checks.get_key_value(&*lower(id)) else { return };
        let (node, id, check) = (Arc::clone(node), Arc::clone(id), Arc::clone(check));
        if let Some(row) = self.tables.nodes.get_mut(&node) {
            Arc::make_mut(row).checks.remove(&id);
        }
        self.leave_state(&check.status, &(Arc::clone(&node), Arc::clone(&id)));
        self.touch_check(&node, &check, self.index);
        for session in self.tables.sessions_of_check(&node, &id) {
            self.delete_session(&session);
        }
    }
}
