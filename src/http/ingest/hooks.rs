//! `POST /hooks/{agent}`: agents' own payloads. An agent may take the answer for a decision, so it
//! says nothing: `200 {}`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{self as ingest, Input, media_type};
use crate::decode::{agent_names, is_agent};
use crate::http::App;
use crate::http::problem::Problem;

/// A hook whose address names the agent alone.
pub(in crate::http) async fn agent(
    State(app): State<Arc<App>>,
    Path(agent): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    hook(&app, agent, None, request).await
}

/// A hook whose address names the event, too.
pub(in crate::http) async fn event(
    State(app): State<Arc<App>>,
    Path((agent, event)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    hook(&app, agent, Some(event), request).await
}

async fn hook(
    app: &Arc<App>,
    agent: String,
    event: Option<String>,
    request: Request,
) -> Result<Response, Problem> {
    let input = |headers: &HeaderMap| {
        if !is_agent(&agent) {
            return Err(Problem::new(
                StatusCode::NOT_FOUND,
                format!(
                    "no agent is called {agent:?} here; allowed: {}",
                    agent_names().collect::<Vec<_>>().join(", ")
                ),
            ));
        }
        match media_type(headers)?.as_str() {
            "application/json" => Ok(Input::Hook { agent, event }),
            other => Err(Problem::unsupported_type(other, "application/json")),
        }
    };
    ingest::take(app, request, input).await?.into_result()?;
    Ok(Json(json!({})).into_response())
}

/// The lines of `hooks-backend emit`, whose answers are those of a batch.
pub(in crate::http) async fn emitted(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let input = |headers: &HeaderMap| match media_type(headers)?.as_str() {
        "application/x-ndjson" => Ok(Input::Emitted),
        other => Err(Problem::unsupported_type(
            other,
            "application/x-ndjson, with the lines of 'hooks-backend emit' (an agent's own payload \
             goes to /hooks/{agent})",
        )),
    };
    Ok(ingest::take(&app, request, input).await?.into_result()?.into_response())
}
