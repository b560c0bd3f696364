//! A small HTTP client for the server's own routes.

use std::time::Duration;

use clap::Args;
use jiff::fmt::rfc2822::DateTimeParser;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::event::Timestamp;

/// Which server, and who asks.
#[derive(Args, Clone, Debug)]
pub(super) struct Target {
    /// The server's address
    #[arg(long, env = "HOOKS_URL", value_name = "URL", default_value = "http://127.0.0.1:8080")]
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

/// Most bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

impl Client {
    pub(super) fn new(target: &Target, timeout: Duration) -> Self {
        let url = target.url.trim().trim_end_matches('/').to_owned();
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(timeout))
            .user_agent(concat!("hooks-backend/", env!("CARGO_PKG_VERSION")));
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

    fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, String> {
        let mut request =
            ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(key) = &self.api_key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
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
