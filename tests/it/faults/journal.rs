//! External damage to the journal of postgres storage. Only the damaged events may be missing.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::rng::Rng;
use super::stored::{ids, whole_lines};
use super::world::World;
use crate::harness::eventually::{eventually, when};

const MISSING: &str = "hooks_journal_missing_bytes_total";

/// The non-empty segments, oldest first.
fn segments(world: &World) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(&world.node().data).expect("the journal").flatten();
    let mut paths: Vec<PathBuf> = entries
        .filter(|entry| entry.metadata().is_ok_and(|metadata| metadata.len() > 0))
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    paths.sort();
    paths
}

/// Kills the server, usually while PostgreSQL is down, so that the journal has events that the
/// database lacks. `work` runs while the server is down.
fn while_down(world: &World, rng: &mut Rng, work: impl FnOnce(&mut Rng)) {
    let away = rng.percent(70);
    if away {
        world.cluster().stop_fast();
    }
    rng.pause(200..1_200);
    world.kill(world.node());
    work(rng);
    world.node().start();
    if away {
        rng.pause(0..500);
        world.cluster().start();
    }
}

/// The last segment is truncated.
pub(crate) fn truncated(world: &World, rng: &mut Rng) {
    world.damaged();
    while_down(world, rng, |rng| {
        let Some(path) = segments(world).pop() else { return };
        let before = ids(&whole_lines(&path));
        let file = OpenOptions::new().write(true).open(&path).expect("a segment");
        let len = file.metadata().expect("metadata").len();
        file.set_len(len - rng.within(0..len.min(20_000) + 1)).expect("the file can be truncated");
        let after = ids(&whole_lines(&path));
        world.ledger.excuse(before.into_iter().filter(|id| !after.contains(id)));
    });
}

/// A bit of some segment is flipped. The record is rejected.
pub(crate) fn flipped_bit(world: &World, rng: &mut Rng) {
    world.damaged();
    while_down(world, rng, |rng| {
        let segments = segments(world);
        if segments.is_empty() {
            return;
        }
        let path = rng.pick(&segments);
        let bytes = std::fs::read(path).expect("a segment");
        let at = rng.within(0..bytes.len() as u64) as usize;
        let flipped = bytes[at] ^ (1 << rng.within(0..8));
        // Flipping a line feed joins two records.
        let start = bytes[..at].iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let mut ends = bytes[at..].iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let end = if bytes[at] == b'\n' { ends.nth(1) } else { ends.next() };
        let end = end.map_or(bytes.len(), |(after, _)| at + after + 1);
        let file = directory_file(world, "flipped", &bytes[start..end]);
        world.ledger.excuse(ids(&whole_lines(&file)));
        let segment = OpenOptions::new().write(true).open(path).expect("a segment");
        segment.write_all_at(&[flipped], at as u64).expect("the file can be written");
    });
}

fn directory_file(world: &World, name: &str, bytes: &[u8]) -> PathBuf {
    let path = world.workspace.directory().join(name);
    std::fs::write(&path, bytes).expect("a file");
    path
}

/// Random bytes are appended to the journal, with and without a line feed.
pub(crate) fn garbage(world: &World, rng: &mut Rng) {
    world.damaged();
    while_down(world, rng, |rng| {
        let Some(path) = segments(world).pop() else { return };
        let mut bytes: Vec<u8> = (0..rng.within(1..3_000)).map(|_| rng.next() as u8).collect();
        if rng.percent(50) {
            bytes.push(b'\n');
        }
        let file = OpenOptions::new().append(true).open(path);
        file.and_then(|mut file| file.write_all(&bytes)).expect("the file can be appended to");
    });
}

/// Deletes an undelivered segment while the server is down or running. The server must report it.
fn delete(world: &World, rng: &mut Rng, live: bool) {
    let missing = || world.node().with(|server| server.client.metric(MISSING));
    let before = if live { missing() } else { 0 };
    world.cluster().stop_fast();
    // Waits for segments that the database does not have.
    eventually("segments are written", || {
        let segments = segments(world);
        let bytes: u64 = segments.iter().flat_map(std::fs::metadata).map(|file| file.len()).sum();
        if bytes > 450 << 10 && segments.len() > 3 { Ok(()) } else { Err(bytes) }
    });
    if !live {
        world.kill(world.node());
    }
    let segments = segments(world);
    // A closed segment: nothing more is written to it.
    let path = rng.pick(&segments[segments.len() - 3..segments.len() - 1]);
    world.ledger.excuse(ids(&whole_lines(path)));
    std::fs::remove_file(path).expect("a segment");
    if !live {
        world.node().launch();
    }
    // Only now: a full journal accepts no events until the database is back.
    world.cluster().start();
    world.node().ready();
    // The senders go on, so the lag may never be zero.
    eventually("the deleted segment is reported", || {
        when((missing(), world.node().log()), |(missing, log)| {
            *missing > before && log.contains("segment")
        })
    });
}

pub(crate) fn deleted(world: &World, rng: &mut Rng) {
    delete(world, rng, false);
}

pub(crate) fn deleted_live(world: &World, rng: &mut Rng) {
    delete(world, rng, true);
}

/// The position of the journal is deleted from the database.
pub(crate) fn position_missing(world: &World, rng: &mut Rng) {
    for _ in 0..rng.within(1..4) {
        rng.pause(0..300);
        if rng.percent(50) {
            world.kill(world.node());
            world.sql("DELETE FROM hook_positions");
            world.node().start();
        } else {
            world.sql("DELETE FROM hook_positions");
        }
    }
}

/// The journal directory is emptied, but the database still has its position.
pub(crate) fn emptied(world: &World, rng: &mut Rng) {
    rng.pause(0..500);
    world.kill(world.node());
    let stored: HashSet<String> = ids(&world.stored()).into_iter().collect();
    let accepted = world.ledger.accepted_ids();
    world.ledger.excuse(accepted.difference(&stored).cloned());
    for entry in std::fs::read_dir(&world.node().data).expect("the journal").flatten() {
        let keep_name = rng.percent(20) && entry.file_name() == "id";
        if !keep_name {
            std::fs::remove_file(entry.path()).expect("a file");
        }
    }
    world.node().start();
}
