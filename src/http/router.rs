//! The table of endpoints, and the router that is built from it.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::http::{HeaderMap, Method, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use utoipa_axum::routes;

use super::access::Scope;
use super::app::App;
use super::endpoint::{Endpoint, needs, public};
use super::openapi::schemas::JsonObject;
use super::problem::Problem;
use super::{health, ingest, metrics, middleware, openapi, read};

/// The table of all endpoints, of which the router and the OpenAPI document are built. There is no
/// other way to add an endpoint, so each names its scope or is public on purpose.
pub(super) fn endpoints() -> Vec<Endpoint> {
    use Scope::{Ingest, Read};
    vec![
        needs(Ingest, routes!(ingest::events::single)),
        needs(Ingest, routes!(ingest::events::batch)),
        needs(Ingest, routes!(ingest::hooks::agent)),
        needs(Ingest, routes!(ingest::hooks::event)),
        needs(Ingest, routes!(ingest::hooks::emitted)),
        needs(Ingest, routes!(ingest::otlp::logs)).denied_by(ingest::otlp::denied),
        needs(Ingest, routes!(ingest::otlp::traces)).denied_by(ingest::otlp::denied),
        needs(Ingest, routes!(ingest::otlp::metrics)).denied_by(ingest::otlp::denied),
        needs(Read, routes!(read::events::events)),
        needs(Read, routes!(read::export::export)),
        needs(Read, routes!(read::stream::stream)),
        needs(Read, routes!(read::sessions::sessions)),
        needs(Read, routes!(read::sessions::session)),
        needs(Read, routes!(read::sessions::stats)),
        public(routes!(health::root)),
        public(routes!(openapi_document)),
        public(routes!(health::health)),
        public(routes!(health::live)),
        public(routes!(health::ready)),
        public(routes!(metrics::metrics)),
        public(routes!(metrics::prometheus)),
    ]
}

/// Builds the router of all endpoints, each behind the check of its scope.
pub(crate) fn router(app: Arc<App>) -> Router {
    let mut router = Router::new();
    for Endpoint { routes: (_, paths, handler), scope, deny } in endpoints() {
        let handler = match scope {
            None => handler,
            Some(scope) => {
                let app = app.clone();
                handler.route_layer(from_fn(move |request, next| {
                    check_access(app.clone(), scope, deny, request, next)
                }))
            }
        };
        for path in paths.paths.keys() {
            router = router.route(path, handler.clone());
        }
    }
    router
        .method_not_allowed_fallback(other_method)
        .fallback(unknown_path)
        .layer(from_fn_with_state(app.clone(), middleware::outermost))
        .with_state(app)
}

/// Responds to a method that a route does not have. The header `allow` is added by axum.
async fn other_method(State(app): State<Arc<App>>, method: Method, uri: Uri) -> Response {
    match method {
        Method::OPTIONS => health::options(&app, uri.path()),
        _ => Problem::method_not_allowed().into_response(),
    }
}

/// Responds to a path without a route. `OPTIONS *` asks about the server as a whole.
async fn unknown_path(State(app): State<Arc<App>>, method: Method, uri: Uri) -> Response {
    match (method, uri.path()) {
        (Method::OPTIONS, "*") => {
            ([(ALLOW, "GET,HEAD,POST")], health::options(&app, "*")).into_response()
        }
        _ => Problem::not_found().into_response(),
    }
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
        Ok(permission) => {
            let response = next.run(request).await;
            if scope == Scope::Read { permission.guard(response) } else { response }
        }
        Err(problem) => deny(request.headers(), problem),
    }
}

/// Returns the OpenAPI document of this API.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "getOpenApi",
    tag = "Server",
    responses((
        status = 200,
        description = "An OpenAPI 3.1 document.",
        body = JsonObject,
        content_type = "application/json"
    ))
)]
async fn openapi_document() -> Response {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let text = openapi::document(endpoints()).to_pretty_json();
        // A map with string keys is always JSON.
        text.map(|text| text + "\n").unwrap_or_default()
    });
    ([(CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}
