//! Server settings. Each one is a flag of `serve` and an environment variable.
//!
//! One file a group, so that a module can take the group that concerns it instead of all settings.

mod access;
mod http;
mod journal;
mod jsonl;
mod limits;
mod listen;
mod logging;
mod paths;
mod postgres;
mod redaction;
mod source;
mod storage;
mod tls;
mod values;

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

pub(crate) use access::AccessConfig;
pub use http::Ack;
pub(crate) use http::HttpConfig;
pub(crate) use journal::JournalConfig;
pub(crate) use jsonl::JsonlConfig;
pub(crate) use limits::LimitsConfig;
pub(crate) use listen::ListenConfig;
pub use logging::LoggingConfig;
pub(crate) use logging::{LogFormat, LogLevel};
pub(crate) use postgres::PostgresConfig;
pub(crate) use redaction::RedactionConfig;
pub(crate) use source::{SettingName, Sources};
pub(crate) use storage::{Storage, StorageConfig, StorageType};
pub(crate) use tls::TlsConfig;
pub(crate) use values::parse_duration;

use crate::journal::Rotate;
use crate::postgres::Address;

/// All server settings.
#[derive(Args, Clone)]
pub struct Config {
    #[command(flatten)]
    pub(crate) listen: ListenConfig,
    #[command(flatten)]
    pub(crate) storage: StorageConfig,
    #[command(flatten)]
    pub(crate) jsonl: JsonlConfig,
    #[command(flatten)]
    pub(crate) postgres: PostgresConfig,
    #[command(flatten)]
    pub(crate) journal: JournalConfig,
    #[command(flatten)]
    pub(crate) http: HttpConfig,
    #[command(flatten)]
    pub(crate) access: AccessConfig,
    #[command(flatten)]
    pub(crate) tls: TlsConfig,
    #[command(flatten)]
    pub(crate) limits: LimitsConfig,
    #[command(flatten)]
    pub(crate) redaction: RedactionConfig,
    /// Logging, which starts before the server does.
    #[command(flatten)]
    pub logging: LoggingConfig,
    #[arg(skip)]
    pub(crate) sources: Sources,
}

/// Settings that are not valid together, or not on this machine.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error(
        "MAX_INFLIGHT_BYTES is {in_flight}, and must be at least four times MAX_BODY_BYTES, which \
         is {body}: a request is held as received, decompressed and stored"
    )]
    InflightTooSmall { in_flight: u64, body: u64 },
    #[error(
        "{set} is set, but {missing} is not: set both to PEM files to serve https, or neither to \
         serve http"
    )]
    HalfOfTls { set: &'static str, missing: &'static str },
    #[error("{setting} cannot be used as a connection string: {reason}")]
    DatabaseUrl { setting: SettingName, reason: String },
    #[error("{setting} is {}, which cannot be used: {reason}", quoted(path))]
    Path { setting: SettingName, path: PathBuf, reason: String },
    #[error(
        "{setting} is '{host}', which is neither an IP address nor a host name that can be resolved \
         ({error}). Set --host or HOST to 127.0.0.1 for this machine only, or to 0.0.0.0 for all \
         interfaces; conda and some shells set HOST themselves"
    )]
    Host { setting: SettingName, host: String, error: io::Error },
    #[error(
        "STORAGE_TYPE is 'postgres', but DATABASE_URL is not set: set it to a connection string \
         such as postgres://user:password@host:5432/database, or set STORAGE_TYPE to 'jsonl'"
    )]
    DatabaseUrlMissing,
}

impl Config {
    /// Checks the settings against each other, and returns the storage that they select.
    pub(crate) fn check(&self) -> Result<Storage, ConfigError> {
        self.limits.check()?;
        self.tls.check()?;
        let storage = self.selected_storage()?;
        match &storage {
            Storage::Jsonl => paths::check_file(self.sources.name("JSONL_PATH"), &self.jsonl.path)?,
            Storage::Postgres(address) => {
                paths::check_directory(self.sources.name("JOURNAL_DIR"), &self.journal.dir)?;
                for warning in &address.warnings {
                    tracing::warn!("DATABASE_URL: {warning}");
                }
            }
        }
        let keeps_files = self.jsonl.rotate == Rotate::default();
        if self.storage.retention_days.is_some() && matches!(storage, Storage::Jsonl) && keeps_files
        {
            tracing::warn!(
                "RETENTION_DAYS has no effect: it deletes rotated files, and JSONL_ROTATE is off"
            );
        }
        Ok(storage)
    }

    fn selected_storage(&self) -> Result<Storage, ConfigError> {
        match (self.storage.storage_type, &self.postgres.database_url) {
            (StorageType::Jsonl, _) | (StorageType::Auto, None) => Ok(Storage::Jsonl),
            (StorageType::Auto | StorageType::Postgres, Some(url)) => {
                // Parsed here and not by clap: clap's errors quote the value, which holds a password.
                let mut address = Address::parse(url).map_err(|reason| {
                    let setting = self.sources.name("DATABASE_URL");
                    ConfigError::DatabaseUrl { setting, reason }
                })?;
                address.connections_max = self.postgres.database_connections as usize;
                Ok(Storage::Postgres(Box::new(address)))
            }
            (StorageType::Postgres, None) => Err(ConfigError::DatabaseUrlMissing),
        }
    }
}

/// A path in quotes, with control characters escaped.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().escape_debug())
}
