//! Instances of a service, with their nodes and checks.

use std::collections::BTreeMap;

use model::catalog::{ServiceNode, Weights};
use model::health::CheckServiceNode;
use model::options::ServiceSpecificRequest;

use super::View;
use super::catalog::has_meta;
use crate::tables::Instance;
use crate::tables::indexes::Table;
use crate::text::{lower, same};
use crate::watch::{Thing, WatchSet};

/// Which instances are wanted.
#[derive(Clone, Debug)]
pub struct Select<'a> {
    /// The service's name, in any case.
    pub service: &'a str,
    /// Tags that an instance must all have, in any case.
    pub tags: &'a [String],
    /// Another tag like that, from callers that know only one.
    pub tag: Option<&'a str>,
    /// The address of the instance, or of its node when it has none; empty for any.
    pub address: &'a str,
    /// Instances that speak connect for the service, instead of the service's own.
    pub connect: bool,
    /// Pairs that the node's metadata must all have.
    pub node_meta: &'a BTreeMap<String, String>,
}

impl<'a> From<&'a ServiceSpecificRequest> for Select<'a> {
    fn from(request: &'a ServiceSpecificRequest) -> Self {
        let one = request.tag_filter && request.service_tags.is_empty();
        Self {
            service: &request.service_name,
            tags: if request.tag_filter { &request.service_tags } else { &[] },
            tag: one.then_some(request.service_tag.as_str()),
            address: &request.service_address,
            connect: request.connect,
            node_meta: &request.node_meta_filters,
        }
    }
}

impl Select<'_> {
    fn wants(&self, instance: &CheckServiceNode) -> bool {
        let has = |tag: &str| instance.service.tags.iter().any(|other| same(other, tag));
        let address = if instance.service.address.is_empty() {
            &instance.node.address
        } else {
            &instance.service.address
        };
        self.tags.iter().all(|tag| has(tag))
            && self.tag.is_none_or(has)
            && (self.address.is_empty() || address == self.address)
            && has_meta(&instance.node.meta, self.node_meta)
    }
}

fn flat(instance: &CheckServiceNode) -> ServiceNode {
    let (node, service) = (&*instance.node, &*instance.service);
    ServiceNode {
        address: node.address.clone(),
        create_index: service.create_index,
        datacenter: node.datacenter.clone(),
        id: node.id.clone(),
        modify_index: service.modify_index,
        node: node.node.clone(),
        node_meta: node.meta.clone(),
        service_address: service.address.clone(),
        service_connect: service.connect.clone(),
        service_enable_tag_override: service.enable_tag_override,
        service_id: service.id.clone(),
        service_kind: service.kind.clone(),
        service_meta: service.meta.clone(),
        service_name: service.service.clone(),
        service_port: service.port,
        service_proxy: service.proxy.clone(),
        service_tagged_addresses: service.tagged_addresses.clone(),
        service_tags: service.tags.clone(),
        service_weights: service.weights.clone().unwrap_or(Weights { passing: 1, warning: 1 }),
        tagged_addresses: node.tagged_addresses.clone(),
    }
}

impl View {
    /// Index of a service: its own; without instances that of the last extinction of any service,
    /// or of whole tables when nothing ever went.
    fn service_index(&self, service: &str, tables: &[Table]) -> u64 {
        if let Some(row) = self.tables().services.get(&*lower(service)) {
            return row.index;
        }
        match self.max_index(&[Table::LastExtinction]) {
            0 => self.max_index(tables),
            index => index,
        }
    }

    fn select<'v>(
        &'v self,
        ws: &mut WatchSet,
        select: &Select<'_>,
        tables: &[Table],
    ) -> (u64, Option<impl Iterator<Item = &'v Instance>>) {
        let name = lower(select.service);
        if !select.connect {
            self.watch(ws, Thing::Service(&name));
            let row = self.tables().services.get(&*name);
            let index = row.map_or_else(|| self.service_index(&name, tables), |row| row.index);
            return (index, row.map(|row| row.instances.values()));
        }
        self.watch(ws, Thing::Connect(&name));
        let Some(instances) = self.tables().connect.get(&*name) else {
            let index = match self.max_index(&[Table::LastExtinction]) {
                0 => self.max_index(tables),
                index => index,
            };
            return (index, None);
        };
        let mut seen: Vec<&str> = Vec::new();
        let mut index = 0;
        for instance in instances.values() {
            let name = instance.service.service.as_str();
            if !seen.contains(&name) {
                seen.push(name);
                index = index.max(self.service_index(name, tables));
            }
        }
        // Losing one of several services that stand for this one must not take the index back.
        (index.max(self.max_index(&[Table::LastExtinction])), Some(instances.values()))
    }

    /// Instances with their nodes and checks, for `Health.ServiceNodes` and prepared queries.
    /// Copies no strings.
    pub fn check_service_nodes(
        &self,
        ws: &mut WatchSet,
        select: &Select<'_>,
    ) -> (u64, Vec<CheckServiceNode>) {
        let (index, instances) = self.select(ws, select, &[Table::Nodes, Table::Services, Table::Checks]);
        let wanted = instances.into_iter().flatten().filter(|instance| select.wants(instance));
        (index, wanted.map(|instance| (**instance).clone()).collect())
    }

    /// Instances joined with their nodes, flat, for `Catalog.ServiceNodes`.
    pub fn service_nodes(&self, ws: &mut WatchSet, select: &Select<'_>) -> (u64, Vec<ServiceNode>) {
        if select.service.is_empty() && !select.address.is_empty() {
            return self.service_nodes_at(ws, select.address);
        }
        let (index, instances) = self.select(ws, select, &[Table::Nodes, Table::Services]);
        let wanted = instances.into_iter().flatten().filter(|instance| select.wants(instance));
        (index, wanted.map(|instance| flat(instance)).collect())
    }

    /// Instances of whatever service with this address of their own, tagged ones included.
    fn service_nodes_at(&self, ws: &mut WatchSet, address: &str) -> (u64, Vec<ServiceNode>) {
        self.watch(ws, Thing::Catalog);
        let all = self.tables().services.values().flat_map(|row| row.instances.values());
        let wanted = all.filter(|instance| {
            instance.service.address == address
                || instance.service.tagged_addresses.values().any(|tagged| tagged.address == address)
        });
        (self.max_index(&[Table::Nodes, Table::Services]), wanted.map(|instance| flat(instance)).collect())
    }

    /// Instances of every service, or of all services of one kind (`""` is the usual kind).
    pub fn service_dump(&self, ws: &mut WatchSet, kind: Option<&str>) -> (u64, Vec<CheckServiceNode>) {
        let index = match kind {
            Some(kind) => {
                self.watch(ws, Thing::Kind(kind));
                self.tables().indexes.kind(kind)
            }
            None => {
                self.watch(ws, Thing::Catalog);
                self.max_index(&[Table::Nodes, Table::Services, Table::Checks])
            }
        };
        let all = self.tables().services.values().flat_map(|row| row.instances.values());
        let wanted = all.filter(|instance| kind.is_none_or(|kind| instance.service.kind == kind));
        (index, wanted.map(|instance| (**instance).clone()).collect())
    }

    /// The last change of a service with all that belongs to it, without reading it.
    pub fn service_changed(&self, ws: &mut WatchSet, service: &str) -> u64 {
        self.watch(ws, Thing::Service(service));
        self.service_index(service, &[Table::Nodes, Table::Services, Table::Checks])
    }
}
