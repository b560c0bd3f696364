//! The files that are indexed: the JSON Lines file and the files rotated from it.

use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::journal::RotatedNames;

/// Bytes before a position whose hash proves that a file still has the content that was read.
pub(super) const MARK_BYTES: u64 = 512;

/// Identifies a file whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FileIdentity {
    pub(super) device: u64,
    pub(super) inode: u64,
}

impl FileIdentity {
    /// Returns the identity of the file at a path; `None` if the file does not exist.
    pub(super) fn of(path: &Path) -> io::Result<Option<Self>> {
        match std::fs::metadata(path) {
            Ok(metadata) => Ok(Some(Self::of_metadata(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn of_metadata(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// Lists the existing files, oldest first; the JSON Lines file itself is last.
pub(super) fn list(path: &Path) -> io::Result<Vec<(FileIdentity, PathBuf)>> {
    loop {
        let current = FileIdentity::of(path)?;
        let rotated = match RotatedNames::of(path).oldest_first() {
            // The directory does not exist.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            rotated => rotated?,
        };
        // If the file was rotated meanwhile, the list may lack it.
        if FileIdentity::of(path)? != current {
            continue;
        }
        let mut files: Vec<_> = rotated
            .into_iter()
            .map(|(path, metadata)| (FileIdentity::of_metadata(&metadata), path))
            .collect();
        // A file may have several names (hard links).
        let mut listed: HashSet<FileIdentity> = current.into_iter().collect();
        files.retain(|(identity, _)| listed.insert(*identity));
        files.extend(current.map(|identity| (identity, path.to_owned())));
        return Ok(files);
    }
}

/// Opens the file at a path; `None` if it has another identity.
pub(super) fn open_if(path: &Path, identity: FileIdentity) -> io::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        file => {
            let file = file?;
            let is_it = FileIdentity::of_metadata(&file.metadata()?) == identity;
            Ok(is_it.then_some(file))
        }
    }
}

/// A hash of the last bytes before a position.
pub(super) fn mark(file: &File, position: u64) -> io::Result<i64> {
    let bytes = position.min(MARK_BYTES);
    let mut before = vec![0; bytes as usize];
    file.read_exact_at(&mut before, position - bytes)?;
    Ok(mark_of(&before))
}

/// The same hash, from bytes that end at the position.
pub(super) fn mark_of(before: &[u8]) -> i64 {
    let start = before.len().saturating_sub(MARK_BYTES as usize);
    xxhash_rust::xxh3::xxh3_64(&before[start..]).cast_signed()
}
