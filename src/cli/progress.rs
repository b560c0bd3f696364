//! A progress line on the terminal for long commands.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Interval at which the line is updated.
const INTERVAL: Duration = Duration::from_millis(200);

/// A line on standard error; nothing where that is no terminal.
pub(super) struct ProgressLine {
    is_terminal: bool,
    next: Instant,
    is_shown: bool,
}

impl ProgressLine {
    pub(super) fn new() -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        Self { is_terminal, next: Instant::now(), is_shown: false }
    }

    /// Returns a line that is not shown if results are printed to the same terminal.
    pub(super) fn beside_results() -> Self {
        let mut progress = Self::new();
        progress.is_terminal &= !std::io::stdout().is_terminal();
        progress
    }

    /// Shows the text, unless another one was shown within the interval.
    pub(super) fn show(&mut self, text: impl FnOnce() -> String) {
        if !self.is_terminal || Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + INTERVAL;
        eprint!("\r\x1b[K{}", text());
        let _ = std::io::stderr().flush();
        self.is_shown = true;
    }

    /// Removes the line, so that other text can be printed.
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
