//! Tokens and cost: one meaning for all agents, whatever they count.

use serde_json::{Value, json};

use crate::harness::client::JSON;
use crate::harness::{Server, Storage, Workspace};

both!(tokens_have_one_meaning_for_all_agents);

/// For each: service, scope, attributes of a record with usage, and the tokens read and written.
fn records() -> Vec<(&'static str, &'static str, Value, Value)> {
    vec![
        (
            "claude-code",
            "com.anthropic.claude_code.events",
            json!({
                "event.name": "api_request", "session.id": "claude", "input_tokens": "3",
                "output_tokens": 90, "cache_read_tokens": "1000", "cache_creation_tokens": 200,
                "cost_usd": 0.25,
            }),
            json!([1203, 90, 0.25]),
        ),
        (
            "codex_exec",
            "codex_otel",
            json!({
                "event.name": "codex.sse_event", "event.kind": "response.completed",
                "conversation.id": "codex", "input_token_count": "1000", "output_token_count": "90",
                "cached_token_count": "800", "reasoning_token_count": "40", "tool_token_count": "1090",
            }),
            json!([1000, 90, 0.0]),
        ),
        (
            "gemini-cli",
            "gemini-cli",
            json!({
                "event.name": "gemini_cli.api_response", "session.id": "gemini",
                "input_token_count": 1000, "output_token_count": 90,
                "cached_content_token_count": 800, "thoughts_token_count": 40, "tool_token_count": 5,
                "total_token_count": 1135,
            }),
            json!([1005, 130, 0.0]),
        ),
        (
            "gemini-cli",
            "gemini-cli",
            json!({
                "event.name": "gen_ai.client.inference.operation.details",
                "session.id": "gemini-repeated", "gen_ai.usage.input_tokens": 1000,
                "gen_ai.usage.output_tokens": 90,
            }),
            json!([0, 0, 0.0]),
        ),
        (
            "qwen-code",
            "qwen-code",
            json!({
                "event.name": "qwen-code.api_response", "session.id": "qwen",
                "input_token_count": 1000, "output_token_count": 90,
                "cached_content_token_count": 800, "thoughts_token_count": 40,
                "total_token_count": 1090,
            }),
            json!([1000, 90, 0.0]),
        ),
        (
            "shop-assistant",
            "openinference",
            json!({
                "event.name": "gen_ai.client.inference.operation.details",
                "gen_ai.conversation.id": "other", "gen_ai.usage.input_tokens": 1000,
                "gen_ai.usage.cache_read.input_tokens": 800, "gen_ai.usage.output_tokens": 90,
            }),
            json!([1000, 90, 0.0]),
        ),
    ]
}

/// Spans of Qwen Code repeat the usage of its log records; those of Copilot have the only one.
fn spans() -> Vec<(&'static str, &'static str, Value)> {
    let usage = |conversation: &str, operation: &str| {
        json!({
            "gen_ai.operation.name": operation, "gen_ai.conversation.id": conversation,
            "gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 90,
            "gen_ai.usage.cache_read.input_tokens": 800,
        })
    };
    vec![
        ("qwen-code", "qwen-code", usage("qwen", "chat")),
        ("github-copilot", "github.copilot", usage("copilot", "chat")),
        ("github-copilot", "github.copilot", usage("copilot", "invoke_agent")),
    ]
}

fn attribute((key, value): (&String, &Value)) -> Value {
    let kind = match value {
        Value::String(_) => "stringValue",
        Value::Number(number) if number.is_f64() => "doubleValue",
        _ => "intValue",
    };
    json!({ "key": key, "value": { kind: value } })
}

/// Sends a log record, or a span.
fn send(server: &Server, signal: &str, service: &str, scope: &str, attributes: &Value) {
    let attributes: Vec<Value> =
        attributes.as_object().expect("attributes").iter().map(attribute).collect();
    let now = agentic_hooks_backend::event::Timestamp::now().micros() * 1000;
    let time = now.to_string();
    let (groups, scopes, records) = match signal {
        "logs" => ("resourceLogs", "scopeLogs", "logRecords"),
        _ => ("resourceSpans", "scopeSpans", "spans"),
    };
    let record = json!({
        "name": "a span", "timeUnixNano": time, "startTimeUnixNano": time, "endTimeUnixNano": time,
        "attributes": attributes,
    });
    let export = json!({ groups: [{
        "resource": { "attributes": [{ "key": "service.name", "value": { "stringValue": service } }] },
        scopes: [{ "scope": { "name": scope }, records: [record] }],
    }] });
    let path = format!("/v1/{signal}");
    server.client.post(&path, JSON, &[], export.to_string()).expect(200);
}

fn tokens_have_one_meaning_for_all_agents(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().ready().start();
    for (service, scope, attributes) in spans() {
        send(&server, "traces", service, scope, &attributes);
    }
    for (service, scope, attributes, _) in records() {
        send(&server, "logs", service, scope, &attributes);
    }
    let stored = workspace.settled(&server);
    crate::reading::shown(&server.client, spans().len() + records().len());
    for (service, _, attributes, expected) in records() {
        let id = attributes.get("session.id").or(attributes.get("conversation.id"));
        let id = id.or(attributes.get("gen_ai.conversation.id")).expect("a session");
        let path = format!("/sessions/{}", id.as_str().expect("text"));
        let session = server.client.get(&path, &[]).expect(200).json();
        let usage = json!([session["input_tokens"], session["output_tokens"], session["cost_usd"]]);
        assert_eq!(usage, expected, "{service}: {session}");
        // The figures of the agent are kept.
        assert!(stored.iter().any(|event| event["data"]["attributes"] == attributes));
    }
    for (id, agent) in [("qwen", "qwen"), ("copilot", "copilot")] {
        let session = server.client.get(&format!("/sessions/{id}"), &[]).expect(200).json();
        let found = json!([session["agent"], session["input_tokens"], session["output_tokens"]]);
        assert_eq!(found, json!([agent, 1000, 90]));
    }
}
