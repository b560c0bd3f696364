//! Parameters of the routes that store events.

use utoipa::IntoParams;
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};

/// Parameters of every route that stores events.
pub(in crate::http) struct IngestParameters;

impl IntoParams for IngestParameters {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![
            parameter(
                "ack",
                ParameterIn::Query,
                "When the response is sent: `journal` (the events are on disk) or `stored` (the store \
                 has committed them, too). Default: the server's setting `ACK`.",
                &["journal", "stored"],
            ),
            parameter(
                "Content-Encoding",
                ParameterIn::Header,
                "The compression of the body.",
                &["gzip", "zstd", "deflate"],
            ),
        ]
    }
}

/// Headers that assign the event of a hook to a workflow.
pub(in crate::http) struct HookHeaders;

impl IntoParams for HookHeaders {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        [
            ("X-Workflow-Id", "The `workflow_id` of the event."),
            ("X-Phase-Id", "The `phase_id` of the event."),
            ("X-Milestone-Id", "The `milestone_id` of the event."),
        ]
        .map(|(name, text)| parameter(name, ParameterIn::Header, text, &[]))
        .to_vec()
    }
}

/// An optional text, of a closed set unless `values` is empty.
fn parameter(name: &str, place: ParameterIn, text: &str, values: &[&str]) -> Parameter {
    let values = (!values.is_empty()).then(|| values.iter().copied());
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(Required::False)
        .description(Some(text))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String).enum_values(values)))
        .build()
}
