//! The event store for AI agents' hook events.
//!
//! ```text
//! agents --HTTP--> decode --> journal --fsync--> 202
//!                                |
//!                                +--> forwarder --> store (PostgreSQL)
//! ```
//!
//! The modules stand in the order in which an event passes them; ARCHITECTURE.md has the reasons.

pub mod cli;
pub mod config;
pub mod event;
pub mod metrics;

pub mod decode;
pub mod http;
pub mod journal;
pub mod redact;

pub mod index;
pub mod json;
pub mod postgres;
pub mod query;
pub mod rejected;
pub mod store;

mod buffer;
pub mod serve;
pub mod shutdown;
pub mod telemetry;
mod tls;
