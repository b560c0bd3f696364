//! What a handler has left of a request's body. A sender that is still sending when its connection is
//! closed (HTTP/1) or its stream reset (HTTP/2) may see that and not the answer, so the rest is read,
//! within limits.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::sync::oneshot;

/// How much is read.
const DISCARD_BYTES_MAX: usize = 64 << 20;

/// The way back for a body.
pub(in crate::http) struct Leftover(Option<oneshot::Receiver<Body>>);

impl Leftover {
    /// Lends the request's body to its handler.
    pub(in crate::http) fn of(request: Request) -> (Request, Self) {
        if hyper::body::Body::is_end_stream(request.body()) {
            return (request, Self(None));
        }
        let (back, returned) = oneshot::channel();
        let lend = |body| Body::new(Lent { body, back: Some(back) });
        (request.map(lend), Self(Some(returned)))
    }

    /// Reads what the handler has left, once it is done with the request, for no longer than that.
    pub(in crate::http) async fn discard(self, timeout: Duration) {
        let Some(mut body) = self.0.and_then(|mut returned| returned.try_recv().ok()) else {
            return;
        };
        let read = async {
            let mut left = DISCARD_BYTES_MAX;
            while let Some(Ok(frame)) = body.frame().await {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                let Some(rest) = left.checked_sub(bytes) else { return };
                left = rest;
            }
        };
        // A sender that is too slow or sends too much loses its connection.
        let _ = tokio::time::timeout(timeout, read).await;
    }
}

/// A body that goes back when it is dropped.
struct Lent {
    body: Body,
    back: Option<oneshot::Sender<Body>>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(back) = self.back.take() {
            // Nobody waits for it if the request was given up.
            let _ = back.send(std::mem::take(&mut self.body));
        }
    }
}

impl hyper::body::Body for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
