//! The index as its one writer has it, and the files that are taken into it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::files::{self, Identity};
use super::unread::{Block, Unread};
use super::{OFFSET_BITS, ids};

/// The index as its one writer has it open.
pub(super) struct Open {
    pub(super) index: Connection,
    pub(super) identity: Option<Identity>,
    /// In the order of their numbers, which is the order of their events.
    pub(super) sources: Vec<Source>,
    /// Bytes that the transaction has taken in which is not committed yet.
    pub(super) uncommitted_bytes: u64,
}

/// One of the files.
pub(super) struct Source {
    number: i64,
    pub(super) identity: Identity,
    path: PathBuf,
    position: u64,
    mark: i64,
    file: Option<Arc<File>>,
}

impl Open {
    /// Takes over an index, with what it knows of the files.
    pub(super) fn new(index: Connection, path: &Path) -> Result<Self, FollowError> {
        let (identity, sources) = (Identity::of(path)?, sources(&index)?);
        Ok(Self { index, identity, sources, uncommitted_bytes: 0 })
    }

    /// Takes in the files that came, and lets go of those that went.
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
        // A file that someone puts between known ones cannot come before events that were read
        // already: it is left out until the index is built again.
        let known = |identity| self.sources.iter().any(|source| source.identity == identity);
        let new = found.iter().rposition(|(identity, _)| known(*identity)).map_or(0, |at| at + 1);
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
        self.sources.push(Source { number, identity, path, position: 0, mark, file: None });
        Ok(())
    }

    /// Deletes what the index has of a file.
    fn forget(&mut self, at: usize) -> Result<(), FollowError> {
        let source = self.sources.remove(at);
        let transaction = self.index.transaction()?;
        let events = [source.number, source.number + 1].map(|number| number << OFFSET_BITS);
        transaction.execute("DELETE FROM hook_events WHERE id >= ?1 AND id < ?2", events)?;
        ids::forget(&transaction, source.number)?;
        transaction.execute("DELETE FROM files WHERE number = ?1", [source.number])?;
        transaction.commit()?;
        tracing::info!(file = %source.path.display(), "a file that is gone left the index");
        Ok(())
    }

    /// Bytes of all files, and how many of them are not read.
    pub(super) fn size(&self) -> (u64, u64) {
        let len = |source: &Source| std::fs::metadata(&source.path).map_or(0, |found| found.len());
        self.sources.iter().fold((0, 0), |(bytes, lag_bytes), source| {
            let len = len(source).max(source.position);
            (bytes + len, lag_bytes + len - source.position)
        })
    }

    /// What there is in one file that is not in the index, if there is anything.
    pub(super) fn unread(&mut self, at: usize) -> Result<Option<Unread>, FollowError> {
        let source = &mut self.sources[at];
        let (number, position, expected) = (source.number, source.position, source.mark);
        let is_known = source.file.is_some();
        let Some(file) = source.open()? else { return Ok(None) };
        let len = file.metadata()?.len();
        // While the server did not run, it may have become another of the same length.
        if len == position && is_known {
            return Ok(None);
        }
        if len < position || files::mark(&file, position)? != expected {
            tracing::info!(file = %source.path.display(), "the file was cut or written anew");
            let (identity, path) = (source.identity, source.path.clone());
            self.forget(at)?;
            self.add(identity, path)?;
            // It has another number now, and another place in the list.
            return Ok(None);
        }
        Ok(Some(Unread { file, number, position, len }))
    }

    /// Takes in a block of one file. It remains to be committed.
    pub(super) fn take_in(&mut self, at: usize, block: &Block) -> Result<(), FollowError> {
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

impl Source {
    /// The file, if its path still leads to it.
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

fn sources(index: &Connection) -> rusqlite::Result<Vec<Source>> {
    let mut rows =
        index.prepare("SELECT number, device, inode, position, mark FROM files ORDER BY number")?;
    let sources = rows.query_map([], |row| {
        let unsigned = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
        Ok(Source {
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

/// Why the index cannot follow.
#[derive(Debug, thiserror::Error)]
pub(super) enum FollowError {
    #[error("the index: {0}")]
    Index(#[from] rusqlite::Error),
    #[error("the JSON Lines files: {0}")]
    Files(#[from] io::Error),
}
