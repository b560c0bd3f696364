//! `hooks-backend query`, `tail` and `export`: stored events on a terminal, in a pipe or a file.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;
use serde_json::value::RawValue;

use super::client::{Client, Refused, Target};
use super::progress::Progress;

/// Pause before a stream that was cut off is opened again.
const RETRY: Duration = Duration::from_secs(1);

/// What the server is asked.
#[derive(clap::Args, Debug)]
struct Question {
    #[command(flatten)]
    target: Target,

    // Not a comment, whose names would need marks.
    #[arg(
        help = "Parameters as GET /events has them: session_id, event_id, event_type, workflow_id, \
        phase_id, milestone_id, agent, tool_name, tool_use_id, since, until (a time, or how long \
        ago: 15m), q, fields, data; export has order, too"
    )]
    #[arg(value_name = "NAME=VALUE", value_parser = parse_parameter)]
    parameters: Vec<(String, String)>,
}

/// The arguments of `query`.
#[derive(clap::Args, Debug)]
pub struct QueryArgs {
    #[command(flatten)]
    question: Question,

    /// Show at most so many
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 100)]
    limit: usize,
}

/// The arguments of `tail`.
#[derive(clap::Args, Debug)]
pub struct TailArgs {
    #[command(flatten)]
    question: Question,

    /// Go on with events as they arrive; across restarts of the server, too
    #[arg(short, long)]
    follow: bool,

    /// Begin with the newest so many
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u16).range(0..=1000))]
    lines: u16,
}

/// The arguments of `export`.
#[derive(clap::Args, Debug)]
pub struct ExportArgs {
    #[command(flatten)]
    question: Question,

    /// The file to write; not given: standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// What to write
    #[arg(short, long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, clap::ValueEnum)]
enum Format {
    /// Events as they are in the JSON Lines
    #[default]
    Ndjson,
    /// A table as text, with JSON in it
    Csv,
    /// A table for analysis: pandas, Spark and the like
    Parquet,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }
}

fn parse_parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE, such as since=15m")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Question {
    /// The path with the parameters, and some more.
    fn path(&self, route: &str, more: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.parameters).extend_pairs(more);
        format!("{route}?{}", query.finish())
    }

    /// A page of events, and where the next begins.
    fn page(&self, client: &Client, more: &[(&str, &str)]) -> anyhow::Result<Page> {
        let mut text = String::new();
        let mut answer = client.stream(&self.path("/events", more), &[])?;
        answer.read_to_string(&mut text).context("the answer was cut off")?;
        serde_json::from_str(&text).context("the answer is not this server's")
    }
}

#[derive(serde::Deserialize)]
struct Page {
    events: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

/// Shows events, those that were asked for first.
pub(super) fn query(args: &QueryArgs) -> anyhow::Result<()> {
    let client = Client::for_streams(&args.question.target);
    let mut out = Output::new();
    let (mut left, mut cursor) = (args.limit, None::<String>);
    while left > 0 {
        let limit = left.min(1000).to_string();
        let mut more = vec![("limit", &*limit)];
        more.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page = args.question.page(&client, &more)?;
        left -= page.events.len().min(left);
        for event in page.events {
            if !out.event(event.get()) {
                return Ok(());
            }
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    Ok(())
}

/// Shows the newest events, oldest first, and those that arrive.
pub(super) fn tail(args: &TailArgs) -> anyhow::Result<()> {
    let client = Client::for_streams(&args.question.target);
    let mut out = Output::new();
    // Opened first, so that no event falls between the two; one that is in both is shown once.
    let path = args.question.path("/events/stream", &[]);
    let mut stream = if args.follow { Some(client.stream(&path, &[])?) } else { None };
    let mut shown = HashSet::new();
    if args.lines > 0 {
        let lines = args.lines.to_string();
        let page = args.question.page(&client, &[("limit", &lines)])?;
        for event in page.events.iter().rev() {
            shown.insert(event.get().to_owned());
            if !out.event(event.get()) {
                return Ok(());
            }
        }
    }
    let mut last_id = String::new();
    while let Some(open) = stream.take() {
        if !follow(open, &mut last_id, &mut shown, &mut out) {
            return Ok(());
        }
        // The server is going down, or away: it knows where to go on.
        stream = Some(loop {
            std::thread::sleep(RETRY);
            match client.stream(&path, &[("last-event-id", &last_id)]) {
                Ok(stream) => break stream,
                Err(Refused::NoAnswer(_) | Refused::Status(500.., _)) => {}
                Err(refused) => return Err(refused.into()),
            }
        });
    }
    Ok(())
}

/// Shows a stream to its end; false if nobody looks any more.
fn follow(
    stream: impl Read,
    last_id: &mut String,
    shown: &mut HashSet<String>,
    out: &mut Output,
) -> bool {
    let (mut id, mut name, mut data) = (String::new(), String::new(), String::new());
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { break };
        match line.split_once(": ") {
            Some(("id", text)) => text.clone_into(&mut id),
            Some(("event", text)) => text.clone_into(&mut name),
            Some(("data", text)) => text.clone_into(&mut data),
            None if line.is_empty() => {
                if name.is_empty() && !data.is_empty() && !shown.remove(&data) && !out.event(&data)
                {
                    return false;
                }
                if !id.is_empty() {
                    last_id.clone_from(&id);
                }
                name.clear();
                data.clear();
            }
            _ => {}
        }
    }
    true
}

/// Writes all events.
pub(super) fn export(args: &ExportArgs) -> anyhow::Result<()> {
    if args.output.is_none() && args.format == Format::Parquet && io::stdout().is_terminal() {
        anyhow::bail!(
            "Parquet is nothing for a terminal: name a file with --output, or use a pipe"
        );
    }
    if let Some((_, format)) = args.question.parameters.iter().find(|(name, _)| name == "format") {
        anyhow::bail!("the format is an option here: --format {format}");
    }
    let client = Client::for_streams(&args.question.target);
    let path = args.question.path("/events/export", &[("format", args.format.name())]);
    let mut answer = client.stream(&path, &[])?;
    let (mut out, mut progress): (Box<dyn Write>, _) = match &args.output {
        Some(path) => {
            let file = File::create(path).with_context(|| path.display().to_string())?;
            (Box::new(BufWriter::new(file)), Progress::new())
        }
        None => (Box::new(io::stdout().lock()), Progress::beside_results()),
    };
    let mut written = Written::new(args.format);
    let mut block = vec![0; 256 << 10];
    loop {
        let read = answer.read(&mut block).with_context(|| {
            progress.clear();
            match args.format {
                Format::Parquet => "the export was cut off; what has been written cannot be read",
                _ => {
                    "the export was cut off; what has been written is whole lines but the last, and \
                     not all"
                }
            }
        })?;
        if read == 0 {
            break;
        }
        match out.write_all(&block[..read]) {
            // One who has stopped reading (`| head`).
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

/// How much of an export there is so far.
struct Written {
    begun: Instant,
    format: Format,
    lines: usize,
    bytes: usize,
}

impl Written {
    fn new(format: Format) -> Self {
        Self { begun: Instant::now(), format, lines: 0, bytes: 0 }
    }

    fn add(&mut self, block: &[u8]) {
        if self.format != Format::Parquet {
            self.lines += memchr::memchr_iter(b'\n', block).count();
        }
        self.bytes += block.len();
    }

    fn text(&self) -> String {
        let seconds = self.begun.elapsed().as_secs_f64().max(0.001);
        let mib = self.bytes as f64 / f64::from(1 << 20);
        let size = format!("{mib:.1} MiB, {:.1} MiB/s", mib / seconds);
        let events = match self.format {
            Format::Ndjson => self.lines,
            // The first line has the columns' names.
            Format::Csv => self.lines.saturating_sub(1),
            Format::Parquet => return size,
        };
        format!("{events} events, {:.0}/s; {size}", events as f64 / seconds)
    }
}

/// Events on a terminal, a line each for people; anywhere else as they are.
struct Output {
    is_terminal: bool,
}

impl Output {
    fn new() -> Self {
        Self { is_terminal: io::stdout().is_terminal() }
    }

    /// Shows an event; false if nobody looks any more.
    fn event(&mut self, event: &str) -> bool {
        let mut out = io::stdout().lock();
        let written = if self.is_terminal {
            writeln!(out, "{}", for_people(event))
        } else {
            writeln!(out, "{event}")
        };
        written.and_then(|()| out.flush()).is_ok()
    }
}

/// Time, session, what happened, with which tool, and what it was about.
fn for_people(event: &str) -> String {
    const ABOUT: [&str; 6] = ["prompt", "message", "reason", "error", "tool_input", "command"];
    let event: Value = serde_json::from_str(event).unwrap_or_default();
    let text = |name: &str| plain(event[name].as_str().unwrap_or_default());
    let kind = text("event_type");
    // Red for what went wrong, yellow for what waits for a person, green for what is done.
    let colour = match &*kind {
        kind if kind.ends_with("_failed") || kind.ends_with("_blocked") => 31,
        "permission_requested" | "agent_stopped" | "system_notification" => 33,
        kind if kind.ends_with("_completed") => 32,
        _ => 36,
    };
    let about = ABOUT.iter().map(|name| &event["data"][name]).find(|value| !value.is_null());
    let about = about.map(|about| about.as_str().map_or_else(|| about.to_string(), str::to_owned));
    let about: String = plain(&about.unwrap_or_default()).chars().take(100).collect();
    let session: String = text("session_id").chars().take(12).collect();
    let time = text("timestamp").get(..19).unwrap_or_default().replace('T', " ");
    let duration = event["duration_ms"].as_f64().map(|ms| format!(" {ms:.0} ms"));
    format!(
        "\x1b[2m{time}\x1b[0m {session:<12} \x1b[{colour}m{kind}\x1b[0m {}{} \x1b[2m{about}\x1b[0m",
        text("tool_name"),
        duration.unwrap_or_default()
    )
}

/// Text that cannot do anything to a terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
