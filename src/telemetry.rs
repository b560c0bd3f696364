//! Logging to standard error.

use std::io::{self, IsTerminal, Write};

use tracing::level_filters::LevelFilter;

use crate::config::{LogFormat, LogLevel, LoggingConfig};

/// Starts logging for the whole process.
pub fn init(config: &LoggingConfig) {
    let level = match config.level {
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    let logs = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        // Without this, a closed standard error would end the process.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match config.format {
        LogFormat::Text => logs.with_writer(|| OneLine(std::io::stderr())).init(),
        LogFormat::Json => logs.json().flatten_event(true).init(),
    }
    // Panics are logged in the chosen format, so that every line of a JSON log is JSON.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let text = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(place, "panic, which is a bug: {text}");
    }));
}

/// Escapes line breaks within a message, so that each message is one line. Gets a whole message per write.
struct OneLine<W>(W);

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        let text = message.strip_suffix(b"\n").unwrap_or(message);
        if memchr::memchr2(b'\n', b'\r', text).is_none() {
            return self.0.write_all(message).map(|()| message.len());
        }
        let mut line = Vec::with_capacity(message.len() + 16);
        for byte in text {
            match byte {
                b'\n' => line.extend_from_slice(b"\\n"),
                b'\r' => line.extend_from_slice(b"\\r"),
                _ => line.push(*byte),
            }
        }
        line.push(b'\n');
        self.0.write_all(&line).map(|()| message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
