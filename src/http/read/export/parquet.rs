//! Parquet (<https://parquet.apache.org/docs/file-format/>): texts and JSON as they are, times as
//! timestamps, numbers as numbers. What tells a reader where everything is comes last in such a file, so one
//! that was cut off cannot be taken for a whole one.

use std::borrow::Cow;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{
    Compression, Encoding, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel,
};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{ColumnPath, Type};

use crate::buffer;
use crate::event::timestamp;
use crate::event::{count, measure};
use crate::json::each_member;
use crate::json::text::unescape;
use crate::query::Found;

/// A row group ends with so many events, or when their lines have so many bytes: it is in memory
/// until then.
const GROUP_EVENTS: usize = 50_000;
const GROUP_BYTES: usize = 8 << 20;

/// What is compressed at once; a page being written is in memory three times.
const PAGE_BYTES: usize = 256 << 10;

/// Values that a column is given at once.
const BATCH_EVENTS: usize = 1024;

/// Events on their way into a file.
pub(super) struct Parquet {
    file: SerializedFileWriter<Vec<u8>>,
    columns: Vec<Column>,
    /// All texts of the row group that is being filled, one after another.
    texts: Vec<u8>,
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
        let file = file.map_err(io::Error::other)?;
        Ok(Self { file, columns, texts: Vec::new(), events: 0, bytes: 0 })
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
        if self.texts.capacity() == 0 {
            self.texts = buffer::of(GROUP_BYTES);
        }
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            column.push(cell, &mut self.texts);
        }
        self.events += 1;
        self.bytes += event.line.len();
    }

    fn end_group(&mut self) -> Result<()> {
        if self.events == 0 {
            return Ok(());
        }
        let texts = Bytes::from(std::mem::take(&mut self.texts));
        if self.file.inner().capacity() == 0 {
            *self.file.inner_mut() = buffer::of(GROUP_BYTES);
        }
        let mut group = self.file.next_row_group()?;
        for column in &mut self.columns {
            let missing = || ParquetError::General("the schema lacks a column".to_owned());
            column.write(&texts, group.next_column()?.ok_or_else(missing)?)?;
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
    /// Where each stands among the texts of the row group, which have far less than 4 GiB.
    Texts(Vec<Range<u32>>),
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

    fn push(&mut self, cell: Cell<'_>, texts: &mut Vec<u8>) {
        self.levels.push(i16::from(!matches!(cell, Cell::Null)));
        match (&mut self.values, cell) {
            (Values::Texts(ranges), Cell::Text(text)) => {
                let start = texts.len() as u32;
                texts.extend_from_slice(text.as_bytes());
                ranges.push(start..texts.len() as u32);
            }
            (Values::Numbers(numbers), Cell::Number(number)) => numbers.push(number),
            (Values::Floats(numbers), Cell::Float(number)) => numbers.push(number),
            _ => {}
        }
    }

    /// Writes what there is, and begins anew.
    fn write(&mut self, texts: &Bytes, mut column: SerializedColumnWriter<'_>) -> Result<()> {
        let is_optional = self.is_optional;
        let levels = is_optional.then_some(&*self.levels);
        match &mut self.values {
            Values::Texts(ranges) => {
                let column = column.typed::<ByteArrayType>();
                let mut ranges = ranges.drain(..);
                for levels in self.levels.chunks(BATCH_EVENTS) {
                    let values = levels.iter().filter(|level| **level == 1).count();
                    let text = |range: Range<u32>| {
                        ByteArray::from(texts.slice(range.start as usize..range.end as usize))
                    };
                    let batch: Vec<_> = ranges.by_ref().take(values).map(text).collect();
                    column.write_batch(&batch, is_optional.then_some(levels), None)?;
                }
            }
            Values::Numbers(numbers) => {
                column.typed::<Int64Type>().write_batch(numbers, levels, None)?;
                numbers.clear();
            }
            Values::Floats(numbers) => {
                column.typed::<DoubleType>().write_batch(numbers, levels, None)?;
                numbers.clear();
            }
        }
        self.levels.clear();
        column.close()
    }
}

impl Values {
    fn none(form: Form) -> Self {
        match form {
            Form::Text | Form::Json => Self::Texts(Vec::new()),
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
        .set_data_page_size_limit(PAGE_BYTES)
        // By row group they let a reader leave groups out; by page they would stay in memory to the end.
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true);
    for column in columns {
        let path = ColumnPath::from(column.name);
        // Each value is another: a dictionary would only be tried and given up.
        let is_unique = ["event_id", "tool_use_id"].contains(&column.name);
        if is_unique || matches!(column.form, Form::Json | Form::Time) {
            properties = properties.set_column_dictionary_enabled(path.clone(), false);
        }
        if column.form == Form::Time {
            let encoding = Encoding::DELTA_BINARY_PACKED;
            properties = properties.set_column_encoding(path.clone(), encoding);
        }
        if column.form == Form::Json {
            properties = properties.set_column_statistics_enabled(path, EnabledStatistics::None);
        }
    }
    properties.build()
}
