//! Cost of the index for ingest.

use std::time::Duration;

use crate::Bench;
use crate::events::{Shape, templates};
use crate::generator::{Load, Outcome, Pace};
use crate::process::{Process, Scratch, Storage, Watched};
use crate::table::{Row, Samples, Target, thousands};

/// JSON Lines storage with and without the index.
pub(crate) fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let (mut on, mut off) = (Samples::default(), Samples::default());
    let (mut on_ms, mut off_ms) = (Samples::default(), Samples::default());
    for _ in 0..bench.rounds() {
        for (indexed, rate, milliseconds) in
            [(false, &mut off, &mut off_ms), (true, &mut on, &mut on_ms)]
        {
            let server = Served::start(bench, indexed)?;
            rate.push(server.load(bench, Pace::Closed, 50)?.events_per_second());
            drop(server);
            let server = Served::start(bench, indexed)?;
            milliseconds.push(server.load(bench, Pace::Open(10_000.0), 100)?.quantile_ms(0.99));
        }
    }
    let show = |rate: &Samples| rate.show(|rate| thousands(rate) + "/s");
    let show_ms = |samples: &Samples| samples.show(|ms| format!("{ms:.2}"));
    Ok(vec![
        Row {
            what: "JSON Lines, singles, 50 connections, with index / without".to_owned(),
            target: Target::AtLeast(0.85),
            value: on.over(&off),
            unit: "",
            details: format!("{} / {}", show(&on), show(&off)),
        },
        Row {
            what: "JSON Lines, latency at 10,000 singles/s, p99, with index / without".to_owned(),
            target: Target::None,
            value: on_ms.over(&off_ms),
            unit: "",
            details: format!("{} ms / {} ms", show_ms(&on_ms), show_ms(&off_ms)),
        },
    ])
}

/// A server and its directory.
struct Served {
    process: Process,
    _dir: Scratch,
}

impl Served {
    fn start(bench: &Bench, indexed: bool) -> anyhow::Result<Self> {
        let dir = bench.fresh("server")?;
        if !indexed {
            // A non-empty directory with the name of the index prevents its creation.
            std::fs::create_dir_all(dir.0.join("events.jsonl.index/not"))?;
        }
        Ok(Self { process: Process::server(&dir.0, &Storage::Jsonl)?, _dir: dir })
    }

    fn load(&self, bench: &Bench, pace: Pace, connections: usize) -> anyhow::Result<Outcome> {
        Load {
            address: self.process.address,
            connections,
            pace,
            templates: templates(Shape::Small, 0),
            seed: bench.seed(),
            warm_up: Duration::from_millis(500),
            duration: bench.seconds(),
            events_max: usize::MAX,
            watched: &Watched(vec![self.process.pid()]),
        }
        .run()
    }
}
