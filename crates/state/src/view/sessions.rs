//! Sessions and coordinates.

use std::sync::Arc;

use model::coordinate::Coordinate;
use model::session::Session;

use super::View;
use crate::tables::indexes::Table;
use crate::watch::{Thing, WatchSet};

impl View {
    /// A session.
    pub fn session(&self, ws: &mut WatchSet, id: &str) -> (u64, Option<Arc<Session>>) {
        self.watch(ws, Thing::Session(id));
        (self.max_index(&[Table::Sessions]), self.tables().sessions.get(id).cloned())
    }

    /// All sessions by id.
    pub fn sessions(&self, ws: &mut WatchSet) -> (u64, Vec<Arc<Session>>) {
        self.watch(ws, Thing::Sessions);
        (self.max_index(&[Table::Sessions]), self.tables().sessions.values().cloned().collect())
    }

    /// The sessions of a node.
    pub fn node_sessions(&self, ws: &mut WatchSet, node: &str) -> (u64, Vec<Arc<Session>>) {
        self.watch(ws, Thing::NodeSessions(node));
        let tables = self.tables();
        let sessions =
            tables.sessions_of_node(node).into_iter().filter_map(|id| tables.sessions.get(&id).cloned());
        (self.max_index(&[Table::Sessions]), sessions.collect())
    }

    /// All coordinates by node.
    pub fn coordinates(&self, ws: &mut WatchSet) -> (u64, Vec<Coordinate>) {
        self.watch(ws, Thing::Coordinates);
        let coordinates = self.tables().coordinates.values().map(|coordinate| (**coordinate).clone());
        (self.max_index(&[Table::Coordinates]), coordinates.collect())
    }

    /// The coordinates of a node, one for each segment.
    pub fn node_coordinates(&self, ws: &mut WatchSet, node: &str) -> (u64, Vec<Coordinate>) {
        self.watch(ws, Thing::Coordinates);
        let coordinates = self.tables().coordinates_of(node).map(|(_, coordinate)| (**coordinate).clone());
        (self.max_index(&[Table::Coordinates]), coordinates.collect())
    }
}
