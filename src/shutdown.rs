//! Signals: SIGTERM and SIGINT stop the server, SIGHUP reloads keys and certificate.

use std::{fmt, io};

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

/// A signal that stops the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// SIGTERM, of a supervisor.
    Terminate,
    /// SIGINT, of a person at a terminal.
    Interrupt,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
        })
    }
}

/// Receives SIGTERM and SIGINT.
#[derive(Debug)]
pub(crate) struct StopSignal {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignal {
    /// Completes with the next signal.
    pub(crate) async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => Stop::Terminate,
            _ = self.interrupt.recv() => Stop::Interrupt,
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
