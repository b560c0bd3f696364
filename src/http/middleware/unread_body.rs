//! Reads the rest of a request body that a handler did not read.
//!
//! A client that is still sending when its connection is closed (HTTP/1) or its stream is reset
//! (HTTP/2) may never see the response. The rest of the body is therefore read first, within limits and
//! while it arrives: a client that sends nothing gets its response at once.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::EXPECT;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::sync::oneshot;

/// Maximum number of bytes that are read and discarded.
const DISCARD_BYTES_MAX: usize = 64 << 20;

/// Maximum wait for the next part of a body.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Receives the body of a request when its handler drops it; `None` if the body is empty.
pub(super) struct UnreadBody(Option<oneshot::Receiver<Body>>);

impl UnreadBody {
    /// Wraps the request's body, so that it comes back when the handler drops it.
    pub(super) fn track(request: Request) -> (Request, Self) {
        if hyper::body::Body::is_end_stream(request.body()) {
            return (request, Self(None));
        }
        let (return_to, returned) = oneshot::channel();
        // The client waits for the response or for `100 Continue`, which reading would send (RFC 9110, 10.1.1).
        let is_awaited = request.headers().contains_key(EXPECT);
        let wrap = |body| Body::new(ReturnedBody { body, is_awaited, return_to: Some(return_to) });
        (request.map(wrap), Self(Some(returned)))
    }

    /// Reads what the handler left unread, until the timeout.
    pub(super) async fn discard(self, timeout: Duration) {
        let Some(mut body) = self.0.and_then(|mut returned| returned.try_recv().ok()) else {
            return;
        };
        let read = async {
            let mut left = DISCARD_BYTES_MAX;
            while let Ok(Some(Ok(frame))) = tokio::time::timeout(PAUSE_MAX, body.frame()).await {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                let Some(rest) = left.checked_sub(bytes) else { return };
                left = rest;
            }
        };
        // A client that is too slow or sends too much loses its connection.
        let _ = tokio::time::timeout(timeout, read).await;
    }
}

/// A body that is sent back when it is dropped, unless the client has not begun to send it.
struct ReturnedBody {
    body: Body,
    is_awaited: bool,
    return_to: Option<oneshot::Sender<Body>>,
}

impl Drop for ReturnedBody {
    fn drop(&mut self) {
        if let Some(return_to) = self.return_to.take()
            && !self.is_awaited
        {
            // Fails if the request was cancelled.
            let _ = return_to.send(std::mem::take(&mut self.body));
        }
    }
}

impl hyper::body::Body for ReturnedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.is_awaited = false;
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
