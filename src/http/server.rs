//! The listener: connections in, a limited number of them, and out again without cutting anyone
//! off.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};

/// How long a connection may stay open without a whole request head. Long, because agents keep
/// connections in pools and do not expect one to be gone when they use it; hyper has no shorter
/// limit of its own for a head that has begun.
const IDLE_TIMEOUT: Duration = Duration::from_mins(10);

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
        http.http2().timer(TokioTimer::new()).max_concurrent_streams(250);
        let accept = async {
            loop {
                // The semaphore is never closed.
                let Ok(permit) = self.connections.clone().acquire_owned().await else { return };
                let stream = match self.listener.accept().await {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_RETRY).await;
                        continue;
                    }
                };
                // Answers are small and each is awaited: Nagle's algorithm would only delay them.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY");
                }
                let service = TowerToHyperService::new(router.clone());
                let connection = http.serve_connection(TokioIo::new(stream), service).into_owned();
                let connection = graceful.watch(connection);
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "connection ended");
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
