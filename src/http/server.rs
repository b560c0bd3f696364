//! The listener: connections in, a limited number of them, and out again without cutting anyone
//! off.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};

use super::read::Peer;

/// How long a connection may stay open without a whole request head. Long, because agents keep
/// connections in pools and do not expect one to be gone when they use it; hyper has no shorter
/// limit of its own for a head that has begun.
const IDLE_TIMEOUT: Duration = Duration::from_mins(10);

/// How often an HTTP/2 peer has to show that it is still there.
const PING_INTERVAL: Duration = Duration::from_mins(1);

/// What a connection over the limit is told before it is closed.
const TOO_MANY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
    content-type: application/problem+json\r\ncontent-length: 124\r\n\r\n\
    {\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\
    \"detail\":\"too many connections are open (MAX_CONNECTIONS)\"}";

/// Pause when the process is out of file descriptors, which only time can cure.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves connections until told to stop.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    connections: Arc<Semaphore>,
}

impl Server {
    /// A server on that listener.
    pub fn new(listener: TcpListener, connections_max: u32) -> Self {
        Self { listener, connections: Arc::new(Semaphore::new(connections_max as usize)) }
    }

    /// Accepts connections until `stop` completes; then lets each finish its request, and closes it.
    pub async fn run(self, router: Router, stop: oneshot::Receiver<()>) {
        let graceful = GracefulShutdown::new();
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1().timer(TokioTimer::new()).header_read_timeout(IDLE_TIMEOUT);
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(250)
            .keep_alive_interval(Some(PING_INTERVAL));
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
                    // A new socket's buffer is empty; who does not get this gets the close.
                    let _ = stream.try_write(TOO_MANY);
                    continue;
                };
                // Answers are small and each is awaited: Nagle's algorithm would only delay them.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY");
                }
                let (router, http) = (router.clone(), http.clone());
                let watcher = graceful.watcher();
                tokio::spawn(async move {
                    // Until the first byte hyper has no limit of its own.
                    if tokio::time::timeout(IDLE_TIMEOUT, stream.readable()).await.is_ok() {
                        let router = TowerToHyperService::new(router);
                        let service = service_fn(move |mut request: Request<Incoming>| {
                            request.extensions_mut().insert(Peer(peer));
                            router.call(request)
                        });
                        let connection = http.serve_connection(TokioIo::new(stream), service);
                        if let Err(error) = watcher.watch(connection.into_owned()).await {
                            tracing::debug!(%error, "connection ended");
                        }
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
