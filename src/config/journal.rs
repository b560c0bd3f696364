//! The journal of postgres storage.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::values::{MIB, bytes_from, parse_duration};

/// The journal's segments.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Storage in PostgreSQL (postgres)")]
pub(crate) struct JournalConfig {
    /// Directory of the journal; each server needs one for itself
    #[arg(id = "journal-dir", long, env = "JOURNAL_DIR", value_name = "DIRECTORY")]
    #[arg(default_value = ".agentic/journal")]
    pub(crate) dir: PathBuf,

    /// Maximum journal size while the database is unreachable, at least 1MiB; when full, requests are
    /// answered 503. Units: KiB, MiB, GiB
    #[arg(id = "journal-max-bytes", long, env = "JOURNAL_MAX_BYTES", value_name = "SIZE")]
    #[arg(default_value = "10GiB", value_parser = bytes_from(MIB))]
    pub(crate) max_bytes: u64,

    /// How long the journal keeps events that are committed in the database, as long as it has room:
    /// after a failover to a replica without the last commits, they are delivered again. Units: s, m,
    /// h, d
    #[arg(id = "journal-retention", long, env = "JOURNAL_RETENTION", value_name = "TIME")]
    #[arg(default_value = "1h", value_parser = parse_duration)]
    pub(crate) retention: Duration,
}
