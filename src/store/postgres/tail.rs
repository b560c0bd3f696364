//! Events in the order in which they arrived.
//!
//! Servers commit side by side, so neither times nor a sequence grow in the order in which rows become
//! visible: who follows by either would miss a row that was numbered early and committed late. But
//! each journal is forwarded strictly in order, and its position moves in the transaction that has the
//! rows. So a place is a position for each journal, and it holds: whoever sees a journal's position
//! sees all rows before it, and none will come there later.

use std::collections::BTreeMap;
use std::fmt::Write;

use tokio_postgres::Client;

use super::read::{Database, EVENT_COLUMNS, event_columns, line, next_row, query, read_error};
use crate::store::answer::{Answer, Answering, Place, ReadError, Step};
use crate::store::query::{Statement, Tail, Value};

/// What a [`Place`] says here: how far each journal, by its number, has been seen. A journal that is
/// not named has not been.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct After(BTreeMap<i32, i64>);

impl After {
    fn read(place: &Place) -> Option<Self> {
        let journals = place.0.split('.').filter(|journal| !journal.is_empty());
        let journals = journals.map(|journal| {
            let (number, position) = journal.split_once('-')?;
            let position = i64::from_str_radix(position, 16).ok()?;
            Some((i32::from_str_radix(number, 16).ok()?, position))
        });
        journals.collect::<Option<_>>().map(Self)
    }

    fn place(&self) -> Place {
        let mut text = String::new();
        for (number, position) in &self.0 {
            let dot = if text.is_empty() { "" } else { "." };
            // Writing to a string cannot fail.
            let _ = write!(text, "{dot}{number:x}-{position:x}");
        }
        // An empty one would not be sent back.
        Place(if text.is_empty() { ".".to_owned() } else { text })
    }
}

impl Database {
    /// The place after all events that are committed.
    ///
    /// # Errors
    /// As [`Database::page`].
    pub async fn newest(&self) -> Result<Place, ReadError> {
        let (_turn, client) = self.turn().await?;
        let newest = After(positions(&client).await?);
        self.give_back(client);
        Ok(newest.place())
    }

    /// Answers with the next events after a place.
    ///
    /// # Errors
    /// As [`Database::page`], and if the place is none.
    pub async fn tail(&self, tail: Tail, after: &Place) -> Result<Answer, ReadError> {
        let after = After::read(after).ok_or_else(|| {
            ReadError::Gone(format!(
                "{:?} (Last-Event-ID) is no place in this database; connect without it, and read \
                 older events with GET /events",
                after.0
            ))
        })?;
        let (turn, client) = self.turn().await?;
        let (mut answering, answer) = Answering::new(tail.page());
        let database = self.clone();
        tokio::spawn(async move {
            match send_tail(&mut answering, &client, after).await {
                Ok(Some((after, more))) => {
                    database.give_back(client);
                    answering.reached(after.place(), more).await;
                }
                Ok(None) => {}
                Err(error) => answering.fail(error).await,
            }
            drop(turn);
        });
        Ok(answer)
    }
}

/// How far each journal is stored.
async fn positions(client: &Client) -> Result<BTreeMap<i32, i64>, ReadError> {
    let select = Statement::new("SELECT number, position FROM hook_positions");
    let mut rows = std::pin::pin!(query(client, &select).await?);
    let mut positions = BTreeMap::new();
    while let Some(row) = next_row(&mut rows).await? {
        positions.insert(row.get(0), row.get(1));
    }
    Ok(positions)
}

/// Sends events of one journal after the other; returns how far, and whether there are more, or
/// `None` if nobody wants them.
async fn send_tail(
    answering: &mut Answering,
    client: &Client,
    mut after: After,
) -> Result<Option<(After, bool)>, ReadError> {
    let columns = event_columns(answering.page().needs_data());
    for (journal, stored) in positions(client).await? {
        let seen = after.0.get(&journal).copied().unwrap_or_default();
        if seen >= stored {
            after.0.entry(journal).or_insert(stored);
            continue;
        }
        let mut select = Statement::new(&format!("SELECT {columns}, position FROM hook_events"));
        select.condition("journal = ?", [Value::Number(journal.into())]);
        select.condition("position > ?", [Value::Number(seen)]);
        select.condition("position <= ?", [Value::Number(stored)]);
        select.filter(&answering.page().filter);
        // They are looked for among those few alone.
        select.by_id = None;
        let limit = answering.page().scan_max() + 1;
        select.push(&format!(" ORDER BY position LIMIT {limit}"), []);
        let mut rows = std::pin::pin!(query(client, &select).await?);
        while let Some(row) = next_row(&mut rows).await? {
            if answering.is_full() {
                return Ok(Some((after, true)));
            }
            let (key, line) = line(&row).map_err(|error| read_error(&error))?;
            after
                .0
                .insert(journal, row.try_get(EVENT_COLUMNS).map_err(|error| read_error(&error))?);
            let step = answering.offer_at(key, Some(after.place()), Some(line));
            if step == Step::Send && !answering.send().await {
                return Ok(None);
            }
        }
        after.0.insert(journal, stored);
    }
    Ok(Some((after, false)))
}
