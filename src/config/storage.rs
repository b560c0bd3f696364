//! The choice of storage, and what both storages have in common.

use clap::{Args, ValueEnum};

use super::values::{KIB, bytes_from, parse_file_mode};
use crate::postgres::Address;

/// The choice of storage.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Storage")]
pub(crate) struct StorageConfig {
    /// Where events are stored
    #[arg(long, env = "STORAGE_TYPE", value_name = "TYPE", ignore_case = true)]
    #[arg(default_value = "auto")]
    pub(crate) storage_type: StorageType,

    /// Delete whole daily partitions (postgres) or rotated files (jsonl) after this number of days;
    /// unset: never
    #[arg(long, env = "RETENTION_DAYS", value_name = "DAYS")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=36500))]
    pub(crate) retention_days: Option<u32>,

    /// Maximum size of rejected.jsonl for the invalid events of a batch, which their sender was told
    /// about; events that were accepted with 202 are always kept. Units: KiB, MiB, GiB
    #[arg(long, env = "REJECTED_MAX_BYTES", value_name = "SIZE", default_value = "256MiB")]
    #[arg(value_parser = bytes_from(KIB))]
    pub(crate) rejected_max_bytes: u64,

    /// Mode of new files: 0600 for the server's user alone; 0640 or 0660 for its group too, to read or
    /// to write. New directories can also be entered. Existing files keep their modes
    #[arg(long, env = "FILE_MODE", value_name = "MODE", default_value = "0600")]
    #[arg(value_parser = parse_file_mode)]
    pub(crate) file_mode: u32,
}

/// `STORAGE_TYPE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StorageType {
    /// postgres if --database-url is set, otherwise jsonl
    Auto,
    /// A PostgreSQL database
    Postgres,
    /// A JSON Lines file
    Jsonl,
}

/// The selected storage.
#[derive(Clone, Debug)]
pub(crate) enum Storage {
    /// A JSON Lines file.
    Jsonl,
    /// A PostgreSQL database.
    Postgres(Box<Address>),
}

impl Storage {
    /// Returns the name used in the configuration and the API.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Postgres(_) => "postgres",
        }
    }
}
