//! `GET /events`: a page of events, streamed.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};

use super::aborted;
use super::parameter_sets::ListEvents;
use super::parameters::{Parameters, cursor_to};
use crate::http::App;
use crate::http::openapi::problems::QueryProblems;
use crate::http::openapi::schemas::EventPage;
use crate::http::problem::Problem;
use crate::query::{Chunk, PageReader, ReadError};

/// Returns a page of the events that match the filters.
#[utoipa::path(
    get,
    path = "/events",
    operation_id = "listEvents",
    tag = "Events",
    params(ListEvents),
    responses((status = 200, description = "A page of events.", body = EventPage), QueryProblems)
)]
pub(in crate::http) async fn events(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let page = Parameters::read(request.uri(), ListEvents::SET)?.page()?;
    let mut reader = app.read.store.page(page).await?;
    // A query that fails at once gets an error status; later, only the connection can be aborted.
    let first = reader.next().await.unwrap_or_else(|| Err(aborted()))?;
    let body = Body::from_stream(body(reader, first));
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

/// The state of the body.
enum BodyState {
    Chunk(Box<PageReader>, Chunk, bool),
    Next(Box<PageReader>, bool),
    End,
}

/// Returns the body, chunk by chunk. An error aborts it.
fn body(reader: PageReader, first: Chunk) -> impl stream::Stream<Item = Result<Bytes, ReadError>> {
    let begin = Bytes::from_static(b"{\"events\":[");
    let chunks =
        stream::try_unfold(BodyState::Chunk(Box::new(reader), first, true), |state| async move {
            let (reader, chunk, is_first) = match state {
                BodyState::Chunk(reader, chunk, is_first) => (reader, chunk, is_first),
                BodyState::Next(mut reader, is_first) => {
                    let chunk = reader.next().await.unwrap_or_else(|| Err(aborted()))?;
                    (reader, chunk, is_first)
                }
                BodyState::End => return Ok(None),
            };
            let mut out = Vec::new();
            match chunk {
                Chunk::Events(events) => {
                    let mut is_first = is_first;
                    for event in events {
                        if !std::mem::take(&mut is_first) {
                            out.push(b',');
                        }
                        out.extend_from_slice(&event.line);
                    }
                    Ok(Some((Bytes::from(out), BodyState::Next(reader, is_first))))
                }
                end @ (Chunk::End(_) | Chunk::Reached(..)) => {
                    let next = if let Chunk::End(next) = end { next } else { None };
                    let cursor = next.map(|key| cursor_to(&key));
                    let cursor = serde_json::to_string(&cursor).unwrap_or_default();
                    Ok(Some((Bytes::from(format!("],\"next_cursor\":{cursor}}}")), BodyState::End)))
                }
            }
        });
    stream::once(async move { Ok(begin) }).chain(chunks)
}
