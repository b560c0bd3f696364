//! `hooks-backend emit`: the command that agents run as a hook.
//!
//! The agent waits for it, and can take its output or its exit status for a decision. So it prints
//! nothing, always succeeds, and takes at most two seconds. The line with the event is in the spool before
//! anything is sent, and leaves it after the server's response: a hook that is killed loses nothing.
//!
//! With `--background` it returns as soon as the line is in the spool, and a process of its own sends it.
//! There is one such process at a time, however many hooks run.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::builder::{OsStringValueParser, TypedValueParser};

use super::client::{Client, Target};
use super::install::{Agent, SettingsScope, is_registered};
use super::spool::{Drained, Sent, Spool};
use crate::decode::{Claim, EmittedPayload, Hook, sender};
use crate::event::Timestamp;

/// Maximum time for the agent to write the payload. What has arrived by then is kept.
const INPUT_TIMEOUT: Duration = Duration::from_millis(800);

/// Maximum time from the start until the server's response. The rest of the two seconds is for the
/// spool.
const SEND_TIMEOUT: Duration = Duration::from_millis(1600);

/// Maximum time of a process that sends in the background.
const BACKGROUND_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum size of a payload that is sent whole: half of the server's default limit of a request. A larger
/// one is cut.
const PAYLOAD_BYTES_MAX: usize = 8 << 20;

/// Maximum size of a payload that is held in memory to be cut.
const INPUT_BYTES_MAX: usize = 128 << 20;

/// The arguments of `emit`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Payload of the hook; not given: standard input
    #[arg(value_name = "PAYLOAD", value_parser = lossy())]
    payload: Option<String>,

    /// Agent: claude-code, codex, gemini, cursor, copilot, vscode, opencode, qwen, cline, openhands,
    /// windsurf, or auto to recognize it by the payload
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = lossy())]
    agent: String,

    /// Name of the hook event, for payloads without one
    #[arg(long, value_name = "NAME", value_parser = lossy())]
    event: Option<String>,

    /// Name of this registration, if the same hook is registered twice: an event that two registrations
    /// report is stored once, two equal events that one reports are both stored
    #[arg(long, value_name = "NAME", default_value = "user", hide_default_value = true)]
    from: String,

    /// Return once the payload is in the spool; another process sends it
    #[arg(long)]
    background: bool,

    /// Only send what is in the spool
    #[arg(long, hide = true, conflicts_with = "background")]
    drain: bool,

    /// Workflow that the event belongs to
    #[arg(long, env, value_name = "ID", value_parser = lossy())]
    workflow_id: Option<String>,

    /// Phase that the event belongs to
    #[arg(long, env, value_name = "ID", value_parser = lossy())]
    phase_id: Option<String>,

    /// Milestone that the event belongs to
    #[arg(long, env, value_name = "ID", value_parser = lossy())]
    milestone_id: Option<String>,

    #[command(flatten)]
    target: Target,
}

/// Accepts any bytes: an event must not be lost because its texts are not UTF-8.
fn lossy() -> impl TypedValueParser<Value = String> {
    OsStringValueParser::new().map(|text| text.to_string_lossy().into_owned())
}

/// Appends the payload to the spool, and sends the spool.
///
/// Errors of the spool are ignored: they must not disturb the agent.
pub(super) fn run(args: &Args) {
    let deadline = Instant::now() + SEND_TIMEOUT;
    let fired_at = Timestamp::now();
    let spool = Spool::of_user();
    if args.drain {
        let _ = rustix::process::setsid();
        return drain(&spool, &args.target, Instant::now() + BACKGROUND_TIMEOUT, false);
    }
    let input = match &args.payload {
        Some(payload) => Input::from(payload.as_bytes()),
        None => read_input(INPUT_TIMEOUT),
    };
    let payload = EmittedPayload::new(&input.bytes, input.size, input.is_cut, PAYLOAD_BYTES_MAX);
    let Some(payload) = payload else { return };
    if is_reported_by_another(&args.agent, &payload) {
        return;
    }
    let mut hook = Hook {
        agent: args.agent.as_str().into(),
        event: args.event.as_deref().map(Into::into),
        event_id: None,
        fired_at,
        workflow_id: args.workflow_id.as_deref().map(Into::into),
        phase_id: args.phase_id.as_deref().map(Into::into),
        milestone_id: args.milestone_id.as_deref().map(Into::into),
    };
    match append(&spool, &mut hook, &payload, &args.from) {
        Ok(()) if args.background && start_drain(&spool, &args.target) => {}
        Ok(()) => drain(&spool, &args.target, deadline, true),
        // Without a spool, all that is left is to send the line.
        Err(_) => send_once(&spool, &hook, &payload, &args.target, deadline),
    }
}

/// Whether an agent runs this hook although its own hooks report the same: Copilot and Cursor also run the
/// hooks in the settings of Claude Code.
fn is_reported_by_another(name: &str, payload: &EmittedPayload) -> bool {
    let own = Agent::ClaudeCode.name();
    let other = if name == own { sender(own, payload.text()) } else { None };
    let other = Agent::ALL.into_iter().find(|agent| Some(agent.name()) == other);
    other.filter(|other| *other != Agent::ClaudeCode).is_some_and(|other| {
        is_registered(other, SettingsScope::User) || is_registered(other, SettingsScope::Project)
    })
}

/// Decides which event the payload is, and appends its line to the spool, in one step.
fn append(
    spool: &Spool,
    hook: &mut Hook<'_>,
    payload: &EmittedPayload,
    registration: &str,
) -> std::io::Result<()> {
    let spool = spool.lock()?;
    let claim = payload
        .identity(hook)
        .map(|identity| Claim::new(identity, registration, hook.fired_at, &spool.claims()));
    if let Some(claim) = &claim {
        (hook.event_id, hook.fired_at) = (Some(claim.event_id), claim.at());
    }
    spool.append(&payload.line(hook).unwrap_or_default())?;
    // Without the claim, the worst is an event that is stored twice.
    if let Some(claim) = claim.filter(Claim::is_needed) {
        let _ = spool.claim(&claim.encoded());
    }
    Ok(())
}

/// Sends the spool until it is empty, the server cannot accept more, or the time is over. With `wait`,
/// another process that is sending is waited for: it may have looked at the spool before the last line.
fn drain(spool: &Spool, target: &Target, deadline: Instant, wait: bool) {
    let (spool, target) = (spool.clone(), target.clone());
    let _ = within(deadline.saturating_duration_since(Instant::now()), move || {
        let mut client = None;
        loop {
            let drained = spool.drain(deadline, |lines| {
                let client = client.get_or_insert_with(|| {
                    Client::new(&target, deadline.saturating_duration_since(Instant::now()))
                });
                client.as_ref().map_or(Sent::Later, |client| send(client, lines))
            });
            match drained {
                Ok(Drained::Empty) if spool.bytes() == 0 => break,
                Ok(Drained::Busy) if !wait || spool.bytes() == 0 => break,
                Ok(Drained::Later) | Err(_) => break,
                Ok(Drained::Busy) => std::thread::sleep(Duration::from_millis(3)),
                // A line was appended while this process still had the lock.
                Ok(Drained::Empty) => {}
            }
            if Instant::now() >= deadline {
                break;
            }
        }
    });
}

/// Starts a process that sends the spool, unless one is running; false if that is not possible.
fn start_drain(spool: &Spool, target: &Target) -> bool {
    if spool.is_draining() {
        return true;
    }
    let Ok(program) = std::env::current_exe() else { return false };
    let mut command = Command::new(program);
    command.args(["emit", "--drain", "--url", &target.url]).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Some(key) = &target.api_key {
        // Not an argument: every user can see those.
        command.env("HOOKS_API_KEY", key);
    }
    command.spawn().is_ok()
}

/// Sends a line that the spool could not take.
fn send_once(
    spool: &Spool,
    hook: &Hook<'_>,
    payload: &EmittedPayload,
    target: &Target,
    deadline: Instant,
) {
    let Some(line) = payload.line(hook) else { return };
    let time_left = deadline.saturating_duration_since(Instant::now());
    let (body, target) = (line.clone(), target.clone());
    let sent = within(time_left, move || {
        Client::new(&target, time_left).map_or(Sent::Later, |client| send(&client, body.as_bytes()))
    });
    if sent != Some(Sent::Accepted) {
        let _ = spool.count_lost(&line);
    }
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

/// The payload as the agent wrote it.
#[derive(Clone, Default)]
struct Input {
    /// The first [`INPUT_BYTES_MAX`].
    bytes: Vec<u8>,
    /// Size of what the agent has written.
    size: u64,
    /// True if there was more, or if the agent had not finished in time.
    is_cut: bool,
}

impl From<&[u8]> for Input {
    fn from(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), size: bytes.len() as u64, is_cut: false }
    }
}

/// Reads standard input to its end, or what arrives in time.
fn read_input(timeout: Duration) -> Input {
    let input = Arc::new(Mutex::new(Input { is_cut: true, ..Input::default() }));
    let reading = input.clone();
    let _ = within(timeout, move || {
        let mut part = vec![0; 64 << 10];
        let mut stdin = std::io::stdin().lock();
        loop {
            let read = match stdin.read(&mut part) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                read => read.unwrap_or(0),
            };
            let mut input = reading.lock().unwrap_or_else(PoisonError::into_inner);
            let room = INPUT_BYTES_MAX - input.bytes.len();
            input.bytes.extend_from_slice(&part[..read.min(room)]);
            input.size += read as u64;
            if read == 0 {
                input.is_cut = input.size > input.bytes.len() as u64;
                break;
            }
        }
    });
    std::mem::take(&mut *input.lock().unwrap_or_else(PoisonError::into_inner))
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
