//! Questions to a store, in the words of no store: which events, in which order, how many.
//!
//! Both stores have the same columns, and a SQL dialect that is the same where it is used here, so
//! that one text serves both.

pub(crate) mod answer;

use std::fmt::Write;

pub use answer::{Answer, Found, Part, Place, ReadError};

use crate::event::Timestamp;

/// Most events that are looked at for one page of a search for text, which no index helps.
pub const SEARCH_EVENTS_MAX: usize = 50_000;

/// The columns that a filter can demand a value of. `event_type` can have one of several.
pub const COLUMNS: [&str; 8] = [
    "session_id",
    "event_id",
    "workflow_id",
    "phase_id",
    "milestone_id",
    "agent",
    "tool_name",
    "tool_use_id",
];

/// Which events.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// Columns of [`COLUMNS`], and what they must be equal to.
    pub equal: Vec<(&'static str, String)>,
    /// One of these; any if there is none.
    pub event_types: Vec<String>,
    /// This time or later.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// Text that the JSON of `data` must contain; upper and lower case of ASCII letters are the same.
    pub text: Option<String>,
}

/// Which events come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The oldest.
    Ascending,
    /// The newest.
    #[default]
    Descending,
}

/// An event's place among all, by time: what pages begin after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The event's time.
    pub timestamp: Timestamp,
    /// Its session.
    pub session_id: String,
    /// Its id.
    pub event_id: String,
}

/// A page of events.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Which.
    pub filter: Filter,
    /// In which order.
    pub order: Order,
    /// Only those that come after this one.
    pub after: Option<Key>,
    /// At most so many.
    pub limit: usize,
    /// Which of their members.
    pub members: Members,
}

impl Page {
    /// How many events are looked at.
    pub(crate) fn scan_max(&self) -> usize {
        if self.filter.text.is_some() { SEARCH_EVENTS_MAX } else { self.limit }
    }

    /// Whether `data` has to be read.
    pub(crate) fn needs_data(&self) -> bool {
        self.filter.text.is_some() || self.members.has("data")
    }
}

/// Most events in one answer to a tail.
pub(crate) const TAIL_EVENTS_MAX: usize = 500;

/// Events in the order in which they arrive.
#[derive(Clone, Debug, Default)]
pub struct Tail {
    /// Which.
    pub filter: Filter,
    /// Which of their members.
    pub members: Members,
}

impl Tail {
    /// As a page, by which an answer is counted.
    pub(crate) fn page(self) -> Page {
        let Self { filter, members } = self;
        Page { filter, members, limit: TAIL_EVENTS_MAX, ..Page::default() }
    }
}

/// Which members of an event are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Members {
    /// All.
    #[default]
    All,
    /// All without the payload: `data` and `extra`.
    WithoutData,
    /// These alone.
    Only(Vec<String>),
}

impl Members {
    /// Whether the member is wanted.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::WithoutData => name != "data" && name != "extra",
            Self::Only(names) => names.iter().any(|wanted| wanted == name),
        }
    }
}

/// A value in a statement.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Time(Timestamp),
    Number(i64),
}

/// What a column of an answer has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Text,
    Time,
    Number,
    Float,
}

/// A value in an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Null,
    Text(String),
    Time(Timestamp),
    Number(i64),
    Float(f64),
}

impl Cell {
    pub(crate) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub(crate) fn time(&self) -> Option<Timestamp> {
        if let Self::Time(time) = self { Some(*time) } else { None }
    }

    pub(crate) fn number(&self) -> i64 {
        if let Self::Number(number) = self { *number } else { 0 }
    }

    pub(crate) fn float(&self) -> Option<f64> {
        if let Self::Float(number) = self { Some(*number) } else { None }
    }
}

/// A question for events by their own ids.
#[derive(Clone, Debug, Default)]
pub(crate) struct ById {
    /// One of the ids.
    pub(crate) id: String,
    /// What is demanded of ids and times: a column, a comparison, and the number of a value.
    pub(crate) conditions: Vec<(&'static str, &'static str, usize)>,
}

/// The text of a statement, in which `$1` stands for the first value.
#[derive(Clone, Debug, Default)]
pub(crate) struct Statement {
    pub(crate) text: String,
    pub(crate) values: Vec<Value>,
    /// Which of its indexes SQLite is to take: it keeps no statistics by which it could tell.
    pub(crate) by: Option<&'static str>,
    /// If it is for events with an `event_id` or a `tool_use_id`, by which they are found sooner.
    pub(crate) by_id: Option<ById>,
    conditions: usize,
}

impl Statement {
    pub(crate) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), ..Self::default() }
    }

    /// Appends SQL in which `?` stands for the next of the values.
    pub(crate) fn push(&mut self, sql: &str, values: impl IntoIterator<Item = Value>) {
        let mut values = values.into_iter();
        for (at, part) in sql.split('?').enumerate() {
            if at > 0 {
                self.values.extend(values.next());
                // Writing to a string cannot fail.
                let _ = write!(self.text, "${}", self.values.len());
            }
            self.text.push_str(part);
        }
    }

    /// Adds a condition, to be met with all others.
    pub(crate) fn condition(&mut self, sql: &str, values: impl IntoIterator<Item = Value>) {
        self.text.push_str(if self.conditions == 0 { " WHERE " } else { " AND " });
        self.conditions += 1;
        self.push(sql, values);
    }

    /// Adds the condition that an event is of one of these sessions.
    pub(crate) fn sessions<'s>(&mut self, ids: impl IntoIterator<Item = &'s str>) {
        let ids: Vec<_> = ids.into_iter().map(|id| Value::Text(id.to_owned())).collect();
        self.by = Some("events_key");
        self.condition(&format!("session_id IN ({})", vec!["?"; ids.len()].join(", ")), ids);
    }

    /// Adds the conditions of a filter, except for its text.
    pub(crate) fn filter(&mut self, filter: &Filter) {
        let value = |column: &str| filter.equal.iter().find(|(equal, _)| *equal == column);
        let has = |column: &str| value(column).is_some();
        if !has("session_id") {
            let id = value("event_id").or_else(|| value("tool_use_id"));
            self.by_id = id.map(|(_, id)| ById { id: id.clone(), ..ById::default() });
        }
        self.by = Some(if has("session_id") {
            "events_key"
        } else if has("workflow_id") {
            "events_workflow"
        } else if has("milestone_id") {
            "events_milestone"
        } else if has("phase_id") {
            "events_phase"
        } else if has("tool_name") {
            "events_tool"
        } else if filter.event_types.len() == 1 {
            "events_type"
        } else {
            "events_timestamp"
        });
        for (column, value) in &filter.equal {
            self.condition(&format!("{column} = ?"), [Value::Text(value.clone())]);
            if matches!(*column, "event_id" | "tool_use_id") {
                self.note_for_id(column, "=");
            }
        }
        if !filter.event_types.is_empty() {
            let marks = vec!["?"; filter.event_types.len()].join(", ");
            let types = filter.event_types.iter().cloned().map(Value::Text);
            self.condition(&format!("event_type IN ({marks})"), types);
        }
        if let Some(since) = filter.since {
            self.condition("\"timestamp\" >= ?", [Value::Time(since)]);
            self.note_for_id("timestamp", ">=");
        }
        if let Some(until) = filter.until {
            self.condition("\"timestamp\" < ?", [Value::Time(until)]);
            self.note_for_id("timestamp", "<");
        }
    }

    /// Takes note of the condition that was added last.
    fn note_for_id(&mut self, column: &'static str, comparison: &'static str) {
        if let Some(by_id) = &mut self.by_id {
            by_id.conditions.push((column, comparison, self.values.len()));
        }
    }

    /// Adds the conditions, the order and the limit of a page. One row more than the limit is asked
    /// for, which tells whether there is another page.
    pub(crate) fn page(&mut self, page: &Page) {
        self.filter(&page.filter);
        let (after, direction) = match page.order {
            Order::Ascending => (">", "ASC"),
            Order::Descending => ("<", "DESC"),
        };
        if let Some(key) = &page.after {
            // The first condition is implied by the second, which alone would not use an index.
            self.condition(&format!("\"timestamp\" {after}= ?"), [Value::Time(key.timestamp)]);
            let key = [
                Value::Time(key.timestamp),
                Value::Text(key.session_id.clone()),
                Value::Text(key.event_id.clone()),
            ];
            self.condition(
                &format!("(\"timestamp\", session_id, event_id) {after} (?, ?, ?)"),
                key,
            );
        }
        let limit = page.scan_max() + 1;
        let order = format!(
            " ORDER BY \"timestamp\" {direction}, session_id {direction}, event_id {direction} \
             LIMIT {limit}"
        );
        self.text.push_str(&order);
    }
}
