//! `hooks-backend demo`: sends an example session in the way an agent would.

use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, ClientError, Target, detail};
use super::say;
use crate::event::Timestamp;

const TIMEOUT: Duration = Duration::from_secs(10);

/// The steps of the session.
const SESSION: &str = include_str!("demo.json");

/// The arguments of `demo`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    target: Target,
}

/// A step of the session.
#[derive(Deserialize)]
struct DemoStep {
    /// Time since the previous step.
    after_ms: i64,
    /// Payload of a hook, without the members that all of them share.
    hook: Option<Value>,
    /// Attributes of an OpenTelemetry log record.
    log: Option<Value>,
}

/// Sends the session with times that end now.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let client = Client::new(&args.target, TIMEOUT)?;
    let session = DemoSession::new()?;
    send(&client, "/hooks", "application/x-ndjson", &session.hooks.join("\n"))?;
    send(&client, "/v1/logs", "application/json", &session.log_export().to_string())?;
    for line in &session.shown {
        say(line);
    }
    let (id, events) = (&session.id, session.shown.len());
    say(format_args!("{events} events of session {id} are stored at {}", client.url()));
    say(format_args!("to show them: hooks-backend query session_id={id}"));
    Ok(())
}

/// The session, ready to be sent.
struct DemoSession {
    id: String,
    /// Lines for `/hooks`.
    hooks: Vec<String>,
    /// OpenTelemetry log records.
    logs: Vec<Value>,
    /// A line for each event, for the user.
    shown: Vec<String>,
}

impl DemoSession {
    fn new() -> anyhow::Result<Self> {
        let steps: Vec<DemoStep> = serde_json::from_str(SESSION).context("the example session")?;
        let id = format!("demo-{}", uuid::Uuid::now_v7());
        let mut session = Self { id, hooks: Vec::new(), logs: Vec::new(), shown: Vec::new() };
        let duration_ms: i64 = steps.iter().map(|step| step.after_ms).sum();
        let mut at_ms = Timestamp::now().micros() / 1000 - duration_ms;
        for step in steps {
            at_ms += step.after_ms;
            let at = Timestamp::from_micros(at_ms * 1000).context("the clock")?.to_string();
            if let Some(hook) = step.hook {
                session.add_hook(hook, &at);
            }
            if let Some(log) = step.log {
                session.add_log(&log, at_ms, &at);
            }
        }
        Ok(session)
    }

    fn add_hook(&mut self, mut hook: Value, at: &str) {
        let name = hook["hook_event_name"].as_str().unwrap_or_default();
        let tool = hook["tool_name"].as_str().unwrap_or_default();
        self.shown.push(format!("{}  {name:<20} {tool}", &at[11..19]));
        hook["session_id"] = json!(self.id);
        hook["cwd"] = json!("/home/demo/shop");
        let line = json!({
            "agent": "claude-code", "fired_at": at, "workflow_id": "demo", "payload": hook,
        });
        self.hooks.push(line.to_string());
    }

    fn add_log(&mut self, log: &Value, at_ms: i64, at: &str) {
        let attributes = log.as_object().into_iter().flatten();
        let mut attributes: Vec<Value> = attributes
            .map(|(key, value)| json!({ "key": key, "value": any_value(value) }))
            .collect();
        attributes.push(json!({ "key": "session.id", "value": any_value(&json!(self.id)) }));
        let model = log["model"].as_str().unwrap_or_default();
        self.shown.push(format!("{}  {:<20} {model}", &at[11..19], "api_request"));
        self.logs.push(json!({
            "timeUnixNano": (at_ms * 1_000_000).to_string(),
            "body": { "stringValue": "claude_code.api_request" },
            "attributes": attributes,
        }));
    }

    fn log_export(&self) -> Value {
        let service = json!({ "key": "service.name", "value": any_value(&json!("claude-code")) });
        let scope = json!({ "name": "com.anthropic.claude_code.events" });
        json!({ "resourceLogs": [{
            "resource": { "attributes": [service] },
            "scopeLogs": [{ "scope": scope, "logRecords": self.logs }],
        }] })
    }
}

/// Returns a value in the JSON form of OTLP's `AnyValue`.
fn any_value(value: &Value) -> Value {
    match value {
        Value::Number(number) if number.is_i64() => json!({ "intValue": number.to_string() }),
        Value::Number(number) => json!({ "doubleValue": number }),
        other => json!({ "stringValue": other }),
    }
}

fn send(client: &Client, path: &str, content_type: &str, body: &str) -> anyhow::Result<()> {
    let response = client.post(path, content_type, body.as_bytes())?;
    if !(200..300).contains(&response.status) {
        let (status, detail) = (response.status, detail(&response.text));
        return Err(ClientError::Status { status, detail })
            .with_context(|| format!("{}{path}", client.url()));
    }
    Ok(())
}
