//! `hooks-backend import`: sends the events of JSON Lines files to a running server.
//!
//! Every event has an id and a timestamp when it is sent, so an import can be repeated: an event that
//! is sent twice is stored once.

mod lines;
mod server;
mod source;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::client::Target;
use super::progress::ProgressLine;
use super::{complain, say};
use crate::config::{Ack, parse_duration};
use crate::decode::STORED_LINES;
use crate::json::text::skip_byte_order_marks;
use lines::ImportLine;
use server::{BatchOutcome, ImportTarget};
use source::{ImportSource, Next};

/// Maximum number of events in a request.
const BATCH_EVENTS_MAX: usize = 500;

/// Size of a batch at which it is sent.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// Maximum number of rejected lines that are listed.
const LISTED_MAX: u64 = 100;

/// The arguments of `import`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// JSON Lines files, plain or compressed with gzip or zstd: events stored by a server, events
    /// written by a client, or a rejected.jsonl; - for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// When the server responds to a batch
    #[arg(long, value_name = "WHEN", default_value = "journal", ignore_case = true)]
    ack: Ack,

    /// Line of the first file to begin with, from 1
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    from_line: u64,

    /// How long to retry while the server is unreachable or has no room. Units: s, m, h, d
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_duration)]
    retry_for: Duration,

    #[command(flatten)]
    target: Target,
}

/// Imports the files. The exit status is 0 if every event was accepted.
pub(super) fn run(args: &Args) -> ExitCode {
    let server = match ImportTarget::new(&args.target, args.ack.name(), args.retry_for) {
        Ok(server) => server,
        Err(error) => return super::exit_code(Err(error.into())),
    };
    let (tally, progress) = (Tally::default(), ProgressLine::new());
    let mut import = Import { server, tally, progress, waits_for: String::new() };
    for (at, path) in args.files.iter().enumerate() {
        let from_line = if at == 0 { args.from_line } else { 1 };
        if let Err(stopped) = import.file(path, from_line) {
            import.progress.clear();
            complain(format_args!("import stopped: {}", stopped.reason));
            let rest: Vec<_> =
                args.files[at..].iter().map(|file| file.display().to_string()).collect();
            let (line, rest) = (stopped.line, rest.join(" "));
            complain(format_args!("to continue: hooks-backend import --from-line {line} {rest}"));
            import.tally.print();
            return ExitCode::FAILURE;
        }
    }
    import.progress.clear();
    import.tally.print();
    if import.tally.rejected == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Import {
    server: ImportTarget,
    tally: Tally,
    progress: ProgressLine,
    /// The last reason for a retry that was printed.
    waits_for: String,
}

/// Why and where an import stopped.
struct Stopped {
    reason: String,
    /// The line to continue with: all lines before it are done.
    line: u64,
}

/// The lines of a file that are sent together.
#[derive(Default)]
struct LineBatch {
    lines: Vec<ImportLine>,
    bytes: usize,
}

impl LineBatch {
    /// Reports whether the batch can take another line. Lines with and without an id and a timestamp
    /// are sent with different content types.
    fn takes(&self, line: &ImportLine) -> bool {
        self.lines.len() < BATCH_EVENTS_MAX
            && self.bytes + line.event.len() < BATCH_BYTES_MAX
            && self.lines.last().is_none_or(|last| last.is_complete == line.is_complete)
    }

    fn push(&mut self, line: ImportLine) {
        self.bytes += line.event.len() + 1;
        self.lines.push(line);
    }
}

impl Import {
    fn file(&mut self, path: &Path, from_line: u64) -> Result<(), Stopped> {
        let cannot_read = |error: std::io::Error, line: u64| {
            let reason = format!("{} cannot be read: {error}", path.display());
            Stopped { reason, line: line.max(from_line) }
        };
        let mut source = ImportSource::open(path).map_err(|error| cannot_read(error, 1))?;
        let (mut text, mut batch) = (Vec::new(), LineBatch::default());
        for number in 1.. {
            let next = match source.next_line(&mut text) {
                Ok(next) => next,
                Err(error) => {
                    self.deliver(path, &batch.lines)?;
                    return Err(cannot_read(error, number));
                }
            };
            let line = match next {
                Next::End => break,
                _ if number < from_line => continue,
                Next::TooLong => Err("longer than any event may be".to_owned()),
                Next::Line => match parse(&text, number, source.known_by) {
                    Some(line) => line,
                    None => continue,
                },
            };
            self.tally.read += 1;
            match line {
                Ok(line) => {
                    if !batch.takes(&line) {
                        self.deliver(path, &std::mem::take(&mut batch).lines)?;
                    }
                    batch.push(line);
                }
                Err(reason) => self.reject(path, number, &reason),
            }
            self.show_progress(path, &source);
        }
        self.deliver(path, &batch.lines)
    }

    fn show_progress(&mut self, path: &Path, source: &ImportSource) {
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

    /// Sends a batch; in halves if it is rejected as a whole.
    fn deliver(&mut self, path: &Path, batch: &[ImportLine]) -> Result<(), Stopped> {
        let Some(first) = batch.first() else { return Ok(()) };
        let mut body = Vec::new();
        for line in batch {
            body.extend_from_slice(line.event.as_bytes());
            body.push(b'\n');
        }
        let Self { progress, waits_for, .. } = self;
        let waiting = |reason: &str| {
            if waits_for != reason {
                progress.clear();
                complain(format_args!("retrying: {reason}"));
                reason.clone_into(waits_for);
            }
        };
        // Events with an id and a timestamp are recognized for ever. If a server has stored or
        // rejected them before, they are accepted in the form that they have.
        let media_type = if first.is_complete { STORED_LINES } else { "application/x-ndjson" };
        let outcome = self.server.send(&body, media_type, waiting);
        match outcome.map_err(|reason| Stopped { reason, line: first.number })? {
            BatchOutcome::Decided(rejected) => {
                self.tally.accepted += (batch.len() - rejected.len().min(batch.len())) as u64;
                for rejected in rejected {
                    let number = batch.get(rejected.index).map_or(0, |line| line.number);
                    self.reject(path, number, &rejected.reason());
                }
                Ok(())
            }
            BatchOutcome::Rejected(reason) if batch.len() == 1 => {
                self.reject(path, first.number, &reason);
                Ok(())
            }
            BatchOutcome::Rejected(_) => {
                let (first, second) = batch.split_at(batch.len() / 2);
                self.deliver(path, first)?;
                self.deliver(path, second)
            }
        }
    }

    fn reject(&mut self, path: &Path, number: u64, reason: &str) {
        self.tally.rejected += 1;
        if self.tally.rejected <= LISTED_MAX {
            self.progress.clear();
            complain(format_args!("{}:{number}: {reason}", path.display()));
        }
    }
}

/// Makes a line ready to be sent, or says why it is no event; `None` for an empty line.
fn parse(
    text: &[u8],
    number: u64,
    known_by: crate::event::Timestamp,
) -> Option<Result<ImportLine, String>> {
    let text = skip_byte_order_marks(text);
    if text.trim_ascii().is_empty() {
        return None;
    }
    let text = std::str::from_utf8(text).map_err(|error| format!("not UTF-8: {error}"));
    Some(text.and_then(|text| lines::prepare(text.trim(), number, known_by)))
}

/// Counts of lines.
#[derive(Default)]
struct Tally {
    read: u64,
    accepted: u64,
    rejected: u64,
}

impl Tally {
    fn print(&self) {
        if self.rejected > LISTED_MAX {
            complain(format_args!("... and {} more", self.rejected - LISTED_MAX));
        }
        let Self { read, accepted, rejected } = self;
        say(format_args!("read {read}, accepted {accepted}, rejected {rejected}"));
    }
}
