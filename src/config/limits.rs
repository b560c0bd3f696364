//! Limits on what one request, one sender, and all of them together can take.

use clap::Args;

use super::ConfigError;
use super::values::{GIB, KIB, MIB, bytes_between, bytes_from};

/// Limits.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitsConfig {
    /// Maximum size of a request's body, both as sent and decompressed, 1KiB to 256MiB; above it: 413.
    /// Units: KiB, MiB
    // 256 MiB is what `jsonb` can hold and can still be read when every character is escaped.
    #[arg(long, env = "MAX_BODY_BYTES", value_name = "SIZE", default_value = "16MiB")]
    #[arg(value_parser = bytes_between(KIB, 256 * MIB))]
    pub(crate) max_body_bytes: u64,

    /// Maximum number of events in a batch; above it: 413
    #[arg(long, env = "MAX_BATCH_EVENTS", value_name = "NUMBER", default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_batch_events: u32,

    /// Maximum nesting of objects and arrays in data and extra fields, 1 to 1000
    #[arg(long, env = "MAX_DEPTH", value_name = "NUMBER", default_value_t = 120)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) max_depth: u32,

    /// Maximum memory for request bodies, at least four times --max-body-bytes; above it: 503.
    /// Units: KiB, MiB, GiB
    #[arg(long, env = "MAX_INFLIGHT_BYTES", value_name = "SIZE", default_value = "256MiB")]
    #[arg(value_parser = bytes_from(MIB))]
    pub(crate) max_inflight_bytes: u64,

    /// Maximum memory for responses with events, which clients share; above it: 503. Units: KiB, MiB, GiB
    #[arg(long, env = "MAX_READ_BYTES", value_name = "SIZE", default_value = "256MiB")]
    #[arg(value_parser = bytes_from(64 * MIB))]
    pub(crate) max_read_bytes: u64,

    /// Maximum number of open connections; above it: 503
    #[arg(long, env = "MAX_CONNECTIONS", value_name = "NUMBER", default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_connections: u32,

    /// Maximum size of a request's target and headers, 4KiB to 1MiB; above it: 431. Units: KiB, MiB
    #[arg(long, env = "MAX_HEADER_BYTES", value_name = "SIZE", default_value = "16KiB")]
    #[arg(value_parser = bytes_between(4 * KIB, MIB))]
    pub(crate) max_header_bytes: u64,

    /// Maximum number of headers of a request, 8 to 10000; above it: 431
    #[arg(long, env = "MAX_HEADERS", value_name = "NUMBER", default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u32).range(8..=10_000))]
    pub(crate) max_headers: u32,

    /// Maximum events a second from one sender, which is an API key or, without keys, an address;
    /// above it: 429. Unset: no limit
    #[arg(long, env = "RATE_LIMIT_EVENTS", value_name = "NUMBER")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub(crate) rate_limit_events: Option<u64>,

    /// Maximum bytes of events a second from one sender, as sent or decompressed, whichever is more;
    /// above it: 429. Unset: no limit. Units: KiB, MiB, GiB
    #[arg(long, env = "RATE_LIMIT_BYTES", value_name = "SIZE")]
    #[arg(value_parser = bytes_between(KIB, 1024 * GIB))]
    pub(crate) rate_limit_bytes: Option<u64>,
}

impl LimitsConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let (in_flight, body) = (self.max_inflight_bytes, self.max_body_bytes);
        if in_flight < body.saturating_mul(4) {
            return Err(ConfigError::InflightTooSmall { in_flight, body });
        }
        Ok(())
    }
}
