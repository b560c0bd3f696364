//! Responses and time limits of the HTTP server.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::values::{parse_duration, parse_timeout};

/// Responses and time limits.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Requests")]
pub(crate) struct HttpConfig {
    /// When a request is answered; ?ack= in a request takes precedence
    #[arg(long, env = "ACK", value_name = "WHEN", default_value = "journal", ignore_case = true)]
    pub(crate) ack: Ack,

    /// Maximum time that a request with ack=stored waits for the store; then the response is 503, and
    /// the events are stored nevertheless. Units: s, m, h
    #[arg(long, env = "STORED_TIMEOUT", value_name = "TIME", default_value = "30s")]
    #[arg(value_parser = parse_timeout)]
    pub(crate) stored_timeout: Duration,

    /// Maximum time for a request's headers to arrive, and for a TLS handshake; then the connection is
    /// closed. Units: s, m, h
    #[arg(long, env = "HEADER_TIMEOUT", value_name = "TIME", default_value = "30s")]
    #[arg(value_parser = parse_timeout)]
    pub(crate) header_timeout: Duration,

    /// Maximum time for a request's body to arrive; then the response is 408. A response is cut off
    /// when the client reads nothing of it for this time. Units: s, m, h
    #[arg(long, env = "BODY_TIMEOUT", value_name = "TIME", default_value = "30s")]
    #[arg(value_parser = parse_timeout)]
    pub(crate) body_timeout: Duration,

    /// Maximum time that a connection stays open without a request. Units: s, m, h
    #[arg(long, env = "IDLE_TIMEOUT", value_name = "TIME", default_value = "10m")]
    #[arg(value_parser = parse_timeout)]
    pub(crate) idle_timeout: Duration,

    /// Time after SIGTERM in which the server is not ready but takes requests, so that load balancers can
    /// send them elsewhere: three health checks of HAProxy by default. Units: s, m
    #[arg(long, env = "SHUTDOWN_DELAY", value_name = "TIME", default_value = "6s")]
    #[arg(value_parser = parse_duration)]
    pub(crate) shutdown_delay: Duration,

    /// Time after SIGTERM (and its delay) or SIGINT for requests to finish, and again for the journal and for the
    /// forwarder. Units: s, m
    #[arg(long, env = "SHUTDOWN_TIMEOUT", value_name = "TIME", default_value = "10s")]
    #[arg(value_parser = parse_duration)]
    pub(crate) shutdown_timeout: Duration,
}

/// When a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Ack {
    /// Once its events are on disk
    Journal,
    /// Once its events are committed in the store
    Stored,
}

impl Ack {
    /// Returns the name used in the configuration and the API.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::Stored => "stored",
        }
    }
}
