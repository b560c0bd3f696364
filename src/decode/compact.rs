//! One pass over a JSON value: white space between tokens goes, nesting is bounded, and facts about
//! the agent and its tool are picked up from the top level.

use std::borrow::Cow;

use crate::event::Facts;
use crate::json::text;

/// A value nested deeper than allowed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooDeep;

/// Returns the value without white space between its tokens (borrowed if there was none), and the
/// facts at its top level if it is an object.
///
/// `raw` must be one syntactically valid JSON value, as `serde_json`'s `RawValue` guarantees.
///
/// # Errors
/// [`TooDeep`].
pub(super) fn compact(raw: &str, depth_max: usize) -> Result<(Cow<'_, str>, Facts<'_>), TooDeep> {
    let bytes = raw.as_bytes();
    let mut out = String::new();
    let mut copied = 0;
    let mut facts = Facts::default();
    let mut depth = 0;
    let mut fact: Option<Fact> = None;
    let mut at_key = false;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                let end = text::string_end(bytes, at);
                if depth == 1 {
                    if at_key {
                        fact = Fact::of(&bytes[at + 1..end - 1]);
                        at_key = false;
                    } else if let Some(fact) = fact.take() {
                        fact.keep_string(&mut facts, &raw[at..end]);
                    }
                }
                at = end;
            }
            b' ' | b'\t' | b'\n' | b'\r' => {
                out.push_str(&raw[copied..at]);
                while at < bytes.len() && matches!(bytes[at], b' ' | b'\t' | b'\n' | b'\r') {
                    at += 1;
                }
                copied = at;
            }
            b'{' | b'[' => {
                depth += 1;
                if depth > depth_max {
                    return Err(TooDeep);
                }
                if depth == 1 {
                    at_key = bytes[at] == b'{';
                } else {
                    fact = None;
                }
                at += 1;
            }
            b'}' | b']' => {
                depth -= 1;
                at += 1;
            }
            b',' => {
                if depth == 1 {
                    // An array's elements are no keys; its first byte tells which this is.
                    at_key = bytes[0] == b'{' || raw.trim_start().starts_with('{');
                    fact = None;
                }
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                let start = at;
                while at < bytes.len()
                    && matches!(bytes[at], b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')
                {
                    at += 1;
                }
                if depth == 1
                    && let Some(fact) = fact.take()
                {
                    fact.keep_number(&mut facts, &raw[start..at]);
                }
            }
            _ => at += 1,
        }
    }
    if copied == 0 {
        return Ok((Cow::Borrowed(raw), facts));
    }
    out.push_str(&raw[copied..]);
    Ok((Cow::Owned(out), facts))
}

#[derive(Clone, Copy)]
pub(super) enum Fact {
    Agent,
    ToolName,
    ToolUseId,
    DurationMs,
    InputTokens,
    OutputTokens,
    CostUsd,
    SubagentId,
    ParentSessionId,
}

impl Fact {
    pub(super) fn of(key: &[u8]) -> Option<Self> {
        match key {
            b"agent" => Some(Self::Agent),
            b"tool_name" => Some(Self::ToolName),
            b"tool_use_id" => Some(Self::ToolUseId),
            b"duration_ms" => Some(Self::DurationMs),
            b"input_tokens" => Some(Self::InputTokens),
            b"output_tokens" => Some(Self::OutputTokens),
            b"cost_usd" => Some(Self::CostUsd),
            b"subagent_id" => Some(Self::SubagentId),
            b"parent_session_id" => Some(Self::ParentSessionId),
            _ => None,
        }
    }

    /// A fact longer than a name may be is none.
    pub(super) fn keep_string<'a>(self, facts: &mut Facts<'a>, raw: &'a str) {
        let value = text::unescape(raw);
        if value.len() > crate::event::TEXT_BYTES_MAX {
            return;
        }
        match self {
            Self::Agent => facts.agent = Some(value),
            Self::ToolName => facts.tool_name = Some(value),
            Self::ToolUseId => facts.tool_use_id = Some(value),
            Self::SubagentId => facts.subagent_id = Some(value),
            Self::ParentSessionId => facts.parent_session_id = Some(value),
            Self::DurationMs | Self::InputTokens | Self::OutputTokens | Self::CostUsd => {}
        }
    }

    pub(super) fn keep_number<'a>(self, facts: &mut Facts<'a>, raw: &'a str) {
        let value = Some(Cow::Borrowed(raw));
        match self {
            Self::DurationMs => facts.duration_ms = value,
            Self::InputTokens => facts.input_tokens = value,
            Self::OutputTokens => facts.output_tokens = value,
            Self::CostUsd => facts.cost_usd = value,
            Self::Agent
            | Self::ToolName
            | Self::ToolUseId
            | Self::SubagentId
            | Self::ParentSessionId => {}
        }
    }
}

/// What was seen of a value on the way through it.
#[derive(Clone, Debug, Default)]
pub(super) struct Scanned<'a> {
    /// Whether there is no white space between its tokens.
    pub(super) is_compact: bool,
    /// How deep its objects and arrays are nested.
    pub(super) depth: usize,
    /// The facts at its top level, if it is an object.
    pub(super) facts: Facts<'a>,
}
