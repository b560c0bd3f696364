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
    /// Installs the handlers.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            stop: StopSignal {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            },
            reload: ReloadSignal(signal(SignalKind::hangup())?),
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

/// SIGHUP.
#[derive(Debug)]
pub(crate) struct ReloadSignal(Signal);

impl ReloadSignal {
    /// Completes with the next signal.
    pub(crate) async fn next(&mut self) {
        self.0.recv().await;
    }
}
