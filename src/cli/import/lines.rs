//! Makes lines of files ready to be sent.

use crate::event::Timestamp;
use crate::event::timestamp;
use crate::json::{text, visit_members};

/// A line to be sent.
pub(super) struct ImportLine {
    /// Number in the file, from 1.
    pub(super) number: u64,
    /// The event.
    pub(super) event: String,
    /// True if it had an id and a timestamp, as every event has that a server stored.
    pub(super) is_complete: bool,
}

/// Returns the event of a line: the line itself, or the original in an entry of `rejected.jsonl`.
///
/// Members that a second import needs to recognize the event are added if missing: an `event_id`
/// derived from the line's number and text, and as `timestamp` the time of the rejection or `known_by`.
/// Fails with the reason if the line cannot be an event.
pub(super) fn prepare(line: &str, number: u64, known_by: Timestamp) -> Result<ImportLine, String> {
    let members = LineMembers::of(line)?;
    let Some((original, rejected_at)) = members.rejected() else {
        return Ok(complete(line, &members, number, known_by));
    };
    // An original of several lines has line feeds only between tokens.
    let original = original.replace(['\n', '\r'], " ");
    let members = LineMembers::of(&original)
        .map_err(|error| format!("correct the rejected original before importing it: {error}"))?;
    Ok(complete(&original, &members, number, rejected_at.unwrap_or(known_by)))
}

fn complete(
    event: &str,
    members: &LineMembers<'_>,
    number: u64,
    known_by: Timestamp,
) -> ImportLine {
    let event = event.trim();
    let missing = |member: Option<&str>| member.is_none_or(|raw| raw == "null");
    let mut additions = Vec::new();
    if missing(members.event_id) {
        additions.push(format!("\"event_id\":\"{}\"", derived_id(event, number)));
    }
    if missing(members.timestamp) {
        additions.push(format!("\"timestamp\":\"{known_by}\""));
    }
    let is_complete = additions.is_empty();
    let event = match event.strip_suffix('}').filter(|_| !is_complete) {
        None => event.to_owned(),
        // At the end: of two members with the same name, the last one counts.
        Some(open) => {
            let comma = if members.count == 0 { "" } else { "," };
            format!("{open}{comma}{}}}", additions.join(","))
        }
    };
    ImportLine { number, event, is_complete }
}

/// Returns an id that is the same whenever this line is imported.
fn derived_id(event: &str, number: u64) -> String {
    let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
    hasher.update(&number.to_le_bytes());
    hasher.update(event.as_bytes());
    format!("import-{:032x}", hasher.digest128())
}

/// Raw values of the members that matter here; of two with the same name, the last one.
#[derive(Default)]
struct LineMembers<'a> {
    event_id: Option<&'a str>,
    timestamp: Option<&'a str>,
    rejected_at: Option<&'a str>,
    error: Option<&'a str>,
    event: Option<&'a str>,
    text: Option<&'a str>,
    /// Number of all members.
    count: usize,
    /// Number of members that entries of `rejected.jsonl` do not have.
    others: usize,
}

impl<'a> LineMembers<'a> {
    fn of(line: &'a str) -> Result<Self, String> {
        let mut members = LineMembers::default();
        visit_members(line, "an event: a JSON object", |name, raw| {
            members.count += 1;
            match &*text::unescape(name) {
                "event_id" => members.event_id = Some(raw),
                "timestamp" => members.timestamp = Some(raw),
                "rejected_at" => members.rejected_at = Some(raw),
                "error" => members.error = Some(raw),
                "event" => members.event = Some(raw),
                "text" => members.text = Some(raw),
                "field" => {}
                _ => members.others += 1,
            }
        })
        .map_err(|error| format!("not a JSON object: {error}"))?;
        Ok(members)
    }

    /// Returns the original event and the time of its rejection, if this is an entry of
    /// `rejected.jsonl`.
    fn rejected(&self) -> Option<(String, Option<Timestamp>)> {
        let (rejected_at, _) = (self.rejected_at?, self.error?);
        let original = match (self.event, self.text) {
            (Some(event), None) => event.to_owned(),
            (None, Some(raw)) => text::unescape(raw).into_owned(),
            _ => return None,
        };
        let rejected_at = timestamp::parse_text(&text::unescape(rejected_at)).ok();
        (self.others == 0).then_some((original, rejected_at))
    }
}
