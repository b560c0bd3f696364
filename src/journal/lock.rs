//! The lock that gives a journal to one server at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use super::OpenError;

/// Takes an exclusive `flock` on the file at `path`, held as long as the returned handle lives. The
/// kernel releases it when the process ends, even by a crash.
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
            // Used only in the error message, so a read error does not matter.
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
    // On a full disk the other server's error message lacks the process id; the lock still holds.
    let _ = writeln!(file, "process {}", std::process::id());
    Ok(file)
}
