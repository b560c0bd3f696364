//! `hooks-backend import`: events from JSON Lines files to a running server, by the way that all
//! events take. Every event has an id and a timestamp when it is sent, so whatever is sent twice is
//! stored once.

mod lines;
mod server;
mod source;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::client::Target;
use super::progress::Progress;
use crate::config::{Ack, parse_duration};
use crate::http::STORED_LINES;
use lines::Line;
use server::{Outcome, Server};
use source::{Next, Source};

/// Most events and about the most bytes in one request.
const BATCH_EVENTS_MAX: usize = 500;
const BATCH_BYTES_MAX: usize = 4 << 20;

/// How many rejected lines are named.
const NAMED_MAX: u64 = 100;

/// What to import, and where to.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// JSON Lines files: stored by a server or written by a client, or a rejected.jsonl; plain, gzip
    /// or zstd; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    #[command(flatten)]
    target: Target,

    /// When the server answers: journal (the events are on disk) or stored (committed in the store)
    #[arg(long, value_name = "ACK", default_value = "journal", ignore_case = true)]
    ack: Ack,

    /// The line of the first file to begin with, from 1
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    from_line: u64,

    /// How long to try again when the server does not answer or has no room. Units: s, m, h, d
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_duration)]
    retry_for: Duration,
}

/// Imports; exit 0 if every event was accepted.
pub(super) fn run(options: &Args) -> ExitCode {
    let server = Server::new(&options.target, options.ack.name(), options.retry_for);
    let (tally, progress) = (Tally::default(), Progress::new());
    let mut import = Import { server, tally, progress, waits_for: String::new() };
    for (at, path) in options.files.iter().enumerate() {
        let from_line = if at == 0 { options.from_line } else { 1 };
        if let Err(stopped) = import.file(path, from_line) {
            import.progress.clear();
            eprintln!("import stopped: {}", stopped.why);
            let rest: Vec<_> =
                options.files[at..].iter().map(|file| file.display().to_string()).collect();
            let (line, rest) = (stopped.line, rest.join(" "));
            eprintln!("go on with: hooks-backend import --from-line {line} {rest}");
            import.tally.print();
            return ExitCode::FAILURE;
        }
    }
    import.progress.clear();
    import.tally.print();
    if import.tally.rejected == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Import {
    server: Server,
    tally: Tally,
    progress: Progress,
    /// Why nothing goes on, as it was told last.
    waits_for: String,
}

/// Why an import did not get to its end.
struct Stopped {
    why: String,
    /// What stands before this line has been dealt with.
    line: u64,
}

impl Import {
    fn file(&mut self, path: &Path, from_line: u64) -> Result<(), Stopped> {
        let mut line = Vec::new();
        let mut batch: Vec<Line> = Vec::new();
        let (mut number, mut bytes) = (0, 0);
        let cannot_read = |error: std::io::Error, line: u64| {
            let why = format!("{} cannot be read: {error}", path.display());
            Stopped { why, line: line.max(from_line) }
        };
        let mut source = Source::open(path).map_err(|error| cannot_read(error, 1))?;
        loop {
            let next = source.next_line(&mut line);
            number += 1;
            if !matches!(next, Ok(Next::Line)) || bytes + line.len() > BATCH_BYTES_MAX {
                self.deliver(path, &batch)?;
                (batch, bytes) = (Vec::new(), 0);
            }
            match next.map_err(|error| cannot_read(error, number))? {
                Next::End => return Ok(()),
                _ if number < from_line => continue,
                Next::TooLong => {
                    self.tally.read += 1;
                    self.reject(path, number, "longer than any event may be");
                    continue;
                }
                Next::Line => {}
            }
            let text = line.strip_prefix(b"\xEF\xBB\xBF").filter(|_| number == 1).unwrap_or(&line);
            if text.trim_ascii().is_empty() {
                continue;
            }
            self.tally.read += 1;
            let event = std::str::from_utf8(text)
                .map_err(|error| format!("not UTF-8: {error}"))
                .and_then(|text| lines::prepare(text.trim(), number, source.known_by));
            match event {
                Ok(line) => {
                    if batch.last().is_some_and(|last| last.is_complete != line.is_complete) {
                        self.deliver(path, &batch)?;
                        (batch, bytes) = (Vec::new(), 0);
                    }
                    bytes += line.event.len() + 1;
                    batch.push(line);
                }
                Err(reason) => self.reject(path, number, &reason),
            }
            if batch.len() == BATCH_EVENTS_MAX {
                self.deliver(path, &batch)?;
                (batch, bytes) = (Vec::new(), 0);
            }
            let Tally { read, accepted, rejected } = &self.tally;
            self.progress.show(|| {
                let part = match source.bytes {
                    Some(bytes) => format!("{}%", source.read() * 100 / bytes.max(1)),
                    None => format!("{} MiB", source.read() >> 20),
                };
                let path = path.display();
                format!("{path} {part}: read {read}, accepted {accepted}, rejected {rejected}")
            });
        }
    }

    /// Sends a batch; in halves where it is refused as a whole.
    fn deliver(&mut self, path: &Path, batch: &[Line]) -> Result<(), Stopped> {
        let Some(first) = batch.first() else { return Ok(()) };
        let mut body = Vec::new();
        for line in batch {
            body.extend_from_slice(line.event.as_bytes());
            body.push(b'\n');
        }
        let Self { progress, waits_for, .. } = self;
        let waiting = |why: &str| {
            if waits_for != why {
                progress.clear();
                eprintln!("trying again: {why}");
                why.clone_into(waits_for);
            }
        };
        // What has id and timestamp can be told for ever. Where another server stored it, or rejected
        // it, it is taken as it stood there.
        let media_type = if first.is_complete { STORED_LINES } else { "application/x-ndjson" };
        let outcome = self.server.send(&body, media_type, waiting);
        match outcome.map_err(|why| Stopped { why, line: first.number })? {
            Outcome::Decided(refused) => {
                self.tally.accepted += (batch.len() - refused.len().min(batch.len())) as u64;
                for refused in refused {
                    let number = batch.get(refused.index).map_or(0, |line| line.number);
                    self.reject(path, number, &refused.reason());
                }
                Ok(())
            }
            Outcome::Refused(reason) if batch.len() == 1 => {
                self.reject(path, first.number, &reason);
                Ok(())
            }
            Outcome::Refused(_) => {
                let (first, second) = batch.split_at(batch.len() / 2);
                self.deliver(path, first)?;
                self.deliver(path, second)
            }
        }
    }

    fn reject(&mut self, path: &Path, number: u64, reason: &str) {
        self.tally.rejected += 1;
        if self.tally.rejected <= NAMED_MAX {
            self.progress.clear();
            eprintln!("{}:{number}: {reason}", path.display());
        }
    }
}

/// What became of the lines.
#[derive(Default)]
struct Tally {
    read: u64,
    accepted: u64,
    rejected: u64,
}

impl Tally {
    fn print(&self) {
        if self.rejected > NAMED_MAX {
            eprintln!("... and {} more", self.rejected - NAMED_MAX);
        }
        println!("read {}, accepted {}, rejected {}", self.read, self.accepted, self.rejected);
    }
}
