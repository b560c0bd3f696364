//! The writer thread: group commit and deduplication.

use std::time::Instant;

use tokio::sync::mpsc;

use super::appender::Appender;
use super::dedup::window::Window;
use super::file::WriteError;
use super::state::State;
use super::{Append, AppendError, Fatal, KeyOf, Message, Receipt};

/// Maximum bytes in a group, beyond which a group takes no further batch.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// Appends until a `Close` message, or until every sender is dropped.
pub(super) fn run(
    mut appender: Appender,
    mut queue: mpsc::Receiver<Message>,
    state: &State,
    key_of: KeyOf,
) -> Result<(), Fatal> {
    let mut window = Window::filled(appender.recent_keys(key_of).map_err(Fatal::Read)?);
    state.appended.send_modify(|appended| {
        appended.end = appender.end();
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
            let has_room = group.records.len() < GROUP_BYTES_MAX;
            next = has_room.then(|| queue.try_recv().ok()).flatten();
        }
        group.commit(&mut appender, &mut window, state)?;
        appender.saved_keys().save_if_due();
    }
    appender.saved_keys().save();
    Ok(())
}

/// Batches that are written and synced together.
#[derive(Default)]
struct Group {
    records: Vec<u8>,
    keys: Vec<u128>,
    /// The batches to answer, each with its number of duplicates.
    waiting: Vec<(Append, usize)>,
}

impl Group {
    /// Adds a batch, without its duplicates. A duplicate of a record in the same group shares the
    /// group's outcome.
    fn add(&mut self, append: Append, window: &mut Window) {
        let mut duplicates = 0;
        for (key, record) in append.batch.records() {
            let is_new = window.insert(key);
            if is_new || append.batch.keeps_duplicates() {
                self.records.extend_from_slice(record);
                self.keys.push(key);
            } else {
                duplicates += 1;
            }
        }
        self.waiting.push((append, duplicates));
    }

    /// Makes the group durable and answers every batch in it.
    fn commit(
        &mut self,
        appender: &mut Appender,
        window: &mut Window,
        state: &State,
    ) -> Result<(), Fatal> {
        let begun = Instant::now();
        let outcome = if self.records.is_empty() {
            Ok(appender.end())
        } else {
            appender.append(&self.records, &self.keys)
        };
        let (response, fatal) = match outcome {
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
            Err(WriteError::Full(bytes_max)) => (Err(AppendError::Full { bytes_max }), None),
            Err(WriteError::Undone(error)) => (Err(AppendError::Write(error.to_string())), None),
            Err(WriteError::Fatal(error)) => (Err(AppendError::Failed), Some(Fatal::Sync(error))),
        };
        if let Err(error) = &response {
            window.rollback();
            state.set_blocked(Some(error.clone()));
        }
        for (append, duplicates) in self.waiting.drain(..) {
            // An error means that the request was cancelled.
            let _ = append.response.send(response.clone().map(|end| Receipt { end, duplicates }));
        }
        self.keys.clear();
        self.records.clear();
        self.records.shrink_to(1 << 20);
        fatal.map_or(Ok(()), Err)
    }
}
