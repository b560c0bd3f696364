//! The measured processes (server and baselines) and their resource usage.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::client::get;

/// Unit of CPU time in `/proc/PID/stat` on Linux, independent of the kernel's tick rate.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processes whose CPU time counts as the server's, including their children (PostgreSQL backends).
#[derive(Clone, Debug, Default)]
pub(crate) struct Watched(pub(crate) Vec<u32>);

/// CPU seconds used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    pub(crate) own: f64,
    pub(crate) watched: f64,
    /// Voluntary and involuntary context switches of the watched processes.
    pub(crate) switches: u64,
}

impl Watched {
    pub(crate) fn cpu(&self) -> anyhow::Result<Cpu> {
        let mut all = self.0.clone();
        for &pid in &self.0 {
            all.extend(children(pid));
        }
        let mut cpu = Cpu { own: seconds(std::process::id(), false)?, ..Cpu::default() };
        for pid in all {
            // A backend that exits after being listed is counted in its parent.
            cpu.watched += seconds(pid, true).unwrap_or(0.0);
            cpu.switches += switches(pid);
        }
        Ok(cpu)
    }
}

/// User and system time, with or without children that have exited.
fn seconds(pid: u32, with_children: bool) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat")?;
    let count = if with_children { 4 } else { 2 };
    let ticks = fields.split_ascii_whitespace().skip(11).take(count);
    Ok(ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND)
}

fn switches(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks
        .map(|task| {
            let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
            let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
            lines
                .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
                .sum::<u64>()
        })
        .sum()
}

fn children(pid: u32) -> Vec<u32> {
    std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .unwrap_or_default()
        .split_ascii_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// Memory in use (`VmRSS`) or its peak (`VmHWM`), in MiB.
pub(crate) fn memory_mib(pid: u32, name: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with(name)).context("VmRSS")?;
    let kib: f64 = line.split_whitespace().nth(1).context("VmRSS")?.parse()?;
    Ok(kib / 1024.0)
}

/// Sends a signal to a child and waits for its exit; kills it after a minute.
pub(crate) fn stop(child: &mut Child, signal: Signal) {
    if let Some(pid) = Pid::from_raw(child.id().cast_signed()) {
        let _ = kill_process(pid, signal);
    }
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_mins(1) {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// A process that serves HTTP: the server or a baseline.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Time from process start to the first 200 of `/health/ready`.
    pub(crate) ready_after: Duration,
}

/// Storage of the server.
#[derive(Clone, Debug)]
pub(crate) enum Storage {
    Jsonl,
    /// The connection string.
    Postgres(String),
}

impl Process {
    /// Starts the server in a directory; existing files become its backlog.
    pub(crate) fn server(dir: &Path, storage: &Storage) -> anyhow::Result<Self> {
        Self::server_with(dir, storage, &[])
    }

    /// Like [`Process::server`], with environment variables.
    pub(crate) fn server_with(
        dir: &Path,
        storage: &Storage,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_hooks-backend"));
        command.env_clear().current_dir(dir).env("PORT", "0");
        command.env("JOURNAL_DIR", dir.join("journal"));
        command.env("JSONL_PATH", dir.join("events.jsonl")).env("JOURNAL_MAX_BYTES", "64GiB");
        // Do not wait long for an unreachable database.
        command.env("SHUTDOWN_DELAY", "0s").env("SHUTDOWN_TIMEOUT", "1");
        if let Storage::Postgres(url) = storage {
            command.env("DATABASE_URL", url);
        }
        command.envs(settings.iter().copied());
        Self::start(command, "/health/ready")
    }

    /// Starts an HTTP baseline: this program with a hidden argument.
    pub(crate) fn baseline(name: &str) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["baseline-http", name]);
        Self::start(command, "/health/ready")
    }

    fn start(mut command: Command, ready: &str) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let stderr = child.stderr.take().context("stderr")?;
        let (sender, receiver) = mpsc::sync_channel(1);
        // Drains the log, so that the pipe never fills; shows warnings and errors.
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Some(at) = line.find("listening on http://") {
                    let address = line[at + 20..].split([',', ' ']).next().unwrap_or_default();
                    let _ = sender.try_send(address.parse::<SocketAddr>());
                } else if !line.contains("INFO") {
                    eprintln!("  {line}");
                }
            }
        });
        let address = receiver
            .recv_timeout(Duration::from_mins(1))
            .context("the process does not listen")??;
        while get(address, ready, "").is_err() {
            ensure!(begun.elapsed() < Duration::from_mins(1), "not ready within a minute");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Self { child, address, ready_after: begun.elapsed() })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The value of a metric.
    pub(crate) fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let text = get(self.address, "/metrics", "")?;
        let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(is_value));
        Ok(line.and_then(|line| line.rsplit_once(' ')).context("no such metric")?.1.parse()?)
    }

    /// Average number of records per fsync.
    pub(crate) fn records_per_sync(&self) -> anyhow::Result<f64> {
        let syncs = self.metric("hooks_journal_sync_records_count")?;
        Ok(self.metric("hooks_journal_sync_records_sum")? / syncs.max(1.0))
    }
}

fn is_value(rest: &str) -> bool {
    rest.starts_with(' ')
}

impl Drop for Process {
    fn drop(&mut self) {
        stop(&mut self.child, Signal::TERM);
    }
}

/// A temporary directory, deleted on drop.
#[derive(Debug)]
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(parent: &Path, name: &str) -> anyhow::Result<Self> {
        let path = parent.join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
