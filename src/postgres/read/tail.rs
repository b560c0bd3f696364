//! Events in the order in which they arrived.
//!
//! Servers commit side by side, so neither times nor a sequence grow in the order in which rows become
//! visible: who follows by either would miss a row that was numbered early and committed late. But
//! each journal is forwarded strictly in order, and its position moves in the transaction that has the
//! rows. So a place is a position for each journal, and it holds: whoever sees a journal's position
//! sees all rows before it, and none will come there later.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::PoisonError;

use tokio::sync::OwnedSemaphorePermit;
use tokio_postgres::{Client, RowStream};

use super::event_row::{EVENT_COLUMNS, event_columns, line};
use super::{Database, SESSION, answered, next_row, read_error};
use crate::query::answer::{Answer, Answering, Place, ReadError, Step};
use crate::query::{Statement, Tail, Value};

/// Most bytes of one journal whose events are looked at for one answer: some 100,000 events, so that
/// whoever comes back after long with a filter that lets little through gets on, too.
const TAIL_BYTES_MAX: i64 = 64 << 20;

/// Most statements that a connection keeps plans of. What streams ask differs in their filters' columns.
const PLANS_MAX: usize = 16;

/// A connection for streams. They ask the same again and again, and making a plan for all partitions takes
/// ten times as long as the answer; so one is made for each statement, whatever its values.
#[derive(Debug)]
pub(in crate::postgres) struct Following {
    client: Client,
    plans: HashMap<String, tokio_postgres::Statement>,
}

impl Following {
    async fn query(&mut self, statement: &Statement) -> Result<RowStream, ReadError> {
        if !self.plans.contains_key(&statement.text) {
            if self.plans.len() == PLANS_MAX {
                self.plans.clear();
            }
            let types: Vec<_> = statement.values.iter().map(Value::sql_type).collect();
            let plan = answered(self.client.prepare_typed(&statement.text, &types)).await?;
            self.plans.insert(statement.text.clone(), plan);
        }
        answered(self.client.query_raw(&self.plans[&statement.text], &statement.values)).await
    }
}

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
        let (_turn, mut following) = self.follow().await?;
        let newest = After(positions(&mut following).await?);
        self.leave(following);
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
        let (turn, mut following) = self.follow().await?;
        let (mut answering, answer) = Answering::new(tail.page());
        let database = self.clone();
        tokio::spawn(async move {
            match send_tail(&mut answering, &mut following, after).await {
                Ok(Some((after, more))) => {
                    database.leave(following);
                    answering.reached(after.place(), more).await;
                }
                Ok(None) => {}
                Err(error) => answering.fail(error).await,
            }
            drop(turn);
        });
        Ok(answer)
    }

    /// A connection for a stream, once there are not too many in use.
    async fn follow(&self) -> Result<(OwnedSemaphorePermit, Following), ReadError> {
        let permit = self.permit().await?;
        let idle = || self.following.lock().unwrap_or_else(PoisonError::into_inner).pop();
        while let Some(following) = idle() {
            if !following.client.is_closed() {
                return Ok((permit, following));
            }
        }
        let session = format!("{SESSION}; SET plan_cache_mode = force_generic_plan");
        let client = self.connect(&session).await?;
        Ok((permit, Following { client, plans: HashMap::new() }))
    }

    fn leave(&self, following: Following) {
        self.following.lock().unwrap_or_else(PoisonError::into_inner).push(following);
    }
}

/// How far each journal is stored.
async fn positions(following: &mut Following) -> Result<BTreeMap<i32, i64>, ReadError> {
    let select = Statement::new("SELECT number, position FROM hook_positions");
    let mut rows = std::pin::pin!(following.query(&select).await?);
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
    following: &mut Following,
    mut after: After,
) -> Result<Option<(After, bool)>, ReadError> {
    let columns = event_columns(answering.page().needs_data());
    let mut more = false;
    for (journal, stored) in positions(following).await? {
        let seen = after.0.get(&journal).copied().unwrap_or_default();
        if seen >= stored {
            after.0.entry(journal).or_insert(stored);
            continue;
        }
        let upto = stored.min(seen.saturating_add(TAIL_BYTES_MAX));
        more |= upto < stored;
        // By their positions alone: a plan for any value cannot know that these are few.
        let mut select = Statement::new(&format!("SELECT {columns}, position FROM ("));
        select.push(
            "SELECT * FROM hook_events WHERE journal = ? AND position > ? AND position <= ? \
             ORDER BY position OFFSET 0) AS arrived",
            [journal.into(), seen, upto].map(Value::Number),
        );
        select.filter(&answering.page().filter);
        let limit = answering.page().scan_max() + 1;
        select.push(&format!(" ORDER BY position LIMIT {limit}"), []);
        let mut rows = std::pin::pin!(following.query(&select).await?);
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
        after.0.insert(journal, upto);
    }
    Ok(Some((after, more)))
}
