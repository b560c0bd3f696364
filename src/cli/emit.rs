//! `hooks-backend emit`: the command that agents run as a hook.
//!
//! The agent waits for it, and can take its output or its exit status for a decision. So it prints
//! nothing, always succeeds, and takes at most two seconds. Events that no server accepts wait in the
//! spool.

use std::io::Read;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use super::client::{Client, Target};
use super::spool::{Sent, Spool};
use crate::decode::{Hook, emitted_line};
use crate::event::Timestamp;

/// Maximum time for the agent to write the payload.
const INPUT_TIMEOUT: Duration = Duration::from_millis(800);

/// Maximum time from the start until the server's response. The rest of the two seconds is for the
/// spool.
const SEND_TIMEOUT: Duration = Duration::from_millis(1600);

/// The arguments of `emit`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Payload of the hook; not given: standard input
    #[arg(value_name = "PAYLOAD")]
    payload: Option<String>,

    /// Agent: claude-code, codex, gemini, cursor, copilot, vscode, opencode, cline, openhands,
    /// windsurf, or auto to recognise it by the payload
    #[arg(long, value_name = "NAME", default_value = "auto")]
    agent: String,

    /// Name of the hook event, for payloads without one
    #[arg(long, value_name = "NAME")]
    event: Option<String>,

    /// Workflow that the event belongs to
    #[arg(long, env, value_name = "ID")]
    workflow_id: Option<String>,

    /// Phase that the event belongs to
    #[arg(long, env, value_name = "ID")]
    phase_id: Option<String>,

    /// Milestone that the event belongs to
    #[arg(long, env, value_name = "ID")]
    milestone_id: Option<String>,

    #[command(flatten)]
    target: Target,
}

/// Sends the payload, or appends it to the spool.
pub(super) fn run(args: &Args) {
    let begun = Instant::now();
    let hook = Hook {
        agent: args.agent.as_str().into(),
        event: args.event.as_deref().map(Into::into),
        fired_at: Timestamp::now(),
        workflow_id: args.workflow_id.as_deref().map(Into::into),
        phase_id: args.phase_id.as_deref().map(Into::into),
        milestone_id: args.milestone_id.as_deref().map(Into::into),
    };
    let input = match &args.payload {
        Some(payload) => payload.clone().into_bytes(),
        None => within(INPUT_TIMEOUT, read_input).unwrap_or_default(),
    };
    let Some(line) = emitted_line(&hook, &input) else { return };
    let spool = Spool::of_user();
    let deadline = begun + SEND_TIMEOUT;
    let target = args.target.clone();
    let time_left = deadline.saturating_duration_since(Instant::now());
    // Errors of the spool are ignored: they must not disturb the agent.
    if spool.bytes() > 0 {
        let _ = spool.append(&line);
        let _ = within(time_left, move || {
            let client = Client::new(&target, time_left);
            spool.drain(deadline, |lines| {
                client.as_ref().map_or(Sent::Later, |client| send(client, lines))
            })
        });
        return;
    }
    let body = line.clone();
    let sent = within(time_left, move || {
        let client = Client::new(&target, time_left);
        client.map_or(Sent::Later, |client| send(&client, body.as_bytes()))
    });
    let _ = match sent {
        Some(Sent::Accepted) => Ok(()),
        Some(Sent::Rejected) => spool.keep_rejected(line.as_bytes()),
        Some(Sent::Later) | None => spool.append(&line),
    };
}

/// Posts lines to the server.
fn send(client: &Client, lines: &[u8]) -> Sent {
    match client.post("/hooks", "application/x-ndjson", lines) {
        Ok(response) => match response.status {
            200..=299 => Sent::Accepted,
            400 | 413 | 415 | 422 => Sent::Rejected,
            _ => Sent::Later,
        },
        Err(_) => Sent::Later,
    }
}

fn read_input() -> Vec<u8> {
    let mut input = Vec::new();
    // On a read error, the incomplete payload is sent: it is kept as unparsed text.
    let _ = std::io::stdin().read_to_end(&mut input);
    input
}

/// Returns the result of the work; `None` if it takes too long. The work then continues until the
/// process ends: not every system call can be given a time limit (name resolution has none).
fn within<T: Send + 'static>(
    timeout: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, result) = sync_channel(1);
    std::thread::Builder::new()
        .spawn(move || {
            let _ = done.send(work());
        })
        .ok()?;
    result.recv_timeout(timeout).ok()
}
