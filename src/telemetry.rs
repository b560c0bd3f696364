//! Logging to standard error.

use std::io::{self, IsTerminal, Write};

use tracing::level_filters::LevelFilter;

use crate::config::{LogFormat, LogLevel, LoggingConfig};
use crate::visible;

/// Starts logging for the whole process.
pub fn init(config: &LoggingConfig) {
    let level = match config.level {
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    let has_colors = io::stderr().is_terminal();
    let logs = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        // Without this, a closed standard error would end the process.
        .log_internal_errors(false)
        .with_ansi(has_colors)
        .with_writer(io::stderr);
    match config.format {
        LogFormat::Text => {
            logs.with_writer(move || OneLine { out: io::stderr(), has_colors }).init();
        }
        LogFormat::Json => logs.json().flatten_event(true).init(),
    }
    // Panics are logged in the chosen format, so that every line of a JSON log is JSON.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let text = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(place, "panic, which is a bug: {text}");
    }));
}

/// Maximum size of a message in bytes.
const MESSAGE_BYTES_MAX: usize = 4 << 10;

/// Makes each message one line without hidden characters: values from outside cannot forge lines or control a
/// terminal. Gets a whole message per write.
struct OneLine<W> {
    out: W,
    /// True if messages have colors. The formatter has then escaped the values' own escape sequences.
    has_colors: bool,
}

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(message.strip_suffix(b"\n").unwrap_or(message));
        let text = visible::cut(&text, MESSAGE_BYTES_MAX);
        let keeps = |character| self.has_colors && character == '\u{1b}';
        let line = format!("{}\n", visible::one_line_but(&text, keeps));
        self.out.write_all(line.as_bytes()).map(|()| message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
