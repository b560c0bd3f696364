//! Queries as PostgreSQL's SQL, and PostgreSQL's values and rows.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use tokio_postgres::Row;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::error::read_error;
use super::event_row::Time;
use crate::event::Timestamp;
use crate::postgres::columns::POSTGRES_EPOCH_MICROS;
use crate::query::sql::{SqlValue, Statement};
use crate::query::{Condition, ReadError, ResultRow, Select};

/// Renders a query. `columns` is SQL for the columns of the result.
pub(super) fn select(columns: &str, select: &Select) -> Statement {
    let mut statement = Statement::new(format!("SELECT {columns} FROM "));
    let mut conditions = select.filter.conditions();
    if select.filter.id_alone().is_some() {
        let (by_id, rest) = conditions.into_iter().partition(is_of_id_or_time);
        push_events_by_id(&mut statement, by_id);
        conditions = rest;
    } else {
        statement.push("hook_events", []);
    }
    statement.push_where(conditions.into_iter().chain(select.other_conditions()));
    statement.push_group_order_limit(select);
    statement
}

fn is_of_id_or_time(condition: &Condition<'_>) -> bool {
    match condition {
        Condition::Equal(column, _) => matches!(*column, "event_id" | "tool_use_id"),
        Condition::Time(..) => true,
        _ => false,
    }
}

/// Appends a subquery for the events with an id, by the index of ids.
///
/// The planner assumes that a bloom filter matches everything, so any other condition looks more
/// selective to it; OFFSET keeps those outside. The index alone has the collation POSIX, which compares
/// as the columns' own collation does.
fn push_events_by_id(statement: &mut Statement, conditions: Vec<Condition<'_>>) {
    statement.push("(SELECT * FROM hook_events", []);
    let conditions = conditions.into_iter().map(|condition| match condition {
        Condition::Equal(column, id) => {
            (format!("\"{column}\" COLLATE \"POSIX\" = ?"), vec![SqlValue::Text(id.to_owned())])
        }
        other => other.sql(),
    });
    statement.push_joined(" WHERE ", conditions);
    statement.push(" OFFSET 0) AS found", []);
}

impl SqlValue {
    pub(super) fn sql_type(&self) -> Type {
        match self {
            Self::Text(_) => Type::TEXT,
            Self::Time(_) => Type::TIMESTAMPTZ,
            Self::Integer(_) => Type::INT8,
        }
    }
}

impl ToSql for SqlValue {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            // Rows have no NUL either: it is replaced when they are encoded.
            Self::Text(text) => out.put_slice(text.replace('\0', "\u{fffd}").as_bytes()),
            Self::Time(time) => out.put_i64(time.micros() - POSTGRES_EPOCH_MICROS),
            Self::Integer(number) => out.put_i64(*number),
        }
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        [Type::TEXT, Type::TIMESTAMPTZ, Type::INT8].contains(ty)
    }

    to_sql_checked!();
}

impl ResultRow for Row {
    fn text(&self, at: usize) -> Result<Option<String>, ReadError> {
        self.try_get(at).map_err(|error| read_error(&error))
    }

    fn time(&self, at: usize) -> Result<Option<Timestamp>, ReadError> {
        let time: Option<Time> = self.try_get(at).map_err(|error| read_error(&error))?;
        Ok(time.map(|time| time.0))
    }

    fn integer(&self, at: usize) -> Result<Option<i64>, ReadError> {
        self.try_get(at).map_err(|error| read_error(&error))
    }

    fn float(&self, at: usize) -> Result<Option<f64>, ReadError> {
        self.try_get(at).map_err(|error| read_error(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::select;
    use crate::event::Timestamp;
    use crate::query::{Filter, PageQuery};

    #[test]
    fn an_id_is_looked_up_in_a_subquery_before_the_other_conditions() {
        let equal = vec![("event_id", "e".to_owned()), ("agent", "a".to_owned())];
        let filter = Filter { equal, until: Some(Timestamp::MAX), ..Filter::default() };
        let mut page = PageQuery::new(filter, 0);
        let order = "ORDER BY \"timestamp\" DESC, \"session_id\" DESC, \"event_id\" DESC LIMIT 1";
        assert_eq!(
            select("event_id", &page.select()).text,
            format!(
                "SELECT event_id FROM (SELECT * FROM hook_events WHERE \"event_id\" COLLATE \
                 \"POSIX\" = $1 AND \"timestamp\" < $2 OFFSET 0) AS found WHERE \"agent\" = $3 {order}"
            )
        );
        page.filter.equal.push(("session_id", "s".to_owned()));
        assert_eq!(
            select("event_id", &page.select()).text,
            format!(
                "SELECT event_id FROM hook_events WHERE \"event_id\" = $1 AND \"agent\" = $2 AND \
                 \"session_id\" = $3 AND \"timestamp\" < $4 {order}"
            )
        );
    }
}
