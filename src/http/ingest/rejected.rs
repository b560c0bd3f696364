//! Invalid events of a batch: counted, and copied to `rejected.jsonl`.

use crate::decode::Rejected;
use crate::http::App;
use crate::rejected::{Durability, Kept, RejectedEntry};

pub(super) fn count(app: &App, events: usize) {
    app.metrics.events_rejected.with_label_values(&["invalid"]).inc_by(events as u64);
}

/// Copies the events to `rejected.jsonl` for the operator. The response names them in any case, so a
/// failure is logged and does not fail the request.
pub(super) async fn keep(app: &App, rejected: Vec<Rejected>) {
    let (file, events) = (app.ingest.rejected.clone(), rejected.len() as u64);
    let kept = tokio::task::spawn_blocking(move || {
        let entries = rejected.iter().map(|rejected| RejectedEntry {
            field: rejected.reason.field.as_deref(),
            error: &rejected.reason.error,
            original: rejected.original.as_bytes(),
        });
        file.append(entries, Durability::Written)
    });
    let error = match kept.await {
        Ok(Ok(Kept::All)) => return,
        Ok(Ok(Kept::None)) => return app.metrics.rejected_dropped.inc_by(events),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    let file = app.ingest.rejected.path().display();
    tracing::error!(%file, %error, "cannot write rejected events");
}
