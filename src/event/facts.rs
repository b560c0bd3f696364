//! The columns that are promoted out of `data`.

use std::borrow::Cow;

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
