//! `GET /sessions`, `/sessions/{id}` and `/stats`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::admission::RESPONSE_BYTES;
use super::parameter_sets::{GetStats, ListSessions, SESSIONS_DEFAULT, SESSIONS_MAX};
use super::parameters::{Parameters, bucket_length, cursor_to};
use crate::event::Timestamp;
use crate::http::App;
use crate::http::openapi::problems::QueryProblems;
use crate::http::problem::Problem;
use crate::store::{Session, SessionDetails, Stats};

/// Default time spans.
const SESSIONS_SECONDS: i64 = 86_400;
const STATS_SECONDS: i64 = 3600;

/// Maximum number of buckets, and the number for which the default length is chosen.
const BUCKETS_MAX: i64 = 1000;
const BUCKETS_DEFAULT: i64 = 60;

/// A page of sessions.
#[derive(Serialize, ToSchema)]
struct SessionPage {
    sessions: Vec<Session>,
    /// The `cursor` of the next page; null if this is the last one.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// Statistics of a time span.
#[derive(Serialize, ToSchema)]
struct StatsReport {
    /// The beginning of the time span.
    #[schema(format = DateTime)]
    since: String,
    /// The end of the time span.
    #[schema(format = DateTime)]
    until: String,
    /// The length of a bucket.
    bucket_seconds: i64,
    #[serde(flatten)]
    stats: Stats,
}

/// Returns a page of the sessions that have matching events, those with the latest of them first.
///
/// Considers events of the last day if `since` is absent. The members of a session are derived from all
/// of its events.
#[utoipa::path(
    get,
    path = "/sessions",
    operation_id = "listSessions",
    tag = "Sessions",
    params(ListSessions),
    responses((status = 200, description = "A page of sessions.", body = SessionPage), QueryProblems)
)]
pub(in crate::http) async fn sessions(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let parameters = Parameters::read(request.uri(), ListSessions::SET)?;
    let mut filter = parameters.filter()?;
    filter.since = filter.since.or_else(|| ago(SESSIONS_SECONDS));
    let after = parameters.cursor()?;
    let limit = parameters.number("limit", SESSIONS_DEFAULT, SESSIONS_MAX)?;
    let admitted = app.read.admit(&request, RESPONSE_BYTES)?;
    let _turn = admitted.turn().await?;
    let found = app.read.store.sessions(&filter, after.as_ref(), limit).await?;
    let next_cursor = found.next.map(|key| cursor_to(&key));
    Ok(Json(SessionPage { sessions: found.sessions, next_cursor }).into_response())
}

/// Returns a session.
#[utoipa::path(
    get,
    path = "/sessions/{session_id}",
    operation_id = "getSession",
    tag = "Sessions",
    params(("session_id" = String, Path, description = "The id of the session.")),
    responses(
        (status = 200, description = "The session.", body = SessionDetails),
        (
            status = 404,
            description = "No event has this session_id.",
            body = Problem,
            content_type = "application/problem+json"
        ),
        QueryProblems
    )
)]
pub(in crate::http) async fn session(
    State(app): State<Arc<App>>,
    Path(session_id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    Parameters::read(request.uri(), &[])?;
    let admitted = app.read.admit(&request, RESPONSE_BYTES)?;
    let _turn = admitted.turn().await?;
    match app.read.store.session(&session_id).await? {
        Some(session) => Ok(Json(session).into_response()),
        None => Err(Problem::new(
            StatusCode::NOT_FOUND,
            format!("there is no event with the session_id {session_id:?}"),
        )),
    }
}

/// Returns events by time and type, token usage, and the duration of tool calls.
///
/// Considers the last hour if `since` is absent.
#[utoipa::path(
    get,
    path = "/stats",
    operation_id = "getStats",
    tag = "Sessions",
    params(GetStats),
    responses((status = 200, description = "The statistics.", body = StatsReport), QueryProblems)
)]
pub(in crate::http) async fn stats(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let parameters = Parameters::read(request.uri(), GetStats::SET)?;
    let mut filter = parameters.filter()?;
    let now = Timestamp::now();
    let until = filter.until.unwrap_or(now);
    let since = filter.since.or_else(|| ago(STATS_SECONDS)).unwrap_or(Timestamp::MIN);
    filter.since = Some(since);
    let seconds = (until.micros() - since.micros()).max(0) / 1_000_000;
    let default = bucket_length(seconds, BUCKETS_DEFAULT);
    let bucket_seconds = parameters.duration("bucket")?.unwrap_or(default);
    if seconds / bucket_seconds > BUCKETS_MAX {
        let error = format!(
            "makes more than {BUCKETS_MAX} buckets; allowed here: {}s or longer",
            seconds / BUCKETS_MAX + 1
        );
        return Err(Problem::parameter("bucket", &error));
    }
    let admitted = app.read.admit(&request, RESPONSE_BYTES)?;
    let _turn = admitted.turn().await?;
    let stats = app.read.store.stats(&filter, bucket_seconds).await?;
    let (since, until) = (since.to_string(), until.to_string());
    Ok(Json(StatsReport { since, until, bucket_seconds, stats }).into_response())
}

fn ago(seconds: i64) -> Option<Timestamp> {
    Timestamp::from_micros(Timestamp::now().micros() - seconds * 1_000_000)
}
