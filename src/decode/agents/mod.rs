//! The payloads of agents' hooks, as they are: each becomes one event, whatever is in it.
//!
//! Agents differ in what they call things; a table each says where to look ([`Agent`]). What a table
//! does not find is looked for where most have it.
//!
//! **Ids.** Agents give their events no id, so one is derived: a hook that fires twice is stored
//! once, and two real events that look alike are both kept.
//!
//! - A payload with the id of a tool's use, or with the agent's own time, is different for each real
//!   event. Its id is a hash of the payload: the same payload is the same event, whenever it comes.
//! - Of any other payload, the same one within a second of the first is the same event
//!   ([`Firings`]); its id is a hash of the payload and the time of the first.
//!
//! The event's timestamp is the agent's; else when the hook fired, by `hooks-backend emit`; else when
//! the first payload was received.

mod claude_code;
mod cline;
mod codex;
mod copilot;
mod cursor;
mod emitted;
mod firings;
mod gemini;
mod names;
mod observability;
mod opencode;
mod openhands;
mod payload;
mod vscode;
mod windsurf;

use std::borrow::Cow;

pub use emitted::emitted_line;
pub use firings::Firings;
pub(super) use names::bounded;
pub(super) use observability::rename;
pub(super) use payload::Payload;

use super::compact::{TooDeep, compact};
use super::fields::{Field, Fields};
use super::{Context, DecodeError, Decoded, Invalid};
use crate::event::{
    ColumnKind, PromotedColumn, PromotedColumns, TEXT_BYTES_MAX, Timestamp, timestamp,
};
use crate::json::text::write_string;
use emitted::Emitted;
use names::{Names, TOOL_COMPLETED, TOOL_FAILED};

/// The name in the address that leaves it to the payload to tell the agent.
const AUTO: &str = "auto";

/// An agent whose payloads are understood: where in them to look for what. Paths are tried in order.
struct Agent {
    /// What it is called in addresses and in the field `agent`.
    name: &'static str,
    /// Other names in addresses.
    aliases: &'static [&'static str],
    event: &'static [&'static str],
    session: &'static [&'static str],
    /// Paths to promoted columns, tried before the common ones.
    columns: &'static [(PromotedColumn, &'static [&'static str])],
    /// The tool's name, where it is part of the event's (in snake case).
    tool_from_event: fn(&str) -> Option<&str>,
    timestamp: &'static [&'static str],
    /// What its events are called here, beyond what is common.
    names: Names,
    /// Whether a completed tool has in fact failed.
    failed: fn(&Payload<'_>) -> bool,
    /// Whether a payload can only be, or is most likely, this agent's.
    recognised: fn(&Payload<'_>) -> bool,
}

/// Where most agents have it. As an agent, it is one whose payloads nobody recognised.
const DEFAULT: Agent = Agent {
    name: "",
    aliases: &[],
    event: &["hook_event_name", "hookEventName", "event_type", "event", "type"],
    session: &["session_id", "sessionId", "conversation_id", "thread_id"],
    columns: &[],
    tool_from_event: |_| None,
    timestamp: &["timestamp"],
    names: &[],
    failed: |_| false,
    recognised: |_| true,
};

/// In the order in which they are recognised: the most peculiar first.
static AGENTS: [Agent; 10] = [
    windsurf::AGENT,
    cline::AGENT,
    cursor::AGENT,
    opencode::AGENT,
    codex::AGENT,
    gemini::AGENT,
    vscode::AGENT,
    copilot::AGENT,
    openhands::AGENT,
    claude_code::AGENT,
];

static UNKNOWN: Agent = DEFAULT;

/// The names that addresses may have.
pub fn agent_names() -> impl Iterator<Item = &'static str> {
    AGENTS.iter().map(|agent| agent.name).chain([AUTO])
}

/// Whether an address may have this name.
pub fn is_agent(name: &str) -> bool {
    name == AUTO || named(name).is_some()
}

fn named(name: &str) -> Option<&'static Agent> {
    AGENTS.iter().find(|agent| agent.name == name || agent.aliases.contains(&name))
}

/// The agent that a payload comes from. An address is taken at its word, but for Claude Code's: other
/// agents run the hooks of its settings files, too.
fn agent_of(name: &str, payload: &Payload<'_>) -> &'static Agent {
    match named(name) {
        Some(agent) if agent.name != claude_code::AGENT.name => agent,
        claude_code => {
            let recognised = AGENTS.iter().find(|agent| (agent.recognised)(payload));
            recognised.or(claude_code).unwrap_or(&UNKNOWN)
        }
    }
}

/// What is known of a hook besides its payload.
#[derive(Clone, Debug)]
pub struct Hook<'h> {
    /// The agent by the address: one of [`agent_names`] or another name of theirs.
    pub agent: Cow<'h, str>,
    /// The event's name, which counts if the payload has none.
    pub event: Option<Cow<'h, str>>,
    /// When it fired: if nobody says, when it was received.
    pub fired_at: Timestamp,
    /// The workflow it belongs to.
    pub workflow_id: Option<Cow<'h, str>>,
    /// And its phase.
    pub phase_id: Option<Cow<'h, str>>,
    /// And its milestone.
    pub milestone_id: Option<Cow<'h, str>>,
}

/// Makes an event of a hook's payload, which must be a JSON object.
///
/// # Errors
/// If it is none.
pub fn decode_hook(
    hook: &Hook<'_>,
    body: &[u8],
    firings: &Firings,
    context: &Context<'_>,
) -> Result<Decoded, DecodeError> {
    let text = super::body_text(body)?;
    let mut decoded = Decoded::new(context, body.len());
    match push(hook, text, firings, context, &mut decoded) {
        Ok(()) => Ok(decoded),
        Err(error) => Err(DecodeError::NotJson(format!("not a hook's payload: {error}"))),
    }
}

/// Makes events of the lines of `hooks-backend emit`: one hook a line, its payload and what is known
/// of it besides. A line that is none spoils itself alone.
///
/// # Errors
/// If there are too many.
pub fn decode_emitted(
    body: &[u8],
    firings: &Firings,
    context: &Context<'_>,
) -> Result<Decoded, DecodeError> {
    let mut decoded = Decoded::new(context, body.len());
    let lines = super::body_text(body)?.lines().filter(|line| !line.trim().is_empty());
    for (index, line) in lines.enumerate() {
        if index >= context.batch_events_max {
            return Err(DecodeError::TooManyEvents { max: context.batch_events_max });
        }
        let pushed = serde_json::from_str::<Emitted<'_>>(line).and_then(|emitted| {
            let hook = emitted.hook(context.received_at);
            push(&hook, emitted.payload.get(), firings, context, &mut decoded)
        });
        if let Err(error) = pushed {
            let reason = Invalid::event(format!("not a line of 'hooks-backend emit': {error}"));
            decoded.reject(context, index, reason, line.to_owned());
        }
    }
    Ok(decoded)
}

/// Adds the event that a payload makes. Nothing in it can be wrong but its syntax.
fn push(
    hook: &Hook<'_>,
    raw: &str,
    firings: &Firings,
    context: &Context<'_>,
    decoded: &mut Decoded,
) -> serde_json::Result<()> {
    let payload = Payload::parse(raw)?;
    let agent = agent_of(&hook.agent, &payload);
    // White space makes no difference, as when a payload comes by way of `emit`.
    let data = match compact(raw, context.depth_max) {
        Ok((data, _)) => data,
        Err(TooDeep) => Cow::Owned(format!("{{\"unparsed\":{}}}", json(raw.trim()))),
    };
    let fields = fields(agent, &payload, data, hook, firings);
    let Decoded { batch, redactions, .. } = decoded;
    let pushed = batch.push(|line| fields.into_line(context, redactions, line));
    pushed.map_err(|invalid| serde::de::Error::custom(invalid.error))
}

fn fields<'a>(
    agent: &'static Agent,
    payload: &Payload<'a>,
    data: Cow<'a, str>,
    hook: &Hook<'_>,
    firings: &Firings,
) -> Fields<'a> {
    let name = payload
        .text(agent.event)
        .or_else(|| hook.event.clone().map(|name| Cow::Owned(name.into_owned())))
        .or_else(|| payload.text(DEFAULT.event))
        .unwrap_or_default();
    let promoted = promoted(agent, payload, &name);
    let mut event_type = names::event_type(&name, agent.names);
    if event_type == TOOL_COMPLETED && (agent.failed)(payload) {
        TOOL_FAILED.clone_into(&mut event_type);
    }

    let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
    hasher.update(name.as_bytes());
    hasher.update(&[0]);
    hasher.update(data.as_bytes());
    let hash = hasher.digest128();
    let agents_time = payload.text(agent.timestamp).and_then(|text| {
        let number = || timestamp::parse_number(&text);
        timestamp::parse_text(&text).or_else(|_| number()).ok()
    });
    let (event_id, timestamp) = match agents_time {
        Some(time) => (hash, time),
        None if promoted[PromotedColumn::ToolUseId].is_some() => (hash, hook.fired_at),
        None => {
            let first = firings.first(hash, hook.fired_at);
            hasher.update(&first.micros().to_le_bytes());
            (hasher.digest128(), first)
        }
    };

    let session_id =
        session_of(agent, payload).unwrap_or_else(|| no_session(agent, payload, timestamp));
    let mut fields = Fields::default();
    fields.set(Field::EventId, format!("\"{event_id:032x}\""));
    fields.set(Field::EventType, json(&event_type));
    fields.set(Field::SessionId, json(&session_id));
    fields.set(Field::Timestamp, format!("\"{timestamp}\""));
    fields.set(Field::Data, data);
    for (field, value) in [
        (Field::WorkflowId, &hook.workflow_id),
        (Field::PhaseId, &hook.phase_id),
        (Field::MilestoneId, &hook.milestone_id),
    ] {
        // A variable that is not set makes an empty header.
        if let Some(value) = value.as_deref().map(str::trim).filter(|value| !value.is_empty()) {
            fields.set(field, json(&bounded(value.to_owned())));
        }
    }
    fields.set_promoted(promoted);
    fields
}

fn promoted<'a>(agent: &'static Agent, payload: &Payload<'a>, name: &str) -> PromotedColumns<'a> {
    let mut promoted = PromotedColumns::default();
    for column in PromotedColumn::ALL {
        let own = agent.columns.iter().find(|(own, _)| *own == column);
        let own = own.map_or(&[][..], |(_, paths)| paths);
        let paths = [own, column.payload_paths()];
        promoted[column] = paths.into_iter().find_map(|paths| match column.kind() {
            ColumnKind::Text => payload.text(paths),
            ColumnKind::Count | ColumnKind::Measure => payload.number(paths),
        });
        if column.kind() == ColumnKind::Text {
            promoted[column].take_if(|text| text.len() > TEXT_BYTES_MAX);
        }
    }
    promoted[PromotedColumn::Agent] =
        Some(Cow::Borrowed(agent.name)).filter(|name| !name.is_empty());
    if promoted[PromotedColumn::ToolName].is_none() {
        let snake = names::snake_case(name);
        let tool = (agent.tool_from_event)(&snake);
        promoted[PromotedColumn::ToolName] = tool.map(|tool| Cow::Owned(tool.to_owned()));
    }
    promoted
}

/// The agent's session, by its id or by the name of its transcript.
fn session_of(agent: &'static Agent, payload: &Payload<'_>) -> Option<String> {
    let named = payload.text(agent.session).or_else(|| payload.text(DEFAULT.session));
    let session = named.map(Cow::into_owned).or_else(|| {
        let transcript = payload.text(&["transcript_path", "transcriptPath"])?;
        let file = transcript.rsplit(['/', '\\']).next()?;
        Some(file.rsplit_once('.').map_or(file, |(stem, _)| stem).to_owned())
    });
    session.filter(|session| !session.is_empty()).map(bounded)
}

/// Where an agent names no session: all of a day that it does in one directory.
fn no_session(agent: &'static Agent, payload: &Payload<'_>, timestamp: Timestamp) -> String {
    let agent = if agent.name.is_empty() { "unknown" } else { agent.name };
    let directory = payload.text(&["cwd", "working_dir", "workspace_roots"]).unwrap_or_default();
    let directory = xxhash_rust::xxh3::xxh3_64(directory.as_bytes()) as u32;
    let day = timestamp.to_string();
    format!("{agent}-{directory:08x}-{}", &day[..10])
}

/// A JSON string.
pub(super) fn json(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    write_string(text, &mut out);
    // Escaped text is text.
    String::from_utf8(out).unwrap_or_default()
}
