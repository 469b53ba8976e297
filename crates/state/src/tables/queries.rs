//! Prepared queries: found by id, by name, or as the template with the longest matching prefix.

use std::sync::Arc;

use model::query::PreparedQuery;

use super::indexes::Table;
use super::{Tables, Writer};
use crate::answer::Refusal;
use crate::text::{is_uuid, lower, name};
use crate::watch::Thing;

/// The one type of template there is.
const PREFIX_MATCH: &str = "name_prefix_match";

/// Whether the query is a template.
pub(crate) fn is_template(query: &PreparedQuery) -> bool {
    !query.template.r#type.is_empty()
}

impl Tables {
    pub(crate) fn query_by_name(&self, query: &str) -> Option<&Arc<PreparedQuery>> {
        self.queries.get(self.query_names.get(&*lower(query))?)
    }

    /// The template with the longest name that the given name starts with.
    pub(crate) fn query_template(&self, query: &str) -> Option<&Arc<PreparedQuery>> {
        if self.query_templates.is_empty() {
            return None;
        }
        let query = lower(query);
        let ends = query.char_indices().map(|(at, _)| at).chain([query.len()]).rev();
        let id = ends.into_iter().find_map(|end| self.query_templates.get(&query[..end]))?;
        self.queries.get(id)
    }
}

impl Writer {
    pub(crate) fn set_query(&mut self, mut query: PreparedQuery) -> Result<(), Refusal> {
        if query.id.is_empty() {
            return Err(Refusal::text("Missing Query ID"));
        }
        let existing = self.tables.queries.get(query.id.as_str()).cloned();
        query.create_index = existing.as_ref().map_or(self.index, |old| old.create_index);
        query.modify_index = self.index;
        let is_other = |other: &Arc<PreparedQuery>| other.id != query.id;
        if query.name.is_empty() {
            let nameless = self.tables.query_templates.get("").and_then(|id| self.tables.queries.get(id));
            if is_template(&query) && nameless.is_some_and(is_other) {
                return Err(Refusal::text("a query template with an empty name already exists"));
            }
        } else if self.tables.query_by_name(&query.name).is_some_and(is_other) {
            return Err(Refusal::text(format!("name '{}' aliases an existing query name", query.name)));
        }
        // Look-ups try the id first: a name must not pose as one.
        if is_uuid(&query.name) && self.tables.queries.contains_key(&*lower(&query.name)) {
            return Err(Refusal::text(format!("name '{}' aliases an existing query ID", query.name)));
        }
        if !query.session.is_empty() && !self.tables.sessions.contains_key(query.session.as_str()) {
            return Err(Refusal::text(format!("invalid session {:?}", query.session)));
        }
        if is_template(&query) && query.template.r#type != PREFIX_MATCH {
            let kind = &query.template.r#type;
            return Err(Refusal::text(format!("failed compiling template: Bad Template.Type '{kind}'")));
        }
        if let Some(old) = existing {
            self.unlink_query(&old);
        }
        self.put_query(Arc::new(query));
        Ok(())
    }

    /// Stores a query as it is.
    pub(crate) fn put_query(&mut self, query: Arc<PreparedQuery>) {
        let id: Arc<str> = Arc::from(query.id.as_str());
        if !query.name.is_empty() {
            self.tables.query_names.insert(name(&query.name), Arc::clone(&id));
        }
        if is_template(&query) {
            self.tables.query_templates.insert(name(&query.name), Arc::clone(&id));
        }
        if !query.session.is_empty() {
            self.tables.session_queries.insert((Arc::from(query.session.as_str()), Arc::clone(&id)));
        }
        self.tables.indexes.raise(Table::Queries, query.modify_index);
        self.touched.add(Thing::Queries);
        self.tables.queries.insert(id, query);
    }

    fn unlink_query(&mut self, query: &PreparedQuery) {
        let id: Arc<str> = Arc::from(query.id.as_str());
        let key = lower(&query.name);
        if self.tables.query_names.get(&*key) == Some(&id) {
            self.tables.query_names.remove(&*key);
        }
        if self.tables.query_templates.get(&*key) == Some(&id) {
            self.tables.query_templates.remove(&*key);
        }
        self.tables.session_queries.remove(&(Arc::from(query.session.as_str()), id));
    }

    pub(crate) fn delete_query(&mut self, id: &str) {
        let Some(query) = self.tables.queries.remove(id) else { return };
        self.unlink_query(&query);
        self.tables.indexes.raise(Table::Queries, self.index);
        self.touched.add(Thing::Queries);
    }
}
