//! Network coordinates of nodes, one for each segment.

use std::sync::Arc;

use model::coordinate::Coordinate;

use super::indexes::Table;
use super::{InstanceKey, Tables, Writer};
use crate::text::{Name, lower, name};
use crate::watch::Thing;

impl Tables {
    /// The coordinates of a node, by segment.
    pub(crate) fn coordinates_of(
        &self,
        node: &str,
    ) -> impl Iterator<Item = (&InstanceKey, &Arc<Coordinate>)> {
        let node = name(node);
        let from: InstanceKey = (Arc::clone(&node), Name::from(""));
        self.coordinates.range(from..).take_while(move |((of, _), _)| *of == node)
    }
}

impl Writer {
    /// Takes over coordinates. Those of unknown nodes are passed over: the node's next update
    /// comes after its registration.
    pub(crate) fn update_coordinates(&mut self, updates: Vec<Coordinate>) {
        for update in updates {
            if update.coord.is_none() || self.tables.node(&update.node).is_none() {
                continue;
            }
            let key = (name(&update.node), name(&update.segment));
            self.tables.coordinates.insert(key, Arc::new(update));
        }
        self.tables.indexes.raise(Table::Coordinates, self.index);
        self.touched.add(Thing::Coordinates);
    }

    /// Stores a coordinate of a snapshot.
    pub(crate) fn put_coordinate(&mut self, coordinate: Coordinate) {
        let key = (name(&coordinate.node), name(&coordinate.segment));
        self.tables.coordinates.insert(key, Arc::new(coordinate));
        self.tables.indexes.raise(Table::Coordinates, self.index);
    }

    pub(crate) fn delete_coordinates(&mut self, node: &str) {
        let keys: Vec<_> = self.tables.coordinates_of(&lower(node)).map(|(key, _)| key.clone()).collect();
        if keys.is_empty() {
            return;
        }
        for key in keys {
            self.tables.coordinates.remove(&key);
        }
        self.tables.indexes.raise(Table::Coordinates, self.index);
        self.touched.add(Thing::Coordinates);
    }
}
