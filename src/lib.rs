//! An event store for the hook events of AI agents.
//!
//! ```text
//! agents  -> http -> decode -> redact -> journal -> 202 Accepted
//!                                           |
//!                       jsonl: index <------+------> postgres: forwarder, database
//!                                |                      |
//! readers <- http <- query <- store <-------------------+
//! ```
//!
//! Modules are listed in the order in which data flows; `ARCHITECTURE.md` gives the reasons.

// The composition root and the command line.
pub mod cli;
pub mod serve;

// Settings and the process.
pub mod config;
mod shutdown;
pub mod telemetry;

// The write path: a request becomes events, events become records, records reach a store.
pub mod http;

pub mod decode;
pub mod redact;

mod file_modes;
pub mod journal;
pub mod rejected;

pub mod index;
pub mod postgres;

// The read path: the permission, a query, and the store that executes it.
pub mod query;
mod read_token;
pub mod store;

// Foundations, which know nothing of the modules above.
mod buffer;
pub mod event;
pub mod json;
pub mod metrics;
mod text_file;
mod tls;
mod visible;
