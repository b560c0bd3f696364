//! `hooks-backend demo`: a session made up for looking at, sent as an agent would send it.

use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, Target};
use super::say;
use crate::event::Timestamp;

const TIMEOUT: Duration = Duration::from_secs(10);

/// The session: what happens, and how long after what was before.
const SESSION: &str = include_str!("demo.json");

/// The arguments.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    target: Target,
}

/// One thing that happens in the session.
#[derive(Deserialize)]
struct Step {
    /// Milliseconds since the step before.
    after_ms: i64,
    /// A hook's payload, but for what all have in common.
    hook: Option<Value>,
    /// Attributes of an OpenTelemetry log record.
    log: Option<Value>,
}

/// Sends the session, dated so that it ends now.
///
/// # Errors
/// If the server does not take it.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let client = Client::new(&args.target, TIMEOUT);
    let steps: Vec<Step> = serde_json::from_str(SESSION).context("the session")?;
    let session = format!("demo-{}", uuid::Uuid::now_v7());
    let total: i64 = steps.iter().map(|step| step.after_ms).sum();
    let mut at_ms = Timestamp::now().micros() / 1000 - total;
    let (mut hooks, mut logs, mut shown) = (Vec::new(), Vec::new(), Vec::new());
    for step in steps {
        at_ms += step.after_ms;
        let at = Timestamp::from_micros(at_ms * 1000).context("the clock")?;
        let time = at.to_string();
        if let Some(mut hook) = step.hook {
            let name = hook["hook_event_name"].as_str().unwrap_or_default();
            let tool = hook["tool_name"].as_str().unwrap_or_default();
            shown.push(format!("{}  {name:<20} {tool}", &time[11..19]));
            hook["session_id"] = json!(session);
            hook["cwd"] = json!("/home/demo/shop");
            let line = json!({
                "agent": "claude-code", "fired_at": time, "workflow_id": "demo", "payload": hook,
            });
            hooks.push(line.to_string());
        }
        if let Some(log) = step.log {
            let attributes = log.as_object().into_iter().flatten();
            let mut attributes: Vec<Value> = attributes
                .map(|(key, value)| json!({ "key": key, "value": wrapped(value) }))
                .collect();
            attributes.push(json!({ "key": "session.id", "value": wrapped(&json!(session)) }));
            shown.push(format!(
                "{}  {:<20} {}",
                &time[11..19],
                "api_request",
                log["model"].as_str().unwrap_or_default()
            ));
            logs.push(json!({
                "timeUnixNano": (at_ms * 1_000_000).to_string(),
                "body": { "stringValue": "claude_code.api_request" },
                "attributes": attributes,
            }));
        }
    }
    let export = json!({ "resourceLogs": [{
        "resource": { "attributes": [{ "key": "service.name", "value": { "stringValue": "claude-code" } }] },
        "scopeLogs": [{ "scope": { "name": "com.anthropic.claude_code.events" }, "logRecords": logs }],
    }] });
    send(&client, "/hooks", "application/x-ndjson", &hooks.join("\n"))?;
    send(&client, "/v1/logs", "application/json", &export.to_string())?;
    for line in &shown {
        say(format_args!("{line}"));
    }
    say(format_args!("{} events of session {session} are stored at {}", shown.len(), client.url()));
    say(format_args!("look at them: hooks-backend query session_id={session}"));
    Ok(())
}

fn wrapped(value: &Value) -> Value {
    match value {
        Value::Number(number) if number.is_i64() => json!({ "intValue": number.to_string() }),
        Value::Number(number) => json!({ "doubleValue": number }),
        other => json!({ "stringValue": other }),
    }
}

fn send(client: &Client, path: &str, content_type: &str, body: &str) -> anyhow::Result<()> {
    let answer = client.post(path, content_type, body.as_bytes()).map_err(|error| {
        anyhow!(
            "{} does not answer: {error}; start the server (hooks-backend), or say where it is: \
             --url or HOOKS_URL",
            client.url()
        )
    })?;
    let hint = if answer.status == 401 { " (set HOOKS_API_KEY)" } else { "" };
    ensure!(
        (200..300).contains(&answer.status),
        "{}{path} answered {}{hint}: {}",
        client.url(),
        answer.status,
        answer.text
    );
    Ok(())
}
