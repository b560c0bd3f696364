//! `hooks-backend doctor`: what is set up, whether it works, and what to do where it does not.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::{Client, Target, address};
use super::install::{Agent, Registered, Scope, registered};
use super::say;
use super::spool::Spool;
use crate::event::Timestamp;

/// Longer than a server that is well may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What HTTP's time can tell, which has whole seconds, and a network's delay.
const CLOCK_SECONDS: f64 = 3.0;

/// The arguments.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    target: Target,
}

/// What was found: lines for a person, and how many of them ask for something to be done.
#[derive(Default)]
struct Report {
    problems: usize,
}

impl Report {
    #[expect(clippy::unused_self, reason = "the other half of `bad`")]
    fn good(&self, line: &str) {
        say(format_args!("  ok  {line}"));
    }

    fn bad(&mut self, line: &str, advice: &str) {
        say(format_args!("  !!  {line}\n      -> {advice}"));
        self.problems += 1;
    }
}

/// Looks at everything; whether all is well.
pub(super) fn run(args: &Args) -> bool {
    let mut report = Report::default();
    let client = Client::new(&args.target, TIMEOUT);
    say(format_args!("server {}", client.url()));
    server(&client, &mut report);
    say("agents");
    agents(&args.target, &mut report);
    say("spool");
    spool(&mut report);
    match report.problems {
        0 => say("all is well"),
        1 => say("1 thing to do"),
        many => say(format_args!("{many} things to do")),
    }
    report.problems == 0
}

fn server(client: &Client, report: &mut Report) {
    let health = match client.get("/health") {
        Ok(health) => health,
        Err(error) => {
            let advice = "start it (hooks-backend), or say where it is: --url or HOOKS_URL. Until \
                          then hooks that are commands keep their events in the spool";
            return report.bad(&format!("does not answer: {error}"), advice);
        }
    };
    let told: Value = serde_json::from_str(&health.text).unwrap_or_default();
    let text = |field: &str| told[field].as_str().unwrap_or("?").to_owned();
    let (status, storage, version) = (text("status"), text("storage"), text("version"));
    let line = format!("{status}, version {version}, storage {storage}");
    match &*status {
        "healthy" => report.good(&line),
        "?" => {
            let advice = "another program has this port: choose another one (PORT), and name it \
                          in --url or HOOKS_URL";
            return report.bad("answers, but is no hooks-backend", advice);
        }
        _ => {
            let why = told["error"].as_str().or(told["database"]["error"].as_str());
            report.bad(&line, why.unwrap_or("its log says why"));
        }
    }
    if let Some(difference) = health.clock_difference() {
        let line = format!("its clock and this one's are {:.0} s apart", difference.abs());
        if difference.abs() > CLOCK_SECONDS {
            let advice = "set both by NTP: events are dated by the machine on which they happen";
            report.bad(&line, advice);
        } else {
            report.good("its clock agrees with this one's");
        }
    }
    round_trip(client, report);
}

/// Sends an event of its own, as a sender would.
fn round_trip(client: &Client, report: &mut Report) {
    let event = json!({
        "event_type": "doctor_tested",
        "session_id": "hooks-backend-doctor",
        "event_id": format!("doctor-{}-{}", std::process::id(), Timestamp::now().micros()),
        "data": { "agent": "hooks-backend" },
    });
    let begun = Instant::now();
    let answer = client.post("/events", "application/json", event.to_string().as_bytes());
    let took_ms = begun.elapsed().as_secs_f64() * 1000.0;
    match answer {
        Ok(answer) if answer.status == 202 => {
            report.good(&format!("a test event was stored in {took_ms:.1} ms"));
        }
        Ok(answer) => {
            let problem: Value = serde_json::from_str(&answer.text).unwrap_or_default();
            let detail = problem["detail"].as_str().unwrap_or("no reason given");
            let advice = match answer.status {
                401 => "set HOOKS_API_KEY to a key of the server's, where the agents run, too",
                403 => "give this key the scope 'ingest' in the server's API_KEYS",
                _ => "see the server's log and /health",
            };
            report.bad(&format!("a test event was refused ({}): {detail}", answer.status), advice);
        }
        Err(error) => report.bad(
            &format!("a test event was not answered: {error}"),
            "see the server's log and /health",
        ),
    }
}

fn agents(target: &Target, report: &mut Report) {
    let url = address(&target.url);
    let mut any = false;
    for agent in Agent::ALL {
        let mut found: Vec<Registered> = [Scope::User, Scope::Project]
            .into_iter()
            .filter_map(|scope| registered(agent, scope))
            .collect();
        // In the home directory both are one file.
        found.dedup_by(|project, user| project.path == user.path);
        for registered in &found {
            any = true;
            let path = registered.path.display();
            match &registered.hooks {
                Err(error) => report.bad(
                    &format!("{}: {path}: {error}", agent.name()),
                    "put the file right: the agent may not understand it either",
                ),
                Ok(hooks) => {
                    report.good(&format!("{}: {path}: {} hooks", agent.name(), hooks.len()));
                    let others: Vec<&String> = hooks.iter().filter(|hook| *hook != url).collect();
                    if let Some(other) = others.first() {
                        report.bad(
                            &format!("{}: {} of them lead to {other}", agent.name(), others.len()),
                            &format!("hooks-backend install {} --url {url}", agent.name()),
                        );
                    }
                }
            }
        }
        if found.len() > 1 {
            report.bad(
                &format!("{}: registered twice, so each hook fires twice", agent.name()),
                &format!(
                    "events are stored once all the same; to save time: hooks-backend uninstall {} \
                     --project",
                    agent.name()
                ),
            );
        }
    }
    if !any {
        let names = Agent::ALL.map(Agent::name).join("|");
        report.bad("no hooks are registered here", &format!("hooks-backend install {names}"));
    }
}

fn spool(report: &mut Report) {
    let spool = Spool::of_user();
    match spool.lines() {
        0 => report.good("empty"),
        lines => report.bad(
            &format!("events that wait for the server in {}: {lines}", spool.path().display()),
            "the next hook that finds the server delivers them; nothing else is needed",
        ),
    }
    let refused = spool.refused_path();
    if refused.exists() {
        report.bad(
            &format!("the server refused events, which are kept in {}", refused.display()),
            "look at them, and delete the file",
        );
    }
}
