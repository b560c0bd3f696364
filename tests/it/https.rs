//! HTTPS: handshakes, both protocols, and certificate reload.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{CertificateParams, CertifiedKey, KeyPair, date_time_ymd};
use rustix::process::Signal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::harness::client::JSON;
use crate::harness::http2::Http2;
use crate::harness::server::Builder;
use crate::harness::{Server, Workspace, assert_exactly, event, eventually};

/// A workspace whose server has a certificate.
struct Secure {
    workspace: Workspace,
    root: String,
}

impl Secure {
    fn new() -> Self {
        let mut secure = Self { workspace: Workspace::jsonl(), root: String::new() };
        secure.renew();
        secure
    }

    fn certificate(&self) -> PathBuf {
        self.workspace.directory().join("server.crt")
    }

    fn key(&self) -> PathBuf {
        self.workspace.directory().join("server.key")
    }

    /// Writes a new certificate and key, the only ones that clients trust.
    fn renew(&mut self) {
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        self.root = cert.pem();
        std::fs::write(self.certificate(), cert.pem()).expect("a file");
        std::fs::write(self.key(), signing_key.serialize_pem()).expect("a file");
    }

    fn server(&self) -> Builder {
        self.workspace.server().set("TLS_CERT", self.certificate()).set("TLS_KEY", self.key())
    }

    fn config(&self, protocols: &[&str]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.root.as_bytes()).expect("a certificate");
        roots.add(root).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    /// Connects; the handshake happens with the first request.
    fn connect(&self, address: SocketAddr, protocols: &[&str]) -> Tls {
        let name = ServerName::try_from("localhost").expect("a name");
        let config = Arc::new(self.config(protocols));
        let connection = ClientConnection::new(config, name).expect("a configuration");
        let stream = TcpStream::connect(address).expect("a connection");
        Tls(StreamOwned::new(connection, stream))
    }
}

struct Tls(StreamOwned<ClientConnection, TcpStream>);

impl Tls {
    /// Sends an event by HTTP/1.1 and returns the response, or an error if the handshake fails.
    fn event(&mut self, id: &str) -> std::io::Result<String> {
        let body = event(id).to_string();
        write!(
            self.0,
            "POST /events HTTP/1.1\r\nhost: localhost\r\ncontent-type: {JSON}\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut response = Vec::new();
        let mut byte = [0];
        while !response.ends_with(b"\"}") {
            self.0.read_exact(&mut byte)?;
            response.push(byte[0]);
        }
        Ok(String::from_utf8(response).expect("text"))
    }

    #[track_caller]
    fn accepted(&mut self, id: &str) {
        let response = self.event(id).expect("a response");
        assert!(response.starts_with("HTTP/1.1 202 "), "{response}");
    }
}

#[test]
fn https_serves_the_negotiated_protocol() {
    let secure = Secure::new();
    let mut server = secure.server().start();
    let address = server.client.address;
    assert!(server.log().contains(&format!("https://{address}")), "{}", server.log());

    secure.connect(address, &[]).accepted("none");
    let mut http1 = secure.connect(address, &["http/1.1"]);
    http1.accepted("http1");
    assert_eq!(http1.0.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    let mut http2 = Http2::tls(address, secure.config(&["h2", "http/1.1"]));
    http2.event(&event("http2")).expect(202);
    http2.event(&event("http2 again")).expect(202);
    server.stop();
    assert_exactly(&secure.workspace.events(), ["none", "http1", "http2", "http2 again"]);
}

#[test]
fn plain_port_accepts_http2_with_prior_knowledge() {
    let workspace = Workspace::jsonl();
    let server = workspace.server().start();
    let mut http2 = Http2::plain(server.client.address);
    http2.event(&event("1")).expect(202);
    server.client.event(&event("2")).expect(202);
    assert_exactly(&workspace.events(), ["1", "2"]);
}

#[test]
fn certificate_reload_keeps_open_connections() {
    let mut secure = Secure::new();
    let mut server = secure.server().start();
    let address = server.client.address;
    let mut old = secure.connect(address, &[]);
    old.accepted("1");

    secure.renew();
    server.signal(Signal::HUP);
    eventually("the new certificate is served", || secure.connect(address, &[]).event("2"));
    old.accepted("3");

    let key = std::fs::read(secure.key()).unwrap();
    let other = KeyPair::generate().unwrap().serialize_pem();
    for (bad, words) in [
        (&b""[..], "no private key"),
        (b"-----BEGIN PRIVATE KEY-----\n", "PEM section"),
        (other.as_bytes(), "not the key of the certificate"),
    ] {
        std::fs::write(secure.key(), bad).unwrap();
        server.signal(Signal::HUP);
        eventually("the invalid file is logged", || {
            let log = server.log();
            let line = log.lines().find(|line| line.contains(words));
            line.filter(|line| line.contains("certificate not changed")).map(drop).ok_or(log)
        });
        secure.connect(address, &[]).accepted("4");
    }
    std::fs::write(secure.key(), key).unwrap();
    old.accepted("5");
}

#[test]
fn invalid_certificate_files_prevent_the_start() {
    let secure = Secure::new();
    let workspace = &secure.workspace;
    let write = |name: &str, text: &str| {
        let path = workspace.directory().join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let read = |path: PathBuf| std::fs::read_to_string(path).expect("a file");
    let (certificate, key) = (read(secure.certificate()), read(secure.key()));
    let (good, good_key) = (write("good.crt", &certificate), write("good.key", &key));
    let other_key = write("other.key", &KeyPair::generate().unwrap().serialize_pem());
    let half = write("half.crt", &certificate[..certificate.len() / 2]);
    let garbled = write("garbled.key", &key.replace('M', "!"));
    let empty = write("empty.pem", "");
    let encrypted = write("encrypted.key", &key.replace("PRIVATE", "ENCRYPTED PRIVATE"));
    for (certificate, key, variable, words) in [
        (good.as_str(), "", "TLS_KEY", "set both"),
        ("", &good_key, "TLS_CERT", "set both"),
        ("/nowhere.crt", &good_key, "TLS_CERT", "No such file"),
        (&good, "/nowhere.key", "TLS_KEY", "No such file"),
        (&empty, &good_key, "TLS_CERT", "no certificate"),
        (&good_key, &good_key, "TLS_CERT", "no certificate"),
        (&half, &good_key, "TLS_CERT", "middle of a PEM section"),
        (&good, &good, "TLS_KEY", "no private key"),
        (&good, &encrypted, "TLS_KEY", "not encrypted"),
        (&good, &garbled, "TLS_KEY", "not base64"),
        (&good, &other_key, "TLS_KEY", "not the key of the certificate"),
    ] {
        let ended = workspace.server().set("TLS_CERT", certificate).set("TLS_KEY", key).run();
        let (code, log) = (ended.status.code(), ended.log);
        assert_eq!(code, Some(1), "{certificate} {key}: {log}");
        assert!(log.contains(variable) && log.contains(words), "{certificate} {key}: {log}");
        assert!(
            !workspace.directory().join(".agentic").exists(),
            "{certificate} {key} left a trace"
        );
    }
}

#[test]
fn expired_certificate_is_logged_and_served() {
    let secure = Secure::new();
    let key = KeyPair::generate().unwrap();
    let mut expired = CertificateParams::new(["localhost".to_owned()]).unwrap();
    expired.not_before = date_time_ymd(2020, 1, 1);
    expired.not_after = date_time_ymd(2021, 1, 1);
    std::fs::write(secure.certificate(), expired.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(secure.key(), key.serialize_pem()).unwrap();
    let server = secure.server().start();
    let log = server.log();
    let warning = log.lines().find(|line| line.contains("TLS_CERT")).expect("a warning");
    assert!(warning.contains("WARN") && warning.contains("expired"), "{warning}");
    healthcheck(&secure, &server, "127.0.0.1", 0);
}

#[track_caller]
fn healthcheck(secure: &Secure, server: &Server, host: &str, code: i32) {
    let port = server.client.address.port().to_string();
    eventually("the health check has the expected exit code", || {
        let check = secure.server().set("PORT", &port).set("HOST", host).argument("healthcheck");
        let ended = check.run();
        if ended.status.code() == Some(code) { Ok(()) } else { Err(ended.log) }
    });
}

#[test]
fn healthcheck_connects_over_tls() {
    let secure = Secure::new();
    let mut server = secure.server().start();
    healthcheck(&secure, &server, "127.0.0.1", 0);
    healthcheck(&secure, &server, "0.0.0.0", 0);
    server.kill9();
    healthcheck(&secure, &server, "127.0.0.1", 1);
}

#[test]
fn plain_http_client_is_told_to_use_https() {
    let secure = Secure::new();
    let server = secure.server().start();
    let response = server.client.event(&event("1")).expect(400);
    assert!(response.json()["detail"].to_string().contains("https://"), "{response:?}");
}

#[test]
fn stalled_handshake_is_closed() {
    let secure = Secure::new();
    let server = secure.server().set("HEADER_TIMEOUT", "1s").start();
    let mut silent = server.client.connect();
    let mut slow = server.client.connect();
    slow.write(b"\x16\x03\x01");
    assert_eq!(silent.read_to_end(), "");
    assert_eq!(slow.read_to_end(), "");
    secure.connect(server.client.address, &[]).accepted("1");
}
