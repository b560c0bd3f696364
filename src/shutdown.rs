//! Signals: the first asks for an orderly end, the second gets an immediate one. SIGHUP asks to read
//! again what can change while the server runs.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that a server takes over from the operating system's default.
#[derive(Debug)]
pub struct Signals {
    /// SIGTERM and SIGINT.
    pub ending: Ending,
    /// SIGHUP, if there is anything to read again.
    pub hangup: Hangup,
}

/// SIGHUP, or never.
#[derive(Debug)]
pub struct Hangup(Option<Signal>);

/// SIGTERM and SIGINT.
#[derive(Debug)]
pub struct Ending {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the signals over; SIGHUP only to `reload`, since else it should end the server whose
    /// terminal was closed.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn new(reload: bool) -> io::Result<Self> {
        Ok(Self {
            ending: Ending {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            },
            hangup: Hangup(reload.then(|| signal(SignalKind::hangup())).transpose()?),
        })
    }
}

impl Hangup {
    /// Completes with the next one.
    pub async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
}

impl Ending {
    /// Completes with the next of them, and its name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
