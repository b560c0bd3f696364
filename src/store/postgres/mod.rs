//! The PostgreSQL store: rows and the position they stand for, in one transaction.

mod expansion;
mod pipeline;
mod read;
mod rows;
mod schema;
mod summaries;
mod tail;
mod tls;

use std::io;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Statement};

pub use pipeline::{LANES, Pipeline};
pub use read::Database;
pub use rows::Rows;
pub use summaries::Summaries;
pub use tls::Address;

/// How long the database may take for a connection, and for one batch.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const BATCH_TIMEOUT: Duration = Duration::from_mins(2);

/// Limits for one statement that end it on the database's side too. The wait for a lock is shorter,
/// so that two servers that wait for each other go on soon.
const SESSION: &str = "SET statement_timeout = '60s'; SET lock_timeout = '15s'; \
     SET client_min_messages = warning";

/// Bytes handed to the connection at a time, to keep its buffer small.
const COPY_PART_BYTES: usize = 256 << 10;

/// Why rows are not in the database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database said no, or is not there.
    #[error("{}", describe(.0))]
    Database(#[from] tokio_postgres::Error),
    /// The database did not answer in time.
    #[error("no answer from the database within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The tables are not ours.
    #[error(
        "the database is of another shape: {0}; mend it, or use another database or schema \
         (DATABASE_URL with ?options=-csearch_path%3Dname)"
    )]
    Shape(String),
    /// Someone else has moved this journal's position.
    #[error("the journal's position in the database was changed by someone else; reading it again")]
    Moved,
    /// What the database refused could not be set aside.
    #[error("events that the database refuses cannot be written to rejected.jsonl: {0}")]
    SetAside(#[from] io::Error),
}

impl StoreError {
    /// Whether the database has said no to one thing, on a connection that goes on.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Database(error)
            if error.as_db_error().is_some() && !error.is_closed())
    }
}

/// What is wrong with the database, for monitors: a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// No connection, no answer, or shutting down: time cures it.
    Unreachable,
    /// User, password or database name: a human must correct them.
    Login,
    /// The role may not do what it must, or the database is read-only: a human must allow it.
    Rights,
    /// The tables are not ours: a human must move them.
    Schema,
    /// Anything else; the log and `/health` have its words.
    Other,
}

impl Problem {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Unreachable, Self::Login, Self::Rights, Self::Schema, Self::Other];

    /// Its name as a label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Login => "login",
            Self::Rights => "rights",
            Self::Schema => "schema",
            Self::Other => "other",
        }
    }
}

impl StoreError {
    /// What kind of problem this is.
    pub fn problem(&self) -> Problem {
        match self {
            Self::Timeout(_) => Problem::Unreachable,
            Self::Shape(_) => Problem::Schema,
            Self::Moved | Self::SetAside(_) => Problem::Other,
            Self::Database(error) => {
                error.code().map_or(Problem::Unreachable, |code| match (code, &code.code()[..2]) {
                    (_, "08" | "57") => Problem::Unreachable,
                    (_, "28" | "3D") => Problem::Login,
                    (
                        &SqlState::INSUFFICIENT_PRIVILEGE | &SqlState::READ_ONLY_SQL_TRANSACTION,
                        _,
                    ) => Problem::Rights,
                    (_, "23" | "42") => Problem::Schema,
                    _ => Problem::Other,
                })
            }
        }
    }
}

/// How far a journal has been forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Everything before it is stored.
    pub position: u64,
    /// A hash of the record that ends there; see `journal::Reader::fingerprint`.
    pub fingerprint: Option<i64>,
    /// The journal's number in this database.
    pub journal: i32,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Delivered {
    /// Rows that are new in the table.
    pub stored: usize,
    /// Rows that the table had already.
    pub duplicates: usize,
    /// Rows that the database refuses for their content, and why.
    pub refused: Vec<(usize, String)>,
}

/// A connection to the database with the schema in place.
#[derive(Debug)]
pub struct Postgres {
    client: Client,
    connection: JoinHandle<()>,
    advance: Statement,
    copy: Statement,
}

impl Postgres {
    /// Connects, migrates and checks the schema.
    ///
    /// # Errors
    /// If any of that fails.
    pub async fn connect(address: &Address) -> Result<Self, StoreError> {
        let connect = async {
            let (client, connection) = address.config.connect(address.tls.clone()).await?;
            let connection = tokio::spawn(async move {
                if let Err(error) = connection.await {
                    // Whoever uses the client gets an error too, and reports it.
                    tracing::debug!(%error, "database connection ended");
                }
            });
            Ok::<_, StoreError>((client, connection))
        };
        let (client, connection) = within(CONNECT_TIMEOUT, connect).await?;
        let prepare = async {
            client.batch_execute(SESSION).await?;
            schema::migrate(&client).await?;
            let advance = client
                .prepare(
                    "UPDATE hook_positions
                     SET position = $2, fingerprint = $3, updated_at = now()
                     WHERE journal_id = $1::text::uuid AND position = $4",
                )
                .await?;
            let copy = client.prepare(&copy_into("hook_events")).await?;
            Ok::<_, StoreError>((advance, copy))
        };
        let (advance, copy) = within(BATCH_TIMEOUT, prepare).await?;
        Ok(Self { client, connection, advance, copy })
    }

    /// Completes when the connection has ended.
    pub async fn closed(&mut self) {
        // The task's own end is all that matters, not how.
        let _ = (&mut self.connection).await;
    }

    /// How far this journal has been forwarded; `None` if the database does not know it.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn position(&self, journal_id: &str) -> Result<Option<Position>, StoreError> {
        let row = within(
            BATCH_TIMEOUT,
            self.client.query_opt(
                "SELECT position, fingerprint, number FROM hook_positions
                 WHERE journal_id = $1::text::uuid",
                &[&journal_id],
            ),
        )
        .await?;
        Ok(row.map(|row| Position {
            position: row.get::<_, i64>(0).cast_unsigned(),
            fingerprint: row.get(1),
            journal: row.get(2),
        }))
    }

    /// Makes a new journal known; returns its number.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn begin(&self, journal_id: &str, position: u64) -> Result<i32, StoreError> {
        let position = position.cast_signed();
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&journal_id, &position];
        // Changes nothing if it is known already, but then returns its number, too.
        let insert = self.client.query_one(
            "INSERT INTO hook_positions (journal_id, position) VALUES ($1::text::uuid, $2)
             ON CONFLICT (journal_id) DO UPDATE SET journal_id = excluded.journal_id
             RETURNING number",
            &parameters,
        );
        Ok(within(BATCH_TIMEOUT, insert).await?.get(0))
    }

    /// Begins a transaction and copies the rows in it.
    async fn copy_rows(&mut self, rows: &Rows) -> Result<Delivered, StoreError> {
        let copy = async {
            // Sent together, to save a round trip.
            let (begun, delivered) = tokio::join!(
                self.client.batch_execute("BEGIN; SAVEPOINT rows"),
                self.insert(rows),
            );
            begun?;
            delivered
        };
        within(BATCH_TIMEOUT, copy).await
    }

    /// Moves the position from `position` to the end of the rows, and commits it with them, unless
    /// someone else has moved it. `set_aside` is called before the commit.
    async fn commit(
        &mut self,
        journal_id: &str,
        position: u64,
        rows: &Rows,
        set_aside: impl FnOnce() -> io::Result<()>,
    ) -> Result<(), StoreError> {
        let next = rows.chunk().next.cast_signed();
        let (fingerprint, position) = (rows.chunk().fingerprint(), position.cast_signed());
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
            [&journal_id, &next, &fingerprint, &position];
        let commit = async {
            if self.client.execute(&self.advance, &parameters).await? != 1 {
                return Err(StoreError::Moved);
            }
            set_aside()?;
            Ok(self.client.batch_execute("COMMIT").await?)
        };
        within(BATCH_TIMEOUT, commit).await
    }

    /// Within a transaction that has the savepoint `rows`, copies all rows straight into the table.
    /// Where the database objects, goes on with halves, so that k bad rows of n cost about
    /// 2k log2(n/k) smaller copies and resend each good row log2(k) times, not k.
    async fn insert(&self, rows: &Rows) -> Result<Delivered, StoreError> {
        let mut delivered = Delivered::default();
        let mut way = Way::Direct;
        let mut ranges: Vec<Range<usize>> = std::iter::once(0..rows.len()).collect();
        while let Some(range) = ranges.pop() {
            if range.is_empty() {
                continue;
            }
            match self.insert_range(rows, range.clone(), way).await {
                Ok(inserted) => {
                    if !ranges.is_empty() {
                        self.client.batch_execute("RELEASE SAVEPOINT rows; SAVEPOINT rows").await?;
                    }
                    delivered.stored += inserted;
                    delivered.duplicates += range.len() - inserted;
                }
                Err(error) => {
                    let Some(objection) = Objection::of(&error) else { return Err(error.into()) };
                    self.client.batch_execute("ROLLBACK TO SAVEPOINT rows").await?;
                    match objection {
                        Objection::Duplicate if way == Way::Direct => {
                            way = Way::Staged;
                            ranges.push(range);
                        }
                        Objection::Duplicate | Objection::Content if range.len() == 1 => {
                            delivered.refused.push((range.start, describe(&error)));
                        }
                        Objection::Duplicate | Objection::Content => {
                            let middle = usize::midpoint(range.start, range.end);
                            ranges.push(middle..range.end);
                            ranges.push(range.start..middle);
                        }
                    }
                }
            }
        }
        Ok(delivered)
    }

    async fn insert_range(
        &self,
        rows: &Rows,
        range: Range<usize>,
        way: Way,
    ) -> Result<usize, tokio_postgres::Error> {
        match way {
            Way::Direct => self.copy(&self.copy, rows, range).await,
            Way::Staged => {
                self.client
                    .batch_execute(
                        "CREATE TEMP TABLE hook_events_staged (LIKE hook_events) ON COMMIT DROP",
                    )
                    .await?;
                let copy = self.client.prepare(&copy_into("pg_temp.hook_events_staged")).await?;
                self.copy(&copy, rows, range).await?;
                let columns = columns();
                let insert = format!(
                    "INSERT INTO hook_events ({columns}) SELECT {columns} \
                     FROM pg_temp.hook_events_staged ON CONFLICT DO NOTHING"
                );
                let inserted = self.client.execute(&insert, &[]).await?;
                self.client.batch_execute("DROP TABLE pg_temp.hook_events_staged").await?;
                Ok(inserted as usize)
            }
        }
    }

    async fn copy(
        &self,
        copy: &Statement,
        rows: &Rows,
        range: Range<usize>,
    ) -> Result<usize, tokio_postgres::Error> {
        let sink = self.client.copy_in::<_, Bytes>(copy).await?;
        let mut sink = std::pin::pin!(sink);
        for part in rows.copy(range) {
            for part in part.chunks(COPY_PART_BYTES) {
                sink.send(Bytes::copy_from_slice(part)).await?;
            }
        }
        Ok(sink.finish().await? as usize)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// COPY into the table: the fastest, and wrong if a single row is there already.
    Direct,
    /// COPY into a temporary table, and from there what is new.
    Staged,
}

/// An error that is about rows, not about the database.
enum Objection {
    Duplicate,
    Content,
}

impl Objection {
    fn of(error: &tokio_postgres::Error) -> Option<Self> {
        let code = error.code()?;
        // These say that rows are not encoded as the server expects, which is nobody's content.
        if *code == SqlState::BAD_COPY_FILE_FORMAT
            || *code == SqlState::INVALID_BINARY_REPRESENTATION
        {
            return None;
        }
        if *code == SqlState::UNIQUE_VIOLATION {
            return Some(Self::Duplicate);
        }
        // A constraint that someone added speaks about content. A column that must not be null, or a
        // partition that is missing, is the schema's fault, and would refuse every event.
        let checked = *code == SqlState::CHECK_VIOLATION
            && error.as_db_error().is_some_and(|error| error.constraint().is_some());
        // Data exceptions, program limits.
        (checked || matches!(&code.code()[..2], "22" | "54")).then_some(Self::Content)
    }
}

/// Bounds how long the database may take.
async fn within<T, E: Into<StoreError>>(
    timeout: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(timeout, work).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(StoreError::Timeout(timeout)),
    }
}

fn copy_into(table: &str) -> String {
    format!("COPY {table} ({}) FROM STDIN (FORMAT binary)", columns())
}

fn columns() -> String {
    rows::COLUMNS.map(|(column, _)| format!("\"{column}\"")).join(", ")
}

/// The server's own words, with what a person can do about it where that is known.
fn describe(error: &tokio_postgres::Error) -> String {
    use std::error::Error as _;
    let Some(db) = error.as_db_error() else {
        return match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
    };
    let mut text = db.message().to_owned();
    if let Some(detail) = db.detail() {
        text.push_str(" (");
        text.push_str(detail);
        text.push(')');
    }
    let code = db.code();
    let advice = if *code == SqlState::INVALID_PASSWORD
        || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION
    {
        "check user and password in DATABASE_URL"
    } else if *code == SqlState::INVALID_CATALOG_NAME {
        "create the database, or correct its name in DATABASE_URL"
    } else if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        "the role must own the hook_ tables, or be allowed to create them in its schema"
    } else if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
        "the database is read-only: connect to the primary, or allow writing"
    } else if *code == SqlState::NOT_NULL_VIOLATION {
        "a column that was added to hook_events needs a default, or must allow null"
    } else if *code == SqlState::DUPLICATE_TABLE {
        "the table is not this program's; rename it, or use another database or schema"
    } else {
        return text;
    };
    text.push_str(": ");
    text.push_str(advice);
    text
}
