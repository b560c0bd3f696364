//! `GET /events/export`: all events that match a filter, as a stream.

mod csv;
mod parquet;

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;

use self::csv::CellForm;
use self::parquet::Parquet;
use super::aborted;
use super::encoder::Encoder;
use super::parameter_sets::ExportEvents;
use super::parameters::Parameters;
use super::state::PARQUET_MAX;
use crate::event::{MEMBERS, Member};
use crate::http::App;
use crate::http::openapi::problems::QueryProblems;
use crate::http::openapi::schemas::{Binary, Lines, Text};
use crate::http::problem::Problem;
use crate::query::{Chunk, FoundEvent, Order, PageQuery, PageReader, ReadError, SelectedMembers};
use crate::store::Store;

/// Number of events per query. One query for all would exceed the time limit of the store, and delay the
/// deletion of old events.
const PAGE_EVENTS: usize = 10_000;

#[derive(Clone, Copy)]
enum ExportFormat {
    Ndjson,
    Csv,
    Parquet,
}

/// Returns all events that match the filters, the oldest first, as a file.
///
/// NDJSON and CSV are compressed with zstd or gzip if `Accept-Encoding` allows it.
#[utoipa::path(
    get,
    path = "/events/export",
    operation_id = "exportEvents",
    tag = "Events",
    params(ExportEvents),
    responses(
        (
            status = 200,
            description = "The events.",
            content(
                (Lines = "application/x-ndjson"),
                (Text = "text/csv"),
                (Binary = "application/vnd.apache.parquet")
            ),
            headers(
                ("Content-Disposition" = String, description = "An attachment with a file name."),
                ("Content-Encoding" = String, description = "`zstd` or `gzip`, if compressed.")
            )
        ),
        QueryProblems
    )
)]
pub(in crate::http) async fn export(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let store = app.read.store.clone();
    let parameters = Parameters::read(request.uri(), ExportEvents::SET)?;
    let format = [
        ("ndjson", ExportFormat::Ndjson),
        ("csv", ExportFormat::Csv),
        ("parquet", ExportFormat::Parquet),
    ];
    let format = parameters.word("format", &format)?.unwrap_or(ExportFormat::Ndjson);
    let forms = [("true", CellForm::Spreadsheet), ("false", CellForm::Exact)];
    let form = parameters.word("spreadsheet", &forms)?.unwrap_or(CellForm::Exact);
    if form == CellForm::Spreadsheet && !matches!(format, ExportFormat::Csv) {
        let error = "is for CSV; allowed: true with format=csv";
        return Err(Problem::parameter("spreadsheet", error));
    }
    let order = [("asc", Order::Ascending), ("desc", Order::Descending)];
    let page = PageQuery {
        filter: parameters.filter()?,
        order: parameters.word("order", &order)?.unwrap_or(Order::Ascending),
        after: None,
        limit: PAGE_EVENTS,
        members: parameters.members()?,
    };
    let columns = columns(&page.members);
    let (writer, encoding) = Writer::new(&app, format, form, columns, request.headers())?;
    let mut reader = store.page(page.clone()).await?;
    // A query that fails at once gets an error status; later, only the connection can be aborted.
    let chunk = reader.next().await.unwrap_or_else(|| Err(aborted()))?;

    let export = Export { store, page, reader, writer };
    let mut response = Body::from_stream(body(export, chunk)).into_response();
    let headers = response.headers_mut();
    let (content_type, disposition) = match format {
        ExportFormat::Ndjson => ("application/x-ndjson", "attachment; filename=\"events.jsonl\""),
        ExportFormat::Csv => ("text/csv; charset=utf-8", "attachment; filename=\"events.csv\""),
        ExportFormat::Parquet => {
            ("application/vnd.apache.parquet", "attachment; filename=\"events.parquet\"")
        }
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static(disposition));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(encoding) = encoding {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    Ok(response)
}

/// An export in progress.
struct Export {
    store: Store,
    page: PageQuery,
    reader: PageReader,
    writer: Writer,
}

/// Returns the body, chunk by chunk. An error aborts it.
fn body(export: Export, first: Chunk) -> impl stream::Stream<Item = Result<Bytes, ReadError>> {
    stream::try_unfold(Some((export, Some(first))), |state| async move {
        let Some((mut export, mut chunk)) = state else { return Ok(None) };
        loop {
            let next = match chunk.take() {
                Some(chunk) => chunk,
                None => export.reader.next().await.unwrap_or_else(|| Err(aborted()))?,
            };
            let (events, is_end) = match next {
                Chunk::Events(events) => (events, false),
                Chunk::End(Some(key)) => {
                    export.page.after = Some(key);
                    export.reader = export.store.page(export.page.clone()).await?;
                    continue;
                }
                Chunk::End(None) | Chunk::Reached(..) => (Vec::new(), true),
            };
            let (kept, bytes) = tokio::task::spawn_blocking(move || {
                let bytes = export.writer.write(&events, is_end);
                (export, bytes)
            })
            .await
            .map_err(|_| aborted())?;
            let bytes = Bytes::from(bytes?);
            if is_end {
                return Ok(Some((bytes, None)));
            }
            export = kept;
            // Writers may buffer all of a chunk.
            if !bytes.is_empty() {
                return Ok(Some((bytes, Some((export, None)))));
            }
        }
    })
}

/// Encodes events in the format of the export.
enum Writer {
    Ndjson(Encoder),
    Csv { columns: Vec<&'static Member>, form: CellForm, is_first: bool, encoder: Encoder },
    // The format includes compression.
    Parquet { parquet: Box<Parquet>, _permit: OwnedSemaphorePermit },
}

impl Writer {
    /// Returns a writer, and the content encoding of its output.
    fn new(
        app: &App,
        format: ExportFormat,
        form: CellForm,
        columns: Vec<&'static Member>,
        headers: &HeaderMap,
    ) -> Result<(Self, Option<&'static str>), Problem> {
        if let ExportFormat::Parquet = format {
            let permit = app.read.parquet_exports.clone().try_acquire_owned().map_err(|_| {
                let error = format!(
                    "the maximum of {PARQUET_MAX} Parquet exports are in progress; NDJSON and CSV have no \
                     such limit"
                );
                Problem::unavailable(error, 10)
            })?;
            let parquet = Parquet::new(&columns).map_err(ReadError::from)?;
            let parquet = Box::new(parquet);
            return Ok((Self::Parquet { parquet, _permit: permit }, None));
        }
        let (encoder, encoding) = Encoder::accepted(headers, &["zstd", "gzip"])?;
        let writer = match format {
            ExportFormat::Csv => Self::Csv { columns, form, is_first: true, encoder },
            _ => Self::Ndjson(encoder),
        };
        Ok((writer, encoding))
    }

    /// Encodes events, and returns the output that is ready to be sent.
    fn write(&mut self, events: &[FoundEvent], is_end: bool) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        match self {
            Self::Parquet { parquet, .. } => parquet.encode(events, is_end),
            Self::Ndjson(encoder) => {
                for event in events {
                    text.extend_from_slice(&event.line);
                    text.push(b'\n');
                }
                encoder.encode(text, is_end)
            }
            Self::Csv { columns, form, is_first, encoder } => {
                if std::mem::take(is_first) {
                    csv::header(columns, &mut text);
                }
                for event in events {
                    csv::row(&event.line, columns, *form, &mut text);
                }
                encoder.encode(text, is_end)
            }
        }
    }
}

/// Returns the columns of a CSV or Parquet file.
fn columns(members: &SelectedMembers) -> Vec<&'static Member> {
    match members {
        // In the order in which they were requested.
        SelectedMembers::Only(names) => names
            .iter()
            .filter_map(|name| MEMBERS.iter().find(|member| member.name == name))
            .collect(),
        _ => MEMBERS.iter().filter(|member| members.has(member.name)).collect(),
    }
}
