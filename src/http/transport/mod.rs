//! Connections: accepting them, their timeouts, TLS.

mod connection;
mod server;
mod tls;

pub use server::{ConnectionLimits, Server};
pub use tls::Tls;
