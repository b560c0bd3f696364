//! The sessions with the newest events. They are found by reading events backwards, newest first, until
//! there are enough sessions. So a page of a day's sessions reads a few of the day's events, mostly,
//! instead of all.

use std::collections::HashSet;

use super::Store;
use crate::event::Timestamp;
use crate::query::{Boundary, Comparison, Filter, Order, PageKey, ReadError, Select, output_row};

/// Number of events in the first batch. Each batch is four times as large as the one before it.
const BATCH_EVENTS: usize = 500;

/// Maximum number of sessions in one query about them.
const QUERY_SESSIONS_MAX: usize = 500;

/// A session, and the time of its newest event among those that match a filter.
#[derive(Clone, Debug)]
pub(super) struct RecentSession {
    pub(super) session_id: String,
    pub(super) newest: Timestamp,
}

output_row! {
    struct SessionEventRow {
        session_id: String = "session_id",
        timestamp: Timestamp = "\"timestamp\"",
    }
}

output_row! {
    struct RecentSessionRow {
        session_id: String = "session_id",
    }
}

/// Sessions that have been met while reading backwards.
#[derive(Default)]
struct Backwards {
    /// The oldest event so far.
    oldest: Option<RecentSession>,
    /// Number of events in the current batch.
    batch_events: usize,
    /// Sessions of the current batch that no earlier one had.
    batch_sessions: Vec<RecentSession>,
    all_session_ids: HashSet<String>,
}

impl Backwards {
    fn add(&mut self, row: SessionEventRow) {
        self.batch_events += 1;
        let event = RecentSession { session_id: row.session_id, newest: row.timestamp };
        if !self.all_session_ids.contains(&event.session_id) {
            self.all_session_ids.insert(event.session_id.clone());
            self.batch_sessions.push(event.clone());
        }
        self.oldest = Some(event);
    }
}

impl Store {
    /// The sessions that have events which match a filter, in descending order of the newest of these
    /// events, starting after a position in that order.
    pub(super) async fn recent_sessions(
        &self,
        filter: &Filter,
        after: Option<&PageKey>,
        limit: usize,
    ) -> Result<Vec<RecentSession>, ReadError> {
        let mut found = Vec::new();
        let oldest = after
            .map(|key| RecentSession { session_id: key.session_id.clone(), newest: key.timestamp });
        let mut backwards = Backwards { oldest, ..Backwards::default() };
        let mut batch_max = BATCH_EVENTS;
        loop {
            let select = Select {
                filter: filter.clone(),
                boundary: backwards.oldest.take().map(|event| Boundary {
                    comparison: Comparison::Less,
                    timestamp: event.newest,
                    session_id: event.session_id,
                    event_id: None,
                }),
                order_by: ["timestamp", "session_id"].map(|by| (by, Order::Descending)).to_vec(),
                limit: Some(batch_max),
                ..Select::default()
            };
            backwards.batch_events = 0;
            backwards = self.fold(&select, backwards, Backwards::add).await?;
            let is_last = backwards.batch_events < batch_max;
            for new in std::mem::take(&mut backwards.batch_sessions).chunks(QUERY_SESSIONS_MAX) {
                let before = match after {
                    Some(key) => self.sessions_before(new, filter, key).await?,
                    None => HashSet::new(),
                };
                let new = new.iter().filter(|session| !before.contains(&session.session_id));
                found.extend(new.cloned());
                if found.len() >= limit {
                    found.truncate(limit);
                    return Ok(found);
                }
            }
            if is_last {
                return Ok(found);
            }
            batch_max *= 4;
        }
    }

    /// Those of the sessions that have newer events, so that an earlier page had them.
    async fn sessions_before(
        &self,
        sessions: &[RecentSession],
        filter: &Filter,
        key: &PageKey,
    ) -> Result<HashSet<String>, ReadError> {
        let select = Select {
            filter: filter.clone(),
            session_ids: sessions.iter().map(|session| session.session_id.clone()).collect(),
            boundary: Some(Boundary {
                comparison: Comparison::AtLeast,
                timestamp: key.timestamp,
                session_id: key.session_id.clone(),
                event_id: None,
            }),
            group_by: Some("session_id"),
            ..Select::default()
        };
        let add = |before: &mut HashSet<String>, row: RecentSessionRow| {
            before.insert(row.session_id);
        };
        self.fold(&select, HashSet::new(), add).await
    }
}
