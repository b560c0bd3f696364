//! Settings: errors name the variable and the allowed values, and secrets are never printed.

use rustix::process::Signal;

use crate::harness::eventually::when;
use crate::harness::server::Builder;
use crate::harness::{Server, Storage, Workspace, event, eventually};

both!(start_message_has_the_address_and_the_storage, json_log_has_one_object_a_line,);

#[test]
fn wrong_value_is_reported_with_the_allowed_ones() {
    for (variable, value, allowed) in [
        ("STORAGE_TYPE", "mysql", "postgres"),
        ("STORAGE_TYPE", "postgres", "DATABASE_URL"),
        ("DATABASE_URL", "mysql://host/db", "postgres://"),
        ("DATABASE_URL", "postgres://u:p@host:port/db", "postgres://"),
        ("DATABASE_URL", "postgres://u:p@host/db?sslmode=maybe", "verify-full"),
        ("JOURNAL_MAX_BYTES", "1023KiB", "1MiB"),
        ("JOURNAL_MAX_BYTES", "much", "10GiB"),
        ("JOURNAL_MAX_BYTES", "-1", "1MiB"),
        ("LOG_LEVEL", "loud", "debug"),
        ("LOG_FORMAT", "xml", "json"),
        ("ACK", "never", "stored"),
        ("HOST", "localhost", "HOST"),
        ("PORT", "65536", "65535"),
        ("PORT", "http", "PORT"),
        ("MAX_BODY_BYTES", "1", "1KiB"),
        ("MAX_BODY_BYTES", "99999TiB", "1KiB"),
        ("MAX_BODY_BYTES", "257MiB", "256MiB"),
        ("MAX_BATCH_EVENTS", "0", "1"),
        ("MAX_DEPTH", "0", "1000"),
        ("MAX_DEPTH", "1001", "1000"),
        ("REDACT", "no-such-file", "standard"),
        ("REJECTED_MAX_BYTES", "none", "1KiB"),
        ("MAX_INFLIGHT_BYTES", "lots", "1MiB"),
        ("MAX_INFLIGHT_BYTES", "32MiB", "four times MAX_BODY_BYTES"),
        ("MAX_CONNECTIONS", "0", "1"),
        ("MAX_CONNECTIONS", "many", "MAX_CONNECTIONS"),
        ("MAX_HEADER_BYTES", "1KiB", "4KiB"),
        ("MAX_HEADERS", "0", "8..=10000"),
        ("HEADER_TIMEOUT", "0s", "1s to 24h"),
        ("BODY_TIMEOUT", "soon", "1s to 24h"),
        ("IDLE_TIMEOUT", "2d", "1s to 24h"),
        ("STORED_TIMEOUT", "0", "1s to 24h"),
        ("RATE_LIMIT_EVENTS", "0", "1..=1000000000"),
        ("RATE_LIMIT_BYTES", "100", "1KiB"),
        ("TLS_CERT", "server.crt", "TLS_KEY"),
        ("TLS_KEY", "server.key", "TLS_CERT"),
        ("SHUTDOWN_TIMEOUT", "-1", "30s"),
        ("SHUTDOWN_TIMEOUT", "400d", "366 days"),
        ("JOURNAL_RETENTION", "soon", "1h"),
        ("JSONL_ROTATE", "weekly", "day"),
        ("JSONL_ROTATE", "1KiB", "1MiB"),
        ("RETENTION_DAYS", "0", "1"),
    ] {
        let workspace = Workspace::jsonl();
        let ended = workspace.server().set(variable, value).run();
        let (code, log) = (ended.status.code(), ended.log);
        assert!(matches!(code, Some(1 | 2)), "{variable}={value}: {code:?} {log}");
        let named =
            log.contains(variable) || log.contains(&variable.to_lowercase().replace('_', "-"));
        assert!(named, "{variable}={value}: {log}");
        assert!(log.contains(allowed), "{variable}={value}: {log}");
        assert!(
            !workspace.directory().join(".agentic").exists(),
            "{variable}={value} left a trace"
        );
    }
}

#[test]
fn unwritable_path_is_reported() {
    let workspace = Workspace::jsonl();
    let file = workspace.directory().join("a-file");
    std::fs::write(&file, "").expect("a file");
    let jsonl = workspace.server().set("JSONL_PATH", file.join("events.jsonl")).run();
    assert_eq!(jsonl.status.code(), Some(1), "{}", jsonl.log);
    assert!(jsonl.log.contains("a-file"), "{}", jsonl.log);
    let url = "postgres://nobody@127.0.0.1:1/none";
    let journal = workspace.server().set("DATABASE_URL", url).set("JOURNAL_DIR", &file).run();
    assert_eq!(journal.status.code(), Some(1), "{}", journal.log);
    assert!(journal.log.contains("a-file"), "{}", journal.log);
}

#[test]
fn address_in_use_is_reported() {
    let (workspace, other) = (Workspace::jsonl(), Workspace::jsonl());
    let server = workspace.server().start();
    let port = server.client.address.port().to_string();
    let ended = other.server().set("PORT", &port).run();
    assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
    assert!(ended.log.contains(&port) && ended.log.contains("PORT"), "{}", ended.log);
}

#[test]
fn password_is_never_printed() {
    const SECRET: &str = "swordfish";
    let workspace = Workspace::jsonl();
    let start = |url: &str| workspace.server().set("DATABASE_URL", url).set("LOG_LEVEL", "trace");
    for url in [
        "postgres://user:swordfish@host:port/db",
        "postgres://user:swordfish@[host/db",
        "postgres://user:swordfish@host/db?sslmode=maybe",
        "postgres://user:swordfish",
        "postgres://user:pa@swordfish@host/db",
        "host=h password=my swordfish=x",
        "postgress://user:swordfish@host/db",
        "user:swordfish@host/db",
        "host=h user=u password=swordfish port=x",
        "host=h user=u password='swordfish",
        "user=u password=swordfish",
        "host=h password=swordfish swordfish",
    ] {
        let ended = start(url).run();
        assert!(!ended.status.success(), "{url}");
        assert!(ended.log.contains("DATABASE_URL"), "{url}: {}", ended.log);
        assert!(!ended.log.contains(SECRET), "{url}: {}", ended.log);
    }
    let url = "postgres://user:swordfish@127.0.0.1:1/db";
    for flags in [&["--help"][..], &["-h"], &["--wrong-flag"], &["--port", "x"]] {
        let ended = flags.iter().fold(start(url), Builder::argument).run();
        let printed = ended.output + &ended.log;
        assert!(printed.contains("--"), "{flags:?}: {printed}");
        assert!(!printed.contains(SECRET), "{flags:?}: {printed}");
    }
    let server = start(url).start();
    server.client.event(&event("1")).expect(202);
    let health = eventually("the database's error is known", || {
        when(server.client.health(), |health| health["database"]["error"].is_string())
    });
    assert!(!health.to_string().contains(SECRET), "{health}");
    assert!(!server.log().contains(SECRET), "{}", server.log());
}

#[test]
fn empty_variable_counts_as_unset() {
    let workspace = Workspace::jsonl();
    let variables = [
        "DATABASE_URL",
        "STORAGE_TYPE",
        "JSONL_PATH",
        "JOURNAL_DIR",
        "JOURNAL_MAX_BYTES",
        "JOURNAL_RETENTION",
        "JSONL_ROTATE",
        "RETENTION_DAYS",
        "ACK",
        "STORED_TIMEOUT",
        "HOST",
        "PORT",
        "LOG_LEVEL",
        "LOG_FORMAT",
        "MAX_BODY_BYTES",
        "MAX_BATCH_EVENTS",
        "MAX_DEPTH",
        "REDACT",
        "REJECTED_MAX_BYTES",
        "MAX_INFLIGHT_BYTES",
        "MAX_CONNECTIONS",
        "MAX_HEADER_BYTES",
        "MAX_HEADERS",
        "HEADER_TIMEOUT",
        "BODY_TIMEOUT",
        "IDLE_TIMEOUT",
        "RATE_LIMIT_EVENTS",
        "RATE_LIMIT_BYTES",
        "TLS_CERT",
        "TLS_KEY",
        "SHUTDOWN_TIMEOUT",
    ];
    let builder = workspace.server().argument("--port").argument("0");
    let server = variables.iter().fold(builder, |builder, name| builder.set(name, "")).start();
    server.client.event(&event("1")).expect(202);
    assert_eq!(workspace.events().len(), 1);
    assert_eq!(server.client.health()["storage"], "jsonl");
}

#[test]
fn flag_overrides_its_variable() {
    let workspace = Workspace::jsonl();
    let path = workspace.directory().join("by-flag.jsonl");
    let server = workspace
        .server()
        .set("JSONL_PATH", workspace.directory().join("by-variable.jsonl"))
        .argument("--jsonl-path")
        .argument(&path)
        .start();
    server.client.event(&event("1")).expect(202);
    assert!(path.exists());
}

#[test]
fn storage_type_jsonl_overrides_database_url() {
    let workspace = Workspace::jsonl();
    let server = workspace
        .server()
        .set("DATABASE_URL", "postgres://user@127.0.0.1:1/db")
        .set("STORAGE_TYPE", "JSONL")
        .start();
    server.client.event(&event("1")).expect(202);
    assert_eq!(workspace.events().len(), 1);
}

fn start_message_has_the_address_and_the_storage(storage: Storage) {
    let workspace = Workspace::new(storage);
    let server = workspace.server().start();
    let log = server.log();
    let line = log.lines().find(|line| line.contains("listening on")).expect("a start line");
    assert!(line.contains(&format!("http://{}", server.client.address)), "{line}");
    let (name, path) = match storage {
        Storage::Jsonl => ("storage jsonl", workspace.file()),
        Storage::Postgres => ("storage postgres", workspace.journal()),
    };
    assert!(line.contains(name), "{line}");
    assert!(line.contains(&path.display().to_string()), "{line}");
}

fn json_log_has_one_object_a_line(storage: Storage) {
    let workspace = Workspace::new(storage);
    let mut server = workspace.server().set("LOG_FORMAT", "json").set("LOG_LEVEL", "debug").start();
    server.client.event(&event("1")).expect(202);
    server.stop();
    for line in server.log().lines() {
        let entry: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
        assert!(entry["level"].is_string() && entry["message"].is_string(), "{line}");
        assert!(entry["timestamp"].is_string(), "{line}");
    }
    let refused = workspace.server().set("LOG_FORMAT", "json").set("STORAGE_TYPE", "postgres");
    let refused = refused.set("DATABASE_URL", "").run();
    assert!(!refused.status.success());
    let entry: serde_json::Value = serde_json::from_str(&refused.log).expect("JSON");
    assert_eq!(entry["level"], "ERROR");
}

#[test]
fn healthcheck_exit_status_is_the_readiness() {
    let workspace = Workspace::jsonl();
    let mut server = workspace.server().set("SHUTDOWN_TIMEOUT", "3600").ready().start();
    let port = server.client.address.port().to_string();
    let check = |host: &str| {
        let check = Server::builder().set("PORT", &port).set("HOST", host).argument("healthcheck");
        check.run()
    };
    for host in ["127.0.0.1", "0.0.0.0"] {
        let ended = check(host);
        assert!(ended.status.success(), "{host}: {}", ended.log);
    }

    let mut slow = server.client.connect();
    slow.write(
        "POST /events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         content-length: 10\r\nexpect: 100-continue\r\n\r\n",
    );
    slow.read_until("100 Continue\r\n\r\n");
    server.signal(Signal::TERM);
    server.logged("shutting down");
    eventually("it drains", || {
        when(server.client.get("/health/ready", &[]), |answer| answer.status == 503)
    });
    assert_eq!(check("127.0.0.1").status.code(), Some(1));
    server.kill9();
    let gone = check("127.0.0.1");
    assert_eq!(gone.status.code(), Some(1));
    assert!(gone.log.contains("not ready"), "{}", gone.log);
}
