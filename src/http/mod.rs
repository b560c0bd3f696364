//! The HTTP side: routes, limits, answers.

mod access;
mod app;
mod health;
mod ingest;
mod metrics;
mod middleware;
mod problem;
mod read;
mod router;
mod transport;

pub use access::{Access, Scope};
pub use app::{App, Forwarding, parquet_exports, streams};
pub use ingest::{Drain, InFlight, Rates};
pub use router::router;
pub use transport::{ConnectionLimits, Server, Tls};

/// The media type of lines as a server has stored them, which `import` sends.
pub const STORED_LINES: &str = "application/vnd.hooks-backend.stored+jsonl";
