//! The files that make up the store: the JSON Lines file, and those that were put aside.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// How much of a file before a position proves that it is still the same file.
pub(super) const MARK_BYTES: u64 = 512;

/// What makes a file that file, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Identity {
    pub(super) device: u64,
    pub(super) inode: u64,
}

impl Identity {
    pub(super) fn of(path: &Path) -> io::Result<Option<Self>> {
        match std::fs::metadata(path) {
            Ok(found) => Ok(Some(Self::of_metadata(&found))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Identity {
    pub(super) fn of_metadata(found: &Metadata) -> Self {
        Self { device: found.dev(), inode: found.ino() }
    }
}

/// The files that are there now, oldest first, the one at the path itself last.
pub(super) fn survey(path: &Path) -> io::Result<Vec<(Identity, PathBuf)>> {
    loop {
        let current = Identity::of(path)?;
        let mut found = Vec::new();
        for aside in put_aside(path)? {
            match std::fs::metadata(&aside) {
                Ok(aside_as) => {
                    let identity = Identity::of_metadata(&aside_as);
                    found.push((aside_as.modified()?, identity, aside));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        // If the file was put aside meanwhile, the list may lack it.
        if Identity::of(path)? != current {
            continue;
        }
        found.sort();
        let mut files: Vec<_> =
            found.into_iter().map(|(_, identity, path)| (identity, path)).collect();
        files.retain(|(identity, _)| Some(*identity) != current);
        files.extend(current.map(|identity| (identity, path.to_owned())));
        return Ok(files);
    }
}

/// What this server (`events-TIME.jsonl`) and logrotate (`events.jsonl.1`, `events.jsonl-20261123`)
/// put aside.
fn put_aside(path: &Path) -> io::Result<Vec<PathBuf>> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|e| format!(".{}", e.to_string_lossy()));
    let extension = extension.unwrap_or_default();
    let numbered = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let entries = match std::fs::read_dir(parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        let found = entry.file_name();
        let Some(found) = found.to_str() else { continue };
        let ours = found
            .strip_prefix(&*stem)
            .and_then(|rest| rest.strip_prefix('-'))
            .and_then(|rest| rest.strip_suffix(&*extension))
            .is_some_and(|time| {
                time.len() == "20261123T090000123456Z".len()
                    && time.bytes().all(|c| c.is_ascii_digit() || c == b'T' || c == b'Z')
            });
        let theirs = found
            .strip_prefix(&*name)
            .and_then(|rest| rest.strip_prefix(['.', '-']))
            .is_some_and(numbered);
        if ours || theirs {
            files.push(entry.path());
        }
    }
    Ok(files)
}

/// A hash of what stands before a position.
pub(super) fn mark(file: &File, position: u64) -> io::Result<i64> {
    let bytes = position.min(MARK_BYTES);
    let mut before = vec![0; bytes as usize];
    file.read_exact_at(&mut before, position - bytes)?;
    Ok(mark_of(&before))
}

/// The same of bytes that end there.
pub(super) fn mark_of(before: &[u8]) -> i64 {
    let start = before.len().saturating_sub(MARK_BYTES as usize);
    xxhash_rust::xxh3::xxh3_64(&before[start..]).cast_signed()
}
