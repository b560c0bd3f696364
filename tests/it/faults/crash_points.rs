//! Killed at every system call in turn that writes, syncs, renames, deletes or opens, while it
//! starts, takes events, rolls segments or rotates, forwards, deletes and ends.

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

/// The next point of each storage: which of the calls, and the how-manieth.
static NEXT: Mutex<Option<HashMap<bool, (usize, u64)>>> = Mutex::new(None);

/// In the short run, only each so many is tried.
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

/// The run with this point was not killed: on to the next call, and after the last to the first.
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
            world.wrong(format!("no {} was killed", CALLS[call]));
        }
        completed(world, call);
    } else {
        let log = world.node().log_tail();
        world.wrong(format!("at {} {number} it ended with {status}: {log}", CALLS[call]));
    }
    world.node().start();
    Ok(())
}

/// Start, appends with segment rolls or rotations, forwarding, deletion, SIGTERM; or less, if the
/// server is killed on its way.
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
        eventually("all is forwarded, or the server has ended", || {
            let lag = node.health().map(|health| health["forwarder"]["lag_events"] == 0);
            if node.ended().is_some() || lag == Some(true) { Ok(()) } else { Err(lag) }
        });
    }
    node.signal(Signal::TERM);
}
