//! Registration and deregistration.

use std::sync::Arc;

use model::catalog::{DeregisterRequest, Node, RegisterRequest};
use model::health::HealthCheck;

use super::Failure;
use crate::answer::{Answer, Refusal};
use crate::tables::Writer;
use crate::text::same;

/// Whether the request says something new of the node.
fn changes_node(request: &RegisterRequest, node: &Node) -> bool {
    !request.skip_node_update
        && (request.id != node.id
            || request.node != node.node
            || request.address != node.address
            || request.datacenter != node.datacenter
            || request.tagged_addresses != node.tagged_addresses
            || request.node_meta != node.meta)
}

/// The node, the service and the checks of a request, or nothing of it.
pub(super) fn register(writer: &mut Writer, request: RegisterRequest) -> Result<Answer, Failure> {
    let mark = writer.mark();
    match parts(writer, request) {
        Ok(()) => Ok(Answer::Nil),
        Err(refusal) => {
            writer.roll_back(mark);
            Err(refusal.into())
        }
    }
}

fn parts(writer: &mut Writer, request: RegisterRequest) -> Result<(), Refusal> {
    let known = writer.tables.node(&request.node);
    if known.is_none_or(|row| changes_node(&request, &row.node)) {
        let node = Node {
            id: request.id,
            node: request.node.clone(),
            address: request.address,
            datacenter: request.datacenter,
            tagged_addresses: request.tagged_addresses,
            meta: request.node_meta,
            create_index: 0,
            modify_index: 0,
        };
        writer.ensure_node(node).map_err(|why| Refusal::text(format!("failed inserting node: {why}")))?;
    }
    if let Some(service) = request.service {
        writer
            .ensure_service(&request.node, service)
            .map_err(|why| Refusal::text(format!("failed inserting service: {why}")))?;
    }
    let others = request.checks.into_iter().map(Arc::unwrap_or_clone);
    for check in request.check.into_iter().chain(others) {
        insert_check(writer, &request.node, check)?;
    }
    Ok(())
}

fn insert_check(writer: &mut Writer, node: &str, check: HealthCheck) -> Result<(), Refusal> {
    if !same(&check.node, node) {
        return Err(Refusal::text(format!("check node {:?} does not match node {node:?}", check.node)));
    }
    writer
        .ensure_check(check)
        .map_err(|why| Refusal::text(format!("failed inserting check: {why} on node {node:?}")))
}

/// A service, else a check, else the whole node. What is unknown is gone already.
pub(super) fn deregister(writer: &mut Writer, request: &DeregisterRequest) -> Answer {
    if !request.service_id.is_empty() {
        writer.delete_service(&request.node, &request.service_id);
    } else if !request.check_id.is_empty() {
        writer.delete_check(&request.node, &request.check_id);
    } else {
        writer.delete_node(&request.node);
    }
    Answer::Nil
}
