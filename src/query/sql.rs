//! SQL text that SQLite and PostgreSQL write alike: conditions, grouping, order and limit, with numbered
//! parameters. The part that differs, how a store finds the rows, is in `index/sql.rs` and
//! `postgres/read/sql.rs`.

use std::fmt::Write;

use super::condition::{Boundary, Comparison, Condition, Order};
use super::select::Select;
use crate::event::Timestamp;

/// The value of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SqlValue {
    Text(String),
    Time(Timestamp),
    Integer(i64),
}

/// The text of a statement, in which `$1` stands for the first value.
#[derive(Clone, Debug, Default)]
pub(crate) struct Statement {
    pub(crate) text: String,
    pub(crate) values: Vec<SqlValue>,
}

impl Statement {
    /// A statement that begins with this text and has no values yet.
    pub(crate) fn new(text: String) -> Self {
        Self { text, values: Vec::new() }
    }

    /// Appends SQL in which each `?` stands for the next of the values.
    pub(crate) fn push(&mut self, sql: &str, values: impl IntoIterator<Item = SqlValue>) {
        let mut values = values.into_iter();
        for (at, text) in sql.split('?').enumerate() {
            if at > 0 {
                self.values.extend(values.next());
                // Writing to a string cannot fail.
                let _ = write!(self.text, "${}", self.values.len());
            }
            self.text.push_str(text);
        }
    }

    /// Appends a WHERE clause that requires all conditions, if there are any.
    pub(crate) fn push_where<'q>(&mut self, conditions: impl IntoIterator<Item = Condition<'q>>) {
        self.push_joined(" WHERE ", conditions.into_iter().map(|condition| condition.sql()));
    }

    /// Appends conditions, each with its values, to a WHERE clause that has one already.
    pub(crate) fn push_and<'q>(&mut self, conditions: impl IntoIterator<Item = Condition<'q>>) {
        self.push_joined(" AND ", conditions.into_iter().map(|condition| condition.sql()));
    }

    /// Appends conditions joined by AND, after `begin`.
    pub(crate) fn push_joined(
        &mut self,
        begin: &str,
        conditions: impl IntoIterator<Item = (String, Vec<SqlValue>)>,
    ) {
        let mut joint = begin;
        for (sql, values) in conditions {
            self.text.push_str(joint);
            self.push(&sql, values);
            joint = " AND ";
        }
    }

    /// Appends the clauses that follow the conditions.
    pub(crate) fn push_group_order_limit(&mut self, select: &Select) {
        // Writing to a string cannot fail.
        if let Some(column) = select.group_by {
            let _ = write!(self.text, " GROUP BY \"{column}\"");
        }
        for (at, (column, order)) in select.order_by.iter().enumerate() {
            let before = if at == 0 { " ORDER BY" } else { "," };
            let direction = match order {
                Order::Ascending => "ASC",
                Order::Descending => "DESC",
            };
            let _ = write!(self.text, "{before} \"{column}\" {direction}");
        }
        if let Some(limit) = select.limit {
            let _ = write!(self.text, " LIMIT {limit}");
        }
    }
}

impl Condition<'_> {
    /// SQL in which each `?` stands for the next of the values.
    pub(crate) fn sql(&self) -> (String, Vec<SqlValue>) {
        let text = |text: &str| SqlValue::Text(text.to_owned());
        match self {
            Self::Equal(column, value) => (format!("\"{column}\" = ?"), vec![text(value)]),
            Self::OneOf(column, values) => {
                let marks = vec!["?"; values.len()].join(", ");
                let values = values.iter().map(|value| text(value)).collect();
                (format!("\"{column}\" IN ({marks})"), values)
            }
            Self::NotNull(column) => (format!("\"{column}\" IS NOT NULL"), Vec::new()),
            Self::Time(comparison, time) => {
                (format!("\"timestamp\" {} ?", comparison.sql()), vec![SqlValue::Time(*time)])
            }
            Self::Boundary(boundary) => boundary.sql(),
        }
    }
}

impl Boundary {
    fn sql(&self) -> (String, Vec<SqlValue>) {
        let mut values =
            vec![SqlValue::Time(self.timestamp), SqlValue::Text(self.session_id.clone())];
        let comparison = self.comparison.sql();
        let Some(event_id) = &self.event_id else {
            return (format!("(\"timestamp\", session_id) {comparison} (?, ?)"), values);
        };
        values.push(SqlValue::Text(event_id.clone()));
        (format!("(\"timestamp\", session_id, event_id) {comparison} (?, ?, ?)"), values)
    }
}

impl Comparison {
    fn sql(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::AtLeast => ">=",
            Self::Greater => ">",
        }
    }
}
