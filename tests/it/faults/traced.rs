//! Faults injected into system calls by `strace`, and checks of the traced calls.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Instant;

use super::rng::Rng;
use super::senders::Sender;
use super::world::{Skipped, World};
use crate::harness::Storage;

/// The wrapper command that traces the server as a separate process, so that signals reach the server.
pub(crate) fn strace(options: &[&str]) -> Result<Vec<String>, Skipped> {
    static WORKS: OnceLock<bool> = OnceLock::new();
    let works = *WORKS.get_or_init(|| {
        let mut probe = Command::new("strace");
        probe.args(["-D", "-f", "-qq", "-e", "trace=fsync", "true"]).stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    });
    if !works {
        return Err(Skipped("strace is missing or not permitted".to_owned()));
    }
    let mut line: Vec<String> =
        ["/usr/bin/env", "strace", "-D", "-f", "-qq"].map(str::to_owned).into();
    line.extend(options.iter().map(ToString::to_string));
    Ok(line)
}

/// The file to which the server writes events first.
fn journal(world: &World) -> PathBuf {
    let data = &world.node().data;
    match world.storage {
        Storage::Jsonl => data.join("events.jsonl"),
        Storage::Postgres => {
            let entries = std::fs::read_dir(data).expect("the journal").flatten();
            let segments = entries.map(|entry| entry.path());
            let segments = segments.filter(|path| path.extension().is_some_and(|e| e == "seg"));
            segments.max().expect("a segment")
        }
    }
}

/// Restarts the server under `strace`.
fn restart_traced(world: &World, options: &[&str]) -> Result<(), Skipped> {
    let wrapper = strace(options)?;
    world.kill(world.node());
    world.node().change_wrapper(wrapper);
    world.node().launch();
    world.node().change_wrapper(Vec::new());
    Ok(())
}

/// A failed fsync ends the server with an error, and the events it was for are not answered 202.
pub(crate) fn sync_fails(world: &World, rng: &mut Rng) -> Result<(), Skipped> {
    let log = world.workspace.directory().join(format!("strace-{}", rng.next()));
    let call = *rng.pick(&["fdatasync", "fdatasync", "fsync"]);
    let last = if call == "fsync" { 8 } else { 40 };
    // Persistent or one-time: the kernel reports a lost page only once.
    let on = if rng.percent(50) { "+" } else { "" };
    let inject = format!("inject={call}:error=EIO:when={}{on}", rng.within(1..last));
    let file = log.display().to_string();
    let options = [
        "--seccomp-bpf",
        "-o",
        &file,
        "-s",
        "300000",
        "-e",
        "trace=write,fdatasync,fsync",
        "-e",
        &inject,
    ];
    let launched = Instant::now();
    restart_traced(world, &options)?;
    let status = world.node().wait();
    let ended = Instant::now();
    if status.code() != Some(1) {
        let log = world.node().log_tail();
        world.violation(format!("after a failed {call} the server exited with {status}: {log}"));
    }
    let unsynced = ids_not_synced(&std::fs::read_to_string(&log).expect("strace's log"));
    for id in world.ledger.accepted_between(&unsynced, launched, ended) {
        world.violation(format!("{id} was answered 202, and its {call} failed"));
    }
    world.node().supervise();
    Ok(())
}

/// The ids written by the thread whose fsync failed first, since its last successful one.
fn ids_not_synced(log: &str) -> Vec<String> {
    let lines: Vec<&str> = log.lines().collect();
    let Some(failed) = lines.iter().position(|line| line.contains("EIO")) else {
        return Vec::new();
    };
    let thread = lines[failed].split_whitespace().next().unwrap_or_default();
    let own = lines[..failed].iter().rev().filter(|line| line.starts_with(thread));
    let since = own.take_while(|line| !(line.contains("sync") && line.ends_with("= 0")));
    let written = since.filter(|line| line.contains(" write("));
    let parts = written.flat_map(|line| line.split("\\\"event_id\\\":\\\"").skip(1));
    parts.filter_map(|part| Some(part.split_once("\\\"")?.0.to_owned())).collect()
}

/// Writes to the journal fail for a while: responses are 503, then service is normal again.
pub(crate) fn write_fails(world: &World, rng: &mut Rng) -> Result<(), Skipped> {
    let path = journal(world).display().to_string();
    let error = *rng.pick(&["ENOSPC", "EIO", "EDQUOT", "EINTR"]);
    let first = rng.within(1..20);
    let last = first + rng.within(0..30);
    let inject = format!("inject=write:error={error}:when={first}..{last}");
    let options =
        ["--seccomp-bpf", "-o", "/dev/null", "-P", &path, "-e", "trace=write", "-e", &inject];
    restart_traced(world, &options)?;
    world.node().ready();
    world.progress(300);
    Ok(())
}

/// Every 202 follows a successful fsync of the preceding write: checked in the order of system
/// calls, with one sender that waits for each response.
pub(crate) fn synced_first(world: &World, rng: &mut Rng) -> Result<(), Skipped> {
    let log = world.workspace.directory().join("strace");
    let file = log.display().to_string();
    let calls = "trace=write,writev,sendto,sendmsg,fdatasync,fsync";
    world.node().change_wrapper(strace(&[
        "--seccomp-bpf",
        "-o",
        &file,
        "-s",
        "2000",
        "-e",
        calls,
    ])?);
    world.node().start();
    let mut sender =
        Sender::new("one", 0, world.habits(), &world.ledger, world.targets(), rng.fork());
    for number in 0..20 {
        let batch = number % 2 == 1;
        if !sender.send(if batch { 3 } else { 1 }, batch) {
            world.violation("an event was not accepted".to_owned());
        }
    }
    world.kill(world.node());
    world.node().change_wrapper(Vec::new());
    check_order(world, &log);
    world.node().start();
    Ok(())
}

fn check_order(world: &World, log: &Path) {
    let text = std::fs::read_to_string(log).expect("strace's log");
    let (mut unsynced, mut writes, mut responses) = (false, 0, 0);
    for line in text.lines() {
        if line.contains(" write(") && line.contains("\\\"event_id\\\"") {
            unsynced = true;
            writes += 1;
        } else if line.contains("sync") && line.ends_with("= 0") {
            unsynced = false;
        } else if line.contains("HTTP/1.1 202") {
            responses += 1;
            if unsynced {
                world.violation(format!("a 202 before its fsync: {line}"));
            }
        }
    }
    if writes < 20 || responses < 20 {
        world.violation(format!("the log shows {writes} writes and {responses} responses of 20"));
    }
}
