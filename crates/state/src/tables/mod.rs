//! The tables: persistent maps that share structure between versions.
//!
//! A `Tables` value is cheap to clone and never changes once published. Writes go through
//! [`Writer`], whose methods live beside the table they change.

pub(crate) mod catalog;
pub(crate) mod checks;
pub(crate) mod coordinates;
pub(crate) mod indexes;
pub(crate) mod keys;
pub(crate) mod kv;
pub(crate) mod nodes;
pub(crate) mod operator;
pub(crate) mod queries;
pub(crate) mod services;
pub(crate) mod sessions;

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use model::catalog::{Node, NodeService};
use model::coordinate::Coordinate;
use model::health::{CheckServiceNode, HealthCheck};
use model::internal::SystemMetadataEntry;
use model::operator::AutopilotConfig;
use model::query::PreparedQuery;
use model::session::Session;

use crate::answer::Effect;
use crate::text::Name;
use crate::watch::Touched;

use self::indexes::Indexes;
use self::keys::Keys;
use self::kv::Tombstone;

/// A node with what it carries.
#[derive(Clone, Debug)]
pub(crate) struct NodeRow {
    pub(crate) node: Arc<Node>,
    /// By id in lower case.
    pub(crate) services: OrdMap<Name, Arc<NodeService>>,
    /// By id in lower case.
    pub(crate) checks: OrdMap<Name, Arc<HealthCheck>>,
}

/// Node and service id, both in lower case.
pub(crate) type InstanceKey = (Name, Name);

/// A service instance joined with its node and the checks of both, ready to be handed out.
pub(crate) type Instance = Arc<CheckServiceNode>;

/// The instances of a service. A row without instances does not exist.
#[derive(Clone, Debug)]
pub(crate) struct ServiceRow {
    /// The name as it was last written.
    pub(crate) name: Arc<str>,
    /// When anything of it last changed: index `service.<name>`.
    pub(crate) index: u64,
    pub(crate) instances: OrdMap<InstanceKey, Instance>,
    /// Every tag of an instance, with how many have it.
    pub(crate) tags: OrdMap<Arc<str>, u32>,
}

/// A record of a type that this edition keeps but does not look into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opaque {
    pub(crate) kind: u8,
    pub(crate) raw: Box<[u8]>,
}

/// Everything that is replicated.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tables {
    pub(crate) indexes: Indexes,
    pub(crate) nodes: OrdMap<Name, Arc<NodeRow>>,
    /// Node id in lower case to node name in lower case.
    pub(crate) node_ids: OrdMap<Name, Name>,
    pub(crate) services: OrdMap<Name, Arc<ServiceRow>>,
    /// By the service that they stand for: proxies, and instances that speak connect themselves.
    pub(crate) connect: OrdMap<Name, OrdMap<InstanceKey, Instance>>,
    /// How many service instances there are.
    pub(crate) instances: usize,
    /// By state as it is written, then node and check id in lower case.
    pub(crate) checks_in: OrdMap<Arc<str>, OrdMap<InstanceKey, Arc<HealthCheck>>>,
    pub(crate) kv: Keys,
    /// Keys that a session holds.
    pub(crate) held: OrdMap<Arc<str>, OrdSet<Arc<str>>>,
    pub(crate) tombstones: OrdMap<Arc<str>, Tombstone>,
    pub(crate) sessions: OrdMap<Arc<str>, Arc<Session>>,
    /// Node in lower case, session id.
    pub(crate) node_sessions: OrdSet<(Name, Arc<str>)>,
    /// Node and check id in lower case, session id.
    pub(crate) check_sessions: OrdSet<(Name, Name, Arc<str>)>,
    /// By node and segment in lower case.
    pub(crate) coordinates: OrdMap<InstanceKey, Arc<Coordinate>>,
    pub(crate) queries: OrdMap<Arc<str>, Arc<PreparedQuery>>,
    /// Name in lower case to id.
    pub(crate) query_names: OrdMap<Name, Arc<str>>,
    /// Name in lower case, which may be empty, to id.
    pub(crate) query_templates: OrdMap<Name, Arc<str>>,
    pub(crate) session_queries: OrdSet<(Arc<str>, Arc<str>)>,
    pub(crate) autopilot: Option<Arc<AutopilotConfig>>,
    pub(crate) metadata: OrdMap<Arc<str>, Arc<SystemMetadataEntry>>,
    pub(crate) opaque: Arc<Vec<Opaque>>,
}

/// Changes tables on behalf of one command after the other.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) tables: Tables,
    pub(crate) touched: Touched,
    pub(crate) effects: Vec<Effect>,
    /// Index of the command being applied.
    pub(crate) index: u64,
}

/// Where to return to when a command turns out to be refused halfway.
pub(crate) struct Mark {
    tables: Tables,
    touched: (usize, usize),
    effects: usize,
}

impl Writer {
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            tables: self.tables.clone(),
            touched: (self.touched.len(), self.touched.tidy_mark()),
            effects: self.effects.len(),
        }
    }

    pub(crate) fn roll_back(&mut self, mark: Mark) {
        self.tables = mark.tables;
        self.touched.truncate(mark.touched.0, mark.touched.1);
        self.effects.truncate(mark.effects);
    }
}
