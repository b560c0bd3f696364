//! API keys.

use std::path::PathBuf;

use clap::Args;

/// API keys.
#[derive(Args, Clone)]
#[command(next_help_heading = "Access")]
pub(crate) struct AccessConfig {
    /// API keys as name:key:scope, separated by commas; scopes: ingest, read, ingest+read. Without
    /// keys, anyone who reaches the port can write, and reading needs the read token in the file
    /// that the server's log names
    #[arg(long, env = "API_KEYS", value_name = "KEYS", hide_env_values = true)]
    pub(crate) api_keys: Option<String>,

    /// File with more API keys, one a line; read again on SIGHUP
    #[arg(long, env = "API_KEYS_FILE", value_name = "FILE")]
    pub(crate) api_keys_file: Option<PathBuf>,

    /// Store with each event the name of the API key that sent it
    #[arg(long, env = "STORE_KEY_NAME", value_name = "true|false", default_value = "false")]
    #[arg(action = clap::ArgAction::Set, value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) store_key_name: bool,
}
