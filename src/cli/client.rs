//! A small HTTP client for the server's own routes.

use std::io::Read;
use std::time::Duration;

use clap::Args;
use jiff::fmt::rfc2822::DateTimeParser;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::event::Timestamp;

/// Where a server is if nobody says.
pub(super) const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// A server's address as paths are put after it. An empty variable is one that is not set.
pub(super) fn address(url: &str) -> &str {
    match url.trim().trim_end_matches('/') {
        "" => DEFAULT_URL,
        url => url,
    }
}

/// Which server, and who asks.
#[derive(Args, Clone, Debug)]
pub(super) struct Target {
    /// The server's address
    #[arg(long, env = "HOOKS_URL", value_name = "URL", default_value = DEFAULT_URL)]
    pub(super) url: String,

    /// The key that the server asks for, if it does
    #[arg(long, env = "HOOKS_API_KEY", value_name = "KEY", hide_env_values = true)]
    pub(super) api_key: Option<String>,
}

/// A server, to be asked within a limit of time for each request.
pub(super) struct Client {
    agent: ureq::Agent,
    url: String,
    api_key: Option<String>,
}

/// What a server says.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) text: String,
    date: Option<String>,
    came_at: Timestamp,
}

impl Answer {
    /// Seconds by which the server's clock is ahead of this one, if it says its time.
    pub(super) fn clock_difference(&self) -> Option<f64> {
        static PARSER: DateTimeParser = DateTimeParser::new();
        let date = PARSER.parse_timestamp(self.date.as_ref()?).ok()?;
        Some(date.as_second() as f64 - self.came_at.micros() as f64 / 1e6)
    }
}

/// Why a server shows nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// It is not there, or does not speak HTTP.
    #[error(
        "the server does not answer ({0}): start it (hooks-backend), or say where it is: --url or \
         HOOKS_URL"
    )]
    NoAnswer(String),
    /// It says no.
    #[error("{1} ({0})")]
    Status(u16, String),
}

/// How long a stream may take to begin; above what the server gives a question.
const STREAM_TIMEOUT: Duration = Duration::from_secs(30);

type Builder = ureq::config::ConfigBuilder<ureq::typestate::AgentScope>;

/// Most bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

impl Client {
    /// A client whose answers may go on without end, once they have begun.
    pub(super) fn for_streams(target: &Target) -> Self {
        Self::with(target, |config| {
            config.timeout_connect(Some(STREAM_TIMEOUT)).timeout_recv_response(Some(STREAM_TIMEOUT))
        })
    }

    pub(super) fn new(target: &Target, timeout: Duration) -> Self {
        Self::with(target, |config| config.timeout_global(Some(timeout)))
    }

    fn with(target: &Target, limits: impl FnOnce(Builder) -> Builder) -> Self {
        let url = address(&target.url).to_owned();
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(concat!("hooks-backend/", env!("CARGO_PKG_VERSION")));
        config = limits(config);
        // A proxy for the world leads nowhere from this machine to itself.
        let host = url.split_once("://").map_or("", |(_, rest)| rest);
        if ["localhost", "127.", "[::1]"].iter().any(|local| host.starts_with(local)) {
            config = config.proxy(None);
        }
        // The system's authorities take a while to load.
        if url.starts_with("https:") {
            config = config.tls_config(tls());
        }
        let api_key = target.api_key.clone().filter(|key| !key.is_empty());
        Self { agent: config.build().new_agent(), url, api_key }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn get(&self, path: &str) -> Result<Answer, String> {
        self.ask("GET", path, &[], b"")
    }

    pub(super) fn post(
        &self,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> Result<Answer, String> {
        self.ask("POST", path, &[("content-type", content_type)], body)
    }

    /// The body of an answer, as it comes; or why there is none.
    pub(super) fn stream(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<impl Read + use<>, Refused> {
        let request = self.request("GET", path, headers).body(());
        let answer = request.map_err(ureq::Error::from).and_then(|asked| self.agent.run(asked));
        let mut answer = answer.map_err(|error| Refused::NoAnswer(error.to_string()))?;
        let status = answer.status().as_u16();
        if status == 200 {
            return Ok(answer.into_body().into_reader());
        }
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        let problem: serde_json::Value =
            serde_json::from_str(&body.unwrap_or_default()).unwrap_or_default();
        let detail = problem["detail"].as_str().unwrap_or("no reason given").to_owned();
        Err(Refused::Status(status, detail))
    }

    fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> ureq::http::request::Builder {
        let mut request =
            ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(key) = &self.api_key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        request
    }

    fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, String> {
        let request = self.request(method, path, headers);
        let answer = if method == "GET" {
            request.body(()).map_err(ureq::Error::from).and_then(|asked| self.agent.run(asked))
        } else {
            request.body(body).map_err(ureq::Error::from).and_then(|asked| self.agent.run(asked))
        };
        let mut answer = answer.map_err(|error| error.to_string())?;
        let date = answer.headers().get("date").cloned();
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        Ok(Answer {
            status: answer.status().as_u16(),
            text: body.map_err(|error| error.to_string())?,
            date: date.and_then(|date| Some(date.to_str().ok()?.to_owned())),
            came_at: Timestamp::now(),
        })
    }
}

fn tls() -> TlsConfig {
    let found = rustls_native_certs::load_native_certs().certs;
    let roots: Vec<Certificate<'static>> =
        found.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
    TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&roots))
        .unversioned_rustls_crypto_provider(crate::tls::provider())
        .build()
}
