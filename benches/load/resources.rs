//! Memory, start-up time, idle usage and binary size.

use std::path::Path;
use std::time::Duration;

use crate::Bench;
use crate::client::get;
use crate::events::{Shape, templates};
use crate::generator::{Load, Pace};
use crate::postgres_load::{UNREACHABLE, fill, send};
use crate::process::{Process, Storage, Watched, memory_mib};
use crate::table::{Row, Samples, Target};

/// More records than the dedup window holds.
const WINDOW_FULL: usize = 1_100_000;

/// Number of records that make a gigabyte of lines or segments.
const GIGABYTE_RECORDS: usize = 2_300_000;

pub(crate) fn memory(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    // Measured after a restart with a full dedup window, so that filling it does not count.
    let steady = |server: &Process| -> anyhow::Result<f64> {
        // Resets the peak memory (see proc(5)).
        std::fs::write(format!("/proc/{}/clear_refs", server.pid()), "5")?;
        load(bench, server, 100, 0, Pace::Open(10_000.0), Shape::Small)?;
        memory_mib(server.pid(), "VmHWM")
    };
    let dir = bench.fresh("server")?;
    send(bench, &Process::server(&dir.0, &Storage::Jsonl)?, WINDOW_FULL)?;
    let server = Process::server(&dir.0, &Storage::Jsonl)?;
    while server.metric("hooks_index_lag_bytes")? > 0.0
        || !get(server.address, "/health", "")?.contains("\"ready\":true")
    {
        std::thread::sleep(Duration::from_millis(100));
    }
    rows.push(size(
        "JSON Lines, memory while the index processes a backlog of a million events",
        128.0,
        memory_mib(server.pid(), "VmHWM")?,
    ));
    rows.push(size("JSON Lines, memory at 10,000 events/s", 64.0, steady(&server)?));
    drop((server, dir));

    let dir = bench.fresh("server")?;
    fill(bench, &dir.0, WINDOW_FULL)?;
    let url = bench.cluster()?.database(bench.dir(), "memory")?;
    drop(Process::server(&dir.0, &Storage::Postgres(url.clone()))?);
    let server = Process::server(&dir.0, &Storage::Postgres(url))?;
    while server.metric("hooks_forwarder_lag_events")? > 0.0 {
        std::thread::sleep(Duration::from_millis(100));
    }
    rows.push(size("PostgreSQL, memory at 10,000 events/s", 64.0, steady(&server)?));
    drop((server, dir));

    for (what, connections, batch, shape) in [
        ("batches of 500, 100 connections", 100, 500, Shape::Small),
        ("large events, 100 connections", 100, 0, Shape::Real),
        ("singles, 1000 connections", 1000, 0, Shape::Small),
    ] {
        let dir = bench.fresh("server")?;
        let server = Process::server(&dir.0, &Storage::Postgres(UNREACHABLE.to_owned()))?;
        load(bench, &server, connections, batch, Pace::Closed, shape)?;
        let what = format!("PostgreSQL unreachable, memory at saturation, {what}");
        rows.push(size(&what, 300.0, memory_mib(server.pid(), "VmHWM")?));
    }
    Ok(rows)
}

fn load(
    bench: &Bench,
    server: &Process,
    connections: usize,
    batch: usize,
    pace: Pace,
    shape: Shape,
) -> anyhow::Result<()> {
    Load {
        address: server.address,
        connections,
        pace,
        templates: templates(shape, batch),
        seed: bench.seed(),
        warm_up: Duration::ZERO,
        duration: bench.seconds() * 2,
        events_max: usize::MAX,
        watched: &Watched(vec![server.pid()]),
    }
    .run()?;
    Ok(())
}

fn size(what: &str, most: f64, mib: f64) -> Row {
    Row {
        what: what.to_owned(),
        target: Target::AtMost(most),
        value: Samples(vec![mib]),
        unit: "MiB",
        details: "peak".to_owned(),
    }
}

pub(crate) fn start(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (what, storage, file) in [
        ("a JSON Lines file", Storage::Jsonl, "events.jsonl"),
        ("a backlog", Storage::Postgres(UNREACHABLE.to_owned()), "journal"),
    ] {
        let dir = bench.fresh("server")?;
        send(bench, &Process::server(&dir.0, &storage)?, GIGABYTE_RECORDS)?;
        let bytes = bytes_in(&dir.0.join(file))?;
        let mut ready = Samples::default();
        for _ in 0..5 {
            let server = Process::server(&dir.0, &storage)?;
            ready.push(server.ready_after.as_secs_f64() * 1e3);
        }
        rows.push(Row {
            what: format!("time to ready with {what} of {:.1} GB", bytes as f64 / 1e9),
            target: Target::AtMost(100.0),
            value: ready,
            unit: "ms",
            details: "from process start; file in the page cache".to_owned(),
        });
    }
    Ok(rows)
}

fn bytes_in(path: &Path) -> std::io::Result<u64> {
    if path.is_file() {
        return Ok(std::fs::metadata(path)?.len());
    }
    std::fs::read_dir(path)?.map(|entry| Ok(entry?.metadata()?.len())).sum()
}

pub(crate) fn idle(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let url = bench.cluster()?.database(bench.dir(), "idle")?;
    for (what, storage) in [("JSON Lines", Storage::Jsonl), ("PostgreSQL", Storage::Postgres(url))]
    {
        let dir = bench.fresh("server")?;
        let server = Process::server(&dir.0, &storage)?;
        std::thread::sleep(Duration::from_secs(1));
        let watched = Watched(vec![server.pid()]);
        let before = watched.cpu()?;
        let seconds = bench.or(10.0, 3.0);
        std::thread::sleep(Duration::from_secs_f64(seconds));
        let after = watched.cpu()?;
        rows.push(Row {
            what: format!("{what}, idle, CPU"),
            target: Target::AtMost(0.0),
            value: Samples(vec![(after.watched - before.watched) / seconds * 100.0]),
            unit: "%",
            details: format!(
                "{:.1} context switches per second",
                // The count of a backend is lost when it exits.
                after.switches.saturating_sub(before.switches) as f64 / seconds
            ),
        });
        let idle = memory_mib(server.pid(), "VmRSS")?;
        rows.push(size(&format!("{what}, idle, memory"), 20.0, idle));
    }
    Ok(rows)
}

pub(crate) fn binary(_: &Bench) -> anyhow::Result<Vec<Row>> {
    let bytes = std::fs::metadata(env!("CARGO_BIN_EXE_hooks-backend"))?.len();
    Ok(vec![Row {
        what: "binary size".to_owned(),
        target: Target::AtMost(20.0),
        value: Samples(vec![bytes as f64 / 1e6]),
        unit: "MB",
        details: "stripped".to_owned(),
    }])
}
