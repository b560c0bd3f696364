//! Measures the server against the limits of the machine and prints a table. Run by `scripts/bench`;
//! explained in docs/performance.md.

mod baselines;
mod client;
mod cluster;
mod copy;
mod events;
mod generator;
mod history;
mod index;
mod ingest;
mod instructions;
mod latency;
mod postgres_load;
mod process;
mod reading;
mod redact;
mod resources;
mod table;

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use cluster::Cluster;
use process::Scratch;
use table::Row;

/// Measures hooks-backend against the limits of this machine and prints one table
#[derive(Debug, Parser)]
#[command(name = "scripts/bench", max_term_width = 100)]
struct Options {
    /// One short round, a few minutes
    #[arg(long)]
    quick: bool,
    /// Only measurements with NAME in their name; can be repeated. Names: ingest, latency, redact,
    /// postgres, backlog, growth, memory, start, idle, binary, index; reading (15 minutes and 20 GB of
    /// disk) runs only if named
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Length of each measurement in seconds [default: 3; quick: 1]
    #[arg(long)]
    seconds: Option<f64>,
    /// Rounds, each with baseline and server [default: 3; quick: 1]
    #[arg(long)]
    rounds: Option<usize>,
    /// Journal records to deliver [default: 1000000; quick: 300000]
    #[arg(long)]
    backlog: Option<usize>,
    /// Rows in the table for the second measurement of throughput [default: 1000000; quick: 300000]
    #[arg(long)]
    growth: Option<usize>,
    /// Stored events for reading [default: 10000000; quick: 200000]
    #[arg(long)]
    events: Option<usize>,
    /// Directory on the disk to measure
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// Passed by Cargo, ignored
    #[arg(long, hide = true)]
    bench: bool,
}

/// Options and resources shared by all measurements.
#[derive(Debug)]
struct Bench {
    options: Options,
    scratch: Scratch,
    cluster: OnceCell<Cluster>,
    seed: std::cell::Cell<u64>,
}

impl Bench {
    fn or(&self, usual: f64, quick: f64) -> f64 {
        if self.options.quick { quick } else { usual }
    }

    fn seconds(&self) -> Duration {
        Duration::from_secs_f64(self.options.seconds.unwrap_or(self.or(3.0, 1.0)))
    }

    fn rounds(&self) -> usize {
        self.options.rounds.unwrap_or(self.or(3.0, 1.0) as usize)
    }

    fn backlog(&self) -> usize {
        self.options.backlog.unwrap_or(self.or(1e6, 3e5) as usize)
    }

    fn growth(&self) -> usize {
        self.options.growth.unwrap_or(self.or(1e6, 3e5) as usize)
    }

    fn events(&self) -> usize {
        self.options.events.unwrap_or(self.or(1e7, 2e5) as usize)
    }

    /// A seed for one load, so that no two loads send the same ids.
    fn seed(&self) -> u64 {
        self.seed.set(self.seed.get() + 1);
        self.seed.get()
    }

    fn dir(&self) -> &Path {
        &self.scratch.0
    }

    fn fresh(&self, name: &str) -> anyhow::Result<Scratch> {
        Scratch::new(self.dir(), name)
    }

    fn cluster(&self) -> anyhow::Result<&Cluster> {
        if self.cluster.get().is_none() {
            let cluster = Cluster::start(self.dir())?;
            // Cannot be set already: there is only one thread.
            let _ = self.cluster.set(cluster);
        }
        self.cluster.get().ok_or_else(|| anyhow::anyhow!("PostgreSQL"))
    }
}

type Measure = fn(&Bench) -> anyhow::Result<Vec<Row>>;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments[at].parse::<usize>();
    match arguments.first().map(String::as_str) {
        Some("baseline-http") => return baselines::http(&arguments[1]),
        Some("baseline-disk") => {
            let duration = Duration::from_millis(number(3)? as u64);
            return baselines::disk(Path::new(&arguments[1]), number(2)?, duration);
        }
        Some("baseline-copy") => {
            let (connections, rows_per_copy, rows) = (number(2)?, number(3)?, number(4)?);
            return copy::run(&arguments[1], connections, rows_per_copy, rows, number(5)? as u64);
        }
        Some("instructions") if arguments.len() == 3 => {
            return instructions::run(&arguments[1], number(2)?);
        }
        Some("instructions") => {
            for (case, events) in instructions::CASES {
                println!("{case} {events}");
            }
            return Ok(());
        }
        _ => {}
    }
    let options = Options::parse();
    let name = format!("hooks-bench-{}", std::process::id());
    let bench = Bench {
        scratch: Scratch::new(&options.dir, &name)?,
        cluster: OnceCell::new(),
        seed: std::cell::Cell::new(0),
        options,
    };
    // The user of PostgreSQL needs access.
    std::fs::set_permissions(bench.dir(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;

    let all: [(&str, Measure); 12] = [
        ("ingest", ingest::run),
        ("latency", latency::run),
        ("redact", redact::run),
        ("postgres", postgres_load::live),
        ("backlog", postgres_load::backlog),
        ("growth", postgres_load::growth),
        ("memory", resources::memory),
        ("start", resources::start),
        ("idle", resources::idle),
        ("binary", resources::binary),
        ("index", index::run),
        ("reading", reading::run),
    ];
    let only = &bench.options.only;
    let mut rows = Vec::new();
    for (name, measure) in all {
        if (only.is_empty() && name != "reading")
            || only.iter().any(|only| name.contains(only.as_str()))
        {
            eprintln!("{name} ...");
            let measured = measure(&bench)?;
            eprint!("{}", table::markdown(&measured));
            rows.extend(measured);
        }
    }
    println!("{}", machine());
    print!("{}", table::markdown(&rows));
    Ok(())
}

/// One line that describes the machine.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or("", |(_, value)| value).trim().to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{cores} cores ({}), {}, Linux {}\n",
        value(&read("/proc/cpuinfo"), "model name"),
        value(&read("/proc/meminfo"), "MemTotal"),
        read("/proc/sys/kernel/osrelease").trim()
    )
}
