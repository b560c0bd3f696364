//! Reasons why a query fails.

use std::io;
use std::time::Duration;

/// Why a query fails.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store is unreachable, starting or busy; a retry may succeed.
    #[error("{0}")]
    Unavailable(String),
    /// The query ran into its time limit.
    #[error(
        "the query takes longer than {} s; narrow it by time (since, until) or to one session \
         (session_id)", .0.as_secs()
    )]
    Slow(Duration),
    /// The position at which a tail should continue is unknown, or no longer known.
    #[error("{0}")]
    Gone(String),
    /// The store itself failed.
    #[error("{0}")]
    Failed(String),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}
