//! The event: its fields, their limits, and the one line it is stored as. No I/O.

use std::borrow::Cow;

/// Most bytes (UTF-8, unescaped) in an id or a name: `event_id`, `event_type`, `session_id`,
/// `workflow_id`, `phase_id`, `milestone_id`. Two of them and a timestamp stay far below
/// PostgreSQL's 2,704 bytes for an index entry.
pub const TEXT_BYTES_MAX: usize = 255;

/// The members of a stored event, in the order of the line.
pub const MEMBERS: [&str; 20] = [
    "event_id",
    "event_type",
    "session_id",
    "workflow_id",
    "phase_id",
    "milestone_id",
    "data",
    "timestamp",
    "received_at",
    "agent",
    "tool_name",
    "tool_use_id",
    "duration_ms",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "subagent_id",
    "parent_session_id",
    "key_name",
    "extra",
];

/// A point in time: microseconds since 1970-01-01T00:00:00Z, between the years 1 and 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 0001-01-01T00:00:00Z.
    pub const MIN: Self = Self(-62_135_596_800_000_000);
    /// 9999-12-31T23:59:59.999999Z.
    pub const MAX: Self = Self(253_402_300_799_999_999);

    /// The timestamp at that many microseconds since 1970, or `None` outside the years 1 to 9999.
    pub fn from_micros(micros: i64) -> Option<Self> {
        (Self::MIN.0..=Self::MAX.0).contains(&micros).then_some(Self(micros))
    }

    /// The system clock's time.
    pub fn now() -> Self {
        let micros = match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
        };
        Self(micros.clamp(Self::MIN.0, Self::MAX.0))
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// Whole days since 1970-01-01 (UTC), rounded down.
    pub fn day(self) -> i64 {
        self.0.div_euclid(86_400_000_000)
    }
}

impl std::fmt::Display for Timestamp {
    /// RFC 3339 in UTC with six decimals: `2026-11-23T09:00:00.123456Z`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Digits are ASCII.
        f.write_str(std::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

impl Timestamp {
    /// What `Display` shows. Written by hand because every event has two of them, and the
    /// formatting machinery took a quarter of the time that decoding took.
    fn text(self) -> [u8; 27] {
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let mut put = |at: usize, number: u32| {
            text[at] = b'0' + (number / 10) as u8;
            text[at + 1] = b'0' + (number % 10) as u8;
        };
        let (year, month, day) = civil(self.day());
        let micros = self.0.rem_euclid(86_400_000_000);
        let (seconds, micros) = ((micros / 1_000_000) as u32, (micros % 1_000_000) as u32);
        put(0, year as u32 / 100);
        put(2, year as u32 % 100);
        put(5, month as u32);
        put(8, day as u32);
        put(11, seconds / 3600);
        put(14, seconds / 60 % 60);
        put(17, seconds % 60);
        put(20, micros / 10_000);
        put(22, micros / 100 % 100);
        put(24, micros % 100);
        text
    }
}

/// Year, month and day of a number of days since 1970-01-01, in the proleptic Gregorian calendar.
/// The algorithm is `civil_from_days` of Howard Hinnant's "chrono-Compatible Low-Level Date
/// Algorithms".
pub fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// One hook event, borrowing what it can from the request's body or the stored line.
#[derive(Clone, Debug, PartialEq)]
pub struct Event<'a> {
    /// What identifies the event within its session; 1 to 255 bytes.
    pub event_id: Cow<'a, str>,
    /// What happened; 1 to 255 bytes, an open list.
    pub event_type: Cow<'a, str>,
    /// The agent's session; 1 to 255 bytes.
    pub session_id: Cow<'a, str>,
    /// Up to 255 bytes.
    pub workflow_id: Option<Cow<'a, str>>,
    /// Up to 255 bytes.
    pub phase_id: Option<Cow<'a, str>>,
    /// Up to 255 bytes.
    pub milestone_id: Option<Cow<'a, str>>,
    /// A JSON object without white space between its tokens, else as it was sent.
    pub data: Cow<'a, str>,
    /// When it happened, by the sender's word; when it was received, if the sender said nothing.
    pub timestamp: Timestamp,
    /// When this server received it.
    pub received_at: Timestamp,
    /// What `data` says of the agent and its tool.
    pub facts: Facts<'a>,
    /// The name of the API key with which it was sent, where that is kept.
    pub key_name: Option<Cow<'a, str>>,
    /// A JSON object of the fields this contract does not name.
    pub extra: Option<Cow<'a, str>>,
}

/// What the server can tell from `data`: from members of these names at its top level, or from
/// where the agent is known to put it. `None` where it can't.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts<'a> {
    /// The agent's name.
    pub agent: Option<Cow<'a, str>>,
    /// The tool's name.
    pub tool_name: Option<Cow<'a, str>>,
    /// The id of the tool's one use.
    pub tool_use_id: Option<Cow<'a, str>>,
    /// How long the tool took, in milliseconds. Like all numbers here it is a JSON number, spelled as
    /// it was sent.
    pub duration_ms: Option<Cow<'a, str>>,
    /// Tokens that a model read for this event.
    pub input_tokens: Option<Cow<'a, str>>,
    /// Tokens that a model wrote.
    pub output_tokens: Option<Cow<'a, str>>,
    /// What that cost, in US dollars.
    pub cost_usd: Option<Cow<'a, str>>,
    /// Which sub-agent of the session this is about; `None` for the session's main agent.
    pub subagent_id: Option<Cow<'a, str>>,
    /// The session that started this session.
    pub parent_session_id: Option<Cow<'a, str>>,
}

/// A JSON number as a count, if it is one: it may be spelled with a fraction (`12.0`).
pub fn count(number: &str) -> Option<i64> {
    const EXACT_BELOW: f64 = 9e15;
    let fraction = || number.parse::<f64>().ok().filter(|number| number.abs() < EXACT_BELOW);
    number.parse().ok().or_else(|| fraction().map(|number| number as i64))
}

/// A JSON number as a floating-point number, if it is in range.
pub fn measure(number: &str) -> Option<f64> {
    number.parse().ok().filter(|number: &f64| number.is_finite())
}

impl Facts<'_> {
    /// These facts, and where there is none, the other's.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            agent: self.agent.or(other.agent),
            tool_name: self.tool_name.or(other.tool_name),
            tool_use_id: self.tool_use_id.or(other.tool_use_id),
            duration_ms: self.duration_ms.or(other.duration_ms),
            input_tokens: self.input_tokens.or(other.input_tokens),
            output_tokens: self.output_tokens.or(other.output_tokens),
            cost_usd: self.cost_usd.or(other.cost_usd),
            subagent_id: self.subagent_id.or(other.subagent_id),
            parent_session_id: self.parent_session_id.or(other.parent_session_id),
        }
    }
}

impl Event<'_> {
    /// The 128-bit key by which a repeated event is known: a hash of `session_id` and `event_id`.
    /// Stable across versions, since journals keep it on disk. Two different events share a key
    /// with a chance of 2^-128; a sender who builds a collision on purpose can only hide an event
    /// whose ids he knows, which he could as well send first himself.
    pub fn key(&self) -> u128 {
        key(&self.session_id, &self.event_id)
    }

    /// Appends the event as one JSON line without its line feed.
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
        for (key, value) in [
            (&b",\"agent\":"[..], &self.facts.agent),
            (b",\"tool_name\":", &self.facts.tool_name),
            (b",\"tool_use_id\":", &self.facts.tool_use_id),
        ] {
            if let Some(text) = value {
                out.extend_from_slice(key);
                write_string(text, out);
            }
        }
        for (key, value) in [
            (&b",\"duration_ms\":"[..], &self.facts.duration_ms),
            (b",\"input_tokens\":", &self.facts.input_tokens),
            (b",\"output_tokens\":", &self.facts.output_tokens),
            (b",\"cost_usd\":", &self.facts.cost_usd),
        ] {
            if let Some(number) = value {
                out.extend_from_slice(key);
                out.extend_from_slice(number.as_bytes());
            }
        }
        for (key, value) in [
            (&b",\"subagent_id\":"[..], &self.facts.subagent_id),
            (b",\"parent_session_id\":", &self.facts.parent_session_id),
            (b",\"key_name\":", &self.key_name),
        ] {
            if let Some(text) = value {
                out.extend_from_slice(key);
                write_string(text, out);
            }
        }
        if let Some(extra) = &self.extra {
            out.extend_from_slice(b",\"extra\":");
            out.extend_from_slice(extra.as_bytes());
        }
        out.push(b'}');
    }
}

/// See [`Event::key`].
pub fn key(session_id: &str, event_id: &str) -> u128 {
    let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
    hasher.update(&(session_id.len() as u64).to_le_bytes());
    hasher.update(session_id.as_bytes());
    hasher.update(event_id.as_bytes());
    hasher.digest128()
}

/// Appends a JSON string.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    let special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    let bytes = text.as_bytes();
    out.push(b'"');
    let mut written = 0;
    // Nearly all ids and names are plain; looking at every byte without a branch is quicker then
    // than to stop at the first that is not.
    let plain = !bytes.iter().fold(false, |found, &byte| found | special(byte));
    for (at, &byte) in bytes.iter().enumerate().filter(|_| !plain) {
        if !special(byte) {
            continue;
        }
        out.extend_from_slice(&bytes[written..at]);
        written = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(control >> 4)]);
                out.push(HEX[usize::from(control & 15)]);
            }
        }
    }
    out.extend_from_slice(&bytes[written..]);
    out.push(b'"');
}
