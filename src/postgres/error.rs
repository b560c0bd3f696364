//! Errors of the database, their descriptions, and time limits.

use std::io;
use std::time::Duration;

use tokio_postgres::error::SqlState;

use crate::metrics::DatabaseProblem;
use crate::visible;

/// Time limits for a connection, and for one batch.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
pub(super) const BATCH_TIMEOUT: Duration = Duration::from_mins(2);

/// Why rows could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database rejected a statement, or is unreachable.
    #[error("{}", describe(.0))]
    Database(#[from] tokio_postgres::Error),
    /// The database did not respond in time.
    #[error("no response from the database within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The database or its tables are not as this program creates them.
    #[error(
        "the database schema does not match: {0}; repair it, or use another database or schema \
         (DATABASE_URL with ?options=-csearch_path%3Dname)"
    )]
    SchemaMismatch(String),
    /// Another process has changed this journal's position.
    #[error(
        "the journal's position in the database was changed by another process; reading it again"
    )]
    PositionChanged,
    /// Rejected events could not be recorded.
    #[error("events that the database rejects cannot be written to rejected.jsonl: {0}")]
    RejectedFile(#[from] io::Error),
}

impl StoreError {
    /// Returns whether the database rejected one statement, so that the connection is still usable.
    pub fn is_rejection(&self) -> bool {
        matches!(self, Self::Database(error)
            if error.as_db_error().is_some() && !error.is_closed())
    }

    /// The kind of problem, for the metrics.
    pub fn problem(&self) -> DatabaseProblem {
        match self {
            Self::Timeout(_) => DatabaseProblem::Unreachable,
            Self::SchemaMismatch(_) => DatabaseProblem::Schema,
            Self::PositionChanged | Self::RejectedFile(_) => DatabaseProblem::Other,
            Self::Database(error) => {
                error.code().map_or(DatabaseProblem::Unreachable, |code| {
                    match (code, &code.code()[..2]) {
                        (_, "08" | "57") => DatabaseProblem::Unreachable,
                        (_, "28" | "3D") => DatabaseProblem::Login,
                        (
                            &SqlState::INSUFFICIENT_PRIVILEGE
                            | &SqlState::READ_ONLY_SQL_TRANSACTION,
                            _,
                        ) => DatabaseProblem::Rights,
                        (_, "23" | "42") => DatabaseProblem::Schema,
                        _ => DatabaseProblem::Other,
                    }
                })
            }
        }
    }
}

/// Fails if the work takes longer than the timeout.
pub(super) async fn within<T, E: Into<StoreError>>(
    timeout: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(timeout, work).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(StoreError::Timeout(timeout)),
    }
}

/// Maximum size of a message of the database in bytes.
const MESSAGE_BYTES_MAX: usize = 500;

/// The database's error message on one line, followed by advice where there is one. Without its detail, which may
/// have the values of a row.
pub(super) fn describe(error: &tokio_postgres::Error) -> String {
    use std::error::Error as _;
    let Some(db) = error.as_db_error() else {
        return match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
    };
    let code = db.code();
    // A message on an invalid value ends with the value.
    let message = match db.message().split_once(": \"") {
        Some((message, _)) if code.code().starts_with("22") => message,
        _ => db.message(),
    };
    let mut text = visible::one_line(&visible::cut(message, MESSAGE_BYTES_MAX)).into_owned();
    let advice = if *code == SqlState::INVALID_PASSWORD
        || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION
    {
        "check user and password in DATABASE_URL"
    } else if *code == SqlState::INVALID_CATALOG_NAME {
        "create the database, or correct its name in DATABASE_URL"
    } else if *code == SqlState::INSUFFICIENT_PRIVILEGE && db.message().contains("temporary") {
        "GRANT TEMPORARY ON DATABASE to the role: events that may be stored already are staged"
    } else if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        "the role must own the hook_ tables, and be allowed to create tables in their schema"
    } else if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
        "the database is read-only: connect to the primary, or allow writes"
    } else if *code == SqlState::NOT_NULL_VIOLATION {
        "a column added to hook_events needs a default, or must allow null"
    } else if *code == SqlState::DUPLICATE_TABLE {
        "a table of that name exists that this program did not create; rename it, or use another database or schema"
    } else {
        return text;
    };
    text.push_str(": ");
    text.push_str(advice);
    text
}
