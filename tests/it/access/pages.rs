//! Requests of web pages to a server without API keys: the headers that browsers add decide.

use serde_json::Value;

use super::ROUTES;
use crate::harness::client::JSON;
use crate::harness::{Server, Workspace, event};

/// Headers of requests, and whether a server without keys accepts events with them.
const REQUESTS: [(&[(&str, &str)], bool); 25] = [
    // Agents, exporters and commands, under any name of the server, through any proxy.
    (&[], true),
    (&[("host", "hooks-backend:8080")], true),
    (&[("host", "hooks.default.svc")], true),
    (&[("host", "192.0.2.1:8080"), ("user-agent", "Mozilla/5.0 PowerShell/7.4")], true),
    (&[("host", "events.example"), ("x-forwarded-for", "192.0.2.1"), ("via", "1.1 proxy")], true),
    (&[("host", "events.example"), ("sec-fetch-mode", "cors")], true),
    // Pages of this server.
    (&[("host", "localhost:8080"), ("origin", "http://localhost:8080")], true),
    (&[("host", "[::1]:8080"), ("origin", "http://[::1]:8080")], true),
    (&[("host", "LocalHost"), ("origin", "https://localhost")], true),
    (&[("host", "127.0.0.1:8080"), ("sec-fetch-site", "same-origin")], true),
    (&[("host", "localhost"), ("sec-fetch-site", "none")], true),
    // Pages of other sites.
    (&[("host", "localhost:8080"), ("origin", "http://evil.example")], false),
    (&[("host", "localhost:8080"), ("origin", "http://localhost:3000")], false),
    (&[("host", "localhost:8080"), ("origin", "http://127.0.0.1:8080")], false),
    (&[("host", "localhost:8080"), ("origin", "http://localhost:8080.evil.example")], false),
    (&[("host", "localhost:8080"), ("origin", "null")], false),
    (&[("host", "localhost:8080"), ("origin", "")], false),
    (&[("host", "localhost:8080"), ("origin", "moz-extension://0b1c")], false),
    (&[("host", "localhost:8080"), ("sec-fetch-site", "cross-site")], false),
    (&[("host", "localhost:8080"), ("sec-fetch-site", "same-site")], false),
    (
        &[("host", "localhost"), ("origin", "http://localhost"), ("sec-fetch-site", "cross-site")],
        false,
    ),
    // Pages whose name leads to this machine since they were loaded.
    (&[("host", "evil.example:8080"), ("origin", "http://evil.example:8080")], false),
    (&[("host", "evil.example"), ("sec-fetch-site", "same-origin")], false),
    (&[("host", "localhost.evil.example"), ("origin", "http://localhost.evil.example")], false),
    (&[("host", "a@localhost"), ("origin", "http://a@localhost")], false),
];

/// Sends a request with exactly these headers; returns the status.
fn status(server: &Server, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> u16 {
    let mut connection = server.client.connect();
    let lines: Vec<_> =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let lines = lines.concat();
    let host = if headers.iter().any(|(name, _)| *name == "host") { "" } else { "host: h\r\n" };
    connection.write(format!(
        "{method} {path} HTTP/1.1\r\n{host}{lines}content-type: {JSON}\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    ));
    let response = connection.read_to_end();
    let status = response.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.unwrap_or_else(|| panic!("{response}"));
    if status == 403 {
        let body = response.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let body: Value = serde_json::from_str(body).expect("JSON");
        let text = body["detail"].as_str().or(body["message"].as_str()).unwrap_or_default();
        assert!(text.contains("API_KEYS"), "the response says what to do: {response}");
    }
    status
}

#[test]
fn without_keys_pages_of_other_sites_cannot_send_events() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    for (headers, is_accepted) in REQUESTS {
        for (method, path, scope) in ROUTES {
            if scope != Some("ingest") {
                continue;
            }
            let path = path.replace(['{', '}'], "");
            let found = status(&server, method, &path, headers, "");
            assert_eq!(found == 403, !is_accepted, "{path} {headers:?}: {found}");
        }
        let found = status(&server, "POST", "/events", headers, &event("1").to_string());
        assert_eq!(found, if is_accepted { 202 } else { 403 }, "{headers:?}");
    }
    assert_eq!(workspace.events().len(), 1, "the same event each time");
}

#[test]
fn without_keys_pages_of_other_sites_cannot_read_even_with_the_token() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    crate::reading::shown(&server.client, 0);
    let header = server.client.read_header();
    let token = header.trim_end().strip_prefix("authorization: ").expect("a token");
    for (headers, _) in REQUESTS {
        let with_token = [headers, &[("authorization", token)]].concat();
        let value = |wanted| headers.iter().find(|(name, _)| *name == wanted).map(|(_, v)| *v);
        let host = value("host").unwrap_or("h");
        let is_foreign = value("sec-fetch-site").is_some_and(|site| site.ends_with("-site"))
            || value("origin").is_some_and(|origin| {
                origin.split_once("://").map(|(_, name)| name.to_lowercase())
                    != Some(host.to_lowercase())
            })
            || host.contains('@');
        for (method, path, scope) in ROUTES {
            if scope != Some("read") || path.ends_with("/stream") {
                continue;
            }
            let path = path.replace(['{', '}'], "");
            let found = status(&server, method, &path, headers, "");
            assert_eq!(found, if is_foreign { 403 } else { 401 }, "{path} {headers:?}");
            let found = status(&server, method, &path, &with_token, "");
            assert_eq!(found == 403, is_foreign, "{path} {headers:?} with the token: {found}");
        }
    }
}

#[test]
fn with_keys_a_page_needs_only_a_key() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().set("API_KEYS", "ci:key-1:ingest").ready().start();
    for (headers, _) in REQUESTS {
        let found = status(&server, "POST", "/events", headers, &event("1").to_string());
        assert_eq!(found, 401, "{headers:?}");
        let with_key = [headers, &[("x-api-key", "key-1")]].concat();
        let found = status(&server, "POST", "/events", &with_key, &event("1").to_string());
        assert_eq!(found, 202, "{headers:?}");
    }
}
