//! Events on standard output: a readable line each on a terminal, JSON Lines anywhere else.

use std::io::{self, IsTerminal, Write};

use anyhow::Context;

use crate::event::parse_measure;
use crate::json::each_member;
use crate::json::text::{unescape, with_minimal_escapes};
use crate::visible::one_line;

/// Standard output for events.
pub(super) struct Output {
    is_terminal: bool,
}

impl Output {
    pub(super) fn new() -> Self {
        Self { is_terminal: io::stdout().is_terminal() }
    }

    /// Shows an event; false if the reader of the output has gone away.
    ///
    /// # Errors
    /// If it cannot be written for another reason, such as a full disk.
    pub(super) fn event(&mut self, event: &str) -> anyhow::Result<bool> {
        let mut out = io::stdout().lock();
        let written = if self.is_terminal {
            writeln!(out, "{}", readable(event))
        } else {
            writeln!(out, "{event}")
        };
        match written.and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            written => written.context("writing").map(|()| true),
        }
    }
}

/// The members of an event that a line shows, as raw JSON.
#[derive(Default)]
struct ShownMembers<'e> {
    event_type: &'e str,
    session_id: &'e str,
    timestamp: &'e str,
    tool_name: &'e str,
    duration_ms: &'e str,
    data: &'e str,
}

impl<'e> ShownMembers<'e> {
    fn of(event: &'e str) -> Self {
        let mut members = Self::default();
        each_member(event.as_bytes(), |name, raw| {
            let member = match name {
                "event_type" => &mut members.event_type,
                "session_id" => &mut members.session_id,
                "timestamp" => &mut members.timestamp,
                "tool_name" => &mut members.tool_name,
                "duration_ms" => &mut members.duration_ms,
                "data" => &mut members.data,
                _ => return,
            };
            *member = raw;
        });
        members
    }

    /// Returns the first of the data that explains the event, as raw JSON.
    fn explanation(&self) -> &'e str {
        const EXPLAINING: [&str; 6] =
            ["prompt", "message", "reason", "error", "tool_input", "command"];
        let mut found = [""; EXPLAINING.len()];
        each_member(self.data.as_bytes(), |name, raw| {
            if let Some(at) = EXPLAINING.iter().position(|known| *known == name) {
                found[at] = if raw == "null" { "" } else { raw };
            }
        });
        found.into_iter().find(|raw| !raw.is_empty()).unwrap_or_default()
    }
}

/// Returns an event as a colored line: time, session, type, tool, duration, and the first of its data
/// that explains it.
fn readable(event: &str) -> String {
    let members = ShownMembers::of(event);
    let event_type = printable(members.event_type);
    // Red: failed. Yellow: waiting for a person. Green: completed. Cyan: anything else.
    let color = match &*event_type {
        name if name.ends_with("_failed") || name.ends_with("_blocked") => 31,
        "permission_requested" | "agent_stopped" | "system_notification" => 33,
        name if name.ends_with("_completed") => 32,
        _ => 36,
    };
    let about: String = printable(members.explanation()).chars().take(100).collect();
    let session: String = printable(members.session_id).chars().take(12).collect();
    let time = printable(members.timestamp);
    let time = time.get(..19).unwrap_or_default().replace('T', " ");
    let duration = parse_measure(members.duration_ms).map(|ms| format!(" {ms:.0} ms"));
    format!(
        "\x1b[2m{time}\x1b[0m {session:<12} \x1b[{color}m{event_type}\x1b[0m {}{} \x1b[2m{about}\x1b[0m",
        printable(members.tool_name),
        duration.unwrap_or_default()
    )
}

/// Returns a raw JSON value as text for a terminal.
fn printable(raw: &str) -> String {
    let text = if raw.starts_with('"') { unescape(raw) } else { with_minimal_escapes(raw) };
    one_line(&text).into_owned()
}

/// Writes lines to a terminal.
pub(super) struct TerminalLines<W> {
    out: W,
    /// The beginning of a line.
    begun: Vec<u8>,
}

impl<W: Write> TerminalLines<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, begun: Vec::new() }
    }
}

impl<W: Write> Write for TerminalLines<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(part);
            if let Some(line) = self.begun.strip_suffix(b"\n") {
                let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
                writeln!(self.out, "{}", one_line(&line))?;
                self.begun.clear();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let line = std::mem::take(&mut self.begun);
        write!(self.out, "{}", one_line(&String::from_utf8_lossy(&line)))?;
        self.out.flush()
    }
}
