//! A plain HTTP client: every status is a response, none is an error.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::Value;
use ureq::http::HeaderMap;

/// Longer than the server may take to respond.
const TIMEOUT: Duration = Duration::from_mins(1);

pub(crate) const JSON: &str = "application/json";
pub(crate) const NDJSON: &str = "application/x-ndjson";

/// Uses the read token of a server without API keys, as the commands do.
#[derive(Clone)]
pub(crate) struct Client {
    agent: ureq::Agent,
    pub(crate) address: SocketAddr,
    /// The value of `Authorization` that permits reading.
    read_token: Arc<OnceLock<String>>,
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Response {
    /// The body, which must be JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// The value of a header; empty if absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Asserts the status and returns the response.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}

impl Client {
    /// A client that opens a connection for each request: the server may close a connection whose
    /// request body it did not read.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self::with(address, TIMEOUT, 0)
    }

    /// A client that keeps its connection alive, as agents do.
    pub(crate) fn keep_alive(address: SocketAddr) -> Self {
        Self::with(address, TIMEOUT, 1)
    }

    /// A client that keeps its connection alive and gives up after `timeout`.
    pub(crate) fn with_timeout(address: SocketAddr, timeout: Duration) -> Self {
        Self::with(address, timeout, 1)
    }

    fn with(address: SocketAddr, timeout: Duration, connections: usize) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(timeout))
            .proxy(None)
            .max_idle_connections(connections)
            .build()
            .new_agent();
        Self { agent, address, read_token: Arc::default() }
    }

    /// Sends a request, with the read token if it carries no key and the server asks for the token; an
    /// error means that no response arrived.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response, ureq::Error> {
        let response = self.send_once(method, path, headers, body)?;
        let has_key = |(name, _): &(&str, &str)| matches!(*name, "authorization" | "x-api-key");
        if response.status != 401 || headers.iter().any(has_key) {
            return Ok(response);
        }
        // The response to a HEAD has no body.
        let named =
            if method == "HEAD" { &self.send_once("GET", path, &[], b"")? } else { &response };
        let Some(token) = read_token(named) else { return Ok(response) };
        let token = self.read_token.get_or_init(|| token);
        let headers = [headers, &[("authorization", token)]].concat();
        self.send_once(method, path, &headers, body)
    }

    /// The header line by which a raw request may read, ended by CR LF; empty if the server has keys.
    pub(crate) fn read_header(&self) -> String {
        if self.read_token.get().is_none() {
            self.get("/stats", &[]);
        }
        self.read_token.get().map_or(String::new(), |token| format!("authorization: {token}\r\n"))
    }

    /// Sends a request with these headers only.
    pub(crate) fn send_once(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response, ureq::Error> {
        let url = format!("http://{}{path}", self.address);
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = if method == "GET" {
            self.agent.run(request.body(())?)?
        } else {
            self.agent.run(request.body(body)?)?
        };
        Ok(Response {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.body_mut().with_config().limit(1 << 30).read_to_string()?,
        })
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        self.send("GET", path, headers, b"").expect("a response")
    }

    #[track_caller]
    pub(crate) fn post(
        &self,
        path: &str,
        content_type: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Response {
        let mut all = vec![("content-type", content_type)];
        all.extend_from_slice(headers);
        self.send("POST", path, &all, body.as_ref()).expect("a response")
    }

    /// Sends one event as JSON.
    #[track_caller]
    pub(crate) fn event(&self, event: &Value) -> Response {
        self.post("/events", JSON, &[], event.to_string())
    }

    /// Sends a batch as a JSON array.
    #[track_caller]
    pub(crate) fn batch(&self, events: &[Value]) -> Response {
        self.post("/events/batch", JSON, &[], Value::from(events).to_string())
    }

    /// The body of `GET /health`, healthy or not.
    #[track_caller]
    pub(crate) fn health(&self) -> Value {
        // Without the read token, the response has no reasons.
        self.read_header();
        let token = self.read_token.get().map(|token| ("authorization", &**token));
        self.get("/health", token.as_slice()).json()
    }

    /// The value of one sample of `GET /metrics`. `sample` is the name with its labels, as in the text
    /// format. A sample with labels that was never counted is 0. Panics if there is no such metric.
    #[track_caller]
    pub(crate) fn metric(&self, sample: &str) -> u64 {
        let text = self.get("/metrics", &[]).text;
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(sample));
        if let Some(value) = lines.find_map(|rest| rest.strip_prefix(' ')) {
            return value.parse().expect("a whole number");
        }
        // Families without samples are not in the response, but in the reference of all metrics.
        let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
        let reference = agentic_hooks_backend::metrics::reference();
        let row = reference.lines().find(|row| row.starts_with(&format!("| `{name}` |")));
        let is_labelled = !labels.is_empty()
            && labels.split("\",").all(|pair| {
                let (label, _) = pair.split_once('=').expect("a label with a value");
                row.is_some_and(|row| row.contains(&format!("`{label}`")))
            });
        assert!(is_labelled, "no sample {sample}: {row:?} in {text}");
        0
    }

    /// A raw connection, for requests that no correct client sends.
    #[track_caller]
    pub(crate) fn connect(&self) -> Connection {
        Connection::new(TcpStream::connect(self.address).expect("a connection"))
    }

    /// A raw connection from another loopback address.
    #[track_caller]
    pub(crate) fn connect_from(&self, address: [u8; 4]) -> Connection {
        self.connect_by(|socket| socket.bind((address, 0).into()))
    }

    /// A raw connection whose kernel keeps few bytes that were not read, and takes others in small steps.
    #[track_caller]
    pub(crate) fn connect_with_small_buffer(&self) -> Connection {
        self.connect_by(|socket| {
            socket2::SockRef::from(socket).set_tcp_mss(1000)?;
            socket.set_recv_buffer_size(8 << 10)
        })
    }

    #[track_caller]
    fn connect_by(
        &self,
        prepare: impl FnOnce(&tokio::net::TcpSocket) -> std::io::Result<()>,
    ) -> Connection {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let stream = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4()?;
            prepare(&socket)?;
            socket.connect(self.address).await?.into_std()
        });
        let stream = stream.expect("a connection");
        stream.set_nonblocking(false).expect("a socket");
        Connection::new(stream)
    }
}

/// Reads the token in the file that a response names.
fn read_token(response: &Response) -> Option<String> {
    let problem: Value = serde_json::from_str(&response.text).ok()?;
    let line = std::fs::read_to_string(problem["token_file"].as_str()?).expect("the read token");
    Some(line.trim_end().strip_prefix("Authorization: ").expect("a header").to_owned())
}

pub(crate) struct Connection(TcpStream);

impl Connection {
    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
        Self(stream)
    }

    #[track_caller]
    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).expect("the server reads");
    }

    /// The underlying stream, for binary bodies.
    pub(crate) fn into_inner(self) -> TcpStream {
        self.0
    }

    /// Writes `bytes` repeatedly until the socket buffers are full.
    #[track_caller]
    pub(crate) fn flood(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.set_nonblocking(true).expect("a socket");
        while self.0.write_all(bytes.as_ref()).is_ok() {}
        self.0.set_nonblocking(false).expect("a socket");
    }

    /// Reads until `text` arrives.
    #[track_caller]
    pub(crate) fn read_until(&mut self, text: &str) -> String {
        let mut read = Vec::new();
        let mut byte = [0];
        while !String::from_utf8_lossy(&read).ends_with(text) {
            // Unlike `read`, `read_exact` retries after a signal.
            if let Err(error) = self.0.read_exact(&mut byte) {
                let end = read.len().saturating_sub(2_000);
                panic!("{error} after ...{:?}", String::from_utf8_lossy(&read[end..]));
            }
            read.push(byte[0]);
        }
        String::from_utf8_lossy(&read).into_owned()
    }

    /// Reads until the server closes the connection.
    #[track_caller]
    pub(crate) fn read_to_end(&mut self) -> String {
        let mut read = Vec::new();
        self.0.read_to_end(&mut read).expect("the server responds");
        String::from_utf8_lossy(&read).into_owned()
    }
}
