//! Access control: API keys, their scopes, and servers without keys.

mod browser;
mod pages;
mod proxies;
mod read_token;
mod revocation;

use std::collections::BTreeSet;

use rustix::process::Signal;
use serde_json::json;

use crate::harness::client::JSON;
use crate::harness::{Client, Response, Server, Storage, Workspace, event, eventually};

fn post(client: &Client, id: &str, headers: &[(&str, &str)]) -> Response {
    client.post("/events", JSON, headers, event(id).to_string())
}

#[test]
fn writing_needs_a_key_with_the_ingest_scope() {
    let workspace = Workspace::jsonl();
    let server = workspace
        .server()
        .set("API_KEYS", "ci:key-1:ingest, eyes:key-2:read,both:key-3:read+ingest")
        .ready()
        .start();
    for (id, headers, status) in [
        ("none", &[][..], 401),
        ("wrong", &[("x-api-key", "key-4")], 401),
        ("part", &[("x-api-key", "key-")], 401),
        ("basic", &[("authorization", "Basic key-1")], 401),
        ("reader", &[("x-api-key", "key-2")], 403),
        ("header", &[("x-api-key", "key-1")], 202),
        ("bearer", &[("authorization", "Bearer key-1")], 202),
        ("case", &[("authorization", "bearer key-3")], 202),
    ] {
        let response = post(&server.client, id, headers).expect(status);
        if status == 401 {
            assert_eq!(response.header("www-authenticate"), "Bearer");
        }
        if status != 202 {
            let problem = response.json();
            assert_eq!(problem["status"], json!(status));
            assert!(!response.text.contains("key-"), "no key in {}", response.text);
        }
    }
    server.client.get("/health", &[]).expect(200);
    server.client.get("/metrics", &[]).expect(200);
    assert_eq!(workspace.events().len(), 3);
    assert!(!server.log().contains("key-"), "{}", server.log());
}

both!(the_key_name_is_stored_if_enabled);

fn the_key_name_is_stored_if_enabled(storage: Storage) {
    for (setting, stored_name) in [("true", json!("ci")), ("false", json!(null))] {
        let workspace = Workspace::new(storage);
        let keys = "ci:key-1:ingest,eyes:key-2:read";
        let server = workspace.server().set("API_KEYS", keys).set("STORE_KEY_NAME", setting);
        let server = server.ready().start();
        let mut forged = event("1");
        forged["data"] = json!({ "key_name": "boss" });
        forged["key_name"] = json!("boss");
        let key = [("x-api-key", "key-1")];
        server.client.post("/events", JSON, &key, forged.to_string()).expect(202);
        let stored = workspace.settled(&server);
        assert_eq!(stored[0]["key_name"], stored_name);
        assert_eq!(stored[0]["extra"], json!({ "key_name": "boss" }));
        let read = eventually("the event can be read", || {
            let response = server.client.get("/events", &[("x-api-key", "key-2")]).json();
            response["events"].get(0).cloned().ok_or(response)
        });
        assert_eq!(read.get("key_name").cloned().unwrap_or_default(), stored_name);
    }
}

#[test]
fn sighup_reloads_the_key_file() {
    let workspace = Workspace::jsonl();
    let file = workspace.directory().join("keys");
    std::fs::write(&file, "# rotated in spring\nci:old:ingest\n").unwrap();
    let mut server = workspace.server().set("API_KEYS_FILE", &file).ready().start();
    post(&server.client, "1", &[("x-api-key", "old")]).expect(202);

    // As an editor on Windows saves it.
    std::fs::write(&file, "\u{feff}ci:new:ingest\r\n").unwrap();
    server.signal(Signal::HUP);
    eventually("the new key is valid", || {
        let response = post(&server.client, "2", &[("x-api-key", "new")]);
        if response.status == 202 { Ok(()) } else { Err(response.text) }
    });
    post(&server.client, "3", &[("x-api-key", "old")]).expect(401);

    let utf_16: Vec<u8> =
        "\u{feff}ci:new:ingest".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for bad in [&b""[..], b"ci:new\n", b"ci:new:write\n", &utf_16] {
        std::fs::write(&file, bad).unwrap();
        let before = server.log().matches("API keys not changed").count();
        server.signal(Signal::HUP);
        eventually("the bad file is reported", || {
            let reports = server.log().matches("API keys not changed").count();
            if reports > before { Ok(()) } else { Err(server.log()) }
        });
        post(&server.client, "4", &[("x-api-key", "new")]).expect(202);
        post(&server.client, "5", &[]).expect(401);
    }
}

#[test]
fn malformed_keys_stop_the_start_and_are_not_logged() {
    for (variable, value) in [
        ("API_KEYS", "ci:hush"),
        ("API_KEYS", "ci:ok:ingest,ci:hush:write"),
        ("API_KEYS", ":hush:ingest"),
        ("API_KEYS", " , "),
        ("API_KEYS_FILE", "/nowhere/hush"),
    ] {
        let ended = Server::builder().set(variable, value).run();
        assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
        assert!(ended.log.contains(variable), "{}", ended.log);
        if variable == "API_KEYS" {
            assert!(!ended.log.contains("hush"), "{}", ended.log);
        }
    }
}

/// An address of this machine that is not loopback, if it has any.
fn other_address() -> Option<std::net::IpAddr> {
    // Connecting a UDP socket sends nothing; it only picks an address. The destination is one that
    // documentation may use (RFC 5737).
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("198.51.100.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Routes that return events, except for the stream, whose response does not end.
const READING: [&str; 4] = ["/events", "/events/export", "/sessions", "/stats"];

#[test]
fn reading_needs_a_key_with_the_read_scope() {
    let workspace = Workspace::jsonl();
    let keys = "in:key-1:ingest,eyes:key-2:read,both:key-3:ingest+read";
    let server = workspace.server().set("HOST", "0.0.0.0").set("API_KEYS", keys).ready().start();
    let port = server.client.address.port();
    let addresses = [Some([127, 0, 0, 1].into()), other_address()];
    eventually("the index is there", || {
        let local = Client::new(([127, 0, 0, 1], port).into());
        let response = local.get("/events", &[("x-api-key", "key-2")]);
        if response.status == 200 { Ok(()) } else { Err(response.text) }
    });
    for address in addresses.into_iter().flatten() {
        let client = Client::new((address, port).into());
        for route in READING {
            for (headers, status) in [
                (&[][..], 401),
                (&[("x-api-key", "key-4")], 401),
                (&[("x-api-key", "key-1")], 403),
                (&[("x-api-key", "key-2")], 200),
                (&[("authorization", "Bearer key-3"), ("host", "events.example")], 200),
            ] {
                client.get(route, headers).expect(status);
            }
        }
    }
}

/// Sends a request to every route, and asserts the status of those that need the scope `read`; the others
/// must not be denied.
#[track_caller]
fn every_route(client: &Client, headers: &[(&str, &str)], reading: u16) {
    for (method, path, scope) in ROUTES {
        // The stream would not end.
        if scope == Some("read") && reading == 200 && path.ends_with("/stream") {
            continue;
        }
        let path = path.replace(['{', '}'], "");
        let response = client.send_once(method, &path, headers, b"").expect("a response");
        let context = format!("{method} {path} {headers:?}: {response:?}");
        match scope {
            // There is no such session.
            Some("read") if path.contains("session_id") && reading == 200 => {
                assert_eq!(response.status, 404, "{context}");
            }
            Some("read") => assert_eq!(response.status, reading, "{context}"),
            _ => assert!(!matches!(response.status, 401 | 403), "{context}"),
        }
    }
}

/// The scope that each route needs; `None` for public routes.
const ROUTES: [(&str, &str, Option<&str>); 21] = [
    ("POST", "/events", Some("ingest")),
    ("POST", "/events/batch", Some("ingest")),
    ("POST", "/hooks", Some("ingest")),
    ("POST", "/hooks/{agent}", Some("ingest")),
    ("POST", "/hooks/{agent}/{event}", Some("ingest")),
    ("POST", "/v1/logs", Some("ingest")),
    ("POST", "/v1/traces", Some("ingest")),
    ("POST", "/v1/metrics", Some("ingest")),
    ("GET", "/events", Some("read")),
    ("GET", "/events/export", Some("read")),
    ("GET", "/events/stream", Some("read")),
    ("GET", "/sessions", Some("read")),
    ("GET", "/sessions/{session_id}", Some("read")),
    ("GET", "/stats", Some("read")),
    ("GET", "/", None),
    ("GET", "/openapi.json", None),
    ("GET", "/health", None),
    ("GET", "/health/live", None),
    ("GET", "/health/ready", None),
    ("GET", "/metrics", None),
    ("GET", "/metrics/prometheus", None),
];

#[test]
fn every_route_is_in_the_access_table() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    let document = server.client.get("/openapi.json", &[]).expect(200).json();
    let mut documented = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let methods = methods.as_object().expect("methods").keys();
        documented.extend(methods.map(|method| (method.to_uppercase(), path.clone())));
    }
    let table = ROUTES.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned()));
    assert_eq!(documented, table.collect());
}

#[test]
fn every_route_denies_requests_without_its_scope() {
    let workspace = Workspace::jsonl();
    let server =
        workspace.server().set("API_KEYS", "in:key-1:ingest,eyes:key-2:read").ready().start();
    for (method, path, scope) in ROUTES {
        let path = path.replace(['{', '}'], "");
        let send = |key: Option<&str>| {
            let headers: Vec<_> = key.map(|key| ("x-api-key", key)).into_iter().collect();
            server.client.send(method, &path, &headers, b"").expect("a response")
        };
        let other_key = match scope {
            Some("ingest") => "key-2",
            Some(_) => "key-1",
            None => {
                send(None).expect(200);
                continue;
            }
        };
        for (key, status) in [(None, 401), (Some("key-3"), 401), (Some(other_key), 403)] {
            crate::errors::problem(&send(key), status, &format!("{method} {path} {key:?}"));
        }
    }
}

#[test]
fn denied_log_exports_get_a_status_in_their_encoding() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().set("API_KEYS", "eyes:key-2:read").ready().start();
    for (headers, status) in [(&[][..], 401), (&[("x-api-key", "key-2")], 403)] {
        let response = server.client.post("/v1/logs", JSON, headers, "{}").expect(status);
        assert_eq!(response.header("content-type"), JSON);
        let body = response.json();
        assert!(body["message"].as_str().is_some_and(|text| text.contains("API key")), "{body}");
    }
}
