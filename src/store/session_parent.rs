//! The parent of a session that is a sub-agent's, for agents that do not name it.

use super::Store;
use super::payload_text::{member_text, payload_text};
use super::sessions::{LINE_MEMBERS, Session};
use crate::event::Timestamp;
use crate::query::{Filter, Order, ReadError};

/// Maximum time between the start of a sub-agent in the hooks of its parent and in its own session.
const START_MICROS: i64 = 60 * 1_000_000;

/// Maximum time for which an agent has run when it starts a sub-agent.
const PARENT_MICROS: i64 = 24 * 60 * 60 * 1_000_000;

/// Maximum number of events among which the parent's is looked for.
const EVENTS_MAX: usize = 200;

impl Store {
    /// The session that started this one, whose events do not name it.
    ///
    /// # Errors
    /// If a query fails.
    pub(super) async fn find_parent(&self, session: &Session) -> Result<Option<String>, ReadError> {
        let begin = self.first_events(&session.session_id, &[], 1).await?;
        let parent = begin.first().and_then(|line| payload_text(line, &["parent_agent_id"]));
        let found = match parent {
            Some(agent_id) => self.session_of_agent(session, &agent_id).await?,
            None => self.session_of_start(session).await?,
        };
        Ok(found.filter(|parent| *parent != session.session_id))
    }

    /// The session of an agent of Cline, whose sub-agents know the ID of the agent.
    async fn session_of_agent(
        &self,
        session: &Session,
        agent_id: &str,
    ) -> Result<Option<String>, ReadError> {
        let started = session.started_at.micros();
        let starts = Filter {
            event_types: vec!["session_started".to_owned()],
            since: Timestamp::from_micros(started - PARENT_MICROS),
            until: Timestamp::from_micros(started + 1),
            ..Filter::default()
        };
        let lines = self.lines(starts, Order::Descending, EVENTS_MAX, &LINE_MEMBERS).await?;
        let is_parent =
            |line: &&Vec<u8>| payload_text(line, &["agent_id"]).as_deref() == Some(agent_id);
        Ok(lines.iter().find(is_parent).and_then(|line| member_text(line, "session_id")))
    }

    /// The session whose hooks report the start of a sub-agent with the ID of this session. Telemetry of a
    /// sub-agent of Codex is such a session.
    async fn session_of_start(&self, session: &Session) -> Result<Option<String>, ReadError> {
        let started = session.started_at.micros();
        let starts = Filter {
            event_types: vec!["subagent_started".to_owned()],
            since: Timestamp::from_micros(started - START_MICROS),
            until: Timestamp::from_micros(started + START_MICROS),
            ..Filter::default()
        };
        let lines = self.lines(starts, Order::Ascending, EVENTS_MAX, &LINE_MEMBERS).await?;
        let is_start = |line: &&Vec<u8>| {
            member_text(line, "subagent_id").as_ref() == Some(&session.session_id)
        };
        Ok(lines.iter().find(is_start).and_then(|line| member_text(line, "session_id")))
    }
}
