//! The listener: accepts up to `MAX_CONNECTIONS` connections, and closes them gracefully at shutdown.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::{Service, service_fn};
use hyper::{Request, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, mpsc};

use super::connection::{Io, RequestCounter, TimedStream, Timeouts};
use super::tls::Tls;
use crate::http::drain::Drain;
use crate::metrics::{Limit, Metrics};

/// Interval of HTTP/2 pings, which detect a dead peer.
const PING_INTERVAL: Duration = Duration::from_mins(1);

/// Minimum size of the read buffer of an HTTP/1 connection.
const READ_BUFFER_BYTES_MIN: usize = 64 << 10;

/// The number of headers that hyper parses on the stack: its default limit.
const HYPER_HEADERS_MAX: usize = 100;

/// Bytes of a response that the kernel keeps before it sends them. It takes further ones in steps of about 64 KiB.
#[cfg(target_os = "linux")]
const UNSENT_BYTES_MAX: u32 = 128 << 10;

/// The response to a connection over the limit.
const TOO_MANY_CONNECTIONS: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
    content-type: application/problem+json\r\ncontent-length: 124\r\n\r\n\
    {\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\
    \"detail\":\"too many connections are open (MAX_CONNECTIONS)\"}";

/// The response to plain HTTP on a port that serves HTTPS.
const NOT_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\
    content-type: application/problem+json\r\ncontent-length: 116\r\n\r\n\
    {\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,\
    \"detail\":\"this port speaks https: use an https:// address\"}";

/// Pause after a failed accept: out of file descriptors, it succeeds once a connection is closed.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Limits on connections and on the heads of requests.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Maximum number of open connections.
    pub connections_max: usize,
    /// Maximum size of a request's target and headers.
    pub header_bytes_max: usize,
    /// Maximum number of headers of a request.
    pub headers_max: usize,
    /// Time for the head of a request, and for a TLS handshake.
    pub header_timeout: Duration,
    /// Time for a client to read any part of its response.
    pub write_timeout: Duration,
    /// Time that a connection may stay open without a request.
    pub idle_timeout: Duration,
}

/// The HTTP server.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    connections: Arc<Semaphore>,
    http: auto::Builder<TokioExecutor>,
    limits: ConnectionLimits,
    drain: Drain,
    metrics: Arc<Metrics>,
}

impl Server {
    /// Creates a server for the listener; with `tls`, it serves HTTPS.
    pub fn new(
        listener: TcpListener,
        tls: Option<Arc<Tls>>,
        limits: ConnectionLimits,
        drain: Drain,
        metrics: Arc<Metrics>,
    ) -> Self {
        let mut http = auto::Builder::new(TokioExecutor::new());
        // The limits on heads are checked by the middleware, whose response names them. Hyper's own
        // limits are twice as large; they bound the memory, and their response has no body.
        let head_bytes = limits.header_bytes_max * 2;
        http.http1()
            .timer(TokioTimer::new())
            // `TimedStream` has separate timeouts for slow heads and for idle connections.
            .header_read_timeout(None)
            .max_buf_size(head_bytes.max(READ_BUFFER_BYTES_MIN));
        if limits.headers_max >= HYPER_HEADERS_MAX {
            http.http1().max_headers(limits.headers_max * 2);
        }
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(250)
            .max_header_list_size(u32::try_from(head_bytes).unwrap_or(u32::MAX))
            .keep_alive_interval(Some(PING_INTERVAL));
        let connections = Arc::new(Semaphore::new(limits.connections_max));
        Self { listener, tls, connections, http, limits, drain, metrics }
    }

    /// Accepts connections until the server shuts down; completes when all connections are closed.
    pub async fn run(self, router: Router) {
        // Each connection has a sender, and sends nothing.
        let (open, mut all_closed) = mpsc::channel::<Infallible>(1);
        let accept = async {
            loop {
                match self.listener.accept().await {
                    Ok((stream, peer)) => self.spawn(stream, peer, &router, &open),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_RETRY).await;
                    }
                }
            }
        };
        tokio::select! {
            () = accept => {}
            () = self.drain.listening_ended() => {}
        }
        // Closing the listener would reset the connections that it has not accepted. Tokio may not know of all yet:
        // the kernel is asked.
        let listener = socket2::SockRef::from(&self.listener);
        while let Ok((socket, address)) = listener.accept() {
            let stream =
                socket.set_nonblocking(true).and_then(|()| TcpStream::from_std(socket.into()));
            if let (Ok(stream), Some(peer)) = (stream, address.as_socket()) {
                self.spawn(stream, peer, &router, &open);
            }
        }
        drop((self, open));
        all_closed.recv().await;
    }

    /// Serves a connection in a new task, or closes it if too many are open.
    fn spawn(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        router: &Router,
        open: &mpsc::Sender<Infallible>,
    ) {
        let Ok(permit) = self.connections.clone().try_acquire_owned() else {
            self.metrics.count_limit(Limit::Connections);
            if self.tls.is_none() {
                // The send buffer of a new socket is empty, so this rarely fails.
                let _ = stream.try_write(TOO_MANY_CONNECTIONS);
            }
            return;
        };
        // Clients wait for each response, which is small: Nagle's algorithm would only delay it.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        // Otherwise the kernel holds megabytes for a slow client, and takes more in rare large steps.
        #[cfg(target_os = "linux")]
        if let Err(error) = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX)
        {
            tracing::debug!(%error, "cannot set TCP_NOTSENT_LOWAT");
        }
        let connection = ClientConnection {
            peer,
            router: router.clone(),
            http: self.http.clone(),
            tls: self.tls.clone(),
            limits: self.limits,
            metrics: self.metrics.clone(),
            drain: self.drain.clone(),
        };
        let open = open.clone();
        tokio::spawn(async move {
            if let Err(error) = connection.serve(stream).await {
                tracing::debug!(%peer, %error, "connection ended");
            }
            drop((permit, open));
        });
    }
}

/// One open connection.
struct ClientConnection {
    peer: SocketAddr,
    router: Router,
    http: auto::Builder<TokioExecutor>,
    tls: Option<Arc<Tls>>,
    limits: ConnectionLimits,
    metrics: Arc<Metrics>,
    drain: Drain,
}

impl ClientConnection {
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
        let requests = RequestCounter::new();
        let timeouts = Timeouts {
            head: self.limits.header_timeout,
            idle: self.limits.idle_timeout,
            write: self.limits.write_timeout,
        };
        let io = TokioIo::new(TimedStream::new(io, requests.clone(), timeouts, self.metrics));
        let (peer, router) = (self.peer, TowerToHyperService::new(self.router));
        let last_request = Arc::new(Notify::new());
        let (is_last, drain) = (last_request.clone(), self.drain.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            let in_flight = requests.start();
            request.extensions_mut().insert(ConnectInfo(peer));
            let is_http2 = request.version() == Version::HTTP_2;
            let (response, is_last) = (router.call(request), is_last.clone());
            let drain = drain.clone();
            async move {
                let mut response = response.await?;
                if drain.is_leaving() {
                    is_last.notify_one();
                    if !is_http2 {
                        let close = HeaderValue::from_static("close");
                        response.headers_mut().insert(CONNECTION, close);
                    }
                }
                // In HTTP/2 the connection would stay open for further requests without a body.
                if response.status() == StatusCode::REQUEST_TIMEOUT {
                    is_last.notify_one();
                }
                Ok::<_, Infallible>(response.map(|body| in_flight.until_end_of(body)))
            }
        });
        let mut connection = pin!(self.http.serve_connection(io, service));
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = last_request.notified() => {}
            () = self.drain.started() => {}
        }
        connection.as_mut().graceful_shutdown();
        connection.await
    }
}

/// Completes the TLS handshake. A client that speaks plain HTTP is told to use https.
async fn handshake(tls: &Tls, mut stream: TcpStream) -> io::Result<Box<dyn Io>> {
    let mut first = [0];
    stream.peek(&mut first).await?;
    // HTTP begins with the name of a method, a TLS handshake with the byte 22.
    if first[0].is_ascii_uppercase() {
        // Closing a socket with unread bytes resets the connection, and the response is lost.
        let _ = stream.read(&mut [0; 8 << 10]).await?;
        stream.write_all(NOT_TLS).await?;
        stream.shutdown().await?;
        return Err(io::Error::new(io::ErrorKind::InvalidData, "plain HTTP on an HTTPS port"));
    }
    Ok(Box::new(tls.acceptor().accept(stream).await?))
}
