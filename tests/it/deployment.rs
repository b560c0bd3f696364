//! The files in `deploy/` and `compose.yaml`: what they promise, read as their users parse them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::Workspace;

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

/// Parses a file with Python, and returns it as JSON.
fn parse(module: &str, parser: &str, file: &str) -> Value {
    let program = format!(
        "import json, sys, {module}; json.dump({parser}(open(sys.argv[1], 'rb')), sys.stdout)"
    );
    let mut command = Command::new("/usr/bin/python3");
    let output = command
        .args(["-c", &program])
        .arg(path(file))
        .output()
        .expect("Python is installed; see scripts/test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn compose_requires_secrets_and_confines_the_service() {
    let compose = parse("yaml", "yaml.safe_load", "compose.yaml");
    let (service, database) =
        (&compose["services"]["hooks-backend"], &compose["services"]["postgres"]);
    assert_eq!(service["read_only"], true);
    assert_eq!(service["cap_drop"], json!(["ALL"]));
    for one in [service, database] {
        assert_eq!(one["security_opt"], json!(["no-new-privileges:true"]));
    }
    assert!(database["healthcheck"]["test"].to_string().contains("pg_isready"), "{database}");
    for (value, secret) in [
        (&service["environment"]["DATABASE_URL"], "${POSTGRES_PASSWORD:?"),
        (&database["environment"]["POSTGRES_PASSWORD"], "${POSTGRES_PASSWORD:?"),
        (&service["environment"]["API_KEYS"], "${API_KEY:?"),
        (&service["environment"]["HOOKS_API_KEY"], "${API_KEY:?"),
    ] {
        assert!(value.as_str().is_some_and(|value| value.contains(secret)), "{secret}: {value}");
    }
    let ports = service["ports"].as_array().expect("ports");
    assert!(
        ports.iter().all(|port| port.as_str().is_some_and(|port| port.starts_with("127.0.0.1:")))
    );
}

#[test]
fn pods_match_the_image_and_the_server() {
    let set = parse("yaml", "yaml.safe_load", "deploy/kubernetes/base/statefulset.yaml");
    let pod = &set["spec"]["template"]["spec"];
    let dockerfile = std::fs::read_to_string(path("Dockerfile")).expect("a file");
    let (user, group) =
        (&pod["securityContext"]["runAsUser"], &pod["securityContext"]["runAsGroup"]);
    assert!(dockerfile.contains(&format!("\nUSER {user}:{group}\n")), "{user}:{group}");
    // SHUTDOWN_DELAY and three times SHUTDOWN_TIMEOUT.
    assert!(pod["terminationGracePeriodSeconds"].as_u64() > Some(36), "{pod}");
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    for probe in ["livenessProbe", "readinessProbe"] {
        let endpoint = pod["containers"][0][probe]["httpGet"]["path"].as_str().expect("a path");
        server.client.get(endpoint, &[]).expect(200);
    }
}

#[test]
fn rule_of_kubernetes_has_the_alerts_of_prometheus() {
    let rule = parse("yaml", "yaml.safe_load", "deploy/kubernetes/monitoring/prometheusrule.yaml");
    let alerts = parse("yaml", "yaml.safe_load", "deploy/prometheus/alerts.yaml");
    assert_eq!(rule["spec"], alerts);
}

#[test]
fn launchd_restarts_the_server_and_waits_for_its_end() {
    let job = parse("plistlib", "plistlib.load", "deploy/launchd/hooks-backend.plist");
    assert_eq!((&job["RunAtLoad"], &job["KeepAlive"]), (&json!(true), &json!(true)));
    assert!(job["ExitTimeOut"].as_u64() > Some(36), "{job}");
    assert_eq!(job["Umask"], 0o077);
}
