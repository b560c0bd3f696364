//! Parquet (<https://parquet.apache.org/docs/file-format/>): texts and JSON as they are, times as
//! timestamps, numbers as numbers. What tells a reader where everything is comes last in such a file, so one
//! that was cut off cannot be taken for a whole one.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{ColumnPath, Type};

use crate::decode::text::unescape;
use crate::decode::timestamp;
use crate::event::{count, measure};
use crate::store::{Found, each_member};

/// A row group ends with so many events, or when their lines have so many bytes: it is in memory
/// until then.
const GROUP_EVENTS: usize = 50_000;
const GROUP_BYTES: usize = 8 << 20;

/// Events on their way into a file.
pub(super) struct Parquet {
    file: SerializedFileWriter<Vec<u8>>,
    columns: Vec<Column>,
    events: usize,
    bytes: usize,
}

impl Parquet {
    /// A file with these columns, of which there must be at least one.
    pub(super) fn new(names: &[&'static str]) -> io::Result<Self> {
        let columns: Vec<_> = names.iter().map(|name| Column::new(name)).collect();
        let schema = schema(&columns).map_err(io::Error::other)?;
        let properties = Arc::new(properties(&columns));
        let file = SerializedFileWriter::new(Vec::new(), Arc::new(schema), properties);
        Ok(Self { file: file.map_err(io::Error::other)?, columns, events: 0, bytes: 0 })
    }

    /// What is to be sent after these events: nothing until a row group is full.
    pub(super) fn encode(&mut self, events: &[Found], is_end: bool) -> io::Result<Vec<u8>> {
        for event in events {
            self.add(event);
            if self.events == GROUP_EVENTS || self.bytes >= GROUP_BYTES {
                self.end_group().map_err(io::Error::other)?;
            }
        }
        if is_end {
            self.end_group().map_err(io::Error::other)?;
            self.file.finish().map_err(io::Error::other)?;
        }
        self.file.flush()?;
        Ok(std::mem::take(self.file.inner_mut()))
    }

    fn add(&mut self, event: &Found) {
        let mut cells = vec![None; self.columns.len()];
        let mut next = 0;
        each_member(&event.line, |name, value| {
            // Mostly they come in the order of the columns.
            let columns = &self.columns;
            let is_it = |at: &usize| columns[*at].name == name;
            let at = (next..columns.len()).find(is_it).or_else(|| (0..next).find(is_it));
            if let Some(at) = at {
                cells[at] = Some(value);
                next = at + 1;
            }
        });
        let cells = self.columns.iter().zip(cells).map(|(column, cell)| column.cell(cell));
        let Some(cells) = cells.collect::<Option<Vec<_>>>() else {
            let (session_id, event_id) = (&event.key.session_id, &event.key.event_id);
            tracing::warn!(
                session_id,
                event_id,
                "a line that is no event any more is not exported"
            );
            return;
        };
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            column.push(cell);
        }
        self.events += 1;
        self.bytes += event.line.len();
    }

    fn end_group(&mut self) -> Result<()> {
        if self.events == 0 {
            return Ok(());
        }
        let mut group = self.file.next_row_group()?;
        for column in &mut self.columns {
            let missing = || ParquetError::General("the schema lacks a column".to_owned());
            column.write(group.next_column()?.ok_or_else(missing)?)?;
        }
        group.close()?;
        (self.events, self.bytes) = (0, 0);
        Ok(())
    }
}

/// What the row group that is being filled has of one member of the events.
struct Column {
    name: &'static str,
    form: Form,
    /// Whether an event may lack it.
    is_optional: bool,
    /// For each event 1 if there is a value, else 0.
    levels: Vec<i16>,
    values: Values,
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Text,
    Json,
    Time,
    Count,
    Measure,
}

enum Values {
    /// One after another, and where each ends.
    Texts(Vec<u8>, Vec<usize>),
    Numbers(Vec<i64>),
    Floats(Vec<f64>),
}

enum Cell<'l> {
    Null,
    Text(Cow<'l, str>),
    Number(i64),
    Float(f64),
}

impl Column {
    fn new(name: &'static str) -> Self {
        let form = match name {
            "data" | "extra" => Form::Json,
            "timestamp" | "received_at" => Form::Time,
            "input_tokens" | "output_tokens" => Form::Count,
            "duration_ms" | "cost_usd" => Form::Measure,
            _ => Form::Text,
        };
        let always = ["event_id", "event_type", "session_id", "data", "timestamp", "received_at"];
        let is_optional = !always.contains(&name);
        Self { name, form, is_optional, levels: Vec::new(), values: Values::none(form) }
    }

    fn schema(&self) -> Result<Type> {
        let (physical, logical) = match self.form {
            Form::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            Form::Json => (Physical::BYTE_ARRAY, Some(LogicalType::Json)),
            Form::Time => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
            Form::Count => (Physical::INT64, None),
            Form::Measure => (Physical::DOUBLE, None),
        };
        let repetition = if self.is_optional { Repetition::OPTIONAL } else { Repetition::REQUIRED };
        Type::primitive_type_builder(self.name, physical)
            .with_logical_type(logical)
            .with_repetition(repetition)
            .build()
    }

    /// The raw JSON value as this column has it; `None` if there must be one and is none.
    fn cell<'l>(&self, value: Option<&'l str>) -> Option<Cell<'l>> {
        let cell = value.and_then(|value| match self.form {
            Form::Json => value.starts_with('{').then_some(Cell::Text(value.into())),
            Form::Text => text(value).map(Cell::Text),
            Form::Time => {
                let time = timestamp::parse_text(&text(value)?).ok()?;
                Some(Cell::Number(time.micros()))
            }
            Form::Count => count(value).map(Cell::Number),
            Form::Measure => measure(value).map(Cell::Float),
        });
        cell.or_else(|| self.is_optional.then_some(Cell::Null))
    }

    fn push(&mut self, cell: Cell<'_>) {
        self.levels.push(i16::from(!matches!(cell, Cell::Null)));
        match (&mut self.values, cell) {
            (Values::Texts(bytes, ends), Cell::Text(text)) => {
                bytes.extend_from_slice(text.as_bytes());
                ends.push(bytes.len());
            }
            (Values::Numbers(numbers), Cell::Number(number)) => numbers.push(number),
            (Values::Floats(numbers), Cell::Float(number)) => numbers.push(number),
            _ => {}
        }
    }

    /// Writes what there is, and begins anew.
    fn write(&mut self, mut column: SerializedColumnWriter<'_>) -> Result<()> {
        let levels = std::mem::take(&mut self.levels);
        let levels = self.is_optional.then_some(&*levels);
        match std::mem::replace(&mut self.values, Values::none(self.form)) {
            Values::Texts(bytes, ends) => {
                let bytes = Bytes::from(bytes);
                let mut start = 0;
                let text = |end| {
                    let text = bytes.slice(start..end);
                    start = end;
                    ByteArray::from(text)
                };
                let texts: Vec<_> = ends.into_iter().map(text).collect();
                column.typed::<ByteArrayType>().write_batch(&texts, levels, None)?;
            }
            Values::Numbers(numbers) => {
                column.typed::<Int64Type>().write_batch(&numbers, levels, None)?;
            }
            Values::Floats(numbers) => {
                column.typed::<DoubleType>().write_batch(&numbers, levels, None)?;
            }
        }
        column.close()
    }
}

impl Values {
    fn none(form: Form) -> Self {
        match form {
            Form::Text | Form::Json => Self::Texts(Vec::new(), Vec::new()),
            Form::Time | Form::Count => Self::Numbers(Vec::new()),
            Form::Measure => Self::Floats(Vec::new()),
        }
    }
}

/// What a JSON string says, if it is one.
fn text(value: &str) -> Option<Cow<'_, str>> {
    value.starts_with('"').then(|| unescape(value))
}

fn schema(columns: &[Column]) -> Result<Type> {
    let fields = columns.iter().map(|column| column.schema().map(Arc::new));
    Type::group_type_builder("event").with_fields(fields.collect::<Result<_>>()?).build()
}

fn properties(columns: &[Column]) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("hooks-backend ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        // By row group they let a reader leave groups out; by page they would stay in memory to the end.
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true);
    for column in columns {
        let path = ColumnPath::from(column.name);
        // Each value is another: a dictionary would only be tried and given up.
        if column.form == Form::Json || ["event_id", "tool_use_id"].contains(&column.name) {
            properties = properties.set_column_dictionary_enabled(path.clone(), false);
        }
        if column.form == Form::Json {
            properties = properties.set_column_statistics_enabled(path, EnabledStatistics::None);
        }
    }
    properties.build()
}
