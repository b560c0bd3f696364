//! The OpenAPI 3.1 document of this API, generated from the table of endpoints: each handler's
//! `utoipa::path` attribute describes its operation, and the types in there derive their schemas.
//!
//! What every endpoint has in common is added here: the scope that it needs, the responses of the
//! middleware, and the components that operations refer to.

pub(super) mod parameters;
pub(super) mod problems;
pub(super) mod schemas;

use utoipa::ToSchema;
use utoipa::openapi::path::{Operation, ParameterIn, PathItem};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{
    Components, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Paths, Ref, RefOr, Server,
    ServerBuilder, tag::TagBuilder,
};

use super::access::Scope;
use super::endpoint::Endpoint;
use super::problem::Problem;

const TAGS: [(&str, &str); 4] = [
    (
        "Ingest",
        "Sending events. The response is sent once the events are durable. Sending an event again \
         (same `session_id` and `event_id`) is harmless.",
    ),
    ("Events", "Reading stored events: in pages, as an export, or live as they arrive."),
    ("Sessions", "Sessions and statistics, derived from stored events."),
    ("Server", "State of the server: health, metrics, and this document."),
];

/// Returns the document of these endpoints.
pub(super) fn document(endpoints: Vec<Endpoint>) -> OpenApi {
    let mut components = components();
    let mut paths = Paths::new();
    for endpoint in endpoints {
        let (schemas, documented, _) = endpoint.routes;
        components.schemas.extend(schemas);
        for (path, mut item) in documented.paths {
            for operation in operations(&mut item) {
                describe_access(operation, endpoint.scope);
                for name in ["RequestHeaderFieldsTooLarge", "InternalServerError"] {
                    add_response(operation, name);
                }
                share_parameters(operation, &mut components);
            }
            match paths.paths.get_mut(&path) {
                Some(other) => other.merge_operations(item),
                None => drop(paths.paths.insert(path, item)),
            }
        }
    }
    let tags =
        TAGS.map(|(name, text)| TagBuilder::new().name(name).description(Some(text)).build());
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title(env!("CARGO_PKG_NAME"))
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(
                    "An event store for the hook events of AI agents: durable before the response, \
                     stored exactly once.",
                ))
                .license(Some(LicenseBuilder::new().name("MIT").identifier(Some("MIT")).build())),
        )
        .servers(Some(servers()))
        .tags(Some(tags))
        .components(Some(components))
        .paths(paths)
        .build()
}

fn servers() -> [Server; 2] {
    [
        ("/", "The server that returned this document"),
        ("http://127.0.0.1:8080", "The default address"),
    ]
    .map(|(url, text)| ServerBuilder::new().url(url).description(Some(text)).build())
}

/// The components that no operation brings along: security schemes, shared responses, and the schemas of
/// these and of parameters.
fn components() -> Components {
    let mut components = Components::new();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "An API key, or the read token of a server without API keys, as bearer token",
        ))
        .build();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    let key = ApiKeyValue::with_description("X-API-Key", "An API key or read token in a header");
    components.add_security_scheme("key", SecurityScheme::ApiKey(ApiKey::Header(key)));
    components.responses.extend(problems::components());
    add_schema::<Problem>(&mut components);
    add_schema::<schemas::OtlpStatus>(&mut components);
    add_schema::<schemas::MemberName>(&mut components);
    add_schema::<schemas::QueryTime>(&mut components);
    add_schema::<schemas::AgentName>(&mut components);
    add_schema::<schemas::SentTimestamp>(&mut components);
    components
}

fn add_schema<T: ToSchema>(components: &mut Components) {
    let mut schemas = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut schemas);
    components.schemas.extend(schemas);
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete]
        .into_iter()
        .filter_map(Option::as_mut)
}

/// Adds the scope that the operation needs, and the responses to requests without it. On a server without
/// API keys, sending needs none, and reading the read token as a key.
fn describe_access(operation: &mut Operation, scope: Option<Scope>) {
    let Some(scope) = scope else {
        operation.security = Some(Vec::new());
        return;
    };
    let requirement = |scheme| SecurityRequirement::new(scheme, [scope.name()]);
    let mut security = vec![requirement("bearer"), requirement("key")];
    if scope == Scope::Ingest {
        security.insert(0, SecurityRequirement::default());
    }
    operation.security = Some(security);
    for name in ["Unauthorized", "Forbidden"] {
        add_response(operation, name);
    }
}

/// Refers to a shared response, unless the operation describes its own for that status.
fn add_response(operation: &mut Operation, name: &str) {
    for (status, response) in problems::references(&[name]) {
        operation.responses.responses.entry(status).or_insert(response);
    }
}

/// Moves query and header parameters, which several operations accept, to the components.
fn share_parameters(operation: &mut Operation, components: &mut Components) {
    for parameter in operation.parameters.iter_mut().flatten() {
        let RefOr::T(described) = &*parameter else { continue };
        if described.parameter_in == ParameterIn::Path {
            continue;
        }
        let name = described.name.clone();
        let shared = components.parameters.entry(name.clone());
        let shared = shared.or_insert_with(|| RefOr::T(described.clone()));
        if matches!(shared, RefOr::T(shared) if shared == described) {
            *parameter = RefOr::Ref(Ref::new(format!("#/components/parameters/{name}")));
        }
    }
}
