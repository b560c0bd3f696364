//! The HTTP interface.
//!
//! ```text
//! connection (transport) -> middleware -> access -> ingest   POST events
//!                                               -> read     GET events, sessions, statistics
//!                                               -> health, metrics
//! ```

mod transport;

mod access;
mod app;
mod client_id;
mod drain;
mod endpoint;
mod middleware;
mod negotiation;
mod openapi;
mod patience;
mod problem;
mod router;

mod health;
mod ingest;
mod metrics;
mod read;

pub use access::{Access, KeySettings};
pub(crate) use app::{App, Forwarding};
pub use drain::Drain;
pub(crate) use ingest::IngestState;
pub(crate) use read::ReadState;
pub(crate) use router::router;
pub use transport::{ConnectionLimits, Server, Tls};
