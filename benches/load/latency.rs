//! Latency at a fixed rate: from the time a request was due to the response.

use std::time::Duration;

use crate::Bench;
use crate::events::{Shape, templates};
use crate::generator::{Load, Outcome, Pace};
use crate::process::{Process, Storage, Watched};
use crate::table::{Row, Samples, Target};

/// Requests per second.
const RATE: f64 = 10_000.0;

const QUANTILES: [(f64, &str, f64); 3] =
    [(0.5, "p50", 1.0), (0.99, "p99", 5.0), (0.999, "p99.9", 20.0)];

pub(crate) fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let mut quantiles = vec![Samples::default(); 9];
    let mut notes = [String::new(), String::new(), String::new()];
    for _ in 0..bench.rounds() {
        let process = Process::baseline("http")?;
        let baseline = load(bench, &process, None)?;
        notes[0] = note(&baseline);
        drop(process);

        let dir = bench.fresh("server")?;
        let process = Process::server(&dir.0, &Storage::Jsonl)?;
        let jsonl = load(bench, &process, None)?;
        notes[1] = note(&jsonl);
        drop(process);

        let cluster = bench.cluster()?;
        let url = cluster.database(bench.dir(), "latency")?;
        let dir = bench.fresh("server")?;
        let process = Process::server(&dir.0, &Storage::Postgres(url))?;
        let postgres = load(bench, &process, Some(cluster.pid()))?;
        let lag = process.metric("hooks_forwarder_lag_events")?;
        notes[2] = format!("{}, lag at the end {lag:.0} events", note(&postgres));
        for (at, outcome) in [baseline, jsonl, postgres].iter().enumerate() {
            for (of, (quantile, ..)) in QUANTILES.iter().enumerate() {
                quantiles[at * 3 + of].push(outcome.quantile_ms(*quantile));
            }
        }
    }
    let mut rows = Vec::new();
    for (at, storage) in ["JSON Lines", "PostgreSQL"].into_iter().enumerate() {
        for (of, &(_, name, most)) in QUANTILES.iter().enumerate() {
            let baseline = quantiles[of].show(|ms| format!("{ms:.2}"));
            let details = if of == 0 {
                format!("{}; HTTP alone: {baseline} ms, {}", notes[at + 1], notes[0])
            } else {
                format!("HTTP alone: {baseline} ms")
            };
            rows.push(Row {
                what: format!("{storage}, latency at 10,000 singles/s, {name}"),
                target: Target::AtMost(most),
                value: quantiles[(at + 1) * 3 + of].clone(),
                unit: "ms",
                details,
            });
        }
    }
    Ok(rows)
}

fn load(bench: &Bench, process: &Process, postmaster: Option<u32>) -> anyhow::Result<Outcome> {
    let mut watched = vec![process.pid()];
    watched.extend(postmaster);
    Load {
        address: process.address,
        connections: 100,
        pace: Pace::Open(RATE),
        templates: templates(Shape::Small, 0),
        seed: bench.seed(),
        warm_up: Duration::from_millis(500),
        duration: bench.seconds() * 2,
        events_max: usize::MAX,
        watched: &Watched(watched),
    }
    .run()
}

fn note(outcome: &Outcome) -> String {
    let seconds = outcome.elapsed.as_secs_f64();
    format!(
        "{:.0}/s, cores: server {:.2}, generator {:.2}",
        outcome.events_per_second(),
        outcome.server / seconds,
        outcome.generator / seconds
    )
}
