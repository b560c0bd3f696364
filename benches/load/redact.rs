//! Ingest throughput of JSON Lines storage with and without redaction.

use std::time::Duration;

use crate::Bench;
use crate::events::{Shape, templates};
use crate::generator::{Load, Outcome, Pace};
use crate::process::{Process, Storage, Watched};
use crate::table::{Row, Samples, Target, thousands};

pub(crate) fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let (mut on, mut off) = (Samples::default(), Samples::default());
    let (mut cpu_on, mut cpu_off) = (Samples::default(), Samples::default());
    for _ in 0..bench.rounds() {
        for (redact, rate, cpu) in
            [("off", &mut off, &mut cpu_off), ("standard", &mut on, &mut cpu_on)]
        {
            let outcome = load(bench, redact)?;
            rate.push(outcome.events_per_second());
            cpu.push(outcome.server / outcome.events as f64 * 1e6);
        }
    }
    let show = |samples: &Samples| samples.show(|rate| thousands(rate) + "/s");
    let micros = |samples: &Samples| samples.show(|micros| format!("{micros:.1} us"));
    Ok(vec![Row {
        what: "JSON Lines, batches of 50 of 2 KB, REDACT=standard / off".to_owned(),
        target: Target::AtLeast(0.7),
        value: on.over(&off),
        unit: "",
        details: format!(
            "{} / {}; CPU time of the server per event: {} / {}",
            show(&on),
            show(&off),
            micros(&cpu_on),
            micros(&cpu_off)
        ),
    }])
}

fn load(bench: &Bench, redact: &str) -> anyhow::Result<Outcome> {
    let dir = bench.fresh("server")?;
    let process = Process::server_with(&dir.0, &Storage::Jsonl, &[("REDACT", redact)])?;
    Load {
        address: process.address,
        connections: 10,
        pace: Pace::Closed,
        templates: templates(Shape::Typical, 50),
        seed: bench.seed(),
        warm_up: Duration::from_millis(300),
        duration: bench.seconds(),
        events_max: usize::MAX,
        watched: &Watched(vec![process.pid()]),
    }
    .run()
}
