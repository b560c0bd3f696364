//! The database of postgres storage.

use clap::Args;

/// The database.
#[derive(Args, Clone)]
#[command(next_help_heading = "Storage in PostgreSQL (postgres)")]
pub(crate) struct PostgresConfig {
    /// Connection string: <postgres://user:password@host:5432/database>; TLS by its sslmode
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) database_url: Option<String>,
}
