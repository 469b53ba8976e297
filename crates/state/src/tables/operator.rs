//! Autopilot's configuration and the system metadata.

use std::sync::Arc;

use model::internal::SystemMetadataEntry;
use model::operator::AutopilotConfig;

use super::Writer;
use super::indexes::Table;
use crate::watch::Thing;

impl Writer {
    pub(crate) fn set_autopilot(&mut self, mut config: AutopilotConfig) {
        config.create_index = self.tables.autopilot.as_ref().map_or(self.index, |old| old.create_index);
        config.modify_index = self.index;
        self.put_autopilot(config);
    }

    /// Sets the configuration if its index is the stored one's.
    pub(crate) fn cas_autopilot(&mut self, config: AutopilotConfig) -> bool {
        let current = self.tables.autopilot.as_ref().map(|old| old.modify_index);
        if current != Some(config.modify_index) {
            return false;
        }
        self.set_autopilot(config);
        true
    }

    /// Stores a configuration as it is.
    pub(crate) fn put_autopilot(&mut self, config: AutopilotConfig) {
        self.tables.autopilot = Some(Arc::new(config));
        self.touched.add(Thing::Autopilot);
    }

    pub(crate) fn set_metadata(&mut self, mut entry: SystemMetadataEntry) {
        let old = self.tables.metadata.get(entry.key.as_str());
        entry.create_index = old.map_or(self.index, |old| old.create_index);
        entry.modify_index = self.index;
        self.put_metadata(entry);
    }

    /// Stores an entry as it is.
    pub(crate) fn put_metadata(&mut self, entry: SystemMetadataEntry) {
        self.tables.indexes.raise(Table::Metadata, entry.modify_index);
        self.touched.add(Thing::Metadata);
        self.tables.metadata.insert(Arc::from(entry.key.as_str()), Arc::new(entry));
    }

    pub(crate) fn delete_metadata(&mut self, key: &str) {
        if self.tables.metadata.remove(key).is_some() {
            self.tables.indexes.raise(Table::Metadata, self.index);
            self.touched.add(Thing::Metadata);
        }
    }
}
