//! The table of endpoints, and the router that is built from it.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};

use super::access::Scope;
use super::app::App;
use super::problem::Problem;
use super::{health, ingest, metrics, middleware, read};

/// A row of the table: one method of one path, and the scope that a request needs.
struct Endpoint {
    path: &'static str,
    handler: MethodRouter<Arc<App>>,
    /// `None` if everyone may use it.
    scope: Option<Scope>,
    /// Renders the response to a request that lacks the scope.
    deny: fn(&HeaderMap, Problem) -> Response,
}

/// An endpoint for requests that have the scope.
fn needs(scope: Scope, path: &'static str, handler: MethodRouter<Arc<App>>) -> Endpoint {
    let deny = |_: &HeaderMap, problem: Problem| problem.into_response();
    Endpoint { path, handler, scope: Some(scope), deny }
}

/// An endpoint for everyone.
fn public(path: &'static str, handler: MethodRouter<Arc<App>>) -> Endpoint {
    Endpoint { scope: None, ..needs(Scope::Read, path, handler) }
}

impl Endpoint {
    fn denied_by(self, deny: fn(&HeaderMap, Problem) -> Response) -> Self {
        Self { deny, ..self }
    }
}

/// All endpoints. There is no other way to add one, so each names its scope or is public on purpose.
fn endpoints() -> Vec<Endpoint> {
    use Scope::{Ingest, Read};
    vec![
        needs(Ingest, "/events", post(ingest::events::single)),
        needs(Ingest, "/events/batch", post(ingest::events::batch)),
        needs(Ingest, "/hooks", post(ingest::hooks::emitted)),
        needs(Ingest, "/hooks/{agent}", post(ingest::hooks::agent)),
        needs(Ingest, "/hooks/{agent}/{event}", post(ingest::hooks::event)),
        needs(Ingest, "/v1/logs", post(ingest::otlp::logs)).denied_by(ingest::otlp::denied),
        needs(Read, "/events", get(read::events)),
        needs(Read, "/events/export", get(read::export)),
        needs(Read, "/events/stream", get(read::stream)),
        needs(Read, "/sessions", get(read::sessions)),
        needs(Read, "/sessions/{session_id}", get(read::session)),
        needs(Read, "/stats", get(read::stats)),
        public("/openapi.json", get(openapi)),
        public("/health", get(health::health)),
        public("/health/live", get(health::live)),
        public("/health/ready", get(health::ready)),
        public("/metrics", get(metrics::metrics)),
        public("/metrics/prometheus", get(metrics::prometheus)),
    ]
}

/// Builds the router of all endpoints, each behind the check of its scope.
pub(crate) fn router(app: Arc<App>) -> Router {
    let mut router = Router::new();
    for Endpoint { path, handler, scope, deny } in endpoints() {
        let handler = match scope {
            None => handler,
            Some(scope) => {
                let app = app.clone();
                handler.route_layer(from_fn(move |request, next| {
                    check_access(app.clone(), scope, deny, request, next)
                }))
            }
        };
        router = router.route(path, handler);
    }
    router
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .fallback(|| async { Problem::not_found() })
        .layer(from_fn_with_state(app.clone(), middleware::outermost))
        .with_state(app)
}

/// Runs the handler if the request has the scope.
async fn check_access(
    app: Arc<App>,
    scope: Scope,
    deny: fn(&HeaderMap, Problem) -> Response,
    mut request: Request,
    next: Next,
) -> Response {
    match app.access.check(scope, &mut request) {
        Ok(()) => next.run(request).await,
        Err(problem) => deny(request.headers(), problem),
    }
}

/// What this API is, kept by hand.
async fn openapi() -> Response {
    let json = [(axum::http::header::CONTENT_TYPE, "application/json")];
    (json, include_str!("openapi.json")).into_response()
}
