//! A history for the read benchmarks: stored lines over the last thirty days, with 500 events per
//! session and 200 open sessions.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use agentic_hooks_backend::event::{Event, PromotedColumn, PromotedColumns, Timestamp};

use crate::events::Numbers;

const DAYS: i64 = 30;
const SESSION_EVENTS: usize = 500;
const OPEN_SESSIONS: usize = 200;
const TOOLS: [&str; 8] = ["Bash", "Read", "Edit", "Write", "Grep", "Glob", "WebFetch", "Task"];
const AGENTS: [&str; 4] = ["claude-code", "codex", "gemini-cli", "cursor"];

/// One event of the history. All fields are derived from its number, its session and its step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    number: usize,
    session: usize,
    /// Position in the session.
    step: usize,
}

impl Moment {
    pub(crate) fn session_id(self) -> String {
        format!("{:08x}-0000-4000-8000-{:012x}", hashed(self.session) >> 32, self.session)
    }

    pub(crate) fn event_id(self) -> String {
        format!("{:016x}-{:012x}", hashed(self.number), self.number)
    }

    fn uses_tool(self) -> bool {
        self.step % 8 < 6
    }

    pub(crate) fn event_type(self) -> &'static str {
        match self.step % 8 {
            0 | 2 | 4 => "tool_execution_started",
            1 | 3 if self.number.is_multiple_of(20) => "tool_execution_failed",
            1 | 3 | 5 => "tool_execution_completed",
            6 if self.step % 40 == 6 => "user_prompt_submitted",
            _ => "agent_response",
        }
    }

    pub(crate) fn tool_name(self) -> Option<&'static str> {
        self.uses_tool().then(|| TOOLS[(self.session + self.step / 2) % TOOLS.len()])
    }

    /// The same id for the start and the end of a tool call.
    pub(crate) fn tool_use_id(self) -> Option<String> {
        self.uses_tool().then(|| format!("toolu_{:08}{:04}", self.session, self.step / 2))
    }

    /// Every third session has a workflow; twenty sessions share one.
    pub(crate) fn workflow_id(self) -> Option<String> {
        self.session.is_multiple_of(3).then(|| format!("workflow-{}", self.session / 60))
    }

    /// Every tenth session has a phase, different for each.
    pub(crate) fn phase_id(self) -> Option<String> {
        self.session.is_multiple_of(10).then(|| format!("phase-{}", self.session))
    }

    /// Every twentieth session has a milestone, different for each.
    pub(crate) fn milestone_id(self) -> Option<String> {
        self.session.is_multiple_of(20).then(|| format!("milestone-{}", self.session))
    }

    /// One session in a hundred belongs to a rare agent.
    pub(crate) fn agent(self) -> &'static str {
        if self.session % 100 == 99 { "rare" } else { AGENTS[self.session % AGENTS.len()] }
    }

    fn write(self, at: Timestamp, out: &mut Vec<u8>) {
        let padding = "x".repeat(hashed(self.number) as usize % 500);
        let duration = (self.step % 8 % 2 == 1).then(|| (hashed(self.number) % 9000).to_string());
        let tool_use_id = self.tool_use_id();
        let what = match (self.tool_name(), &tool_use_id) {
            (Some(name), Some(id)) => format!(
                r#""tool_name":"{name}","tool_use_id":"{id}","tool_input":{{"description":"{padding}"}},"duration_ms":{}"#,
                duration.as_deref().unwrap_or("null")
            ),
            _ => format!(r#""prompt":"Please look at step {}: {padding}""#, self.step),
        };
        let data = format!(r#"{{"cwd":"/home/user/project-{}",{what}}}"#, self.session % 50);
        let mut promoted = PromotedColumns::default();
        promoted[PromotedColumn::Agent] = Some(self.agent().into());
        promoted[PromotedColumn::ToolName] = self.tool_name().map(Cow::Borrowed);
        promoted[PromotedColumn::ToolUseId] = tool_use_id.map(Cow::Owned);
        promoted[PromotedColumn::DurationMs] =
            duration.filter(|_| self.uses_tool()).map(Cow::Owned);
        let event = Event {
            event_id: self.event_id().into(),
            event_type: self.event_type().into(),
            session_id: self.session_id().into(),
            workflow_id: self.workflow_id().map(Cow::Owned),
            phase_id: self.phase_id().map(Cow::Owned),
            milestone_id: self.milestone_id().map(Cow::Owned),
            data: data.into(),
            timestamp: at,
            received_at: at,
            promoted,
            extra: None,
        };
        event.write_line(out);
        out.push(b'\n');
    }
}

/// Writes a history to a file, ordered by time; returns about 2000 of the events to query.
pub(crate) fn write(path: &Path, events: usize) -> io::Result<Vec<Moment>> {
    let mut file = BufWriter::with_capacity(1 << 20, std::fs::File::create(path)?);
    let mut numbers = Numbers(7);
    let mut open: Vec<(usize, usize)> = (0..OPEN_SESSIONS).map(|session| (session, 0)).collect();
    let mut sessions = OPEN_SESSIONS;
    let days = DAYS * 86_400_000_000;
    let begun = Timestamp::now().micros() - days;
    let (mut line, mut sample) = (Vec::new(), Vec::new());
    for number in 0..events {
        let slot = &mut open[numbers.below(OPEN_SESSIONS)];
        let (session, step) = *slot;
        *slot = if step + 1 == SESSION_EVENTS {
            sessions += 1;
            (sessions - 1, 0)
        } else {
            (session, step + 1)
        };
        let moment = Moment { number, session, step };
        let micros = begun + (i128::from(days) * number as i128 / events as i128) as i64;
        let at = Timestamp::from_micros(micros).ok_or(io::ErrorKind::InvalidData)?;
        line.clear();
        moment.write(at, &mut line);
        file.write_all(&line)?;
        if number % (events / 2000).max(1) == 0 {
            sample.push(moment);
        }
    }
    file.into_inner()?.sync_all()?;
    Ok(sample)
}

fn hashed(number: usize) -> u64 {
    Numbers(number as u64).next()
}
