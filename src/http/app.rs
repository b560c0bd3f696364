//! State shared by all handlers.

use std::sync::Arc;

use tokio::sync::watch;

use super::access::Access;
use super::drain::Drain;
use super::ingest::IngestState;
use super::read::ReadState;
use crate::config::Config;
use crate::file_modes::StorageFiles;
use crate::journal::{Journal, Reader};
use crate::metrics::Metrics;
use crate::postgres::deliver::ForwarderStatus;

/// State shared by all handlers.
pub(crate) struct App {
    pub(crate) config: Arc<Config>,
    /// `jsonl` or `postgres`.
    pub(crate) storage: &'static str,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access: Arc<Access>,
    pub(crate) files: StorageFiles,
    pub(crate) drain: Drain,
    pub(crate) journal: Journal,
    /// `None` in `jsonl` storage.
    pub(crate) forwarding: Option<Forwarding>,
    pub(crate) ingest: IngestState,
    pub(crate) read: ReadState,
}

/// State of the forwarder and its journal.
pub(crate) struct Forwarding {
    /// Progress of the forwarder.
    pub(crate) status: watch::Receiver<ForwarderStatus>,
    pub(crate) reader: Reader,
}
