//! Which sessions have the newest events: found on a walk from the newest event backwards, which ends
//! when there are enough of them. So a page of a day's sessions takes some of the day's events, mostly
//! few, and not all.

use std::collections::HashSet;

use super::Store;
use crate::event::Timestamp;
use crate::query::answer::ReadError;
use crate::query::{Cell, Filter, Key, Kind, Statement, Value};

/// Events of the first stride. Each stride is four times as long as the one before it.
const STRIDE_EVENTS: usize = 500;

/// Most sessions in one question about them.
const ASKED_MAX: usize = 500;

/// A session's id, and when the newest of its events that a filter lets through happened.
pub(super) type Newest = (String, Timestamp);

/// How far a walk has come.
#[derive(Default)]
struct Walk {
    /// Events of the last stride.
    events: usize,
    /// The oldest event so far.
    place: Option<Newest>,
    met: HashSet<String>,
    /// Sessions that were met in the last stride first.
    new: Vec<Newest>,
}

impl Walk {
    fn step(&mut self, row: &[Cell]) {
        let (Some(session_id), Some(timestamp)) = (row[0].text(), row[1].time()) else { return };
        self.events += 1;
        self.place = Some((session_id.to_owned(), timestamp));
        if !self.met.contains(session_id) {
            self.met.insert(session_id.to_owned());
            self.new.push((session_id.to_owned(), timestamp));
        }
    }
}

impl Store {
    /// The sessions that have events which a filter lets through, those with the newest of these
    /// events first, after a place among them; at most so many.
    pub(super) async fn newest_sessions(
        &self,
        filter: &Filter,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Newest>, ReadError> {
        let mut found = Vec::new();
        let place = after.map(|key| (key.session_id.clone(), key.timestamp));
        let mut walk = Walk { place, ..Walk::default() };
        let mut stride = STRIDE_EVENTS;
        loop {
            let mut select = Statement::new("SELECT session_id, \"timestamp\" FROM hook_events");
            select.filter(filter);
            if let Some((session_id, timestamp)) = &walk.place {
                let (time, id) = (Value::Time(*timestamp), Value::Text(session_id.clone()));
                // Implied by the next one, which alone would not use an index.
                select.condition("\"timestamp\" <= ?", [time.clone()]);
                select.condition("(\"timestamp\", session_id) < (?, ?)", [time, id]);
            }
            let order = "\"timestamp\" DESC, session_id DESC";
            select.push(&format!(" ORDER BY {order} LIMIT {stride}"), []);
            walk.events = 0;
            walk = self.fold(select, &[Kind::Text, Kind::Time], walk, Walk::step).await?;
            let is_last = walk.events < stride;
            for new in std::mem::take(&mut walk.new).chunks(ASKED_MAX) {
                let before = match after {
                    Some(place) => self.sessions_before(new, filter, place).await?,
                    None => HashSet::new(),
                };
                found.extend(new.iter().filter(|(id, _)| !before.contains(id)).cloned());
                if found.len() >= limit {
                    found.truncate(limit);
                    return Ok(found);
                }
            }
            if is_last {
                return Ok(found);
            }
            stride *= 4;
        }
    }

    /// Which of these sessions have newer events, so that they stand before the place.
    async fn sessions_before(
        &self,
        sessions: &[Newest],
        filter: &Filter,
        place: &Key,
    ) -> Result<HashSet<String>, ReadError> {
        let mut select = Statement::new("SELECT DISTINCT session_id FROM hook_events");
        select.filter(filter);
        select.sessions(sessions.iter().map(|(id, _)| id.as_str()));
        let (time, id) = (Value::Time(place.timestamp), Value::Text(place.session_id.clone()));
        select.condition("\"timestamp\" >= ?", [time.clone()]);
        select.condition("(\"timestamp\", session_id) >= (?, ?)", [time, id]);
        self.fold(select, &[Kind::Text], HashSet::new(), |before, row| {
            before.extend(row[0].text().map(str::to_owned));
        })
        .await
    }
}
