//! Servers without API keys: everyone may send events; reading needs the token in the 0600 file beside
//! them, however local a request seems.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::json;

use super::{every_route, other_address};
use crate::harness::server::Ended;
use crate::harness::{Client, Server, Storage, Workspace, event, eventually};

both!(
    reading_needs_the_token_from_every_peer,
    commands_read_with_the_token_from_any_directory,
    a_deleted_token_is_replaced_on_sighup,
);

fn token_file(workspace: &Workspace, storage: Storage) -> PathBuf {
    match storage {
        Storage::Jsonl => workspace.file().with_extension("jsonl.token"),
        Storage::Postgres => workspace.journal().join("token"),
    }
}

/// Returns the value of `Authorization` in a file.
fn authorization(file: &std::path::Path) -> String {
    let line = std::fs::read_to_string(file).expect("the token");
    line.strip_prefix("Authorization: ").expect("a header").trim_end().to_owned()
}

fn command(arguments: &[&str], url: &str) -> crate::harness::server::Builder {
    let builder = Server::builder().set("HOOKS_URL", url);
    arguments.iter().fold(builder, crate::harness::server::Builder::argument)
}

fn reading_needs_the_token_from_every_peer(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().set("HOST", "0.0.0.0").ready().start();
    let port = server.client.address.port();
    let local = Client::new(([127, 0, 0, 1], port).into());
    crate::reading::shown(&local, 0);
    let file = token_file(&workspace, storage);
    assert_eq!(std::fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
    let token = authorization(&file);
    let other = other_address().map(|address| Client::new((address, port).into()));
    for client in [Some(&local), other.as_ref()].into_iter().flatten() {
        for headers in [
            &[][..],
            &[("host", "localhost")],
            &[("host", "events.example")],
            &[("authorization", "Bearer another")],
            &[("x-api-key", "another")],
            &[("via", "1.1 proxy")],
            &[("x-forwarded-for", "127.0.0.1")],
        ] {
            every_route(client, headers, 401);
            let response = client.send_once("GET", "/events", headers, b"").expect("a response");
            assert_eq!(response.header("www-authenticate"), "Bearer");
            let problem = crate::errors::problem(&response, 401, "read token");
            // Only a client that can be on this machine is told the path.
            let is_plain = headers.iter().all(|(name, value)| match *name {
                "host" => *value == "localhost",
                name => name == "authorization" || name == "x-api-key",
            });
            let is_told = client.address == local.address && is_plain;
            let told = if is_told { json!(file) } else { json!(null) };
            assert_eq!(problem["token_file"], told, "{headers:?}");
            let detail = problem["detail"].as_str().unwrap_or_default();
            assert_eq!(detail.contains("curl -H '@/"), is_told, "{detail}");
            assert!(is_told || detail.contains("API_KEYS"), "{detail}");
        }
        every_route(client, &[("authorization", &token)], 200);
        let secret = token.strip_prefix("Bearer ").expect("a bearer token");
        every_route(client, &[("x-api-key", secret), ("x-forwarded-for", "192.0.2.1")], 200);
    }
    assert!(server.log().contains(&format!("curl -H '@{}'", file.display())), "{}", server.log());
    assert!(!server.log().contains("hooks_read_"), "{}", server.log());
}

fn commands_read_with_the_token_from_any_directory(storage: Storage) {
    let workspace = Workspace::new(storage);
    let mut server = workspace.server().ready().start();
    server.client.event(&event("1")).expect(202);
    crate::reading::shown(&server.client, 1);
    let before = authorization(&token_file(&workspace, storage));
    server.stop();
    server.restart();
    crate::reading::shown(&server.client, 1);
    assert_eq!(authorization(&token_file(&workspace, storage)), before, "kept across restarts");
    let url = format!("http://localhost:{}", server.client.address.port());
    for arguments in [&["query"][..], &["tail"], &["export"]] {
        // An agent's environment may have the key of another server.
        for key in ["", "another"] {
            let ended = command(arguments, &url).set("HOOKS_API_KEY", key).run();
            assert!(ended.status.success(), "{arguments:?}: {}", ended.log);
            assert!(ended.output.contains("session-1"), "{arguments:?}: {}", ended.output);
        }
    }
    let doctor = command(&["doctor"], &url).run();
    assert!(doctor.output.contains("events can be read\n"), "{}", doctor.output);
}

fn a_deleted_token_is_replaced_on_sighup(storage: Storage) {
    let workspace = Workspace::new(storage);
    let mut server = workspace.server().ready().start();
    crate::reading::shown(&server.client, 0);
    let file = token_file(&workspace, storage);
    let old = authorization(&file);
    std::fs::remove_file(&file).expect("deleted");
    server.signal(Signal::HUP);
    server.logged("read token reloaded");
    let new = authorization(&file);
    for (token, status) in [(&old, 401), (&new, 200)] {
        server.client.get("/events", &[("authorization", token)]).expect(status);
    }
}

/// Listens on a port in place of a server and asks for the token in `file`; returns the request heads.
fn impostor(file: &std::path::Path) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let body = json!({ "status": 401, "token_file": file, "detail": "send it" }).to_string();
    let thread = std::thread::spawn(move || {
        let mut heads = String::new();
        loop {
            let (mut stream, _) = listener.accept().expect("a connection");
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                head.push(byte[0]);
            }
            if head.starts_with(b"STOP") {
                return heads;
            }
            heads += &String::from_utf8_lossy(&head);
            let length = body.len();
            let response = format!(
                "HTTP/1.1 401 Unauthorized\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            let _ = stream.write_all(response.as_bytes());
        }
    });
    (url, thread)
}

/// Runs a command against an impostor; returns its result and what the impostor received.
fn deceived(file: &std::path::Path) -> (Ended, String) {
    let (url, received) = impostor(file);
    let ended = command(&["query"], &url).run();
    let mut stop =
        std::net::TcpStream::connect(url.trim_start_matches("http://")).expect("listens");
    stop.write_all(b"STOP\r\n\r\n").expect("reads");
    (ended, received.join().expect("ends"))
}

#[test]
fn commands_send_no_token_and_no_other_file_to_another_program() {
    let workspace = Workspace::jsonl();
    let mut server = workspace.server().ready().start();
    crate::reading::shown(&server.client, 0);
    let token = token_file(&workspace, Storage::Jsonl);
    server.stop();
    let secret = workspace.directory().join("id_ed25519");
    std::fs::write(&secret, "Authorization: Bearer hush\n").expect("a file");
    for file in [token, secret, workspace.directory().join("missing"), "/dev/zero".into()] {
        let (ended, received) = deceived(&file);
        assert!(!ended.status.success());
        assert!(ended.log.contains("read token"), "{}", ended.log);
        assert!(received.starts_with("GET /events"), "{received}");
        assert!(!received.to_lowercase().contains("authorization"), "{received}");
    }
}

#[test]
fn keys_replace_the_token() {
    let workspace = Workspace::jsonl();
    let mut server = workspace.server().ready().start();
    crate::reading::shown(&server.client, 0);
    let token = authorization(&token_file(&workspace, Storage::Jsonl));
    server.stop();
    let server = workspace.server().set("API_KEYS", "eyes:key-1:read").ready().start();
    let get = |headers: &[(&str, &str)]| server.client.send_once("GET", "/events", headers, b"");
    for headers in [&[][..], &[("authorization", &*token)]] {
        let problem = get(headers).expect("a response").expect(401).json();
        assert_eq!(problem["token_file"], json!(null));
    }
    eventually("the index is there", || {
        let response = get(&[("x-api-key", "key-1")]).expect("a response");
        if response.status == 200 { Ok(()) } else { Err(response.text) }
    });
}
