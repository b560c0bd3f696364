//! The stored line of an event: one JSON object without a line feed.
//!
//! [`Event::write_line`] writes the members in a fixed order without white space, so [`Event::from_line`]
//! can read them by position. A general JSON parser takes five times as many instructions.

use std::borrow::Cow;

use super::{ColumnKind, Event, PromotedColumn, PromotedColumns, Timestamp, key, timestamp};
use crate::json::text::write_string;
use crate::json::{each_member, text};

impl<'a> Event<'a> {
    /// Appends the event as one JSON line without a line feed.
    pub fn write_line(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"event_id\":");
        write_string(&self.event_id, out);
        out.extend_from_slice(b",\"event_type\":");
        write_string(&self.event_type, out);
        out.extend_from_slice(b",\"session_id\":");
        write_string(&self.session_id, out);
        for (key, value) in [
            (&b",\"workflow_id\":"[..], &self.workflow_id),
            (b",\"phase_id\":", &self.phase_id),
            (b",\"milestone_id\":", &self.milestone_id),
        ] {
            out.extend_from_slice(key);
            match value {
                Some(text) => write_string(text, out),
                None => out.extend_from_slice(b"null"),
            }
        }
        out.extend_from_slice(b",\"data\":");
        out.extend_from_slice(self.data.as_bytes());
        out.extend_from_slice(b",\"timestamp\":\"");
        out.extend_from_slice(&self.timestamp.text());
        out.extend_from_slice(b"\",\"received_at\":\"");
        out.extend_from_slice(&self.received_at.text());
        out.push(b'"');
        for (column, value) in self.promoted.iter() {
            let Some(value) = value else { continue };
            out.extend_from_slice(column.line_key().as_bytes());
            match column.kind() {
                ColumnKind::Text => write_string(value, out),
                ColumnKind::Count | ColumnKind::Measure => out.extend_from_slice(value.as_bytes()),
            }
        }
        if let Some(extra) = &self.extra {
            out.extend_from_slice(b",\"extra\":");
            out.extend_from_slice(extra.as_bytes());
        }
        out.push(b'}');
    }

    /// Reads a line that [`Event::write_line`] wrote.
    ///
    /// # Errors
    /// If the line has another form.
    pub fn from_line(line: &'a [u8]) -> Result<Self, String> {
        let line =
            simdutf8::compat::from_utf8(line).map_err(|error| format!("not UTF-8: {error}"))?;
        let mut cursor = Cursor { line, at: 0 };
        cursor.event().ok_or_else(|| format!("unexpected content at byte {}", cursor.at))
    }
}

/// Returns the key of a stored line, also of one that another program wrote; `None` if it has no IDs.
pub fn line_key(line: &[u8]) -> Option<u128> {
    let line = text::skip_byte_order_marks(line);
    // The line is parsed to its end: the event of a torn line was never acknowledged, so a torn line
    // must not have a key.
    if let Ok(event) = Event::from_line(line) {
        return Some(event.key());
    }
    let (mut session_id, mut event_id) = (None, None);
    let is_whole = each_member(line, |name, raw| {
        let text = Some(raw).filter(|raw| raw.starts_with('"')).map(text::unescape);
        match name {
            "session_id" => session_id = text,
            "event_id" => event_id = text,
            _ => {}
        }
    });
    if is_whole { Some(key(&session_id?, &event_id?)) } else { None }
}

/// A position in a line. Each method reads one token or value; `None` if the line has something else.
struct Cursor<'a> {
    line: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn event(&mut self) -> Option<Event<'a>> {
        self.literal("{\"event_id\":")?;
        let event_id = self.string()?;
        self.literal(",\"event_type\":")?;
        let event_type = self.string()?;
        self.literal(",\"session_id\":")?;
        let session_id = self.string()?;
        let mut optional_ids = [None, None, None];
        for (name, id) in [",\"workflow_id\":", ",\"phase_id\":", ",\"milestone_id\":"]
            .into_iter()
            .zip(&mut optional_ids)
        {
            self.literal(name)?;
            if self.literal("null").is_none() {
                *id = Some(self.string()?);
            }
        }
        let [workflow_id, phase_id, milestone_id] = optional_ids;
        self.literal(",\"data\":")?;
        let data = Cow::Borrowed(self.object()?);
        self.literal(",\"timestamp\":")?;
        let timestamp = self.timestamp()?;
        self.literal(",\"received_at\":")?;
        let received_at = self.timestamp()?;
        let promoted = self.promoted()?;
        let extra = match self.literal(",\"extra\":") {
            Some(()) => Some(Cow::Borrowed(self.object()?)),
            None => None,
        };
        self.literal("}")?;
        (self.at == self.line.len()).then_some(Event {
            event_id,
            event_type,
            session_id,
            workflow_id,
            phase_id,
            milestone_id,
            data,
            timestamp,
            received_at,
            promoted,
            extra,
        })
    }

    fn promoted(&mut self) -> Option<PromotedColumns<'a>> {
        let mut promoted = PromotedColumns::default();
        for column in PromotedColumn::ALL {
            if self.literal(column.line_key()).is_some() {
                promoted[column] = Some(match column.kind() {
                    ColumnKind::Text => self.string()?,
                    ColumnKind::Count | ColumnKind::Measure => Cow::Borrowed(self.number()?),
                });
            }
        }
        Some(promoted)
    }

    fn rest(&self) -> &'a [u8] {
        &self.line.as_bytes()[self.at..]
    }

    fn literal(&mut self, text: &str) -> Option<()> {
        self.rest().starts_with(text.as_bytes()).then(|| self.at += text.len())
    }

    /// A string token, with its quotes.
    fn quoted(&mut self) -> Option<&'a str> {
        let start = self.at;
        self.at += string_len(self.rest())?;
        Some(&self.line[start..self.at])
    }

    fn string(&mut self) -> Option<Cow<'a, str>> {
        Some(text::unescape(self.quoted()?))
    }

    fn timestamp(&mut self) -> Option<Timestamp> {
        timestamp::parse_text(self.quoted()?.trim_matches('"')).ok()
    }

    fn number(&mut self) -> Option<&'a str> {
        let is_part = |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
        let len = self.rest().iter().take_while(|byte| is_part(byte)).count();
        let start = self.at;
        self.at += len;
        (len > 0).then(|| &self.line[start..self.at])
    }

    /// An object. Its content was validated before it was stored, so this only finds its end and
    /// notices most damage.
    fn object(&mut self) -> Option<&'a str> {
        let start = self.at;
        let bytes = self.line.as_bytes();
        let mut depth = 0_usize;
        if bytes.get(start) != Some(&b'{') {
            return None;
        }
        loop {
            match *bytes.get(self.at)? {
                b'"' => {
                    self.at += string_len(&bytes[self.at..])?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                b',' | b':' | b'-' | b'+' | b'.' | b'0'..=b'9' | b'E' => {}
                // The letters of true, false and null, and of numbers.
                byte if b"truefalsn".contains(&byte) => {}
                _ => return None,
            }
            self.at += 1;
            if depth == 0 {
                return Some(&self.line[start..self.at]);
            }
        }
    }
}

/// Returns the length of the string token at the start of the bytes, with its quotes.
fn string_len(bytes: &[u8]) -> Option<usize> {
    if bytes.first() != Some(&b'"') {
        return None;
    }
    let mut at = 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}
