//! One corpus of odd values, in every way in and every way out. An event is the same whichever way it came,
//! and is shown the same whichever way it is read.
//!
//! What depends on a way, because it cannot be otherwise, is in [`ways_in::WayIn::expect`]: attributes of
//! OpenTelemetry hold numbers of 64 bits. PostgreSQL and CSV hold no NUL.

mod csv;
mod forms;
mod json;
mod otlp;
mod values;
mod ways_in;
mod ways_out;

use std::collections::BTreeMap;

use values::{OddValue, values};
use ways_in::{ExpectedEvent, LAST, Place, WAYS_IN, WayIn};
use ways_out::{Table, differences};

use crate::harness::{Storage, Workspace};

both!(every_value_is_the_same_in_every_way_out);

/// Maximum nesting of `data` (`MAX_DEPTH`).
const DEPTH_MAX: usize = 120;

/// Maximum number of differences that are shown.
const SHOWN_MAX: usize = 60;

fn every_value_is_the_same_in_every_way_out(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().ready().start();
    let at = Place { workspace: &workspace, server: &server };
    let begin = at.position();
    let mut values = values();
    if storage == Storage::Postgres {
        values = values.into_iter().map(OddValue::without_nul).collect();
    }
    let ways: Vec<_> = WAYS_IN.into_iter().filter(|way| way.exists_in(storage)).collect();
    let cases: Vec<Vec<(String, &OddValue)>> = (0..ways.len())
        .map(|way| {
            let cases = values.iter().enumerate();
            let cases = cases.map(|(at, value)| (format!("{way}-{at}"), value));
            // A process each.
            cases.step_by(if ways[way] == WayIn::Emit { 4 } else { 1 }).collect()
        })
        .collect();
    std::thread::scope(|scope| {
        for (way, cases) in ways.iter().zip(&cases) {
            let at = &at;
            scope.spawn(move || way.send(at, cases));
        }
    });
    let mut expected = BTreeMap::new();
    for (way, cases) in ways.iter().zip(&cases) {
        for (session, value) in cases {
            if let Some(event) = way.expect(session, value) {
                expected.insert(session.clone(), (format!("{way:?}"), value.name.clone(), event));
            }
        }
    }
    if storage == Storage::Postgres {
        crate::harness::workspace::forwarded(&server);
    }
    ways_in::settle(&server);
    // A request each, so of each way a fifth of the values, and of each value a fifth of the ways.
    let sessions: Vec<&String> = cases
        .iter()
        .enumerate()
        .flat_map(|(way, cases)| cases.iter().skip(way % 5).step_by(5))
        .map(|(session, _)| session)
        .filter(|session| expected.contains_key(*session))
        .collect();
    let mut tables = vec![
        ("GET /events", at.pages()),
        ("stream", at.stream(&begin, LAST)),
        ("NDJSON", at.ndjson()),
        ("CSV", at.csv()),
        ("Parquet", at.parquet()),
        ("query in a pipe", at.piped(&["query", "-n", "100000"])),
        ("query on a terminal", at.on_a_terminal(&["query", "-n", "100000"])),
        ("tail in a pipe", at.piped(&["tail", "-n", "1000"])),
        ("tail on a terminal", at.on_a_terminal(&["tail", "-n", "1000"])),
        ("GET /sessions", at.sessions()),
        ("GET /sessions/{id}", at.details(&sessions)),
    ];
    match storage {
        Storage::Jsonl => tables.push(("the file", at.file())),
        Storage::Postgres => tables.push(("SQL", at.sql())),
    }
    let wrong: Vec<String> =
        tables.iter().flat_map(|(name, table)| check(name, table, &expected)).collect();
    let (ins, outs) = (ways.len(), tables.len());
    println!("{ins} ways in, {outs} ways out, {} values, {} events", values.len(), expected.len());
    let shown = &wrong[..wrong.len().min(SHOWN_MAX)];
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), shown.join("\n"));
}

/// Returns the differences between what a way out shows and what is expected.
fn check(
    name: &str,
    table: &Table,
    expected: &BTreeMap<String, (String, String, ExpectedEvent)>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for (session, (way, value, event)) in expected {
        let Some(shown) = table.get(session) else {
            let is_partial =
                ["tail in a pipe", "tail on a terminal", "GET /sessions/{id}", "the file"];
            let is_partial = is_partial.contains(&name);
            if !is_partial {
                wrong.push(format!("{name}, {way}, {value}: not shown"));
            }
            continue;
        };
        let mut event = event.clone();
        if name == "CSV" {
            for text in [&mut event.workflow_id, &mut event.tool_name].into_iter().flatten() {
                *text = text.replace('\0', "\u{fffd}");
            }
        }
        let differences = differences(shown, &event).into_iter();
        wrong.extend(differences.map(|differs| format!("{name}, {way}, {value}: {differs}")));
    }
    for session in table.keys().filter(|session| *session != LAST) {
        if !expected.contains_key(session) {
            wrong.push(format!("{name}: {session} is not expected"));
        }
    }
    wrong
}
