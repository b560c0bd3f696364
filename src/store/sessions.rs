//! Sessions, as their events tell.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::Store;
use crate::event::Timestamp;
use crate::json::each_member;
use crate::query::Members;
use crate::query::answer::{Part, ReadError};
use crate::query::{Cell, Filter, Key, Kind, Order, Page, Statement, Value};

/// A session whose last event is older has gone quiet.
const QUIET_MICROS: i64 = 10 * 60 * 1_000_000;

/// Events that end a session.
const ENDED: &str = "('session_completed', 'session_ended')";

/// Events after which an agent waits for a person.
const WAITING: &str = "('agent_stopped', 'permission_requested', 'system_notification')";

/// Most events from the beginning of a session in which its working directory is looked for.
const CWD_EVENTS: usize = 20;

/// Most sub-agents and tools that are listed.
const LIST_MAX: usize = 100;

/// What a session is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionState {
    /// Its last event said that it ended.
    Ended,
    /// Its last event was a stop, a request for permission or a notification.
    Waiting,
    /// None of these, and no event for ten minutes.
    Quiet,
    /// None of these.
    Running,
}

/// A session.
#[derive(Clone, Debug, Serialize)]
pub struct Session {
    /// Its id.
    pub session_id: String,
    /// What it is doing.
    pub state: SessionState,
    /// When its first event happened.
    #[serde(serialize_with = "as_text")]
    pub started_at: Timestamp,
    /// When its last event happened.
    #[serde(serialize_with = "as_text")]
    pub last_event_at: Timestamp,
    /// How many events it has.
    pub events: i64,
    /// How many prompts.
    pub prompts: i64,
    /// How many uses of tools ended well or failed.
    pub tool_uses: i64,
    /// How many of them failed.
    pub tool_failures: i64,
    /// How many were not allowed.
    pub tools_blocked: i64,
    /// Tokens that models read, where events tell.
    pub input_tokens: i64,
    /// Tokens that models wrote.
    pub output_tokens: i64,
    /// What that cost, in US dollars.
    pub cost_usd: f64,
    /// A workflow it belongs to.
    pub workflow_id: Option<String>,
    /// Its agent.
    pub agent: Option<String>,
}

/// A page of sessions, those with the newest events first.
#[derive(Clone, Debug)]
pub struct Sessions {
    /// The sessions.
    pub sessions: Vec<Session>,
    /// After which the next page begins: its last event's time, and its id.
    pub next: Option<Key>,
}

/// One session with more of what is in it.
#[derive(Clone, Debug, Serialize)]
pub struct SessionDetails {
    /// What a list of sessions has of it.
    #[serde(flatten)]
    pub session: Session,
    /// Where it works.
    pub cwd: Option<String>,
    /// What it was asked first.
    pub first_prompt: Option<String>,
    /// Its tools, and how often each was used and failed; up to 100.
    pub tools: Vec<ToolUse>,
    /// The sub-agents that it started; the first 100.
    pub subagents: Vec<SubAgent>,
}

/// A tool that a session used.
#[derive(Clone, Debug, Serialize)]
pub struct ToolUse {
    /// Its name.
    pub tool_name: String,
    /// How often it ended well or failed.
    pub uses: i64,
    /// How often it failed.
    pub failures: i64,
}

/// A sub-agent.
#[derive(Clone, Debug, Serialize)]
pub struct SubAgent {
    /// Its id, if the agent told.
    pub agent_id: Option<String>,
    /// Its kind, if the agent told.
    pub agent_type: Option<String>,
    /// When it was started.
    pub started_at: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn as_text<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

/// What [`Store::summaries`] selects.
const SUMMARY: [Kind; 15] = [
    Kind::Text,
    Kind::Time,
    Kind::Time,
    Kind::Time,
    Kind::Time,
    Kind::Number,
    Kind::Number,
    Kind::Number,
    Kind::Number,
    Kind::Number,
    Kind::Text,
    Kind::Text,
    Kind::Float,
    Kind::Float,
    Kind::Float,
];

impl Store {
    /// The sessions that have events which a filter lets through, those with the newest of these
    /// events first. What is told of them is of all their events.
    ///
    /// # Errors
    /// If the store cannot answer.
    pub async fn sessions(
        &self,
        filter: &Filter,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Sessions, ReadError> {
        let mut found = self.newest_sessions(filter, after, limit + 1).await?;
        let is_more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| is_more).map(|(session_id, timestamp)| Key {
            timestamp: *timestamp,
            session_id: session_id.clone(),
            event_id: String::new(),
        });
        let ids: Vec<String> = found.into_iter().map(|(session_id, _)| session_id).collect();
        let mut sessions = self.summaries(&ids).await?;
        let place = |session: &Session| ids.iter().position(|id| *id == session.session_id);
        sessions.sort_by_key(place);
        Ok(Sessions { sessions, next })
    }

    /// One session; `None` if it has no event.
    ///
    /// # Errors
    /// If the store cannot answer.
    pub async fn session(&self, session_id: &str) -> Result<Option<SessionDetails>, ReadError> {
        let mut found = self.summaries(&[session_id.to_owned()]).await?;
        let Some(session) = found.pop() else { return Ok(None) };
        let text = |line: &[u8], name: &str| payload_text(line, name);
        let begin = self.first(session_id, None, CWD_EVENTS).await?;
        let prompts = self.first(session_id, Some("user_prompt_submitted"), 1).await?;
        let subagents = self.first(session_id, Some("subagent_started"), LIST_MAX).await?;
        Ok(Some(SessionDetails {
            session,
            cwd: begin.iter().find_map(|line| text(line, "cwd")),
            first_prompt: prompts.first().and_then(|line| text(line, "prompt")),
            tools: self.tools_of(session_id).await?,
            subagents: subagents
                .iter()
                .map(|line| SubAgent {
                    agent_id: text(line, "agent_id"),
                    agent_type: text(line, "agent_type"),
                    started_at: member_text(line, "timestamp"),
                })
                .collect(),
        }))
    }

    async fn summaries(&self, ids: &[String]) -> Result<Vec<Session>, ReadError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let sum = |types: &str| format!("count(CASE WHEN event_type IN ({types}) THEN 1 END)");
        // In floating point, which no sender's numbers make overflow.
        let total = |column: &str| format!("sum(CAST({column} AS double precision))");
        let last =
            |types: &str| format!("max(CASE WHEN event_type IN {types} THEN \"timestamp\" END)");
        let mut select = Statement::new(&format!(
            "SELECT session_id, min(\"timestamp\"), max(\"timestamp\"), {}, {}, count(*), {}, {}, {}, \
             {}, max(workflow_id), max(agent), {}, {}, {} FROM hook_events",
            last(ENDED),
            last(WAITING),
            sum("'user_prompt_submitted'"),
            sum("'tool_execution_completed', 'tool_execution_failed'"),
            sum("'tool_execution_failed'"),
            sum("'tool_blocked'"),
            total("input_tokens"),
            total("output_tokens"),
            total("cost_usd"),
        ));
        select.sessions(ids.iter().map(String::as_str));
        select.push(" GROUP BY session_id", []);
        self.fold(select, &SUMMARY, Vec::new(), |found, row| found.extend(summary(row))).await
    }

    async fn tools_of(&self, session_id: &str) -> Result<Vec<ToolUse>, ReadError> {
        let mut select = Statement::new(
            "SELECT tool_name, count(*), \
             count(CASE WHEN event_type = 'tool_execution_failed' THEN 1 END) FROM hook_events",
        );
        select.by = Some("events_key");
        select.condition("session_id = ?", [Value::Text(session_id.to_owned())]);
        select.condition("tool_name IS NOT NULL", []);
        let uses = "event_type IN ('tool_execution_completed', 'tool_execution_failed')";
        select.condition(uses, []);
        select.push(&format!(" GROUP BY tool_name ORDER BY 2 DESC, 1 LIMIT {LIST_MAX}"), []);
        let kinds = &[Kind::Text, Kind::Number, Kind::Number];
        self.fold(select, kinds, Vec::new(), |tools, row| {
            tools.push(ToolUse {
                tool_name: row[0].text().unwrap_or_default().to_owned(),
                uses: row[1].number(),
                failures: row[2].number(),
            });
        })
        .await
    }

    /// The lines of the first events of a session, of any type or of one.
    async fn first(
        &self,
        session_id: &str,
        event_type: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, ReadError> {
        let filter = Filter {
            equal: vec![("session_id", session_id.to_owned())],
            event_types: event_type.map(str::to_owned).into_iter().collect(),
            ..Filter::default()
        };
        let members = ["data", "extra", "timestamp"].map(str::to_owned).to_vec();
        let members = Members::Only(members);
        let page = Page { filter, order: Order::Ascending, limit, members, after: None };
        let mut answer = self.page(page).await?;
        let mut lines = Vec::new();
        while let Some(part) = answer.next().await {
            if let Part::Events(events) = part? {
                lines.extend(events.into_iter().map(|event| event.line));
            }
        }
        Ok(lines)
    }
}

fn summary(row: &[Cell]) -> Option<Session> {
    let (started_at, last_event_at) = (row[1].time()?, row[2].time()?);
    let now = Timestamp::now().micros();
    let state = if row[3].time() == Some(last_event_at) {
        SessionState::Ended
    } else if row[4].time() == Some(last_event_at) {
        SessionState::Waiting
    } else if now - last_event_at.micros() > QUIET_MICROS {
        SessionState::Quiet
    } else {
        SessionState::Running
    };
    Some(Session {
        session_id: row[0].text()?.to_owned(),
        state,
        started_at,
        last_event_at,
        events: row[5].number(),
        prompts: row[6].number(),
        tool_uses: row[7].number(),
        tool_failures: row[8].number(),
        tools_blocked: row[9].number(),
        input_tokens: row[12].float().unwrap_or_default() as i64,
        output_tokens: row[13].float().unwrap_or_default() as i64,
        // What adding up left behind the ninth digit is of no meaning.
        cost_usd: (row[14].float().unwrap_or_default() * 1e9).round() / 1e9,
        workflow_id: row[10].text().map(str::to_owned),
        agent: row[11].text().map(str::to_owned),
    })
}

/// A text in `data`, or in `extra`, of a line.
fn payload_text(line: &[u8], name: &str) -> Option<String> {
    let mut found = None;
    each_member(line, |member, value| {
        if (member == "data" || member == "extra") && found.is_none() {
            found = member_text(value.as_bytes(), name);
        }
    });
    found
}

/// A text member of a JSON object.
fn member_text(object: &[u8], name: &str) -> Option<String> {
    let mut found = None;
    each_member(object, |member, value| {
        if member == name {
            found = serde_json::from_str::<&RawValue>(value)
                .ok()
                .and_then(|raw| serde_json::from_str(raw.get()).ok());
        }
    });
    found
}
