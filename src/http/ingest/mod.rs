//! Endpoints that receive events.
//!
//! ```text
//! request  -> IngestRequest   rate limit, shutdown, ?ack=
//!          -> body            received within MAX_BODY_BYTES, BODY_TIMEOUT, MAX_INFLIGHT_BYTES
//!          -> decoder         chosen by the endpoint
//!          -> journal         group commit; with ack=stored, the store too
//!          -> Outcome         -> response in the endpoint's protocol
//! ```
//!
//! The pipeline in the middle is the same for all; [`events`], [`hooks`] and [`otlp`] know a protocol
//! each and nothing of each other.

mod body;
pub(super) mod events;
mod headers;
pub(super) mod hooks;
mod memory;
pub(super) mod otlp;
mod pipeline;
mod rate;
mod rejected;
mod request;
mod state;

use request::IngestRequest;
pub(crate) use state::IngestState;
