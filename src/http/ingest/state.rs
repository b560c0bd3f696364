//! State of the ingest endpoints.

use std::sync::Arc;

use super::memory::MemoryBudget;
use super::rate::RateLimits;
use super::request::Origin;
use crate::config::Config;
use crate::decode::{Context, Firings};
use crate::http::App;
use crate::journal::Framing;
use crate::redact::{Redactions, Redactor};
use crate::rejected::RejectedFile;

/// State of the ingest endpoints.
pub(crate) struct IngestState {
    framing: Framing,
    redactor: Option<Redactor>,
    pub(super) rejected: Arc<RejectedFile>,
    pub(super) rates: RateLimits,
    pub(super) memory: MemoryBudget,
    pub(super) firings: Arc<Firings>,
}

impl IngestState {
    /// Creates the state; `framing` is that of the journal, `rejected` receives invalid events.
    pub(crate) fn new(
        config: &Config,
        framing: Framing,
        redactor: Option<Redactor>,
        rejected: Arc<RejectedFile>,
    ) -> Self {
        let limits = &config.limits;
        Self {
            framing,
            redactor,
            rejected,
            rates: RateLimits::new(limits.rate_limit_events, limits.rate_limit_bytes),
            memory: MemoryBudget::new(limits.max_inflight_bytes),
            firings: Arc::default(),
        }
    }
}

impl App {
    pub(super) fn body_bytes_max(&self) -> usize {
        // The setting allows at most 256 MiB.
        usize::try_from(self.config.limits.max_body_bytes).unwrap_or(usize::MAX)
    }

    pub(super) fn decode_context<'c>(&'c self, origin: &'c Origin) -> Context<'c> {
        let keeps_key_name = self.config.access.store_key_name;
        Context {
            received_at: origin.received_at,
            framing: self.ingest.framing,
            batch_events_max: self.config.limits.max_batch_events as usize,
            depth_max: self.config.limits.max_depth as usize,
            key_name: origin.key_name.as_deref().filter(|_| keeps_key_name),
            redactor: self.ingest.redactor.as_ref(),
        }
    }

    pub(super) fn count_redactions(&self, redactions: &Redactions) {
        let counts = self.ingest.redactor.iter().flat_map(|redactor| redactor.by_rule(redactions));
        for (rule, count) in counts {
            self.metrics.redacted.with_label_values(&[rule]).inc_by(count);
        }
    }
}
