//! One server for each journal.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use super::OpenError;

/// Takes the exclusive lock on that file for as long as the returned handle lives. The kernel
/// releases it when the process ends, however it ends.
pub(super) fn acquire(path: &Path) -> Result<File, OpenError> {
    let io = |error| OpenError::io(path, error);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Only for the message; an unreadable holder changes nothing.
            let _ = file.read_to_string(&mut holder);
            return Err(OpenError::Locked {
                path: path.to_owned(),
                holder: holder.trim().to_owned(),
            });
        }
        Err(TryLockError::Error(error)) => return Err(io(error)),
    }
    file.set_len(0).map_err(io)?;
    file.rewind().map_err(io)?;
    // On a full disk the process id is missing from a message; the lock holds all the same.
    let _ = writeln!(file, "process {}", std::process::id());
    Ok(file)
}
