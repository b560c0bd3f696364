//! Bodies of responses that are made while the client reads them.

use std::sync::Arc;
use std::time::Duration;

use axum::BoxError;
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::http::patience::Patience;
use crate::metrics::{Limit, Metrics};

/// The client is gone, or reads too slowly.
#[derive(Debug, thiserror::Error)]
#[error("the client is gone or reads too slowly")]
pub(super) struct ReaderLost;

/// Sends the parts of a body.
pub(super) struct BodySender {
    sender: mpsc::Sender<Bytes>,
    patience: Patience,
    metrics: Arc<Metrics>,
}

impl BodySender {
    /// Sends a part, unless it is empty, and waits until it is taken: a further part is only made when it can be sent.
    ///
    /// # Errors
    /// If the client is gone, or has read too slowly.
    pub(super) async fn send(&mut self, part: Bytes) -> Result<(), ReaderLost> {
        if part.is_empty() {
            return Ok(());
        }
        let (bytes, begun) = (part.len(), Instant::now());
        self.sender.send(part).await.map_err(|_| ReaderLost)?;
        match tokio::time::timeout(self.patience.left(), self.sender.reserve()).await {
            Ok(Ok(_)) => {
                self.patience.waited(begun.elapsed());
                self.patience.has_read(bytes);
                Ok(())
            }
            Ok(Err(_)) => Err(ReaderLost),
            Err(_) => {
                self.metrics.count_limit(Limit::BodyTimeout);
                tracing::info!("response ended: the client reads too slowly");
                Err(ReaderLost)
            }
        }
    }
}

/// Returns a body that `produce` sends. If that fails, the body ends with an error, so that the client does
/// not take it for complete. `patience` is the time limit for the client to read any part.
pub(super) fn produced<F>(
    patience: Duration,
    metrics: Arc<Metrics>,
    produce: impl FnOnce(BodySender) -> F,
) -> Body
where
    F: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(1);
    let (mut end, ended) = oneshot::channel();
    let produced = produce(BodySender { sender, patience: Patience::new(patience), metrics });
    tokio::spawn(async move {
        let result = tokio::select! {
            result = produced => result,
            // The body was dropped: the client is gone.
            () = end.closed() => return,
        };
        let _ = end.send(result);
    });
    Body::from_stream(stream::try_unfold(
        (receiver, ended),
        |(mut receiver, mut ended)| async move {
            match receiver.recv().await {
                Some(part) => Ok(Some((part, (receiver, ended)))),
                None => (&mut ended).await.unwrap_or_else(|lost| Err(lost.into())).map(|()| None),
            }
        },
    ))
}
