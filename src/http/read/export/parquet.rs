//! Parquet (<https://parquet.apache.org/docs/file-format/>): strings, JSON objects, timestamps and numbers
//! as columns of these types. The footer comes last, so a truncated file is not valid.

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
use crate::event::{ColumnKind, Member, MemberKind, parse_count, parse_measure, timestamp};
use crate::json::each_member;
use crate::json::text::unescape;
use crate::query::FoundEvent;

/// A row group is complete when it has this number of events, or their lines this number of bytes. It is
/// in memory until then.
const GROUP_EVENTS: usize = 50_000;
const GROUP_BYTES: usize = 8 << 20;

/// Maximum page size before compression. The page being written is in memory three times.
const PAGE_BYTES: usize = 256 << 10;

/// Number of values written to a column at a time.
const BATCH_EVENTS: usize = 1024;

/// Writes events to a Parquet file.
pub(super) struct Parquet {
    file: SerializedFileWriter<Vec<u8>>,
    columns: Vec<Column>,
    /// All strings of the current row group, concatenated.
    texts: Vec<u8>,
    events: usize,
    bytes: usize,
}

impl Parquet {
    /// Starts a file with these columns, of which there must be at least one.
    pub(super) fn new(members: &[&'static Member]) -> io::Result<Self> {
        let columns: Vec<_> = members.iter().map(|member| Column::new(member)).collect();
        let schema = schema(&columns).map_err(io::Error::other)?;
        let properties = Arc::new(properties(&columns));
        let file = SerializedFileWriter::new(Vec::new(), Arc::new(schema), properties);
        let file = file.map_err(io::Error::other)?;
        Ok(Self { file, columns, texts: Vec::new(), events: 0, bytes: 0 })
    }

    /// Adds events and returns the bytes to send: none until a row group is complete.
    pub(super) fn encode(&mut self, events: &[FoundEvent], is_end: bool) -> io::Result<Vec<u8>> {
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

    fn add(&mut self, event: &FoundEvent) {
        let mut cells = vec![None; self.columns.len()];
        let mut next = 0;
        each_member(&event.line, |name, value| {
            // Usually the members are in the order of the columns.
            let columns = &self.columns;
            let is_it = |at: &usize| columns[*at].member.name == name;
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
                "event not exported: its line was changed and is not valid any more"
            );
            return;
        };
        if self.texts.capacity() == 0 {
            self.texts = buffer::with_capacity(GROUP_BYTES);
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
            *self.file.inner_mut() = buffer::with_capacity(GROUP_BYTES);
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

/// The values of one member in the current row group.
struct Column {
    member: &'static Member,
    /// For each event 1 if it has a value, else 0.
    levels: Vec<i16>,
    values: Values,
}

enum Values {
    /// Ranges of `Parquet::texts`, which has far less than 4 GiB.
    Texts(Vec<Range<u32>>),
    Numbers(Vec<i64>),
    Floats(Vec<f64>),
}

enum ParquetValue<'l> {
    Null,
    Text(Cow<'l, str>),
    Number(i64),
    Float(f64),
}

impl Column {
    fn new(member: &'static Member) -> Self {
        let values = match member.kind {
            MemberKind::Object | MemberKind::Scalar(ColumnKind::Text) => Values::Texts(Vec::new()),
            MemberKind::Timestamp | MemberKind::Scalar(ColumnKind::Count) => {
                Values::Numbers(Vec::new())
            }
            MemberKind::Scalar(ColumnKind::Measure) => Values::Floats(Vec::new()),
        };
        Self { member, levels: Vec::new(), values }
    }

    fn schema(&self) -> Result<Type> {
        let (physical, logical) = match self.member.kind {
            MemberKind::Timestamp => {
                (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS)))
            }
            // Not `Json`, which Polars reads as binary.
            MemberKind::Object | MemberKind::Scalar(ColumnKind::Text) => {
                (Physical::BYTE_ARRAY, Some(LogicalType::String))
            }
            MemberKind::Scalar(ColumnKind::Count) => (Physical::INT64, None),
            MemberKind::Scalar(ColumnKind::Measure) => (Physical::DOUBLE, None),
        };
        let is_required = self.member.is_required;
        let repetition = if is_required { Repetition::REQUIRED } else { Repetition::OPTIONAL };
        Type::primitive_type_builder(self.member.name, physical)
            .with_logical_type(logical)
            .with_repetition(repetition)
            .build()
    }

    /// Returns a raw JSON value as a cell; `None` if the value is required and missing or of another type.
    fn cell<'l>(&self, value: Option<&'l str>) -> Option<ParquetValue<'l>> {
        let cell = value.and_then(|value| match self.member.kind {
            MemberKind::Object => {
                value.starts_with('{').then_some(ParquetValue::Text(value.into()))
            }
            MemberKind::Timestamp => {
                let time = timestamp::parse_text(&text(value)?).ok()?;
                Some(ParquetValue::Number(time.micros()))
            }
            MemberKind::Scalar(ColumnKind::Text) => text(value).map(ParquetValue::Text),
            MemberKind::Scalar(ColumnKind::Count) => parse_count(value).map(ParquetValue::Number),
            MemberKind::Scalar(ColumnKind::Measure) => {
                parse_measure(value).map(ParquetValue::Float)
            }
        });
        cell.or_else(|| (!self.member.is_required).then_some(ParquetValue::Null))
    }

    fn push(&mut self, cell: ParquetValue<'_>, texts: &mut Vec<u8>) {
        self.levels.push(i16::from(!matches!(cell, ParquetValue::Null)));
        match (&mut self.values, cell) {
            (Values::Texts(ranges), ParquetValue::Text(text)) => {
                let start = texts.len() as u32;
                texts.extend_from_slice(text.as_bytes());
                ranges.push(start..texts.len() as u32);
            }
            (Values::Numbers(numbers), ParquetValue::Number(number)) => numbers.push(number),
            (Values::Floats(numbers), ParquetValue::Float(number)) => numbers.push(number),
            _ => {}
        }
    }

    /// Writes the values to the row group and clears them.
    fn write(&mut self, texts: &Bytes, mut column: SerializedColumnWriter<'_>) -> Result<()> {
        let is_optional = !self.member.is_required;
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

/// Returns the text of a JSON string; `None` for other values.
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
        // Per row group, so that readers can skip row groups. Per page, they would be in memory until
        // the file is complete.
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true);
    for column in columns {
        let member = column.member;
        let path = ColumnPath::from(member.name);
        let is_timestamp = member.kind == MemberKind::Timestamp;
        let is_object = member.kind == MemberKind::Object;
        // Where nearly all values differ, the writer would build a dictionary and then give it up.
        if member.is_unique || is_timestamp || is_object {
            properties = properties.set_column_dictionary_enabled(path.clone(), false);
        }
        if is_timestamp {
            let encoding = Encoding::DELTA_BINARY_PACKED;
            properties = properties.set_column_encoding(path.clone(), encoding);
        }
        if is_object {
            properties = properties.set_column_statistics_enabled(path, EnabledStatistics::None);
        }
    }
    properties.build()
}
