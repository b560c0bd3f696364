//! The PostgreSQL store: rows and the position they stand for, in one transaction.

use std::io;
use std::ops::Range;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Statement};

use super::rows::Rows;
use crate::postgres::columns;
use crate::postgres::error::{BATCH_TIMEOUT, CONNECT_TIMEOUT, StoreError, describe, within};
use crate::postgres::{Address, schema};

/// Limits for one statement that end it on the database's side too. The wait for a lock is shorter,
/// so that two servers that wait for each other go on soon.
const SESSION: &str = "SET statement_timeout = '60s'; SET lock_timeout = '15s'; \
     SET client_min_messages = warning";

/// Bytes handed to the connection at a time, to keep its buffer small.
const COPY_PART_BYTES: usize = 256 << 10;

/// How far a journal has been forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StoredPosition {
    /// Everything before it is stored.
    pub position: u64,
    /// A hash of the record that ends there; see `journal::Reader::fingerprint`.
    pub fingerprint: Option<i64>,
    /// The journal's number in this database.
    pub journal: i32,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub(super) struct Delivered {
    /// Rows that are new in the table.
    pub stored: usize,
    /// Rows that the table had already.
    pub duplicates: usize,
    /// Rows that the database refuses for their content, and why.
    pub refused: Vec<(usize, String)>,
}

/// A connection to the database with the schema in place.
#[derive(Debug)]
pub(super) struct Postgres {
    pub(super) client: Client,
    connection: JoinHandle<()>,
    advance: Statement,
    copy: Statement,
}

impl Postgres {
    /// Connects, migrates and checks the schema.
    ///
    /// # Errors
    /// If any of that fails.
    pub(super) async fn connect(address: &Address) -> Result<Self, StoreError> {
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
    pub(super) async fn closed(&mut self) {
        // The task's own end is all that matters, not how.
        let _ = (&mut self.connection).await;
    }

    /// How far this journal has been forwarded; `None` if the database does not know it.
    ///
    /// # Errors
    /// If the database does not answer.
    pub(super) async fn position(
        &self,
        journal_id: &str,
    ) -> Result<Option<StoredPosition>, StoreError> {
        let row = within(
            BATCH_TIMEOUT,
            self.client.query_opt(
                "SELECT position, fingerprint, number FROM hook_positions
                 WHERE journal_id = $1::text::uuid",
                &[&journal_id],
            ),
        )
        .await?;
        Ok(row.map(|row| StoredPosition {
            position: row.get::<_, i64>(0).cast_unsigned(),
            fingerprint: row.get(1),
            journal: row.get(2),
        }))
    }

    /// Makes a new journal known; returns its number.
    ///
    /// # Errors
    /// If the database does not answer.
    pub(super) async fn begin(&self, journal_id: &str, position: u64) -> Result<i32, StoreError> {
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
    pub(super) async fn copy_rows(&mut self, rows: &Rows) -> Result<Delivered, StoreError> {
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
    pub(super) async fn commit(
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

fn copy_into(table: &str) -> String {
    format!("COPY {table} ({}) FROM STDIN (FORMAT binary)", columns())
}

fn columns() -> String {
    columns::columns().map(|(column, _)| format!("\"{column}\"")).collect::<Vec<_>>().join(", ")
}
