//! The index's tables. Never migrated: an index of another version is deleted and built again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::event::{ColumnKind, PromotedColumn};

/// Marks a database as ours: "hook" in ASCII. See <https://www.sqlite.org/pragma.html#pragma_application_id>.
const APPLICATION_ID: i32 = 0x68_6f_6f_6b;

/// To be increased when the content of the tables changes and their columns do not; see [`version`].
const CONTENT_VERSION: u64 = 7;

/// When the write-ahead log goes into the database: 16 MiB of pages, so that a page that many
/// transactions have changed is written once.
const CHECKPOINT_PAGES: i32 = 4096;

/// How long a reader waits while the write-ahead log is reset.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Numbers of files never come back, so that whoever has passed one has passed it for good; they hold
/// for this index alone, which `indexes` names. There, too, stands during which run of the machine it
/// is being written; nothing, once it was closed and is safe on the disk. `id` of an event says where its line stands:
/// see [`super::OFFSET_BITS`]. The table has the name that it has in PostgreSQL, so that questions are
/// the same. Each index has time last, or
/// first, or after the session, so that new rows go to a few pages, which stay in memory. `ids` is such an
/// index, too: see [`super::ids`].
const TABLES: &str = r#"
CREATE TABLE indexes (name INTEGER NOT NULL, boot TEXT);
INSERT INTO indexes VALUES (abs(random() >> 16), NULL);
CREATE TABLE files (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    device   INTEGER NOT NULL,
    inode    INTEGER NOT NULL,
    position INTEGER NOT NULL,
    mark     INTEGER NOT NULL
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
/// recognised and built again.
fn version(tables: &str) -> i32 {
    xxhash_rust::xxh3::xxh3_64_with_seed(tables.as_bytes(), CONTENT_VERSION) as i32
}

/// Where the index of a JSON Lines file is: beside it, by the same name with `.index` after it.
pub(super) fn path_of(jsonl: &Path) -> PathBuf {
    with_suffix(jsonl, ".index")
}

/// Opens the index to write to it. One that is not of this version is deleted first, and one that is
/// not there is made: true if so.
pub(super) fn open(path: &Path) -> rusqlite::Result<(Connection, bool)> {
    match open_as_it_is(path) {
        Ok(Some(index)) => Ok((index, false)),
        Ok(None) => Ok((make(path)?, true)),
        Err(error) if is_damage(&error) => {
            tracing::warn!(file = %path.display(), %error, "the index is damaged; building it again");
            Ok((make(path)?, true))
        }
        Err(error) => Err(error),
    }
}

/// Whether the file is at fault, so that a new one will do better.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

/// Opens the index to read it.
pub(super) fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let index = Connection::open_with_flags(path, flags)?;
    index.busy_timeout(BUSY_TIMEOUT)?;
    index.pragma_update(None, "cache_size", -16_384)?;
    Ok(index)
}

fn open_as_it_is(path: &Path) -> rusqlite::Result<Option<Connection>> {
    if !path.exists() {
        return Ok(None);
    }
    let index = Connection::open(path)?;
    let number = |pragma: &str| index.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
    let (application, version) = (number("application_id")?, number("user_version")?);
    if (application, version) != (APPLICATION_ID, self::version(&tables())) {
        tracing::info!(file = %path.display(), "the index is of another version; building it again");
        return Ok(None);
    }
    let boot: Option<String> = index.query_row("SELECT boot FROM indexes", [], |row| row.get(0))?;
    if boot.is_some() && boot != this_boot() {
        tracing::info!(
            file = %path.display(),
            "the machine went down while the index was written; building it again"
        );
        return Ok(None);
    }
    set_up(&index)?;
    Ok(Some(index))
}

/// Which run of the machine this is.
fn this_boot() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

/// Puts all on the disk, and notes that it is there; where readers are in the way, an index that a
/// machine's fall leaves behind is built again.
pub(super) fn close(index: Connection, path: &Path) -> rusqlite::Result<()> {
    index.busy_timeout(Duration::ZERO)?;
    let busy: bool = index.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if !busy && std::fs::File::open(path).and_then(|file| file.sync_all()).is_ok() {
        index.pragma_update(None, "synchronous", "full")?;
        index.execute("UPDATE indexes SET boot = NULL", [])?;
    }
    index.close().map_err(|(_, error)| error)
}

/// Makes an empty index in the place of what is there.
pub(super) fn make(path: &Path) -> rusqlite::Result<Connection> {
    for suffix in ["", "-wal", "-shm"] {
        // What cannot be deleted shows when it is opened.
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

/// Readers and the writer do not wait for each other, and nothing is ever synced, since whoever waits for
/// the disk would hold up those who wait for the journal. A process that dies takes nothing along; a
/// machine that goes down may, so an index that was not closed before is built again.
fn set_up(index: &Connection) -> rusqlite::Result<()> {
    index.busy_timeout(BUSY_TIMEOUT)?;
    index.pragma_update(None, "journal_mode", "wal")?;
    index.pragma_update(None, "synchronous", "off")?;
    index.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    set_cache(index, false)?;
    index.execute("UPDATE indexes SET boot = ?1", [this_boot().unwrap_or_default()])?;
    Ok(())
}

/// Sets how much the writer keeps in memory. Where little is new, that goes to few pages, and the system has
/// the others in its cache. `is_far_behind`: all that a large transaction changes, which would otherwise be
/// written, and read again, before its end. What it has is let go, so that memory can go back to the system.
pub(super) fn set_cache(index: &Connection, is_far_behind: bool) -> rusqlite::Result<()> {
    let kibibytes = if is_far_behind { 12_288 } else { 4096 };
    index.execute_batch(&format!("PRAGMA cache_size = -{kibibytes}; PRAGMA shrink_memory"))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
