//! Stores a batch of rows and the journal position after it in one transaction.

use std::io;
use std::ops::Range;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

use super::receipt_ids;
use super::rows::CopyRows;
use crate::postgres::Address;
use crate::postgres::columns;
use crate::postgres::error::{BATCH_TIMEOUT, CONNECT_TIMEOUT, StoreError, describe, within};

/// Begins a transaction for rows, with time limits that the database enforces too. The limit for locks is
/// shorter, so that two servers that wait for each other soon continue.
const BEGIN_ROWS: &str = "BEGIN; SET LOCAL statement_timeout = '60s'; \
     SET LOCAL lock_timeout = '15s'; SAVEPOINT rows";

/// Maximum bytes handed to the connection at a time, to keep its buffer small.
const COPY_CHUNK_BYTES: usize = 256 << 10;

/// The position up to which a journal is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StoredPosition {
    /// Everything before this position is stored.
    pub position: u64,
    /// Hash of the record that ends there: see `journal::Reader::fingerprint`.
    pub fingerprint: Option<i64>,
    /// The journal's number in this database.
    pub journal: i32,
}

/// The outcome of a batch.
#[derive(Debug, Default)]
pub(super) struct Delivered {
    /// Number of rows that were inserted.
    pub stored: usize,
    /// Number of rows that the table already had.
    pub duplicates: usize,
    /// Rows that the database rejects for their content, and the reasons.
    pub rejected: Vec<(usize, String)>,
}

/// The forwarder's connection to a database with a current schema.
#[derive(Debug)]
pub(super) struct DeliveryConnection {
    pub(super) client: Client,
    connection: JoinHandle<()>,
}

impl DeliveryConnection {
    /// Connects.
    ///
    /// # Errors
    /// If the database is unreachable or refuses it.
    pub(super) async fn connect(address: &Address) -> Result<Self, StoreError> {
        let connect = async {
            let (client, connection) = address.config.connect(address.tls.clone()).await?;
            let connection = tokio::spawn(async move {
                if let Err(error) = connection.await {
                    // The user of the client gets an error too, and reports it.
                    tracing::debug!(%error, "database connection ended");
                }
            });
            Ok::<_, StoreError>((client, connection))
        };
        let (client, connection) = within(CONNECT_TIMEOUT, connect).await?;
        Ok(Self { client, connection })
    }

    /// Completes when the connection is closed.
    pub(super) async fn closed(&mut self) {
        // It does not matter how the task ended.
        let _ = (&mut self.connection).await;
    }

    /// Returns the position up to which this journal is stored; `None` if the database does not know it.
    ///
    /// # Errors
    /// If the query fails.
    pub(super) async fn position(
        &self,
        journal_id: &str,
    ) -> Result<Option<StoredPosition>, StoreError> {
        let row = within(
            BATCH_TIMEOUT,
            self.client.query_typed_opt(
                "SELECT position, fingerprint, number FROM hook_positions
                 WHERE journal_id = $1::uuid",
                &[(&journal_id, Type::TEXT)],
            ),
        )
        .await?;
        Ok(row.map(|row| StoredPosition {
            position: row.get::<_, i64>(0).cast_unsigned(),
            fingerprint: row.get(1),
            journal: row.get(2),
        }))
    }

    /// Registers a new journal, and returns its number. The number is derived from the journal's ID, so that
    /// it is the same again in a database that has lost it (a failover, a restored backup): positions of
    /// streams, which have the number, stay valid.
    ///
    /// # Errors
    /// If the statement fails.
    pub(super) async fn begin(&self, journal_id: &str, position: u64) -> Result<i32, StoreError> {
        let position = position.cast_signed();
        let number = journal_number(journal_id);
        let parameters: [(&(dyn ToSql + Sync), Type); 3] =
            [(&journal_id, Type::TEXT), (&position, Type::INT8), (&number, Type::INT4)];
        // The update changes nothing. It is there to return the number of a known journal, too.
        let insert = self.client.query_typed_one(
            "INSERT INTO hook_positions (journal_id, position, number)
             SELECT $1::uuid, $2, CASE
                 WHEN EXISTS (SELECT FROM hook_positions WHERE number = $3)
                 THEN nextval(pg_get_serial_sequence('hook_positions', 'number'))
                 ELSE $3 END
             ON CONFLICT (journal_id) DO UPDATE SET journal_id = excluded.journal_id
             RETURNING number",
            &parameters,
        );
        Ok(within(BATCH_TIMEOUT, insert).await?.get(0))
    }

    /// Begins a transaction, and copies the rows.
    pub(super) async fn copy_rows(&mut self, rows: &CopyRows) -> Result<Delivered, StoreError> {
        let copy = async {
            // Sent together, which saves a round trip.
            let (begun, delivered) =
                tokio::join!(self.client.batch_execute(BEGIN_ROWS), self.insert(rows),);
            begun?;
            delivered
        };
        within(BATCH_TIMEOUT, copy).await
    }

    /// Updates the position from `position` to the end of the rows, and commits it with them, unless
    /// another process has changed it. Rows that another server has stored become duplicates. Calls
    /// `record_rejected` before the commit.
    pub(super) async fn commit(
        &mut self,
        journal_id: &str,
        position: u64,
        rows: &CopyRows,
        delivered: &mut Delivered,
        record_rejected: impl FnOnce(&Delivered) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        let next = rows.chunk().next.cast_signed();
        let (fingerprint, position) = (rows.chunk().fingerprint(), position.cast_signed());
        let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
            (&journal_id, Type::TEXT),
            (&next, Type::INT8),
            (&fingerprint, Type::INT8),
            (&position, Type::INT8),
        ];
        let advance = self.client.execute_typed(
            "UPDATE hook_positions SET position = $2, fingerprint = $3, updated_at = now()
             WHERE journal_id = $1::uuid AND position = $4",
            &parameters,
        );
        let commit = async {
            if advance.await? != 1 {
                return Err(StoreError::PositionChanged);
            }
            let deleted =
                receipt_ids::claim(&self.client, rows.receipt_ids(), &delivered.rejected).await?;
            // A row that an earlier transaction stored may be among them, and is counted as a duplicate already.
            let deleted = deleted.min(delivered.stored);
            delivered.stored -= deleted;
            delivered.duplicates += deleted;
            record_rejected(delivered)?;
            Ok(self.client.batch_execute("COMMIT").await?)
        };
        within(BATCH_TIMEOUT, commit).await
    }

    /// Inserts all rows, within a transaction that has the savepoint `rows`. If the database rejects some,
    /// the rows are halved until the bad ones are found: k bad rows of n take about 2k log2(n/k) smaller
    /// copies, and each good row is sent log2(k) times instead of k times.
    async fn insert(&self, rows: &CopyRows) -> Result<Delivered, StoreError> {
        let mut delivered = Delivered::default();
        let mut strategy = InsertStrategy::Direct;
        let mut ranges: Vec<Range<usize>> = std::iter::once(0..rows.len()).collect();
        while let Some(range) = ranges.pop() {
            if range.is_empty() {
                continue;
            }
            match self.insert_range(rows, range.clone(), strategy).await {
                Ok(inserted) => {
                    if !ranges.is_empty() {
                        self.client.batch_execute("RELEASE SAVEPOINT rows; SAVEPOINT rows").await?;
                    }
                    delivered.stored += inserted;
                    delivered.duplicates += range.len() - inserted;
                }
                Err(error) => {
                    let Some(row_error) = RowError::of(&error) else { return Err(error.into()) };
                    self.client.batch_execute("ROLLBACK TO SAVEPOINT rows").await?;
                    match row_error {
                        RowError::Duplicate if strategy == InsertStrategy::Direct => {
                            strategy = InsertStrategy::Staged;
                            ranges.push(range);
                        }
                        RowError::Duplicate | RowError::Content if range.len() == 1 => {
                            delivered.rejected.push((range.start, describe(&error)));
                        }
                        RowError::Duplicate | RowError::Content => {
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
        rows: &CopyRows,
        range: Range<usize>,
        strategy: InsertStrategy,
    ) -> Result<usize, tokio_postgres::Error> {
        match strategy {
            InsertStrategy::Direct => self.copy("hook_events", rows, range).await,
            InsertStrategy::Staged => {
                self.client
                    .batch_execute(
                        "CREATE TEMP TABLE hook_events_staged (LIKE hook_events) ON COMMIT DROP",
                    )
                    .await?;
                self.copy("pg_temp.hook_events_staged", rows, range).await?;
                let columns = columns();
                let insert = format!(
                    "INSERT INTO hook_events ({columns}) SELECT {columns} \
                     FROM pg_temp.hook_events_staged ON CONFLICT DO NOTHING"
                );
                let inserted = self.client.execute_typed(&insert, &[]).await?;
                self.client.batch_execute("DROP TABLE pg_temp.hook_events_staged").await?;
                Ok(inserted as usize)
            }
        }
    }

    /// Copies rows. The library has no COPY without a named statement, which ends with this call, within the
    /// transaction: afterwards, a pooler may use another connection.
    async fn copy(
        &self,
        table: &str,
        rows: &CopyRows,
        range: Range<usize>,
    ) -> Result<usize, tokio_postgres::Error> {
        let copy = format!("COPY {table} ({}) FROM STDIN (FORMAT binary)", columns());
        let copy = self.client.prepare(&copy).await?;
        let sink = self.client.copy_in::<_, Bytes>(&copy).await?;
        let mut sink = std::pin::pin!(sink);
        for bytes in rows.copy(range) {
            for chunk in bytes.chunks(COPY_CHUNK_BYTES) {
                sink.send(Bytes::copy_from_slice(chunk)).await?;
            }
        }
        Ok(sink.finish().await? as usize)
    }
}

/// The number of a journal, from the random digits of its ID: at least 2^30, above those of a sequence.
fn journal_number(journal_id: &str) -> i32 {
    let digits = journal_id.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    (digits.unwrap_or_default() >> 2 | 1 << 30).cast_signed()
}

#[derive(Clone, Copy, PartialEq)]
enum InsertStrategy {
    /// COPY into the table: the fastest, but fails if a single row is already there.
    Direct,
    /// COPY into a temporary table, then insert the new rows from there.
    Staged,
}

/// An error caused by rows, not by the state of the database.
enum RowError {
    Duplicate,
    Content,
}

impl RowError {
    fn of(error: &tokio_postgres::Error) -> Option<Self> {
        let code = error.code()?;
        // Rows are not encoded as the server expects, which is our fault, not that of the content.
        if *code == SqlState::BAD_COPY_FILE_FORMAT
            || *code == SqlState::INVALID_BINARY_REPRESENTATION
        {
            return None;
        }
        if *code == SqlState::UNIQUE_VIOLATION {
            return Some(Self::Duplicate);
        }
        // A CHECK constraint that an operator added is about content. A NOT NULL column or a missing
        // partition is a fault of the schema, and would reject every event.
        let checked = *code == SqlState::CHECK_VIOLATION
            && error.as_db_error().is_some_and(|error| error.constraint().is_some());
        // Data exceptions and program limits.
        (checked || matches!(&code.code()[..2], "22" | "54")).then_some(Self::Content)
    }
}

fn columns() -> String {
    columns::columns().map(|(column, _)| format!("\"{column}\"")).collect::<Vec<_>>().join(", ")
}
