//! The replicated state of one datacenter: tables, indexes, watches, commands, snapshots.
//!
//! ```text
//! Store::new() -> Store
//! store.view() -> View                                    an immutable snapshot, no lock
//! store.apply_batch(&[(index, bytes)]) -> Applied { answers, effects }
//! store.restore(&mut dyn Read) -> Result<last_index, RestoreError>
//! view.write_snapshot(&mut dyn Write, last_index) -> io::Result<()>
//!
//! WatchSet::new() / WatchSet::none()                      noted in by every read
//! ws.changed(deadline).await -> Wake { Changed, Restored, Deadline }
//!
//! view.nodes(ws, &meta)            view.node(ws, name)           view.node_by_id(ws, id)
//! view.node_services(ws, node)     view.node_service_list(..)    view.node_service(ws, node, id)
//! view.services(ws, &meta)         view.service_names(ws)
//! view.service_nodes(ws, &Select)  view.check_service_nodes(ws, &Select)   Select::from(&request)
//! view.service_dump(ws, kind)      view.node_info(ws, node)      view.node_dump(ws)
//! view.node_checks(ws, node)       view.node_check(ws, node, id)
//! view.service_checks(ws, service, &meta)     view.checks_in_state(ws, state, &meta)
//! view.kv_get(ws, key)             view.kv_list(ws, prefix)      view.kv_keys(ws, prefix, sep)
//! view.session(ws, id)             view.sessions(ws)             view.node_sessions(ws, node)
//! view.coordinates(ws)             view.node_coordinates(ws, node)
//! view.query(ws, id)               view.queries(ws)              view.query_resolve(ws, id_or_name)
//! view.autopilot(ws)               view.metadata(ws, key)        view.txn_ro(&ops)
//! view.index()                     view.max_index(&[Table])      view.counts()
//! view.newest_tombstone()
//! ```
//!
//! Every read returns `(index, result)`. An index of 0 means that nothing of the kind was ever
//! written; what is shown to callers is at least 1.
//!
//! A blocking query is a loop: take a view, run the read with a fresh `WatchSet`, answer if the
//! index is greater than the caller's, else `changed` and again; answer in any case after
//! `Wake::Restored` and `Wake::Deadline`. `Wake::Changed` may come in vain, never too late.

mod answer;
mod apply;
pub mod command;
mod snapshot;
mod store;
mod tables;
mod text;
mod view;
mod watch;

pub use answer::{Answer, Applied, Effect};
pub use snapshot::RestoreError;
pub use store::Store;
pub use view::{Counts, Resolved, Select, Table, View};
pub use watch::{Wake, WatchSet};
