//! The database of postgres storage.

use clap::Args;

/// The database.
#[derive(Args, Clone)]
#[command(next_help_heading = "Storage in PostgreSQL (postgres)")]
pub(crate) struct PostgresConfig {
    /// Connection string: <postgres://user:password@host:5432/database>; TLS by its sslmode
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) database_url: Option<String>,

    /// Maximum number of connections to the database, 2 to 100; at least half of them are for reading
    #[arg(long, env = "DATABASE_CONNECTIONS", value_name = "NUMBER", default_value_t = 6)]
    #[arg(value_parser = clap::value_parser!(u32).range(2..=100))]
    pub(crate) database_connections: u32,
}
