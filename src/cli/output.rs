//! Events on standard output: a readable line each on a terminal, JSON Lines anywhere else.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

/// Standard output for events.
pub(super) struct Output {
    is_terminal: bool,
}

impl Output {
    pub(super) fn new() -> Self {
        Self { is_terminal: io::stdout().is_terminal() }
    }

    /// Shows an event; false if the reader of the output has gone away.
    pub(super) fn event(&mut self, event: &str) -> bool {
        let mut out = io::stdout().lock();
        let written = if self.is_terminal {
            writeln!(out, "{}", readable(event))
        } else {
            writeln!(out, "{event}")
        };
        written.and_then(|()| out.flush()).is_ok()
    }
}

/// Returns an event as a colored line: time, session, type, tool, duration, and the first of its data
/// that explains it.
fn readable(event: &str) -> String {
    const EXPLAINING: [&str; 6] = ["prompt", "message", "reason", "error", "tool_input", "command"];
    let event: Value = serde_json::from_str(event).unwrap_or_default();
    let text = |name: &str| printable(event[name].as_str().unwrap_or_default());
    let event_type = text("event_type");
    // Red: failed. Yellow: waiting for a person. Green: completed. Cyan: anything else.
    let color = match &*event_type {
        name if name.ends_with("_failed") || name.ends_with("_blocked") => 31,
        "permission_requested" | "agent_stopped" | "system_notification" => 33,
        name if name.ends_with("_completed") => 32,
        _ => 36,
    };
    let about = EXPLAINING.iter().map(|name| &event["data"][name]).find(|value| !value.is_null());
    let about = about.map(|about| about.as_str().map_or_else(|| about.to_string(), str::to_owned));
    let about: String = printable(&about.unwrap_or_default()).chars().take(100).collect();
    let session: String = text("session_id").chars().take(12).collect();
    let time = text("timestamp").get(..19).unwrap_or_default().replace('T', " ");
    let duration = event["duration_ms"].as_f64().map(|ms| format!(" {ms:.0} ms"));
    format!(
        "\x1b[2m{time}\x1b[0m {session:<12} \x1b[{color}m{event_type}\x1b[0m {}{} \x1b[2m{about}\x1b[0m",
        text("tool_name"),
        duration.unwrap_or_default()
    )
}

/// Replaces control characters, which could change the terminal's state.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
