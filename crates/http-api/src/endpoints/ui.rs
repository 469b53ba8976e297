//! `/v1/internal/ui`: what dashboards read in one go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::catalog::{NodeInfo, ServiceDumpRequest};
use model::health::CheckServiceNode;
use model::methods::{InternalNodeDump, InternalNodeInfo, InternalServiceDump};
use model::options::{DcSpecificRequest, NodeSpecificRequest};

use super::fetch::{failed_read, read};
use crate::api::error::ApiError;
use crate::face::Face;
use crate::face::call::Call;
use crate::face::options::{self, ReadOptions};
use crate::face::reply::Reply;
use crate::face::route::Answer;
use crate::json::{self, Empties, Object, key};

fn node_info(out: &mut Vec<u8>, node: &NodeInfo) {
    let mut object = Object::new(out);
    object.str(key!("ID"), &node.id);
    object.str(key!("Node"), &node.node);
    object.str(key!("Address"), &node.address);
    json::string_map(object.key(key!("TaggedAddresses")), &node.tagged_addresses);
    json::string_map(object.key(key!("Meta")), &node.meta);
    json::array(object.key(key!("Services")), &node.services, |out, service: &Arc<_>| {
        json::node_service(out, service, Empties::Nulls);
    });
    json::array(object.key(key!("Checks")), &node.checks, |out, check: &Arc<_>| {
        json::health_check(out, check, Empties::Nulls);
    });
    object.end();
}

/// `GET /v1/internal/ui/nodes`.
pub fn nodes(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let ReadOptions { datacenter, query } = options::read(face, &call)?;
        let args = DcSpecificRequest { datacenter, options: query, ..DcSpecificRequest::default() };
        Ok(match read::<InternalNodeDump>(face, args).await {
            Ok(reply) => Reply::write(1024, |out| json::array(out, &reply.dump, node_info)).meta(&reply.meta),
            Err(error) => failed_read(error),
        })
    })
}

/// `GET /v1/internal/ui/node/<name>`.
pub fn node(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let ReadOptions { datacenter, query } = options::read(face, &call)?;
        let node = call.rest().to_owned();
        if node.is_empty() {
            return Err(ApiError::bad_request("Missing node name"));
        }
        let args = NodeSpecificRequest { datacenter, node, options: query };
        Ok(match read::<InternalNodeInfo>(face, args).await {
            Ok(reply) => Reply::write(1024, |out| match reply.dump.first() {
                Some(info) => node_info(out, info),
                None => json::null(out),
            })
            .meta(&reply.meta),
            Err(error) => failed_read(error),
        })
    })
}

/// What the instances of a service add up to.
#[derive(Default)]
struct Summary<'a> {
    kind: &'a str,
    tags: BTreeSet<&'a str>,
    nodes: BTreeSet<&'a str>,
    instances: u64,
    passing: u64,
    warning: u64,
    critical: u64,
}

fn summaries(entries: &[CheckServiceNode]) -> BTreeMap<&str, Summary<'_>> {
    let mut services: BTreeMap<&str, Summary<'_>> = BTreeMap::new();
    for entry in entries {
        let summary = services.entry(&entry.service.service).or_default();
        summary.kind = &entry.service.kind;
        summary.tags.extend(entry.service.tags.iter().map(String::as_str));
        summary.nodes.insert(&entry.node.node);
        summary.instances += 1;
        for check in &entry.checks {
            match check.status.as_str() {
                "passing" => summary.passing += 1,
                "warning" => summary.warning += 1,
                "critical" => summary.critical += 1,
                _ => {}
            }
        }
    }
    services
}

/// `GET /v1/internal/ui/services`.
pub fn services(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let ReadOptions { datacenter, query } = options::read(face, &call)?;
        let args = ServiceDumpRequest { datacenter, options: query, ..ServiceDumpRequest::default() };
        let reply = match read::<InternalServiceDump>(face, args).await {
            Ok(reply) => reply,
            Err(error) => return Ok(failed_read(error)),
        };
        Ok(Reply::write(1024, |out| {
            json::array(out, summaries(&reply.nodes), |out, (name, summary)| {
                let mut object = Object::new(out);
                object.opt_str(key!("Kind"), summary.kind);
                object.str(key!("Name"), name);
                json::array(object.key(key!("Tags")), &summary.tags, |out, tag| json::string(out, tag));
                json::array(object.key(key!("Nodes")), &summary.nodes, |out, node| json::string(out, node));
                object.u64(key!("InstanceCount"), summary.instances);
                object.u64(key!("ChecksPassing"), summary.passing);
                object.u64(key!("ChecksWarning"), summary.warning);
                object.u64(key!("ChecksCritical"), summary.critical);
                object.end();
            });
        })
        .meta(&reply.meta))
    })
}
