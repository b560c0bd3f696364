//! Proxies on the server's machine whose configuration only forwards requests: to the server, a remote
//! client looks like a local one.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::Signal;

use super::{ROUTES, every_route};
use crate::harness::reaper::Process;
use crate::harness::{Client, Workspace, event, eventually};

/// Returns the path of a program of the Debian package, which can be outside of `PATH`.
pub(super) fn installed(program: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut directories = path.split(':').chain(["/usr/sbin", "/usr/bin"]);
    let found = directories.find_map(|directory| {
        Some(Path::new(directory).join(program)).filter(|path| path.is_file())
    });
    found.unwrap_or_else(|| panic!("{program} is not installed; scripts/test installs it"))
}

/// Returns an address that is free now.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port")
}

/// Runs a proxy, and waits until it listens.
fn run(
    program: &str,
    arguments: &[&str],
    directory: &Path,
    address: SocketAddr,
) -> (Process, Client) {
    let mut process = Process::spawn(&installed(program), Signal::KILL, |command| {
        command.args(arguments).current_dir(directory).stdout(Stdio::null()).stderr(Stdio::null());
    });
    eventually("the proxy listens", || {
        assert!(process.try_wait().is_none(), "{program} ended");
        TcpStream::connect(address)
    });
    (process, Client::new(address))
}

fn nginx(directory: &Path, server: SocketAddr, more: &str) -> (Process, Client) {
    let address = free_address();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path nginx-{kind};"))
        .concat();
    let text = format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr; events {{}}
         http {{ access_log off; {temporary}
           server {{ listen {address}; location / {{ proxy_pass http://{server}; {more} }} }} }}"
    );
    std::fs::write(directory.join("nginx.conf"), text).expect("written");
    let directory_text = directory.to_str().expect("UTF-8");
    run("nginx", &["-p", directory_text, "-e", "stderr", "-c", "nginx.conf"], directory, address)
}

fn haproxy(directory: &Path, server: SocketAddr, mode: &str) -> (Process, Client) {
    let address = free_address();
    let text = format!(
        "defaults\n mode {mode}\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n\
         listen hooks\n bind {address}\n server one {server}\n"
    );
    std::fs::write(directory.join("haproxy.cfg"), text).expect("written");
    run("haproxy", &["-db", "-f", "haproxy.cfg"], directory, address)
}

fn socat(directory: &Path, server: SocketAddr) -> (Process, Client) {
    let address = free_address();
    let listen = format!("TCP-LISTEN:{},bind=127.0.0.1,fork,reuseaddr", address.port());
    run("socat", &[&listen, &format!("TCP:{server}")], directory, address)
}

/// Starts a proxy and returns a client of it.
type Start<'a> = &'a dyn Fn() -> (Process, Client);

#[test]
fn clients_of_a_proxy_that_only_forwards_cannot_read() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().ready().start();
    server.client.event(&event("secret-1")).expect(202);
    crate::reading::shown(&server.client, 1);
    let header = server.client.read_header();
    let token = header.trim_end().strip_prefix("authorization: ").expect("a token");
    let (directory, address) = (workspace.directory(), server.client.address);
    let proxies: [(&str, Start<'_>); 6] = [
        ("nginx with proxy_pass", &|| nginx(directory, address, "")),
        ("nginx with HTTP/1.1", &|| {
            nginx(directory, address, "proxy_http_version 1.1; proxy_set_header Connection \"\";")
        }),
        ("nginx with the client's Host", &|| {
            nginx(directory, address, "proxy_set_header Host $http_host;")
        }),
        ("HAProxy", &|| haproxy(directory, address, "http")),
        ("HAProxy with TCP", &|| haproxy(directory, address, "tcp")),
        ("socat", &|| socat(directory, address)),
    ];
    for (name, start) in proxies {
        let (_process, client) = start();
        for headers in [&[][..], &[("host", "localhost")], &[("host", "127.0.0.1:8080")]] {
            every_route(&client, headers, 401);
        }
        for (method, path, _) in ROUTES {
            let path = path.replace(['{', '}'], "");
            let response = client.send_once(method, &path, &[], b"").expect("a response");
            assert!(!response.text.contains("secret-1"), "{name}: {response:?}");
        }
        let id = name.replace(' ', "-");
        client.event(&event(&id)).expect(202);
        every_route(&client, &[("authorization", token)], 200);
    }
    assert_eq!(workspace.events().len(), 7);
}
