//! TLS of the HTTP server.

use std::path::{Path, PathBuf};

use clap::Args;

use super::ConfigError;

/// Certificate and key.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "TLS")]
pub(crate) struct TlsConfig {
    /// Certificate to serve https with, followed by its intermediates: a PEM file; read again on
    /// SIGHUP. Unset: http
    #[arg(id = "tls-cert", long, env = "TLS_CERT", value_name = "FILE")]
    pub(crate) cert: Option<PathBuf>,

    /// Private key of the certificate: an unencrypted PEM file
    #[arg(id = "tls-key", long, env = "TLS_KEY", value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
}

impl TlsConfig {
    /// Returns the certificate's and the key's file; `None` to serve http.
    pub(crate) fn files(&self) -> Option<(&Path, &Path)> {
        self.cert.as_deref().zip(self.key.as_deref())
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let (set, missing) = match (&self.cert, &self.key) {
            (Some(_), None) => ("TLS_CERT", "TLS_KEY"),
            (None, Some(_)) => ("TLS_KEY", "TLS_CERT"),
            _ => return Ok(()),
        };
        Err(ConfigError::HalfOfTls { set, missing })
    }
}
