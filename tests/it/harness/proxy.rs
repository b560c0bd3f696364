//! nginx and HAProxy in front of servers.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::reaper::Process;
use super::{Workspace, eventually};

/// A proxy in front of servers. It listens on a Unix socket, so that it needs no free port.
pub(crate) struct Proxy {
    pub(crate) socket: PathBuf,
    process: Process,
}

impl Proxy {
    /// nginx with default settings, but for those in `upstream`, which has the servers, and in `location`.
    pub(crate) fn nginx(workspace: &Workspace, name: &str, upstream: &str, location: &str) -> Self {
        let (directory, socket) = Self::files(workspace, name);
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {name}.{kind};"));
        let configuration = format!(
            "daemon off; master_process off; pid {name}.pid; error_log stderr warn;
             events {{}}
             http {{
                 access_log off; {}
                 upstream servers {{ {upstream} }}
                 server {{ listen unix:{}; location / {{ proxy_pass http://servers; {location} }} }}
             }}",
            temporary.join(" "),
            socket.display()
        );
        let file = directory.join(format!("{name}.conf"));
        std::fs::write(&file, configuration).expect("a file");
        let prefix = format!("{}/", directory.display());
        let arguments = ["-e", "stderr", "-p", &prefix, "-c", &file.display().to_string()];
        Self::start("nginx", &arguments, socket)
    }

    /// HAProxy with the timeouts of Debian's configuration, and a health check with default settings.
    pub(crate) fn haproxy(workspace: &Workspace, servers: &[SocketAddr]) -> Self {
        let (directory, socket) = Self::files(workspace, "haproxy");
        let lines = servers.iter().enumerate();
        let lines = lines.map(|(at, server)| format!("server s{at} {server} check inter 100ms\n"));
        let configuration = format!(
            "global
                 stats socket {}
             defaults
                 mode http
                 timeout connect 5000
                 timeout client 50000
                 timeout server 50000
             frontend all
                 bind unix@{}
                 default_backend servers
             backend servers
                 option httpchk
                 {}",
            directory.join("admin.socket").display(),
            socket.display(),
            lines.collect::<Vec<_>>().join("                 ")
        );
        let file = directory.join("haproxy.cfg");
        std::fs::write(&file, configuration).expect("a file");
        Self::start("haproxy", &["-db", "-f", &file.display().to_string()], socket)
    }

    fn files(workspace: &Workspace, name: &str) -> (PathBuf, PathBuf) {
        let directory = workspace.directory().to_owned();
        let socket = directory.join(format!("{name}.socket"));
        (directory, socket)
    }

    fn start(program: &str, arguments: &[&str], socket: PathBuf) -> Self {
        // Debian has them in directories that are not in every PATH.
        let places = ["/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin"].iter();
        let mut paths = places.map(|place| Path::new(place).join(program));
        let path = paths.find(|path| path.exists());
        let path = path.unwrap_or_else(|| panic!("{program} is not installed; see scripts/test"));
        let process = Process::spawn(&path, Signal::KILL, |command| {
            command.args(arguments);
        });
        let mut proxy = Self { socket, process };
        eventually("the proxy listens", || {
            assert!(proxy.process.try_wait().is_none(), "{program} does not start");
            UnixStream::connect(&proxy.socket).map(drop)
        });
        proxy
    }

    /// Sends the head of a request with a key.
    pub(crate) fn send(&self, request: &str, headers: &str) -> UnixStream {
        let mut connection = UnixStream::connect(&self.socket).expect("the proxy listens");
        connection.set_read_timeout(Some(Duration::from_mins(1))).expect("a timeout");
        let head = format!("{request}\r\nhost: hooks\r\nx-api-key: key-1\r\n{headers}\r\n");
        connection.write_all(head.as_bytes()).expect("the proxy reads");
        connection
    }

    /// Returns the whole response to an event.
    pub(crate) fn event(&self, event: &Value) -> String {
        let body = event.to_string();
        let headers = format!(
            "content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n",
            body.len()
        );
        self.response("POST /events HTTP/1.1", &headers, &body)
    }

    /// Returns the whole response to a request.
    pub(crate) fn response(&self, request: &str, headers: &str, body: &str) -> String {
        let mut connection = self.send(request, headers);
        connection.write_all(body.as_bytes()).expect("the proxy reads");
        let mut response = String::new();
        connection.read_to_string(&mut response).expect("a response");
        response
    }
}
