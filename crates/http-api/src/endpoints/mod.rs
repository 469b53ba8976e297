//! The endpoints, by the part of the API they belong to.

mod acl;
mod agent_checks;
mod agent_health;
mod agent_node;
mod agent_services;
mod catalog;
mod connect;
mod coordinate;
mod event;
mod fetch;
mod health;
mod kv;
mod kv_write;
mod operator;
mod query;
mod session;
mod snapshot;
mod status;
mod txn;
mod ui;

use crate::face::route::{Handler, Route, Verb};

use Verb::{Delete, Get, Post, Put};

const fn route(pattern: &'static str, verbs: &'static [Verb], handler: Handler) -> Route {
    Route { pattern, verbs, handler }
}

/// Every route of the API.
pub static ROUTES: &[Route] = &[
    route("/v1/acl/bootstrap", &[Put], acl::disabled),
    route("/v1/acl/create", &[Put], acl::disabled),
    route("/v1/acl/update", &[Put], acl::disabled),
    route("/v1/acl/destroy/", &[Put], acl::disabled),
    route("/v1/acl/info/", &[Get], acl::disabled),
    route("/v1/acl/clone/", &[Put], acl::disabled),
    route("/v1/acl/list", &[Get], acl::disabled),
    route("/v1/acl/login", &[Post], acl::disabled),
    route("/v1/acl/logout", &[Post], acl::disabled),
    route("/v1/acl/replication", &[Get], acl::disabled),
    route("/v1/acl/policies", &[Get], acl::disabled),
    route("/v1/acl/policy", &[Put], acl::disabled),
    route("/v1/acl/policy/", &[Get, Put, Delete], acl::disabled),
    route("/v1/acl/policy/name/", &[Get], acl::disabled),
    route("/v1/acl/roles", &[Get], acl::disabled),
    route("/v1/acl/role", &[Put], acl::disabled),
    route("/v1/acl/role/name/", &[Get], acl::disabled),
    route("/v1/acl/role/", &[Get, Put, Delete], acl::disabled),
    route("/v1/acl/binding-rules", &[Get], acl::disabled),
    route("/v1/acl/binding-rule", &[Put], acl::disabled),
    route("/v1/acl/binding-rule/", &[Get, Put, Delete], acl::disabled),
    route("/v1/acl/auth-methods", &[Get], acl::disabled),
    route("/v1/acl/auth-method", &[Put], acl::disabled),
    route("/v1/acl/auth-method/", &[Get, Put, Delete], acl::disabled),
    route("/v1/acl/rules/translate", &[Post], acl::disabled),
    route("/v1/acl/rules/translate/", &[Get], acl::disabled),
    route("/v1/acl/tokens", &[Get], acl::disabled),
    route("/v1/acl/token", &[Put], acl::disabled),
    route("/v1/acl/token/self", &[Get], acl::disabled),
    route("/v1/acl/token/", &[Get, Put, Delete], acl::disabled),
    route("/v1/agent/token/", &[Put], acl::agent_token),
    route("/v1/agent/self", &[Get], agent_node::self_info),
    route("/v1/agent/host", &[Get], agent_node::host),
    route("/v1/agent/maintenance", &[Put], agent_node::maintenance),
    route("/v1/agent/reload", &[Put], agent_node::reload),
    route("/v1/agent/monitor", &[Get], agent_node::monitor),
    route("/v1/agent/metrics", &[Get], agent_node::metrics),
    route("/v1/agent/members", &[Get], agent_node::members),
    route("/v1/agent/join/", &[Put], agent_node::join),
    route("/v1/agent/leave", &[Put], agent_node::leave),
    route("/v1/agent/force-leave/", &[Put], agent_node::force_leave),
    route("/v1/agent/services", &[Get], agent_services::list),
    route("/v1/agent/service/", &[Get], agent_services::one),
    route("/v1/agent/service/register", &[Put], agent_services::register),
    route("/v1/agent/service/deregister/", &[Put], agent_services::deregister),
    route("/v1/agent/service/maintenance/", &[Put], agent_services::maintenance),
    route("/v1/agent/health/service/id/", &[Get], agent_health::by_id),
    route("/v1/agent/health/service/name/", &[Get], agent_health::by_name),
    route("/v1/agent/checks", &[Get], agent_checks::list),
    route("/v1/agent/check/register", &[Put], agent_checks::register),
    route("/v1/agent/check/deregister/", &[Put], agent_checks::deregister),
    route("/v1/agent/check/pass/", &[Put], agent_checks::pass),
    route("/v1/agent/check/warn/", &[Put], agent_checks::warn),
    route("/v1/agent/check/fail/", &[Put], agent_checks::fail),
    route("/v1/agent/check/update/", &[Put], agent_checks::update),
    route("/v1/agent/connect/ca/roots", &[Get], connect::disabled),
    route("/v1/agent/connect/ca/leaf/", &[Get], connect::disabled),
    route("/v1/connect/ca/configuration", &[Get, Put], connect::disabled),
    route("/v1/connect/ca/roots", &[Get], connect::disabled),
    route("/v1/connect/intentions", &[Get, Post], connect::disabled),
    route("/v1/connect/intentions/", &[Get, Put, Delete], connect::disabled),
    route("/v1/connect/intentions/match", &[Get], connect::disabled),
    route("/v1/connect/intentions/check", &[Get], connect::disabled),
    route("/v1/connect/intentions/exact", &[Get, Put, Delete], connect::disabled),
    route("/v1/catalog/register", &[Put], catalog::register),
    route("/v1/catalog/deregister", &[Put], catalog::deregister),
    route("/v1/catalog/datacenters", &[Get], catalog::datacenters),
    route("/v1/catalog/nodes", &[Get], catalog::nodes),
    route("/v1/catalog/services", &[Get], catalog::services),
    route("/v1/catalog/service/", &[Get], catalog::service_nodes),
    route("/v1/catalog/connect/", &[Get], catalog::connect_nodes),
    route("/v1/catalog/node/", &[Get], catalog::node_services),
    route("/v1/catalog/node-services/", &[Get], catalog::node_service_list),
    route("/v1/coordinate/datacenters", &[Get], coordinate::datacenters),
    route("/v1/coordinate/nodes", &[Get], coordinate::nodes),
    route("/v1/coordinate/node/", &[Get], coordinate::node),
    route("/v1/coordinate/update", &[Put], coordinate::update),
    route("/v1/event/fire/", &[Put], event::fire),
    route("/v1/event/list", &[Get], event::list),
    route("/v1/health/node/", &[Get], health::node_checks),
    route("/v1/health/checks/", &[Get], health::service_checks),
    route("/v1/health/state/", &[Get], health::checks_in_state),
    route("/v1/health/service/", &[Get], health::service),
    route("/v1/health/connect/", &[Get], health::connect),
    route("/v1/health/ingress/", &[Get], health::ingress),
    route("/v1/internal/ui/nodes", &[Get], ui::nodes),
    route("/v1/internal/ui/node/", &[Get], ui::node),
    route("/v1/internal/ui/services", &[Get], ui::services),
    route("/v1/internal/acl/authorize", &[Post], acl::disabled),
    route("/v1/kv/", &[Get, Put, Delete], kv::endpoint),
    route("/v1/operator/raft/configuration", &[Get], operator::raft_configuration),
    route("/v1/operator/raft/peer", &[Delete], operator::raft_remove_peer),
    route("/v1/operator/keyring", &[Get, Post, Put, Delete], operator::keyring),
    route("/v1/operator/autopilot/configuration", &[Get, Put], operator::autopilot_configuration),
    route("/v1/operator/autopilot/health", &[Get], operator::autopilot_health),
    route("/v1/operator/autopilot/state", &[Get], operator::autopilot_state),
    route("/v1/query", &[Get, Post], query::collection),
    route("/v1/query/", &[Get, Post, Put, Delete], query::one),
    route("/v1/session/create", &[Put], session::create),
    route("/v1/session/destroy/", &[Put], session::destroy),
    route("/v1/session/renew/", &[Put], session::renew),
    route("/v1/session/info/", &[Get], session::info),
    route("/v1/session/node/", &[Get], session::of_node),
    route("/v1/session/list", &[Get], session::list),
    route("/v1/status/leader", &[Get], status::leader),
    route("/v1/status/peers", &[Get], status::peers),
    route("/v1/snapshot", &[Get, Put], snapshot::endpoint),
    route("/v1/txn", &[Put], txn::apply),
];
