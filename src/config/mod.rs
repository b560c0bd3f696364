//! The configuration: every setting is an environment variable and a flag.

mod values;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

pub use self::values::parse_duration;
use self::values::{
    parse_body_bytes, parse_header_bytes, parse_journal_bytes, parse_rate_bytes,
    parse_rejected_bytes, parse_rotate, parse_timeout,
};
use crate::journal::Rotate;
use crate::postgres::Address;
use crate::redact::Redact;

/// All settings of `serve`.
#[derive(Args, Clone)]
pub struct Config {
    /// `PostgreSQL` connection string: <postgres://user:password@host:5432/database>
    #[arg(long, env, value_name = "DATABASE_URL", hide_env_values = true, global = true)]
    pub database_url: Option<String>,

    /// Where events are stored; auto: postgres if a database URL is set, else jsonl
    #[arg(long, env, value_name = "STORAGE_TYPE", ignore_case = true, global = true)]
    #[arg(default_value = "auto")]
    pub storage_type: StorageType,

    /// The JSON Lines file of jsonl storage
    #[arg(long, env, value_name = "JSONL_PATH", global = true)]
    #[arg(default_value = ".agentic/analytics/events.jsonl")]
    pub jsonl_path: PathBuf,

    /// The journal's directory in postgres storage; one for each server
    #[arg(
        long,
        env,
        value_name = "JOURNAL_DIR",
        default_value = ".agentic/journal",
        global = true
    )]
    pub journal_dir: PathBuf,

    /// Most bytes the journal may hold for a database that is away; at least 1MiB. Units: KiB, MiB, GiB
    #[arg(long, env, value_name = "JOURNAL_MAX_BYTES", default_value = "10GiB", global = true)]
    #[arg(value_parser = parse_journal_bytes)]
    pub journal_max_bytes: u64,

    /// How long the journal keeps what PostgreSQL has committed, while there is room: after a failover
    /// to a replica that lacks the last commits, it is delivered again. Units: s, m, h, d
    #[arg(long, env, value_name = "JOURNAL_RETENTION", default_value = "1h", global = true)]
    #[arg(value_parser = parse_duration)]
    pub journal_retention: Duration,

    /// When the JSON Lines file is put aside as NAME-TIME.jsonl and a new one begun: off, day (UTC), a
    /// size such as 100MiB, or both: day,100MiB
    #[arg(long, env, value_name = "JSONL_ROTATE", default_value = "off", global = true)]
    #[arg(value_parser = parse_rotate)]
    pub jsonl_rotate: Rotate,

    /// Days after which whole daily partitions (postgres) or rotated files (jsonl) are deleted; not
    /// set: never
    #[arg(long, env, value_name = "RETENTION_DAYS", global = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=36500))]
    pub retention_days: Option<u32>,

    /// When a request is answered: journal (the event is on disk) or stored (it is committed in the
    /// store too); a request can choose with ?ack=
    #[arg(
        long,
        env,
        value_name = "ACK",
        default_value = "journal",
        ignore_case = true,
        global = true
    )]
    pub ack: Ack,

    /// Time that a request with ack=stored waits for the database; beyond it, 503, and the events are stored
    /// all the same. Units: s, m, h
    #[arg(long, env, value_name = "STORED_TIMEOUT", default_value = "30s", global = true)]
    #[arg(value_parser = parse_timeout)]
    pub stored_timeout: Duration,

    /// Address to listen on; 0.0.0.0 for every interface
    #[arg(long, env, value_name = "HOST", global = true)]
    #[arg(default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub host: IpAddr,

    /// Port to listen on; 0 for any free one
    #[arg(long, env, value_name = "PORT", default_value_t = 8080, global = true)]
    pub port: u16,

    /// Keys that senders must show: name:key:scope, separated by commas; scopes are ingest, read, or
    /// ingest+read. Not set: everyone who reaches the port may write
    #[arg(long, env, value_name = "API_KEYS", hide_env_values = true, global = true)]
    pub api_keys: Option<String>,

    /// A file of such keys, one a line; read again on SIGHUP
    #[arg(long, env, value_name = "API_KEYS_FILE", global = true)]
    pub api_keys_file: Option<PathBuf>,

    /// The certificate to serve https with, and those that lead to its authority: a PEM file; read
    /// again on SIGHUP. Not set: http
    #[arg(long, env, value_name = "TLS_CERT", global = true)]
    pub tls_cert: Option<PathBuf>,

    /// The certificate's private key: a PEM file that is not encrypted
    #[arg(long, env, value_name = "TLS_KEY", global = true)]
    pub tls_key: Option<PathBuf>,

    /// Whether events keep the name of the key with which they were sent
    #[arg(long, env, value_name = "STORE_KEY_NAME", default_value = "false", global = true)]
    #[arg(action = clap::ArgAction::Set, value_parser = clap::builder::BoolishValueParser::new())]
    pub store_key_name: bool,

    /// Least severe messages to log
    #[arg(
        long,
        env,
        value_name = "LOG_LEVEL",
        default_value = "INFO",
        ignore_case = true,
        global = true
    )]
    pub log_level: LogLevel,

    /// Logs for people (text) or machines (json)
    #[arg(
        long,
        env,
        value_name = "LOG_FORMAT",
        default_value = "text",
        ignore_case = true,
        global = true
    )]
    pub log_format: LogFormat,

    /// Most bytes in a request's body, as sent and decompressed; at most 256MiB. Units: KiB, MiB
    #[arg(long, env, value_name = "MAX_BODY_BYTES", default_value = "16MiB", global = true)]
    #[arg(value_parser = parse_body_bytes)]
    pub max_body_bytes: u64,

    /// Most events in one batch
    #[arg(long, env, value_name = "MAX_BATCH_EVENTS", default_value_t = 10_000, global = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub max_batch_events: u32,

    /// Deepest nesting of objects and arrays in data and extra fields; 1 to 1000
    #[arg(long, env, value_name = "MAX_DEPTH", default_value_t = 120, global = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub max_depth: u32,

    /// What takes secrets out of events before they are stored: off, standard (the shapes of
    /// well-known tokens and keys), or the path of a patterns file (NAME = REGEX, one a line)
    #[arg(long, env, value_name = "REDACT", default_value = "off", global = true)]
    pub redact: Redact,

    /// Up to how many bytes rejected.jsonl keeps copies of the invalid events of a batch, which their
    /// sender is told of; what was answered 202 is always kept. Units: KiB, MiB, GiB
    #[arg(long, env, value_name = "REJECTED_MAX_BYTES", default_value = "256MiB", global = true)]
    #[arg(value_parser = parse_rejected_bytes)]
    pub rejected_max_bytes: u64,

    /// Most bytes of request bodies in memory at once; beyond it, 503. Units: KiB, MiB, GiB
    #[arg(long, env, value_name = "MAX_INFLIGHT_BYTES", default_value = "256MiB", global = true)]
    #[arg(value_parser = parse_journal_bytes)]
    pub max_inflight_bytes: u64,

    /// Most open connections; beyond it, 503
    #[arg(long, env, value_name = "MAX_CONNECTIONS", default_value_t = 10_000, global = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: u32,

    /// Most bytes of a request's target and headers; beyond it, 431. Units: KiB, MiB
    #[arg(long, env, value_name = "MAX_HEADER_BYTES", default_value = "16KiB", global = true)]
    #[arg(value_parser = parse_header_bytes)]
    pub max_header_bytes: u64,

    /// Most headers of a request; beyond it, 431
    #[arg(long, env, value_name = "MAX_HEADERS", default_value_t = 64, global = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(8..=10_000))]
    pub max_headers: u32,

    /// Time that a request's head may take once it has begun, and a TLS handshake; beyond it, the
    /// connection is closed. Units: s, m, h
    #[arg(long, env, value_name = "HEADER_TIMEOUT", default_value = "30s", global = true)]
    #[arg(value_parser = parse_timeout)]
    pub header_timeout: Duration,

    /// Time that a request's body may take to arrive; beyond it, 408. An answer that a client takes
    /// nothing of for that long is cut off. Units: s, m, h
    #[arg(long, env, value_name = "BODY_TIMEOUT", default_value = "30s", global = true)]
    #[arg(value_parser = parse_timeout)]
    pub body_timeout: Duration,

    /// Time that a connection may stay open without a request. Units: s, m, h
    #[arg(long, env, value_name = "IDLE_TIMEOUT", default_value = "10m", global = true)]
    #[arg(value_parser = parse_timeout)]
    pub idle_timeout: Duration,

    /// Events that one sender, told by its API key or else its address, may send a second; beyond it,
    /// 429. Not set: any number
    #[arg(long, env, value_name = "RATE_LIMIT_EVENTS", global = true)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub rate_limit_events: Option<u64>,

    /// Bytes of events, as sent or decompressed, that one sender may send a second; beyond it, 429. Not
    /// set: any number. Units: KiB, MiB, GiB
    #[arg(long, env, value_name = "RATE_LIMIT_BYTES", global = true)]
    #[arg(value_parser = parse_rate_bytes)]
    pub rate_limit_bytes: Option<u64>,

    /// Time that requests, and then the journal and the forwarder, each get to finish after SIGTERM or
    /// SIGINT. Units: s, m
    #[arg(long, env, value_name = "SHUTDOWN_TIMEOUT", default_value = "10s", global = true)]
    #[arg(value_parser = parse_duration)]
    pub shutdown_timeout: Duration,
}

impl Config {
    /// Checks what no value shows alone.
    ///
    /// # Errors
    /// Which settings do not go together, and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        if self.max_inflight_bytes < self.max_body_bytes.saturating_mul(4) {
            return Err(format!(
                "MAX_INFLIGHT_BYTES is {}, and must be at least four times MAX_BODY_BYTES, which \
                 is {}: a request is held as received, decompressed and stored",
                self.max_inflight_bytes, self.max_body_bytes
            ));
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            let (set, missing) = match self.tls_cert {
                Some(_) => ("TLS_CERT", "TLS_KEY"),
                None => ("TLS_KEY", "TLS_CERT"),
            };
            return Err(format!(
                "{set} is set, but {missing} is not: set both to PEM files to serve https, or \
                 neither to serve http"
            ));
        }
        Ok(())
    }

    /// The storage that the settings come to.
    ///
    /// # Errors
    /// If `DATABASE_URL` is missing where `STORAGE_TYPE=postgres` needs it, or is not understood.
    pub fn storage(&self) -> Result<Storage, String> {
        match (self.storage_type, &self.database_url) {
            (StorageType::Jsonl, _) | (StorageType::Auto, None) => Ok(Storage::Jsonl),
            (StorageType::Auto | StorageType::Postgres, Some(url)) => {
                // Not left to the command line's parser, whose errors show the value, which has a
                // password in it.
                let address = Address::parse(url)
                    .map_err(|error| format!("DATABASE_URL cannot be used: {error}"))?;
                Ok(Storage::Postgres(Box::new(address)))
            }
            (StorageType::Postgres, None) => {
                Err("STORAGE_TYPE is 'postgres', but DATABASE_URL is \
                 not set: set it to a connection string such as \
                 postgres://user:password@host:5432/database, or set STORAGE_TYPE to 'jsonl'"
                    .to_owned())
            }
        }
    }
}

/// Where events end up.
#[derive(Clone, Debug)]
pub enum Storage {
    /// A JSON Lines file.
    Jsonl,
    /// A PostgreSQL database.
    Postgres(Box<Address>),
}

impl Storage {
    /// The name that the configuration and the API have for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Postgres(_) => "postgres",
        }
    }
}

/// `STORAGE_TYPE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StorageType {
    /// PostgreSQL if there is a `DATABASE_URL`.
    Auto,
    /// PostgreSQL.
    Postgres,
    /// A JSON Lines file.
    Jsonl,
}

/// When a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Ack {
    /// When its events are durable in the journal.
    Journal,
    /// When they are committed in the store.
    Stored,
}

/// `LOG_LEVEL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Everything.
    Trace,
    /// What helps to find a fault.
    Debug,
    /// What happens once.
    Info,
    /// What someone should look at.
    #[value(alias = "warning")]
    Warn,
    /// What someone must look at.
    #[value(alias = "critical")]
    Error,
}

/// `LOG_FORMAT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}
