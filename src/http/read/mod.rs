//! Reading events back.

mod events;
mod export;
mod parameters;
mod sessions;
mod state;
mod stream;

pub(super) use events::events;
use export::PARQUET_MAX;
pub(super) use export::export;
pub(super) use sessions::{session, sessions, stats};
pub(crate) use state::ReadState;
use stream::STREAMS_MAX;
pub(super) use stream::stream;

use axum::http::StatusCode;

use super::problem::Problem;
use crate::query::ReadError;

/// The store's end of an answer is gone: it failed, or gave up on a reader that takes too long.
fn cut() -> ReadError {
    ReadError::Failed("the answer was cut off".to_owned())
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let text = error.to_string();
        match error {
            ReadError::Unavailable(_) => Self::unavailable(text, 2),
            ReadError::Slow(_) => Self::new(StatusCode::GATEWAY_TIMEOUT, text),
            ReadError::Gone(_) => Self::new(StatusCode::GONE, text),
            ReadError::Failed(_) => {
                tracing::error!(error = text, "a question could not be answered");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, text)
            }
        }
    }
}
