//! The events that `query`, `tail` and `export` select, and pages of them.

use std::io::Read;

use anyhow::Context;
use serde_json::value::RawValue;

use super::client::{Client, Target};

/// Parameters that select events.
#[derive(clap::Args, Debug)]
pub(super) struct Selection {
    // Not a doc comment, in which the names would need backticks.
    #[arg(
        help = "Parameters of GET /events: session_id, event_id, event_type, workflow_id, phase_id, \
        milestone_id, agent, tool_name, tool_use_id, since, until (a time, or an age such as 15m), q, \
        fields, data; export also has order, and spreadsheet for CSV"
    )]
    #[arg(value_name = "NAME=VALUE", value_parser = parse_parameter)]
    pub(super) parameters: Vec<(String, String)>,

    #[command(flatten)]
    pub(super) target: Target,
}

/// A page of events.
#[derive(serde::Deserialize)]
pub(super) struct PageBody {
    pub(super) events: Vec<Box<RawValue>>,
    pub(super) next_cursor: Option<String>,
}

impl Selection {
    /// Returns the path of an endpoint with the parameters and some more.
    pub(super) fn path(&self, endpoint: &str, more: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.parameters).extend_pairs(more);
        format!("{endpoint}?{}", query.finish())
    }

    /// Reads a page of events, newest first.
    pub(super) fn page(&self, client: &Client, more: &[(&str, &str)]) -> anyhow::Result<PageBody> {
        let mut text = String::new();
        let mut response = client.stream(&self.path("/events", more), &[])?;
        response.read_to_string(&mut text).context("the response was cut off")?;
        serde_json::from_str(&text).context("the response is not from a hooks-backend server")
    }
}

fn parse_parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE, such as since=15m")?;
    Ok((name.to_owned(), value.to_owned()))
}
