//! The request of an ingest endpoint, before its body is received.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequest, Request};
use axum::http::HeaderMap;

use super::headers::ack;
use crate::config::Ack;
use crate::event::Timestamp;
use crate::http::App;
use crate::http::access::KeyName;
use crate::http::client_id::ClientId;
use crate::http::drain::InFlight;
use crate::http::problem::Problem;

/// A request within the rate limits of its sender, counted as in flight.
pub(in crate::http) struct IngestRequest {
    pub(super) app: Arc<App>,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
    pub(super) origin: Origin,
    pub(super) ack: Ack,
    pub(super) in_flight: InFlight,
    /// Whether originals are copied to `rejected.jsonl` even if no event of the request is valid, because
    /// the sender does not try again and keeps no copy.
    pub(super) keeps_originals: bool,
}

/// Sender and time of arrival of a request.
pub(super) struct Origin {
    pub(super) sender: ClientId,
    pub(super) key_name: Option<Arc<str>>,
    pub(super) received_at: Timestamp,
}

impl FromRequest<Arc<App>> for IngestRequest {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let key_name = parts.extensions.get::<KeyName>().and_then(|key| key.0.clone());
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.ip());
        let sender = ClientId::new(key_name.clone(), peer);
        app.ingest.rates.check(&sender)?;
        let in_flight = app.drain.admit()?;
        let origin = Origin { sender, key_name, received_at: Timestamp::now() };
        let ack = ack(&parts.uri, app.config.http.ack)?;
        Ok(Self {
            app: app.clone(),
            headers: parts.headers,
            body,
            origin,
            ack,
            in_flight,
            keeps_originals: false,
        })
    }
}
