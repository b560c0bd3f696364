//! `GET /sessions`, `/sessions/{id}` and `/stats`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::parameters::{FILTER, Parameters, cursor_to, usual_length};
use crate::event::Timestamp;
use crate::http::App;
use crate::http::problem::Problem;

/// Most sessions in one answer.
const LIMIT_MAX: usize = 200;
const LIMIT_DEFAULT: usize = 50;

/// What is asked for if nothing says since when: a day of sessions, an hour of figures.
const SESSIONS_SECONDS: i64 = 86_400;
const STATS_SECONDS: i64 = 3600;

/// Most buckets in one answer, and how many there are if nothing says how long each is.
const BUCKETS_MAX: i64 = 1000;
const BUCKETS_DEFAULT: i64 = 60;

/// `{"sessions":[...],"next_cursor":...}`.
pub(in crate::http) async fn sessions(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let parameters = Parameters::read(request.uri(), &[&FILTER[..11], &["limit", "cursor"]])?;
    let mut filter = parameters.filter()?;
    filter.since = filter.since.or_else(|| ago(SESSIONS_SECONDS));
    let after = parameters.cursor()?;
    let limit = parameters.number("limit", LIMIT_DEFAULT, LIMIT_MAX)?;
    let found = app.read.store.sessions(&filter, after.as_ref(), limit).await?;
    let next_cursor = found.next.map(|key| cursor_to(&key));
    let body = serde_json::json!({ "sessions": found.sessions, "next_cursor": next_cursor });
    Ok(Json(body).into_response())
}

/// One session.
pub(in crate::http) async fn session(
    State(app): State<Arc<App>>,
    Path(session_id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    Parameters::read(request.uri(), &[])?;
    match app.read.store.session(&session_id).await? {
        Some(session) => Ok(Json(session).into_response()),
        None => Err(Problem::new(
            StatusCode::NOT_FOUND,
            format!("there is no event with the session_id {session_id:?}"),
        )),
    }
}

/// What happened in a time.
pub(in crate::http) async fn stats(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let parameters = Parameters::read(request.uri(), &[&FILTER[..11], &["bucket"]])?;
    let mut filter = parameters.filter()?;
    let now = Timestamp::now();
    let until = filter.until.unwrap_or(now);
    let since = filter.since.or_else(|| ago(STATS_SECONDS)).unwrap_or(Timestamp::MIN);
    filter.since = Some(since);
    let seconds = (until.micros() - since.micros()).max(0) / 1_000_000;
    let usual = usual_length(seconds, BUCKETS_DEFAULT);
    let bucket_seconds = parameters.duration("bucket")?.unwrap_or(usual);
    if seconds / bucket_seconds > BUCKETS_MAX {
        let error = format!(
            "makes more than {BUCKETS_MAX} buckets; allowed here: {}s or longer",
            seconds / BUCKETS_MAX + 1
        );
        return Err(Problem::parameter("bucket", &error));
    }
    let stats = app.read.store.stats(&filter, bucket_seconds).await?;
    let mut body = serde_json::json!({
        "since": since.to_string(),
        "until": until.to_string(),
        "bucket_seconds": bucket_seconds,
    });
    if let (Some(body), Ok(serde_json::Value::Object(stats))) =
        (body.as_object_mut(), serde_json::to_value(stats))
    {
        body.extend(stats);
    }
    Ok(Json(body).into_response())
}

fn ago(seconds: i64) -> Option<Timestamp> {
    Timestamp::from_micros(Timestamp::now().micros() - seconds * 1_000_000)
}
