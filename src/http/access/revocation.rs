//! Ends a response in progress once the request would not be allowed any more.

use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use tokio::sync::watch;

use super::Scope;
use super::credentials::Credentials;

#[derive(Debug, thiserror::Error)]
#[error("the key of the request was removed, or has lost its scope")]
struct Revoked;

/// Marks a response that ends by itself when its permission is revoked.
#[derive(Clone, Copy)]
pub(in crate::http) struct EndsByItself;

/// The permission of one request, an extension of it.
#[derive(Clone)]
pub(in crate::http) struct Permission {
    pub(super) secret: Vec<u8>,
    pub(super) scope: Scope,
    pub(super) credentials: watch::Receiver<Arc<Credentials>>,
}

impl Permission {
    /// Completes once the credentials do not include the permission any more.
    pub(in crate::http) async fn revoked(mut self) {
        let (secret, scope) = (self.secret, self.scope);
        let revoked = |credentials: &Arc<Credentials>| !credentials.permit(&secret, scope);
        if self.credentials.wait_for(revoked).await.is_err() {
            // The process ends.
            std::future::pending::<()>().await;
        }
        tracing::info!("response ended: its key was removed, or has lost the scope");
    }

    /// Returns the response with a body that ends once the permission is revoked: with an error, so that
    /// the client does not take it for complete.
    pub(in crate::http) fn guard(self, response: Response) -> Response {
        let is_whole = response.body().size_hint().exact().is_some();
        if is_whole || response.extensions().get::<EndsByItself>().is_some() {
            return response;
        }
        response.map(|body| Body::from_stream(self.guarded(body)))
    }

    fn guarded(self, body: Body) -> impl stream::Stream<Item = Result<Bytes, axum::Error>> {
        let state = Some((body.into_data_stream(), Box::pin(self.revoked())));
        stream::unfold(state, |state| async move {
            let (mut chunks, mut revoked) = state?;
            tokio::select! {
                biased;
                () = &mut revoked => Some((Err(axum::Error::new(Revoked)), None)),
                chunk = chunks.next() => Some((chunk?, Some((chunks, revoked)))),
            }
        })
    }
}
