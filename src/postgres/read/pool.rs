//! Connections for readers. They are few, and separate from the forwarder's, so that readers cannot
//! hold up delivery.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Row, RowStream};

use super::error::{QUERY_TIMEOUT, read_error, unavailable, with_timeout};
use crate::postgres::Address;
use crate::query::ReadError;
use crate::query::sql::{SqlValue, Statement};

/// Maximum time that a query waits for a connection.
const WAIT_TIMEOUT: Duration = Duration::from_secs(5);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Time after which a connection that is not used is closed.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// Maximum number of statements whose plans a connection keeps. Statements of streams differ in the
/// columns of their filters.
const PLANS_MAX: usize = 16;

/// How the database plans a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Planning {
    /// Each query gets its own plan, because the best one depends on the values.
    Custom,
    /// Each statement gets one plan for all values. For statements that streams repeat all the time:
    /// to plan for all partitions takes ten times as long as the query.
    Generic,
}

impl Planning {
    /// Begins a transaction that the database ends before this side would.
    ///
    /// All queries use an index. The planner does not know on which days a session has events, and would
    /// rather scan all days that a hundred sessions could have; hence `enable_seqscan`. Compiling a plan, or
    /// starting processes for one, takes longer than most queries.
    fn begin(self) -> String {
        let plans = match self {
            Self::Custom => "force_custom_plan",
            Self::Generic => "force_generic_plan",
        };
        format!(
            "BEGIN READ ONLY; SET LOCAL statement_timeout = '10s'; SET LOCAL lock_timeout = '5s'; \
             SET LOCAL enable_seqscan = off; SET LOCAL jit = off; \
             SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL plan_cache_mode = {plans}"
        )
    }
}

/// Connections for readers. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    address: Arc<Address>,
    connections_max: usize,
    permits: Arc<Semaphore>,
    idle: Arc<IdleConnections>,
    /// True if named statements are still there in the next transaction. They are not behind a pooler that
    /// gives each transaction another connection.
    keeps_statements: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct IdleConnections {
    /// The one that was used last is at the end.
    connections: Mutex<Vec<(Instant, ReadConnection)>>,
    /// True if a task closes those that are not used.
    is_watched: AtomicBool,
}

#[derive(Debug)]
struct ReadConnection {
    client: Client,
    /// Prepared statements, which keep their generic plans.
    prepared: HashMap<String, tokio_postgres::Statement>,
}

impl Pool {
    /// A pool without connections.
    pub(super) fn new(address: Address) -> Self {
        let connections_max = address.connections_max.div_ceil(2);
        Self {
            address: Arc::new(address),
            connections_max,
            permits: Arc::new(Semaphore::new(connections_max)),
            idle: Arc::default(),
            keeps_statements: Arc::new(AtomicBool::new(true)),
        }
    }

    /// Takes a connection, once fewer than the maximum are in use.
    pub(super) async fn take(&self, planning: Planning) -> Result<PooledConnection, ReadError> {
        let permit = self.permit().await?;
        let connection = match self.idle.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let pool = self.clone();
        Ok(PooledConnection { connection, planning, is_begun: false, pool, permit })
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, ReadError> {
        match tokio::time::timeout(WAIT_TIMEOUT, self.permits.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(ReadError::Unavailable(format!(
                "{} queries are running; try again in a moment",
                self.connections_max
            ))),
        }
    }

    async fn connect(&self) -> Result<ReadConnection, ReadError> {
        match tokio::time::timeout(CONNECT_TIMEOUT, self.address.connect()).await {
            Ok(Ok(client)) => Ok(ReadConnection { client, prepared: HashMap::new() }),
            Ok(Err(error)) => Err(read_error(&error)),
            Err(_) => Err(unavailable("it does not respond")),
        }
    }
}

impl IdleConnections {
    fn with<T>(&self, change: impl FnOnce(&mut Vec<(Instant, ReadConnection)>) -> T) -> T {
        change(&mut self.connections.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn take(&self) -> Option<ReadConnection> {
        self.with(|connections| {
            connections.retain(|(_, connection)| !connection.client.is_closed());
            connections.pop().map(|(_, connection)| connection)
        })
    }

    fn give_back(self: Arc<Self>, connection: ReadConnection) {
        self.with(|connections| connections.push((Instant::now(), connection)));
        if !self.is_watched.swap(true, Ordering::AcqRel) {
            tokio::spawn(self.close_unused());
        }
    }

    async fn close_unused(self: Arc<Self>) {
        loop {
            tokio::time::sleep(IDLE_TIMEOUT / 2).await;
            let is_empty = self.with(|connections| {
                connections.retain(|(used, _)| used.elapsed() < IDLE_TIMEOUT);
                if connections.is_empty() {
                    self.is_watched.store(false, Ordering::Release);
                }
                connections.is_empty()
            });
            if is_empty {
                return;
            }
        }
    }
}

impl ReadConnection {
    async fn query_prepared(
        &mut self,
        statement: &Statement,
    ) -> Result<RowStream, tokio_postgres::Error> {
        if !self.prepared.contains_key(&statement.text) {
            if self.prepared.len() == PLANS_MAX {
                self.prepared.clear();
            }
            let types: Vec<_> = statement.values.iter().map(SqlValue::sql_type).collect();
            let prepared = self.client.prepare_typed(&statement.text, &types).await?;
            self.prepared.insert(statement.text.clone(), prepared);
        }
        let prepared = &self.prepared[&statement.text];
        self.client.query_raw(prepared, &statement.values).await
    }

    async fn query_unnamed(
        &self,
        statement: &Statement,
    ) -> Result<RowStream, tokio_postgres::Error> {
        let values = statement.values.iter().map(|value| (value, value.sql_type()));
        self.client.query_typed_raw(&statement.text, values).await
    }
}

/// A connection in use, with a read-only transaction from its first query on. Dropping it closes it, which
/// also ends a query that is still running; a connection whose query has ended goes back with
/// [`PooledConnection::give_back`].
#[derive(Debug)]
pub(super) struct PooledConnection {
    connection: ReadConnection,
    planning: Planning,
    is_begun: bool,
    pool: Pool,
    permit: OwnedSemaphorePermit,
}

impl PooledConnection {
    pub(super) async fn query(&mut self, statement: &Statement) -> Result<ResultRows, ReadError> {
        let keeps_statements = self.pool.keeps_statements.load(Ordering::Relaxed);
        let prepared = if self.planning == Planning::Generic && keeps_statements {
            self.query_prepared(statement).await?
        } else {
            None
        };
        let rows = match prepared {
            Some(rows) => rows,
            None => self.query_unnamed(statement).await?,
        };
        Ok(ResultRows(Box::pin(rows)))
    }

    /// Queries with a named statement; `None` if these are not kept.
    async fn query_prepared(
        &mut self,
        statement: &Statement,
    ) -> Result<Option<RowStream>, ReadError> {
        self.begin().await?;
        let mut is_lost = false;
        let rows = async {
            let rows = self.connection.query_prepared(statement).await;
            is_lost = rows.as_ref().is_err_and(is_of_other_connection);
            rows
        };
        let rows = with_timeout(rows).await;
        if !is_lost {
            return rows.map(Some);
        }
        self.pool.keeps_statements.store(false, Ordering::Relaxed);
        self.connection.prepared.clear();
        with_timeout(self.connection.client.batch_execute("ROLLBACK")).await?;
        self.is_begun = false;
        Ok(None)
    }

    async fn begin(&mut self) -> Result<(), ReadError> {
        if !std::mem::replace(&mut self.is_begun, true) {
            let begin = self.planning.begin();
            with_timeout(self.connection.client.batch_execute(&begin)).await?;
        }
        Ok(())
    }

    async fn query_unnamed(&mut self, statement: &Statement) -> Result<RowStream, ReadError> {
        if std::mem::replace(&mut self.is_begun, true) {
            return with_timeout(self.connection.query_unnamed(statement)).await;
        }
        // Sent together, which saves a round trip.
        let begin = self.planning.begin();
        let (answer, rows) = tokio::join!(
            with_timeout(self.connection.client.batch_execute(&begin)),
            with_timeout(self.connection.query_unnamed(statement)),
        );
        answer?;
        rows
    }

    /// Ends the transaction, and makes the connection available to the next query.
    pub(super) fn give_back(self) {
        let Self { connection, is_begun, pool, permit, .. } = self;
        tokio::spawn(async move {
            let commit = async {
                if is_begun { connection.client.batch_execute("COMMIT").await } else { Ok(()) }
            };
            if with_timeout(commit).await.is_ok() {
                pool.idle.give_back(connection);
            }
            drop(permit);
        });
    }
}

/// Returns whether a named statement is not known, or belongs to another client: a pooler has given this
/// transaction another connection.
fn is_of_other_connection(error: &tokio_postgres::Error) -> bool {
    let code = error.code();
    code == Some(&SqlState::INVALID_SQL_STATEMENT_NAME)
        || code == Some(&SqlState::DUPLICATE_PSTATEMENT)
}

/// The rows of a result, as they arrive.
pub(super) struct ResultRows(Pin<Box<RowStream>>);

impl ResultRows {
    pub(super) async fn next(&mut self) -> Result<Option<Row>, ReadError> {
        match tokio::time::timeout(QUERY_TIMEOUT, self.0.try_next()).await {
            Ok(row) => row.map_err(|error| read_error(&error)),
            Err(_) => Err(ReadError::Slow(QUERY_TIMEOUT)),
        }
    }
}
