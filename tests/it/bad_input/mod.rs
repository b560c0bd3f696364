//! Invalid and unusual input over HTTP. Every case is sent to a server with each storage, which must respond as
//! expected, store exactly what is expected, and accept the next valid event.
//!
//! The results are the table in `docs/bad-input.md`; `HOOKS_WRITE_TABLE=1 cargo test --test it bad_input` updates it.

mod bodies;
mod fields;
mod requests;

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::harness::workspace::forwarded;
use crate::harness::{Client, Server, Storage, Workspace, event};

both!(every_case_has_the_expected_response);

/// Placeholder in bodies for the case's event ID.
const ID: &str = "@ID";

/// Limits, low so that cases can reach them.
const BODY_BYTES_MAX: usize = 64 << 10;
const BATCH_EVENTS_MAX: usize = 20;

/// Number of concurrent senders.
const SENDERS: usize = 8;

/// One request.
struct Case {
    class: &'static str,
    head: String,
    body: Vec<u8>,
    expect: Expect,
}

/// The expected result.
enum Expect {
    /// One of these statuses, with this text in the response. Nothing is stored.
    Refused(&'static [u16], String),
    /// 202, without an event.
    Nothing,
    /// 202. The event with the case's ID is stored, with at least these members.
    Stored(Value),
    /// Like `Stored`, with other members in PostgreSQL.
    StoredAs { jsonl: Value, postgres: Value },
    /// 202. Stored in JSON Lines, and set aside with PostgreSQL.
    SetAside,
    /// 202. The event is stored, and those at these positions of the batch are rejected.
    Partly(Vec<usize>),
    /// The connection is closed without a response, or with one of status 400 or higher. Nothing is stored.
    Closed,
}

impl Case {
    fn new(class: &'static str, head: &str, body: impl AsRef<[u8]>, expect: Expect) -> Self {
        Self { class, head: head.to_owned(), body: body.as_ref().to_vec(), expect }
    }

    /// JSON to `/events`.
    fn one(class: &'static str, body: impl AsRef<[u8]>, expect: Expect) -> Self {
        Self::new(class, "POST /events\ncontent-type: application/json", body, expect)
    }

    /// JSON to `/events/batch`.
    fn batch(class: &'static str, body: impl AsRef<[u8]>, expect: Expect) -> Self {
        Self::new(class, "POST /events/batch\ncontent-type: application/json", body, expect)
    }

    /// NDJSON.
    fn lines(class: &'static str, body: impl AsRef<[u8]>, expect: Expect) -> Self {
        Self::new(class, "POST /events/batch\ncontent-type: application/x-ndjson", body, expect)
    }

    /// The bytes to send. A head with `HTTP/` is sent as it is.
    fn request(&self, id: &str) -> Vec<u8> {
        let body = replace(&self.body, ID.as_bytes(), id.as_bytes());
        let mut request = self.head.replace(ID, id);
        if !request.contains("HTTP/") {
            let (line, headers) = request.split_once('\n').unwrap_or((&request, ""));
            let headers: String = headers.lines().map(|line| line.to_owned() + "\r\n").collect();
            let length = body.len();
            request = format!(
                "{line} HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: {length}\r\n\
                 connection: close\r\n\r\n"
            );
        }
        [request.into_bytes(), body].concat()
    }
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut copied = 0;
    for at in memchr::memmem::find_iter(bytes, from) {
        out.extend_from_slice(&bytes[copied..at]);
        out.extend_from_slice(to);
        copied = at + from.len();
    }
    out.extend_from_slice(&bytes[copied..]);
    out
}

/// An event with the case's ID and this member, as raw JSON.
fn with(field: &str, raw: &str) -> String {
    let mut members = vec![
        ("event_type", "\"tested\"".to_owned()),
        ("session_id", "\"session-1\"".to_owned()),
        ("event_id", format!("\"{ID}\"")),
    ];
    members.retain(|(name, _)| *name != field);
    let members: Vec<String> = members
        .iter()
        .map(|(name, raw)| format!("\"{name}\":{raw}"))
        .chain((!field.is_empty()).then(|| format!("\"{field}\":{raw}")))
        .collect();
    format!("{{{}}}", members.join(","))
}

/// A valid event with the case's ID.
fn good() -> String {
    with("", "")
}

fn refused(status: &'static [u16], said: &str) -> Expect {
    Expect::Refused(status, said.to_owned())
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    bodies::add(&mut cases);
    fields::add(&mut cases);
    requests::add(&mut cases);
    cases
}

fn every_case_has_the_expected_response(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace
        .server()
        .set("MAX_BODY_BYTES", BODY_BYTES_MAX.to_string())
        .set("MAX_BATCH_EVENTS", BATCH_EVENTS_MAX.to_string())
        // Some bodies are never completed.
        .set("BODY_TIMEOUT", "5s")
        .start();
    let cases = cases();
    let mut wrong = Vec::new();
    let part = cases.len().div_ceil(SENDERS);
    std::thread::scope(|scope| {
        let senders = cases.chunks(part).enumerate().map(|(at, cases)| {
            let server = &server;
            scope.spawn(move || send_all(server, cases, at * part))
        });
        let senders: Vec<_> = senders.collect();
        for sender in senders {
            wrong.extend(sender.join().expect("a sender does not fail"));
        }
    });
    let stored = stored(&workspace, &server);
    let rejected = std::fs::read_to_string(workspace.rejected_file()).unwrap_or_default();
    let mut expected = cases.len();
    for (number, case) in cases.iter().enumerate() {
        assert!(stored.contains_key(&format!("good-{number}")), "after {}", excerpt(case));
        let found = stored.get(&format!("case-{number}"));
        expected += usize::from(found.is_some());
        if let Err(error) = check_stored(case, storage, found, &rejected, number) {
            wrong.push(format!("{}: {error}\n   {}", case.class, excerpt(case)));
        }
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(stored.len(), expected, "unexpected events");
    assert!(cases.len() >= 300, "{}", cases.len());
    check_table(&cases);
}

/// Sends cases, numbered from `first`, and after each a valid event on a persistent connection. Returns the
/// failures.
fn send_all(server: &Server, cases: &[Case], first: usize) -> Vec<String> {
    let client = Client::keep_alive(server.client.address);
    let mut wrong = Vec::new();
    for (number, case) in (first..).zip(cases) {
        let unfinished = matches!(case.expect, Expect::Closed);
        let answer = send(server, &case.request(&format!("case-{number}")), unfinished);
        if let Err(error) = check_answer(case, &answer) {
            wrong.push(format!("{}: {error}\n   {}", case.class, excerpt(case)));
        }
        client.event(&event(&format!("good-{number}"))).expect(202);
    }
    wrong
}

/// Sends a request and returns the response. An unfinished request is followed by the end of the stream.
fn send(server: &Server, request: &[u8], unfinished: bool) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(server.client.address).expect("a connection");
    stream.set_read_timeout(Some(std::time::Duration::from_mins(1))).expect("a timeout");
    // The server may close the connection before it has read everything.
    let _ = stream.write_all(request);
    if unfinished {
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn check_answer(case: &Case, answer: &str) -> Result<(), String> {
    let status = answer.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let wrong = |what: &str| Err(format!("{what}: {answer:?}"));
    let (statuses, said): (&[u16], &str) = match &case.expect {
        Expect::Closed => {
            return if status.is_none_or(|status| status >= 400) {
                Ok(())
            } else {
                wrong("not rejected")
            };
        }
        Expect::Refused(statuses, said) => (statuses, said),
        _ => (&[202], ""),
    };
    let Some(status) = status.filter(|status| statuses.contains(status)) else {
        return wrong(&format!("expected {statuses:?}"));
    };
    if status < 400 {
        let answer: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
        let accepted = u64::from(!matches!(case.expect, Expect::Nothing));
        let places = match &case.expect {
            Expect::Partly(places) => places.clone(),
            _ => Vec::new(),
        };
        let rejected = answer["rejected"].as_array().cloned().unwrap_or_default();
        let rejected: Vec<_> = rejected.iter().map(|rejected| rejected["index"].clone()).collect();
        if answer["accepted"] != accepted || json!(rejected) != json!(places) {
            return wrong("other events accepted");
        }
        return Ok(());
    }
    // A response to HEAD has no body.
    if case.head.starts_with("HEAD") {
        return Ok(());
    }
    let problem: Value = serde_json::from_str(body).unwrap_or_default();
    let detail = problem["detail"].as_str().unwrap_or_default();
    if !head.contains("application/problem+json") || problem["status"] != status {
        return wrong("no problem document");
    }
    if detail.is_empty() || !detail.contains(said) {
        wrong(&format!("{said:?} not said"))
    } else {
        Ok(())
    }
}

fn check_stored(
    case: &Case,
    storage: Storage,
    found: Option<&Value>,
    rejected: &str,
    number: usize,
) -> Result<(), String> {
    let fields = match (&case.expect, storage) {
        (Expect::Refused(..) | Expect::Nothing | Expect::Closed, _) => None,
        (Expect::Stored(fields), _)
        | (Expect::StoredAs { jsonl: fields, .. }, Storage::Jsonl)
        | (Expect::StoredAs { postgres: fields, .. }, Storage::Postgres) => Some(fields.clone()),
        (Expect::SetAside, Storage::Postgres) => {
            let kept = rejected.contains(&format!("\"event_id\":\"case-{number}\""));
            return if found.is_none() && kept { Ok(()) } else { Err("not set aside".to_owned()) };
        }
        (Expect::SetAside | Expect::Partly(_), _) => Some(json!({})),
    };
    match (fields, found) {
        (None, None) => Ok(()),
        (None, Some(found)) => Err(format!("stored: {found}")),
        (Some(_), None) => Err("not stored".to_owned()),
        (Some(fields), Some(found)) => {
            let members = fields.as_object().into_iter().flatten();
            let differs = |(name, value): &(&String, &Value)| &found[name] != *value;
            match members.into_iter().find(differs) {
                None => Ok(()),
                Some((name, value)) => Err(format!("{name} is {}, not {value}", found[name])),
            }
        }
    }
}

/// Returns the stored events by ID.
fn stored(workspace: &Workspace, server: &Server) -> BTreeMap<String, Value> {
    let lines: Vec<String> = if workspace.file().exists() {
        let text = std::fs::read_to_string(workspace.file()).expect("the file");
        text.lines().map(str::to_owned).collect()
    } else {
        forwarded(server);
        workspace.database().query(
            "SELECT json_build_object('event_id', event_id, 'event_type', event_type, 'session_id',
             session_id, 'workflow_id', workflow_id, 'phase_id', phase_id, 'milestone_id', milestone_id,
             'data', data, 'extra', extra, 'duration_ms', duration_ms, 'agent', agent,
             'tool_name', tool_name, 'tool_use_id', tool_use_id, 'timestamp',
             to_char(timestamp AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'))::text
             FROM hook_events",
        )
    };
    lines
        .iter()
        .map(|line| {
            // Not every number fits a `serde_json` number.
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(line).expect("a line");
            let value = |raw: &RawValue| {
                serde_json::from_str(raw.get()).unwrap_or_else(|_| json!(raw.get()))
            };
            let event: Value = members.into_iter().map(|(name, raw)| (name, value(raw))).collect();
            let id = event["event_id"].as_str().expect("an id").to_owned();
            // A case that tests the event ID has its own ID in another field.
            let id = event["phase_id"]
                .as_str()
                .filter(|id| id.starts_with("case-"))
                .unwrap_or(&id)
                .to_owned();
            (id, event)
        })
        .collect()
}

fn excerpt(case: &Case) -> String {
    let body: String = String::from_utf8_lossy(&case.body).chars().take(160).collect();
    let head: String = case.head.chars().take(160).collect();
    format!("{head:?} {body:?}")
}

/// Checks that the table in the documentation is that of these cases.
fn check_table(cases: &[Case]) {
    let mut classes: Vec<(&str, BTreeMap<String, usize>)> = Vec::new();
    for case in cases {
        let what = match &case.expect {
            Expect::Refused(statuses, _) => {
                statuses.iter().map(u16::to_string).collect::<Vec<_>>().join(" or ")
            }
            Expect::Nothing => "202, no event".to_owned(),
            Expect::Stored(_) => "202, stored".to_owned(),
            Expect::StoredAs { .. } => {
                "202, stored; in PostgreSQL in a form that it can hold".to_owned()
            }
            Expect::SetAside => "202, stored; set aside by PostgreSQL".to_owned(),
            Expect::Partly(_) => "202, the good ones stored, the others named".to_owned(),
            Expect::Closed => "closed, or 4xx".to_owned(),
        };
        if classes.last().is_none_or(|(class, _)| *class != case.class) {
            classes.push((case.class, BTreeMap::new()));
        }
        if let Some((_, counts)) = classes.last_mut() {
            *counts.entry(what).or_default() += 1;
        }
    }
    let mut table = vec!["| class | cases | what happens |\n|---|---|---|\n".to_owned()];
    for (class, counts) in &classes {
        let total: usize = counts.values().sum();
        let what: Vec<String> =
            counts.iter().map(|(what, count)| format!("{what} ({count})")).collect();
        table.push(format!("| {class} | {total} | {} |\n", what.join("; ")));
    }
    table.push(format!("| **all** | **{}** | |\n", cases.len()));
    let table = table.concat();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/bad-input.md");
    let page = std::fs::read_to_string(path).expect("the page");
    let (before, rest) = page.split_once("<!-- table -->\n").expect("where the table begins");
    let (_, after) = rest.split_once("<!-- end -->\n").expect("where it ends");
    let page_now = format!("{before}<!-- table -->\n{table}<!-- end -->\n{after}");
    if std::env::var_os("HOOKS_WRITE_TABLE").is_some() {
        std::fs::write(path, page_now).expect("the page can be written");
    } else {
        assert_eq!(page, page_now, "HOOKS_WRITE_TABLE=1 cargo test --test it bad_input writes it");
    }
}
