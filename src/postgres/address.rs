//! The connection string of the database, with libpq's `sslmode` and
//! `sslrootcert` (<https://www.postgresql.org/docs/current/libpq-ssl.html>), which `tokio-postgres`
//! leaves to others.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::options::{self, ConnectionOptions};
use crate::tls::{ClientCertificate, Verify, client_config};

/// Default of `DATABASE_CONNECTIONS`.
const CONNECTIONS_DEFAULT: usize = 6;

/// A database's address.
#[derive(Clone)]
pub struct Address {
    pub(super) config: Config,
    pub(super) tls: MakeRustlsConnect,
    /// Maximum number of connections (`DATABASE_CONNECTIONS`): up to a half for delivery, the others for
    /// reading, which also fills the filters of ids for a moment now and then.
    pub(crate) connections_max: usize,
    /// Options of the connection string that have no effect, each with the reason.
    pub(crate) warnings: Vec<String>,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

impl fmt::Display for Address {
    /// The database and its hosts, without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on ", self.config.get_dbname().unwrap_or("default"))?;
        for (at, host) in self.config.get_hosts().iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            match host {
                Host::Tcp(name) => write!(f, "{comma}{name}")?,
                Host::Unix(path) => write!(f, "{comma}{}", path.display())?,
            }
        }
        Ok(())
    }
}

impl Address {
    /// Opens a connection. It closes when the client is dropped. Errors of the connection reach the user of
    /// the client.
    ///
    /// A pooler may give each transaction another connection to the database. So nothing may be left behind
    /// by a transaction: no settings, no named statements, no temporary tables, no locks.
    pub(super) async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = self.config.connect(self.tls.clone()).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Parses a connection string: a URL or libpq's key=value pairs.
    ///
    /// # Errors
    /// The reason, without the string itself, which has a password in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let options = ConnectionOptions::parse(text)?;
        let mut config: Config = options.text.parse().map_err(|error| parse_error(&error))?;
        let at = |host: &Host| matches!(host, Host::Tcp(name) if name.contains('@'));
        if config.get_hosts().iter().any(at) {
            return Err("its host contains an '@'; write %40 for an '@' in the password".to_owned());
        }
        if config.get_hosts().is_empty() {
            let error = "it names no host, as in postgres://user:password@host:5432/database";
            return Err(error.to_owned());
        }
        let (mode, root) = (&options.sslmode, &options.sslrootcert);
        let roots = || roots(root.as_deref());
        let (mode, verify) = match mode.as_deref().unwrap_or("prefer") {
            "disable" => (SslMode::Disable, Verify::Nothing),
            "allow" | "prefer" => (SslMode::Prefer, Verify::Nothing),
            // As in libpq: a root certificate turns require into verify-ca.
            "require" if root.is_some() => (SslMode::Require, Verify::Chain(roots()?)),
            "require" => (SslMode::Require, Verify::Nothing),
            "verify-ca" => (SslMode::Require, Verify::Chain(roots()?)),
            "verify-full" => (SslMode::Require, Verify::Name(roots()?)),
            // The value is not repeated: with a wrong syntax it may be part of a password.
            _ => {
                let error = "sslmode is invalid; allowed are disable, allow, prefer, require, verify-ca, \
                     verify-full";
                return Err(error.to_owned());
            }
        };
        config.ssl_mode(mode);
        if config.get_application_name().is_none() {
            config.application_name("hooks-backend");
        }
        // Detects a lost connection within a minute instead of two hours.
        if config.get_keepalives_idle() == Duration::from_hours(2) {
            config.keepalives_idle(Duration::from_secs(30));
            config.keepalives_interval(Duration::from_secs(10));
            config.keepalives_retries(3);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(Duration::from_mins(1));
        }
        let certificate = client_certificate(&options)?;
        let tls = MakeRustlsConnect::new(client_config(verify, certificate)?);
        let connections_max = CONNECTIONS_DEFAULT;
        Ok(Self { config, tls, connections_max, warnings: options.warnings })
    }
}

/// Describes an error of `tokio-postgres` without the text that it quotes, which may be part of a password
/// with a wrong syntax. The name of an option is not.
fn parse_error(error: &tokio_postgres::Error) -> String {
    use std::error::Error as _;
    let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    let mut quoted = cause.split('`');
    let cause = quoted.next().unwrap_or_default().trim_end();
    let option = quoted.next().filter(|option| options::is_used(option));
    let option = option.map(|option| format!(" {option}")).unwrap_or_default();
    format!(
        "{cause}{option}; allowed are postgres://user:password@host:5432/database and libpq's \
         key=value pairs"
    )
}

/// Reads the client certificate of `sslcert` and `sslkey`.
fn client_certificate(options: &ConnectionOptions) -> Result<Option<ClientCertificate>, String> {
    let (certificate, key) = match (&options.sslcert, &options.sslkey) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, None) => return Ok(None),
        (Some(_), None) => return Err("option sslcert needs sslkey, a PEM file".to_owned()),
        (None, Some(_)) => return Err("option sslkey needs sslcert, a PEM file".to_owned()),
    };
    let named =
        |name: &str, path: &str, error: &dyn fmt::Display| format!("{name} {path}: {error}");
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| named("sslcert", certificate, &error))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| named("sslkey", key, &error))?;
    Ok(Some(ClientCertificate { chain, key }))
}

/// The trusted root certificates: those of the file, or of the operating system.
fn roots(file: Option<&str>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(path) if path != "system" => {
            let named = |error: &dyn fmt::Display| format!("sslrootcert {path}: {error}");
            let certificates = CertificateDer::pem_file_iter(Path::new(path));
            for certificate in certificates.map_err(|error| named(&error))? {
                let certificate = certificate.map_err(|error| named(&error))?;
                roots.add(certificate).map_err(|error| named(&error))?;
            }
            if roots.is_empty() {
                return Err(named(&"it has no certificate"));
            }
        }
        _ => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                let error = "the operating system has no trusted certificates (package \
                     ca-certificates); set sslrootcert to a file";
                return Err(error.to_owned());
            }
        }
    }
    Ok(roots)
}
