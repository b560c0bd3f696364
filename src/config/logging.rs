//! Logging.

use clap::{Args, ValueEnum};

/// Logging.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Logging")]
pub struct LoggingConfig {
    /// Minimum log level
    #[arg(id = "log-level", long, env = "LOG_LEVEL", value_name = "LEVEL")]
    #[arg(default_value = "INFO", ignore_case = true)]
    pub(crate) level: LogLevel,

    /// Log format
    #[arg(id = "log-format", long, env = "LOG_FORMAT", value_name = "FORMAT")]
    #[arg(default_value = "text", ignore_case = true)]
    pub(crate) format: LogFormat,
}

/// `LOG_LEVEL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    Trace,
    Debug,
    Info,
    #[value(alias = "warning")]
    Warn,
    #[value(alias = "critical")]
    Error,
}

/// `LOG_FORMAT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One line of text a message
    Text,
    /// One JSON object a message
    Json,
}
