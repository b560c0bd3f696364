//! A row of the table of endpoints in `router.rs`.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::UtoipaMethodRouter;

use super::access::Scope;
use super::app::App;
use super::problem::Problem;

/// A row of the table: a handler with its method and path, and the scope that a request needs.
pub(super) struct Endpoint {
    pub(super) routes: UtoipaMethodRouter<Arc<App>>,
    /// `None` if no scope is needed.
    pub(super) scope: Option<Scope>,
    /// Renders the response to a request that lacks the scope.
    pub(super) deny: fn(&HeaderMap, Problem) -> Response,
}

/// An endpoint for requests that have the scope.
pub(super) fn needs(scope: Scope, routes: UtoipaMethodRouter<Arc<App>>) -> Endpoint {
    let deny = |_: &HeaderMap, problem: Problem| problem.into_response();
    Endpoint { routes, scope: Some(scope), deny }
}

/// An endpoint for all requests.
pub(super) fn public(routes: UtoipaMethodRouter<Arc<App>>) -> Endpoint {
    Endpoint { scope: None, ..needs(Scope::Read, routes) }
}

impl Endpoint {
    pub(super) fn denied_by(self, deny: fn(&HeaderMap, Problem) -> Response) -> Self {
        Self { deny, ..self }
    }
}
