//! Watches: follow one view of the cluster and hand every change to a handler.
//!
//! A [`Plan`] says what to follow. A [`Poller`] is the pure core: it knows the next query and what
//! an answer means. [`run()`] drives it over any [`WatchSource`] (the agent's own HTTP face, or a
//! remote one) until cancelled. [`handler`] has the ready-made handlers: a program that gets the
//! data on its standard input, and an HTTP request.

pub mod handler;
mod params;
mod plan;
mod poll;
mod run;
mod shape;

pub use handler::{AgentHandler, HandlerError, HandlerSpec, HttpHandler, Script, ScriptOutput};
pub use plan::{Kind, Plan, PlanError};
pub use poll::{Answer, Poller, Query, SourceError, Step};
pub use run::{Change, Handler, WatchSource, run};
