//! `GET /events`: a page of events, streamed.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};

use super::cut;
use super::parameter_sets::ListEvents;
use super::parameters::{Parameters, cursor_to};
use crate::http::App;
use crate::http::openapi::QueryProblems;
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
    let mut answer = app.read.store.page(page).await?;
    // What is wrong with the question shows here, while the status can still say so.
    let first = answer.next().await.unwrap_or_else(|| Err(cut()))?;
    let body = Body::from_stream(body(answer, first));
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

/// Where the body is.
enum At {
    Chunk(Box<PageReader>, Chunk, bool),
    Next(Box<PageReader>, bool),
    End,
}

/// The body, part by part. An error cuts it off: what has been sent cannot be taken back.
fn body(answer: PageReader, first: Chunk) -> impl stream::Stream<Item = Result<Bytes, ReadError>> {
    let begin = Bytes::from_static(b"{\"events\":[");
    let parts = stream::try_unfold(At::Chunk(Box::new(answer), first, true), |at| async move {
        let (answer, part, is_first) = match at {
            At::Chunk(answer, part, is_first) => (answer, part, is_first),
            At::Next(mut answer, is_first) => {
                let part = answer.next().await.unwrap_or_else(|| Err(cut()))?;
                (answer, part, is_first)
            }
            At::End => return Ok(None),
        };
        let mut out = Vec::new();
        match part {
            Chunk::Events(events) => {
                let mut is_first = is_first;
                for event in events {
                    if !std::mem::take(&mut is_first) {
                        out.push(b',');
                    }
                    out.extend_from_slice(&event.line);
                }
                Ok(Some((Bytes::from(out), At::Next(answer, is_first))))
            }
            end @ (Chunk::End(_) | Chunk::Reached(..)) => {
                let next = if let Chunk::End(next) = end { next } else { None };
                let cursor = next.map(|key| cursor_to(&key));
                let cursor = serde_json::to_string(&cursor).unwrap_or_default();
                Ok(Some((Bytes::from(format!("],\"next_cursor\":{cursor}}}")), At::End)))
            }
        }
    });
    stream::once(async move { Ok(begin) }).chain(parts)
}
