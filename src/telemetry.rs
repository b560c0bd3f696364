//! Logging to standard error.

use std::fmt::Debug;
use std::io::{self, IsTerminal, Write};

use tracing::field::Field;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{Writer as FieldWriter, debug_fn};

use crate::config::{LogFormat, LogLevel, LoggingConfig};
use crate::json::each_member;
use crate::json::text::{unescape, write_string};
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
    let logs = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        // Without this, a closed standard error would end the process.
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    match config.format {
        LogFormat::Text => logs.fmt_fields(debug_fn(write_field).delimited(" ")).init(),
        LogFormat::Json => {
            logs.json().flatten_event(true).with_writer(|| SafeJson(io::stderr())).init();
        }
    }
    // Panics are logged in the chosen format, so that every line of a JSON log is JSON.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let text = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(place, "panic, which is a bug: {text}");
    }));
}

/// Maximum size of a value in bytes.
const VALUE_BYTES_MAX: usize = 1 << 10;

/// Writes a field of a message as text. Values from outside stay on the line, and have no hidden characters.
fn write_field(out: &mut FieldWriter<'_>, field: &Field, value: &dyn Debug) -> std::fmt::Result {
    let value = format!("{value:?}");
    let shown = visible::one_line(&visible::cut(&value, VALUE_BYTES_MAX)).into_owned();
    match field.name() {
        "message" => write!(out, "{shown}"),
        name => write!(out, "{name}={shown}"),
    }
}

/// Cuts the values of messages in JSON, and escapes their hidden characters. Gets a whole message per write.
struct SafeJson<W>(W);

impl<W: Write> Write for SafeJson<W> {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        let mut line = Vec::with_capacity(message.len());
        let is_object = each_member(message, |name, value| {
            line.push(if line.is_empty() { b'{' } else { b',' });
            write_string(name, &mut line);
            line.push(b':');
            if value.starts_with('"') {
                write_string(&visible::cut(&unescape(value), VALUE_BYTES_MAX), &mut line);
            } else {
                line.extend_from_slice(value.as_bytes());
            }
        });
        if !is_object {
            return self.0.write_all(message).map(|()| message.len());
        }
        let mut shown = Vec::with_capacity(line.len() + 2);
        for character in String::from_utf8_lossy(&line).chars() {
            // Only strings have such characters, and JSON has this escape for each UTF-16 unit.
            if visible::is_hidden(character) {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(shown, "\\u{unit:04x}")?;
                }
            } else {
                shown.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        shown.extend_from_slice(b"}\n");
        self.0.write_all(&shown).map(|()| message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
