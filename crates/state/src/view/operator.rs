//! Autopilot's configuration and the system metadata.

use std::sync::Arc;

use model::internal::SystemMetadataEntry;
use model::operator::AutopilotConfig;

use super::View;
use crate::tables::indexes::Table;
use crate::watch::{Thing, WatchSet};

impl View {
    /// Autopilot's configuration, `None` until the first leader wrote one.
    pub fn autopilot(&self, ws: &mut WatchSet) -> (u64, Option<Arc<AutopilotConfig>>) {
        self.watch(ws, Thing::Autopilot);
        let config = self.tables().autopilot.clone();
        (config.as_ref().map_or(0, |config| config.modify_index), config)
    }

    /// An entry of the system metadata.
    pub fn metadata(&self, ws: &mut WatchSet, key: &str) -> (u64, Option<Arc<SystemMetadataEntry>>) {
        self.watch(ws, Thing::Metadata);
        (self.max_index(&[Table::Metadata]), self.tables().metadata.get(key).cloned())
    }
}
