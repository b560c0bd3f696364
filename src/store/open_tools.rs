//! Tool calls that a session has started and not ended. No hook reports that a person denied a call of Claude
//! Code by Escape, or a call of Codex, Copilot or Gemini CLI: such a call ends with the turn.

use serde::Serialize;
use utoipa::ToSchema;

use super::Store;
use super::payload_text::member_text;
use super::session_state::{ENDED, TOOL_ENDED, TURN_ENDED};
use crate::query::{Filter, Order, ReadError};

/// Maximum number of events that are searched, the newest ones.
const EVENTS_MAX: usize = 500;

const STARTED: &str = "tool_execution_started";

/// Events besides those of a turn's end that show that the agent's turn has ended.
const TURN_OVER: [&str; 3] =
    ["background_tasks_awaited", "session_started", "user_prompt_submitted"];

const MEMBERS: [&str; 5] = ["event_type", "timestamp", "tool_name", "tool_use_id", "subagent_id"];

/// A tool call that has not ended.
#[derive(Clone, Debug, Serialize, PartialEq, ToSchema)]
pub struct OpenTool {
    /// The tool's name, if the agent reports it.
    #[schema(required = true)]
    pub tool_name: Option<String>,
    /// The ID of the call, if the agent reports it.
    #[schema(required = true)]
    pub tool_use_id: Option<String>,
    /// The sub-agent that uses the tool.
    #[schema(required = true)]
    pub subagent_id: Option<String>,
    /// Time of the start.
    #[schema(required = true)]
    pub started_at: Option<String>,
}

impl OpenTool {
    fn new(line: &[u8]) -> Self {
        let text = |name| member_text(line, name);
        Self {
            tool_name: text("tool_name"),
            tool_use_id: text("tool_use_id"),
            subagent_id: text("subagent_id"),
            started_at: text("timestamp"),
        }
    }

    /// Returns true if the end of a call is that of this one, as far as can be told.
    fn is_ended_by(&self, end: &Self) -> bool {
        match (&self.tool_use_id, &end.tool_use_id) {
            (Some(own), Some(ended)) => own == ended,
            _ => self.tool_name == end.tool_name && self.subagent_id == end.subagent_id,
        }
    }
}

impl Store {
    /// The open tool calls of a session, in order of their start.
    ///
    /// # Errors
    /// If the query fails.
    pub(super) async fn open_tools(&self, session_id: &str) -> Result<Vec<OpenTool>, ReadError> {
        let types = [STARTED, "tool_blocked", "subagent_stopped"].into_iter();
        let types = types.chain(TOOL_ENDED).chain(TURN_ENDED).chain(TURN_OVER).chain(ENDED);
        let filter = Filter {
            equal: vec![("session_id", session_id.to_owned())],
            event_types: types.map(str::to_owned).collect(),
            ..Filter::default()
        };
        let newest = self.lines(filter, Order::Descending, EVENTS_MAX, &MEMBERS).await?;
        let mut open = Vec::new();
        for line in newest.iter().rev() {
            apply(&mut open, line);
        }
        Ok(open)
    }
}

/// Changes the open calls by an event.
fn apply(open: &mut Vec<OpenTool>, line: &[u8]) {
    let event_type = member_text(line, "event_type").unwrap_or_default();
    let event = OpenTool::new(line);
    match &*event_type {
        STARTED => open.push(event),
        "subagent_stopped" => open.retain(|call| call.subagent_id != event.subagent_id),
        name if TURN_ENDED.contains(&name) || TURN_OVER.contains(&name) => {
            // Sub-agents in the background go on.
            open.retain(|call| call.subagent_id != event.subagent_id);
        }
        name if ENDED.contains(&name) => open.clear(),
        _ => {
            if let Some(at) = open.iter().position(|call| call.is_ended_by(&event)) {
                open.remove(at);
            }
        }
    }
}
