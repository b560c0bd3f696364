//! Signals: the first asks for an orderly end, the second gets an immediate one. SIGHUP asks to read
//! again what can change while the server runs.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that a server takes over from the operating system's default.
#[derive(Debug)]
pub struct Signals {
    /// SIGTERM and SIGINT.
    pub ending: Ending,
    /// SIGHUP.
    pub hangup: Signal,
}

/// SIGTERM and SIGINT.
#[derive(Debug)]
pub struct Ending {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the signals over.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            ending: Ending {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            },
            hangup: signal(SignalKind::hangup())?,
        })
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
