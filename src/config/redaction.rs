//! Removal of secrets from events.

use clap::Args;

use crate::redact::Redact;

/// Removal of secrets.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Redaction")]
pub(crate) struct RedactionConfig {
    /// Remove secrets from events before they are stored: off, standard (the patterns of well-known
    /// tokens and keys), or a file of patterns (NAME = REGEX, one a line)
    #[arg(long, env = "REDACT", value_name = "off|standard|FILE", default_value = "off")]
    pub(crate) redact: Redact,
}
