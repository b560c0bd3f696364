//! `hooks-backend export`: writes all events to a file or to standard output.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, bail};

use super::client::Client;
use super::output::TerminalLines;
use super::progress::ProgressLine;
use super::selection::Selection;

/// Size of the blocks in which an export is read and written.
const BLOCK_BYTES: usize = 256 << 10;

/// The arguments of `export`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// File to write; not given: standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Format to write
    #[arg(short, long, value_enum, default_value_t)]
    format: OutputFormat,

    #[command(flatten)]
    selection: Selection,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, clap::ValueEnum)]
enum OutputFormat {
    /// JSON Lines, as events are stored
    #[default]
    Ndjson,
    /// A table as text; data and extra as JSON
    Csv,
    /// A table for analysis with pandas, Spark and the like
    Parquet,
}

impl OutputFormat {
    fn name(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }
}

/// Writes the selected events.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    if args.output.is_none() && args.format == OutputFormat::Parquet && io::stdout().is_terminal() {
        bail!("Parquet cannot be shown on a terminal: name a file with --output, or use a pipe");
    }
    if let Some((_, format)) = args.selection.parameters.iter().find(|(name, _)| name == "format") {
        bail!("the format is an option of this command: --format {format}");
    }
    let client = Client::for_streams(&args.selection.target)?;
    let path = args.selection.path("/events/export", &[("format", args.format.name())]);
    let mut response = client.stream(&path, &[])?;
    let (mut out, mut progress): (Box<dyn Write>, _) = match &args.output {
        Some(path) => {
            // A new file is for the user alone, as the events are.
            let mut options = OpenOptions::new();
            let options = options.write(true).create(true).truncate(true).mode(0o600);
            let file = options.open(path).with_context(|| path.display().to_string())?;
            (Box::new(BufWriter::new(file)), ProgressLine::new())
        }
        None if io::stdout().is_terminal() => {
            (Box::new(TerminalLines::new(io::stdout().lock())), ProgressLine::beside_results())
        }
        None => (Box::new(io::stdout().lock()), ProgressLine::beside_results()),
    };
    let mut written = Written::new(args.format);
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        let read = response.read(&mut block).with_context(|| {
            progress.clear();
            cut_off(args.format)
        })?;
        if read == 0 {
            break;
        }
        match out.write_all(&block[..read]) {
            // The reader has gone away (`| head`).
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.context("writing")?,
        }
        written.add(&block[..read]);
        progress.show(|| written.text());
    }
    out.flush().context("writing")?;
    progress.end(|| written.text());
    Ok(())
}

fn cut_off(format: OutputFormat) -> &'static str {
    match format {
        OutputFormat::Parquet => "the export was cut off; the written file cannot be read",
        OutputFormat::Ndjson | OutputFormat::Csv => {
            "the export was cut off; events are missing, and the last written line can be incomplete"
        }
    }
}

/// Progress of an export.
struct Written {
    begun: Instant,
    format: OutputFormat,
    lines: usize,
    bytes: usize,
}

impl Written {
    fn new(format: OutputFormat) -> Self {
        Self { begun: Instant::now(), format, lines: 0, bytes: 0 }
    }

    fn add(&mut self, block: &[u8]) {
        if self.format != OutputFormat::Parquet {
            self.lines += memchr::memchr_iter(b'\n', block).count();
        }
        self.bytes += block.len();
    }

    fn text(&self) -> String {
        let seconds = self.begun.elapsed().as_secs_f64().max(0.001);
        let mib = self.bytes as f64 / f64::from(1 << 20);
        let size = format!("{mib:.1} MiB, {:.1} MiB/s", mib / seconds);
        let events = match self.format {
            OutputFormat::Ndjson => self.lines,
            // The first line has the names of the columns.
            OutputFormat::Csv => self.lines.saturating_sub(1),
            OutputFormat::Parquet => return size,
        };
        format!("{events} events, {:.0}/s; {size}", events as f64 / seconds)
    }
}
