//! `hooks-backend doctor`: checks the setup, and gives advice where something is wrong.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::{Client, ClientError, Response, START_SERVER, Target, base_url, detail};
use super::install::{Agent, Obstacle, Registered, SettingsScope, names, plugin, registered};
use super::say;
use super::spool::Spool;
use crate::event::Timestamp;
use crate::visible::one_line;

/// Maximum time for a response of a healthy server.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Difference of clocks that is tolerated: HTTP dates have whole seconds, and networks delay them.
const CLOCK_SECONDS: f64 = 3.0;

/// Advice for problems of the server that only its operator can see.
const SEE_LOG: &str = "see the server's log and /health";

/// The arguments of `doctor`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    target: Target,
}

/// Prints findings, and counts the problems among them.
#[derive(Default)]
struct Report {
    problems: usize,
}

impl Report {
    #[expect(clippy::unused_self, reason = "the counterpart of `bad`")]
    fn good(&self, line: &str) {
        say(format_args!("  ok  {}", one_line(line)));
    }

    fn bad(&mut self, line: &str, advice: &str) {
        say(format_args!("  !!  {}\n      -> {}", one_line(line), one_line(advice)));
        self.problems += 1;
    }
}

/// Checks everything; true if there are no problems.
pub(super) fn run(args: &Args) -> bool {
    let mut report = Report::default();
    say(format_args!("server {}", base_url(&args.target.url)));
    match Client::new(&args.target, TIMEOUT) {
        Ok(client) => server(&client, &mut report),
        Err(error) => report.bad(&error.to_string(), error.advice().unwrap_or(SEE_LOG)),
    }
    say("agents");
    agents(&args.target, &mut report);
    say("spool");
    spool(&mut report);
    match report.problems {
        0 => say("no problems"),
        1 => say("1 problem"),
        many => say(format_args!("{many} problems")),
    }
    report.problems == 0
}

fn server(client: &Client, report: &mut Report) {
    // A first read finds the read token: a client that may read gets reasons and warnings from /health.
    let _ = client.get("/events?limit=1");
    let health = match client.get("/health") {
        Ok(health) => health,
        Err(error) => {
            let advice = format!(
                "{}; until then, hooks that are commands keep their events in the spool",
                error.advice().unwrap_or(START_SERVER)
            );
            return report.bad(&error.to_string(), &advice);
        }
    };
    let body: Value = serde_json::from_str(&health.text).unwrap_or_default();
    let text = |field: &str| body[field].as_str().unwrap_or("?").to_owned();
    let (status, storage, version) = (text("status"), text("storage"), text("version"));
    let line = format!("{status}, version {version}, storage {storage}");
    match &*status {
        "healthy" => report.good(&line),
        "?" => {
            let advice = "another program uses this port: choose another one for the server (PORT), \
                          and give it with --url or HOOKS_URL";
            return report.bad("responds, but is not hooks-backend", advice);
        }
        _ => {
            let why = body["error"].as_str().or(body["database"]["error"].as_str());
            report.bad(&line, why.unwrap_or(SEE_LOG));
        }
    }
    if let Some(difference) = health.clock_difference() {
        let line = format!("its clock differs from the local one by {:.0} s", difference.abs());
        if difference.abs() > CLOCK_SECONDS {
            let advice =
                "synchronise both with NTP: events have the time of the machine they come from";
            report.bad(&line, advice);
        } else {
            report.good("its clock agrees with the local one");
        }
    }
    round_trip(client, report);
    for warning in body["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        report.bad(warning, "correct the modes, or share the files with a group by FILE_MODE");
    }
}

/// Sends a test event, and reads events.
fn round_trip(client: &Client, report: &mut Report) {
    let id = format!("{}-{}", std::process::id(), Timestamp::now().micros());
    let event = |event_type: &str| {
        json!({
            "event_type": event_type,
            "session_id": "hooks-backend-doctor",
            "event_id": format!("{event_type}-{id}"),
            "data": { "agent": "hooks-backend" },
        })
    };
    // The second ends the session, which would otherwise seem to run.
    let events = json!([event("doctor_tested"), event("session_completed")]);
    let begun = Instant::now();
    let sent = client.post("/events/batch", "application/json", events.to_string().as_bytes());
    let took_ms = begun.elapsed().as_secs_f64() * 1000.0;
    match sent {
        Ok(response) if response.status == 202 => {
            report.good(&format!("a test event was stored in {took_ms:.1} ms"));
        }
        Ok(response) => {
            let (status, detail) = (response.status, detail(&response.text));
            let advice = match status {
                401 => "set HOOKS_API_KEY to a key of the server, also where the agents run",
                403 => "give this key the scope 'ingest' in API_KEYS of the server",
                _ => SEE_LOG,
            };
            report.bad(&format!("a test event was rejected ({status}): {detail}"), advice);
        }
        Err(error) => report.bad(&format!("a test event was not stored: {error}"), SEE_LOG),
    }
    match read_one(client) {
        Ok(response) if response.status == 200 => report.good("events can be read"),
        // Agents' keys often may only write.
        Ok(response) if matches!(response.status, 401 | 403) => {
            let reason = detail(&response.text);
            report.good(&format!(
                "events cannot be read with this key ({reason}); agents need only write"
            ));
        }
        Ok(response) => {
            let (status, detail) = (response.status, detail(&response.text));
            report.bad(&format!("events cannot be read ({status}): {detail}"), SEE_LOG);
        }
        Err(error @ ClientError::ReadToken { .. }) => {
            report.good(&format!("events cannot be read ({error}); agents need only write"));
        }
        Err(error) => report.bad(&format!("events cannot be read: {error}"), SEE_LOG),
    }
}

/// Reads an event. A server that has just started opens its index first.
fn read_one(client: &Client) -> Result<Response, ClientError> {
    let begun = Instant::now();
    loop {
        let read = client.get("/events?limit=1")?;
        if read.status != 503 || begun.elapsed() > TIMEOUT {
            return Ok(read);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Checks the hooks that are registered with all agents.
fn agents(target: &Target, report: &mut Report) {
    let url = base_url(&target.url);
    let mut any = false;
    for agent in Agent::ALL {
        let mut found: Vec<Registered> = [SettingsScope::User, SettingsScope::Project]
            .into_iter()
            .filter_map(|scope| registered(agent, scope))
            .collect();
        // In the home directory, both scopes have the same file.
        found.dedup_by(|project, user| project.path == user.path);
        any |= !found.is_empty();
        for registered in &found {
            hooks_of(agent, registered, url, report);
        }
        if found.len() > 1 {
            let name = agent.name();
            report.bad(
                &format!("{name}: registered twice, so each hook runs twice"),
                &format!(
                    "events are stored once nevertheless; to save time: hooks-backend uninstall \
                     {name} --project"
                ),
            );
        }
    }
    for (path, server) in
        [SettingsScope::User, SettingsScope::Project].into_iter().filter_map(plugin)
    {
        any = true;
        report.good(&format!("opencode: {}: plugin", path.display()));
        if server != url {
            let advice = format!("hooks-backend install opencode --url {url}");
            report.bad(&format!("opencode: the plugin sends to {server}"), &advice);
        }
    }
    if !any {
        report.bad("no hooks are registered", &format!("hooks-backend install {}", names()));
    }
}

/// Checks the hooks in one settings file.
fn hooks_of(agent: Agent, registered: &Registered, url: &str, report: &mut Report) {
    let (name, path) = (agent.name(), registered.path.display());
    let hooks = match &registered.hooks {
        Ok(hooks) => hooks,
        Err(error) => {
            let advice = "correct the file: the agent may not understand it either";
            return report.bad(&format!("{name}: {path}: {error}"), advice);
        }
    };
    report.good(&format!("{name}: {path}: {} hooks", hooks.len()));
    if hooks.len() < registered.expected {
        report.bad(
            &format!("{name}: this version registers {} hooks", registered.expected),
            &format!("hooks-backend install {name}"),
        );
    }
    for Obstacle { problem, advice } in &registered.obstacles {
        report.bad(&format!("{name}: {problem}"), advice);
    }
    let others: Vec<&String> = hooks.iter().filter(|hook| *hook != url).collect();
    if let Some(other) = others.first() {
        report.bad(
            &format!("{name}: {} hooks send to {other}", others.len()),
            &format!("hooks-backend install {name} --url {url}"),
        );
    }
}

/// Checks whether events wait in the spool, or were rejected.
fn spool(report: &mut Report) {
    let spool = Spool::of_user();
    match spool.lines() {
        0 => report.good("empty"),
        lines => report.bad(
            &format!("events waiting for the server in {}: {lines}", spool.path().display()),
            "nothing to do: the next hook that reaches the server sends them",
        ),
    }
    if spool.lost() > 0 {
        report.bad(
            &format!("events that could be neither sent nor kept: {}, listed in {}", spool.lost(), spool.lost_path().display()),
            "the spool was full (64 MiB), or could not be written; delete the file once you know why",
        );
    }
    let rejected = spool.rejected_path();
    if rejected.exists() {
        report.bad(
            &format!("the server rejected events; they are kept in {}", rejected.display()),
            "inspect the file, then delete it",
        );
    }
}
