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
        ("HOST", "x86_64-conda-linux-gnu.invalid", "'x86_64-conda-linux-gnu.invalid'"),
        ("HOST", "http://localhost", "host name"),
        ("HOST", "127.0.0.1:8080", "PORT"),
        ("JSONL_PATH", "/dev/null", "a device"),
        ("JSONL_PATH", "/", "a directory"),
        ("JSONL_PATH", "events/", "a directory"),
        ("JSONL_PATH", "here/rejected.jsonl", "rejected events"),
        ("JSONL_PATH", "two\nlines.jsonl", "two\\nlines.jsonl"),
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
        ("FILE_MODE", "0644", "0640"),
        ("FILE_MODE", "rw", "0640"),
        ("MAX_INFLIGHT_BYTES", "lots", "1MiB"),
        ("MAX_INFLIGHT_BYTES", "32MiB", "four times MAX_BODY_BYTES"),
        ("MAX_READ_BYTES", "32MiB", "64MiB"),
        ("DATABASE_CONNECTIONS", "1", "2..=100"),
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
        ("SHUTDOWN_DELAY", "soon", "30s"),
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
fn path_that_is_no_regular_file_is_rejected() {
    let workspace = Workspace::jsonl();
    let at = |name: &str| workspace.directory().join(name);
    let made = std::process::Command::new("mkfifo").arg(at("pipe")).status();
    assert!(made.expect("mkfifo runs").success());
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).expect("a socket");
    std::fs::create_dir(at("directory")).expect("a directory");
    for (name, kind) in [("pipe", "a pipe"), ("socket", "a socket"), ("directory", "a directory")] {
        for by_flag in [false, true] {
            let server = workspace.server();
            let ended = if by_flag {
                server.argument("--jsonl-path").argument(at(name)).run()
            } else {
                server.set("JSONL_PATH", at(name)).run()
            };
            assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
            let source =
                if by_flag { "flag --jsonl-path" } else { "environment variable JSONL_PATH" };
            for word in [source, kind, name] {
                assert!(ended.log.contains(word), "{word}: {}", ended.log);
            }
        }
    }
    let files = std::fs::read_dir(workspace.directory()).expect("a directory").count();
    assert_eq!(files, 3, "nothing is created beside the path");
}

#[test]
fn white_space_and_quotes_around_a_value_are_removed() {
    let workspace = Workspace::jsonl();
    let server = workspace
        .server()
        .set("JSONL_PATH", "\"quoted.jsonl\" \n")
        .set("LOG_FORMAT", " 'json'\r\n")
        .set("LOG_LEVEL", " \n")
        .set("API_KEYS", "a:secret-1:ingest,\nb:secret-2:read\n")
        .argument("--max-batch-events")
        .argument("1 ")
        .argument("--host= 127.0.0.1\n")
        .start();
    let headers = [("x-api-key", "secret-1"), ("content-type", "application/json")];
    let send = |body: &str| server.client.send("POST", "/events/batch", &headers, body.as_bytes());
    let one = format!("[{}]", event("1"));
    assert_eq!(send(&one).expect("a response").status, 202);
    let two = format!("[{},{}]", event("1"), event("2"));
    assert_eq!(send(&two).expect("a response").status, 413);
    assert!(workspace.directory().join("quoted.jsonl").exists());
    assert!(server.log().starts_with('{'), "{}", server.log());

    let url = "\"postgres://user@127.0.0.1:1/db\"\n";
    let server = workspace.server().set("DATABASE_URL", url).set("JOURNAL_DIR", "j").start();
    assert!(server.log().contains("postgres (db on 127.0.0.1)"), "{}", server.log());
}

#[test]
fn log_line_is_not_split_by_a_value() {
    let workspace = Workspace::jsonl();
    let keys = workspace.directory().join("no\nsuch");
    std::fs::create_dir_all(&keys).expect("a directory");
    // A path of the working directory, which no setting names.
    let server = workspace.server().directory(&keys).start();
    server.client.event(&event("1")).expect(202);
    let log = server.log();
    assert!(log.contains("no\\nsuch"), "{log}");
    assert!(log.lines().all(|line| line.contains("INFO")), "{log}");
}

#[test]
fn host_can_be_a_name_or_in_brackets() {
    for (host, address) in [("localhost", "127.0.0.1"), ("[::1]", "[::1]"), ("[::]", "[::]")] {
        let workspace = Workspace::jsonl();
        let server = workspace.server().set("HOST", host);
        if std::net::TcpListener::bind((address.trim_matches(['[', ']']), 0)).is_err() {
            // A machine without IPv6.
            let ended = server.run();
            assert!(ended.log.contains(&format!("cannot listen on {address}:0")), "{}", ended.log);
            continue;
        }
        let server = server.ready().start();
        let listening = format!("listening on http://{address}:");
        assert!(server.log().contains(&listening), "{host}: {}", server.log());
        let port = server.client.address.port().to_string();
        let check = Server::builder().set("PORT", &port).set("HOST", host).argument("healthcheck");
        let ended = check.run();
        assert!(ended.status.success(), "{host}: {}", ended.log);
    }
}

#[test]
fn error_tells_whether_the_value_is_from_the_flag_or_the_variable() {
    let variable = Server::builder().set("PORT", "many").run();
    assert!(variable.log.contains("'many'"), "{}", variable.log);
    assert!(variable.log.contains("from the environment variable PORT"), "{}", variable.log);
    let flag = Server::builder().argument("--port").argument("many").run();
    assert!(flag.log.contains("from the flag --port"), "{}", flag.log);
}

#[test]
fn connection_options_are_used_ignored_or_named_in_the_error() {
    let workspace = Workspace::jsonl();
    let start =
        |url: &str| workspace.server().set("DATABASE_URL", url).set("JOURNAL_DIR", "journal");
    for (options, warned) in [
        ("pgbouncer=true", "option pgbouncer is ignored"),
        ("gssencmode=prefer", "option gssencmode is ignored"),
        ("sslcompression=0&target_session_attrs=primary", "option sslcompression is ignored"),
        ("hostaddr=127.0.0.1&keepalives_count=3", "listening"),
        ("ssl_min_protocol_version=TLSv1.2", "listening"),
    ] {
        let mut server = start(&format!("postgresql+asyncpg://u@127.0.0.1:1/db?{options}")).start();
        assert!(server.log().contains(warned), "{options}: {}", server.log());
        server.stop();
    }
    for (options, named) in [
        ("sslcert=client.crt", "sslcert needs sslkey"),
        ("sslcert=no.crt&sslkey=no.key", "sslcert no.crt"),
        ("sslcrl=list.pem", "option sslcrl"),
        ("gssencmode=require", "option gssencmode"),
        ("target_session_attrs=standby", "option target_session_attrs"),
        ("connect_timeout=soon", "connect_timeout"),
        ("colour=blue", "unknown option colour"),
        ("hostaddr=here", "hostaddr"),
    ] {
        for url in [
            format!("postgres://u:hush@127.0.0.1:1/db?{options}"),
            format!("host=127.0.0.1 port=1 password='hush' {}", options.replace('&', " ")),
        ] {
            let ended = start(&url).run();
            assert_eq!(ended.status.code(), Some(1), "{url}: {}", ended.log);
            assert!(ended.log.contains(named), "{url}: {}", ended.log);
            assert!(ended.log.contains("DATABASE_URL"), "{url}: {}", ended.log);
            assert!(!ended.log.contains("hush"), "{url}: {}", ended.log);
        }
    }
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
        "MAX_READ_BYTES",
        "DATABASE_CONNECTIONS",
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
        "SHUTDOWN_DELAY",
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
    let mut server = workspace.server().set("SHUTDOWN_DELAY", "1h").ready().start();
    let port = server.client.address.port().to_string();
    let check = |host: &str| {
        let check = Server::builder().set("PORT", &port).set("HOST", host).argument("healthcheck");
        check.run()
    };
    for host in ["127.0.0.1", "0.0.0.0"] {
        let ended = check(host);
        assert!(ended.status.success(), "{host}: {}", ended.log);
    }

    server.signal(Signal::TERM);
    server.logged("shutting down");
    eventually("it is not ready", || {
        when(server.client.get("/health/ready", &[]), |answer| answer.status == 503)
    });
    assert_eq!(check("127.0.0.1").status.code(), Some(1));
    server.kill9();
    let gone = check("127.0.0.1");
    assert_eq!(gone.status.code(), Some(1));
    assert!(gone.log.contains("not ready"), "{}", gone.log);
}
