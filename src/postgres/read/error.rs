//! Errors of the database, as a reader gets them.

use std::time::Duration;

use tokio_postgres::error::SqlState;

use crate::postgres::error::describe;
use crate::query::ReadError;

/// Time limit for one statement, and for one row of its result.
pub(super) const QUERY_TIMEOUT: Duration = Duration::from_secs(10);

/// Awaits a response of the database for at most [`QUERY_TIMEOUT`].
pub(super) async fn with_timeout<T>(
    response: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, ReadError> {
    match tokio::time::timeout(QUERY_TIMEOUT, response).await {
        Ok(response) => response.map_err(|error| read_error(&error)),
        Err(_) => Err(unavailable("it does not respond")),
    }
}

pub(super) fn unavailable(reason: &str) -> ReadError {
    ReadError::Unavailable(format!(
        "the database cannot be read now ({reason}); the server still accepts and keeps events"
    ))
}

pub(super) fn read_error(error: &tokio_postgres::Error) -> ReadError {
    let Some(code) = error.code() else { return unavailable(&describe(error)) };
    match (code, &code.code()[..2]) {
        (&SqlState::QUERY_CANCELED, _) => ReadError::Slow(QUERY_TIMEOUT),
        (&SqlState::UNDEFINED_TABLE | &SqlState::UNDEFINED_COLUMN, _) => {
            unavailable("its tables do not exist yet")
        }
        // Connections, resources, shutdown, privileges, names: what an operator can repair.
        (_, "08" | "53" | "57" | "28" | "3D" | "42") => unavailable(&describe(error)),
        _ => ReadError::Failed(format!("the database: {}", describe(error))),
    }
}
