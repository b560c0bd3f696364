//! Signals: SIGTERM and SIGINT stop the server, SIGHUP reloads keys and certificate.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that the server handles.
#[derive(Debug)]
pub(crate) struct Signals {
    pub(crate) stop: StopSignal,
    pub(crate) reload: ReloadSignal,
}

impl Signals {
    /// Installs the handlers. Without anything to reload, SIGHUP keeps its default action and ends a
    /// server whose terminal was closed.
    pub(crate) fn new(can_reload: bool) -> io::Result<Self> {
        Ok(Self {
            stop: StopSignal {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            },
            reload: ReloadSignal(can_reload.then(|| signal(SignalKind::hangup())).transpose()?),
        })
    }
}

/// SIGTERM and SIGINT.
#[derive(Debug)]
pub(crate) struct StopSignal {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignal {
    /// Completes with the name of the next signal.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// SIGHUP; `None` if it is not handled.
#[derive(Debug)]
pub(crate) struct ReloadSignal(Option<Signal>);

impl ReloadSignal {
    /// Completes with the next signal; never, if SIGHUP is not handled.
    pub(crate) async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
}
