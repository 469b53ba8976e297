//! What an agent tells about itself: log lines and metrics.
//!
//! * [`logging`]: one `tracing` layer that writes lines in the form operators
//!   know, to standard output, rotating files, the system log and to whoever
//!   watches (`monitor`).
//! * [`metrics`]: one recorder behind the `metrics` facade that keeps ten-second
//!   intervals for `/v1/agent/metrics`, renders Prometheus' text and pushes to
//!   statsd, statsite and dogstatsd.

mod civil;
pub mod logging;
pub mod metrics;
