//! The listener: connections in, a limited number of them, and out again without cutting anyone
//! off.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};

use super::connection::{Io, Requests, Timed, Timeouts};
use super::tls::Tls;
use crate::metrics::{Limit, Metrics};

/// How often an HTTP/2 peer has to show that it is still there.
const PING_INTERVAL: Duration = Duration::from_mins(1);

/// What is read at once, at least.
const READ_BYTES: usize = 64 << 10;

/// As many headers as hyper parses without allocating for it.
const HEADERS_FREE: usize = 100;

/// What a connection over the limit is told before it is closed.
const TOO_MANY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
    content-type: application/problem+json\r\ncontent-length: 124\r\n\r\n\
    {\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\
    \"detail\":\"too many connections are open (MAX_CONNECTIONS)\"}";

/// What a client is told that speaks HTTP where HTTPS is spoken.
const NOT_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\
    content-type: application/problem+json\r\ncontent-length: 116\r\n\r\n\
    {\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,\
    \"detail\":\"this port speaks https: use an https:// address\"}";

/// Pause when the process is out of file descriptors, which only time can cure.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What connections may take.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Most connections at once.
    pub connections_max: usize,
    /// Most bytes of a request's target and headers.
    pub header_bytes_max: usize,
    /// Most headers of a request.
    pub headers_max: usize,
    /// For a head that has begun, and for a TLS handshake.
    pub header_timeout: Duration,
    /// For a client to take anything of its answer.
    pub write_timeout: Duration,
    /// Without a request.
    pub idle_timeout: Duration,
}

/// Serves connections until told to stop.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    connections: Arc<Semaphore>,
    http: auto::Builder<TokioExecutor>,
    limits: ConnectionLimits,
    metrics: Arc<Metrics>,
}

impl Server {
    /// A server on that listener, of https if it has a certificate.
    pub fn new(
        listener: TcpListener,
        tls: Option<Arc<Tls>>,
        limits: ConnectionLimits,
        metrics: Arc<Metrics>,
    ) -> Self {
        let mut http = auto::Builder::new(TokioExecutor::new());
        // The limits of heads are checked where the answer can name them (`guard`). What goes far
        // beyond them gets a bare answer from hyper, which thus bounds the memory.
        let head_bytes = limits.header_bytes_max * 2;
        http.http1()
            .timer(TokioTimer::new())
            // `Timed` tells idleness from slowness.
            .header_read_timeout(None)
            .max_buf_size(head_bytes.max(READ_BYTES));
        if limits.headers_max >= HEADERS_FREE {
            http.http1().max_headers(limits.headers_max * 2);
        }
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(250)
            .max_header_list_size(u32::try_from(head_bytes).unwrap_or(u32::MAX))
            .keep_alive_interval(Some(PING_INTERVAL));
        let connections = Arc::new(Semaphore::new(limits.connections_max));
        Self { listener, tls, connections, http, limits, metrics }
    }

    /// Accepts connections until `stop` completes; then lets each finish its request, and closes it.
    pub async fn run(self, router: Router, stop: oneshot::Receiver<()>) {
        let graceful = GracefulShutdown::new();
        let accept = async {
            loop {
                let (stream, peer) = match self.listener.accept().await {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_RETRY).await;
                        continue;
                    }
                };
                let Ok(permit) = self.connections.clone().try_acquire_owned() else {
                    self.metrics.count_limit(Limit::Connections);
                    if self.tls.is_none() {
                        // A new socket's buffer is empty; who does not get this gets the close.
                        let _ = stream.try_write(TOO_MANY);
                    }
                    continue;
                };
                // Answers are small and each is awaited: Nagle's algorithm would only delay them.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY");
                }
                let connection = Connection {
                    peer,
                    router: router.clone(),
                    http: self.http.clone(),
                    tls: self.tls.clone(),
                    limits: self.limits,
                    metrics: self.metrics.clone(),
                    watcher: graceful.watcher(),
                };
                tokio::spawn(async move {
                    if let Err(error) = connection.serve(stream).await {
                        tracing::debug!(%peer, %error, "connection ended");
                    }
                    drop(permit);
                });
            }
        };
        tokio::select! {
            () = accept => {}
            _ = stop => {}
        }
        graceful.shutdown().await;
    }
}

/// What serves one connection.
struct Connection {
    peer: SocketAddr,
    router: Router,
    http: auto::Builder<TokioExecutor>,
    tls: Option<Arc<Tls>>,
    limits: ConnectionLimits,
    metrics: Arc<Metrics>,
    watcher: Watcher,
}

impl Connection {
    async fn serve(
        self,
        stream: TcpStream,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let io: Box<dyn Io> = match &self.tls {
            None => Box::new(stream),
            Some(tls) => {
                let handshake = handshake(tls, stream);
                match tokio::time::timeout(self.limits.header_timeout, handshake).await {
                    Ok(done) => done?,
                    Err(late) => {
                        self.metrics.count_limit(Limit::HeaderTimeout);
                        return Err(late.into());
                    }
                }
            }
        };
        let requests = Requests::none();
        let timeouts = Timeouts {
            head: self.limits.header_timeout,
            idle: self.limits.idle_timeout,
            write: self.limits.write_timeout,
        };
        let io = TokioIo::new(Timed::new(io, requests.clone(), timeouts, self.metrics));
        let (peer, router) = (self.peer, TowerToHyperService::new(self.router));
        let service = service_fn(move |mut request: Request<Incoming>| {
            let begun = requests.begin();
            request.extensions_mut().insert(ConnectInfo(peer));
            let answer = router.call(request);
            async move { Ok::<_, Infallible>(answer.await?.map(|body| begun.until_end_of(body))) }
        });
        let connection = self.http.serve_connection(io, service).into_owned();
        self.watcher.watch(connection).await
    }
}

/// Makes TLS of a connection; one that speaks HTTP is told to use https.
async fn handshake(tls: &Tls, mut stream: TcpStream) -> io::Result<Box<dyn Io>> {
    let mut first = [0];
    stream.peek(&mut first).await?;
    // A method's first letter; a handshake begins with 22.
    if first[0].is_ascii_uppercase() {
        // What is left unread would reset the connection, and the answer with it.
        let _ = stream.read(&mut [0; 8 << 10]).await?;
        stream.write_all(NOT_TLS).await?;
        stream.shutdown().await?;
        return Err(io::Error::new(io::ErrorKind::InvalidData, "HTTP without TLS"));
    }
    Ok(Box::new(tls.acceptor().accept(stream).await?))
}
