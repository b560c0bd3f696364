//! Events whose time is the time of receipt: two servers that receive the same one give it two primary keys. The
//! table `hook_receipt_ids` has their IDs, so that only the first to be committed is stored.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use crate::event::{Event, Timestamp, generated_id};
use crate::postgres::StoreError;

/// Hours for which an ID is kept: longer than senders retry.
const KEPT_HOURS: u32 = 24;

/// A row whose event has the sender's ID and the time of receipt.
#[derive(Debug)]
pub(super) struct ReceiptId {
    row: usize,
    session_id: String,
    event_id: String,
    timestamp: SystemTime,
}

impl ReceiptId {
    /// Returns the ID of the event in this row; `None` if its primary key is the same on every server, if no
    /// sender knows its ID, or if its ID is not exact: see [`is_exact`].
    pub(super) fn of(event: &Event<'_>, row: usize) -> Option<Self> {
        let is_claimed = event.timestamp == event.received_at
            && !generated_id::is_generated(&event.event_id)
            && is_exact(&event.session_id)
            && is_exact(&event.event_id);
        is_claimed.then(|| Self {
            row,
            session_id: event.session_id.clone().into_owned(),
            event_id: event.event_id.clone().into_owned(),
            timestamp: system_time(event.timestamp),
        })
    }
}

/// Claims the IDs of a batch's rows, except those that were rejected, and deletes the rows whose ID another time has claimed. Returns how many were deleted.
///
/// Called right before the commit, in the order of the journal: a server that waits for a claim of another waits for
/// one commit only.
///
/// # Errors
/// If a statement fails, or another server does not end its transaction within the time limit for locks.
pub(super) async fn claim(
    client: &Client,
    ids: &[ReceiptId],
    rejected: &[(usize, String)],
) -> Result<usize, StoreError> {
    let rejected: HashSet<usize> = rejected.iter().map(|(row, _)| *row).collect();
    let ids: Vec<_> = ids.iter().filter(|id| !rejected.contains(&id.row)).collect();
    if ids.is_empty() {
        return Ok(0);
    }
    let sessions: Vec<_> = ids.iter().map(|id| id.session_id.as_str()).collect();
    let events: Vec<_> = ids.iter().map(|id| id.event_id.as_str()).collect();
    let times: Vec<_> = ids.iter().map(|id| id.timestamp).collect();
    let parameters: [(&(dyn ToSql + Sync), Type); 3] = [
        (&sessions, Type::TEXT_ARRAY),
        (&events, Type::TEXT_ARRAY),
        (&times, Type::TIMESTAMPTZ_ARRAY),
    ];
    // All servers insert in the same order, so that they cannot deadlock.
    let insert = "INSERT INTO hook_receipt_ids (session_id, event_id, \"timestamp\")
         SELECT * FROM unnest($1, $2, $3) AS id (session_id, event_id, \"timestamp\")
         ORDER BY session_id COLLATE \"C\", event_id COLLATE \"C\", \"timestamp\"
         ON CONFLICT DO NOTHING";
    let claimed = client.execute_typed(insert, &parameters).await?;
    if claimed == ids.len() as u64 {
        return Ok(0);
    }
    // The bounds limit the search to the partitions of these days.
    let delete = "DELETE FROM hook_events AS event
         USING unnest($1, $2, $3) AS id (session_id, event_id, \"timestamp\"), hook_receipt_ids AS first
         WHERE first.session_id = id.session_id AND first.event_id = id.event_id
           AND first.\"timestamp\" <> id.\"timestamp\"
           AND event.session_id = id.session_id AND event.event_id = id.event_id
           AND event.\"timestamp\" = id.\"timestamp\"
           AND event.\"timestamp\" BETWEEN
               (SELECT min(time) FROM unnest($3) AS time) AND (SELECT max(time) FROM unnest($3) AS time)";
    Ok(client.execute_typed(delete, &parameters).await? as usize)
}

/// Deletes the IDs that were claimed more than a day ago.
///
/// # Errors
/// If the statement fails.
pub(super) async fn delete_expired(client: &Client) -> Result<(), StoreError> {
    let delete = format!(
        "DELETE FROM hook_receipt_ids WHERE \"timestamp\" < now() - interval '{KEPT_HOURS} hours'"
    );
    client.execute_typed(&delete, &[]).await?;
    Ok(())
}

/// Returns false if other text is stored as the same value, because both have characters that become U+FFFD: two
/// events with such IDs may be different ones.
fn is_exact(text: &str) -> bool {
    !text.contains(['\0', '\u{fffd}'])
}

fn system_time(timestamp: Timestamp) -> SystemTime {
    let since_epoch = Duration::from_micros(timestamp.micros().unsigned_abs());
    if timestamp.micros() < 0 {
        SystemTime::UNIX_EPOCH - since_epoch
    } else {
        SystemTime::UNIX_EPOCH + since_epoch
    }
}
