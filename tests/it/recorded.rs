//! Payloads recorded from real agents by `scripts/try-agents --record` become the expected events.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::client::JSON;
use crate::harness::{Server, Storage, Workspace};

both!(recorded_payloads_become_the_expected_events);

/// A recorded payload, and the expectation in the file beside it.
struct Recorded {
    name: String,
    agent: String,
    payload: Value,
    expected: Value,
}

fn read(path: &Path) -> Value {
    let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn files_in(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

fn all_recorded() -> Vec<Recorded> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/payloads/recorded");
    let mut all = Vec::new();
    for agent in files_in(&directory) {
        for path in files_in(&agent) {
            let file = path.file_name().expect("a name").to_string_lossy().into_owned();
            let Some(name) = file.strip_suffix(".expected.json") else { continue };
            let agent = agent.file_name().expect("a name").to_string_lossy().into_owned();
            all.push(Recorded {
                name: format!("{agent}/{name}"),
                payload: read(&path.with_file_name(format!("{name}.json"))),
                expected: read(&path),
                agent,
            });
        }
    }
    all
}

/// Sends each payload to the agent's endpoint, and another one to `auto`.
fn recorded_payloads_become_the_expected_events(storage: Storage) {
    let all = all_recorded();
    assert!(all.len() > 60, "only {} payloads in tests/payloads/recorded", all.len());
    for automatic in [false, true] {
        let workspace = Workspace::new(storage);
        let server = workspace.server().start();
        let refused = all.iter().filter_map(|recorded| send(&server, recorded, automatic));
        let mut wrong: Vec<String> = refused.collect();
        let stored = workspace.settled(&server);
        wrong.extend(all.iter().flat_map(|recorded| differences(recorded, &stored)));
        assert!(
            wrong.is_empty(),
            "{} differences (detected automatically: {automatic}):\n{}",
            wrong.len(),
            wrong.join("\n")
        );
        // A payload can report further events, whose data is a part of it.
        let is_recorded = |data: &Value| all.iter().any(|recorded| recorded.payload == *data);
        let of_payloads = stored.iter().filter(|event| is_recorded(&event["data"])).count();
        assert_eq!(of_payloads, all.len());
    }
}

/// Sends a payload; returns what is wrong with the response.
fn send(server: &Server, recorded: &Recorded, automatic: bool) -> Option<String> {
    let agent = if automatic { "auto" } else { &recorded.agent };
    let default = format!("/hooks/{}", recorded.agent);
    let path = recorded.expected["path"].as_str().unwrap_or(&default);
    let path = path.replacen(&recorded.agent, agent, 1);
    let response = server.client.post(&path, JSON, &[], recorded.payload.to_string());
    let accepted = (200..300).contains(&response.status);
    (!accepted).then(|| format!("{}: status {}", recorded.name, response.status))
}

/// The fields of the stored event that are not as expected.
fn differences(recorded: &Recorded, stored: &[Value]) -> Vec<String> {
    let Some(event) = stored.iter().find(|event| event["data"] == recorded.payload) else {
        return vec![format!("{}: not stored", recorded.name)];
    };
    let expected = recorded.expected["stored"].as_object().expect("fields");
    let wrong = expected.iter().filter(|(field, value)| event[field.as_str()] != **value);
    wrong
        .map(|(field, value)| {
            format!("{}: {field} is {}, not {value}", recorded.name, event[field.as_str()])
        })
        .collect()
}
