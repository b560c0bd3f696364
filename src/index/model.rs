//! Model test: whatever happens to the files, the index has the events that the files have.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use rusqlite::Connection;
use serde_json::Value;
use tokio::sync::watch;

use super::follow::Follower;
use super::source_files::{LINE_POSITION_COLUMNS, LinePosition, SourceFiles};
use super::{IndexStatus, SharedState, files, schema};
use crate::journal::Appended;

/// Names of the JSON Lines file and of files rotated from it, and one name that is not indexed.
const NAMES: [&str; 5] = [
    "events.jsonl",
    "events.jsonl.1",
    "events.jsonl.2",
    "events-20261120T100000000000Z.jsonl",
    "aside",
];

/// A file, as an index in [`NAMES`]; the JSON Lines file is the most frequent.
type FileName = usize;

#[derive(Clone, Debug)]
enum Step {
    /// Append new events, and the first bytes of another line.
    Append(FileName, u8, usize),
    /// Append an event that was appended before.
    Repeat(FileName, usize),
    Rename(FileName, FileName),
    /// Copy a file over another, which keeps its inode if it exists.
    Copy(FileName, FileName),
    Link(FileName, FileName),
    /// Append a copy of a file.
    Concatenate(FileName, FileName),
    /// Truncate to this many thousandths.
    Truncate(FileName, usize),
    Delete(FileName),
    /// logrotate with `copytruncate`: move the older file, copy, and truncate.
    CopyTruncate,
    /// End the follower, cleanly or not, and start it again.
    Restart {
        is_clean: bool,
    },
    DeleteIndex,
}

/// What the index does after a step.
#[derive(Clone, Copy, Debug)]
enum Follow {
    Nothing,
    /// Reads the files that it knows.
    Known,
    /// Lists the files, and reads them.
    All,
}

fn steps() -> impl Strategy<Value = Vec<(Step, Follow)>> {
    let name = || prop_oneof![Just(0), 0..NAMES.len()];
    let part = || prop_oneof![Just(0_usize), 0..1000_usize];
    let step = prop_oneof![
        6 => (name(), 0..4_u8, part()).prop_map(|(name, lines, half)| Step::Append(name, lines, half)),
        2 => (name(), any::<usize>()).prop_map(|(name, event)| Step::Repeat(name, event)),
        4 => (name(), name()).prop_map(|(from, to)| Step::Rename(from, to)),
        6 => (name(), name()).prop_map(|(from, to)| Step::Copy(from, to)),
        1 => (name(), name()).prop_map(|(from, to)| Step::Link(from, to)),
        1 => (name(), name()).prop_map(|(from, to)| Step::Concatenate(from, to)),
        4 => (name(), part()).prop_map(|(name, part)| Step::Truncate(name, part)),
        3 => name().prop_map(Step::Delete),
        2 => Just(Step::CopyTruncate),
        2 => any::<bool>().prop_map(|is_clean| Step::Restart { is_clean }),
        1 => Just(Step::DeleteIndex),
    ];
    let follow = prop_oneof![
        2 => Just(Follow::Nothing),
        1 => Just(Follow::Known),
        3 => Just(Follow::All),
    ];
    proptest::collection::vec((step, follow), 1..24)
}

/// The files of one case.
struct Files {
    directory: tempfile::TempDir,
    lines: Vec<String>,
}

impl Files {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), lines: Vec::new() }
    }

    fn path(&self, name: FileName) -> PathBuf {
        self.directory.path().join(NAMES[name])
    }

    fn apply(&mut self, step: &Step) {
        let both = |from: &FileName, to: &FileName| {
            let (from, to) = (self.path(*from), self.path(*to));
            (from != to && from.exists()).then_some((from, to))
        };
        match step {
            Step::Append(name, lines, half) => {
                let path = self.path(*name);
                for _ in 0..*lines {
                    self.lines.push(line(self.lines.len()));
                    append(&path, &format!("{}\n", self.lines[self.lines.len() - 1]));
                }
                let partial = line(self.lines.len());
                append(&path, &partial[..partial.len() * half / 1000]);
            }
            Step::Repeat(name, event) => {
                if !self.lines.is_empty() {
                    let line = &self.lines[event % self.lines.len()];
                    append(&self.path(*name), &format!("{line}\n"));
                }
            }
            Step::Rename(from, to) => {
                if let Some((from, to)) = both(from, to) {
                    std::fs::rename(from, to).unwrap();
                }
            }
            Step::Copy(from, to) => {
                if let Some((from, to)) = both(from, to) {
                    copy(&from, &to);
                }
            }
            Step::Link(from, to) => {
                if let Some((from, to)) = both(from, to) {
                    // Fails if there is a file.
                    let _ = std::fs::hard_link(from, to);
                }
            }
            Step::Concatenate(from, to) => {
                if let Some((from, to)) = both(from, to) {
                    append(&to, &std::fs::read_to_string(from).unwrap());
                }
            }
            Step::Truncate(name, part) => {
                let path = self.path(*name);
                if let Ok(file) = OpenOptions::new().write(true).open(path) {
                    let len = file.metadata().unwrap().len();
                    file.set_len(len * *part as u64 / 1000).unwrap();
                }
            }
            Step::Delete(name) => drop(std::fs::remove_file(self.path(*name))),
            Step::CopyTruncate => {
                let [current, first, second] = [0, 1, 2].map(|name| self.path(name));
                let _ = std::fs::rename(&first, second);
                if current.exists() {
                    copy(&current, &first);
                    OpenOptions::new().write(true).truncate(true).open(current).unwrap();
                }
            }
            Step::Restart { .. } | Step::DeleteIndex => {}
        }
    }

    /// The events in the indexed files, each with its line.
    fn events(&self) -> BTreeMap<String, String> {
        let mut events = BTreeMap::new();
        for name in NAMES.into_iter().filter(|name| *name != "aside") {
            let bytes = std::fs::read(self.directory.path().join(name)).unwrap_or_default();
            let text = String::from_utf8(bytes).unwrap();
            let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
            for line in whole.split('\n') {
                if let Ok(event) = serde_json::from_str::<Value>(line) {
                    events.insert(event["event_id"].as_str().unwrap().to_owned(), line.to_owned());
                }
            }
        }
        events
    }
}

/// A stored line of varying length.
fn line(number: usize) -> String {
    let text = "x".repeat(number * 37 % 150);
    format!(
        "{{\"event_id\":\"{number}\",\"event_type\":\"t\",\"session_id\":\"s\",\"workflow_id\":null,\
         \"phase_id\":null,\"milestone_id\":null,\"data\":{{\"text\":\"{text}\"}},\
         \"timestamp\":\"2026-11-20T10:00:00.000000Z\",\
         \"received_at\":\"2026-11-20T10:00:00.000000Z\"}}"
    )
}

fn append(path: &Path, text: &str) {
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

/// Copies as `cp` does: an existing file is truncated and written.
fn copy(from: &Path, to: &Path) {
    let bytes = std::fs::read(from).unwrap();
    std::fs::write(to, bytes).unwrap();
}

/// A follower that is driven by hand.
struct RunningIndex {
    follower: Follower,
    shared: Arc<SharedState>,
    status: watch::Receiver<IndexStatus>,
    appended: watch::Receiver<Appended>,
    stop: watch::Receiver<bool>,
}

impl RunningIndex {
    fn start(jsonl: &Path) -> Self {
        let shared = Arc::new(SharedState {
            jsonl: jsonl.to_owned(),
            index: schema::path_of(jsonl),
            is_damaged: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let sender = watch::Sender::new(IndexStatus::default());
        let status = sender.subscribe();
        let follower = Follower::new(shared.clone(), sender);
        let (_, appended) = watch::channel(Appended::default());
        let (_, stop) = watch::channel(false);
        Self { follower, shared, status, appended, stop }
    }

    fn follow(&mut self, update_files: bool) {
        if update_files {
            self.follower.update_files_next();
        }
        self.follower.pass(&self.appended, &self.stop).unwrap();
    }

    fn close(self, is_clean: bool) {
        if let Some(writer) = self.follower.into_writer().filter(|_| is_clean) {
            schema::close(writer.index, &self.shared.index).unwrap();
        }
    }

    /// The state that `/health` reports now.
    fn status(&self) -> IndexStatus {
        let mut status = self.status.borrow().clone();
        status.compare(&self.shared.jsonl).unwrap();
        status
    }

    /// The events that queries return, each with its line; `None` if the index was deleted.
    fn events(&self) -> Option<BTreeMap<String, String>> {
        let index = schema::open_to_read(&self.shared.index).ok()?;
        let (mut files, mut events) = (SourceFiles::default(), BTreeMap::new());
        for row in rows(&index) {
            if let Some(line) = files.line(&row, &index, &self.shared).unwrap() {
                let line = String::from_utf8(line).unwrap();
                let shown = events.insert(row.key.event_id.clone(), line);
                assert!(shown.is_none(), "{} is returned twice", row.key.event_id);
            }
        }
        Some(events)
    }
}

fn rows(index: &Connection) -> Vec<LinePosition> {
    let select = format!("SELECT {LINE_POSITION_COLUMNS} FROM hook_events");
    let mut select = index.prepare(&select).unwrap();
    let rows = select.query_map([], LinePosition::from_row).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Fails if the reported state promises events that queries do not return.
fn check(running: &RunningIndex, files: &Files) -> Result<(), TestCaseError> {
    let status = running.status();
    if status.ready
        && status.lag_bytes == 0
        && let Some(events) = running.events()
    {
        prop_assert_eq!(events, files.events(), "ready without lag");
    }
    Ok(())
}

/// Runs the steps, and checks the index after each.
fn run(steps: Vec<(Step, Follow)>) -> Result<(), TestCaseError> {
    let mut files = Files::new();
    let jsonl = files.path(0);
    let mut running = RunningIndex::start(&jsonl);
    for (step, follow) in steps {
        files.apply(&step);
        match step {
            Step::Restart { is_clean } => {
                running.close(is_clean);
                running = RunningIndex::start(&jsonl);
            }
            Step::DeleteIndex => drop(std::fs::remove_file(schema::path_of(&jsonl))),
            _ => {}
        }
        check(&running, &files)?;
        if !matches!(follow, Follow::Nothing) {
            running.follow(matches!(follow, Follow::All));
            check(&running, &files)?;
        }
    }
    running.follow(true);
    let status = running.status();
    prop_assert!(status.ready && status.lag_bytes == 0, "{status:?}");
    prop_assert_eq!(running.events(), Some(files.events()));
    // The JSON Lines file has the largest number, so that its next events are streamed.
    if let Some(current) = files::FileIdentity::of(&jsonl).unwrap() {
        let index = schema::open_to_read(&schema::path_of(&jsonl)).unwrap();
        let newest = "SELECT inode FROM files ORDER BY number DESC LIMIT 1";
        let newest: i64 = index.query_row(newest, [], |row| row.get(0)).unwrap();
        prop_assert_eq!(newest.cast_unsigned(), current.inode);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_index_has_the_events_that_the_files_have(steps in steps()) {
        run(steps)?;
    }
}

#[test]
fn events_of_a_known_copy_are_found_after_the_original_is_gone() {
    for gone in [Step::Truncate(0, 0), Step::Delete(0), Step::Rename(0, 4), Step::Copy(3, 0)] {
        let steps = [
            Step::Append(3, 1, 0),
            Step::Append(0, 3, 500),
            Step::Copy(0, 1),
            Step::Append(0, 2, 0),
            Step::Copy(1, 2),
            gone,
            Step::Delete(1),
        ];
        run(steps.into_iter().map(|step| (step, Follow::All)).collect()).unwrap();
    }
}

#[test]
fn a_truncation_is_detected_in_a_file_that_is_read_again() {
    let steps = [
        (Step::Append(2, 0, 0), Follow::Nothing),
        (Step::Append(0, 2, 0), Follow::Nothing),
        (Step::Repeat(1, 0), Follow::All),
        (Step::CopyTruncate, Follow::Nothing),
        (Step::Rename(0, 3), Follow::All),
    ];
    run(steps.into()).unwrap();
}
