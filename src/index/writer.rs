//! The writer of the index, and the files that it has indexed.

use std::collections::{HashMap, HashSet};
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, params};

use super::files::{self, FileIdentity};
use super::unread::{Block, Unread};
use super::{OFFSET_BITS, ids};

/// Resolution of file times, generously.
const TIME_RESOLUTION: Duration = Duration::from_millis(100);

/// The index, open for writing.
pub(super) struct IndexWriter {
    pub(super) index: Connection,
    /// The identity of the index file when it was opened.
    pub(super) identity: Option<FileIdentity>,
    /// The indexed files. Their numbers are the order of their events.
    pub(super) sources: Vec<IndexedFile>,
    /// The largest number that was given to a file.
    newest_number: i64,
    /// Bytes of lines in the open transaction.
    pub(super) uncommitted_bytes: u64,
}

/// An indexed file.
pub(super) struct IndexedFile {
    number: i64,
    pub(super) identity: FileIdentity,
    path: PathBuf,
    /// End of the last indexed line.
    position: u64,
    /// A hash of the bytes before `position`; see [`files::mark`].
    mark: i64,
    /// Position and mark before the first block with an event that another file has too; see
    /// [`schema`](super::schema).
    hidden: Option<(u64, i64)>,
    /// Length of the file when it was last compared with the index.
    pub(super) seen_len: u64,
    /// Time of the file's last change, if the mark was compared after it.
    verified: Option<SystemTime>,
}

/// The state of a file compared with the index.
pub(super) enum FileState {
    /// The index has all lines of the file, or the file is gone.
    Indexed,
    /// The file has more than the index.
    Longer(Unread),
    /// The file was truncated or rewritten. Its events were removed from the index.
    Rewritten,
}

impl IndexWriter {
    /// Takes over a connection, and reads the list of indexed files.
    pub(super) fn new(index: Connection, path: &Path) -> Result<Self, FollowError> {
        let (identity, sources) = (FileIdentity::of(path)?, sources(&index)?);
        let newest_number = newest_number(&index)?;
        Ok(Self { index, identity, sources, newest_number, uncommitted_bytes: 0 })
    }

    /// Adds new files and removes the events of deleted ones. Returns true if events were removed, or
    /// if an older file was added. `found` is oldest first.
    pub(super) fn update_sources(
        &mut self,
        found: Vec<(FileIdentity, PathBuf)>,
        jsonl: &Path,
    ) -> Result<bool, FollowError> {
        let mut is_changed = false;
        let paths: HashMap<FileIdentity, &PathBuf> =
            found.iter().map(|(identity, path)| (*identity, path)).collect();
        for at in (0..self.sources.len()).rev() {
            let source = &mut self.sources[at];
            let path = paths.get(&source.identity);
            if let Some(path) = path {
                source.path.clone_from(path);
            }
            // The JSON Lines file has the largest number, so that its new events are streamed.
            let is_overtaken = source.path == jsonl && source.number < self.newest_number;
            if path.is_none() || is_overtaken {
                self.forget(at)?;
                is_changed = true;
            }
        }
        let indexed: HashSet<FileIdentity> =
            self.sources.iter().map(|source| source.identity).collect();
        let known: Vec<bool> =
            found.iter().map(|(identity, _)| indexed.contains(identity)).collect();
        let newest_known = known.iter().rposition(|is_known| *is_known);
        for (at, (identity, path)) in found.into_iter().enumerate().filter(|(at, _)| !known[*at]) {
            let is_newest = newest_known.is_none_or(|known| at > known);
            self.add(identity, path, is_newest)?;
            is_changed |= !is_newest;
        }
        Ok(is_changed)
    }

    /// Adds a file. If it is the newest, its events follow all others in streams; otherwise they are not
    /// streamed.
    fn add(
        &mut self,
        identity: FileIdentity,
        path: PathBuf,
        is_newest: bool,
    ) -> Result<(), FollowError> {
        let FileIdentity { device, inode } = identity;
        let mark = files::mark_of(&[]);
        let oldest = self.sources.iter().map(|source| source.number).min().unwrap_or_default();
        self.index.execute(
            "INSERT INTO files (number, device, inode, position, mark) VALUES (?1, ?2, ?3, 0, ?4)",
            params![
                (!is_newest).then_some(oldest.min(0) - 1),
                device.cast_signed(),
                inode.cast_signed(),
                mark
            ],
        )?;
        let number = self.index.last_insert_rowid();
        self.newest_number = self.newest_number.max(number);
        let source = IndexedFile::new(number, identity, 0, mark);
        self.sources.push(IndexedFile { path, ..source });
        Ok(())
    }

    /// Removes the events of a file. Events that are in another file too are read again from there.
    fn forget(&mut self, at: usize) -> Result<(), FollowError> {
        let source = self.sources.remove(at);
        let transaction = self.index.transaction()?;
        let events = [source.number, source.number + 1].map(|number| number << OFFSET_BITS);
        transaction.execute("DELETE FROM hook_events WHERE id >= ?1 AND id < ?2", events)?;
        ids::forget(&transaction, source.number)?;
        transaction.execute("DELETE FROM files WHERE number = ?1", [source.number])?;
        // Rows behind a position would have no proof that the file still has their lines.
        for other in &self.sources {
            let Some((position, _)) = other.hidden else { continue };
            let events = [
                other.number << OFFSET_BITS | position.cast_signed(),
                (other.number + 1) << OFFSET_BITS,
            ];
            transaction.execute("DELETE FROM hook_events WHERE id >= ?1 AND id < ?2", events)?;
        }
        transaction.execute(
            "UPDATE files SET position = hidden_position, mark = hidden_mark, \
             hidden_position = NULL, hidden_mark = NULL WHERE hidden_position IS NOT NULL",
            [],
        )?;
        transaction.commit()?;
        for other in &mut self.sources {
            if let Some(hidden) = other.hidden.take() {
                (other.position, other.mark) = hidden;
                other.verified = None;
            }
        }
        tracing::info!(file = %source.path.display(), "removed the events of a file from the index");
        Ok(())
    }

    /// Total bytes of the files, and how many of these are not indexed.
    pub(super) fn size(&self) -> (u64, u64) {
        let len =
            |source: &IndexedFile| std::fs::metadata(&source.path).map_or(0, |found| found.len());
        self.sources.iter().fold((0, 0), |(bytes, lag_bytes), source| {
            let len = len(source).max(source.position);
            (bytes + len, lag_bytes + len - source.position)
        })
    }

    /// Compares a file with the index.
    pub(super) fn check(&mut self, at: usize) -> Result<FileState, FollowError> {
        let source = &mut self.sources[at];
        let (number, position) = (source.number, source.position);
        let Some(metadata) = source.metadata()? else { return Ok(FileState::Indexed) };
        let (len, modified) = (metadata.len(), metadata.modified()?);
        if len == position && source.verified == Some(modified) {
            return Ok(FileState::Indexed);
        }
        let Some(file) = files::open_if(&source.path, source.identity)? else {
            return Ok(FileState::Indexed);
        };
        if len < position || files::mark(&file, position)? != source.mark {
            tracing::info!(file = %source.path.display(), "the file was truncated or rewritten; indexing it again");
            let (identity, path) = (source.identity, source.path.clone());
            let is_newest = number == self.newest_number;
            self.forget(at)?;
            self.add(identity, path, is_newest)?;
            return Ok(FileState::Rewritten);
        }
        source.seen_len = len;
        // A further change within the resolution of file times would not be noticed.
        let is_settled = modified.elapsed().is_ok_and(|age| age > TIME_RESOLUTION);
        source.verified = is_settled.then_some(modified);
        if len == position {
            return Ok(FileState::Indexed);
        }
        Ok(FileState::Longer(Unread { file, number, position, len }))
    }

    /// Inserts a block of a file in the open transaction.
    pub(super) fn insert(&mut self, at: usize, block: &Block) -> Result<(), FollowError> {
        let source = &mut self.sources[at];
        if self.uncommitted_bytes == 0 {
            self.index.execute_batch("BEGIN")?;
        }
        if block.rows.insert(&self.index, source.hidden.is_none())? {
            source.hidden = Some((source.position, source.mark));
        }
        let (hidden_position, hidden_mark) = source.hidden.unzip();
        self.index.execute(
            "UPDATE files SET position = ?2, mark = ?3, hidden_position = ?4, hidden_mark = ?5 \
             WHERE number = ?1",
            params![
                source.number,
                block.end.cast_signed(),
                block.mark,
                hidden_position.map(u64::cast_signed),
                hidden_mark
            ],
        )?;
        self.uncommitted_bytes += block.end - source.position;
        (source.position, source.mark) = (block.end, block.mark);
        Ok(())
    }

    pub(super) fn commit(&mut self) -> Result<(), FollowError> {
        self.index.execute_batch("COMMIT")?;
        self.uncommitted_bytes = 0;
        Ok(())
    }
}

impl IndexedFile {
    fn new(number: i64, identity: FileIdentity, position: u64, mark: i64) -> Self {
        Self {
            number,
            identity,
            path: PathBuf::new(),
            position,
            mark,
            hidden: None,
            seen_len: 0,
            verified: None,
        }
    }

    /// Returns what is known about the file; `None` if the path no longer leads to it.
    fn metadata(&self) -> io::Result<Option<Metadata>> {
        match std::fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(found) => {
                Ok(Some(found).filter(|found| FileIdentity::of_metadata(found) == self.identity))
            }
        }
    }
}

fn sources(index: &Connection) -> rusqlite::Result<Vec<IndexedFile>> {
    let mut rows = index.prepare(
        "SELECT number, device, inode, position, mark, hidden_position, hidden_mark FROM files \
         ORDER BY number",
    )?;
    let sources = rows.query_map([], |row| {
        let unsigned = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
        let identity = FileIdentity { device: unsigned(1)?, inode: unsigned(2)? };
        let source = IndexedFile::new(row.get(0)?, identity, unsigned(3)?, row.get(4)?);
        let hidden_position: Option<i64> = row.get(5)?;
        let hidden_mark: Option<i64> = row.get(6)?;
        Ok(IndexedFile {
            hidden: hidden_position.map(i64::cast_unsigned).zip(hidden_mark),
            ..source
        })
    })?;
    sources.collect()
}

/// The largest number that was given to a file.
fn newest_number(index: &Connection) -> rusqlite::Result<i64> {
    let number = "SELECT max(seq) FROM sqlite_sequence WHERE name = 'files'";
    index.query_row(number, [], |row| row.get::<_, Option<i64>>(0)).map(Option::unwrap_or_default)
}

/// Why indexing failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum FollowError {
    #[error("index: {0}")]
    Index(#[from] rusqlite::Error),
    #[error("JSON Lines files: {0}")]
    Files(#[from] io::Error),
}
