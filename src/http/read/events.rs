//! `GET /events`: a page of events, streamed.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::admission::RESPONSE_BYTES;
use super::body::produced;
use super::pages::Pages;
use super::parameter_sets::ListEvents;
use super::parameters::{Parameters, cursor_to};
use crate::http::App;
use crate::http::openapi::problems::QueryProblems;
use crate::http::openapi::schemas::EventPage;
use crate::http::problem::Problem;
use crate::query::{PageChunk, Rest};

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
    let admitted = app.read.admit(&request, RESPONSE_BYTES)?;
    let mut pages = Pages::new(app.read.store.clone(), page, admitted, RESPONSE_BYTES);
    // A query that fails at once gets an error status; later, only the connection can be aborted.
    let first = pages.first().await?;
    let mut text = b"{\"events\":[".to_vec();
    let is_whole = pages.is_at_end();
    let mut is_empty = true;
    write_chunk(&first, &mut is_empty, &mut text);
    let body = if is_whole {
        Body::from(text)
    } else {
        produced(app.config.http.body_timeout, app.metrics.clone(), async move |mut sender| {
            sender.send(text.into()).await?;
            while let Some(chunk) = pages.next().await? {
                let mut text = Vec::new();
                write_chunk(&chunk, &mut is_empty, &mut text);
                sender.send(text.into()).await?;
            }
            Ok(())
        })
    };
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

/// Writes events, separated by commas, and after the last chunk the end of the page. `is_empty` says that
/// the page has no event yet.
fn write_chunk(chunk: &PageChunk, is_empty: &mut bool, text: &mut Vec<u8>) {
    for event in &chunk.events {
        if !std::mem::take(is_empty) {
            text.push(b',');
        }
        text.extend_from_slice(&event.line);
    }
    let next = match &chunk.rest {
        Rest::OfPage(_) => return,
        Rest::NextPage(key) => Some(cursor_to(key)),
        Rest::Nothing => None,
    };
    let cursor = serde_json::to_string(&next).unwrap_or_default();
    text.extend_from_slice(format!("],\"next_cursor\":{cursor}}}").as_bytes());
}
