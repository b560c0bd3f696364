//! Rows of `hook_events` as stored lines.

use std::borrow::Cow;
use std::error::Error;

use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Type};

use crate::decode::compacted;
use crate::event::{ColumnKind, Event, PromotedColumn, PromotedColumns, Timestamp};
use crate::postgres::columns::POSTGRES_EPOCH_MICROS;
use crate::query::PageKey;

const FIRST: [&str; 7] = [
    "session_id",
    "event_id",
    "timestamp",
    "event_type",
    "workflow_id",
    "phase_id",
    "milestone_id",
];
const DATA: usize = FIRST.len();
const EXTRA: usize = DATA + 1;
const RECEIVED_AT: usize = DATA + 2;
const PROMOTED: usize = DATA + 3;

/// The number of columns that [`event_columns`] selects.
pub(super) const EVENT_COLUMNS: usize = PROMOTED + PromotedColumn::COUNT;

/// The columns to select for [`line()`]. Without `data` and `extra`, these are empty.
pub(super) fn event_columns(with_data: bool) -> String {
    let (data, extra) =
        if with_data { ("data::text", "extra::text") } else { ("'{}'", "NULL::text") };
    let first = FIRST.map(|column| format!("\"{column}\"")).join(", ");
    let promoted = PromotedColumn::ALL.map(PromotedColumn::name).join(", ");
    format!("{first}, {data}, {extra}, received_at, {promoted}")
}

/// Returns a row as the page key and stored line of its event.
pub(super) fn line(row: &Row) -> Result<(PageKey, Vec<u8>), tokio_postgres::Error> {
    let text = |at: usize| row.try_get::<_, Option<&str>>(at).map(|text| text.map(Cow::Borrowed));
    let time = |at: usize| row.try_get::<_, Time>(at).map(|time| time.0);
    let event = Event {
        session_id: Cow::Borrowed(row.try_get(0)?),
        event_id: Cow::Borrowed(row.try_get(1)?),
        timestamp: time(2)?,
        event_type: Cow::Borrowed(row.try_get(3)?),
        workflow_id: text(4)?,
        phase_id: text(5)?,
        milestone_id: text(6)?,
        data: compacted(row.try_get(DATA)?),
        extra: row.try_get::<_, Option<&str>>(EXTRA)?.map(compacted),
        received_at: time(RECEIVED_AT)?,
        promoted: promoted(row)?,
    };
    let mut line = Vec::with_capacity(event.data.len() + 512);
    event.write_line(&mut line);
    let (session_id, event_id) = (event.session_id.into_owned(), event.event_id.into_owned());
    Ok((PageKey { timestamp: event.timestamp, session_id, event_id }, line))
}

fn promoted(row: &Row) -> Result<PromotedColumns<'_>, tokio_postgres::Error> {
    let mut promoted = PromotedColumns::default();
    for (at, column) in (PROMOTED..).zip(PromotedColumn::ALL) {
        promoted[column] = match column.kind() {
            ColumnKind::Text => row.try_get::<_, Option<&str>>(at)?.map(Cow::Borrowed),
            ColumnKind::Count => {
                row.try_get::<_, Option<i64>>(at)?.map(|number| number.to_string().into())
            }
            ColumnKind::Measure => {
                row.try_get::<_, Option<f64>>(at)?.map(|number| number.to_string().into())
            }
        };
    }
    Ok(promoted)
}

/// A `timestamptz`. Values outside the range of [`Timestamp`], such as infinity, become the nearest one
/// within it.
pub(super) struct Time(pub(super) Timestamp);

impl<'a> FromSql<'a> for Time {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let micros = i64::from_be_bytes(raw.try_into()?).saturating_add(POSTGRES_EPOCH_MICROS);
        let micros = micros.clamp(Timestamp::MIN.micros(), Timestamp::MAX.micros());
        Ok(Self(Timestamp::from_micros(micros).unwrap_or(Timestamp::MAX)))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }
}
