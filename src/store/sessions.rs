//! Sessions, computed from their events.

use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::Store;
use super::open_tools::OpenTool;
use super::payload_text::{CWD, PROMPT, member_text, payload_text};
use super::session_state::{self, NewestEvents, SessionState, TOOL_ENDED, TOOL_FAILED, literals};
use crate::event::Timestamp;
use crate::query::{
    Filter, Order, PageKey, PageQuery, ReadError, Select, SelectedMembers, output_row,
};

/// Events of hooks that have the working directory.
const WITH_CWD: [&str; 7] = [
    "session_started",
    "user_prompt_submitted",
    "tool_execution_started",
    "tool_execution_completed",
    "tool_execution_failed",
    "agent_stopped",
    "session_completed",
];

/// Number of first events in which the working directory of a session is looked for.
const CWD_EVENTS: usize = 20;

/// The members of lines that details are taken from.
pub(super) const LINE_MEMBERS: [&str; 6] =
    ["data", "extra", "timestamp", "session_id", "subagent_id", "parent_session_id"];

/// Maximum number of sub-agents and of tools that are listed.
const LIST_MAX: usize = 100;

/// A session.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Session {
    /// The session's id.
    pub session_id: String,
    /// The session's state.
    pub state: SessionState,
    /// Time of the first event.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// Time of the last event.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String, format = DateTime)]
    pub last_event_at: Timestamp,
    /// Number of events.
    pub events: i64,
    /// Number of prompts that people wrote.
    pub prompts: i64,
    /// Number of uses of tools that completed or failed.
    pub tool_uses: i64,
    /// Number of uses of tools that failed.
    pub tool_failures: i64,
    /// Number of uses of tools that were blocked.
    pub tools_blocked: i64,
    /// Tokens that models read, from a cache or not, as far as events report them.
    pub input_tokens: i64,
    /// Tokens that models wrote, reasoning included, as far as events report them.
    pub output_tokens: i64,
    /// Cost of the models in US dollars, as far as events report it.
    pub cost_usd: f64,
    /// A workflow that the session belongs to.
    #[schema(required = true)]
    pub workflow_id: Option<String>,
    /// The agent.
    #[schema(required = true)]
    pub agent: Option<String>,
    /// The session that started this one as a sub-agent.
    #[schema(required = true)]
    pub parent_session_id: Option<String>,
}

/// A page of sessions, in descending order of their newest events.
#[derive(Clone, Debug)]
pub struct Sessions {
    /// The sessions.
    pub sessions: Vec<Session>,
    /// The last session's id and newest event, after which the next page begins.
    pub next: Option<PageKey>,
}

/// A session in detail.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SessionDetails {
    /// The same as in a list of sessions.
    #[serde(flatten)]
    pub session: Session,
    /// Working directory.
    #[schema(required = true)]
    pub cwd: Option<String>,
    /// The first prompt.
    #[schema(required = true)]
    pub first_prompt: Option<String>,
    /// Tools, in descending order of uses; up to 100.
    pub tools: Vec<ToolUse>,
    /// Tool calls that have not ended, in order of their start. A call ends with its turn at the latest.
    pub open_tools: Vec<OpenTool>,
    /// The first 100 sub-agents.
    pub subagents: Vec<SubAgent>,
}

/// A tool that a session used.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ToolUse {
    /// The tool's name.
    pub tool_name: String,
    /// Number of uses that completed or failed.
    pub uses: i64,
    /// Number of uses that failed.
    pub failures: i64,
}

/// A sub-agent.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SubAgent {
    /// The sub-agent's id, if the agent reports it.
    #[schema(required = true)]
    pub agent_id: Option<String>,
    /// The kind of sub-agent, if the agent reports it.
    #[schema(required = true)]
    pub agent_type: Option<String>,
    /// Time of its start.
    #[schema(required = true)]
    pub started_at: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn as_text<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

output_row! {
    struct SessionTotalsRow {
        session_id: String = "session_id",
        started_at: Timestamp = "min(\"timestamp\")",
        last_event_at: Timestamp = "max(\"timestamp\")",
        newest_ended: Option<Timestamp> = session_state::newest_ended(),
        newest_turn_ended: Option<Timestamp> = session_state::newest_turn_ended(),
        newest_reopening: Option<Timestamp> = session_state::newest_reopening(),
        newest_started: Option<Timestamp> = session_state::newest_started(),
        newest_compacted: Option<Timestamp> = session_state::newest_compacted(),
        newest_asked: Option<Timestamp> = session_state::newest_asked(),
        newest_working: Option<Timestamp> = session_state::newest_working(),
        newest_begun: Option<Timestamp> = session_state::newest_begun(),
        newest_hook: Option<Timestamp> = session_state::newest_hook(),
        parent_session_id: Option<String> = "max(parent_session_id)",
        events: i64 = "count(*)",
        prompts: i64 = count_of(&["user_prompt_submitted"]),
        tool_uses: i64 = count_of(&TOOL_ENDED),
        tool_failures: i64 = count_of(&[TOOL_FAILED]),
        tools_blocked: i64 = count_of(&["tool_blocked"]),
        workflow_id: Option<String> = "max(workflow_id)",
        agent: Option<String> = "max(agent)",
        input_tokens: Option<f64> = sum_of("input_tokens"),
        output_tokens: Option<f64> = sum_of("output_tokens"),
        cost_usd: Option<f64> = sum_of("cost_usd"),
    }
}

output_row! {
    struct ToolRow {
        tool_name: String = "tool_name",
        uses: i64 = "count(*)",
        failures: i64 = count_of(&[TOOL_FAILED]),
    }
}

/// SQL for the number of events of these types.
fn count_of(types: &[&str]) -> String {
    format!("count(CASE WHEN event_type IN ({}) THEN 1 END)", literals(types))
}

/// SQL for the sum of a column, in floating point, which no client's numbers can overflow.
fn sum_of(column: &str) -> String {
    format!("sum(CAST({column} AS double precision))")
}

impl From<SessionTotalsRow> for Session {
    fn from(row: SessionTotalsRow) -> Self {
        let newest = NewestEvents {
            ended: row.newest_ended,
            turn_ended: row.newest_turn_ended,
            reopening: row.newest_reopening,
            started: row.newest_started,
            compacted: row.newest_compacted,
            asked: row.newest_asked,
            working: row.newest_working,
            begun: row.newest_begun,
            any: row.newest_hook.unwrap_or(row.last_event_at),
        };
        let is_subagent = row.parent_session_id.is_some();
        Self {
            session_id: row.session_id,
            state: SessionState::new(newest, is_subagent),
            started_at: row.started_at,
            last_event_at: row.last_event_at,
            events: row.events,
            // Those of a sub-agent's session are the agent's.
            prompts: if is_subagent { 0 } else { row.prompts },
            tool_uses: row.tool_uses,
            tool_failures: row.tool_failures,
            tools_blocked: row.tools_blocked,
            input_tokens: row.input_tokens.unwrap_or_default() as i64,
            output_tokens: row.output_tokens.unwrap_or_default() as i64,
            // Digits after the ninth are rounding errors of the sum.
            cost_usd: (row.cost_usd.unwrap_or_default() * 1e9).round() / 1e9,
            workflow_id: row.workflow_id,
            agent: row.agent,
            parent_session_id: row.parent_session_id,
        }
    }
}

impl Store {
    /// The sessions that have events which match a filter, in descending order of the newest of these
    /// events. Their figures are of all their events, whether they match or not.
    ///
    /// # Errors
    /// If the query fails.
    pub async fn sessions(
        &self,
        filter: &Filter,
        after: Option<&PageKey>,
        limit: usize,
    ) -> Result<Sessions, ReadError> {
        let mut recent = self.recent_sessions(filter, after, limit + 1).await?;
        let is_more = recent.len() > limit;
        recent.truncate(limit);
        let next = recent.last().filter(|_| is_more).map(|last| PageKey {
            timestamp: last.newest,
            session_id: last.session_id.clone(),
            event_id: String::new(),
        });
        let ids: Vec<String> = recent.into_iter().map(|recent| recent.session_id).collect();
        let mut sessions = self.sessions_by_id(ids.clone()).await?;
        let rank = |session: &Session| ids.iter().position(|id| *id == session.session_id);
        sessions.sort_by_key(rank);
        Ok(Sessions { sessions, next })
    }

    /// One session; `None` if it has no event.
    ///
    /// # Errors
    /// If the query fails.
    pub async fn session(&self, session_id: &str) -> Result<Option<SessionDetails>, ReadError> {
        let mut found = self.sessions_by_id(vec![session_id.to_owned()]).await?;
        let Some(mut session) = found.pop() else { return Ok(None) };
        let find_cwd = |begin: Vec<Vec<u8>>| begin.iter().find_map(|line| payload_text(line, CWD));
        let mut cwd = find_cwd(self.first_events(session_id, &WITH_CWD, CWD_EVENTS).await?);
        if cwd.is_none() {
            cwd = find_cwd(self.first_events(session_id, &[], CWD_EVENTS).await?);
        }
        let prompts = self.first_events(session_id, &["user_prompt_submitted"], 1).await?;
        let subagents = self.first_events(session_id, &["subagent_started"], LIST_MAX).await?;
        if session.parent_session_id.is_none() {
            session.parent_session_id = self.find_parent(&session).await?;
        }
        Ok(Some(SessionDetails {
            session,
            cwd,
            first_prompt: prompts.first().and_then(|line| payload_text(line, PROMPT)),
            tools: self.tools_of(session_id).await?,
            open_tools: self.open_tools(session_id).await?,
            subagents: subagents
                .iter()
                .map(|line| SubAgent {
                    agent_id: member_text(line, "subagent_id")
                        .or_else(|| payload_text(line, &["agent_id"])),
                    agent_type: payload_text(line, &["agent_type", "agentType", "subagent_type"]),
                    started_at: member_text(line, "timestamp"),
                })
                .collect(),
        }))
    }

    async fn sessions_by_id(&self, session_ids: Vec<String>) -> Result<Vec<Session>, ReadError> {
        if session_ids.is_empty() {
            return Ok(Vec::new());
        }
        let select = Select { session_ids, group_by: Some("session_id"), ..Select::default() };
        let add = |sessions: &mut Vec<Session>, row: SessionTotalsRow| sessions.push(row.into());
        self.fold(&select, Vec::new(), add).await
    }

    async fn tools_of(&self, session_id: &str) -> Result<Vec<ToolUse>, ReadError> {
        let select = Select {
            filter: Filter {
                equal: vec![("session_id", session_id.to_owned())],
                event_types: TOOL_ENDED.map(str::to_owned).to_vec(),
                ..Filter::default()
            },
            not_null: Some("tool_name"),
            group_by: Some("tool_name"),
            order_by: vec![("uses", Order::Descending), ("tool_name", Order::Ascending)],
            limit: Some(LIST_MAX),
            ..Select::default()
        };
        let add = |tools: &mut Vec<ToolUse>, row: ToolRow| {
            let ToolRow { tool_name, uses, failures } = row;
            tools.push(ToolUse { tool_name, uses, failures });
        };
        self.fold(&select, Vec::new(), add).await
    }

    /// The lines of a session's first events of these types, or of any if there are none.
    pub(super) async fn first_events(
        &self,
        session_id: &str,
        event_types: &[&str],
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, ReadError> {
        let filter = Filter {
            equal: vec![("session_id", session_id.to_owned())],
            event_types: event_types.iter().map(|&name| name.to_owned()).collect(),
            ..Filter::default()
        };
        self.lines(filter, Order::Ascending, limit, &LINE_MEMBERS).await
    }

    /// The lines of the first events that match a filter.
    pub(super) async fn lines(
        &self,
        filter: Filter,
        order: Order,
        limit: usize,
        members: &[&str],
    ) -> Result<Vec<Vec<u8>>, ReadError> {
        let members = SelectedMembers::Only(members.iter().map(|&name| name.to_owned()).collect());
        let mut page = PageQuery { order, members, ..PageQuery::new(filter, limit) };
        let mut lines = Vec::new();
        loop {
            let mut chunks = self.page(page.clone(), None).await?;
            let mut next = Some(chunks.first().await);
            while let Some(chunk) = next {
                let chunk = chunk?;
                let is_last = !page.advance(&chunk);
                lines.extend(chunk.events.into_iter().map(|event| event.line));
                if is_last {
                    return Ok(lines);
                }
                next = chunks.next().await;
            }
        }
    }
}
