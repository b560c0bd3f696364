//! Putting the JSON Lines file aside by day or size, and deleting what was put aside long ago.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use prometheus::IntCounter;

use crate::journal::file::sync_dir;

/// When a file is put aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotate {
    /// Before the first event of a new day (UTC).
    pub daily: bool,
    /// Once it has that many bytes.
    pub bytes_max: Option<u64>,
}

/// Rotation and retention of one file.
#[derive(Debug)]
pub struct Rotation {
    rotate: Rotate,
    retention: Option<Duration>,
    deleted: IntCounter,
    failing: bool,
}

impl Rotation {
    /// Rotated files are deleted when nothing has been written to them for that many days.
    pub fn new(rotate: Rotate, retention_days: Option<u32>, deleted: IntCounter) -> Self {
        let retention = retention_days.map(|days| Duration::from_hours(24) * days);
        Self { rotate, retention, deleted, failing: false }
    }

    /// Whether the file has to be put aside before the next append.
    pub(in crate::journal) fn is_due(&self, file: &File, len: u64) -> io::Result<bool> {
        if len == 0 {
            return Ok(false);
        }
        let day = |time: SystemTime| {
            time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() / 86_400
        };
        let new_day =
            || Ok::<_, io::Error>(day(file.metadata()?.modified()?) < day(SystemTime::now()));
        Ok(self.rotate.bytes_max.is_some_and(|max| len >= max) || (self.rotate.daily && new_day()?))
    }

    /// Puts the file aside under a name with the time, and deletes what is too old. False if it could
    /// not be put aside, which is reported once.
    pub(in crate::journal) fn rotate(&mut self, path: &Path) -> io::Result<bool> {
        let aside = match put_aside(path) {
            Ok(aside) => aside,
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(
                        file = %path.display(), %error,
                        "the file cannot be rotated; it grows until it can"
                    );
                }
                return Ok(false);
            }
        };
        self.failing = false;
        if let Some(parent) = path.parent() {
            sync_dir(parent)?;
        }
        tracing::info!(file = %aside.display(), "rotated");
        self.delete_expired(path);
        Ok(true)
    }

    /// Events matter more than tidiness: what cannot be deleted is tried again at the next rotation.
    pub(in crate::journal) fn delete_expired(&self, path: &Path) {
        let Some(retention) = self.retention else { return };
        let delete = || -> io::Result<()> {
            for file in rotated(path)? {
                let modified = std::fs::metadata(&file)?.modified()?;
                if SystemTime::now().duration_since(modified).unwrap_or_default() > retention {
                    std::fs::remove_file(&file)?;
                    self.deleted.inc();
                    tracing::info!(file = %file.display(), "deleted after RETENTION_DAYS");
                }
            }
            Ok(())
        };
        if let Err(error) = delete() {
            tracing::warn!(%error, "a rotated file past RETENTION_DAYS could not be deleted");
        }
    }
}

/// Gives the file a name with the time.
fn put_aside(path: &Path) -> io::Result<PathBuf> {
    let (parent, prefix, extension) = parts(path);
    let now: String = crate::event::Timestamp::now()
        .to_string()
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    let aside = parent.join(format!("{prefix}{now}{extension}"));
    // Never onto another file, should the clock have gone back. Names are made under the lock.
    if aside.try_exists()? {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    std::fs::rename(path, &aside)?;
    Ok(aside)
}

/// The files that were put aside, oldest first. Only names that this makes count.
pub(in crate::journal) fn rotated(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (parent, prefix, extension) = parts(path);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&parent)? {
        let entry = entry?;
        let name = entry.file_name();
        let time = name
            .to_str()
            .and_then(|name| name.strip_prefix(&*prefix))
            .and_then(|name| name.strip_suffix(&*extension));
        let made_here = time.is_some_and(|time| {
            time.len() == "20261123T090000123456Z".len()
                && time.bytes().all(|c| c.is_ascii_digit() || c == b'T' || c == b'Z')
        });
        if made_here {
            files.push(entry.path());
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// The directory, and what stands before and after the time in a rotated file's name.
fn parts(path: &Path) -> (PathBuf, String, String) {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let extension = match path.extension() {
        None => String::new(),
        Some(extension) => format!(".{}", extension.to_string_lossy()),
    };
    let prefix = format!("{}-", path.file_stem().unwrap_or_default().to_string_lossy());
    (parent.unwrap_or(Path::new(".")).to_owned(), prefix, extension)
}
