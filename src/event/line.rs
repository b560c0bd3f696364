//! Reads stored lines back, by position: [`Event::write_line`] puts the keys in a fixed order and no
//! white space between tokens, so nothing has to be looked for. A general JSON parser takes five
//! times as many instructions for the same.

use std::borrow::Cow;

use serde::Deserialize;

use crate::event::timestamp;
use crate::event::{Event, Facts, Timestamp, key};
use crate::json::text;

impl<'a> Event<'a> {
    /// Reads back a line that [`Event::write_line`] wrote.
    ///
    /// # Errors
    /// If it is not such a line; the text says why.
    pub fn from_line(line: &'a [u8]) -> Result<Self, String> {
        let line =
            simdutf8::compat::from_utf8(line).map_err(|error| format!("not UTF-8: {error}"))?;
        let mut cursor = Cursor { line, at: 0 };
        cursor.event().ok_or_else(|| format!("not as expected at byte {}", cursor.at))
    }
}

/// The key of a stored line, ours or another program's; `None` if it has no ids.
pub fn line_key(line: &[u8]) -> Option<u128> {
    #[derive(Deserialize)]
    struct Ids<'a> {
        #[serde(borrow)]
        session_id: Cow<'a, str>,
        #[serde(borrow)]
        event_id: Cow<'a, str>,
    }
    // Read to its end: a line that was torn has no key, since its event was never acknowledged.
    if let Ok(event) = Event::from_line(line) {
        return Some(event.key());
    }
    let ids: Ids<'_> = serde_json::from_slice(line).ok()?;
    Some(key(&ids.session_id, &ids.event_id))
}

/// What has been read of a line. Each method reads one thing; `None` if something else stands there.
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
        let (mut workflow_id, mut phase_id, mut milestone_id) = (None, None, None);
        for (name, value) in [
            (",\"workflow_id\":", &mut workflow_id),
            (",\"phase_id\":", &mut phase_id),
            (",\"milestone_id\":", &mut milestone_id),
        ] {
            self.literal(name)?;
            if self.literal("null").is_none() {
                *value = Some(self.string()?);
            }
        }
        self.literal(",\"data\":")?;
        let data = self.object()?;
        self.literal(",\"timestamp\":")?;
        let timestamp = self.timestamp()?;
        self.literal(",\"received_at\":")?;
        let received_at = self.timestamp()?;
        let (mut facts, mut key_name) = (Facts::default(), None);
        for (name, fact) in [
            (",\"agent\":", &mut facts.agent),
            (",\"tool_name\":", &mut facts.tool_name),
            (",\"tool_use_id\":", &mut facts.tool_use_id),
        ] {
            self.text_fact(name, fact)?;
        }
        for (name, fact) in [
            (",\"duration_ms\":", &mut facts.duration_ms),
            (",\"input_tokens\":", &mut facts.input_tokens),
            (",\"output_tokens\":", &mut facts.output_tokens),
            (",\"cost_usd\":", &mut facts.cost_usd),
        ] {
            if self.literal(name).is_some() {
                *fact = Some(Cow::Borrowed(self.number()?));
            }
        }
        for (name, fact) in [
            (",\"subagent_id\":", &mut facts.subagent_id),
            (",\"parent_session_id\":", &mut facts.parent_session_id),
            (",\"key_name\":", &mut key_name),
        ] {
            self.text_fact(name, fact)?;
        }
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
            data: Cow::Borrowed(data),
            timestamp,
            received_at,
            facts,
            key_name,
            extra,
        })
    }

    fn text_fact(&mut self, name: &str, fact: &mut Option<Cow<'a, str>>) -> Option<()> {
        if self.literal(name).is_some() {
            *fact = Some(self.string()?);
        }
        Some(())
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

    /// An object. What is in it was checked when it was stored; here it is enough to find its end,
    /// and to notice a line that someone has damaged.
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

/// The length of the string token, with its quotes, that the bytes begin with.
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
