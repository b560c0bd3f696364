//! The JSON Lines file of jsonl storage.

use std::path::PathBuf;

use clap::Args;

use super::values::parse_rotate;
use crate::journal::Rotate;

/// The JSON Lines file.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Storage in JSON Lines (jsonl)")]
pub(crate) struct JsonlConfig {
    /// The JSON Lines file
    #[arg(id = "jsonl-path", long, env = "JSONL_PATH", value_name = "FILE")]
    #[arg(default_value = ".agentic/analytics/events.jsonl")]
    pub(crate) path: PathBuf,

    /// When to rename the file to NAME-TIME.jsonl and begin a new one: off, day (UTC), a size such as
    /// 100MiB, or both: day,100MiB
    #[arg(id = "jsonl-rotate", long, env = "JSONL_ROTATE", value_name = "WHEN")]
    #[arg(default_value = "off", value_parser = parse_rotate)]
    pub(crate) rotate: Rotate,
}
