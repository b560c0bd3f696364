//! The writer of the index, and the files that it has indexed.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::files::{self, Identity};
use super::unread::{Block, Unread};
use super::{OFFSET_BITS, ids};

/// The index, open for writing.
pub(super) struct IndexWriter {
    pub(super) index: Connection,
    /// The identity of the index file when it was opened.
    pub(super) identity: Option<Identity>,
    /// The indexed files by number, which is also the order of their events.
    pub(super) sources: Vec<IndexedFile>,
    /// Bytes of lines in the open transaction.
    pub(super) uncommitted_bytes: u64,
}

/// An indexed file.
pub(super) struct IndexedFile {
    number: i64,
    pub(super) identity: Identity,
    path: PathBuf,
    /// End of the last indexed line.
    position: u64,
    /// A hash of the bytes before `position`; see [`files::mark`].
    mark: i64,
    file: Option<Arc<File>>,
}

impl IndexWriter {
    /// Takes over a connection, and reads the list of indexed files.
    pub(super) fn new(index: Connection, path: &Path) -> Result<Self, FollowError> {
        let (identity, sources) = (Identity::of(path)?, sources(&index)?);
        Ok(Self { index, identity, sources, uncommitted_bytes: 0 })
    }

    /// Adds new files and removes the events of deleted ones.
    pub(super) fn update_sources(
        &mut self,
        found: Vec<(Identity, PathBuf)>,
    ) -> Result<(), FollowError> {
        for at in (0..self.sources.len()).rev() {
            let source = &mut self.sources[at];
            match found.iter().find(|(identity, _)| *identity == source.identity) {
                Some((_, path)) => path.clone_into(&mut source.path),
                None => self.forget(at)?,
            }
        }
        // Ids grow in the order of arrival, so a file that appears between indexed ones is ignored until
        // the index is rebuilt.
        let is_known = |identity| self.sources.iter().any(|source| source.identity == identity);
        let known = found.iter().rposition(|(identity, _)| is_known(*identity));
        let new = known.map_or(0, |at| at + 1);
        for (identity, path) in found.into_iter().skip(new) {
            self.add(identity, path)?;
        }
        Ok(())
    }

    fn add(&mut self, identity: Identity, path: PathBuf) -> Result<(), FollowError> {
        let Identity { device, inode } = identity;
        let mark = files::mark_of(&[]);
        self.index.execute(
            "INSERT INTO files (device, inode, position, mark) VALUES (?1, ?2, 0, ?3)",
            params![device.cast_signed(), inode.cast_signed(), mark],
        )?;
        let number = self.index.last_insert_rowid();
        self.sources.push(IndexedFile { number, identity, path, position: 0, mark, file: None });
        Ok(())
    }

    /// Deletes the events of a file.
    fn forget(&mut self, at: usize) -> Result<(), FollowError> {
        let source = self.sources.remove(at);
        let transaction = self.index.transaction()?;
        let events = [source.number, source.number + 1].map(|number| number << OFFSET_BITS);
        transaction.execute("DELETE FROM hook_events WHERE id >= ?1 AND id < ?2", events)?;
        ids::forget(&transaction, source.number)?;
        transaction.execute("DELETE FROM files WHERE number = ?1", [source.number])?;
        transaction.commit()?;
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

    /// The part of a file that is not in the index, if any.
    pub(super) fn unread(&mut self, at: usize) -> Result<Option<Unread>, FollowError> {
        let source = &mut self.sources[at];
        let (number, position, expected) = (source.number, source.position, source.mark);
        let was_open = source.file.is_some();
        let Some(file) = source.open()? else { return Ok(None) };
        let len = file.metadata()?.len();
        // Before the first read, also check the content: the file may have been replaced by one of the
        // same length while the server was stopped.
        if len == position && was_open {
            return Ok(None);
        }
        if len < position || files::mark(&file, position)? != expected {
            tracing::info!(file = %source.path.display(), "the file was truncated or rewritten; indexing it again");
            let (identity, path) = (source.identity, source.path.clone());
            self.forget(at)?;
            self.add(identity, path)?;
            // The file has a new number, and is the last in the list.
            return Ok(None);
        }
        Ok(Some(Unread { file, number, position, len }))
    }

    /// Inserts a block of a file in the open transaction.
    pub(super) fn insert(&mut self, at: usize, block: &Block) -> Result<(), FollowError> {
        let source = &mut self.sources[at];
        if self.uncommitted_bytes == 0 {
            self.index.execute_batch("BEGIN")?;
        }
        block.rows.insert(&self.index)?;
        self.index.execute(
            "UPDATE files SET position = ?2, mark = ?3 WHERE number = ?1",
            params![source.number, block.end.cast_signed(), block.mark],
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
    /// Opens the file; `None` if the path no longer leads to it.
    fn open(&mut self) -> io::Result<Option<Arc<File>>> {
        if self.file.is_none() {
            let file = match File::open(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                file => file?,
            };
            if Identity::of_metadata(&file.metadata()?) == self.identity {
                self.file = Some(Arc::new(file));
            }
        }
        Ok(self.file.clone())
    }
}

fn sources(index: &Connection) -> rusqlite::Result<Vec<IndexedFile>> {
    let mut rows =
        index.prepare("SELECT number, device, inode, position, mark FROM files ORDER BY number")?;
    let sources = rows.query_map([], |row| {
        let unsigned = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
        Ok(IndexedFile {
            number: row.get(0)?,
            identity: Identity { device: unsigned(1)?, inode: unsigned(2)? },
            path: PathBuf::new(),
            position: unsigned(3)?,
            mark: row.get(4)?,
            file: None,
        })
    })?;
    sources.collect()
}

/// Why indexing failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum FollowError {
    #[error("index: {0}")]
    Index(#[from] rusqlite::Error),
    #[error("JSON Lines files: {0}")]
    Files(#[from] io::Error),
}
