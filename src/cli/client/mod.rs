//! The HTTP client of all commands.

mod proxy;

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use jiff::fmt::rfc2822::DateTimeParser;
use ureq::http::Uri;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsConfigBuilder};

use crate::event::Timestamp;
use crate::{read_token, visible};

/// Address of the server unless another one is given.
pub(super) const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// Advice for when no server responds.
pub(super) const START_SERVER: &str =
    "start the server (hooks-backend), or give its address with --url or HOOKS_URL";

/// Maximum time until a stream begins; above the server's own limit for a query.
const STREAM_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum size of the reason of an error response that is shown.
const REASON_BYTES_MAX: usize = 1000;

/// Maximum size of a response that is read whole.
const RESPONSE_BYTES_MAX: u64 = 16 << 20;

/// Returns the address to which paths are appended; the default for an empty one.
pub(super) fn base_url(url: &str) -> &str {
    match url.trim().trim_end_matches('/') {
        "" => DEFAULT_URL,
        url => url,
    }
}

/// Address of a server, and the key to use there.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub(super) struct Target {
    /// Address of the server
    #[arg(long, env = "HOOKS_URL", default_value = DEFAULT_URL)]
    pub(super) url: String,

    /// API key, if the server requires one
    #[arg(long, env = "HOOKS_API_KEY", value_name = "KEY", hide_env_values = true)]
    pub(super) api_key: Option<String>,
}

/// A response that was read whole.
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) text: String,
    /// `Retry-After`, if it is in seconds; the server sends no dates.
    pub(super) retry_after: Option<Duration>,
    date: Option<String>,
    received_at: Timestamp,
}

impl Response {
    /// Returns the seconds by which the server's clock is ahead of the local one, if the response has
    /// a date.
    pub(super) fn clock_difference(&self) -> Option<f64> {
        static PARSER: DateTimeParser = DateTimeParser::new();
        let date = PARSER.parse_timestamp(self.date.as_ref()?).ok()?;
        Some(date.as_second() as f64 - self.received_at.micros() as f64 / 1e6)
    }
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// The address is no URL.
    #[error("{0:?} is not the URL of a server: expected one such as {DEFAULT_URL}")]
    Url(String),
    /// The proxy cannot be used. Its URL is not shown: it can hold a password.
    #[error("the proxy in {0} cannot be used: expected a URL such as http://proxy.example:3128")]
    Proxy(&'static str),
    /// There was no response, or only a part of one. A retry can help.
    #[error("no response from {url}: {reason}")]
    NoResponse { url: String, reason: String },
    /// The request could not be sent. A retry cannot help.
    #[error("request to {url} failed: {reason}")]
    Request { url: String, reason: String },
    /// The server has no API keys, and its read token is not available.
    #[error("reading needs the read token of the server in {path:?}: {reason}")]
    ReadToken { path: PathBuf, reason: String },
    /// The server responded with an error.
    #[error("{detail} ({status})")]
    Status { status: u16, detail: String },
}

impl ClientError {
    /// Returns what the user can do about it.
    pub(super) fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Url(_) => Some("give the address with --url or HOOKS_URL"),
            Self::NoResponse { .. } => Some(START_SERVER),
            Self::Status { status: 401, .. } => {
                Some("set HOOKS_API_KEY (or --api-key) to a key of the server")
            }
            Self::ReadToken { .. } => Some(
                "run the command as the user of the server, or set API_KEYS there and HOOKS_API_KEY here",
            ),
            Self::Proxy(_) | Self::Request { .. } | Self::Status { .. } => None,
        }
    }
}

/// Returns the reason that an error response gives, on one line.
pub(super) fn detail(body: &str) -> String {
    let problem: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let reason = problem["detail"].as_str().unwrap_or("no reason given");
    visible::one_line(&visible::cut(reason, REASON_BYTES_MAX)).into_owned()
}

type Builder = ureq::config::ConfigBuilder<ureq::typestate::AgentScope>;

/// A client of one server.
pub(super) struct Client {
    agent: ureq::Agent,
    url: String,
    /// True if the server is reached by a loopback address: only there, a read token is sent.
    is_local: bool,
    /// The API key, replaced by the read token if the server has no keys.
    secret: Mutex<Option<String>>,
}

impl Client {
    /// Returns a client whose requests take at most `timeout`, response included.
    pub(super) fn new(target: &Target, timeout: Duration) -> Result<Self, ClientError> {
        Self::with(target, |config| config.timeout_global(Some(timeout)))
    }

    /// Returns a client whose responses can be endless; only their beginning has a time limit.
    pub(super) fn for_streams(target: &Target) -> Result<Self, ClientError> {
        Self::with(target, |config| {
            config.timeout_connect(Some(STREAM_TIMEOUT)).timeout_recv_response(Some(STREAM_TIMEOUT))
        })
    }

    /// Returns a client of a server on this machine, which is reached without a proxy. Certificates
    /// are not verified: they are issued for a name, not for this address.
    pub(super) fn local(address: SocketAddr, https: bool, timeout: Duration) -> Self {
        let tls = tls().disable_verification(true).build();
        let config = builder().timeout_global(Some(timeout)).proxy(None).tls_config(tls);
        let scheme = if https { "https" } else { "http" };
        let url = format!("{scheme}://{address}");
        let secret = Mutex::new(None);
        Self { agent: config.build().new_agent(), url, is_local: false, secret }
    }

    fn with(target: &Target, limits: impl FnOnce(Builder) -> Builder) -> Result<Self, ClientError> {
        let url = base_url(&target.url).to_owned();
        let uri = url.parse::<Uri>().ok().filter(|uri| {
            uri.host().is_some() && matches!(uri.scheme_str(), Some("http" | "https"))
        });
        let uri = uri.ok_or_else(|| ClientError::Url(url.clone()))?;
        let is_local = uri.host().is_some_and(|host| {
            proxy::is_this_machine(&host.trim_matches(['[', ']']).to_ascii_lowercase())
        });
        let proxy = proxy::of(&uri)?;
        let mut config = limits(builder()).proxy(proxy.clone());
        // Loading the certificates of the system takes a while.
        let is_https = |scheme: Option<&str>| scheme == Some("https");
        if is_https(uri.scheme_str()) || proxy.is_some_and(|p| is_https(p.uri().scheme_str())) {
            config = config.tls_config(tls().root_certs(system_roots()).build());
        }
        let secret = Mutex::new(target.api_key.clone().filter(|key| !key.is_empty()));
        Ok(Self { agent: config.build().new_agent(), url, is_local, secret })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn get(&self, path: &str) -> Result<Response, ClientError> {
        let response = self.send("GET", path, &[], ())?;
        if self.learn_read_token(response.status, &response.text)? {
            return self.send("GET", path, &[], ());
        }
        Ok(response)
    }

    pub(super) fn post(
        &self,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> Result<Response, ClientError> {
        let headers = [("content-type", content_type)];
        self.send("POST", path, &headers, body)
    }

    /// Returns the body of a successful response as it arrives.
    pub(super) fn stream(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<impl Read + use<>, ClientError> {
        loop {
            let mut response = self.run("GET", path, headers, ())?;
            let status = response.status().as_u16();
            if status == 200 {
                return Ok(response.into_body().into_reader());
            }
            let text = self.read(&mut response)?;
            if !self.learn_read_token(status, &text)? {
                return Err(ClientError::Status { status, detail: detail(&text) });
            }
        }
    }

    /// Reads the read token in the file that a response names. Returns false if there is none, or none
    /// but the one that was sent.
    fn learn_read_token(&self, status: u16, text: &str) -> Result<bool, ClientError> {
        let problem: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
        let Some(path) = problem["token_file"].as_str().map(Path::new) else { return Ok(false) };
        if status != 401 || !self.is_local {
            return Ok(false);
        }
        let failed = |reason| ClientError::ReadToken { path: path.to_owned(), reason };
        let token = read_token::in_use(path).map_err(|error| failed(error.to_string()))?;
        let token =
            token.ok_or_else(|| failed("no running server has this file open".to_owned()))?;
        let mut secret = self.secret.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = secret.as_ref() != Some(&token);
        *secret = Some(token);
        Ok(is_new)
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl ureq::AsSendBody,
    ) -> Result<Response, ClientError> {
        let mut response = self.run(method, path, headers, body)?;
        let header = |name| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        let (date, retry_after) = (header("date"), header("retry-after"));
        let retry_after = retry_after.and_then(|seconds| seconds.trim().parse().ok());
        Ok(Response {
            status: response.status().as_u16(),
            text: self.read(&mut response)?,
            retry_after: retry_after.map(Duration::from_secs),
            date,
            received_at: Timestamp::now(),
        })
    }

    fn run(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl ureq::AsSendBody,
    ) -> Result<ureq::http::Response<ureq::Body>, ClientError> {
        let mut request =
            ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let secret = self.secret.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(secret) = secret {
            request = request.header("authorization", format!("Bearer {secret}"));
        }
        let request = request.body(body).map_err(ureq::Error::from);
        request.and_then(|request| self.agent.run(request)).map_err(|error| self.failed(&error))
    }

    fn read(&self, response: &mut ureq::http::Response<ureq::Body>) -> Result<String, ClientError> {
        let body = response.body_mut().with_config().limit(RESPONSE_BYTES_MAX).read_to_string();
        body.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &ureq::Error) -> ClientError {
        let (url, reason) = (self.url.clone(), error.to_string());
        match error {
            ureq::Error::Io(_)
            | ureq::Error::Timeout(_)
            | ureq::Error::ConnectionFailed
            | ureq::Error::ConnectProxyFailed(_)
            | ureq::Error::HostNotFound
            | ureq::Error::Protocol(_) => ClientError::NoResponse { url, reason },
            _ => ClientError::Request { url, reason },
        }
    }
}

fn builder() -> Builder {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("hooks-backend/", env!("CARGO_PKG_VERSION")))
}

fn tls() -> TlsConfigBuilder {
    TlsConfig::builder().unversioned_rustls_crypto_provider(crate::tls::provider())
}

/// The certificate authorities of the system, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`.
fn system_roots() -> RootCerts {
    let found = rustls_native_certs::load_native_certs().certs;
    let roots: Vec<Certificate<'static>> =
        found.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
    RootCerts::new_with_certs(&roots)
}
