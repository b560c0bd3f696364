//! The one thread that writes: group commit, duplicates, answers.

use std::io;
use std::time::Instant;

use tokio::sync::mpsc;

use super::dedup::saved_keys::KeyLog;
use super::dedup::window::Window;
use super::file::LogError;
use super::jsonl::LineFile;
use super::segments::writer::SegmentLog;
use super::{Append, AppendError, KeyOf, Message, Receipt, State};

/// Most bytes written and synced together.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// A failure after which nothing more is acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// The journal could not be read at start.
    #[error("the journal could not be read: {0}")]
    Read(io::Error),
    /// A sync failed, so what is on disk is unknown.
    #[error("the journal could not be made durable, and what is on disk is unknown: {0}")]
    Sync(io::Error),
}

/// Where records go.
#[derive(Debug)]
pub(super) enum Log {
    Lines(LineFile),
    Segments(SegmentLog),
}

impl Log {
    fn append(&mut self, bytes: &[u8], keys: &[u128]) -> Result<u64, LogError> {
        match self {
            Self::Lines(log) => log.append(bytes, keys),
            Self::Segments(log) => log.append(bytes, keys),
        }
    }

    fn recent_keys(&mut self, key_of: KeyOf) -> io::Result<Vec<u128>> {
        match self {
            Self::Lines(log) => log.recent_keys(key_of),
            Self::Segments(log) => log.recent_keys(key_of),
        }
    }

    fn key_log(&mut self) -> &mut KeyLog {
        match self {
            Self::Lines(log) => log.key_log(),
            Self::Segments(log) => log.key_log(),
        }
    }

    fn end(&self) -> u64 {
        match self {
            Self::Lines(_) => 0,
            Self::Segments(log) => log.segments().end(),
        }
    }
}

/// Writes until told to close, or every sender is gone.
pub(super) fn run(
    mut log: Log,
    mut queue: mpsc::Receiver<Message>,
    state: &State,
    key_of: KeyOf,
) -> Result<(), Fatal> {
    let mut window = Window::filled(log.recent_keys(key_of).map_err(Fatal::Read)?);
    state.appended.send_modify(|appended| {
        appended.end = log.end();
        appended.ready = true;
    });

    let mut group = Group::default();
    while let Some(first) = queue.blocking_recv() {
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Append(append) => group.add(append, &mut window),
                Message::Close => queue.close(),
            }
            let more = group.bytes.len() < GROUP_BYTES_MAX;
            next = more.then(|| queue.try_recv().ok()).flatten();
        }
        group.commit(&mut log, &mut window, state)?;
        log.key_log().save();
    }
    log.key_log().save_all();
    Ok(())
}

/// What is written and synced together.
#[derive(Default)]
struct Group {
    bytes: Vec<u8>,
    keys: Vec<u128>,
    waiting: Vec<(Append, usize)>,
}

impl Group {
    /// Takes over the records that were not seen before. One that was seen earlier in this very
    /// group shares the group's outcome, as it should.
    fn add(&mut self, append: Append, window: &mut Window) {
        let mut duplicates = 0;
        for (key, record) in append.batch.records() {
            let is_new = window.insert(key);
            if is_new || append.batch.keeps_repeats() {
                self.bytes.extend_from_slice(record);
                self.keys.push(key);
            } else {
                duplicates += 1;
            }
        }
        self.waiting.push((append, duplicates));
    }

    /// Makes the group durable and answers everyone in it.
    fn commit(&mut self, log: &mut Log, window: &mut Window, state: &State) -> Result<(), Fatal> {
        let begun = Instant::now();
        let outcome =
            if self.bytes.is_empty() { Ok(log.end()) } else { log.append(&self.bytes, &self.keys) };
        let (answer, fatal) = match outcome {
            Ok(end) => {
                window.commit();
                if !self.keys.is_empty() {
                    (state.sync_observer.0)(begun.elapsed(), self.keys.len());
                    state.appended.send_modify(|appended| {
                        appended.end = end;
                        appended.records += self.keys.len() as u64;
                    });
                    state.set_blocked(None);
                }
                (Ok(end), None)
            }
            Err(LogError::Full(bytes_max)) => (Err(AppendError::Full { bytes_max }), None),
            Err(LogError::Write(error)) => (Err(AppendError::Write(error.to_string())), None),
            Err(LogError::Fatal(error)) => (Err(AppendError::Failed), Some(Fatal::Sync(error))),
        };
        if let Err(error) = &answer {
            window.rollback();
            state.set_blocked(Some(error.clone()));
        }
        for (append, duplicates) in self.waiting.drain(..) {
            // A sender that went away needs no answer.
            let _ = append.answer.send(answer.clone().map(|end| Receipt { end, duplicates }));
        }
        self.keys.clear();
        self.bytes.clear();
        self.bytes.shrink_to(1 << 20);
        fatal.map_or(Ok(()), Err)
    }
}

impl State {
    fn set_blocked(&self, error: Option<AppendError>) {
        self.blocked.send_if_modified(|blocked| {
            let before = blocked.as_ref().map(|(error, _)| error);
            let changed = before != error.as_ref();
            match &error {
                Some(error) if changed => tracing::error!(%error, "events are refused"),
                None if changed => tracing::info!("events are taken again"),
                _ => {}
            }
            *blocked = error.map(|error| (error, Instant::now()));
            changed
        });
    }
}
