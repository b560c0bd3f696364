//! Connections for readers. They are few, and separate from the forwarder's, so that readers cannot
//! hold up delivery.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::TryStreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::{Client, Row, RowStream};

use super::error::{QUERY_TIMEOUT, read_error, unavailable, with_timeout};
use crate::postgres::Address;
use crate::query::ReadError;
use crate::query::sql::{SqlValue, Statement};

/// Maximum number of queries at once, and of connections. Further queries wait.
const CONNECTIONS_MAX: usize = 4;

/// Maximum time that a query waits for a connection.
const WAIT_TIMEOUT: Duration = Duration::from_secs(5);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Maximum number of statements whose plans a connection keeps. Statements of streams differ in the
/// columns of their filters.
const PLANS_MAX: usize = 16;

/// Settings of a connection. They make it read-only, and let the database end a statement before this
/// side would.
///
/// All queries use an index. The planner does not know on which days a session has events, and would
/// rather scan all days that a hundred sessions could have; hence `enable_seqscan`. Compiling a plan, or
/// starting processes for one, takes longer than most queries.
const SESSION: &str = "SET statement_timeout = '10s'; SET lock_timeout = '5s'; \
     SET enable_seqscan = off; SET jit = off; SET max_parallel_workers_per_gather = 0; \
     SET default_transaction_read_only = on; SET client_min_messages = warning";

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
    fn setting(self) -> &'static str {
        match self {
            Self::Custom => "SET plan_cache_mode = force_custom_plan",
            Self::Generic => "SET plan_cache_mode = force_generic_plan",
        }
    }
}

/// Connections for readers. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    address: Arc<Address>,
    permits: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<ReadConnection>>>,
}

#[derive(Debug)]
struct ReadConnection {
    client: Client,
    planning: Planning,
    /// Prepared statements, which keep their generic plans.
    prepared: HashMap<String, tokio_postgres::Statement>,
}

impl Pool {
    /// A pool without connections.
    pub(super) fn new(address: Address) -> Self {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Self { address: Arc::new(address), permits, idle: Arc::default() }
    }

    /// Takes a connection, once fewer than the maximum are in use.
    pub(super) async fn take(&self, planning: Planning) -> Result<PooledConnection, ReadError> {
        let permit = self.permit().await?;
        let connection = match self.take_idle(planning) {
            Some(mut connection) => {
                connection.set_planning(planning).await?;
                connection
            }
            None => self.connect(planning).await?,
        };
        Ok(PooledConnection { connection, pool: self.clone(), _permit: permit })
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, ReadError> {
        match tokio::time::timeout(WAIT_TIMEOUT, self.permits.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(ReadError::Unavailable(format!(
                "{CONNECTIONS_MAX} queries are running; try again in a moment"
            ))),
        }
    }

    /// Takes an idle connection that plans in this way, or any other if no more may be opened.
    fn take_idle(&self, planning: Planning) -> Option<ReadConnection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|connection| !connection.client.is_closed());
        if let Some(at) = idle.iter().rposition(|connection| connection.planning == planning) {
            return Some(idle.swap_remove(at));
        }
        // The caller's permit stands for a connection that may not be open yet.
        let is_at_max = idle.len() > self.permits.available_permits();
        if is_at_max { idle.pop() } else { None }
    }

    async fn connect(&self, planning: Planning) -> Result<ReadConnection, ReadError> {
        let session = format!("{SESSION}; {}", planning.setting());
        match tokio::time::timeout(CONNECT_TIMEOUT, self.address.connect(&session)).await {
            Ok(Ok(client)) => Ok(ReadConnection { client, planning, prepared: HashMap::new() }),
            Ok(Err(error)) => Err(read_error(&error)),
            Err(_) => Err(unavailable("it does not respond")),
        }
    }
}

impl ReadConnection {
    async fn set_planning(&mut self, planning: Planning) -> Result<(), ReadError> {
        if self.planning != planning {
            with_timeout(self.client.batch_execute(planning.setting())).await?;
            self.planning = planning;
        }
        Ok(())
    }

    async fn query_prepared(&mut self, statement: &Statement) -> Result<RowStream, ReadError> {
        if !self.prepared.contains_key(&statement.text) {
            if self.prepared.len() == PLANS_MAX {
                self.prepared.clear();
            }
            let types: Vec<_> = statement.values.iter().map(SqlValue::sql_type).collect();
            let prepare = self.client.prepare_typed(&statement.text, &types);
            self.prepared.insert(statement.text.clone(), with_timeout(prepare).await?);
        }
        let prepared = &self.prepared[&statement.text];
        with_timeout(self.client.query_raw(prepared, &statement.values)).await
    }
}

/// A connection in use. Dropping it closes it, which also ends a query that is still running; a
/// connection whose query has ended goes back with [`PooledConnection::give_back`].
#[derive(Debug)]
pub(super) struct PooledConnection {
    connection: ReadConnection,
    pool: Pool,
    _permit: OwnedSemaphorePermit,
}

impl PooledConnection {
    pub(super) async fn query(&mut self, statement: &Statement) -> Result<ResultRows, ReadError> {
        let rows = match self.connection.planning {
            Planning::Generic => self.connection.query_prepared(statement).await?,
            Planning::Custom => {
                let values = statement.values.iter().map(|value| (value, value.sql_type()));
                let query = self.connection.client.query_typed_raw(&statement.text, values);
                with_timeout(query).await?
            }
        };
        Ok(ResultRows(Box::pin(rows)))
    }

    /// Makes the connection available to the next query.
    pub(super) fn give_back(self) {
        let Self { connection, pool, _permit } = self;
        pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }
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
