//! A query for rows, which each store renders into its own SQL, and the typed rows that it returns.

use super::condition::{Boundary, Condition, Order};
use super::error::ReadError;
use super::filter::Filter;
use crate::event::Timestamp;

/// Which rows a query returns. Their columns are given separately: see [`FromRow`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Select {
    /// Which events.
    pub(crate) filter: Filter,
    /// Only events of these sessions; of any session if empty.
    pub(crate) session_ids: Vec<String>,
    /// Only events that have a value in this column.
    pub(crate) not_null: Option<&'static str>,
    /// Only events on one side of this boundary.
    pub(crate) boundary: Option<Boundary>,
    /// One row for each value of this column.
    pub(crate) group_by: Option<&'static str>,
    /// Columns, by the name in the table or in the result, that order the rows.
    pub(crate) order_by: Vec<(&'static str, Order)>,
    /// Maximum number of rows.
    pub(crate) limit: Option<usize>,
}

impl Select {
    /// All conditions except those of the filter.
    pub(crate) fn other_conditions(&self) -> Vec<Condition<'_>> {
        let mut conditions = Vec::new();
        if !self.session_ids.is_empty() {
            conditions.push(Condition::OneOf("session_id", &self.session_ids));
        }
        conditions.extend(self.not_null.map(Condition::NotNull));
        if let Some(boundary) = &self.boundary {
            // Implied by the boundary, which alone would not use an index.
            let time = Condition::Time(boundary.comparison.or_equal(), boundary.timestamp);
            conditions.extend([time, Condition::Boundary(boundary)]);
        }
        conditions
    }
}

/// A row of a query's result: the SQL of its columns, and how it is read from them. Declared with
/// [`output_row`].
pub(crate) trait FromRow: Sized + 'static {
    /// The columns, as SQL that both stores understand.
    fn columns() -> String;

    /// Reads the columns in the same order.
    fn from_row(row: &impl ResultRow) -> Result<Self, ReadError>;
}

/// A row as the store's library returns it.
pub(crate) trait ResultRow {
    fn text(&self, at: usize) -> Result<Option<String>, ReadError>;
    fn time(&self, at: usize) -> Result<Option<Timestamp>, ReadError>;
    fn integer(&self, at: usize) -> Result<Option<i64>, ReadError>;
    fn float(&self, at: usize) -> Result<Option<f64>, ReadError>;
}

/// A type that a column can be read as.
pub(crate) trait ColumnValue: Sized {
    fn read(row: &impl ResultRow, at: usize) -> Result<Option<Self>, ReadError>;
}

impl ColumnValue for String {
    fn read(row: &impl ResultRow, at: usize) -> Result<Option<Self>, ReadError> {
        row.text(at)
    }
}

impl ColumnValue for Timestamp {
    fn read(row: &impl ResultRow, at: usize) -> Result<Option<Self>, ReadError> {
        row.time(at)
    }
}

impl ColumnValue for i64 {
    fn read(row: &impl ResultRow, at: usize) -> Result<Option<Self>, ReadError> {
        row.integer(at)
    }
}

impl ColumnValue for f64 {
    fn read(row: &impl ResultRow, at: usize) -> Result<Option<Self>, ReadError> {
        row.float(at)
    }
}

/// The type of a field of a row: a [`ColumnValue`], or an `Option` of one where the column may be null.
pub(crate) trait RowField: Sized {
    fn read(row: &impl ResultRow, at: usize) -> Result<Self, ReadError>;
}

impl<T: ColumnValue> RowField for T {
    fn read(row: &impl ResultRow, at: usize) -> Result<Self, ReadError> {
        let null = || ReadError::Failed(format!("column {} of a result is null", at + 1));
        <T as ColumnValue>::read(row, at)?.ok_or_else(null)
    }
}

impl<T: ColumnValue> RowField for Option<T> {
    fn read(row: &impl ResultRow, at: usize) -> Result<Self, ReadError> {
        <T as ColumnValue>::read(row, at)
    }
}

/// Reads the next column of a row.
pub(crate) fn read_column<T: RowField>(
    row: &impl ResultRow,
    at: &mut usize,
) -> Result<T, ReadError> {
    let value = <T as RowField>::read(row, *at)?;
    *at += 1;
    Ok(value)
}

/// Declares a struct for the rows of a query: each field with its type and the SQL expression that it is
/// read from.
macro_rules! output_row {
    ($(#[$attribute:meta])* struct $name:ident { $($field:ident: $type:ty = $sql:expr,)+ }) => {
        $(#[$attribute])*
        struct $name {
            $($field: $type,)+
        }

        impl $crate::query::FromRow for $name {
            fn columns() -> String {
                [$(format!("{} AS \"{}\"", $sql, stringify!($field))),+].join(", ")
            }

            fn from_row(
                row: &impl $crate::query::ResultRow,
            ) -> Result<Self, $crate::query::ReadError> {
                let mut at = 0;
                Ok(Self { $($field: $crate::query::read_column(row, &mut at)?),+ })
            }
        }
    };
}
pub(crate) use output_row;
