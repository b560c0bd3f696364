//! Ingest throughput of JSON Lines storage, compared with HTTP alone, HTTP and parsing, and disk alone.

use std::time::Duration;

use crate::Bench;
use crate::baselines::measured;
use crate::events::{Shape, templates};
use crate::generator::{Load, Outcome, Pace};
use crate::process::{Process, Storage, Watched};
use crate::table::{Row, Samples, Target, megabytes, thousands};

struct Case {
    what: &'static str,
    shape: Shape,
    batch: usize,
    connections: usize,
    baseline: Baseline,
    target: Target,
}

#[derive(Clone, Copy, PartialEq)]
enum Baseline {
    /// HTTP alone.
    Http,
    /// HTTP and parsing.
    Parse,
    /// The slower of HTTP with parsing and the disk alone.
    ParseOrDisk,
}

const CASES: [Case; 8] = [
    case("singles, 50 connections", Shape::Small, 0, 50, Baseline::Http, Target::AtLeast(0.75)),
    case(
        "batches of 50, 50 connections",
        Shape::Small,
        50,
        50,
        Baseline::Parse,
        Target::AtLeast(0.6),
    ),
    case(
        "large events, 50 connections",
        Shape::Real,
        0,
        50,
        Baseline::ParseOrDisk,
        Target::AtLeast(0.8),
    ),
    case("singles, 1 connection", Shape::Small, 0, 1, Baseline::Http, Target::None),
    case("singles, 10 connections", Shape::Small, 0, 10, Baseline::Http, Target::None),
    case("singles, 1000 connections", Shape::Small, 0, 1000, Baseline::Http, Target::None),
    case("batches of 500, 50 connections", Shape::Small, 500, 50, Baseline::Parse, Target::None),
    case(
        "batches of 50 large, 10 connections",
        Shape::Real,
        50,
        10,
        Baseline::ParseOrDisk,
        Target::None,
    ),
];

const fn case(
    what: &'static str,
    shape: Shape,
    batch: usize,
    connections: usize,
    baseline: Baseline,
    target: Target,
) -> Case {
    Case { what, shape, batch, connections, baseline, target }
}

pub(crate) fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let wanted = |case: &&Case| !bench.options.quick || !matches!(case.target, Target::None);
    CASES.iter().filter(wanted).map(|case| compare(bench, case)).collect()
}

fn compare(bench: &Bench, case: &Case) -> anyhow::Result<Row> {
    let in_bytes = case.shape == Shape::Real;
    let rate = |outcome: &Outcome| {
        if in_bytes { outcome.bytes_per_second() } else { outcome.events_per_second() }
    };
    let show = |samples: &Samples| {
        samples.show(|rate| if in_bytes { megabytes(rate) + "/s" } else { thousands(rate) + "/s" })
    };
    let (mut ours, mut http, mut disk) =
        (Samples::default(), Samples::default(), Samples::default());
    let mut details = String::new();
    for _ in 0..bench.rounds() {
        let name = if case.baseline == Baseline::Http { "http" } else { "parse" };
        let process = Process::baseline(name)?;
        let baseline = load(bench, case, &process)?;
        http.push(rate(&baseline));
        drop(process);

        let dir = bench.fresh("server")?;
        let process = Process::server(&dir.0, &Storage::Jsonl)?;
        let outcome = load(bench, case, &process)?;
        ours.push(rate(&outcome));
        let group = process.records_per_sync()?;
        drop(process);
        let stored = std::fs::metadata(dir.0.join("events.jsonl"))?.len() as f64;
        drop(dir);

        if case.baseline == Baseline::ParseOrDisk {
            let group_bytes = group * stored / outcome.events_all as f64;
            disk.push(measured(&[
                "baseline-disk".to_owned(),
                bench.dir().display().to_string(),
                format!("{group_bytes:.0}"),
                bench.seconds().as_millis().to_string(),
            ])?);
        }
        details = format!(
            "{group:.0} events per fsync; cores: server {:.2}, generator {:.2} (baseline {:.2}, {:.2}); \
             {:.2} context switches per event",
            cores(outcome.server, &outcome),
            cores(outcome.generator, &outcome),
            cores(baseline.server, &baseline),
            cores(baseline.generator, &baseline),
            outcome.switches as f64 / outcome.events as f64,
        );
    }
    let (baseline, named) = match case.baseline {
        Baseline::Http => (http.clone(), format!("HTTP {}", show(&http))),
        Baseline::Parse => (http.clone(), format!("HTTP and parsing {}", show(&http))),
        Baseline::ParseOrDisk => {
            let named = format!("HTTP and parsing {}, disk {}", show(&http), show(&disk));
            (http.min_with(&disk), named)
        }
    };
    Ok(Row {
        what: format!("JSON Lines, {}", case.what),
        target: case.target,
        value: ours.over(&baseline),
        unit: "",
        details: format!("{}; baseline: {named}; {details}", show(&ours)),
    })
}

fn load(bench: &Bench, case: &Case, process: &Process) -> anyhow::Result<Outcome> {
    Load {
        address: process.address,
        connections: case.connections,
        pace: Pace::Closed,
        templates: templates(case.shape, case.batch),
        seed: bench.seed(),
        warm_up: Duration::from_millis(300),
        duration: bench.seconds(),
        events_max: usize::MAX,
        watched: &Watched(vec![process.pid()]),
    }
    .run()
}

/// CPU seconds per second.
fn cores(seconds: f64, outcome: &Outcome) -> f64 {
    seconds / outcome.elapsed.as_secs_f64()
}
