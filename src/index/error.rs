//! Errors of the index, as a reader gets them.

use std::time::Duration;

use crate::query::ReadError;

/// Time limit for SQLite to find the rows of one chunk.
pub(super) const QUERY_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn read_error(error: &rusqlite::Error) -> ReadError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::OperationInterrupted) => ReadError::Slow(QUERY_TIMEOUT),
        Some(rusqlite::ErrorCode::CannotOpen) => {
            ReadError::Unavailable("the index is being built; try again in a moment".to_owned())
        }
        _ => ReadError::Failed(format!("the index: {error}")),
    }
}
