//! Kills the server at each system call that writes, syncs, renames, deletes or opens a file, one
//! call per round: during start-up, ingest, segment rolls, rotation, forwarding and shutdown.

use std::collections::HashMap;
use std::os::unix::process::ExitStatusExt;
use std::sync::{Mutex, PoisonError};

use rustix::process::Signal;

use super::rng::Rng;
use super::senders::Sender;
use super::traced::strace;
use super::world::{Skipped, World};
use crate::harness::{Storage, eventually};

const CALLS: [&str; 10] = [
    "write",
    "pwrite64",
    "fdatasync",
    "fsync",
    "rename",
    "renameat2",
    "unlink",
    "unlinkat",
    "ftruncate",
    "openat",
];

/// The next crash point of each storage: an index into `CALLS`, and the number of the call.
static NEXT: Mutex<Option<HashMap<bool, (usize, u64)>>> = Mutex::new(None);

/// In a short run, the step between tried calls.
const STRIDE: u64 = 9;

fn next(world: &World, rng: &mut Rng) -> (usize, u64) {
    if world.brief {
        return (rng.within(0..CALLS.len() as u64) as usize, 1 + rng.within(0..STRIDE));
    }
    let mut next = NEXT.lock().unwrap_or_else(PoisonError::into_inner);
    let points = next.get_or_insert_with(HashMap::new);
    let point = points.entry(world.storage == Storage::Jsonl).or_insert((0, 0));
    point.1 += 1;
    *point
}

/// Moves to the next system call, cyclically, once the server survived all its occurrences.
fn completed(world: &World, call: usize) {
    let mut next = NEXT.lock().unwrap_or_else(PoisonError::into_inner);
    let points = next.get_or_insert_with(HashMap::new);
    let point = points.entry(world.storage == Storage::Jsonl).or_insert((0, 0));
    if point.0 == call && !world.brief {
        if call + 1 == CALLS.len() {
            eprintln!("faults: every crash point of {:?} was tried", world.storage);
        }
        *point = ((call + 1) % CALLS.len(), 0);
    }
}

pub(crate) fn crash(world: &World, rng: &mut Rng) -> Result<(), Skipped> {
    let (call, number) = next(world, rng);
    let inject = format!("inject={}:signal=KILL:when={number}", CALLS[call]);
    let trace = format!("trace={}", CALLS[call]);
    world.node().change_wrapper(strace(&["-o", "/dev/null", "-e", &trace, "-e", &inject])?);
    world.node().launch();
    world.node().change_wrapper(Vec::new());
    script(world, rng);
    let status = world.node().wait();
    if std::env::var_os("FAULTS_VERBOSE").is_some() {
        eprintln!("faults: {:?} {} {number}: {status}", world.storage, CALLS[call]);
    }
    if status.signal() == Some(Signal::KILL.as_raw()) {
        world.count_kill();
    } else if status.success() {
        if number == 1 && ["write", "openat"].contains(&CALLS[call]) {
            world.violation(format!("no {} was killed", CALLS[call]));
        }
        completed(world, call);
    } else {
        let log = world.node().log_tail();
        world.violation(format!(
            "at {} {number} the server exited with {status}: {log}",
            CALLS[call]
        ));
    }
    world.node().start();
    Ok(())
}

/// Start, appends with segment rolls or rotations, forwarding, deletion, SIGTERM; ends early if the
/// server is killed.
fn script(world: &World, rng: &mut Rng) {
    let node = world.node();
    eventually("the server is ready or has ended", || {
        if node.ended().is_some() || node.is_ready() { Ok(()) } else { Err("neither") }
    });
    let mut sender =
        Sender::new("script", 0, world.habits(), &world.ledger, world.targets(), rng.fork());
    for _ in 0..14 {
        if node.ended().is_some() {
            return;
        }
        sender.send_once(40);
    }
    if world.storage == Storage::Postgres {
        eventually("the backlog is empty or the server has ended", || {
            let lag = node.health().map(|health| health["forwarder"]["lag_events"] == 0);
            if node.ended().is_some() || lag == Some(true) { Ok(()) } else { Err(lag) }
        });
    }
    node.signal(Signal::TERM);
}
