//! The server that takes the events: sends batches, and again where that can help.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use ureq::http::Response;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use crate::cli::client::Target;

/// Longer than a server takes for an answer, `ack=stored` included.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

/// Pause before trying again, unless the server says how long; doubles from the one to the other.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// The longest `Retry-After` that is followed.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(10);

pub(super) struct Server {
    agent: Agent,
    url: String,
    key: Option<String>,
    retry_for: Duration,
}

/// What became of a batch.
pub(super) enum Outcome {
    /// It was decided on; these of its events were refused.
    Decided(Vec<Refused>),
    /// It was refused as a whole, and why. A smaller one may do better.
    Refused(String),
}

/// An event that was refused.
#[derive(Deserialize)]
pub(super) struct Refused {
    /// Its place in the batch, from 0.
    pub(super) index: usize,
    field: Option<String>,
    error: String,
}

impl Refused {
    pub(super) fn reason(&self) -> String {
        self.field.iter().chain([&self.error]).map(String::as_str).collect::<Vec<_>>().join(" ")
    }
}

enum Answer {
    Final(Outcome),
    /// Trying again can help, after that time if it is known.
    Later(Option<Duration>, String),
}

impl Server {
    /// A server to which nothing is sent yet.
    pub(super) fn new(target: &Target, ack: &str, retry_for: Duration) -> Self {
        let url = target.url.trim();
        let key = target.api_key.clone().filter(|key| !key.is_empty());
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(ANSWER_TIMEOUT))
            .proxy(None)
            .user_agent(concat!("hooks-backend/", env!("CARGO_PKG_VERSION")));
        if url.starts_with("https:") {
            let found = rustls_native_certs::load_native_certs().certs;
            let roots = found.iter().map(|root| Certificate::from_der(root).to_owned());
            let tls = TlsConfig::builder()
                .root_certs(RootCerts::Specific(Arc::new(roots.collect())))
                .unversioned_rustls_crypto_provider(Arc::new(
                    rustls::crypto::ring::default_provider(),
                ));
            config = config.tls_config(tls.build());
        }
        Self {
            agent: config.build().new_agent(),
            url: format!("{}/events/batch?ack={ack}", url.trim_end_matches('/')),
            key,
            retry_for,
        }
    }

    /// Sends a batch, one event a line, until it is decided on. `waiting` is called with the reason for each pause.
    ///
    /// # Errors
    /// Why it is of no use to go on.
    pub(super) fn send(
        &self,
        batch: &[u8],
        media_type: &str,
        mut waiting: impl FnMut(&str),
    ) -> Result<Outcome, String> {
        let begun = Instant::now();
        let mut pause = RETRY_FIRST;
        loop {
            let (after, why) = match self.post(batch, media_type)? {
                Answer::Final(outcome) => return Ok(outcome),
                Answer::Later(after, why) => (after, why),
            };
            let wait = after.unwrap_or(pause).min(RETRY_AFTER_MAX);
            if begun.elapsed() + wait > self.retry_for {
                return Err(format!("{why}; tried for {} s", begun.elapsed().as_secs()));
            }
            waiting(&why);
            std::thread::sleep(wait);
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    fn post(&self, batch: &[u8], media_type: &str) -> Result<Answer, String> {
        let mut request = self.agent.post(&self.url).content_type(media_type);
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let mut response = match request.send(batch) {
            Ok(response) => response,
            Err(
                error @ (ureq::Error::Io(_)
                | ureq::Error::Timeout(_)
                | ureq::Error::ConnectionFailed
                | ureq::Error::HostNotFound
                | ureq::Error::Protocol(_)),
            ) => return Ok(Answer::Later(None, format!("no answer from {}: {error}", self.url))),
            Err(error) => return Err(format!("{}: {error}", self.url)),
        };
        let status = response.status().as_u16();
        let after = retry_after(&response);
        let body = match response.body_mut().with_config().limit(64 << 20).read_to_string() {
            Ok(body) => body,
            Err(error) => return Ok(Answer::Later(None, format!("half an answer: {error}"))),
        };
        let answer: Said = serde_json::from_str(&body).unwrap_or_default();
        let said = format!("{status} {}", answer.detail.unwrap_or(body));
        Ok(match status {
            202 | 422 if status == 202 || !answer.rejected.is_empty() => {
                Answer::Final(Outcome::Decided(answer.rejected))
            }
            400 | 413 | 422 => Answer::Final(Outcome::Refused(said)),
            408 | 429 | 500..=599 => Answer::Later(after, said),
            401 | 403 => return Err(format!("{said} (the key is taken from HOOKS_API_KEY)")),
            _ => return Err(format!("{said}; is {} a server of hooks-backend?", self.url)),
        })
    }
}

/// An answer's body, of whatever status.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    rejected: Vec<Refused>,
    detail: Option<String>,
}

/// `Retry-After` in seconds; servers of this project send no dates.
fn retry_after(response: &Response<Body>) -> Option<Duration> {
    let value = response.headers().get("retry-after")?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}
