//! What goes wrong with the database: kinds, words, and time limits.

use std::io;
use std::time::Duration;

use tokio_postgres::error::SqlState;

use crate::metrics::DatabaseProblem;

/// How long the database may take for a connection, and for one batch.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
pub(super) const BATCH_TIMEOUT: Duration = Duration::from_mins(2);

/// Why rows are not in the database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database said no, or is not there.
    #[error("{}", describe(.0))]
    Database(#[from] tokio_postgres::Error),
    /// The database did not answer in time.
    #[error("no answer from the database within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The tables are not ours.
    #[error(
        "the database is of another shape: {0}; mend it, or use another database or schema \
         (DATABASE_URL with ?options=-csearch_path%3Dname)"
    )]
    Shape(String),
    /// Someone else has moved this journal's position.
    #[error("the journal's position in the database was changed by someone else; reading it again")]
    Moved,
    /// What the database refused could not be set aside.
    #[error("events that the database refuses cannot be written to rejected.jsonl: {0}")]
    SetAside(#[from] io::Error),
}

impl StoreError {
    /// Whether the database has said no to one thing, on a connection that goes on.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Database(error)
            if error.as_db_error().is_some() && !error.is_closed())
    }
}

impl StoreError {
    /// What kind of problem this is.
    pub fn problem(&self) -> DatabaseProblem {
        match self {
            Self::Timeout(_) => DatabaseProblem::Unreachable,
            Self::Shape(_) => DatabaseProblem::Schema,
            Self::Moved | Self::SetAside(_) => DatabaseProblem::Other,
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

/// Bounds how long the database may take.
pub(super) async fn within<T, E: Into<StoreError>>(
    timeout: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(timeout, work).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(StoreError::Timeout(timeout)),
    }
}

/// The server's own words, with what a person can do about it where that is known.
pub(super) fn describe(error: &tokio_postgres::Error) -> String {
    use std::error::Error as _;
    let Some(db) = error.as_db_error() else {
        return match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
    };
    let mut text = db.message().to_owned();
    if let Some(detail) = db.detail() {
        text.push_str(" (");
        text.push_str(detail);
        text.push(')');
    }
    let code = db.code();
    let advice = if *code == SqlState::INVALID_PASSWORD
        || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION
    {
        "check user and password in DATABASE_URL"
    } else if *code == SqlState::INVALID_CATALOG_NAME {
        "create the database, or correct its name in DATABASE_URL"
    } else if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        "the role must own the hook_ tables, or be allowed to create them in its schema"
    } else if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
        "the database is read-only: connect to the primary, or allow writing"
    } else if *code == SqlState::NOT_NULL_VIOLATION {
        "a column that was added to hook_events needs a default, or must allow null"
    } else if *code == SqlState::DUPLICATE_TABLE {
        "the table is not this program's; rename it, or use another database or schema"
    } else {
        return text;
    };
    text.push_str(": ");
    text.push_str(advice);
    text
}
