//! The server that receives the events: sends batches, with retries.

use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::cli::client::{Client, ClientError, Response, Target};

/// Maximum time for a response; longer than a server takes, `ack=stored` included.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Backoff between retries, unless the server sends `Retry-After`: doubles from the first to the
/// maximum.
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Maximum `Retry-After` that is followed.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(10);

pub(super) struct ImportTarget {
    client: Client,
    path: String,
    retry_for: Duration,
}

/// The server's decision about a batch.
pub(super) enum BatchOutcome {
    /// All events were accepted but these.
    Decided(Vec<LineRejection>),
    /// The batch was rejected as a whole, for this reason. A smaller one can be accepted.
    Rejected(String),
}

/// An event that the server rejected.
#[derive(Deserialize)]
pub(super) struct LineRejection {
    /// Index in the batch, from 0.
    pub(super) index: usize,
    field: Option<String>,
    error: String,
}

impl LineRejection {
    pub(super) fn reason(&self) -> String {
        self.field.iter().chain([&self.error]).map(String::as_str).collect::<Vec<_>>().join(" ")
    }
}

enum Attempt {
    Final(BatchOutcome),
    /// A retry can help, after this time if the server named one.
    Retry(Option<Duration>, String),
}

impl ImportTarget {
    pub(super) fn new(
        target: &Target,
        ack: &str,
        retry_for: Duration,
    ) -> Result<Self, ClientError> {
        let client = Client::new(target, TIMEOUT)?;
        Ok(Self { client, path: format!("/events/batch?ack={ack}"), retry_for })
    }

    /// Sends a batch, one event a line, until the server decides about it. Calls `waiting` with the
    /// reason before each retry. Fails with the reason if retries cannot help or took too long.
    pub(super) fn send(
        &self,
        batch: &[u8],
        media_type: &str,
        mut waiting: impl FnMut(&str),
    ) -> Result<BatchOutcome, String> {
        let begun = Instant::now();
        let mut backoff = BACKOFF_FIRST;
        loop {
            let (after, reason) = match self.attempt(batch, media_type)? {
                Attempt::Final(outcome) => return Ok(outcome),
                Attempt::Retry(after, reason) => (after, reason),
            };
            let wait = after.unwrap_or(backoff).min(RETRY_AFTER_MAX);
            if begun.elapsed() + wait > self.retry_for {
                return Err(format!("{reason}; tried for {} s", begun.elapsed().as_secs()));
            }
            waiting(&reason);
            std::thread::sleep(wait);
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    fn attempt(&self, batch: &[u8], media_type: &str) -> Result<Attempt, String> {
        match self.client.post(&self.path, media_type, batch) {
            Ok(response) => self.decide(&response),
            Err(error @ ClientError::NoResponse { .. }) => {
                Ok(Attempt::Retry(None, error.to_string()))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn decide(&self, response: &Response) -> Result<Attempt, String> {
        let status = response.status;
        let body: Body = serde_json::from_str(&response.text).unwrap_or_default();
        let reason = format!("{status} {}", body.detail.as_deref().unwrap_or(&response.text));
        Ok(match status {
            202 | 422 if status == 202 || !body.rejected.is_empty() => {
                Attempt::Final(BatchOutcome::Decided(body.rejected))
            }
            400 | 413 | 422 => Attempt::Final(BatchOutcome::Rejected(reason)),
            408 | 429 | 500..=599 => Attempt::Retry(response.retry_after, reason),
            401 | 403 => return Err(format!("{reason} (the key is taken from HOOKS_API_KEY)")),
            _ => {
                return Err(format!("{reason}; is {} a hooks-backend server?", self.client.url()));
            }
        })
    }
}

/// The members of a response's body, whatever its status.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    rejected: Vec<LineRejection>,
    detail: Option<String>,
}
