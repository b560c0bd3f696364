//! `GET /events/export`: all events that match a filter, as a stream.

mod csv;
mod parquet;

use std::io;
use std::sync::Arc;

use axum::BoxError;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};

use self::csv::CellForm;
use self::parquet::Parquet;
use super::admission::{COMPRESSED_BYTES, PARQUET_BYTES, RESPONSE_BYTES};
use super::body::produced;
use super::encoder::Encoder;
use super::pages::Pages;
use super::parameter_sets::ExportEvents;
use super::parameters::Parameters;
use crate::event::{MEMBERS, Member};
use crate::http::App;
use crate::http::openapi::problems::QueryProblems;
use crate::http::openapi::schemas::{Binary, Lines, Text};
use crate::http::problem::Problem;
use crate::query::{FoundEvent, Order, PageQuery, ReadError, SelectedMembers};

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
        order: parameters.word("order", &order)?.unwrap_or(Order::Ascending),
        members: parameters.members()?,
        ..PageQuery::all(parameters.filter()?)
    };
    let columns = columns(&page.members);
    let (mut writer, encoding) = Writer::new(format, form, columns, request.headers())?;
    let bytes = writer.memory_bytes();
    let admitted = app.read.admit(&request, bytes)?;
    let mut pages = Pages::new(app.read.store.clone(), page, admitted, bytes);
    // A query that fails at once gets an error status; later, only the connection can be aborted.
    let mut next = Some(pages.first().await?);
    let body =
        produced(app.config.http.body_timeout, app.metrics.clone(), async move |mut sender| {
            while let Some(chunk) = next {
                let is_end = pages.is_at_end();
                let encode =
                    move || writer.write(&chunk.events, is_end).map(|bytes| (writer, bytes));
                let send = async {
                    let (writer, part) = tokio::task::spawn_blocking(encode).await??;
                    sender.send(part.into()).await?;
                    Ok::<_, BoxError>(writer)
                };
                // The next chunk is read meanwhile.
                let read = async { Ok(pages.next().await?) };
                (writer, next) = tokio::try_join!(send, read)?;
            }
            Ok(())
        });
    let mut response = body.into_response();
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

/// Encodes events in the format of the export.
enum Writer {
    Ndjson(Encoder),
    Csv { columns: Vec<&'static Member>, form: CellForm, is_first: bool, encoder: Encoder },
    // The format includes compression.
    Parquet(Box<Parquet>),
}

impl Writer {
    /// Returns a writer, and the content encoding of its output.
    fn new(
        format: ExportFormat,
        form: CellForm,
        columns: Vec<&'static Member>,
        headers: &HeaderMap,
    ) -> Result<(Self, Option<&'static str>), Problem> {
        if let ExportFormat::Parquet = format {
            let parquet = Parquet::new(&columns).map_err(ReadError::from)?;
            return Ok((Self::Parquet(Box::new(parquet)), None));
        }
        let (encoder, encoding) = Encoder::accepted(headers, &["zstd", "gzip"])?;
        let writer = match format {
            ExportFormat::Csv => Self::Csv { columns, form, is_first: true, encoder },
            _ => Self::Ndjson(encoder),
        };
        Ok((writer, encoding))
    }

    /// Memory that the response needs.
    fn memory_bytes(&self) -> u64 {
        match self {
            Self::Parquet(_) => PARQUET_BYTES,
            Self::Ndjson(Encoder::Identity) | Self::Csv { encoder: Encoder::Identity, .. } => {
                RESPONSE_BYTES
            }
            Self::Ndjson(_) | Self::Csv { .. } => COMPRESSED_BYTES,
        }
    }

    /// Encodes events, and returns the output that is ready to be sent.
    fn write(&mut self, events: &[FoundEvent], is_end: bool) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        match self {
            Self::Parquet(parquet) => parquet.encode(events, is_end),
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
