//! `GET /openapi.json` describes the routes that there are, and no others.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::harness::{Server, Workspace, event};

fn document(server: &Server) -> Value {
    let answer = server.client.get("/openapi.json", &[]).expect(200);
    assert_eq!(answer.header("content-type"), "application/json");
    answer.json()
}

fn set<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    names.map(str::to_ascii_uppercase).collect()
}

#[test]
fn the_document_has_every_route_with_its_methods() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    let document = document(&server);
    let paths = document["paths"].as_object().expect("paths");
    let routes = include_str!("../../src/http/router.rs");
    let routes = routes.split('"').filter(|text| text.starts_with('/') && !text.contains('\n'));
    assert_eq!(set(routes), set(paths.keys().map(String::as_str)));
    for (path, item) in paths {
        let concrete = path.replace(['{', '}'], "");
        let answer = server.client.send("OPTIONS", &concrete, &[], b"").expect("an answer");
        assert_eq!(answer.status, 405, "{path}: {answer:?}");
        let mut allowed = set(answer.header("allow").split(',').map(str::trim));
        allowed.remove("HEAD");
        let documented = item.as_object().expect("methods").keys();
        assert_eq!(allowed, set(documented.map(String::as_str)), "{path}");
    }
}

#[test]
fn what_it_refers_to_is_there_and_parameters_are_taken() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    server.client.event(&event("1")).expect(202);
    crate::reading::shown(&server.client, 1);
    let document = document(&server);
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let resolve = |value: &Value| -> Value {
        let Some(reference) = value["$ref"].as_str() else { return value.clone() };
        let found = document.pointer(&reference[1..]).cloned();
        found.unwrap_or_else(|| panic!("{reference} leads nowhere"))
    };
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("methods") {
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let parameters = parameters.iter().map(resolve);
            let queries: Vec<_> =
                parameters.filter(|parameter| parameter["in"] == "query").collect();
            if method != "get" || path == "/events/stream" {
                continue;
            }
            let concrete = path.replace("{session_id}", "session-1");
            server.client.get(&concrete, &[]).expect(200);
            for query in queries {
                let name = query["name"].as_str().expect("a name");
                // An empty value is none; an unknown name would be refused all the same.
                server.client.get(&format!("{concrete}?{name}="), &[]).expect(200);
            }
        }
    }
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(document.pointer(reference).is_some(), "{reference} leads nowhere");
    }
}

#[test]
fn numbers_are_timestamps_within_the_bounds_that_it_names() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    let document = document(&server);
    let forms =
        document["components"]["schemas"]["Timestamp"]["anyOf"].as_array().expect("forms").iter();
    let bound = |form: &Value, name: &str| form[name].as_i64().expect("a whole number");
    let numbers = forms.filter(|form| form["type"] == "number");
    let bounds: Vec<_> =
        numbers.map(|form| [bound(form, "minimum"), bound(form, "maximum")]).collect();
    assert_eq!(bounds.len(), 2);
    for [minimum, maximum] in bounds {
        for (number, status) in
            [(minimum - 1, 422), (minimum, 202), (maximum, 202), (maximum + 1, 422)]
        {
            let mut event = event(&number.to_string());
            event["timestamp"] = number.into();
            let answer = server.client.event(&event);
            assert_eq!(answer.status, status, "{number}: {answer:?}");
        }
    }
}

#[test]
fn closed_sets_are_those_of_the_program() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    let document = document(&server);
    let documented = |name: &str| {
        let names = document["components"]["schemas"][name]["enum"].as_array().expect("an enum");
        set(names.iter().map(|name| name.as_str().expect("a name")))
    };
    let members = agentic_hooks_backend::event::MEMBERS.map(|member| member.name);
    assert_eq!(documented("Member"), set(members.into_iter()));
    let refused = server.client.post("/hooks/none", "application/json", &[], "{}");
    let detail = refused.expect(404).json()["detail"].to_string();
    let agents = detail.split("allowed: ").nth(1).expect("names").trim_end_matches('"');
    assert_eq!(documented("Agent"), set(agents.split(", ")));
}
