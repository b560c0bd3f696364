//! Batches on their way into the database: copied side by side, committed one after the other.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::io;

use tokio::task::JoinHandle;

use super::rows::Rows;
use super::transaction::{Delivered, Postgres};
use crate::event::Timestamp;
use crate::postgres::error::{BATCH_TIMEOUT, StoreError, within};
use crate::postgres::{Address, schema};

/// Most transactions at once. Two keep two cores busy; the third is what commits, or is being read
/// and encoded, meanwhile.
pub(super) const LANES: usize = 3;

/// Some connections to one database, each with at most one transaction. Dropping it rolls back all
/// that is not committed.
///
/// Rows are copied as soon as there are any, but positions are moved and transactions committed
/// strictly in the order in which batches were pushed, so that what is stored has no gap.
#[derive(Debug)]
pub(super) struct Pipeline {
    address: Address,
    idle: Vec<Postgres>,
    copying: VecDeque<Copying>,
    /// The days that have a partition.
    days: HashSet<i64>,
}

#[derive(Debug)]
struct Copying {
    task: JoinHandle<Result<(Postgres, Rows, Delivered), StoreError>>,
    oldest: Option<Timestamp>,
}

impl Drop for Copying {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Pipeline {
    /// Opens the first connection; others follow when they are needed.
    ///
    /// # Errors
    /// See [`Postgres::connect`].
    pub(super) async fn connect(address: &Address) -> Result<Self, StoreError> {
        let first = Postgres::connect(address).await?;
        let days = schema::days(&first.client).await?;
        schema::check_ids_index(&first.client).await?;
        let (idle, copying) = (vec![first], VecDeque::new());
        Ok(Self { address: address.clone(), idle, copying, days })
    }

    /// How many batches are not committed yet.
    pub(super) fn len(&self) -> usize {
        self.copying.len()
    }

    /// Whether everything is committed.
    pub(super) fn is_empty(&self) -> bool {
        self.copying.is_empty()
    }

    /// When the first event that is not committed was received.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.copying.front().and_then(|copying| copying.oldest)
    }

    /// A connection without a transaction.
    ///
    /// # Errors
    /// See [`Postgres::connect`].
    pub(super) async fn idle(&mut self) -> Result<&mut Postgres, StoreError> {
        if self.idle.is_empty() {
            self.idle.push(Postgres::connect(&self.address).await?);
        }
        Ok(&mut self.idle[0])
    }

    /// Closes the connections that only a backlog needs.
    pub(super) fn rest(&mut self) {
        self.idle.truncate(1);
    }

    /// Whether these rows need a partition made first. That locks the default partition, which a
    /// transaction in flight may hold for as long as it waits for its turn: so nothing may be in
    /// flight then.
    pub(super) fn lacks_days(&self, rows: &Rows) -> bool {
        schema::missing_days(&self.days, rows.days()).next().is_some()
    }

    /// Begins to copy rows.
    ///
    /// # Errors
    /// If a connection or a partition cannot be made.
    pub(super) async fn push(&mut self, rows: Rows) -> Result<(), StoreError> {
        self.idle().await?;
        // `idle` has seen to it that there is one.
        let Some(mut store) = self.idle.pop() else { return Ok(()) };
        let make = schema::make_days(&store.client, &mut self.days, rows.days());
        within(BATCH_TIMEOUT, make).await?;
        let oldest = rows.oldest();
        let task = tokio::spawn(async move {
            let delivered = store.copy_rows(&rows).await?;
            Ok((store, rows, delivered))
        });
        self.copying.push_back(Copying { task, oldest });
        Ok(())
    }

    /// Waits until the oldest batch is copied, moves the position from `position` to its end, and
    /// commits both, or neither; `None` if there is no batch. `set_aside` is called with the rows
    /// that the database refuses, before the commit.
    ///
    /// After an error the pipeline must not be used again: whether the transaction was committed is
    /// then unknown, and only [`Postgres::position`], on a new connection, can tell.
    ///
    /// # Errors
    /// If the transaction failed or may have failed.
    pub(super) async fn commit(
        &mut self,
        journal_id: &str,
        position: u64,
        set_aside: impl FnOnce(&Rows, &Delivered) -> io::Result<()>,
    ) -> Result<Option<(Rows, Delivered)>, StoreError> {
        let Some(mut oldest) = self.copying.pop_front() else { return Ok(None) };
        let (mut store, rows, delivered) = match (&mut oldest.task).await {
            Ok(copied) => copied?,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Only the end of the runtime cancels it, which is this task's end too.
                Err(_) => std::future::pending().await,
            },
        };
        store.commit(journal_id, position, &rows, || set_aside(&rows, &delivered)).await?;
        self.idle.push(store);
        Ok(Some((rows, delivered)))
    }

    /// Makes one day's partition. Nothing may be in flight: see [`Pipeline::lacks_days`].
    ///
    /// # Errors
    /// If the database refuses, or someone holds the default partition for too long; the connection
    /// is then outside any transaction.
    pub(super) async fn make_day(&mut self, day: i64) -> Result<(), StoreError> {
        self.idle().await?;
        let (client, days) = (&self.idle[0].client, BTreeSet::from([day]));
        let make = schema::make_days(client, &mut self.days, &days);
        let outcome = within(BATCH_TIMEOUT, make).await;
        if outcome.as_ref().is_err_and(StoreError::is_refusal) {
            client.batch_execute("ROLLBACK").await?;
        }
        outcome
    }

    /// Drops the daily partitions that ended that many days ago; returns how many. Nothing may be
    /// in flight, since that would hold them.
    ///
    /// # Errors
    /// If the database refuses, or readers hold a partition for too long.
    pub(super) async fn drop_expired(&mut self, retention_days: u32) -> Result<usize, StoreError> {
        self.idle().await?;
        let drop = schema::drop_expired(&self.idle[0].client, &mut self.days, retention_days);
        within(BATCH_TIMEOUT, drop).await
    }
}
