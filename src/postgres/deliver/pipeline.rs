//! Batches on their way into the database: copied concurrently, committed in order.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::io;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::task::JoinHandle;

use super::receipt_ids;
use super::rows::CopyRows;
use super::transaction::{Delivered, DeliveryConnection};
use crate::event::Timestamp;
use crate::metrics::DatabaseProblem;
use crate::postgres::error::{BATCH_TIMEOUT, CONNECT_TIMEOUT, StoreError, within};
use crate::postgres::{Address, partitions, schema};

/// Maximum number of concurrent transactions. Two keep two cores busy, while the third commits, or is
/// read and encoded.
pub(super) const TRANSACTIONS_MAX: usize = 3;

/// Interval of attempts to open a further connection.
const OPEN_INTERVAL: Duration = Duration::from_secs(10);

/// Connections to one database, each with at most one transaction. Dropping the pipeline rolls back
/// uncommitted transactions.
///
/// Rows are copied as soon as they are pushed, but positions are updated and transactions committed
/// strictly in the order in which batches were pushed, so that there is never a gap.
#[derive(Debug)]
pub(super) struct Pipeline {
    address: Address,
    idle: Vec<DeliveryConnection>,
    opening: Option<Opening>,
    copying: VecDeque<CopyInProgress>,
    /// Days that have a partition.
    days: HashSet<i64>,
}

#[derive(Debug)]
struct CopyInProgress {
    task: JoinHandle<Result<(DeliveryConnection, CopyRows, Delivered), StoreError>>,
    oldest: Option<Timestamp>,
}

impl Drop for CopyInProgress {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A further connection that is being opened, and the next attempt after a failure.
#[derive(Debug)]
enum Opening {
    Running(JoinHandle<Result<DeliveryConnection, StoreError>>),
    FailedUntil(Instant),
}

impl Pipeline {
    /// Opens the first connection, migrates and checks the schema; further connections follow when they are
    /// needed.
    ///
    /// # Errors
    /// If any of that fails.
    pub(super) async fn connect(address: &Address) -> Result<Self, StoreError> {
        let first = DeliveryConnection::connect(address).await?;
        within(BATCH_TIMEOUT, schema::migrate(&first.client)).await?;
        let days = partitions::days(&first.client).await?;
        schema::check_ids_index(&first.client).await?;
        let (idle, copying) = (vec![first], VecDeque::new());
        let address = address.clone();
        Ok(Self { address, idle, opening: None, copying, days })
    }

    fn connections_max(&self) -> usize {
        (self.address.connections_max / 2).clamp(1, TRANSACTIONS_MAX)
    }

    /// Returns whether a further batch can be copied at once. If not, a connection for it is opened
    /// meanwhile: batches that are copied already must not wait for it, since a pooler may give it only once
    /// theirs are free.
    pub(super) fn has_idle(&mut self) -> bool {
        if self.idle.is_empty() && self.len() < self.connections_max() {
            self.opening = match self.opening.take() {
                Some(Opening::Running(task)) if !task.is_finished() => Some(Opening::Running(task)),
                Some(Opening::FailedUntil(at)) if Instant::now() < at => {
                    Some(Opening::FailedUntil(at))
                }
                Some(Opening::Running(task)) => match task.now_or_never() {
                    Some(Ok(Ok(connection))) => {
                        self.idle.push(connection);
                        None
                    }
                    _ => Some(Opening::FailedUntil(Instant::now() + OPEN_INTERVAL)),
                },
                _ => {
                    let address = self.address.clone();
                    Some(Opening::Running(tokio::spawn(async move {
                        let connection = DeliveryConnection::connect(&address).await?;
                        // A pooler accepts a client before it has a connection to the database for it.
                        within(CONNECT_TIMEOUT, connection.client.batch_execute("SELECT 1"))
                            .await?;
                        Ok(connection)
                    })))
                }
            };
        }
        !self.idle.is_empty()
    }

    /// Number of uncommitted batches.
    pub(super) fn len(&self) -> usize {
        self.copying.len()
    }

    /// Returns whether all batches are committed.
    pub(super) fn is_empty(&self) -> bool {
        self.copying.is_empty()
    }

    /// Time at which the first uncommitted event was received.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.copying.front().and_then(|copying| copying.oldest)
    }

    /// Returns a connection without a transaction.
    ///
    /// # Errors
    /// See [`DeliveryConnection::connect`].
    pub(super) async fn idle(&mut self) -> Result<&mut DeliveryConnection, StoreError> {
        if self.idle.is_empty() {
            self.idle.push(DeliveryConnection::connect(&self.address).await?);
        }
        Ok(&mut self.idle[0])
    }

    /// Closes all connections but one. Only a backlog needs more.
    pub(super) fn close_extra_connections(&mut self) {
        self.idle.truncate(1);
        if let Some(Opening::Running(task)) = self.opening.take() {
            task.abort();
        }
    }

    /// Returns whether these rows need a new partition. To create one locks the default partition, which
    /// a transaction in flight may hold for as long as it waits to be committed. So no transaction may be
    /// in flight then.
    pub(super) fn needs_partitions(&self, rows: &CopyRows) -> bool {
        partitions::missing_days(&self.days, rows.days()).next().is_some()
    }

    /// Starts to copy rows.
    ///
    /// # Errors
    /// If a connection or a partition cannot be created.
    pub(super) async fn push(&mut self, rows: CopyRows) -> Result<(), StoreError> {
        self.idle().await?;
        // `idle` has opened one if there was none.
        let Some(mut store) = self.idle.pop() else { return Ok(()) };
        self.create_days(&store, rows.days()).await?;
        let oldest = rows.oldest();
        let task = tokio::spawn(async move {
            let delivered = store.copy_rows(&rows).await?;
            Ok((store, rows, delivered))
        });
        self.copying.push_back(CopyInProgress { task, oldest });
        Ok(())
    }

    /// Creates the missing partitions of these days. If the role may not, their events go to the default
    /// partition.
    async fn create_days(
        &mut self,
        store: &DeliveryConnection,
        days: &BTreeSet<i64>,
    ) -> Result<(), StoreError> {
        let make = partitions::create_days(&store.client, &mut self.days, days);
        match within(BATCH_TIMEOUT, make).await {
            Err(error) if error.problem() == DatabaseProblem::Rights => {
                store.client.batch_execute("ROLLBACK").await?;
                tracing::warn!(
                    %error,
                    "no partitions can be created: events go to hook_events_default, where queries and \
                     retention by days are slower"
                );
                self.days.extend(days);
                Ok(())
            }
            created => created,
        }
    }

    /// Waits until the oldest batch is copied, updates the journal's position from `position` to the
    /// batch's end, and commits both. Returns `None` if there is no batch. `record_rejected` is called
    /// before the commit.
    ///
    /// After an error the pipeline must not be used again, because the transaction may have been
    /// committed. [`DeliveryConnection::position`] on a new connection shows that.
    ///
    /// # Errors
    /// If the transaction failed or may have failed.
    pub(super) async fn commit(
        &mut self,
        journal_id: &str,
        position: u64,
        record_rejected: impl FnOnce(&CopyRows, &Delivered) -> io::Result<()>,
    ) -> Result<Option<(CopyRows, Delivered)>, StoreError> {
        let Some(mut oldest) = self.copying.pop_front() else { return Ok(None) };
        let (mut store, rows, mut delivered) = match (&mut oldest.task).await {
            Ok(copied) => copied?,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // It is cancelled only when the runtime ends, which ends this task too.
                Err(_) => std::future::pending().await,
            },
        };
        store
            .commit(journal_id, position, &rows, &mut delivered, |delivered| {
                record_rejected(&rows, delivered)
            })
            .await?;
        self.idle.push(store);
        Ok(Some((rows, delivered)))
    }

    /// Creates one day's partition. No transaction may be in flight: see [`Pipeline::needs_partitions`].
    ///
    /// # Errors
    /// If the database rejects it, or the default partition is locked for too long. The connection then
    /// has no open transaction.
    pub(super) async fn create_day(&mut self, day: i64) -> Result<(), StoreError> {
        self.idle().await?;
        let (client, days) = (&self.idle[0].client, BTreeSet::from([day]));
        let make = partitions::create_days(client, &mut self.days, &days);
        let outcome = within(BATCH_TIMEOUT, make).await;
        if outcome.as_ref().is_err_and(StoreError::is_rejection) {
            client.batch_execute("ROLLBACK").await?;
        }
        outcome
    }

    /// Drops the daily partitions that ended at least this number of days ago, and returns how many. No
    /// transaction may be in flight, since it would lock them.
    ///
    /// # Errors
    /// If the database rejects it, or readers lock a partition for too long.
    pub(super) async fn drop_expired(&mut self, retention_days: u32) -> Result<usize, StoreError> {
        self.idle().await?;
        let drop = partitions::drop_expired(&self.idle[0].client, &mut self.days, retention_days);
        within(BATCH_TIMEOUT, drop).await
    }

    /// Deletes the IDs of events that no server may receive again. See [`receipt_ids`].
    ///
    /// # Errors
    /// If the database rejects it.
    pub(super) async fn delete_expired_receipt_ids(&mut self) -> Result<(), StoreError> {
        let delete = receipt_ids::delete_expired(&self.idle().await?.client);
        within(BATCH_TIMEOUT, delete).await
    }
}
