//! Throughput of PostgreSQL storage, compared with `COPY` of the same rows into the same table.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::Bench;
use crate::baselines::measured;
use crate::events::{Shape, templates};
use crate::generator::{Load, Outcome, Pace};
use crate::process::{Process, Storage, Watched};
use crate::table::{Row, Samples, Target, thousands};

/// URL of an unreachable database: nothing listens on the port.
pub(crate) const UNREACHABLE: &str = "postgres://postgres@127.0.0.1:9/away";

/// Numbers of parallel `COPY`s to try; the best one is the baseline.
const CONNECTIONS: [usize; 3] = [1, 2, 3];

/// Baselines of one measurement.
#[derive(Default)]
struct Copies {
    one: Samples,
    best: Samples,
    connections: usize,
}

impl Copies {
    /// The first round finds the best number of connections, the following ones reuse it.
    fn round(&mut self, bench: &Bench, rows_per_copy: f64, rows: usize) -> anyhow::Result<()> {
        let run = |connections: usize| {
            let url = bench.cluster()?.database(bench.dir(), "baseline")?;
            copy(bench, &url, connections, rows_per_copy, rows)
        };
        let one = run(1)?;
        self.one.push(one);
        if self.connections == 0 {
            let mut best = (one, 1);
            for connections in CONNECTIONS {
                let rate = if connections == 1 { one } else { run(connections)? };
                if rate > best.0 {
                    best = (rate, connections);
                }
            }
            self.connections = best.1;
            self.best.push(best.0);
        } else {
            self.best.push(if self.connections == 1 { one } else { run(self.connections)? });
        }
        Ok(())
    }

    fn show(&self) -> String {
        let show = |samples: &Samples| samples.show(|rate| thousands(rate) + "/s");
        format!(
            "COPY over 1 connection {}, over {} {}",
            show(&self.one),
            self.connections,
            show(&self.best)
        )
    }
}

fn copy(
    bench: &Bench,
    url: &str,
    connections: usize,
    rows_per_copy: f64,
    rows: usize,
) -> anyhow::Result<f64> {
    measured(&[
        "baseline-copy".to_owned(),
        url.to_owned(),
        connections.to_string(),
        format!("{:.0}", rows_per_copy.max(1.0)),
        rows.to_string(),
        bench.seed().to_string(),
    ])
}

/// Batches of 50 in a closed loop, measured until the last commit.
pub(crate) fn live(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let rows = bench.or(400e3, 200e3) as usize;
    let (mut ours, mut copies) = (Samples::default(), Copies::default());
    let mut details = String::new();
    for _ in 0..bench.rounds() {
        let url = bench.cluster()?.database(bench.dir(), "ours")?;
        let stored = send_and_store(bench, &url, rows)?;
        ours.push(stored.rate);
        details = stored.details;
        copies.round(bench, stored.rows_per_commit, rows)?;
    }
    Ok(vec![Row {
        what: "PostgreSQL, batches of 50, to the last commit".to_owned(),
        target: Target::AtLeast(0.8),
        value: ours.over(&copies.best),
        unit: "",
        details: format!(
            "{}; baseline: {}; ratio to one connection: {:.2}; {details}",
            ours.show(|rate| thousands(rate) + "/s"),
            copies.show(),
            ours.over(&copies.one).median(),
        ),
    }])
}

struct Stored {
    rate: f64,
    rows_per_commit: f64,
    details: String,
}

fn send_and_store(bench: &Bench, url: &str, rows: usize) -> anyhow::Result<Stored> {
    let dir = bench.fresh("server")?;
    let server = Process::server(&dir.0, &Storage::Postgres(url.to_owned()))?;
    let pid = bench.cluster()?.pid();
    let commits = commits(bench, url)?;
    let (begun, watched) = (Instant::now(), Watched(vec![server.pid(), pid]));
    let before = watched.cpu()?;
    let sent = send(bench, &server, rows)?;
    let accepted_after = begun.elapsed().as_secs_f64();
    wait_stored(&server, sent.events_all)?;
    let seconds = begun.elapsed().as_secs_f64();
    let after = watched.cpu()?;
    let count = committed(bench, url)?;
    let rows_per_commit = count as f64 / (self::commits(bench, url)? - commits).max(1.0);
    Ok(Stored {
        rate: sent.events_all as f64 / seconds,
        rows_per_commit,
        details: format!(
            "accepted at {}/s; {rows_per_commit:.0} rows per commit; cores: server and PostgreSQL {:.2}",
            thousands(sent.events_all as f64 / accepted_after),
            (after.watched - before.watched) / seconds
        ),
    })
}

/// Sends small events in batches of 50 in a closed loop.
pub(crate) fn send(bench: &Bench, server: &Process, events: usize) -> anyhow::Result<Outcome> {
    Load {
        address: server.address,
        connections: 20,
        pace: Pace::Closed,
        templates: templates(Shape::Small, 50),
        seed: bench.seed(),
        warm_up: Duration::ZERO,
        duration: Duration::from_mins(10),
        events_max: events,
        watched: &Watched(vec![server.pid()]),
    }
    .run()
}

fn wait_stored(server: &Process, events: usize) -> anyhow::Result<()> {
    let begun = Instant::now();
    while server.metric("hooks_events_stored_total")? < events as f64 {
        ensure!(
            begun.elapsed() < Duration::from_hours(1),
            "the rows are not stored within an hour"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Number of rows in the table.
fn committed(bench: &Bench, url: &str) -> anyhow::Result<i64> {
    let database = url.rsplit('/').next().unwrap_or_default();
    Ok(bench
        .cluster()?
        .client(database)?
        .query_one("SELECT count(*) FROM hook_events", &[])?
        .get(0))
}

/// Number of transactions of the forwarder: updates of its position.
fn commits(bench: &Bench, url: &str) -> anyhow::Result<f64> {
    let database = url.rsplit('/').next().unwrap_or_default();
    let mut client = bench.cluster()?.client(database)?;
    // PostgreSQL publishes the statistics of a backend after at most one idle second.
    std::thread::sleep(Duration::from_millis(1100));
    let row = client.query_one(
        "SELECT coalesce(sum(n_tup_upd), 0)::float8 FROM pg_stat_user_tables
         WHERE relname = 'hook_positions'",
        &[],
    )?;
    Ok(row.get(0))
}

/// Delivery of a backlog after the database was unreachable.
pub(crate) fn backlog(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let records = bench.backlog();
    let (mut ours, mut copies) = (Samples::default(), Copies::default());
    let rounds = bench.rounds().min(3);
    for _ in 0..rounds {
        let dir = bench.fresh("server")?;
        let sent = fill(bench, &dir.0, records)?;
        let url = bench.cluster()?.database(bench.dir(), "ours")?;
        let commits = commits(bench, &url)?;
        let begun = Instant::now();
        let server = Process::server(&dir.0, &Storage::Postgres(url.clone()))?;
        wait_stored(&server, sent)?;
        ours.push(sent as f64 / begun.elapsed().as_secs_f64());
        let rows = committed(bench, &url)?;
        ensure!(rows as usize == sent, "{sent} events were sent, {rows} are stored");
        let rows_per_commit = rows as f64 / (self::commits(bench, &url)? - commits).max(1.0);
        drop(server);
        drop(dir);
        copies.round(bench, rows_per_commit, records)?;
    }
    Ok(vec![Row {
        what: format!("PostgreSQL, backlog of {records} records"),
        target: Target::AtLeast(0.9),
        value: ours.over(&copies.best),
        unit: "",
        details: format!(
            "{}; baseline: {}; ratio to one connection: {:.2}",
            ours.show(|rate| thousands(rate) + "/s"),
            copies.show(),
            ours.over(&copies.one).median(),
        ),
    }])
}

/// Fills a journal while the database is unreachable; returns the number of accepted events.
pub(crate) fn fill(bench: &Bench, dir: &Path, records: usize) -> anyhow::Result<usize> {
    let server = Process::server(dir, &Storage::Postgres(UNREACHABLE.to_owned()))?;
    Ok(send(bench, &server, records)?.events_all)
}

/// Throughput with a small and with a large table.
pub(crate) fn growth(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let (few, many) = (100_000, bench.growth());
    let rows = bench.or(200e3, 100e3) as usize;
    let (mut small, mut large) = (Samples::default(), Samples::default());
    let url = bench.cluster()?.database(bench.dir(), "growth")?;
    let mut stored = 0;
    for (size, samples) in [(few, &mut small), (many, &mut large)] {
        if size > stored {
            copy(bench, &url, 2, 10_000.0, size - stored)?;
        }
        for _ in 0..bench.rounds().min(3) {
            bench.cluster()?.client("growth")?.batch_execute("CHECKPOINT")?;
            samples.push(send_and_store(bench, &url, rows)?.rate);
            stored = size + rows;
        }
    }
    let value = Samples(vec![large.median() / small.median()]);
    let show = |samples: &Samples| samples.show(|rate| thousands(rate) + "/s");
    Ok(vec![Row {
        what: format!("PostgreSQL, throughput with {many} rows / with {few}"),
        target: Target::AtLeast(0.9),
        value,
        unit: "",
        details: format!("{} with {many} rows, {} with {few}", show(&large), show(&small)),
    }])
}
