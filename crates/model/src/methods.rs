//! The table of RPC methods: every method this version answers or calls.

use bytes::Bytes;

use crate::catalog::{
    DatacentersRequest, DeregisterRequest, IndexedNodeDump, IndexedNodeServiceList, IndexedNodeServices,
    IndexedNodes, IndexedNodesWithGateways, IndexedServiceList, IndexedServiceNodes, IndexedServices,
    RegisterRequest, ServiceDumpRequest,
};
use crate::coordinate::{CoordinateUpdateRequest, DatacenterMap, IndexedCoordinates};
use crate::encoded::EncodedAnswers;
use crate::health::{ChecksInStateRequest, IndexedCheckServiceNodes, IndexedHealthChecks};
use crate::internal::{EventFireRequest, EventFireResponse, KeyringRequest, KeyringResponses};
use crate::kv::{IndexedDirEntries, IndexedKeyList, KeyListRequest, KeyRequest, KvsRequest};
use crate::method::{Access, Forward, Method, MethodInfo, Reply, Routing};
use crate::operator::{
    AutopilotConfig, AutopilotHealthReply, AutopilotSetConfigRequest, AutopilotState,
    RaftConfigurationResponse, RaftRemovePeerRequest, RaftStats,
};
use crate::options::{
    DcSpecificRequest, NodeSpecificRequest, QueryMeta, QueryOptions, ServiceSpecificRequest,
};
use crate::query::{
    IndexedPreparedQueries, PreparedQueryExecuteRemoteRequest, PreparedQueryExecuteRequest,
    PreparedQueryExecuteResponse, PreparedQueryExplainResponse, PreparedQueryRequest,
    PreparedQuerySpecificRequest,
};
use crate::scalar::Empty;
use crate::session::{IndexedSessions, SessionRequest, SessionSpecificRequest};
use crate::txn::{TxnReadRequest, TxnReadResponse, TxnRequest, TxnResponse};

macro_rules! methods {
    ($($method:ident: $name:literal ($args:ty) -> $reply:ty, $access:ident, $forward:ident;)*) => {
        $(
            #[doc = concat!("`", $name, "`")]
            #[derive(Clone, Copy, Debug)]
            pub struct $method;

            impl Method for $method {
                type Args = $args;
                type Reply = $reply;
                const INFO: &'static MethodInfo = &MethodInfo {
                    name: $name,
                    access: Access::$access,
                    forward: Forward::$forward,
                };
            }
        )*

        /// All methods.
        pub const METHODS: &[&MethodInfo] = &[$($method::INFO),*];
    };
}

methods! {
    CatalogDeregister: "Catalog.Deregister" (DeregisterRequest) -> Empty, Write, Leader;
    CatalogListDatacenters: "Catalog.ListDatacenters" (DatacentersRequest) -> Vec<String>, Read, Here;
    CatalogListNodes: "Catalog.ListNodes" (DcSpecificRequest) -> IndexedNodes, Read, Leader;
    CatalogListServices: "Catalog.ListServices" (DcSpecificRequest) -> IndexedServices, Read, Leader;
    CatalogNodeServiceList: "Catalog.NodeServiceList" (NodeSpecificRequest) -> IndexedNodeServiceList, Read, Leader;
    CatalogNodeServices: "Catalog.NodeServices" (NodeSpecificRequest) -> IndexedNodeServices, Read, Leader;
    CatalogRegister: "Catalog.Register" (RegisterRequest) -> Empty, Write, Leader;
    CatalogServiceList: "Catalog.ServiceList" (DcSpecificRequest) -> IndexedServiceList, Read, Leader;
    CatalogServiceNodes: "Catalog.ServiceNodes" (ServiceSpecificRequest) -> IndexedServiceNodes, Read, Leader;
    CoordinateListDatacenters: "Coordinate.ListDatacenters" (Empty) -> Vec<DatacenterMap>, Unrouted, Here;
    CoordinateListNodes: "Coordinate.ListNodes" (DcSpecificRequest) -> IndexedCoordinates, Read, Leader;
    CoordinateNode: "Coordinate.Node" (NodeSpecificRequest) -> IndexedCoordinates, Read, Leader;
    CoordinateUpdate: "Coordinate.Update" (CoordinateUpdateRequest) -> Empty, Write, Leader;
    HealthChecksInState: "Health.ChecksInState" (ChecksInStateRequest) -> IndexedHealthChecks, Read, Leader;
    HealthNodeChecks: "Health.NodeChecks" (NodeSpecificRequest) -> IndexedHealthChecks, Read, Leader;
    HealthServiceChecks: "Health.ServiceChecks" (ServiceSpecificRequest) -> IndexedHealthChecks, Read, Leader;
    HealthServiceNodes: "Health.ServiceNodes" (ServiceSpecificRequest) -> IndexedCheckServiceNodes, Read, Leader;
    InternalEventFire: "Internal.EventFire" (EventFireRequest) -> EventFireResponse, Read, Leader;
    InternalKeyringOperation: "Internal.KeyringOperation" (KeyringRequest) -> KeyringResponses, Read, Here;
    InternalNodeDump: "Internal.NodeDump" (DcSpecificRequest) -> IndexedNodeDump, Read, Leader;
    InternalNodeInfo: "Internal.NodeInfo" (NodeSpecificRequest) -> IndexedNodeDump, Read, Leader;
    InternalServiceDump: "Internal.ServiceDump" (ServiceDumpRequest) -> IndexedNodesWithGateways, Read, Leader;
    KvsApply: "KVS.Apply" (KvsRequest) -> bool, Write, Leader;
    KvsGet: "KVS.Get" (KeyRequest) -> IndexedDirEntries, Read, Leader;
    KvsList: "KVS.List" (KeyRequest) -> IndexedDirEntries, Read, Leader;
    KvsListKeys: "KVS.ListKeys" (KeyListRequest) -> IndexedKeyList, Read, Leader;
    OperatorAutopilotGetConfiguration: "Operator.AutopilotGetConfiguration" (DcSpecificRequest) -> AutopilotConfig, Read, Leader;
    OperatorAutopilotSetConfiguration: "Operator.AutopilotSetConfiguration" (AutopilotSetConfigRequest) -> bool, Write, Leader;
    OperatorAutopilotState: "Operator.AutopilotState" (DcSpecificRequest) -> AutopilotState, Read, Leader;
    OperatorRaftGetConfiguration: "Operator.RaftGetConfiguration" (DcSpecificRequest) -> RaftConfigurationResponse, Read, Leader;
    OperatorRaftRemovePeerByAddress: "Operator.RaftRemovePeerByAddress" (RaftRemovePeerRequest) -> Empty, Write, Leader;
    OperatorRaftRemovePeerById: "Operator.RaftRemovePeerByID" (RaftRemovePeerRequest) -> Empty, Write, Leader;
    OperatorServerHealth: "Operator.ServerHealth" (DcSpecificRequest) -> AutopilotHealthReply, Read, Leader;
    PreparedQueryApply: "PreparedQuery.Apply" (PreparedQueryRequest) -> String, Write, Leader;
    PreparedQueryExecute: "PreparedQuery.Execute" (PreparedQueryExecuteRequest) -> PreparedQueryExecuteResponse, Read, Leader;
    PreparedQueryExecuteRemote: "PreparedQuery.ExecuteRemote" (PreparedQueryExecuteRemoteRequest) -> PreparedQueryExecuteResponse, Read, Leader;
    PreparedQueryExplain: "PreparedQuery.Explain" (PreparedQueryExecuteRequest) -> PreparedQueryExplainResponse, Read, Leader;
    PreparedQueryGet: "PreparedQuery.Get" (PreparedQuerySpecificRequest) -> IndexedPreparedQueries, Read, Leader;
    PreparedQueryList: "PreparedQuery.List" (DcSpecificRequest) -> IndexedPreparedQueries, Read, Leader;
    SessionApply: "Session.Apply" (SessionRequest) -> String, Write, Leader;
    SessionGet: "Session.Get" (SessionSpecificRequest) -> IndexedSessions, Read, Leader;
    SessionList: "Session.List" (SessionSpecificRequest) -> IndexedSessions, Read, Leader;
    SessionNodeSessions: "Session.NodeSessions" (NodeSpecificRequest) -> IndexedSessions, Read, Leader;
    SessionRenew: "Session.Renew" (SessionSpecificRequest) -> IndexedSessions, Read, Leader;
    StatusLeader: "Status.Leader" (DcSpecificRequest) -> String, Read, Datacenter;
    StatusPeers: "Status.Peers" (DcSpecificRequest) -> Vec<String>, Read, Datacenter;
    StatusPing: "Status.Ping" (Empty) -> Empty, Unrouted, Here;
    StatusRaftStats: "Status.RaftStats" (Empty) -> RaftStats, Unrouted, Here;
    TxnApply: "Txn.Apply" (TxnRequest) -> TxnResponse, Write, Leader;
    TxnRead: "Txn.Read" (TxnReadRequest) -> TxnReadResponse, Read, Leader;
}

macro_rules! routing {
    (query: $($query:ident)*; write: $($write:ident)*) => {
        $(impl Routing for $query {
            fn datacenter(&self) -> &str {
                &self.datacenter
            }
            fn set_datacenter(&mut self, datacenter: &str) {
                datacenter.clone_into(&mut self.datacenter);
            }
            fn token(&self) -> &str {
                &self.options.token
            }
            fn set_token(&mut self, token: &str) {
                token.clone_into(&mut self.options.token);
            }
            fn query_options(&self) -> Option<&QueryOptions> {
                Some(&self.options)
            }
            fn query_options_mut(&mut self) -> Option<&mut QueryOptions> {
                Some(&mut self.options)
            }
        })*
        $(impl Routing for $write {
            fn datacenter(&self) -> &str {
                &self.datacenter
            }
            fn set_datacenter(&mut self, datacenter: &str) {
                datacenter.clone_into(&mut self.datacenter);
            }
            fn token(&self) -> &str {
                &self.token
            }
            fn set_token(&mut self, token: &str) {
                token.clone_into(&mut self.token);
            }
        })*
    };
}

routing! {
    query: ChecksInStateRequest DcSpecificRequest EventFireRequest KeyListRequest KeyRequest KeyringRequest NodeSpecificRequest PreparedQueryExecuteRemoteRequest PreparedQueryExecuteRequest PreparedQuerySpecificRequest ServiceDumpRequest ServiceSpecificRequest SessionSpecificRequest TxnReadRequest;
    write: AutopilotSetConfigRequest CoordinateUpdateRequest DeregisterRequest KvsRequest PreparedQueryRequest RaftRemovePeerRequest RegisterRequest SessionRequest TxnRequest
}

impl Routing for Empty {}

impl Routing for DatacentersRequest {
    fn token(&self) -> &str {
        &self.options.token
    }
    fn set_token(&mut self, token: &str) {
        token.clone_into(&mut self.options.token);
    }
    fn query_options(&self) -> Option<&QueryOptions> {
        Some(&self.options)
    }
    fn query_options_mut(&mut self) -> Option<&mut QueryOptions> {
        Some(&mut self.options)
    }
}

/// Answers of fewer entries are written faster than looked up.
const MIN_REMEMBERED: usize = 4;

macro_rules! replies {
    (shared: $($shared:ident . $list:ident)*; read: $($read:ident)*; plain: $($plain:ty),*) => {
        $(impl Reply for $shared {
            const SHARED: bool = true;

            fn encode(&self, known: &EncodedAnswers) -> Result<Bytes, msgpack::Error> {
                let write = || msgpack::to_vec(self);
                // A follower's answers differ in their age.
                if self.$list.len() < MIN_REMEMBERED || !self.meta.last_contact.is_zero() {
                    return write().map(Bytes::from);
                }
                known.try_get(std::iter::once(self), write)
            }
            fn query_meta(&self) -> Option<&QueryMeta> {
                Some(&self.meta)
            }
            fn query_meta_mut(&mut self) -> Option<&mut QueryMeta> {
                Some(&mut self.meta)
            }
        })*
        $(impl Reply for $read {
            fn query_meta(&self) -> Option<&QueryMeta> {
                Some(&self.meta)
            }
            fn query_meta_mut(&mut self) -> Option<&mut QueryMeta> {
                Some(&mut self.meta)
            }
        })*
        $(impl Reply for $plain {})*
    };
}

replies! {
    shared: IndexedCheckServiceNodes.nodes IndexedHealthChecks.health_checks IndexedNodes.nodes;
    read: EventFireResponse IndexedCoordinates IndexedDirEntries IndexedKeyList IndexedNodeDump IndexedNodeServiceList IndexedNodeServices IndexedNodesWithGateways IndexedPreparedQueries IndexedServiceList IndexedServiceNodes IndexedServices IndexedSessions KeyringResponses PreparedQueryExecuteResponse PreparedQueryExplainResponse TxnReadResponse;
    plain: AutopilotConfig, AutopilotHealthReply, AutopilotState, Empty, RaftConfigurationResponse, RaftStats, String, TxnResponse, Vec<DatacenterMap>, Vec<String>, bool
}
