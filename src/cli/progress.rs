//! A line on the terminal that says how far a long command is; nothing where there is no terminal.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often it is written anew.
const INTERVAL: Duration = Duration::from_millis(200);

/// The line, on standard error.
pub(super) struct Progress {
    is_terminal: bool,
    next: Instant,
    is_shown: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        Self { is_terminal, next: Instant::now(), is_shown: false }
    }

    /// One that is not shown where results go to the same terminal.
    pub(super) fn beside_results() -> Self {
        let mut progress = Self::new();
        progress.is_terminal &= !std::io::stdout().is_terminal();
        progress
    }

    /// Shows the text, now and then.
    pub(super) fn show(&mut self, text: impl FnOnce() -> String) {
        if !self.is_terminal || Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + INTERVAL;
        eprint!("\r\x1b[K{}", text());
        // Without a terminal's other end there is nobody to see it.
        let _ = std::io::stderr().flush();
        self.is_shown = true;
    }

    /// Takes it away, so that something else can be written.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            eprint!("\r\x1b[K");
        }
    }

    /// Leaves the text on the terminal.
    pub(super) fn end(mut self, text: impl FnOnce() -> String) {
        self.clear();
        if self.is_terminal {
            eprintln!("{}", text());
        }
    }
}
