//! Prepared queries.

use std::sync::Arc;

use model::query::PreparedQuery;

use super::View;
use crate::tables::indexes::Table;
use crate::tables::queries::is_template;
use crate::text::{is_uuid, lower};
use crate::watch::{Thing, WatchSet};

/// What a name or id stands for.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolved {
    /// Nothing.
    Unknown,
    /// A query to be run as it is.
    Query(Arc<PreparedQuery>),
    /// A template to be filled with the name that was asked for.
    Template(Arc<PreparedQuery>),
    /// A template asked for by its id: there is no name to fill it with.
    TemplateById(Arc<PreparedQuery>),
}

impl View {
    /// A query by id.
    pub fn query(&self, ws: &mut WatchSet, id: &str) -> (u64, Option<Arc<PreparedQuery>>) {
        self.watch(ws, Thing::Queries);
        (self.max_index(&[Table::Queries]), self.tables().queries.get(id).cloned())
    }

    /// All queries by id.
    pub fn queries(&self, ws: &mut WatchSet) -> (u64, Vec<Arc<PreparedQuery>>) {
        self.watch(ws, Thing::Queries);
        (self.max_index(&[Table::Queries]), self.tables().queries.values().cloned().collect())
    }

    /// What to run for a name or id: the query of that id, else of that name, else the template
    /// with the longest name that this one starts with.
    pub fn query_resolve(&self, ws: &mut WatchSet, id_or_name: &str) -> (u64, Resolved) {
        self.watch(ws, Thing::Queries);
        let tables = self.tables();
        let index = self.max_index(&[Table::Queries]);
        if id_or_name.is_empty() {
            return (index, Resolved::Unknown);
        }
        if is_uuid(id_or_name)
            && let Some(query) = tables.queries.get(&*lower(id_or_name))
        {
            let query = Arc::clone(query);
            let found =
                if is_template(&query) { Resolved::TemplateById(query) } else { Resolved::Query(query) };
            return (index, found);
        }
        let found = match tables.query_by_name(id_or_name) {
            Some(query) if !is_template(query) => Resolved::Query(Arc::clone(query)),
            Some(query) => Resolved::Template(Arc::clone(query)),
            None => match tables.query_template(id_or_name) {
                Some(query) => Resolved::Template(Arc::clone(query)),
                None => Resolved::Unknown,
            },
        };
        (index, found)
    }
}
