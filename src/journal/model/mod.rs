//! Model test of the journal: random appends, restarts, deliveries and crashes.
//!
//! After a crash the file has everything that was acknowledged, and any part of a group that was not.
//! The test simulates this by closing the journal and appending a prefix of such a group, cut at any
//! byte, to the newest file. The saved keys may be in any state: missing, truncated, damaged, older.

mod steps;

use std::collections::{BTreeSet, VecDeque};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use self::steps::{ModelStep, steps};
use super::*;

/// Small, so that segments are closed often: at 128 KiB.
const BYTES_MAX: u64 = 1 << 20;

fn key_of(json: &[u8]) -> Option<u128> {
    let id = json.strip_prefix(b"{\"id\":")?.split(|&byte| byte == b',').next()?;
    std::str::from_utf8(id).ok()?.parse().ok()
}

fn batch(framing: Framing, records: &[(u8, u16)]) -> Batch {
    let mut batch = Batch::new(framing, 0);
    for (id, padding) in records {
        let id = u128::from(*id) + 1;
        let line = format!("{{\"id\":{id},\"padding\":\"{}\"}}", "x".repeat(usize::from(*padding)));
        let pushed = batch.push(|out| {
            out.extend_from_slice(line.as_bytes());
            Ok::<_, std::convert::Infallible>(id)
        });
        pushed.unwrap();
    }
    batch
}

/// The expected content of the journal.
#[derive(Debug, Default)]
struct Model {
    /// Ids of the records that have not been delivered, in order.
    backlog: VecDeque<u128>,
    /// Ids that were acknowledged at some time, and must not be written again.
    seen: BTreeSet<u128>,
}

struct RunningJournal {
    runtime: tokio::runtime::Runtime,
    journal: Journal,
    ended: oneshot::Receiver<Result<(), Fatal>>,
    reader: Option<Reader>,
    framing: Framing,
}

impl RunningJournal {
    fn start(opened: OpenJournal) -> Self {
        let (reader, framing) = (opened.reader(), opened.framing());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (journal, ended) = opened.start(key_of, SyncObserver(Box::new(|_, _| {}))).unwrap();
        Self { runtime, journal, ended, reader, framing }
    }

    /// Appends the records to the journal and to the model.
    fn append(&self, records: &[(u8, u16)], model: &mut Model) -> Result<(), AppendError> {
        let batch = batch(self.framing, records);
        let fresh: Vec<u128> = batch
            .records()
            .map(|(key, _)| key)
            .filter(|key| !model.seen.contains(key))
            .collect::<Vec<_>>();
        let mut unique = Vec::new();
        for key in fresh {
            if !unique.contains(&key) {
                unique.push(key);
            }
        }
        let all = batch.len();
        let receipt = self.runtime.block_on(self.journal.append(batch, ()))?;
        assert_eq!(receipt.duplicates, all - unique.len(), "duplicates are detected");
        model.seen.extend(&unique);
        model.backlog.extend(unique);
        Ok(())
    }

    fn close(self) {
        self.runtime.block_on(async {
            self.journal.close().await;
            self.ended.await.unwrap().unwrap();
        });
    }
}

/// Reads all records from a position; returns their ids and the position after them.
fn read(reader: &Reader, mut position: u64) -> (Vec<u128>, u64) {
    let mut ids = Vec::new();
    let start = position;
    loop {
        let chunk = reader.read(position, 50_000).unwrap();
        if chunk.is_empty() {
            return (ids, position);
        }
        assert_eq!(chunk.missing, 0);
        ids.extend(chunk.records().map(|record| key_of(record.unwrap()).unwrap()));
        position = chunk.next;
        assert!(chunk.next <= reader.end());
        assert_eq!(reader.records_between(start, position).unwrap(), ids.len() as u64);
        assert_eq!(reader.fingerprint(position).unwrap(), Some(chunk.fingerprint()));
    }
}

/// Appends a prefix of an unacknowledged group, `part` thousandths of its bytes, as a crash leaves it.
/// Returns the ids of the records that are whole.
fn tear(
    file: &Path,
    framing: Framing,
    records: &[(u8, u16)],
    part: u16,
    model: &Model,
) -> Vec<u128> {
    let mut fresh: Vec<(u8, u16)> = Vec::new();
    for record in records {
        let id = u128::from(record.0) + 1;
        if !model.seen.contains(&id) && fresh.iter().all(|other| other.0 != record.0) {
            fresh.push(*record);
        }
    }
    let group = batch(framing, &fresh);
    let cut = group.bytes().len() * usize::from(part) / 1000;
    let mut file = std::fs::OpenOptions::new().append(true).open(file).unwrap();
    file.write_all(&group.bytes()[..cut]).unwrap();
    let mut end = 0;
    let whole = group.records().take_while(|(_, bytes)| {
        end += bytes.len();
        // In plain framing, a record that lacks only its line feed is completed.
        cut >= end || (framing == Framing::Plain && cut == end - 1)
    });
    whole.map(|(key, _)| key).collect()
}

/// Regression test: the forwarder deleted a segment while the writer was still reading its keys.
#[test]
fn a_segment_without_its_keys_is_not_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let open = || open_segments(dir.path(), BYTES_MAX, Duration::ZERO).unwrap();
    let mut model = Model::default();
    let running = RunningJournal::start(open());
    for id in 0..40 {
        running.append(&[(id, 10_000)], &mut model).unwrap();
    }
    running.close();
    let segments = files(dir.path(), "seg").len();
    assert!(segments > 2, "{segments} segments");
    for keys in files(dir.path(), "keys") {
        std::fs::remove_file(keys).unwrap();
    }

    let opened = open();
    let reader = opened.reader().unwrap();
    reader.delete_delivered(reader.end()).unwrap();
    assert_eq!(files(dir.path(), "seg").len(), segments);

    let running = RunningJournal::start(opened);
    for id in 0..40 {
        // The model expects duplicates, so their keys are known again.
        running.append(&[(id, 10_000)], &mut model).unwrap();
    }
    reader.delete_delivered(reader.end()).unwrap();
    assert_eq!(files(dir.path(), "seg").len(), 1);
    running.close();
}

/// Appends records as another program does; returns the ids of those that are new, in order.
fn append_externally(file: &Path, records: &[(u8, u16)], model: &Model) -> Vec<u128> {
    tear(file, Framing::Plain, records, 1000, model)
}

/// Truncates a file to `part` thousandths of its lines; returns the ids of the lines that are lost.
fn truncate(file: &Path, part: u16) -> Vec<u128> {
    let bytes = std::fs::read(file).unwrap();
    let lines: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
    let (kept, lost) = lines.split_at(lines.len() * usize::from(part) / 1000);
    let len: usize = kept.iter().map(|line| line.len()).sum();
    let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    file.set_len(len as u64).unwrap();
    lost.iter().filter_map(|line| key_of(line)).collect()
}

/// A start reads only the records that have no saved keys.
#[test]
fn a_start_reads_only_records_without_saved_keys() {
    static READ: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    fn counted(json: &[u8]) -> Option<u128> {
        READ.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        key_of(json)
    }
    let read_at_start = |opened: OpenJournal| {
        READ.store(0, std::sync::atomic::Ordering::SeqCst);
        let (journal, ended) = opened.start(counted, SyncObserver(Box::new(|_, _| {}))).unwrap();
        drop(journal);
        ended.blocking_recv().unwrap().unwrap();
        READ.load(std::sync::atomic::Ordering::SeqCst)
    };
    let records: Vec<(u8, u16)> = (0..100).map(|id| (id, 10)).collect();
    for storage in ["jsonl", "postgres"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let open = || match storage {
            "jsonl" => {
                let deleted = prometheus::IntCounter::new("deleted", "deleted").unwrap();
                open_lines(&path, Rotation::new(Rotate::default(), None, deleted)).unwrap()
            }
            _ => open_segments(dir.path(), BYTES_MAX, Duration::ZERO).unwrap(),
        };
        let mut model = Model::default();
        let running = RunningJournal::start(open());
        for record in &records {
            running.append(std::slice::from_ref(record), &mut model).unwrap();
        }
        running.close();
        assert_eq!(read_at_start(open()), 0, "{storage}: all keys are saved");

        let keys = files(dir.path(), "keys");
        assert_eq!(keys.len(), 1, "{keys:?}");
        std::fs::remove_file(&keys[0]).unwrap();
        for old in files(dir.path(), "old") {
            std::fs::remove_file(old).unwrap();
        }
        assert_eq!(read_at_start(open()), 100, "{storage}: the saved keys were deleted");
        let saved = read_at_start(open());
        assert_eq!(saved, 0, "{storage}: the keys were saved again");

        let framing = if storage == "jsonl" { Framing::Plain } else { Framing::Checksummed };
        let file = if storage == "jsonl" { path.clone() } else { newest_segment(dir.path()) };
        assert_eq!(tear(&file, framing, &[(200, 5), (201, 5)], 1000, &model).len(), 2);
        assert_eq!(read_at_start(open()), 2, "{storage}: the new records are read");
    }
}

fn newest_segment(dir: &Path) -> PathBuf {
    files(dir, "seg").pop().unwrap()
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn segments_keep_every_acknowledged_record_once(steps in steps()) {
        let dir = tempfile::tempdir().unwrap();
        let open = || RunningJournal::start(open_segments(dir.path(), BYTES_MAX, Duration::ZERO).unwrap());
        let mut model = Model::default();
        let mut running = open();
        let mut position = 0;
        let mut older_keys = Vec::new();
        for step in steps {
            match step {
                ModelStep::Append(records) => match running.append(&records, &mut model) {
                    Ok(()) => {}
                    Err(AppendError::Full { .. }) => {
                        let backlog = running.reader.as_ref().unwrap().end() - position;
                        prop_assert!(backlog > BYTES_MAX / 4, "full with a backlog of {backlog} bytes");
                    }
                    Err(error) => return Err(TestCaseError::fail(error.to_string())),
                },
                ModelStep::Reopen => {
                    running.close();
                    running = open();
                }
                ModelStep::Crash(records, part) => {
                    running.close();
                    let newest = newest_segment(dir.path());
                    let whole = tear(&newest, Framing::Checksummed, &records, part, &model);
                    // Whole records of an unacknowledged group are kept, and count as seen.
                    model.seen.extend(&whole);
                    model.backlog.extend(whole);
                    running = open();
                }
                ModelStep::LoseKeyFiles => {
                    let segments = files(dir.path(), "seg");
                    for keys in files(dir.path(), "keys") {
                        if segments.contains(&keys.with_extension("seg")) {
                            std::fs::remove_file(keys).unwrap();
                        }
                    }
                    running.close();
                    running = open();
                }
                ModelStep::Deliver => {
                    let reader = running.reader.as_ref().unwrap();
                    let (ids, end) = read(reader, position);
                    prop_assert_eq!(ids, Vec::from(std::mem::take(&mut model.backlog)));
                    position = end;
                    reader.delete_delivered(position).unwrap();
                    prop_assert!(reader.size().0 <= BYTES_MAX / 2, "delivered segments are deleted");
                }
                ModelStep::DamageSavedKeys(damage) => {
                    running.close();
                    damage.apply(&dir.path().join("active.keys"), &mut older_keys);
                    running = open();
                }
                // Other programs do not write to segments.
                ModelStep::External(..) | ModelStep::Truncate(_) => {}
            }
        }
        let (ids, _) = read(running.reader.as_ref().unwrap(), position);
        prop_assert_eq!(ids, Vec::from(model.backlog));
        running.close();
    }

    #[test]
    fn json_lines_keep_every_acknowledged_record_once(steps in steps()) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let open = || {
            let deleted = prometheus::IntCounter::new("deleted", "deleted").unwrap();
            let rotate = Rotate { daily: true, bytes_max: Some(100_000) };
            let rotation = Rotation::new(rotate, None, deleted);
            RunningJournal::start(open_lines(&path, rotation).unwrap())
        };
        let mut model = Model::default();
        let mut running = open();
        let (mut older_keys, mut older_old_keys) = (Vec::new(), Vec::new());
        for step in steps {
            match step {
                ModelStep::Append(records) => running.append(&records, &mut model).unwrap(),
                ModelStep::DamageSavedKeys(damage) => {
                    running.close();
                    damage.apply(&dir.path().join("events.jsonl.keys"), &mut older_keys);
                    damage.apply(&dir.path().join("events.jsonl.keys.old"), &mut older_old_keys);
                    running = open();
                }
                ModelStep::External(theirs, mut ours) => {
                    let (first, second) = theirs.split_at(theirs.len() / 2);
                    ours.retain(|(id, _)| theirs.iter().all(|(other, _)| other != id));
                    let before = append_externally(&path, first, &model);
                    model.backlog.extend(&before);
                    running.append(&ours, &mut model).unwrap();
                    // Their keys are read at the next start.
                    model.seen.extend(&before);
                    let after = append_externally(&path, second, &model);
                    model.backlog.extend(&after);
                    running.close();
                    model.seen.extend(&after);
                    running = open();
                }
                ModelStep::Truncate(part) => {
                    running.close();
                    for lost in truncate(&path, part) {
                        model.seen.remove(&lost);
                        model.backlog.retain(|id| *id != lost);
                    }
                    running = open();
                }
                ModelStep::Reopen | ModelStep::LoseKeyFiles | ModelStep::Deliver => {
                    running.close();
                    running = open();
                }
                ModelStep::Crash(records, part) => {
                    running.close();
                    let whole = tear(&path, Framing::Plain, &records, part, &model);
                    model.seen.extend(&whole);
                    model.backlog.extend(whole);
                    running = open();
                }
            }
        }
        running.close();
        let lines: Vec<u8> = files(dir.path(), "jsonl")
            .iter()
            // The current file sorts last: "." comes after "-".
            .flat_map(|file| std::fs::read(file).unwrap())
            .collect();
        let ids: Vec<u128> = lines
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| key_of(line).unwrap())
            .collect();
        prop_assert_eq!(ids, Vec::from(model.backlog));
    }
}
