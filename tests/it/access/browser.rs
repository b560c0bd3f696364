//! Web pages in a real browser (Chromium), each trying to read and to send events: of another site, of
//! another port of this machine, and of a name that leads to this machine since the page was loaded (DNS
//! rebinding).
//!
//! The browser runs in a network namespace that has only a loopback interface. There, socat forwards two
//! ports to a relay of this test by a Unix socket, which serves the attacking page on paths that begin with
//! `/attack`, and forwards everything else to the server, so that any name and port can be both.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::ROUTES;
use super::proxies::installed;
use crate::harness::reaper::Process;
use crate::harness::{Workspace, event};

/// Time for a page to finish, for a slow machine.
const PAGE_TIMEOUT: Duration = Duration::from_mins(1);

/// The script of the attacking page. `PLAN` has the name of the page, the
/// server's address and the requests to try.
const SCRIPT: &str = r#"
const found = {};
const plan = PLAN;
const body = (type, id) => `{"event_type":"${type}","session_id":"${plan.name}","event_id":"${id}"}`;
async function attempt(name, request) {
    try {
        const response = await request();
        found[name] = response.type === 'opaque' ? 'opaque' : response.status;
        await response.body?.cancel();
    } catch (error) {
        found[name] = 'error';
    }
}
function loaded(name, element) {
    return new Promise(done => {
        element.onload = () => { found[name] = 'loaded'; done(); };
        element.onerror = () => { found[name] = 'error'; done(); };
        document.body.append(element);
    });
}
function streamed(name, url) {
    return new Promise(done => {
        const source = new EventSource(url);
        source.onopen = () => { found[name] = 'open'; source.close(); done(); };
        source.onerror = () => { found[name] = 'error'; source.close(); done(); };
    });
}
function submitted(url) {
    return new Promise(done => {
        const frame = Object.assign(document.createElement('iframe'), { name: 'form' + Math.random() });
        const form = Object.assign(document.createElement('form'), {
            action: url, method: 'post', enctype: 'text/plain', target: frame.name,
        });
        // The name and value of the field make the body JSON.
        const text = body('form', 'form');
        form.append(Object.assign(document.createElement('input'), { name: text.slice(0, -2), value: '"}' }));
        document.body.append(form, frame);
        // Not for the empty document, which is loaded at once.
        frame.onload = done;
        form.submit();
    });
}
async function attack() {
    const { server, routes, headers } = plan;
    for (const [method, path] of routes) {
        const url = server + path, name = `${method} ${path}`;
        if (method === 'GET') {
            await attempt(`${name} cors`, () => fetch(url));
            await attempt(`${name} no-cors`, () => fetch(url, { mode: 'no-cors' }));
            await attempt(`${name} key`, () => fetch(url, { headers: { 'x-api-key': 'guess' } }));
            if (headers) await attempt(`${name} token`, () => fetch(url, { headers }));
            await loaded(`${name} image`, Object.assign(new Image(), { src: url }));
            await loaded(`${name} script`, Object.assign(document.createElement('script'), { src: url }));
        } else {
            const send = (type, more) => () => fetch(url, {
                method, body: body('fetch', path + type), headers: { 'content-type': type }, ...more,
            });
            await attempt(`${name} json`, send('application/json'));
            await attempt(`${name} text`, send('text/plain', { mode: 'no-cors' }));
            await attempt(`${name} no referrer`, send('text/plain', { mode: 'no-cors', referrerPolicy: 'no-referrer' }));
            await attempt(`${name} json without referrer`, send('application/json', { referrerPolicy: 'no-referrer' }));
            navigator.sendBeacon(url, new Blob([body('beacon', path)], { type: 'application/json' }));
            await submitted(url);
        }
    }
    await streamed('stream', server + '/events/stream');
    const next = await fetch('/attack/report', { method: 'POST', body: JSON.stringify(found) });
    const address = await next.text();
    if (address) location = address;
}
attack();
"#;

/// A page: where it is, and which server it attacks. Addresses are those in the browser's network.
struct Page {
    name: &'static str,
    at: &'static str,
    server: &'static str,
}

const PAGES: [Page; 6] = [
    Page { name: "rebound", at: "http://evil.example:8080", server: "" },
    Page { name: "other site", at: "http://evil.example:8080", server: "http://localhost:8080" },
    Page {
        name: "other site, by address",
        at: "http://evil.example:8080",
        server: "http://127.0.0.1:8080",
    },
    Page { name: "other port", at: "http://localhost:3000", server: "http://localhost:8080" },
    Page { name: "other name", at: "http://127.0.0.1:8080", server: "http://localhost:8080" },
    Page { name: "own", at: "http://localhost:8080", server: "" },
];

/// Serves the pages and forwards other requests to the server, one request a connection.
struct Relay {
    server: SocketAddr,
    /// The script of each page.
    scripts: Vec<String>,
    reports: SyncSender<Value>,
}

impl Relay {
    fn start(self, socket: &Path) {
        let listener = UnixListener::bind(socket).expect("a socket");
        let relay = std::sync::Arc::new(self);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let relay = relay.clone();
                // The browser gives up some connections.
                std::thread::spawn(move || drop(relay.serve(stream)));
            }
        });
    }

    fn serve(&self, mut browser: UnixStream) -> std::io::Result<()> {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            browser.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let path = head.split(' ').nth(1).unwrap_or_default();
        let Some(page) = path.strip_prefix("/attack/") else {
            return self.forward(&head, browser);
        };
        let (content_type, body) = if page == "report" {
            let length = head.to_lowercase();
            let length = length.split_once("content-length: ").expect("a length").1;
            let length = length.split("\r\n").next().and_then(|length| length.parse().ok());
            let mut report = vec![0; length.expect("a number")];
            browser.read_exact(&mut report)?;
            let report = serde_json::from_slice(&report).expect("a report in JSON");
            let _ = self.reports.send(report);
            let number = referring_page(&head) + 1;
            let next = PAGES.get(number).map(|page| format!("{}/attack/{number}", page.at));
            ("text/plain", next.unwrap_or_default())
        } else {
            let number: usize = page.parse().unwrap_or_default();
            ("text/html", format!("<body><script>{}</script>", self.scripts[number]))
        };
        write!(
            browser,
            "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    }

    fn forward(&self, head: &str, mut browser: UnixStream) -> std::io::Result<()> {
        let mut server = TcpStream::connect(self.server)?;
        server.write_all(head.replace("keep-alive", "close").as_bytes())?;
        let (mut from, mut to) = (browser.try_clone()?, server.try_clone()?);
        std::thread::spawn(move || std::io::copy(&mut from, &mut to));
        std::io::copy(&mut server, &mut browser)?;
        browser.shutdown(Shutdown::Both)
    }
}

/// Returns the number of the page that made a request.
fn referring_page(head: &str) -> usize {
    let (_, rest) = head
        .split_once("/attack/")
        .map(|(_, rest)| rest)
        .and_then(|rest| rest.split_once("/attack/"))
        .expect("a referrer");
    rest.split("\r\n").next().and_then(|number| number.parse().ok()).expect("a number")
}

/// Starts the browser in its own network, at an address.
fn browse(directory: &Path, socket: &Path, address: &str) -> Process {
    let (browser, socat) = (installed("chromium"), installed("socat"));
    let (unshare, ip) = (installed("unshare"), installed("ip"));
    let profile = directory.join("profile");
    let script = format!(
        "{ip} link set lo up || exit\n\
         for port in 8080 3000; do\n\
           {socat} TCP-LISTEN:$port,bind=127.0.0.1,fork,reuseaddr,backlog=64 UNIX-CONNECT:{socket} &\n\
         done\n\
         exec {browser} --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
         --disable-background-networking --user-data-dir={profile} \
         '--host-resolver-rules=MAP evil.example 127.0.0.1' {address}",
        ip = ip.display(),
        socat = socat.display(),
        socket = socket.display(),
        browser = browser.display(),
        profile = profile.display(),
    );
    // Root needs no user namespace, which containers often forbid.
    let user: &[&str] =
        if rustix::process::geteuid().is_root() { &[] } else { &["--map-root-user"] };
    // The end of the first process in the PID namespace ends all others.
    let log = std::fs::File::create(directory.join("browser.log")).expect("a file");
    Process::spawn(&unshare, Signal::KILL, |command| {
        command.args(user).args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command
            .args(["/bin/sh", "-c", &script])
            .env("HOME", directory)
            .stdout(Stdio::null())
            .stderr(log);
    })
}

/// Opens all pages; returns what each found.
fn visit_all(
    workspace: &Workspace,
    server: SocketAddr,
    token: &str,
) -> Vec<BTreeMap<String, Value>> {
    let routes: Vec<_> = ROUTES
        .iter()
        .filter(|(_, path, scope)| scope.is_some() && !path.ends_with("/stream"))
        .map(|(method, path, _)| (method, path.replace(['{', '}'], "")))
        .collect();
    let scripts = PAGES.iter().map(|page| {
        let headers = (page.name == "own").then(|| json!({ "authorization": token }));
        let plan = json!({ "name": page.name, "server": page.server, "routes": routes, "headers": headers });
        SCRIPT.replace("PLAN", &plan.to_string())
    });
    let socket = workspace.directory().join("relay.sock");
    let (reports, received): (_, Receiver<Value>) = sync_channel(PAGES.len());
    Relay { server, scripts: scripts.collect(), reports }.start(&socket);
    let first = format!("{}/attack/0", PAGES[0].at);
    let _browser = browse(workspace.directory(), &socket, &first);
    let next = |page: &Page| {
        let log = || std::fs::read_to_string(workspace.directory().join("browser.log"));
        let report = received.recv_timeout(PAGE_TIMEOUT);
        let report = report.unwrap_or_else(|error| panic!("{}: {error}: {:?}", page.name, log()));
        serde_json::from_value(report).expect("an object")
    };
    PAGES.iter().map(next).collect()
}

#[test]
fn pages_in_a_browser_neither_read_nor_send_events() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    server.client.event(&event("kept")).expect(202);
    crate::reading::shown(&server.client, 1);
    let header = server.client.read_header();
    let token = header.trim_end().strip_prefix("authorization: ").expect("a token");

    let found = visit_all(&workspace, server.client.address, token);
    for (page, found) in PAGES.iter().zip(&found) {
        let is_own = page.name == "own";
        // Three requests a route at least, besides images, scripts and streams.
        assert!(found.len() > 3 * ROUTES.len() - 20, "{}: {found:?}", page.name);
        for (attempt, result) in found {
            let context = format!("{}: {attempt}: {result}", page.name);
            let is_read = attempt.starts_with("GET") || attempt == "stream";
            match result {
                // Only a page of the same origin sees a status.
                Value::Number(status) if is_read && attempt.ends_with(" token") => {
                    assert!(is_own && matches!(status.as_u64(), Some(200 | 404)), "{context}");
                }
                Value::Number(status) if is_read => {
                    assert_eq!(json!(status), json!(401), "{context}");
                }
                Value::Number(status) if is_own => {
                    assert_ne!(json!(status), json!(403), "{context}");
                }
                Value::Number(status) => assert_eq!(json!(status), json!(403), "{context}"),
                result => {
                    assert!(["error", "opaque"].map(Value::from).contains(result), "{context}");
                }
            }
        }
        if page.name == "rebound" {
            assert_eq!(found["POST /events json"], json!(403), "the page could send requests");
        }
        if is_own {
            assert_eq!(found["GET /events token"], json!(200));
            assert_eq!(found["POST /events json"], json!(202));
        }
    }
    let events = workspace.events();
    let from: Vec<_> = events.iter().map(|event| event["session_id"].as_str()).collect();
    assert!(from.contains(&Some("own")));
    assert!(from.iter().all(|from| [Some("own"), Some("session-1")].contains(from)), "{from:?}");
}
