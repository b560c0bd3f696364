//! Queries as SQLite's SQL. SQLite keeps no statistics here, so each query names the index to use.

use rusqlite::Row;
use rusqlite::types::{ToSql, ToSqlOutput};

use super::error::read_error;
use super::ids;
use crate::event::Timestamp;
use crate::query::sql::{SqlValue, Statement};
use crate::query::{ReadError, ResultRow, Select};

/// Renders a query. `columns` is SQL for the columns of the result.
pub(super) fn select(columns: &str, select: &Select) -> Statement {
    let mut statement = Statement::new(format!("SELECT {columns} FROM hook_events"));
    let conditions = select.filter.conditions().into_iter().chain(select.other_conditions());
    if let Some(id) = select.filter.id_alone() {
        // Without an index, SQLite looks rows up by their primary key.
        let candidates = ids::candidates(id);
        statement.push(&format!(" NOT INDEXED WHERE id IN ({candidates})"), []);
        statement.push_and(conditions);
    } else {
        statement.push(&format!(" INDEXED BY {}", index_for(select)), []);
        statement.push_where(conditions);
    }
    statement.push_group_order_limit(select);
    statement
}

/// The index that leaves the fewest rows to look at.
fn index_for(select: &Select) -> &'static str {
    let has = |column| select.filter.value(column).is_some();
    if has("session_id") || !select.session_ids.is_empty() {
        "events_key"
    } else if has("workflow_id") {
        "events_workflow"
    } else if has("milestone_id") {
        "events_milestone"
    } else if has("phase_id") {
        "events_phase"
    } else if has("tool_name") {
        "events_tool"
    } else if select.filter.event_types.len() == 1 {
        "events_type"
    } else {
        "events_timestamp"
    }
}

impl ToSql for SqlValue {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Text(text) => text.to_sql(),
            Self::Time(time) => Ok(time.micros().into()),
            Self::Integer(number) => Ok((*number).into()),
        }
    }
}

impl ResultRow for Row<'_> {
    fn text(&self, at: usize) -> Result<Option<String>, ReadError> {
        self.get(at).map_err(|error| read_error(&error))
    }

    fn time(&self, at: usize) -> Result<Option<Timestamp>, ReadError> {
        let micros: Option<i64> = self.get(at).map_err(|error| read_error(&error))?;
        Ok(micros.map(|micros| Timestamp::from_micros(micros).unwrap_or(Timestamp::MIN)))
    }

    fn integer(&self, at: usize) -> Result<Option<i64>, ReadError> {
        self.get(at).map_err(|error| read_error(&error))
    }

    fn float(&self, at: usize) -> Result<Option<f64>, ReadError> {
        self.get(at).map_err(|error| read_error(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::select;
    use crate::query::{Filter, PageQuery, Select};

    fn page(equal: &[(&'static str, &str)]) -> Select {
        let equal = equal.iter().map(|(column, value)| (*column, (*value).to_owned())).collect();
        PageQuery::new(Filter { equal, ..Filter::default() }, 0).select()
    }

    #[test]
    fn every_query_names_its_index() {
        let text = |equal| select("id", &page(equal)).text;
        assert_eq!(
            text(&[]),
            "SELECT id FROM hook_events INDEXED BY events_timestamp ORDER BY \"timestamp\" DESC, \
             \"session_id\" DESC, \"event_id\" DESC LIMIT 1"
        );
        let by_session = text(&[("session_id", "s"), ("event_id", "e")]);
        assert!(by_session.contains(
            "INDEXED BY events_key WHERE \"session_id\" = $1 AND \"event_id\" = $2 ORDER"
        ));
        let by_id = text(&[("event_id", "e")]);
        assert!(by_id.contains("NOT INDEXED WHERE id IN (WITH"), "{by_id}");
        assert!(by_id.contains(") AND \"event_id\" = $1 ORDER"), "{by_id}");
    }
}
