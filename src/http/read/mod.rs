//! Endpoints that read stored events.

mod admission;
mod body;
mod encoder;
pub(super) mod events;
pub(super) mod export;
mod pages;
mod parameter_sets;
mod parameters;
pub(super) mod sessions;
mod state;
pub(super) mod stream;

pub(crate) use state::ReadState;

use axum::http::StatusCode;

use super::problem::Problem;
use crate::query::ReadError;

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let text = error.to_string();
        match error {
            ReadError::Unavailable(_) => Self::unavailable(text, 2),
            ReadError::Slow(_) => Self::new(StatusCode::GATEWAY_TIMEOUT, text),
            ReadError::Gone(_) => Self::new(StatusCode::GONE, text),
            ReadError::Failed(_) => {
                tracing::error!(error = text, "query failed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, text)
            }
        }
    }
}
