//! What can be selected of the model's types.

use model::catalog::{Node, NodeInfo, NodeService, ServiceAddress, ServiceConnect, ServiceNode, Weights};
use model::definition::{ConnectProxyConfig, ExposeConfig, ExposePath, MeshGatewayConfig, Upstream};
use model::health::{CheckServiceNode, HealthCheck};

use crate::value::{Filterable, Kind, Schema, Value};

/// Declares the fields of a type once, for checking and for looking.
macro_rules! selectable {
    ($(
        $(#[$doc:meta])*
        $schema:ident: $ty:ty, $entry:ident => { $($name:literal: $kind:ident $(($inner:ident))? = $value:expr;)* }
    )*) => {$(
        $(#[$doc])*
        pub static $schema: Schema = Schema { fields: &[$(($name, Kind::$kind $((&$inner))?)),*] };

        impl Filterable for $ty {
            fn field(&self, at: usize) -> Value<'_> {
                let $entry = self;
                let mut number = 0;
                $(
                    if at == number {
                        return Value::$kind($value);
                    }
                    number += 1;
                )*
                debug_assert!(at < number, "a field that the schema does not have");
                Value::Missing
            }
        }
    )*};
}

/// A service as its agent lists it, which knows its datacenter.
#[derive(Clone, Copy, Debug)]
pub struct AgentService<'a> {
    /// The service.
    pub service: &'a NodeService,
    /// The agent's datacenter.
    pub datacenter: &'a str,
}

selectable! {
    /// Nodes.
    NODE: Node, node => {
        "ID": Text = &node.id;
        "Node": Text = &node.node;
        "Address": Text = &node.address;
        "Datacenter": Text = &node.datacenter;
        "TaggedAddresses": Map = &node.tagged_addresses;
        "Meta": Map = &node.meta;
        "CreateIndex": Number = number(node.create_index);
        "ModifyIndex": Number = number(node.modify_index);
    }

    /// Tagged addresses of services.
    SERVICE_ADDRESS: ServiceAddress, address => {
        "Address": Text = &address.address;
        "Port": Number = address.port;
    }

    /// Weights.
    WEIGHTS: Weights, weights => {
        "Passing": Number = weights.passing;
        "Warning": Number = weights.warning;
    }

    /// The connect part of services.
    CONNECT: ServiceConnect, connect => {
        "Native": Truth = connect.native;
    }

    /// Mesh gateway settings.
    MESH_GATEWAY: MeshGatewayConfig, gateway => {
        "Mode": Text = &gateway.mode;
    }

    /// Upstreams of proxies.
    UPSTREAM: Upstream, upstream => {
        "DestinationType": Text = &upstream.destination_type;
        "DestinationNamespace": Text = &upstream.destination_namespace;
        "DestinationName": Text = &upstream.destination_name;
        "Datacenter": Text = &upstream.datacenter;
        "LocalBindAddress": Text = &upstream.local_bind_address;
        "LocalBindPort": Number = upstream.local_bind_port;
        "MeshGateway": Object(MESH_GATEWAY) = &upstream.mesh_gateway;
    }

    /// Paths that a proxy exposes.
    EXPOSE_PATH: ExposePath, path => {
        "ListenerPort": Number = path.listener_port;
        "Path": Text = &path.path;
        "LocalPathPort": Number = path.local_path_port;
        "Protocol": Text = &path.protocol;
    }

    /// What a proxy exposes.
    EXPOSE: ExposeConfig, expose => {
        "Checks": Truth = expose.checks;
        "Paths": Objects(EXPOSE_PATH) = &expose.paths;
    }

    /// Proxies.
    PROXY: ConnectProxyConfig, proxy => {
        "DestinationServiceName": Text = &proxy.destination_service_name;
        "DestinationServiceID": Text = &proxy.destination_service_id;
        "LocalServiceAddress": Text = &proxy.local_service_address;
        "LocalServicePort": Number = proxy.local_service_port;
        "Upstreams": Objects(UPSTREAM) = &proxy.upstreams;
        "MeshGateway": Object(MESH_GATEWAY) = &proxy.mesh_gateway;
        "Expose": Object(EXPOSE) = &proxy.expose;
    }

    /// Service instances of a node.
    NODE_SERVICE: NodeService, service => {
        "Kind": Text = &service.kind;
        "ID": Text = &service.id;
        "Service": Text = &service.service;
        "Tags": Texts = &service.tags;
        "Address": Text = &service.address;
        "TaggedAddresses": ObjectMap(SERVICE_ADDRESS) = &service.tagged_addresses;
        "Meta": Map = &service.meta;
        "Port": Number = service.port;
        "Weights": Object(WEIGHTS) = service.weights.as_ref().unwrap_or(&DEFAULT_WEIGHTS);
        "EnableTagOverride": Truth = service.enable_tag_override;
        "Proxy": Object(PROXY) = &service.proxy;
        "Connect": Object(CONNECT) = &service.connect;
        "CreateIndex": Number = number(service.create_index);
        "ModifyIndex": Number = number(service.modify_index);
    }

    /// Services as their agent lists them.
    AGENT_SERVICE: AgentService<'_>, entry => {
        "Kind": Text = &entry.service.kind;
        "ID": Text = &entry.service.id;
        "Service": Text = &entry.service.service;
        "Tags": Texts = &entry.service.tags;
        "Address": Text = &entry.service.address;
        "TaggedAddresses": ObjectMap(SERVICE_ADDRESS) = &entry.service.tagged_addresses;
        "Meta": Map = &entry.service.meta;
        "Port": Number = entry.service.port;
        "Weights": Object(WEIGHTS) = entry.service.weights.as_ref().unwrap_or(&DEFAULT_WEIGHTS);
        "EnableTagOverride": Truth = entry.service.enable_tag_override;
        "Proxy": Object(PROXY) = &entry.service.proxy;
        "Connect": Object(CONNECT) = &entry.service.connect;
        "Datacenter": Text = entry.datacenter;
    }

    /// Service instances joined with their node.
    SERVICE_NODE: ServiceNode, entry => {
        "ID": Text = &entry.id;
        "Node": Text = &entry.node;
        "Address": Text = &entry.address;
        "Datacenter": Text = &entry.datacenter;
        "TaggedAddresses": Map = &entry.tagged_addresses;
        "NodeMeta": Map = &entry.node_meta;
        "ServiceKind": Text = &entry.service_kind;
        "ServiceID": Text = &entry.service_id;
        "ServiceName": Text = &entry.service_name;
        "ServiceTags": Texts = &entry.service_tags;
        "ServiceAddress": Text = &entry.service_address;
        "ServiceTaggedAddresses": ObjectMap(SERVICE_ADDRESS) = &entry.service_tagged_addresses;
        "ServiceWeights": Object(WEIGHTS) = &entry.service_weights;
        "ServiceMeta": Map = &entry.service_meta;
        "ServicePort": Number = entry.service_port;
        "ServiceEnableTagOverride": Truth = entry.service_enable_tag_override;
        "ServiceProxy": Object(PROXY) = &entry.service_proxy;
        "ServiceConnect": Object(CONNECT) = &entry.service_connect;
        "CreateIndex": Number = number(entry.create_index);
        "ModifyIndex": Number = number(entry.modify_index);
    }

    /// Checks.
    HEALTH_CHECK: HealthCheck, check => {
        "Node": Text = &check.node;
        "CheckID": Text = &check.check_id;
        "Name": Text = &check.name;
        "Status": Text = &check.status;
        "Notes": Text = &check.notes;
        "Output": Text = &check.output;
        "ServiceID": Text = &check.service_id;
        "ServiceName": Text = &check.service_name;
        "ServiceTags": Texts = &check.service_tags;
        "Type": Text = &check.r#type;
        "CreateIndex": Number = number(check.create_index);
        "ModifyIndex": Number = number(check.modify_index);
    }

    /// Service instances with node and checks.
    CHECK_SERVICE_NODE: CheckServiceNode, entry => {
        "Node": Object(NODE) = &*entry.node;
        "Service": Object(NODE_SERVICE) = &*entry.service;
        "Checks": Objects(HEALTH_CHECK) = &entry.checks;
    }

    /// Nodes with services and checks.
    NODE_INFO: NodeInfo, node => {
        "ID": Text = &node.id;
        "Node": Text = &node.node;
        "Address": Text = &node.address;
        "TaggedAddresses": Map = &node.tagged_addresses;
        "Meta": Map = &node.meta;
        "Services": Objects(NODE_SERVICE) = &node.services;
        "Checks": Objects(HEALTH_CHECK) = &node.checks;
    }
}

static DEFAULT_WEIGHTS: Weights = Weights { passing: 1, warning: 1 };

/// Indexes stay far below what a signed number holds.
fn number(index: u64) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}
