//! Rotation of the JSON Lines file by day or size, and retention of rotated files.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use prometheus::IntCounter;

use super::file_names::RotatedNames;
use crate::event::Timestamp;
use crate::journal::file::sync_dir;

/// Conditions under which the file is rotated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotate {
    /// Before the first event of a new day (UTC).
    pub daily: bool,
    /// Before the next append once the file has that many bytes.
    pub bytes_max: Option<u64>,
}

/// Rotation and retention of one file.
#[derive(Debug)]
pub struct Rotation {
    rotate: Rotate,
    retention: Option<Duration>,
    deleted: IntCounter,
    /// True if the last rename failed, so that each failure is logged once.
    is_failing: bool,
}

impl Rotation {
    /// Deletes rotated files that have not been written to for `retention_days`; counts them in
    /// `deleted`.
    pub fn new(rotate: Rotate, retention_days: Option<u32>, deleted: IntCounter) -> Self {
        let retention = retention_days.map(|days| Duration::from_hours(24) * days);
        Self { rotate, retention, deleted, is_failing: false }
    }

    /// Returns true if the file has to be rotated before the next append.
    pub(super) fn is_due(&self, file: &File, len: u64) -> io::Result<bool> {
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

    /// Renames the file and deletes expired files. Returns false if the rename failed, which is logged
    /// once until a rename succeeds.
    pub(super) fn rotate(&mut self, path: &Path) -> io::Result<bool> {
        let aside = match rename_aside(path) {
            Ok(aside) => aside,
            Err(error) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::error!(
                        file = %path.display(), %error,
                        "rotation failed; appending to the same file until it succeeds"
                    );
                }
                return Ok(false);
            }
        };
        self.is_failing = false;
        if let Some(parent) = path.parent() {
            sync_dir(parent)?;
        }
        tracing::info!(file = %aside.display(), "rotated");
        self.delete_expired(path);
        Ok(true)
    }

    /// Deletes the rotated files that are past the retention time. A failure never blocks an append: it
    /// is logged, and tried again at the next rotation.
    pub(super) fn delete_expired(&self, path: &Path) {
        let Some(retention) = self.retention else { return };
        let delete = || -> io::Result<()> {
            for file in RotatedNames::of(path).by_server()? {
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
            tracing::warn!(%error, "failed to delete a rotated file that is past RETENTION_DAYS");
        }
    }
}

/// Renames the file after the current time.
fn rename_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = RotatedNames::of(path).path_at(Timestamp::now());
    // The clock may have gone back: never overwrite an older file. The journal's lock excludes a race.
    if aside.try_exists()? {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    std::fs::rename(path, &aside)?;
    Ok(aside)
}
