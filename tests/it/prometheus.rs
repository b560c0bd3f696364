//! Metrics as real Prometheus programs read them, and the negotiation of their format.

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::client::JSON;
use crate::harness::eventually::when;
use crate::harness::reaper::Process;
use crate::harness::{Client, Server, Storage, Workspace, event, eventually};

both!(
    promtool_has_no_complaints,
    prometheus_scrapes_open_metrics,
    metrics_of_the_other_storage_are_absent,
);

const OPEN_METRICS: &str = "application/openmetrics-text";

/// The header of Prometheus 3.
const PROMETHEUS_3: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                            application/openmetrics-text;version=0.0.1;q=0.5,\
                            text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

fn program(name: &str) -> PathBuf {
    let path = Path::new("/usr/bin").join(name);
    assert!(path.exists(), "{name} is not installed; see scripts/test");
    path
}

/// A server in whose metrics most families have samples.
fn used(storage: Storage) -> (Workspace, Server) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().ready().start();
    server.client.batch(&[event("1"), event("1"), json!({})]).expect(202);
    server.client.get("/events?unknown=1", &[]).expect(422);
    workspace.settled(&server);
    (workspace, server)
}

fn promtool_has_no_complaints(storage: Storage) {
    let (_workspace, server) = used(storage);
    let metrics = server.client.get("/metrics", &[]).expect(200).text;
    let mut check = Command::new(program("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    check.stdin.take().expect("a pipe").write_all(metrics.as_bytes()).expect("promtool reads");
    let output = check.wait_with_output().expect("promtool ends");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{complaints}");
}

fn prometheus_scrapes_open_metrics(storage: Storage) {
    let (workspace, server) = used(storage);
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let address = free.expect("a free port");
    let configuration = workspace.directory().join("prometheus.yml");
    let target = server.client.address;
    let text = format!(
        "scrape_configs:
- job_name: hooks
  scrape_interval: 5s
  scrape_timeout: 5s
  static_configs: [{{ targets: ['{target}'] }}]
"
    );
    std::fs::write(&configuration, text).expect("a file");
    let data = workspace.directory().join("prometheus");
    let _prometheus = Process::spawn(&program("prometheus"), Signal::KILL, |command| {
        command
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg(format!("--web.listen-address={address}"))
            .current_dir(workspace.directory())
            .stderr(Stdio::null());
    });
    let prometheus = Client::new(address);
    let query = |path: &str| match prometheus.send("GET", path, &[], b"") {
        Ok(response) if response.status == 200 => response.json()["data"].clone(),
        _ => json!(null),
    };
    let target = eventually("the server is scraped", || {
        let targets = query("/api/v1/targets");
        let target = targets["activeTargets"][0].clone();
        when(target, |target| matches!(target["health"].as_str(), Some("up" | "down")))
    });
    assert_eq!((&target["health"], &target["lastError"]), (&json!("up"), &json!("")));
    for (sample, value) in [
        ("hooks_events_received_total", "3"),
        ("hooks_build_info", "1"),
        ("hooks_batch_events_bucket{le=\"5.0\"}", "1"),
        ("hooks_batch_events_sum", "3"),
        ("hooks_batch_events_count", "1"),
        ("hooks_events_duplicate_total{reason=\"window\"}", "1"),
    ] {
        let path = format!("/api/v1/query?query={}", percent_encode(sample));
        let found = eventually("the sample is stored", || {
            when(query(&path), |data| data["result"][0].is_object())
        });
        assert_eq!(found["result"][0]["value"][1], value, "{sample}: {found}");
    }
    // Units are only in the OpenMetrics format.
    let metadata = query("/api/v1/metadata?metric=hooks_journal_sync_seconds");
    let metadata = &metadata["hooks_journal_sync_seconds"][0];
    assert_eq!((&metadata["type"], &metadata["unit"]), (&json!("histogram"), &json!("seconds")));
}

fn percent_encode(text: &str) -> String {
    text.bytes().fold(String::new(), |encoded, byte| encoded + &format!("%{byte:02x}"))
}

fn metrics_of_the_other_storage_are_absent(storage: Storage) {
    let (_workspace, server) = used(storage);
    let of_postgres = [
        "hooks_journal_bytes",
        "hooks_journal_waiting_bytes",
        "hooks_journal_max_bytes",
        "hooks_journal_segments",
        "hooks_journal_missing_bytes_total",
        "hooks_forwarder_lag_events",
        "hooks_forwarder_lag_seconds",
        "hooks_database_up",
        "hooks_database_problem",
    ];
    let of_jsonl = ["hooks_index_lag_bytes", "hooks_index_up"];
    let (present, absent): (&[&str], &[&str]) = match storage {
        Storage::Jsonl => (&of_jsonl, &of_postgres),
        Storage::Postgres => (&of_postgres, &of_jsonl),
    };
    for accept in ["text/plain", OPEN_METRICS] {
        let text = server.client.get("/metrics", &[("accept", accept)]).expect(200).text;
        let has = |name: &str| text.lines().any(|line| line.starts_with(name));
        for name in present {
            assert!(has(name), "{name} is not in {text}");
        }
        for name in absent {
            assert!(!text.contains(name), "{name} is in {text}");
        }
    }
}

/// Runs `promtool` in the directory of the alerts; returns what it prints.
fn promtool(arguments: &[&str]) -> String {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus");
    let mut command = Command::new(program("promtool"));
    let output = command.args(arguments).current_dir(directory).output().expect("promtool runs");
    let [out, errors] =
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("text"));
    assert!(output.status.success(), "{out}{errors}");
    out
}

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{error}: {}", path.display()))
}

#[test]
fn each_alert_is_valid_and_has_tests_and_a_section() {
    promtool(&["check", "rules", "alerts.yaml"]);
    promtool(&["test", "rules", "alerts.test.yaml"]);
    let (rules, tests) =
        (file("deploy/prometheus/alerts.yaml"), file("deploy/prometheus/alerts.test.yaml"));
    let after = |text: &str, prefix: &str| -> Vec<String> {
        text.lines()
            .filter_map(|line| line.trim().strip_prefix(prefix))
            .map(str::to_owned)
            .collect()
    };
    let alerts = after(&rules, "- alert: ");
    assert_eq!(after(&file("docs/alerts.md"), "## "), alerts);
    for alert in &alerts {
        for kind in ["quiet", "firing"] {
            assert!(tests.contains(&format!("- name: {alert}, {kind}\n")), "{alert}, {kind}");
        }
        let runbook = format!("runbook: docs/alerts.md#{}\n", alert.to_lowercase());
        assert!(rules.contains(&runbook), "{runbook}");
    }
}

#[test]
fn alerts_use_metrics_that_a_new_server_has() {
    let metrics = [Storage::Jsonl, Storage::Postgres].map(|storage| {
        let workspace = Workspace::new(storage);
        let server = workspace.server().ready().start();
        server.client.get("/metrics", &[]).expect(200).text
    });
    let rules = file("deploy/prometheus/alerts.yaml");
    let is_part = |character: char| character.is_ascii_lowercase() || character == '_';
    let names: Vec<_> = rules
        .split(|character| !is_part(character))
        .filter(|name| name.starts_with("hooks_"))
        .collect();
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        let is_sample =
            |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        let is_there = metrics.iter().any(|text| text.lines().any(is_sample));
        assert!(is_there, "{name} is not in {metrics:?}");
    }
    for label in ["reason=\"store\"", "reason=\"damaged\"", "limit=\"MAX_CONNECTIONS\""] {
        assert!(metrics.iter().all(|text| text.contains(label)), "{label}");
    }
}

#[test]
fn panels_of_grafana_have_descriptions_and_valid_expressions_of_real_metrics() {
    let dashboard: Value =
        serde_json::from_str(&file("deploy/grafana/hooks-backend.json")).expect("JSON");
    let all = dashboard["panels"].as_array().expect("panels");
    let panels: Vec<_> = all.iter().filter(|panel| panel["type"] != "row").collect();
    assert!(panels.len() > 15, "{dashboard}");
    let mut rules = Vec::new();
    for panel in panels {
        assert_ne!(panel["description"].as_str().unwrap_or_default(), "", "{panel}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
        for target in panel["targets"].as_array().expect("targets") {
            let expression = target["expr"].as_str().expect("text");
            assert!(expression.contains("{job=~\"$job\",instance=~\"$instance\""), "{expression}");
            let expression = expression.replace("$__rate_interval", "5m");
            rules.push(json!({ "record": format!("panel:{}", rules.len()), "expr": expression }));
        }
    }
    let used = [Storage::Jsonl, Storage::Postgres].map(used);
    let metrics: String = used
        .iter()
        .map(|(_, server)| server.client.get("/metrics", &[]).expect(200).text)
        .collect();
    let text = json!({ "groups": [{ "name": "panels", "rules": rules }] }).to_string();
    // A JSON document is a YAML document.
    let generated = used[0].0.directory().join("panels.yaml");
    std::fs::write(&generated, &text).expect("a file");
    promtool(&["check", "rules", generated.to_str().expect("text")]);
    let is_part = |character: char| character.is_ascii_lowercase() || character == '_';
    for name in text.split(|character| !is_part(character)).filter(|n| n.starts_with("hooks_")) {
        let is_there =
            |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        assert!(metrics.lines().any(is_there), "{name} is not in {metrics}");
    }
}

#[test]
fn format_is_the_one_that_accept_prefers() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let text = "text/plain; version=0.0.4; charset=utf-8";
    let open_metrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    for (accept, expected) in [
        ("", text),
        ("*/*", text),
        ("text/html, */*;q=0.8", text),
        ("image/png", text),
        (JSON, JSON),
        ("application/json;q=0.1, text/plain", text),
        ("text/plain;q=0.1, application/json;q=0.2", JSON),
        ("application/json;q=0", text),
        ("text/plain;q=0, */*;q=0.5, application/json", JSON),
        ("application/*", JSON),
        ("application/problem+json, application/json;q=0.9", JSON),
        (PROMETHEUS_3, open_metrics),
        ("application/openmetrics-text;version=0.0.1", text),
        ("application/openmetrics-text; version=1.0.0; q=0.2, text/plain;q=0.3", text),
        (OPEN_METRICS, open_metrics),
        ("text/plain;version=1.0.0;q=0.4, text/plain;version=0.0.4;q=0.3, */*;q=0.2", text),
    ] {
        let response = server.client.get("/metrics", &[("accept", accept)]).expect(200);
        assert_eq!(response.header("content-type"), expected, "{accept}");
        assert_eq!(response.header("vary"), "accept", "{accept}");
        // The path of the Prometheus format has no JSON.
        let response = server.client.get("/metrics/prometheus", &[("accept", accept)]).expect(200);
        let expected = match expected {
            JSON if accept.contains('*') => open_metrics,
            JSON => text,
            expected => expected,
        };
        assert_eq!(response.header("content-type"), expected, "{accept}");
    }
    for accept in ["", "*/*;q=0", "text/html", "application/json", "application/problem+json;q=0"] {
        for path in ["/no-such-path", "/events?unknown=1", "/sessions/none"] {
            let response = server.client.get(path, &[("accept", accept)]);
            assert_eq!(response.header("content-type"), "application/problem+json", "{response:?}");
        }
    }
}

#[test]
fn open_metrics_text_follows_the_rules_of_the_format() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    server.client.event(&event("1")).expect(202);
    let text = server.client.get("/metrics", &[("accept", OPEN_METRICS)]).expect(200).text;
    for lines in [
        "# TYPE hooks_build info\n# HELP hooks_build ",
        "\nhooks_build_info{storage=\"jsonl\",version=\"",
        "# TYPE hooks_events_received counter\n# HELP hooks_events_received ",
        "\nhooks_events_received_total 1\n",
        "# TYPE hooks_ack_seconds histogram\n# UNIT hooks_ack_seconds seconds\n# HELP hooks_ack_seconds ",
        "\nhooks_ack_seconds_bucket{le=\"0.0002\"} ",
        "\nhooks_ack_seconds_bucket{le=\"1.0\"} 1\n",
        "\nhooks_ack_seconds_bucket{le=\"+Inf\"} 1\nhooks_ack_seconds_sum ",
        "\nhooks_http_requests_total{route=\"/events\",status=\"202\"} 1\n",
        "# TYPE hooks_index_lag_bytes gauge\n# UNIT hooks_index_lag_bytes bytes\n",
    ] {
        assert!(text.contains(lines), "{lines:?} is not in {text}");
    }
    assert!(text.ends_with("\n# EOF\n"), "{text}");
    assert!(!text.contains("\n\n") && !text.contains('\r'), "{text}");
}
