//! TLS connections to PostgreSQL with `sslmode` and `sslrootcert`.

use std::net::TcpListener;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::harness::postgres::Database;
use crate::harness::workspace::forwarded;
use crate::harness::{Cluster, Workspace, event, eventually};

/// A cluster that accepts only TLS connections over TCP, and the root certificate.
struct Secure {
    cluster: Arc<Cluster>,
    port: u16,
    root: String,
}

impl Secure {
    fn start() -> Result<Self, rcgen::Error> {
        let mut authority = CertificateParams::new([])?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(["localhost".to_owned()])?;
        let certificate = certificate.signed_by(&key, &authority)?;
        Ok(Self::with(certificate.pem(), key.serialize_pem(), authority.pem()))
    }

    fn with(certificate: String, key: String, root: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let settings =
            ["ssl=on".to_owned(), "listen_addresses=127.0.0.1".to_owned(), format!("port={port}")];
        let files = [
            ("server.crt", certificate),
            ("server.key", key),
            ("pg_hba.conf", "local all all trust\nhostssl all all 127.0.0.1/32 trust\n".to_owned()),
        ];
        let cluster = Cluster::configured(&settings, &files.each_ref().map(|(n, t)| (*n, &**t)));
        drop(listener);
        cluster.start();
        Self { cluster, port, root }
    }

    /// With a certificate of X.509 version 1, as in PostgreSQL's manual.
    fn with_version_1() -> Self {
        let files = Workspace::jsonl();
        let run = |arguments: &[&str]| {
            let mut openssl = std::process::Command::new("openssl");
            let output = openssl.args(arguments).current_dir(files.directory()).output();
            let output = output.expect("openssl is installed; see scripts/test");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        run(&["req", "-new", "-nodes", "-subj", "/CN=localhost", "-keyout", "key", "-out", "csr"]);
        run(&["x509", "-req", "-in", "csr", "-signkey", "key", "-days", "2", "-out", "crt"]);
        let text = run(&["x509", "-in", "crt", "-noout", "-text"]);
        assert!(text.contains("Version: 1 "), "{text}");
        let read = |name| std::fs::read_to_string(files.directory().join(name)).expect("a file");
        Self::with(read("crt"), read("key"), read("crt"))
    }

    fn url(&self, database: &Database, host: &str, options: &str) -> String {
        format!("postgres://postgres@{host}:{}/{}?{options}", self.port, database.name)
    }
}

#[test]
fn sslmode_and_sslrootcert_control_certificate_checks() {
    let secure = Secure::start().unwrap();
    let files = Workspace::jsonl();
    let root = files.directory().join("root.crt");
    std::fs::write(&root, &secure.root).unwrap();
    let root = root.display().to_string().replace('/', "%2F");
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let wrong = files.directory().join("wrong.crt");
    std::fs::write(&wrong, other.cert.pem()).unwrap();
    let wrong = wrong.display();

    for (host, options, problem) in [
        ("127.0.0.1", String::new(), None),
        ("127.0.0.1", "sslmode=prefer".to_owned(), None),
        ("127.0.0.1", "sslmode=require".to_owned(), None),
        ("localhost", format!("sslmode=verify-full&sslrootcert={root}"), None),
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={root}"), None),
        ("127.0.0.1", format!("sslrootcert={root}&sslmode=require"), None),
        (
            "127.0.0.1",
            format!("sslmode=verify-full&sslrootcert={root}"),
            Some("not valid for name"),
        ),
        ("localhost", format!("sslmode=verify-full&sslrootcert={wrong}"), Some("certificate")),
        ("localhost", format!("sslmode=verify-ca&sslrootcert={wrong}"), Some("certificate")),
        ("127.0.0.1", "sslmode=disable".to_owned(), Some("pg_hba.conf")),
    ] {
        let workspace = Workspace::on(secure.cluster.database());
        let url = secure.url(workspace.database(), host, &options);
        let server = workspace.server().set("DATABASE_URL", url).ready().start();
        server.client.event(&event("1")).expect(202);
        let Some(problem) = problem else {
            forwarded(&server);
            assert_eq!(workspace.events().len(), 1, "{host} {options}");
            let query = "SELECT DISTINCT ssl::text FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                 WHERE application_name = 'hooks-backend' AND datname = current_database()";
            assert_eq!(workspace.database().query(query), ["true"], "{host} {options}");
            continue;
        };
        eventually("the problem is reported", || {
            let error = server.client.health()["database"]["error"].to_string();
            if error.contains(problem) { Ok(()) } else { Err((options.clone(), error)) }
        });
    }
}

#[test]
fn certificates_are_not_looked_at_unless_they_are_verified() {
    let secure = Secure::with_version_1();
    let workspace = Workspace::on(secure.cluster.database());
    for (number, mode) in ["prefer", "require"].into_iter().enumerate() {
        let url = secure.url(workspace.database(), "127.0.0.1", &format!("sslmode={mode}"));
        let server = workspace.server().set("DATABASE_URL", url).ready().start();
        server.client.event(&event(&number.to_string())).expect(202);
        forwarded(&server);
    }
    assert_eq!(workspace.events().len(), 2);
}

#[test]
fn server_does_not_start_with_invalid_tls_options() {
    for (options, words) in [
        ("sslmode=verify-none", "verify-full"),
        ("sslmode=verify-full&sslrootcert=/nowhere.crt", "/nowhere.crt"),
    ] {
        let url = format!("postgres://u:hush@localhost/db?{options}");
        let ended = crate::harness::Server::builder().set("DATABASE_URL", url).run();
        assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
        assert!(ended.log.contains(words) && ended.log.contains("DATABASE_URL"), "{}", ended.log);
        assert!(!ended.log.contains("hush"), "{}", ended.log);
    }
}
