//! `GET /events/export`: all events that a filter lets through, streamed.

use std::io::{self, Write};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT_ENCODING, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_TYPE, VARY,
};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;

use super::parameters::{FILTER, Parameters};
use super::{Peer, allowed, cut};
use crate::event::MEMBERS;
use crate::http::App;
use crate::http::problem::Problem;
use crate::store::{Answer, Found, Members, Order, Page, Part, ReadError, Store, each_member};

/// Events that one question to the store is about. Many, since each begins a statement; not all,
/// since a statement has a time limit and holds what is deleted meanwhile.
const PAGE_EVENTS: usize = 10_000;

#[derive(Clone, Copy)]
enum Format {
    Ndjson,
    Csv,
}

/// Events as NDJSON or CSV, oldest first.
pub(in crate::http) async fn export(
    State(app): State<Arc<App>>,
    peer: Peer,
    request: Request,
) -> Result<Response, Problem> {
    let store = allowed(&app, peer, request.uri(), request.headers())?.clone();
    let known = [&FILTER[..], &["format", "order", "fields", "data"]];
    let parameters = Parameters::read(request.uri(), &known)?;
    let format = [("ndjson", Format::Ndjson), ("csv", Format::Csv)];
    let format = parameters.word("format", &format)?.unwrap_or(Format::Ndjson);
    let order = [("asc", Order::Ascending), ("desc", Order::Descending)];
    let page = Page {
        filter: parameters.filter()?,
        order: parameters.word("order", &order)?.unwrap_or(Order::Ascending),
        after: None,
        limit: PAGE_EVENTS,
        members: parameters.members()?,
    };
    let (encoder, encoding) = Encoder::accepted(request.headers())?;
    let mut answer = store.page(page.clone()).await?;
    // What is wrong with the question shows here, while the status can still say so.
    let part = answer.next().await.unwrap_or_else(|| Err(cut()))?;

    let columns = columns(&page.members);
    let export = Export { store, page, answer, format, columns, encoder, is_first: true };
    let mut response = Body::from_stream(body(export, part)).into_response();
    let headers = response.headers_mut();
    let (content_type, disposition) = match format {
        Format::Ndjson => ("application/x-ndjson", "attachment; filename=\"events.jsonl\""),
        Format::Csv => ("text/csv; charset=utf-8", "attachment; filename=\"events.csv\""),
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static(disposition));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(encoding) = encoding {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    Ok(response)
}

/// An export on its way.
struct Export {
    store: Store,
    page: Page,
    answer: Answer,
    format: Format,
    columns: Vec<&'static str>,
    encoder: Encoder,
    is_first: bool,
}

/// The body, part by part. An error cuts it off: what has been sent cannot be taken back.
fn body(export: Export, first: Part) -> impl stream::Stream<Item = Result<Bytes, ReadError>> {
    stream::try_unfold(Some((export, Some(first))), |state| async move {
        let Some((mut export, mut part)) = state else { return Ok(None) };
        loop {
            let next = match part.take() {
                Some(part) => part,
                None => export.answer.next().await.unwrap_or_else(|| Err(cut()))?,
            };
            let (events, is_end) = match next {
                Part::Events(events) => (events, false),
                Part::End(Some(key)) => {
                    export.page.after = Some(key);
                    export.answer = export.store.page(export.page.clone()).await?;
                    continue;
                }
                Part::End(None) | Part::Reached(..) => (Vec::new(), true),
            };
            let (kept, bytes) = tokio::task::spawn_blocking(move || {
                let bytes = export.write(&events, is_end);
                (export, bytes)
            })
            .await
            .map_err(|_| cut())?;
            let bytes = Bytes::from(bytes?);
            if is_end {
                return Ok(Some((bytes, None)));
            }
            export = kept;
            // An encoder may keep what it has for later.
            if !bytes.is_empty() {
                return Ok(Some((bytes, Some((export, None)))));
            }
        }
    })
}

impl Export {
    /// What is to be sent of these events.
    fn write(&mut self, events: &[Found], is_end: bool) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        if std::mem::take(&mut self.is_first) && matches!(self.format, Format::Csv) {
            text.extend_from_slice(self.columns.join(",").as_bytes());
            text.extend_from_slice(b"\r\n");
        }
        for event in events {
            match self.format {
                Format::Ndjson => {
                    text.extend_from_slice(&event.line);
                    text.push(b'\n');
                }
                Format::Csv => csv_row(&event.line, &self.columns, &mut text),
            }
        }
        self.encoder.encode(text, is_end)
    }
}

/// The columns of CSV.
fn columns(members: &Members) -> Vec<&'static str> {
    match members {
        // In the order in which they were asked for.
        Members::Only(names) => names
            .iter()
            .filter_map(|name| MEMBERS.iter().find(|member| *member == name).copied())
            .collect(),
        _ => MEMBERS.into_iter().filter(|member| members.has(member)).collect(),
    }
}

/// A row as RFC 4180 has it: texts as they are, objects as JSON, null as nothing.
fn csv_row(line: &[u8], columns: &[&str], out: &mut Vec<u8>) {
    let mut cells = vec![String::new(); columns.len()];
    each_member(line, |name, value| {
        let Some(at) = columns.iter().position(|column| *column == name) else { return };
        cells[at] = match value.as_bytes().first() {
            Some(b'"') => serde_json::from_str(value).unwrap_or_default(),
            Some(b'n') | None => String::new(),
            Some(_) => value.to_owned(),
        };
    });
    for (at, cell) in cells.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        if cell.contains(['"', ',', '\r', '\n']) {
            out.push(b'"');
            out.extend_from_slice(cell.replace('"', "\"\"").as_bytes());
            out.push(b'"');
        } else {
            out.extend_from_slice(cell.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// How the body is compressed.
enum Encoder {
    Identity,
    Gzip(Option<flate2::write::GzEncoder<Vec<u8>>>),
    Zstd(Option<zstd::stream::write::Encoder<'static, Vec<u8>>>),
}

impl Encoder {
    /// The best that `Accept-Encoding` allows, and its name.
    fn accepted(headers: &HeaderMap) -> Result<(Self, Option<&'static str>), Problem> {
        let accepted = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
        let accepts = |name: &str| {
            accepted.unwrap_or_default().split(',').any(|coding| {
                let (coding, weight) = coding.split_once(';').unwrap_or((coding, ""));
                let is_refused = matches!(weight.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000");
                coding.trim().eq_ignore_ascii_case(name) && !is_refused
            })
        };
        if accepts("zstd") {
            let encoder = zstd::stream::write::Encoder::new(Vec::new(), 0).map_err(|error| {
                let status = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
                Problem::new(status, format!("zstd: {error}"))
            })?;
            return Ok((Self::Zstd(Some(encoder)), Some("zstd")));
        }
        if accepts("gzip") {
            let level = flate2::Compression::fast();
            let encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            return Ok((Self::Gzip(Some(encoder)), Some("gzip")));
        }
        Ok((Self::Identity, None))
    }

    fn encode(&mut self, text: Vec<u8>, is_end: bool) -> io::Result<Vec<u8>> {
        match self {
            Self::Identity => Ok(text),
            Self::Gzip(encoder) => match (encoder.as_mut(), is_end) {
                (None, _) => Ok(Vec::new()),
                (Some(open), false) => {
                    open.write_all(&text)?;
                    Ok(std::mem::take(open.get_mut()))
                }
                (Some(open), true) => {
                    open.write_all(&text)?;
                    encoder.take().map_or(Ok(Vec::new()), flate2::write::GzEncoder::finish)
                }
            },
            Self::Zstd(encoder) => match (encoder.as_mut(), is_end) {
                (None, _) => Ok(Vec::new()),
                (Some(open), false) => {
                    open.write_all(&text)?;
                    Ok(std::mem::take(open.get_mut()))
                }
                (Some(open), true) => {
                    open.write_all(&text)?;
                    encoder.take().map_or(Ok(Vec::new()), zstd::stream::write::Encoder::finish)
                }
            },
        }
    }
}
