//! Redaction: secrets are replaced before they are stored, and all other text is kept.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::client::{JSON, NDJSON};
use crate::harness::{Storage, Workspace, event, only};

both!(
    standard_rules_replace_secrets_anywhere_in_an_event,
    text_that_resembles_a_secret_is_unchanged,
    rejected_events_are_redacted,
);

/// For each standard rule, a text with a secret, and the secret. Assembled here, so that secret scanners do
/// not report this source file.
pub(crate) fn secrets() -> Vec<(&'static str, String, String)> {
    // Letters and digits without close repetitions.
    let text = |count: usize| -> String {
        "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xYz0C".chars().cycle().take(count).collect()
    };
    let hex = |count: usize| -> String { "0a1b2c3d4e5f6789".chars().cycle().take(count).collect() };
    let upper =
        |count: usize| -> String { "QWERTZ234567ABC".chars().cycle().take(count).collect() };
    let plain = |rule, secret: String| (rule, format!("before {secret} after"), secret);
    let within = |rule, before: &str, secret: String, after: &str| {
        (rule, format!("{before}{secret}{after}"), secret)
    };
    let key = |kind: &str| format!("-----{} {kind}PRIVATE KEY-----", "BEGIN");
    let end = |kind: &str| format!("-----{} {kind}PRIVATE KEY-----", "END");
    let jwt = format!("eyJ{}.eyJ{}.{}", text(20), text(40), text(43));
    let mut all = vec![
        plain("anthropic-key", format!("sk-ant-api03-{}", text(95))),
        plain("openai-key", format!("sk-proj-{}", text(100))),
        plain("openai-key", format!("sk-{}T3BlbkFJ{}", text(20), text(20))),
        plain("openrouter-key", format!("sk-or-v1-{}", hex(64))),
        plain("huggingface-token", format!("hf_{}", text(34))),
        plain("groq-key", format!("gsk_{}", text(52))),
        plain("xai-key", format!("xai-{}", text(80))),
        plain("perplexity-key", format!("pplx-{}", text(48))),
        plain("replicate-token", format!("r8_{}", text(37))),
        plain("langsmith-key", format!("lsv2_pt_{}_{}", hex(32), hex(10))),
        plain("github-token", format!("github_pat_{}_{}", text(22), text(59))),
        plain("gitlab-token", format!("glpat-{}", text(20))),
        plain("npm-token", format!("npm_{}", text(36))),
        within("npm-token", "//registry.example/:_authToken=", text(20), "\n"),
        plain("pypi-token", format!("pypi-AgEIcHlwaS5vcmc{}", text(120))),
        plain("rubygems-key", format!("rubygems_{}", hex(48))),
        plain("docker-token", format!("dckr_pat_{}", text(27))),
        plain("aws-access-key-id", format!("AKIA{}", upper(16))),
        within("aws-secret-key", "export AWS_SECRET_ACCESS_KEY=", text(40), "\n"),
        within("aws-secret-key", "{\"SecretAccessKey\": \"", text(40), "\"}"),
        plain("google-key", format!("AIza{}", text(35))),
        plain("google-oauth-token", format!("ya29.{}", text(60))),
        plain("google-oauth-token", format!("GOCSPX-{}", text(28))),
        within("azure-storage-key", "AccountName=a;AccountKey=", format!("{}==", text(86)), ";"),
        plain("digitalocean-token", format!("dop_v1_{}", hex(64))),
        plain("databricks-token", format!("dapi{}", hex(32))),
        plain("doppler-token", format!("dp.pt.{}", text(43))),
        plain("vault-token", format!("hvs.{}", text(90))),
        plain("terraform-token", format!("{}.atlasv1.{}", text(14), text(67))),
        plain("planetscale-token", format!("pscale_tkn_{}", text(43))),
        plain("supabase-token", format!("sbp_{}", hex(40))),
        plain("grafana-token", format!("glsa_{}_{}", text(32), hex(8))),
        plain("sentry-token", format!("sntryu_{}", hex(64))),
        plain("slack-token", format!("xoxb-1234567890-{}", text(24))),
        within(
            "slack-webhook",
            "https://hooks.slack.com/services/",
            format!("T0{}/B0{}/{}", upper(8), upper(8), text(24)),
            "",
        ),
        within(
            "discord-webhook",
            "https://discord.com/api/webhooks/",
            format!("123456789012345678/{}", text(68)),
            "",
        ),
        plain("stripe-key", format!("sk_live_{}", text(24))),
        plain("stripe-key", format!("whsec_{}", text(32))),
        plain("sendgrid-key", format!("SG.{}.{}", text(22), text(43))),
        plain("shopify-token", format!("shpat_{}", hex(32))),
        plain("notion-token", format!("ntn_{}", text(46))),
        plain("linear-key", format!("lin_api_{}", text(40))),
        plain("atlassian-token", format!("ATATT3{}", text(180))),
        plain("age-key", format!("AGE-SECRET-KEY-1{}", upper(58))),
        plain("jwt", jwt.clone()),
        plain("private-key", format!("{}\n{}\n{}", key("RSA "), text(64), end("RSA "))),
        // Truncated.
        plain("private-key", format!("{}\n{}\n{}", key(""), text(64), text(40))),
        plain("private-key", format!("{}\\n{}\\n{}", key("EC "), text(64), end("EC "))),
        within("bearer-token", "Authorization: Bearer ", text(32), "\n"),
        within("basic-auth", "Authorization: Basic ", "dXNlcjpwYXNzd29yZA==".to_owned(), "\n"),
        within("url-password", "postgres://user:", "s3cr%21t".to_owned(), "@db:5432/name"),
    ];
    for kind in ["ghp_", "gho_", "ghu_", "ghs_", "ghr_"] {
        all.push(plain("github-token", format!("{kind}{}", text(36))));
    }
    all
}

fn standard_rules_replace_secrets_anywhere_in_an_event(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().set("REDACT", "standard").start();
    let secrets = secrets();
    let events: Vec<Value> = secrets
        .iter()
        .enumerate()
        .map(|(number, (_, text, _))| {
            let mut event = event(&number.to_string());
            event["data"] = json!({ "a": [{ "b": text }, text], "n": 1.5 });
            event["data"][text] = json!("as a name");
            event["more"] = json!([text]);
            event[text] = json!(null);
            event
        })
        .collect();
    server.client.batch(&events).expect(202);

    let stored = workspace.settled(&server);
    for (number, (rule, text, secret)) in secrets.iter().enumerate() {
        let redacted = text.replace(secret, &format!("[redacted:{rule}]"));
        let found = only(&stored, &number.to_string());
        let mut data = json!({ "a": [{ "b": redacted }, redacted], "n": 1.5 });
        data[&redacted] = json!("as a name");
        assert_eq!(found["data"], data, "{rule}");
        let mut extra = json!({ "more": [redacted] });
        extra[&redacted] = json!(null);
        assert_eq!(found["extra"], extra, "{rule}");
        let count = secrets.iter().filter(|(other, ..)| other == rule).count() as u64 * 5;
        let sample = format!("hooks_redacted_total{{rule=\"{rule}\"}}");
        assert_eq!(server.client.metric(&sample), count, "{rule}");
    }
}

#[test]
fn all_endpoints_redact() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().set("REDACT", "standard").start();
    let token = format!("ghp_{}", "aB3d".repeat(9));
    let hook = json!({ "hook_event_name": "PreToolUse", "session_id": "s", "tool_name": "Bash",
        "tool_use_id": "1", "tool_input": { "command": token } });
    server.client.post("/hooks/claude-code", JSON, &[], hook.to_string()).expect(200);
    let deep = format!(
        "{{\"session_id\":\"s\",\"deep\":{}\"{token}\"{}}}",
        "[".repeat(200),
        "]".repeat(200)
    );
    server.client.post("/hooks/auto", JSON, &[], deep).expect(200);
    let emitted = json!({ "agent": "codex", "payload": { "prompt": token } });
    server.client.post("/hooks", NDJSON, &[], emitted.to_string()).expect(202);
    let logs = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [{
        "timeUnixNano": "1795424400000000000", "body": { "stringValue": token },
        "attributes": [{ "key": "k", "value": { "stringValue": token } }] }] }] }] });
    server.client.post("/v1/logs", JSON, &[], logs.to_string()).expect(200);
    let text = std::fs::read_to_string(workspace.file()).expect("the file");
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(!text.contains(&token), "{text}");
    assert!(text.lines().all(|line| line.contains("[redacted:github-token]")), "{text}");
}

/// Each way in, with a token in every string that is stored in a column, in names, and where it makes the event
/// invalid.
#[test]
fn no_column_and_no_copy_has_a_secret() {
    let token = format!("ghp_{}", "aB3d".repeat(9));
    let event = json!({ "event_type": token, "session_id": token, "event_id": token, "workflow_id": token,
        "phase_id": token, "milestone_id": token, "data": { "agent": token, "tool_name": token,
        "tool_use_id": token, "subagent_id": token, "parent_session_id": token }, token.clone(): token });
    let cloud = json!({ "specversion": "1.0", "id": token, "source": token, "type": token, "subject": token,
        "dataschema": format!("https://u:{token}@h/"), "data": { "tool_name": token } });
    let hook = json!({ "hook_event_name": token, "session_id": token, "tool_name": token, "agent_id": token,
        "tool_use_id": token, "cwd": token, "transcript_path": token });
    let text = |key: &str| json!({ "key": key, "value": { "stringValue": token } });
    let attributes = [
        "event.name",
        "session.id",
        "tool_name",
        "call_id",
        "agent_id",
        "gen_ai.agent.name",
        "gen_ai.tool.name",
        "gen_ai.operation.name",
        "gen_ai.conversation.id",
        "parent_session.id",
        &token,
    ]
    .map(text);
    let resource = json!({ "attributes": [text("service.name"), text("host.name")] });
    let scope = json!({ "name": token, "version": token, "attributes": [text("k")] });
    let logs = json!({ "resourceLogs": [{ "resource": resource, "scopeLogs": [{ "scope": scope, "logRecords": [{
        "eventName": token, "severityText": token, "body": { "stringValue": token },
        "attributes": attributes }] }] }] });
    let spans = json!({ "resourceSpans": [{ "resource": resource, "scopeSpans": [{ "scope": scope, "spans": [{
        "name": token, "traceState": token, "attributes": attributes, "status": { "message": token },
        "events": [{ "name": token, "attributes": attributes }] }] }] }] });
    let emitted = json!({ "agent": token, "event": token, "workflow_id": token, "payload": hook });
    let escaped = token.replace('g', "\\u0067");
    let invalid = format!("{{\"event_type\":\"{token}\",\"data\":{{\"{escaped}\":\"{escaped}\"");
    let wrong =
        json!({ "event_type": "t", "session_id": [token], "timestamp": token, token.clone(): 1 });
    let cloud_events = "application/cloudevents+json";
    let cases = [
        ("/events", JSON, event.to_string()),
        ("/events/batch", JSON, json!([event, wrong]).to_string()),
        ("/events/batch", NDJSON, format!("{event}\n{wrong}\n{invalid}\n")),
        ("/events", cloud_events, cloud.to_string()),
        ("/hooks/claude-code", JSON, hook.to_string()),
        ("/hooks/auto", JSON, hook.to_string()),
        ("/hooks/auto", JSON, invalid.clone()),
        ("/hooks", NDJSON, format!("{emitted}\n{invalid}\n")),
        ("/v1/logs", JSON, logs.to_string()),
        ("/v1/logs", JSON, invalid.clone()),
        ("/v1/traces", JSON, spans.to_string()),
        ("/v1/traces", JSON, invalid),
    ];
    for (path, kind, body) in cases {
        let workspace = Workspace::jsonl();
        let server = workspace.server().set("REDACT", "standard").start();
        let headers = [("x-workflow-id", &*token), ("x-phase-id", &token)];
        let answer = server.client.post(path, kind, &headers, &body);
        let file = std::fs::read_to_string(workspace.file()).unwrap_or_default();
        let kept = serde_json::to_string(&workspace.rejected()).expect("JSON");
        let all = format!("{file}{kept}");
        assert!(all.contains("[redacted:github-token]"), "{path} {body}: {answer:?}");
        // Also without its first letter, which can be escaped.
        assert!(!all.contains(&token[1..]), "{path} {body}: {all}");
        assert!(!server.log().contains(&token), "{}", server.log());
    }
}

/// Equal IDs would make one event of two, and one session of two.
#[test]
fn ids_with_different_secrets_stay_different() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().set("REDACT", "standard").start();
    let token = |letter: &str| format!("ghp_{}", letter.repeat(36));
    for (session, id) in [("a", "a"), ("a", "b"), ("b", "a"), ("a", "a")] {
        let mut sent = event(&token(id));
        sent["session_id"] = json!(token(session));
        server.client.event(&sent).expect(202);
    }
    let stored = workspace.events();
    assert_eq!(stored.len(), 3, "{stored:?}");
    for stored in &stored {
        for id in [&stored["session_id"], &stored["event_id"]] {
            assert!(
                id.as_str().is_some_and(|id| id.starts_with("[redacted:github-token]-")),
                "{id}"
            );
        }
    }
}

#[test]
fn escaped_secrets_are_replaced_and_other_bytes_are_unchanged() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().set("REDACT", "standard").start();
    let key = |line_end: &str| {
        format!(
            "-----{} PRIVATE KEY-----{line_end}MIIEvQIBADANBgkqhkiG9w0B{line_end}-----END PRIVATE KEY-----",
            "BEGIN"
        )
    };
    let token = "a".repeat(36);
    let cases = [
        (format!(r"\u0067hp_{token}"), "[redacted:github-token]".to_owned()),
        (format!(r"g\u0068\u0070\u005F{token}"), "[redacted:github-token]".to_owned()),
        (format!(r"ghp_\u0061{}\u00e9", &token[1..]), r"[redacted:github-token]\u00e9".to_owned()),
        (
            format!(r"\ud83e\udd80\ud800 \u00e9\n\/\b ghp_{token}\u0020\udc00é🦀\/"),
            r"\ud83e\udd80\ud800 \u00e9\n\/\b [redacted:github-token]\u0020\udc00é🦀\/".to_owned(),
        ),
        (
            r"ftp:\/\/u:p\/\u0040x:\u0070w@h\/".to_owned(),
            r"ftp:\/\/u:p\/\u0040x:\u0070w@h\/".to_owned(),
        ),
        (r"ftp:\/\/u:\u0070w@h\/".to_owned(), r"ftp:\/\/u:[redacted:url-password]@h\/".to_owned()),
        (key(r"\n"), "[redacted:private-key]".to_owned()),
        (key(r"\r\n"), "[redacted:private-key]".to_owned()),
        (key(r"\\n"), "[redacted:private-key]".to_owned()),
        (key(r"\u000a"), "[redacted:private-key]".to_owned()),
        (
            format!(r"AKIA{}\tghp_{token}ghp_{token}", "B".repeat(16)),
            r"[redacted:aws-access-key-id]\t[redacted:github-token]".to_owned(),
        ),
    ];
    for (number, (sent, _)) in cases.iter().enumerate() {
        let body = format!(
            r#"{{"event_type":"t","session_id":"s","event_id":"{number}","data":{{"n":1.50e0, "{sent}":"{sent}","n":[1]}}}}"#
        );
        server.client.post("/events", JSON, &[], body).expect(202);
    }
    let text = std::fs::read_to_string(workspace.file()).expect("the file");
    assert_eq!(text.lines().count(), cases.len());
    for (line, (_, kept)) in text.lines().zip(&cases) {
        let data = format!(r#""data":{{"n":1.50e0,"{kept}":"{kept}","n":[1]}}"#);
        assert!(line.contains(&data), "{data} in {line}");
    }
}

fn text_that_resembles_a_secret_is_unchanged(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().set("REDACT", "standard").start();
    let texts = [
        "ghp_short, hf_hub_download, npm_config_registry, sk-proj-short, SG.x.y, ASIAN, dapi",
        "Basic authentication, basic training of internationalization, Bearer of bad news",
        "the bearer authentication_and_more is not a token",
        "https://host:8080/path?x=a@b, http://user@host/, file:///tmp/a:b@c, a://b:c d@e",
        "-----BEGIN PRIVATE KEY----- is how such a file begins",
        "-----BEGIN CERTIFICATE-----\nMIIEvQIBADANBgkqhkiG9w0B\n-----END CERTIFICATE-----",
        "eyJhbGciOiJIUzI1NiJ9.not-a-token, [redacted:github-token], xoxb-, AKIAIOSFODNN7",
    ];
    let mut sent = event("1");
    sent["data"] = json!({ "texts": texts });
    server.client.event(&sent).expect(202);
    assert_eq!(only(&workspace.settled(&server), "1")["data"], sent["data"]);
    assert!(!server.client.get("/metrics", &[]).text.contains("hooks_redacted_total{"));
}

fn rejected_events_are_redacted(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().set("REDACT", "standard").start();
    let token = format!("ghp_{}", "a".repeat(36));
    let lines = [
        event("good").to_string(),
        format!(r#"{{"event_type":"t","data":{{"x":"{token}"}}}}"#),
        format!(r#"{{"event_type":"t","session_id":"s","timestamp":"{token}"}}"#),
        format!(r#"{{"event_type":"t","data":"{token}"#),
    ];
    let answer = server.client.post("/events/batch", NDJSON, &[], lines.join("\n")).expect(202);
    assert_eq!(answer.json()["rejected"].as_array().map(Vec::len), Some(3));
    let kept = serde_json::to_string(&workspace.rejected()).expect("JSON");
    assert!(!answer.text.contains(&token) && !kept.contains(&token), "{answer:?} {kept}");
    assert_eq!(workspace.rejected().len(), 3);
    assert_eq!(server.client.metric("hooks_redacted_total{rule=\"github-token\"}"), 3);
}

#[test]
fn redaction_is_off_by_default() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let texts: Vec<String> = secrets().into_iter().map(|(_, text, _)| text).collect();
    let mut sent = event("1");
    sent["data"] = json!({ "texts": texts });
    server.client.event(&sent).expect(202);
    assert_eq!(only(&workspace.events(), "1")["data"], sent["data"]);
}

fn patterns(workspace: &Workspace, text: &str) -> std::path::PathBuf {
    let path = workspace.directory().join("patterns.txt");
    std::fs::write(&path, text).expect("a file");
    path
}

#[test]
fn patterns_file_adds_rules_and_can_include_the_standard_rules() {
    let workspace = Workspace::jsonl();
    let rules =
        "# ours\n\nbadge = \\bB-\\d{4}\\b\npassword = (?i)pass(?:word)? *[=:] *(?P<secret>\\S+)\n";
    let token = format!("ghp_{}", "a".repeat(36));
    for (id, standard, kept) in
        [("own", "", &*token), ("both", "standard\n", "[redacted:github-token]")]
    {
        let windows = format!("\u{feff}{}", format!("{standard}{rules}").replace('\n', "\r\n"));
        let path = patterns(&workspace, if id == "own" { rules } else { &windows });
        let server = workspace.server().set("REDACT", &path).start();
        let mut sent = event(id);
        sent["data"] = json!({ "x": format!("é B-1234 B-12345 Password: p\"w, {token}") });
        server.client.event(&sent).expect(202);
        let expected = format!("é [redacted:badge] B-12345 Password: [redacted:password] {kept}");
        assert_eq!(only(&workspace.events(), id)["data"]["x"], expected);
        assert_eq!(server.client.metric("hooks_redacted_total{rule=\"badge\"}"), 1);
    }
}

#[test]
fn invalid_patterns_file_fails_at_startup_with_the_line_number() {
    let workspace = Workspace::jsonl();
    let refused = |path: &Path| {
        let ended = workspace.server().set("REDACT", path).run();
        assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
        assert!(ended.log.contains("REDACT"), "{}", ended.log);
        ended.log
    };
    for (line, reason) in [
        ("no rule at all", "name = regular expression"),
        ("Upper = x", "lower-case"),
        (" = x", "lower-case"),
        ("a = x(", "unclosed group"),
        ("a = x*", "empty string"),
        ("a = \\b", "empty string"),
        ("a =", "empty string"),
        ("a = \\w{100}\\w{100}", "larger than 1 MiB"),
        ("ok = x", "already in use"),
        ("jwt = x", "already in use"),
        ("a = (?:x{1000}){1000}{1000}", "larger than 1 MiB"),
    ] {
        let log = refused(&patterns(&workspace, &format!("# first\nok = y\n{line}\n")));
        assert!(log.contains("line 3") && log.contains(reason), "{line}: {log}");
    }
    assert!(refused(&patterns(&workspace, "# nothing\n")).contains("no rules"));
    assert!(refused(workspace.directory()).contains("cannot be read"));
}

/// Nested repetitions are slow: this pattern takes far more than the limit for a megabyte.
#[test]
fn strings_are_replaced_unsearched_once_the_patterns_of_the_file_are_too_slow() {
    let workspace = Workspace::jsonl();
    let path = patterns(&workspace, "slow = (?:a{1,40}){1,40}b\nbadge = B-\\d{4}\n");
    let server = workspace.server().set("REDACT", &path).start();
    let mut slow = event("slow");
    slow["data"] = json!({ "a": "B-1234", "b": "a".repeat(1 << 20), "c": "not searched" });
    let mut next = event("next");
    next["data"] = json!({ "a": "not searched" });
    server.client.batch(&[slow, next]).expect(202);
    let mut fast = event("fast");
    fast["data"] = json!({ "x": "aab, B-1234, aaa" });
    server.client.event(&fast).expect(202);
    let stored = workspace.events();
    let data = &only(&stored, "slow")["data"];
    let unsearched = "[redacted:unsearched]";
    // The name, too.
    assert_eq!(*data, json!({ "a": "[redacted:badge]", "b": unsearched, unsearched: unsearched }));
    // The IDs, too, which stay different.
    let next = &stored[1];
    assert!(
        next["event_id"].as_str().is_some_and(|id| id.starts_with(&format!("{unsearched}-"))),
        "{next}"
    );
    assert_eq!(next["data"], json!({ unsearched: unsearched }));
    let data = &only(&stored, "fast")["data"];
    assert_eq!(data["x"], "[redacted:slow], [redacted:badge], aaa");
    assert!(server.client.metric("hooks_redacted_total{rule=\"unsearched\"}") >= 2);
}

/// Long strings are searched in windows, at whose edges no match is lost or made up.
#[test]
fn patterns_of_the_file_match_anywhere_in_a_long_string() {
    let workspace = Workspace::jsonl();
    let path = patterns(&workspace, "badge = \\bB-\\d{4,}\\b\nblock = <[^<>]*>\n");
    let server = workspace.server().set("REDACT", &path).start();
    let mut sent = event("1");
    let mut text = String::new();
    let mut expected = String::new();
    for number in 0..4000 {
        let block = format!("<{}>", "é".repeat(number % 50));
        writeln!(text, "{number} B-12345 B-123 {block} xB-1234").expect("memory");
        writeln!(expected, "{number} [redacted:badge] B-123 [redacted:block] xB-1234")
            .expect("memory");
    }
    sent["data"] = json!({ "x": text });
    server.client.event(&sent).expect(202);
    assert!(only(&workspace.events(), "1")["data"]["x"] == expected);
}
