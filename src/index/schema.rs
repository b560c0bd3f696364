//! Tables of the index. There are no migrations: an index of another version is deleted and rebuilt.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::event::{ColumnKind, PromotedColumn};

/// SQLite application id of the index: "hook" in ASCII. See
/// <https://www.sqlite.org/pragma.html#pragma_application_id>.
const APPLICATION_ID: i32 = 0x68_6f_6f_6b;

/// To be increased when the content of the tables changes and their columns do not; see [`version`].
const CONTENT_VERSION: u64 = 8;

/// Length of the write-ahead log at which a checkpoint runs: 16 MiB, so that a page that many
/// transactions have changed is written to the database once.
const CHECKPOINT_PAGES: i32 = 4096;

/// Maximum time to wait for a lock, such as while the write-ahead log is reset.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The tables.
///
/// - `indexes` has one row: a random name for this index, since the numbers of files are valid in one
///   index only; and the boot id of the machine while the index is open for writing. It is null after
///   the index was closed and synced.
/// - `files.number` orders the files by the arrival of their events. A positive number is never reused, so
///   that a stream position past a file stays past it. Files that were found after newer ones have
///   negative numbers: queries return their events, streams do not.
/// - `files.hidden_position` is the position before the first block of the file with an event that is not
///   in the index because another file has it too; null if there is none. Once the events of any file
///   are removed, the file is read again from there, since the removed ones may be among them.
/// - `hook_events.id` encodes file and offset of the line; see [`super::OFFSET_BITS`]. The table has the
///   same name as in PostgreSQL, so that both stores share queries.
/// - Each index has the time first, last, or after the session, so that inserts change few pages, which
///   stay in the cache. `ids` does the same for random ids; see [`super::ids`].
const TABLES: &str = r#"
CREATE TABLE indexes (name INTEGER NOT NULL, boot TEXT);
INSERT INTO indexes VALUES (abs(random() >> 16), NULL);
CREATE TABLE files (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    device   INTEGER NOT NULL,
    inode    INTEGER NOT NULL,
    position INTEGER NOT NULL,
    mark     INTEGER NOT NULL,
    hidden_position INTEGER,
    hidden_mark     INTEGER
);
CREATE TABLE hook_events (
    id            INTEGER PRIMARY KEY,
    session_id    TEXT NOT NULL,
    event_id      TEXT NOT NULL,
    "timestamp"   INTEGER NOT NULL,
    event_type    TEXT NOT NULL,
    workflow_id   TEXT,
    phase_id      TEXT,
    milestone_id  TEXT
    /* promoted columns */
);
CREATE UNIQUE INDEX events_key ON hook_events (session_id, "timestamp", event_id);
CREATE INDEX events_timestamp ON hook_events ("timestamp", session_id);
CREATE INDEX events_type ON hook_events (event_type, "timestamp");
CREATE INDEX events_workflow ON hook_events (workflow_id, "timestamp") WHERE workflow_id IS NOT NULL;
CREATE INDEX events_phase ON hook_events (phase_id, "timestamp") WHERE phase_id IS NOT NULL;
CREATE INDEX events_milestone ON hook_events (milestone_id, "timestamp")
    WHERE milestone_id IS NOT NULL;
CREATE INDEX events_tool ON hook_events (tool_name, "timestamp") WHERE tool_name IS NOT NULL;
CREATE TABLE ids (
    bucket INTEGER NOT NULL,
    hash   INTEGER NOT NULL,
    event  INTEGER NOT NULL,
    PRIMARY KEY (bucket, hash, event)
) WITHOUT ROWID;
"#;

/// The promoted columns that the index has.
pub(super) const INDEXED: [PromotedColumn; indexed_count()] = {
    let mut indexed = [PromotedColumn::ALL[0]; indexed_count()];
    let (mut at, mut count) = (0, 0);
    while at < PromotedColumn::COUNT {
        if PromotedColumn::ALL[at].is_indexed() {
            indexed[count] = PromotedColumn::ALL[at];
            count += 1;
        }
        at += 1;
    }
    indexed
};

const fn indexed_count() -> usize {
    let (mut at, mut count) = (0, 0);
    while at < PromotedColumn::COUNT {
        count += PromotedColumn::ALL[at].is_indexed() as usize;
        at += 1;
    }
    count
}

/// Returns the statements that create the tables.
fn tables() -> String {
    let promoted = INDEXED.map(|column| {
        let sql_type = match column.kind() {
            ColumnKind::Text => "TEXT",
            ColumnKind::Count => "INTEGER",
            ColumnKind::Measure => "REAL",
        };
        format!(",\n    {} {sql_type}", column.name())
    });
    TABLES.replace("\n    /* promoted columns */", &promoted.concat())
}

/// Returns the version of an index with these tables: a hash, so that an index with other columns is
/// detected and rebuilt.
fn version(tables: &str) -> i32 {
    xxhash_rust::xxh3::xxh3_64_with_seed(tables.as_bytes(), CONTENT_VERSION) as i32
}

/// The path of the index of a JSON Lines file: the same name with the suffix `.index`.
pub(super) fn path_of(jsonl: &Path) -> PathBuf {
    with_suffix(jsonl, ".index")
}

/// Opens the index for writing. If it is missing, damaged or of another version, creates a new one and
/// returns true.
pub(super) fn open(path: &Path) -> rusqlite::Result<(Connection, bool)> {
    match open_existing(path) {
        Ok(Some(index)) => Ok((index, false)),
        Ok(None) => Ok((make(path)?, true)),
        Err(error) if is_damage(&error) => {
            tracing::warn!(file = %path.display(), %error, "the index is damaged; rebuilding it");
            Ok((make(path)?, true))
        }
        Err(error) => Err(error),
    }
}

/// Returns true if the error means that the index has to be rebuilt.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

/// Opens the index for reading.
pub(super) fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let index = Connection::open_with_flags(path, flags)?;
    index.busy_timeout(BUSY_TIMEOUT)?;
    index.pragma_update(None, "cache_size", -16_384)?;
    Ok(index)
}

/// Opens the index if it exists and is usable.
fn open_existing(path: &Path) -> rusqlite::Result<Option<Connection>> {
    if !path.exists() {
        return Ok(None);
    }
    let index = Connection::open(path)?;
    let number = |pragma: &str| index.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
    let (application, version) = (number("application_id")?, number("user_version")?);
    if (application, version) != (APPLICATION_ID, self::version(&tables())) {
        tracing::info!(file = %path.display(), "the index is of another version; rebuilding it");
        return Ok(None);
    }
    let boot: Option<String> = index.query_row("SELECT boot FROM indexes", [], |row| row.get(0))?;
    if boot.is_some() && boot != this_boot() {
        tracing::info!(
            file = %path.display(),
            "the machine stopped while the index was open; rebuilding it"
        );
        return Ok(None);
    }
    set_up(&index)?;
    Ok(Some(index))
}

/// The boot id of the machine.
fn this_boot() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

/// Syncs the index and marks it as closed. If a reader prevents the checkpoint, the index stays marked
/// as open, and is rebuilt if the machine stops before the next clean close.
pub(super) fn close(index: Connection, path: &Path) -> rusqlite::Result<()> {
    index.busy_timeout(Duration::ZERO)?;
    let is_busy: bool = index.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if !is_busy && std::fs::File::open(path).and_then(|file| file.sync_all()).is_ok() {
        index.pragma_update(None, "synchronous", "full")?;
        index.execute("UPDATE indexes SET boot = NULL", [])?;
    }
    index.close().map_err(|(_, error)| error)
}

/// Creates an empty index, replacing an existing one.
pub(super) fn make(path: &Path) -> rusqlite::Result<Connection> {
    for suffix in ["", "-wal", "-shm"] {
        // If a file cannot be deleted, opening it fails.
        let _ = std::fs::remove_file(with_suffix(path, suffix));
    }
    let index = Connection::open(path)?;
    let tables = tables();
    let version = version(&tables);
    index.execute_batch(&format!(
        "PRAGMA journal_mode = wal; BEGIN; {tables} PRAGMA application_id = {APPLICATION_ID}; \
         PRAGMA user_version = {version}; COMMIT"
    ))?;
    set_up(&index)?;
    Ok(index)
}

/// Configures a connection for writing. With a write-ahead log, readers and the writer do not block each
/// other. Nothing is synced, since an fsync would delay those of the journal: a crash of the process
/// loses nothing, but after a crash of the machine an index that was open is rebuilt.
fn set_up(index: &Connection) -> rusqlite::Result<()> {
    index.busy_timeout(BUSY_TIMEOUT)?;
    index.pragma_update(None, "journal_mode", "wal")?;
    index.pragma_update(None, "synchronous", "off")?;
    index.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    set_cache(index, false)?;
    index.execute("UPDATE indexes SET boot = ?1", [this_boot().unwrap_or_default()])?;
    Ok(())
}

/// Sets the size of the writer's page cache, and empties it so that its memory returns to the system. A
/// pass that is not far behind changes few pages. One that is far behind needs a larger cache, for all
/// pages that a large transaction changes; otherwise SQLite would write and read them repeatedly.
pub(super) fn set_cache(index: &Connection, is_far_behind: bool) -> rusqlite::Result<()> {
    let kibibytes = if is_far_behind { 12_288 } else { 4096 };
    index.execute_batch(&format!("PRAGMA cache_size = -{kibibytes}; PRAGMA shrink_memory"))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
