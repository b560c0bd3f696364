//! Behind nginx and HAProxy with their default settings: streams, health checks, HTTP/1.0.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use rustix::process::Signal;

use crate::harness::eventually::when;
use crate::harness::proxy::Proxy;
use crate::harness::{Server, Workspace, event, eventually};

const KEYS: &str = "proxied:key-1:ingest+read";

/// Reads until `end` has arrived.
#[track_caller]
fn read_until(input: &mut impl Read, end: &str) -> String {
    let (mut read, mut byte) = (Vec::new(), [0]);
    while !read.ends_with(end.as_bytes()) {
        if let Err(error) = input.read_exact(&mut byte) {
            panic!("no {end:?}: {error} after {:?}", String::from_utf8_lossy(&read));
        }
        read.push(byte[0]);
    }
    String::from_utf8_lossy(&read).into_owned()
}

fn start() -> (Workspace, Server) {
    let workspace = Workspace::jsonl();
    let server = workspace.server().set("API_KEYS", KEYS).ready().start();
    eventually("events can be read", || {
        when(server.client.get("/events", &[("x-api-key", "key-1")]), |found| found.status == 200)
    });
    (workspace, server)
}

/// Posts an event directly to the server.
fn post(server: &Server, id: &str) {
    let key = [("x-api-key", "key-1")];
    let body = event(id).to_string();
    server.client.post("/events", "application/json", &key, body).expect(202);
}

/// All proxies: nginx speaks HTTP/1.0 to the server by default.
fn proxies(workspace: &Workspace, server: &Server) -> Vec<Proxy> {
    let address = server.client.address;
    let upstream = format!("server {address};");
    let newer = "proxy_http_version 1.1; proxy_set_header Connection ''; gzip on; gzip_types *;";
    vec![
        Proxy::nginx(workspace, "nginx", &upstream, ""),
        Proxy::nginx(workspace, "nginx-1.1", &upstream, newer),
        Proxy::haproxy(workspace, &[address]),
    ]
}

#[test]
fn events_of_a_stream_pass_through_proxies_at_once() {
    let (workspace, server) = start();
    let proxies = proxies(&workspace, &server);
    // Without waiting for HAProxy's first check, which may not have run yet.
    let mut streams: Vec<_> = proxies
        .iter()
        .map(|proxy| {
            let mut stream = proxy.send("GET /events/stream HTTP/1.1", "");
            let head = read_until(&mut stream, "\r\n\r\n");
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
            assert!(
                head.to_lowercase().contains("cache-control: no-cache, no-transform"),
                "{head}"
            );
            assert!(!head.to_lowercase().contains("content-encoding"), "{head}");
            read_until(&mut stream, "event: begin\ndata: {}\n\n");
            stream
        })
        .collect();
    for id in ["first", "second"] {
        post(&server, id);
        for stream in &mut streams {
            read_until(stream, &format!("\"event_id\":\"{id}\""));
        }
    }
    for stream in &mut streams {
        read_until(stream, "\n: still here\n\n");
    }
}

#[test]
fn compressed_stream_is_readable_at_every_event() {
    let (workspace, server) = start();
    for proxy in proxies(&workspace, &server) {
        // HTTP/1.0: no chunks.
        let mut stream =
            proxy.send("GET /events/stream HTTP/1.0", "accept-encoding: gzip;q=0.5\r\n");
        let head = read_until(&mut stream, "\r\n\r\n").to_lowercase();
        assert!(head.contains("content-encoding: gzip"), "{head}");
        let mut text = flate2::read::GzDecoder::new(stream);
        read_until(&mut text, "event: begin\ndata: {}\n\n");
        for id in ["first", "second"] {
            let id = format!("{id} of {}", proxy.socket.display());
            post(&server, &id);
            read_until(&mut text, &format!("\"event_id\":\"{id}\""));
        }
    }
}

#[test]
fn events_are_sent_and_read_through_proxies() {
    let (workspace, server) = start();
    for proxy in proxies(&workspace, &server) {
        let id = proxy.socket.file_stem().expect("a name").to_string_lossy().into_owned();
        let response = proxy.event(&event(&id));
        assert!(response.starts_with("HTTP/1.1 202"), "{response}");
        let path = "GET /events/export?event_type=tested HTTP/1.1";
        eventually("the event is exported", || {
            let response = proxy.response(path, "connection: close\r\n", "");
            when(response, |text| text.contains(&format!("\"event_id\":\"{id}\"")))
        });
    }
}

#[test]
fn default_health_checks_follow_the_readiness() {
    let workspace = Workspace::jsonl();
    let mut server =
        workspace.server().set("API_KEYS", KEYS).set("SHUTDOWN_DELAY", "1h").ready().start();
    let proxy = Proxy::haproxy(&workspace, &[server.client.address]);
    let admin = workspace.directory().join("admin.socket");
    let status = |expected: &str| {
        eventually("the check has a result", || {
            let mut connection = UnixStream::connect(&admin).expect("HAProxy listens");
            connection.write_all(b"show stat\n").expect("HAProxy reads");
            let mut table = String::new();
            connection.read_to_string(&mut table).expect("a table");
            let row = table.lines().find(|row| row.starts_with("servers,s0,")).map(str::to_owned);
            when(row.unwrap_or_default(), |row| row.contains(expected))
        })
    };
    let row = status(",L7OK,");
    assert!(row.contains(",UP,") && row.contains(",L7OK,204,"), "{row}");
    let response = proxy.response("GET / HTTP/1.1", "connection: close\r\n", "");
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    let count = |status: &str| {
        server
            .client
            .metric(&format!("hooks_http_requests_total{{route=\"/\",status=\"{status}\"}}"))
    };
    assert!(count("204") > 0 && count("200") > 0);
    assert_eq!((count("404"), count("405")), (0, 0));

    server.signal(Signal::TERM);
    status(",L7STS,503,");
    server.client.get("/", &[]).expect(503);
}

#[test]
fn health_checks_of_load_balancers_get_a_2xx() {
    let (_workspace, server) = start();
    for request in [
        "OPTIONS / HTTP/1.0\r\n\r\n",
        "OPTIONS * HTTP/1.0\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: www\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "HEAD / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: 10.0.0.1:8080\r\nConnection: close\r\nUser-Agent: ELB-HealthChecker/2.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: 10.0.0.1:8080\r\nConnection: close\r\nUser-Agent: GoogleHC/1.0\r\n\r\n",
        "GET /health/live HTTP/1.1\r\nHost: 10.0.0.1:8080\r\nConnection: close\r\nUser-Agent: kube-probe/1.31\r\nAccept: */*\r\n\r\n",
        "GET /health/ready HTTP/1.1\r\nHost: 10.0.0.1:8080\r\nConnection: close\r\nUser-Agent: kube-probe/1.31\r\nAccept: */*\r\n\r\n",
        "OPTIONS /health HTTP/1.0\r\n\r\n",
        "OPTIONS /events HTTP/1.0\r\n\r\n",
    ] {
        let mut connection = server.client.connect();
        connection.write(request);
        let response = connection.read_to_end();
        let status = response.split(' ').nth(1).expect("a status");
        let expected = if request.starts_with("OPTIONS") { "204" } else { "200" };
        assert_eq!(status, expected, "{request}: {response}");
        let names_methods = response.contains("\r\nallow: ");
        assert_eq!(names_methods, request.starts_with("OPTIONS"), "{request}: {response}");
    }
    let metrics = server.client.get("/metrics", &[]).expect(200).text;
    // `start` reads until the index is open.
    let is_opening = |line: &str| line.contains("route=\"/events\",status=\"503\"");
    let is_error = |line: &&str| {
        (line.contains("status=\"4") || line.contains("status=\"5")) && !is_opening(line)
    };
    let errors: Vec<_> = metrics.lines().filter(is_error).collect();
    assert!(errors.is_empty(), "{errors:?}");
}

#[test]
fn head_has_the_headers_of_get() {
    let (_workspace, server) = start();
    post(&server, "1");
    let key = [("x-api-key", "key-1")];
    eventually("the event is indexed", || {
        when(server.client.get("/events", &key), |response| response.text.contains("\"1\""))
    });
    let document = server.client.get("/openapi.json", &[]).expect(200).json();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        if methods["get"].is_null() {
            continue;
        }
        let target = path.replace("{session_id}", "session-1");
        let head = server.client.send("HEAD", &target, &key, b"").expect("a response").expect(200);
        assert_eq!(head.text, "", "{path}");
        if path == "/events/stream" {
            assert_eq!(head.header("content-type"), "text/event-stream");
            continue;
        }
        let get = server.client.get(&target, &key).expect(200);
        for name in ["content-type", "cache-control", "vary", "content-disposition"] {
            assert_eq!(head.header(name), get.header(name), "{name} of {path}");
        }
    }
}
