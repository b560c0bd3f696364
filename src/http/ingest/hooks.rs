//! `POST /hooks/{agent}` and `POST /hooks/{agent}/{event}`: payloads in the agents' own formats, and
//! `POST /hooks`: the lines that `hooks-backend emit` sends.
//!
//! Agents may read a hook's response as a decision, so the response to a payload is always 200 with an empty
//! body. Claude Code adds any body, even `{}`, to the prompt of a compaction.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::IngestRequest;
use super::events::IngestResponse;
use super::headers::{header_text, media_type};
use super::pipeline::ingest;
use crate::decode::{self, Context, Hook, agent_names, is_agent};
use crate::http::App;
use crate::http::openapi::parameters::{HookHeaders, IngestParameters};
use crate::http::openapi::problems::IngestProblems;
use crate::http::openapi::schemas::{AgentName, JsonObject, Lines};
use crate::http::problem::Problem;

/// Stores an agent's hook payload as it is.
///
/// Agents interpret responses as decisions, so the response has no body.
#[utoipa::path(
    post,
    path = "/hooks/{agent}",
    operation_id = "postHook",
    tag = "Ingest",
    params(("agent" = AgentName, Path), HookHeaders, IngestParameters),
    request_body(content = JsonObject, description = "The hook's payload."),
    responses(
        (status = 200, description = "The event is durable. The response has no body."),
        (
            status = 404,
            description = "The agent is not known.",
            body = Problem,
            content_type = "application/problem+json"
        ),
        IngestProblems
    )
)]
pub(in crate::http) async fn agent(
    State(app): State<Arc<App>>,
    Path(agent): Path<String>,
    request: IngestRequest,
) -> Result<Response, Problem> {
    payload(&app, agent, None, request).await
}

/// Stores an agent's hook payload that does not contain the name of its event.
///
/// Agents interpret responses as decisions, so the response has no body.
#[utoipa::path(
    post,
    path = "/hooks/{agent}/{event}",
    operation_id = "postNamedHook",
    tag = "Ingest",
    params(
        ("agent" = AgentName, Path),
        ("event" = String, Path, description = "The agent's name of the hook event."),
        HookHeaders,
        IngestParameters
    ),
    request_body(content = JsonObject, description = "The hook's payload."),
    responses(
        (status = 200, description = "The event is durable. The response has no body."),
        (
            status = 404,
            description = "The agent is not known.",
            body = Problem,
            content_type = "application/problem+json"
        ),
        IngestProblems
    )
)]
pub(in crate::http) async fn event(
    State(app): State<Arc<App>>,
    Path((agent, event)): Path<(String, String)>,
    request: IngestRequest,
) -> Result<Response, Problem> {
    payload(&app, agent, Some(event), request).await
}

async fn payload(
    app: &App,
    agent: String,
    event: Option<String>,
    mut request: IngestRequest,
) -> Result<Response, Problem> {
    if !is_agent(&agent) {
        let allowed = agent_names().collect::<Vec<_>>().join(", ");
        let detail = format!("no agent is named {agent:?}; allowed: {allowed}");
        return Err(Problem::new(StatusCode::NOT_FOUND, detail));
    }
    let media_type = media_type(&request.headers)?;
    if media_type != "application/json" {
        return Err(Problem::unsupported_type(&media_type, "application/json"));
    }
    let header = |name| Some(header_text(request.headers.get(name)?).into());
    let hook = Hook {
        event_id: None,
        agent: agent.into(),
        event: event.map(Into::into),
        fired_at: request.origin.received_at,
        workflow_id: header("x-workflow-id"),
        phase_id: header("x-phase-id"),
        milestone_id: header("x-milestone-id"),
    };
    // Agents do not send a hook again.
    request.keeps_originals = true;
    let firings = app.ingest.firings.clone();
    let decode = move |body: &[u8], context: &Context<'_>| {
        decode::decode_hook(&hook, body, &firings, context)
    };
    ingest(request, decode).await?.require_valid()?;
    Ok(StatusCode::OK.into_response())
}

/// Stores the hooks that `hooks-backend emit` has collected.
///
/// For this program's client. The response is that of a batch.
#[utoipa::path(
    post,
    path = "/hooks",
    operation_id = "postEmittedHooks",
    tag = "Ingest",
    params(IngestParameters),
    request_body(content = Lines, content_type = "application/x-ndjson"),
    responses(
        (status = 202, description = "The events that are not rejected are durable.", body = IngestResponse),
        IngestProblems
    )
)]
pub(in crate::http) async fn emitted(
    State(app): State<Arc<App>>,
    request: IngestRequest,
) -> Result<IngestResponse, Problem> {
    let media_type = media_type(&request.headers)?;
    if media_type != "application/x-ndjson" {
        let allowed = "application/x-ndjson, with the lines of 'hooks-backend emit' (an agent's own \
                       payload goes to /hooks/{agent})";
        return Err(Problem::unsupported_type(&media_type, allowed));
    }
    let firings = app.ingest.firings.clone();
    let decode =
        move |body: &[u8], context: &Context<'_>| decode::decode_emitted(body, &firings, context);
    IngestResponse::of(ingest(request, decode).await?)
}
