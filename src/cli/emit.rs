//! `hooks-backend emit`: what a command hook runs. An agent waits for it and may take what it prints
//! or how it ends for a decision, so it prints nothing, always succeeds, and takes two seconds at
//! most. What no server takes waits in the spool.

use std::io::Read;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use super::client::{Client, Target};
use super::spool::{Sent, Spool};
use crate::decode::{Hook, emitted_line};
use crate::event::Timestamp;

/// How long the agent may take to hand over the payload.
const INPUT_LIMIT: Duration = Duration::from_millis(800);

/// From the start: when a server that has not answered yet is given up. The rest of the two seconds
/// is for the spool.
const SEND_LIMIT: Duration = Duration::from_millis(1600);

/// The arguments.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    target: Target,

    /// The agent: claude-code, codex, gemini, cursor, copilot, vscode, opencode, cline, openhands,
    /// windsurf, or auto, which tells it from the payload
    #[arg(long, value_name = "NAME", default_value = "auto")]
    agent: String,

    /// The event's name, for payloads that have none
    #[arg(long, value_name = "NAME")]
    event: Option<String>,

    /// The workflow that the event belongs to
    #[arg(long, env, value_name = "ID")]
    workflow_id: Option<String>,

    /// The phase that the event belongs to
    #[arg(long, env, value_name = "ID")]
    phase_id: Option<String>,

    /// The milestone that the event belongs to
    #[arg(long, env, value_name = "ID")]
    milestone_id: Option<String>,

    /// The payload; absent: standard input
    #[arg(value_name = "PAYLOAD")]
    payload: Option<String>,
}

/// Sends the payload, or spools it.
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
        None => within(INPUT_LIMIT, read_input).unwrap_or_default(),
    };
    let Some(line) = emitted_line(&hook, &input) else { return };
    let spool = Spool::of_user();
    let deadline = begun + SEND_LIMIT;
    let (target, time_left) =
        (args.target.clone(), deadline.saturating_duration_since(Instant::now()));
    // There is no one to tell of an error, and nothing else to be done about it.
    if spool.bytes() > 0 {
        let _ = spool.append(&line);
        let _ = within(time_left, move || {
            let client = Client::new(&target, time_left);
            spool.drain(deadline, |lines| send(&client, lines))
        });
        return;
    }
    let body = line.clone();
    let sent = within(time_left, move || send(&Client::new(&target, time_left), body.as_bytes()));
    let _ = match sent {
        Some(Sent::Taken) => Ok(()),
        Some(Sent::Refused) => spool.refuse(line.as_bytes()),
        Some(Sent::Later) | None => spool.append(&line),
    };
}

/// Posts lines to the server.
pub(super) fn send(client: &Client, lines: &[u8]) -> Sent {
    match client.post("/hooks", "application/x-ndjson", lines) {
        Ok(answer) => match answer.status {
            200..=299 => Sent::Taken,
            400 | 413 | 415 | 422 => Sent::Refused,
            _ => Sent::Later,
        },
        Err(_) => Sent::Later,
    }
}

fn read_input() -> Vec<u8> {
    let mut input = Vec::new();
    // Half a payload is none, but it says more than nothing.
    let _ = std::io::stdin().read_to_end(&mut input);
    input
}

/// What the work comes to, if it does so in time. If not it is left behind, to end with the process:
/// not every wait of the operating system can be given a limit (names are looked up without one).
fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, result) = sync_channel(1);
    std::thread::Builder::new()
        .spawn(move || {
            // Nobody may be waiting any more.
            let _ = done.send(work());
        })
        .ok()?;
    result.recv_timeout(limit).ok()
}
