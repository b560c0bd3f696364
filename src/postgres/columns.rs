//! The columns of `hook_events`.

use crate::event::{ColumnKind, PromotedColumn};

const FIRST: [(&str, &str); 9] = [
    ("session_id", "text"),
    ("event_id", "text"),
    ("timestamp", "timestamp with time zone"),
    ("event_type", "text"),
    ("workflow_id", "text"),
    ("phase_id", "text"),
    ("milestone_id", "text"),
    ("data", "jsonb"),
    ("received_at", "timestamp with time zone"),
];

const LAST: [(&str, &str); 3] =
    [("extra", "jsonb"), ("journal", "integer"), ("position", "bigint")];

/// The number of columns.
pub(super) const COLUMN_COUNT: usize = FIRST.len() + PromotedColumn::COUNT + LAST.len();

/// The name and type of each column, in the order in which rows are encoded.
pub(super) fn columns() -> impl Iterator<Item = (&'static str, &'static str)> {
    let promoted = PromotedColumn::ALL.map(|column| (column.name(), sql_type(column)));
    FIRST.into_iter().chain(promoted).chain(LAST)
}

/// The type of a promoted column.
pub(super) fn sql_type(column: PromotedColumn) -> &'static str {
    match column.kind() {
        ColumnKind::Text => "text",
        ColumnKind::Count => "bigint",
        ColumnKind::Measure => "double precision",
    }
}

/// The PostgreSQL epoch, 2000-01-01, in microseconds since 1970-01-01.
pub(super) const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;
