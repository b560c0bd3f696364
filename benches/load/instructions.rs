//! The work per event between socket and disk, and between disk and database, for `callgrind` to
//! count. `scripts/bench-instructions` runs each case twice with different numbers of rounds and
//! takes the difference.

use agentic_hooks_backend::decode::{Context, Format, decode};
use agentic_hooks_backend::event::Timestamp;
use agentic_hooks_backend::event::line::line_key;
use agentic_hooks_backend::journal::{self, Batch, Framing, SyncObserver};
use agentic_hooks_backend::postgres::deliver::CopyRows;
use agentic_hooks_backend::redact::{Redact, Redactor};
use anyhow::{Context as _, bail, ensure};

use crate::events::{Shape, Template, templates};
use crate::process::Scratch;

/// Name of each case, and events per round.
pub(crate) const CASES: [(&str, usize); 8] = [
    ("decode-single", 1),
    ("decode-batch-of-50", 50),
    ("decode-large", 1),
    ("decode-typical-batch-of-50", 50),
    ("decode-typical-batch-of-50-redacted", 50),
    ("encode-rows", 50),
    ("encode-rows-large", 1),
    ("key-of-line", 1),
];

/// Runs a case for a number of rounds.
pub(crate) fn run(case: &str, rounds: usize) -> anyhow::Result<()> {
    let (template, format) = match case {
        "decode-batch-of-50" | "encode-rows" => (template(Shape::Small, 50), Format::Array),
        "decode-large" | "encode-rows-large" => (template(Shape::Real, 0), Format::Object),
        "decode-typical-batch-of-50" | "decode-typical-batch-of-50-redacted" => {
            (template(Shape::Typical, 50), Format::Array)
        }
        _ => (template(Shape::Small, 0), Format::Object),
    };
    let redactor = match case {
        "decode-typical-batch-of-50-redacted" => Redactor::new(&Redact::Standard),
        _ => Ok(None),
    };
    let redactor = redactor.map_err(anyhow::Error::msg)?;
    let redactor = redactor.as_ref();
    match case {
        decode if decode.starts_with("decode-") => {
            repeat(rounds, || decoded(&template, format, redactor))
        }
        "encode-rows" | "encode-rows-large" => encode(decoded(&template, format, None)?, rounds),
        "key-of-line" => {
            let line = decoded(&template, format, None)?;
            let line = line.records().next().context("a record")?.1.trim_ascii_end();
            let line = &line[..line.len() - 9];
            repeat(rounds, || line_key(line).context("a key"))
        }
        other => bail!("unknown case: {other}"),
    }
}

/// A request with ids; of the large ones the one at p90, 34 KB.
fn template(shape: Shape, batch: usize) -> Template {
    let mut all = templates(shape, batch);
    all.sort_by_key(Template::body_bytes);
    let mut template = all.swap_remove(if shape == Shape::Real { all.len() * 9 / 10 } else { 0 });
    template.stamp(&mut crate::events::Ids::new(1));
    template
}

fn decoded(
    template: &Template,
    format: Format,
    redactor: Option<&Redactor>,
) -> anyhow::Result<Batch> {
    let context = Context {
        received_at: Timestamp::from_micros(1_795_424_400_123_456).context("a time")?,
        framing: Framing::Checksummed,
        batch_events_max: 10_000,
        depth_max: 120,
        key_name: None,
        redactor,
    };
    let decoded = decode(format, &template.bytes[template.body_start..], &context)?;
    ensure!(decoded.rejected.is_empty(), "{:?}", decoded.rejected);
    Ok(decoded.batch)
}

/// Writes the batch to a journal, then repeatedly reads and encodes it as rows.
fn encode(batch: Batch, rounds: usize) -> anyhow::Result<()> {
    let dir = Scratch::new(&std::env::temp_dir(), &format!("hooks-bench-{}", std::process::id()))?;
    let opened = journal::open_segments(&dir.0, 1 << 30, std::time::Duration::ZERO)?;
    let reader = opened.reader().context("a journal of segments")?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let entered = runtime.enter();
    let (journal, _ended) = opened.start(line_key, SyncObserver(Box::new(|_, _| {})))?;
    drop(entered);
    runtime.block_on(journal.append(batch, ()))?;
    repeat(rounds, || Ok(CopyRows::encode(reader.read(0, 16 << 20)?, 1)))
}

fn repeat<T>(rounds: usize, mut work: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<()> {
    for _ in 0..rounds {
        std::hint::black_box(work()?);
    }
    Ok(())
}
