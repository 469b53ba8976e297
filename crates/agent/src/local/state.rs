//! What is registered on this node, and whether the catalog shows it so: pure bookkeeping.
//!
//! What still has to go to the catalog is kept in sets, so that a change costs its own size and
//! not that of everything registered.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use model::catalog::{Node, NodeService};
use model::health::HealthCheck;

/// The services and checks that the catalog keeps for a server by itself: anti-entropy leaves them
/// alone.
const SERVER_SERVICE: &str = "consul";
const SERF_CHECK: &str = "serfHealth";

/// What the catalog is to show of the node itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeRecord {
    /// Node id.
    pub id: String,
    /// Node name.
    pub name: String,
    /// LAN address.
    pub address: String,
    /// Datacenter.
    pub datacenter: String,
    /// `lan`, `wan` and the like.
    pub tagged_addresses: BTreeMap<String, String>,
    /// Metadata.
    pub meta: BTreeMap<String, String>,
}

impl NodeRecord {
    fn is(&self, node: &Node) -> bool {
        self.id == node.id
            && self.address == node.address
            && self.tagged_addresses == node.tagged_addresses
            && self.meta == node.meta
    }
}

/// A service of this node.
#[derive(Clone, Debug)]
pub struct ServiceEntry {
    /// The service.
    pub service: Arc<NodeService>,
    /// Token for its place in the catalog; empty for the agent's.
    pub token: String,
    deleted: bool,
}

/// A check of this node.
#[derive(Clone, Debug)]
pub struct CheckEntry {
    /// The check with its present status.
    pub check: Arc<HealthCheck>,
    /// Token for its place in the catalog; empty for the agent's.
    pub token: String,
    /// Since when it has been critical.
    pub critical_since: Option<Instant>,
    /// A change of output alone waits until then before it goes to the catalog.
    deferred_until: Option<Instant>,
    /// The service that the catalog has it under, as far as is known.
    placed: Option<String>,
    deleted: bool,
}

impl CheckEntry {
    /// Whether it leaves the catalog together with a service.
    fn goes_with(&self, service_id: &str) -> bool {
        self.deleted && self.placed.as_deref().is_none_or(|placed| placed == service_id)
    }
}

/// Services and checks by id.
#[derive(Debug, Default)]
pub struct State {
    node: NodeRecord,
    node_in_sync: bool,
    services: BTreeMap<String, ServiceEntry>,
    checks: BTreeMap<String, CheckEntry>,
    /// Ids of checks, removed ones too, by the service they belong to.
    of_service: HashMap<String, BTreeSet<String>>,
    dirty_services: BTreeSet<String>,
    dirty_checks: BTreeSet<String>,
    deferred: BTreeSet<(Instant, String)>,
}

/// Something that the catalog lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Register the node itself.
    Node,
    /// Register a service, together with these checks of it.
    Service { id: String, checks: Vec<String> },
    /// Remove a service.
    RemoveService { id: String },
    /// Register a check.
    Check { id: String },
    /// Remove a check.
    RemoveCheck { id: String },
}

impl State {
    pub(super) fn new(node: NodeRecord) -> Self {
        Self { node, ..Self::default() }
    }

    /// The node itself.
    pub fn node(&self) -> &NodeRecord {
        &self.node
    }

    /// Replaces the node's metadata. The catalog follows with the next comparison, not at once.
    pub fn set_meta(&mut self, meta: BTreeMap<String, String>) {
        self.node.meta = meta;
    }

    /// The services.
    pub fn services(&self) -> impl Iterator<Item = &ServiceEntry> {
        self.services.values().filter(|entry| !entry.deleted)
    }

    /// One service.
    pub fn service(&self, id: &str) -> Option<&ServiceEntry> {
        self.services.get(id).filter(|entry| !entry.deleted)
    }

    /// The checks.
    pub fn checks(&self) -> impl Iterator<Item = &CheckEntry> {
        self.checks.values().filter(|entry| !entry.deleted)
    }

    /// One check.
    pub fn check(&self, id: &str) -> Option<&CheckEntry> {
        self.checks.get(id).filter(|entry| !entry.deleted)
    }

    /// The checks of a service; those of the node for no service.
    pub fn entries_of(&self, service_id: &str) -> impl Iterator<Item = &CheckEntry> {
        self.of_service.get(service_id).into_iter().flatten().filter_map(|id| self.check(id))
    }

    /// Ids of the checks of a service.
    pub fn checks_of(&self, service_id: &str) -> Vec<String> {
        self.entries_of(service_id).map(|entry| entry.check.check_id.clone()).collect()
    }

    /// Adds or replaces a service. One that is as before stays in sync.
    pub fn put_service(&mut self, service: NodeService, token: String) {
        if self.service(&service.id).is_some_and(|old| *old.service == service && old.token == token) {
            return;
        }
        let id = service.id.clone();
        self.dirty_services.insert(id.clone());
        self.services.insert(id, ServiceEntry { service: Arc::new(service), token, deleted: false });
    }

    /// Takes a service out, with its checks; the catalog follows. Tells whether it was there.
    pub fn remove_service(&mut self, id: &str) -> bool {
        for check in self.checks_of(id) {
            self.remove_check(&check);
        }
        match self.services.get_mut(id) {
            Some(entry) if !entry.deleted => {
                entry.deleted = true;
                self.dirty_services.insert(id.to_owned());
                true
            }
            _ => false,
        }
    }

    /// Adds or replaces a check.
    pub fn put_check(&mut self, check: HealthCheck, token: String, now: Instant) {
        let old = self.check(&check.check_id);
        if old.is_some_and(|old| *old.check == check && old.token == token) {
            return;
        }
        let critical_since = match old.and_then(|old| old.critical_since) {
            since @ Some(_) if check.status == "critical" => since,
            _ => (check.status == "critical").then_some(now),
        };
        let id = check.check_id.clone();
        let placed = self.forget_check(&id).and_then(|old| old.placed);
        self.of_service.entry(check.service_id.clone()).or_default().insert(id.clone());
        self.dirty_checks.insert(id.clone());
        let entry = CheckEntry {
            check: Arc::new(check),
            token,
            critical_since,
            deferred_until: None,
            placed,
            deleted: false,
        };
        self.checks.insert(id, entry);
    }

    /// Takes a check out; the catalog follows. Tells whether it was there.
    pub fn remove_check(&mut self, id: &str) -> bool {
        match self.checks.get_mut(id) {
            Some(entry) if !entry.deleted => {
                entry.deleted = true;
                self.mark_check(id);
                true
            }
            _ => false,
        }
    }

    /// Notes a result. A change of output alone may wait until `defer`, since outputs change with
    /// every run and nobody decides by them. Gives the status it had before if anything changed.
    pub fn set_result(
        &mut self,
        id: &str,
        status: &str,
        output: &str,
        now: Instant,
        defer: Option<Instant>,
    ) -> Option<String> {
        let entry = self.checks.get_mut(id).filter(|entry| !entry.deleted)?;
        let same_status = entry.check.status == status;
        if same_status && entry.check.output == output {
            return None;
        }
        if !same_status {
            entry.critical_since = (status == "critical").then_some(now);
        }
        let check = Arc::make_mut(&mut entry.check);
        output.clone_into(&mut check.output);
        let before = std::mem::replace(&mut check.status, status.to_owned());
        match defer {
            // Already on its way, or already waiting: the first change counts.
            Some(_) if same_status && (self.dirty_checks.contains(id) || entry.deferred_until.is_some()) => {}
            Some(until) if same_status => {
                entry.deferred_until = Some(until);
                self.deferred.insert((until, id.to_owned()));
            }
            _ => self.mark_check(id),
        }
        Some(before)
    }

    /// The check has to go now.
    fn mark_check(&mut self, id: &str) {
        self.cease_waiting(id);
        self.dirty_checks.insert(id.to_owned());
    }

    fn cease_waiting(&mut self, id: &str) {
        if let Some(until) = self.checks.get_mut(id).and_then(|entry| entry.deferred_until.take()) {
            self.deferred.remove(&(until, id.to_owned()));
        }
    }

    /// Takes a check out of everything.
    fn forget_check(&mut self, id: &str) -> Option<CheckEntry> {
        self.cease_waiting(id);
        self.dirty_checks.remove(id);
        let entry = self.checks.remove(id)?;
        if let Some(ids) = self.of_service.get_mut(&entry.check.service_id) {
            ids.remove(id);
            if ids.is_empty() {
                self.of_service.remove(&entry.check.service_id);
            }
        }
        Some(entry)
    }

    /// The node's own record has to be looked at again.
    pub(super) fn forget_sync(&mut self) {
        self.node_in_sync = false;
    }

    /// Compares with what the catalog holds and notes the differences. `None`: the catalog does not
    /// have the node.
    pub(super) fn compare(
        &mut self,
        node: Option<&Node>,
        services: &[Arc<NodeService>],
        checks: &[Arc<HealthCheck>],
    ) {
        self.node_in_sync = node.is_some_and(|node| self.node.is(node));
        self.compare_services(services);
        self.compare_checks(checks);
    }

    fn compare_services(&mut self, there: &[Arc<NodeService>]) {
        let there: HashMap<&str, &Arc<NodeService>> =
            there.iter().map(|service| (service.id.as_str(), service)).collect();
        let dirty = &mut self.dirty_services;
        self.services.retain(|id, entry| {
            let remote = there.get(id.as_str());
            if entry.deleted && remote.is_none() {
                dirty.remove(id);
                return false;
            }
            if !entry.deleted
                && let Some(remote) = remote
                && entry.service.enable_tag_override
                && entry.service.tags != remote.tags
            {
                // The catalog's tags are the truth for such a service.
                Arc::make_mut(&mut entry.service).tags.clone_from(&remote.tags);
            }
            if !entry.deleted && remote.is_some_and(|remote| same_service(&entry.service, remote)) {
                dirty.remove(id);
            } else {
                dirty.insert(id.clone());
            }
            true
        });
        for (id, remote) in there {
            if id != SERVER_SERVICE && !self.services.contains_key(id) {
                let entry = ServiceEntry { service: remote.clone(), token: String::new(), deleted: true };
                self.services.insert(id.to_owned(), entry);
                self.dirty_services.insert(id.to_owned());
            }
        }
    }

    fn compare_checks(&mut self, there: &[Arc<HealthCheck>]) {
        let there: HashMap<&str, &Arc<HealthCheck>> =
            there.iter().map(|check| (check.check_id.as_str(), check)).collect();
        let mut gone = Vec::new();
        let mut differ = Vec::new();
        for (id, entry) in &mut self.checks {
            let remote = there.get(id.as_str());
            entry.placed = remote.map(|remote| remote.service_id.clone());
            match remote {
                None if entry.deleted => gone.push(id.clone()),
                Some(remote)
                    if !entry.deleted && same_check(&entry.check, remote, entry.deferred_until.is_some()) =>
                {
                    self.dirty_checks.remove(id);
                }
                _ => differ.push(id.clone()),
            }
        }
        for id in &gone {
            self.forget_check(id);
        }
        for id in &differ {
            self.mark_check(id);
        }
        for (id, remote) in there {
            if id != SERF_CHECK && !self.checks.contains_key(id) {
                let entry = CheckEntry {
                    check: remote.clone(),
                    token: String::new(),
                    critical_since: None,
                    deferred_until: None,
                    placed: Some(remote.service_id.clone()),
                    deleted: true,
                };
                self.of_service.entry(remote.service_id.clone()).or_default().insert(id.to_owned());
                self.checks.insert(id.to_owned(), entry);
                self.dirty_checks.insert(id.to_owned());
            }
        }
    }

    /// What has to be done now.
    pub(super) fn steps(&mut self, now: Instant) -> Vec<Step> {
        while let Some((until, id)) = self.deferred.pop_first() {
            if until > now {
                self.deferred.insert((until, id));
                break;
            }
            if let Some(entry) = self.checks.get_mut(&id) {
                entry.deferred_until = None;
            }
            self.dirty_checks.insert(id);
        }
        let mut steps = Vec::new();
        let mut along = BTreeSet::new();
        for id in &self.dirty_services {
            let Some(entry) = self.services.get(id) else { continue };
            if entry.deleted {
                // Its checks go with it.
                along.extend(
                    self.of_service
                        .get(id)
                        .into_iter()
                        .flatten()
                        .filter(|check| self.checks.get(*check).is_some_and(|check| check.goes_with(id))),
                );
                steps.push(Step::RemoveService { id: id.clone() });
                continue;
            }
            let checks: Vec<String> = self
                .entries_of(id)
                .filter(|check| check.token == entry.token)
                .map(|check| &check.check.check_id)
                .filter(|check| self.dirty_checks.contains(*check))
                .cloned()
                .collect();
            along.extend(checks.iter().filter_map(|check| self.dirty_checks.get(check)));
            steps.push(Step::Service { id: id.clone(), checks });
        }
        for id in &self.dirty_checks {
            let Some(entry) = self.checks.get(id).filter(|_| !along.contains(id)) else { continue };
            steps.push(if entry.deleted {
                Step::RemoveCheck { id: id.clone() }
            } else {
                Step::Check { id: id.clone() }
            });
        }
        // Any registration brings the node along.
        let registers = steps.iter().any(|step| matches!(step, Step::Service { .. } | Step::Check { .. }));
        if !self.node_in_sync && !registers {
            steps.insert(0, Step::Node);
        }
        steps
    }

    /// When the next deferred output is due.
    pub(super) fn next_deferred(&self) -> Option<Instant> {
        self.deferred.first().map(|(until, _)| *until)
    }

    pub(super) fn node_synced(&mut self) {
        self.node_in_sync = true;
    }

    pub(super) fn needs_node(&self) -> bool {
        !self.node_in_sync
    }

    pub(super) fn raw_service(&self, id: &str) -> Option<&ServiceEntry> {
        self.services.get(id)
    }

    pub(super) fn raw_check(&self, id: &str) -> Option<&CheckEntry> {
        self.checks.get(id)
    }

    /// The catalog took this version of a service; a later one still has to go.
    pub(super) fn service_synced(&mut self, sent: &Arc<NodeService>) {
        if self.service(&sent.id).is_some_and(|entry| *entry.service == **sent) {
            self.dirty_services.remove(&sent.id);
        }
    }

    /// The catalog took this version of a check.
    pub(super) fn check_synced(&mut self, sent: &Arc<HealthCheck>) {
        let Some(entry) = self.checks.get_mut(&sent.check_id) else { return };
        entry.placed = Some(sent.service_id.clone());
        if !entry.deleted && *entry.check == **sent {
            self.cease_waiting(&sent.check_id);
            self.dirty_checks.remove(&sent.check_id);
        }
    }

    /// The catalog refuses this for good: to ask again at once would change nothing. The next
    /// comparison does.
    pub(super) fn refused(&mut self, step: &Step) {
        match step {
            Step::Node => self.node_in_sync = true,
            Step::Service { id, checks } => {
                self.dirty_services.remove(id);
                checks.iter().for_each(|id| {
                    self.dirty_checks.remove(id);
                });
            }
            Step::RemoveService { id } => {
                self.dirty_services.remove(id);
            }
            Step::Check { id } | Step::RemoveCheck { id } => {
                self.dirty_checks.remove(id);
            }
        }
    }

    pub(super) fn service_removed(&mut self, id: &str) {
        if self.services.get(id).is_some_and(|entry| entry.deleted) {
            self.services.remove(id);
            self.dirty_services.remove(id);
        }
        // The catalog has dropped its checks with it.
        let of_service: Vec<String> = self.of_service.get(id).into_iter().flatten().cloned().collect();
        for check in of_service {
            let Some(entry) = self.checks.get(&check) else { continue };
            if entry.goes_with(id) {
                self.forget_check(&check);
            } else if !entry.deleted {
                // Registered again meanwhile.
                self.mark_check(&check);
            }
        }
    }

    pub(super) fn check_removed(&mut self, id: &str) {
        if self.checks.get(id).is_some_and(|entry| entry.deleted) {
            self.forget_check(id);
        } else if self.checks.contains_key(id) {
            self.mark_check(id);
        }
    }
}

/// Equal but for what the catalog adds.
fn same_service(here: &NodeService, there: &NodeService) -> bool {
    let mut here = here.clone();
    here.create_index = there.create_index;
    here.modify_index = there.modify_index;
    // Which service brought a sidecar along is nobody else's concern.
    here.locally_registered_as_sidecar = there.locally_registered_as_sidecar;
    here == *there
}

/// The same for checks; without the output where a change of it is to wait.
fn same_check(here: &HealthCheck, there: &HealthCheck, ignore_output: bool) -> bool {
    here.check_id == there.check_id
        && here.status == there.status
        && (ignore_output || here.output == there.output)
        && here.node.eq_ignore_ascii_case(&there.node)
        && here.name == there.name
        && here.notes == there.notes
        && here.service_id == there.service_id
        && here.service_name == there.service_name
        && here.service_tags == there.service_tags
        && here.r#type == there.r#type
        && here.definition == there.definition
}

#[cfg(test)]
mod tests;
