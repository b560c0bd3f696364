//! What all commands have in common: the command line, and how they reach the server.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::server::{Builder, Ended};
use crate::harness::{Server, Workspace, event, eventually};

fn command(arguments: &[&str]) -> Builder {
    arguments.iter().fold(Server::builder(), Builder::argument)
}

/// Runs commands that read and write, which must all reach the server.
#[track_caller]
fn all_reach(workspace: &Workspace, url: &str, variables: &[(&str, &str)]) {
    eventually("the index is open", || {
        let ended = run(workspace, url, variables, &["query"]);
        if ended.log.contains("(503)") { Err(ended.log) } else { Ok(()) }
    });
    let all = all(workspace, url, variables);
    assert!(all.iter().all(|(_, ended)| ended.status.success()), "{}", described(&all));
}

/// Runs commands that read and write, none of which must reach the server.
#[track_caller]
fn none_reaches(workspace: &Workspace, url: &str, variables: &[(&str, &str)], reason: &str) {
    let all = all(workspace, url, variables);
    let fails = |ended: &Ended| {
        let text = ended.output.clone() + &ended.log;
        ended.status.code() == Some(1) && text.contains(reason)
    };
    assert!(all.iter().all(|(_, ended)| fails(ended)), "{}", described(&all));
}

fn all(workspace: &Workspace, url: &str, variables: &[(&str, &str)]) -> Vec<(&'static str, Ended)> {
    let file = workspace.directory().join("one.jsonl");
    std::fs::write(&file, event("imported").to_string()).expect("a file");
    let file = file.to_str().expect("a path");
    let commands: [(&str, &[&str]); 5] = [
        ("query", &[]),
        ("tail", &[]),
        ("export", &[]),
        ("demo", &[]),
        ("import", &["--retry-for", "0", file]),
    ];
    let run = |(name, arguments): (&'static str, &[&str])| {
        (name, run(workspace, url, variables, &[&[name], arguments].concat()))
    };
    commands.into_iter().map(run).collect()
}

fn run(workspace: &Workspace, url: &str, variables: &[(&str, &str)], arguments: &[&str]) -> Ended {
    let command = command(arguments).directory(workspace.directory()).set("HOOKS_URL", url);
    variables.iter().fold(command, |command, (name, value)| command.set(name, value)).run()
}

fn described(all: &[(&str, Ended)]) -> String {
    let line = |(name, ended): &(&str, Ended)| format!("{name}: {} {}", ended.status, ended.log);
    all.iter().map(line).collect()
}

/// A proxy for HTTP CONNECT that connects to one server, whatever it is asked for.
struct Proxy {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Proxy {
    fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = connections.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                counter.fetch_add(1, Ordering::Relaxed);
                std::thread::spawn(move || serve_connect(client, server));
            }
        });
        Self { address, connections }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

fn serve_connect(mut client: TcpStream, server: SocketAddr) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    assert!(line.starts_with("CONNECT "), "{line}");
    while line.trim_end() != "" {
        line.clear();
        reader.read_line(&mut line)?;
    }
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let mut upstream = TcpStream::connect(server)?;
    let (mut to_server, mut to_client) = (upstream.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || std::io::copy(&mut reader, &mut to_server));
    std::io::copy(&mut upstream, &mut to_client)?;
    client.shutdown(std::net::Shutdown::Both)
}

#[test]
fn settings_of_the_server_do_not_matter_to_other_commands() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    let wrong = [("PORT", "many"), ("HOST", "here"), ("LOG_LEVEL", "loud"), ("STORAGE_TYPE", "s3")];
    all_reach(&workspace, &format!("http://{}", server.client.address), &wrong);
    let port = server.client.address.port().to_string();
    let check = command(&["healthcheck"]).set("PORT", port).set("LOG_LEVEL", "loud");
    let ended = check.set("STORAGE_TYPE", "s3").run();
    assert!(ended.status.success(), "{}", ended.log);
}

#[test]
fn empty_url_is_the_default_for_all_commands() {
    let workspace = Workspace::jsonl();
    let file = workspace.directory().join("invalid.jsonl");
    // No server accepts this event, not even one that happens to run at the default address.
    std::fs::write(&file, "{\"event_type\":\"t\"}").expect("a file");
    let import = ["import", "--retry-for", "0", file.to_str().expect("a path")];
    for arguments in [&["query", "-n", "1"][..], &import] {
        for url in ["", " "] {
            let ended = command(arguments).set("HOOKS_URL", url).run();
            let reached = ended.status.success() || ended.log.contains("session_id");
            let unreachable = ended.log.contains("no response from http://127.0.0.1:8080");
            assert!(reached || unreachable, "{arguments:?} {url:?}: {}", ended.log);
        }
    }
}

#[test]
fn wrong_url_is_reported_by_all_commands() {
    let workspace = Workspace::jsonl();
    for url in ["127.0.0.1:8080", "localhost", "ftp://localhost", "http://"] {
        none_reaches(&workspace, url, &[], "is not the URL of a server");
    }
}

/// The address 0.0.0.0 leads to this machine, but is not a loopback address.
#[test]
fn proxy_is_used_except_for_loopback_and_no_proxy() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().set("API_KEYS", "me:key-1:ingest+read").ready().start();
    let port = server.client.address.port();
    let (proxied, loopback) =
        (format!("http://0.0.0.0:{port}"), format!("http://127.0.0.1:{port}"));
    let proxy = Proxy::to(server.client.address);
    let (key, nowhere) = (("HOOKS_API_KEY", "key-1"), "http://127.0.0.1:1");

    let mut before = proxy.connections();
    for variable in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        all_reach(&workspace, &proxied, &[key, (variable, &proxy.url())]);
        assert!(proxy.connections() >= before + 5, "{variable}");
        before = proxy.connections();
    }
    none_reaches(&workspace, &proxied, &[key, ("HTTP_PROXY", nowhere)], "no response from");
    let socks = [key, ("ALL_PROXY", "socks5://user:secret@127.0.0.1:1")];
    none_reaches(&workspace, &proxied, &socks, "the proxy in ALL_PROXY cannot be used");

    // Direct connections.
    all_reach(&workspace, &proxied, &[key, ("HTTPS_PROXY", nowhere)]);
    for no_proxy in ["0.0.0.0", "*", "example.com, 0.0.0.0"] {
        all_reach(&workspace, &proxied, &[key, ("HTTP_PROXY", nowhere), ("NO_PROXY", no_proxy)]);
    }
    all_reach(&workspace, &loopback, &[key, ("HTTP_PROXY", nowhere), ("ALL_PROXY", nowhere)]);
    assert_eq!(proxy.connections(), before);
}

#[test]
fn certificates_are_verified_by_all_commands_except_healthcheck() {
    let workspace = Workspace::jsonl();
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (cert_file, key_file) =
        (workspace.directory().join("server.crt"), workspace.directory().join("server.key"));
    std::fs::write(&cert_file, cert.pem()).expect("a file");
    std::fs::write(&key_file, signing_key.serialize_pem()).expect("a file");
    let server = workspace.server().set("TLS_CERT", &cert_file).set("TLS_KEY", &key_file).start();
    let port = server.client.address.port();
    let (url, authority) =
        (format!("https://localhost:{port}"), cert_file.to_str().expect("a path"));
    all_reach(&workspace, &url, &[("SSL_CERT_FILE", authority)]);
    none_reaches(&workspace, &url, &[], "certificate");
    let check = command(&["healthcheck"]).set("PORT", port.to_string()).set("TLS_CERT", &cert_file);
    let ended = check.set("TLS_KEY", &key_file).run();
    assert!(ended.status.success(), "{}", ended.log);
}

#[test]
fn serve_is_the_default_command() {
    for (arguments, usage) in [
        (&["--prot", "9"][..], "Usage: hooks-backend serve"),
        (&["--port", "x"], "the value is from the flag --port (PORT)"),
        (&["imprt"], "'import'"),
    ] {
        let ended = command(arguments).run();
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}");
        assert!(ended.log.contains(usage), "{arguments:?}: {}", ended.log);
    }
    let help = command(&["--help"]).run();
    for name in ["serve", "import", "healthcheck", "completions"] {
        assert!(help.output.contains(&format!("\n  {name} ")), "{name}: {}", help.output);
    }
    assert!(command(&["--version"]).run().output.starts_with("hooks-backend "));
}

#[test]
fn completions_and_man_pages_are_generated() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = command(&["completions", shell]).run();
        assert!(ended.status.success() && ended.output.contains("healthcheck"), "{shell}");
        if shell == "bash" {
            assert!(is_bash(&ended.output));
        }
    }
    let page = command(&["man"]).run();
    assert!(page.output.contains(".TH hooks-backend 1"), "{}", page.output);
    let page = command(&["man", "serve"]).run();
    assert!(page.output.contains(".TH hooks-backend-serve 1"), "{}", page.output);
    assert!(page.output.contains("JSONL_PATH"), "{}", page.output);
    assert!(command(&["man", "none"]).run().log.contains("no command \"none\""));

    let workspace = Workspace::jsonl();
    let directory = workspace.directory().to_str().expect("a path");
    assert!(command(&["man", "--output-dir", directory]).run().status.success());
    for name in ["hooks-backend.1", "hooks-backend-emit.1"] {
        assert!(Path::new(directory).join(name).exists(), "{name}");
    }
}

fn is_bash(script: &str) -> bool {
    let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().expect("bash");
    bash.stdin.take().expect("a pipe").write_all(script.as_bytes()).expect("it is read");
    bash.wait().expect("it ends").success()
}
