//! What every handler can reach.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use super::access::Access;
use super::ingest::{Drain, InFlight, Rates};
use super::read;
use crate::config::Ack;
use crate::decode::{Context, Firings};
use crate::event::Timestamp;
use crate::journal::{Framing, Journal, Reader};
use crate::metrics::Metrics;
use crate::postgres::deliver::Status;
use crate::redact::{Redactions, Redactor};
use crate::rejected::RejectedFile;
use crate::store::Store;

/// What every handler can reach.
#[derive(Debug)]
pub struct App {
    /// Where events go.
    pub journal: Journal,
    /// How the journal frames its records.
    pub framing: Framing,
    /// `jsonl` or `postgres`.
    pub storage: &'static str,
    /// The database's side, in `postgres` storage.
    pub forwarding: Option<Forwarding>,
    /// Where events are read from.
    pub store: Store,
    /// Where invalid events of a batch are kept.
    pub rejected: Arc<RejectedFile>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Who may write and read.
    pub access: Arc<Access>,
    /// How much each sender may send.
    pub rates: Rates,
    /// Closes from the first signal on.
    pub drain: Drain,
    /// Bytes of bodies in memory.
    pub in_flight: InFlight,
    /// How many more streams of events may be opened.
    pub streams: Arc<Semaphore>,
    /// How many more exports as Parquet may begin.
    pub parquet_exports: Arc<Semaphore>,
    /// When requests are answered, unless they say.
    pub ack: Ack,
    /// The hooks that fired last, of which some fire twice.
    pub firings: Firings,
    /// Most bytes in a body.
    pub body_bytes_max: usize,
    /// Most events in a batch.
    pub batch_events_max: usize,
    /// Deepest nesting in an event's fields.
    pub depth_max: usize,
    /// Whether events keep the name of the API key with which they were sent.
    pub keeps_key_names: bool,
    /// What takes secrets out of events.
    pub redactor: Option<Redactor>,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How long a request with `ack=stored` waits for the store.
    pub stored_timeout: Duration,
    /// Most bytes of a request's target and headers.
    pub header_bytes_max: usize,
    /// Most headers of a request.
    pub headers_max: usize,
}

impl App {
    /// What the events of a request received at that time, with the key of that name, have in common.
    pub(super) fn context<'c>(
        &'c self,
        received_at: Timestamp,
        key_name: Option<&'c str>,
    ) -> Context<'c> {
        Context {
            received_at,
            framing: self.framing,
            batch_events_max: self.batch_events_max,
            depth_max: self.depth_max,
            key_name: key_name.filter(|_| self.keeps_key_names),
            redactor: self.redactor.as_ref(),
        }
    }

    pub(super) fn count_redactions(&self, redactions: &Redactions) {
        let counts = self.redactor.iter().flat_map(|redactor| redactor.by_rule(redactions));
        for (rule, count) in counts {
            self.metrics.redacted.with_label_values(&[rule]).inc_by(count);
        }
    }
}

/// As many streams as may be open at once.
pub fn streams() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(read::STREAMS_MAX))
}

/// As many exports as Parquet as may be written at once.
pub fn parquet_exports() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(read::PARQUET_MAX))
}

/// What HTTP tells about the forwarder and its journal.
#[derive(Debug)]
pub struct Forwarding {
    /// How the forwarder gets on.
    pub status: watch::Receiver<Status>,
    /// The journal's size.
    pub reader: Reader,
    /// `JOURNAL_MAX_BYTES`.
    pub journal_bytes_max: u64,
}
