//! Questions to the database, on a few connections of their own, so that whoever reads takes nothing
//! from the forwarder but the database's time, and of that not too much.

mod event_row;
mod tail;

use std::borrow::Cow;
use std::error::Error;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use futures_util::TryStreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Row, RowStream};

use self::event_row::{Time, event_columns, line};
use self::tail::Following;
use super::Address;
use super::columns::POSTGRES_EPOCH_MICROS;
use super::error::describe;
use crate::query::answer::{Answer, Answering, ReadError, Step};
use crate::query::{Cell, Kind, Page, Statement, Value};

/// How many questions are answered at once. More wait a moment.
const CONNECTIONS_MAX: usize = 4;

/// How long a question waits for its turn.
const WAIT_TIMEOUT: Duration = Duration::from_secs(5);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long one statement may take.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);

/// The database ends statements a little before this side would, and can do no harm here. Plans are
/// made for each question, since the best one depends on its values. An index serves every question; the
/// planner, which does not know on which days a session lies, would rather go through all of a hundred
/// sessions' possible days. Compiling a plan, or starting processes for
/// one, takes longer than most of them.
pub(super) const SESSION: &str = "SET statement_timeout = '10s'; SET lock_timeout = '5s'; \
     SET enable_seqscan = off; SET jit = off; SET max_parallel_workers_per_gather = 0; \
     SET default_transaction_read_only = on; SET client_min_messages = warning";

/// The database, to read from; clones share its connections.
#[derive(Clone, Debug)]
pub struct Database {
    address: Arc<Address>,
    turns: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Client>>>,
    /// Those that streams use.
    pub(super) following: Arc<Mutex<Vec<Following>>>,
}

impl Database {
    /// The database at that address. Connects when it is asked.
    pub fn new(address: Address) -> Self {
        let turns = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Self { address: Arc::new(address), turns, idle: Arc::default(), following: Arc::default() }
    }

    /// Answers with a page of events.
    ///
    /// # Errors
    /// If too many questions wait, or the database is away.
    pub async fn page(&self, page: Page) -> Result<Answer, ReadError> {
        let (turn, client) = self.turn().await?;
        let columns = event_columns(page.needs_data());
        let mut select = Statement::new(&format!("SELECT {columns} FROM hook_events"));
        select.page(&page);
        let rows = query(&client, &select).await?;
        let (mut answering, answer) = Answering::new(page);
        let database = self.clone();
        tokio::spawn(async move {
            match send_page(&mut answering, rows).await {
                Ok(Some(full)) => {
                    database.give_back(client);
                    answering.end(full).await;
                }
                Ok(None) => {}
                Err(error) => answering.fail(error).await,
            }
            drop(turn);
        });
        Ok(answer)
    }

    /// Calls `add` with every row of an answer.
    pub(crate) async fn fold<S>(
        &self,
        statement: Statement,
        kinds: &[Kind],
        mut state: S,
        add: fn(&mut S, &[Cell]),
    ) -> Result<S, ReadError> {
        let (_turn, client) = self.turn().await?;
        let mut rows = std::pin::pin!(query(&client, &statement).await?);
        let mut cells = Vec::new();
        while let Some(row) = next_row(&mut rows).await? {
            cells.clear();
            for (at, kind) in kinds.iter().enumerate() {
                cells.push(cell(&row, at, *kind).map_err(|error| read_error(&error))?);
            }
            add(&mut state, &cells);
        }
        self.give_back(client);
        Ok(state)
    }

    /// A connection, once there are not too many in use.
    async fn turn(&self) -> Result<(OwnedSemaphorePermit, Client), ReadError> {
        let permit = self.permit().await?;
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        while let Some(client) = idle() {
            if !client.is_closed() {
                return Ok((permit, client));
            }
        }
        Ok((permit, self.connect(SESSION).await?))
    }

    /// Leave to use a connection.
    pub(super) async fn permit(&self) -> Result<OwnedSemaphorePermit, ReadError> {
        let turn = tokio::time::timeout(WAIT_TIMEOUT, self.turns.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(ReadError::Unavailable(format!(
                "{CONNECTIONS_MAX} questions are being answered; try again in a moment"
            )));
        };
        Ok(turn)
    }

    fn give_back(&self, client: Client) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(client);
    }

    pub(super) async fn connect(&self, session: &str) -> Result<Client, ReadError> {
        match tokio::time::timeout(CONNECT_TIMEOUT, self.address.connect(session)).await {
            Ok(connected) => connected.map_err(|error| read_error(&error)),
            Err(_) => Err(away("it does not answer")),
        }
    }
}

fn away(reason: &str) -> ReadError {
    ReadError::Unavailable(format!(
        "the database cannot be read now ({reason}); events are taken meanwhile, and kept"
    ))
}

pub(super) fn read_error(error: &tokio_postgres::Error) -> ReadError {
    let Some(code) = error.code() else { return away(&describe(error)) };
    match (code, &code.code()[..2]) {
        (&SqlState::QUERY_CANCELED, _) => ReadError::Slow(QUERY_TIMEOUT),
        (&SqlState::UNDEFINED_TABLE | &SqlState::UNDEFINED_COLUMN, _) => {
            away("its tables are not made yet")
        }
        // Connections, resources, shutting down, rights, names: all that a human can cure.
        (_, "08" | "53" | "57" | "28" | "3D" | "42") => away(&describe(error)),
        _ => ReadError::Failed(format!("the database: {}", describe(error))),
    }
}

async fn query(client: &Client, statement: &Statement) -> Result<RowStream, ReadError> {
    let text = text(statement);
    let values = statement.values.iter().map(|value| (value, value.sql_type()));
    answered(client.query_typed_raw(&text, values)).await
}

/// Bounds how long a question may be without an answer.
pub(super) async fn answered<T>(
    asking: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, ReadError> {
    match tokio::time::timeout(QUERY_TIMEOUT, asking).await {
        Ok(answer) => answer.map_err(|error| read_error(&error)),
        Err(_) => Err(away("it does not answer")),
    }
}

/// The text of a statement. The planner takes a bloom filter for one that lets everything through, so
/// whatever else is demanded would look better to it. So an id is looked for first, and by a collation that
/// compares as the columns' own does, and that the index of ids alone has.
fn text(statement: &Statement) -> Cow<'_, str> {
    let Some(by_id) = &statement.by_id else { return Cow::Borrowed(&statement.text) };
    let conditions = by_id.conditions.iter().map(|(column, comparison, value)| {
        let collation = if *column == "timestamp" { "" } else { " COLLATE \"POSIX\"" };
        format!("\"{column}\"{collation} {comparison} ${value}")
    });
    let conditions = conditions.collect::<Vec<_>>().join(" AND ");
    // OFFSET keeps the planner from looking at other conditions here.
    let found = format!("FROM (SELECT * FROM hook_events WHERE {conditions} OFFSET 0) AS found");
    Cow::Owned(statement.text.replacen("FROM hook_events", &found, 1))
}

/// Sends the rows; whether there were more than the page takes, or `None` if nobody wants them.
async fn send_page(answering: &mut Answering, rows: RowStream) -> Result<Option<bool>, ReadError> {
    let mut rows = std::pin::pin!(rows);
    while let Some(row) = next_row(&mut rows).await? {
        if answering.is_full() {
            // The row after the last: there is none after it.
            return Ok(Some(true));
        }
        let (key, line) = line(&row).map_err(|error| read_error(&error))?;
        if answering.offer(key, Some(line)) == Step::Send && !answering.send().await {
            return Ok(None);
        }
    }
    Ok(Some(false))
}

pub(super) async fn next_row(rows: &mut Pin<&mut RowStream>) -> Result<Option<Row>, ReadError> {
    match tokio::time::timeout(QUERY_TIMEOUT, rows.try_next()).await {
        Ok(row) => row.map_err(|error| read_error(&error)),
        Err(_) => Err(ReadError::Slow(QUERY_TIMEOUT)),
    }
}

fn cell(row: &Row, at: usize, kind: Kind) -> Result<Cell, tokio_postgres::Error> {
    let cell = match kind {
        Kind::Text => row.try_get::<_, Option<String>>(at)?.map(Cell::Text),
        Kind::Time => row.try_get::<_, Option<Time>>(at)?.map(|time| Cell::Time(time.0)),
        Kind::Number => row.try_get::<_, Option<i64>>(at)?.map(Cell::Number),
        Kind::Float => row.try_get::<_, Option<f64>>(at)?.map(Cell::Float),
    };
    Ok(cell.unwrap_or(Cell::Null))
}

impl Value {
    pub(super) fn sql_type(&self) -> Type {
        match self {
            Self::Text(_) => Type::TEXT,
            Self::Time(_) => Type::TIMESTAMPTZ,
            Self::Number(_) => Type::INT8,
        }
    }
}

impl ToSql for Value {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            // The table has none with NUL either.
            Self::Text(text) => out.put_slice(text.replace('\0', "\u{fffd}").as_bytes()),
            Self::Time(time) => out.put_i64(time.micros() - POSTGRES_EPOCH_MICROS),
            Self::Number(number) => out.put_i64(*number),
        }
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        [Type::TEXT, Type::TIMESTAMPTZ, Type::INT8].contains(ty)
    }

    to_sql_checked!();
}
