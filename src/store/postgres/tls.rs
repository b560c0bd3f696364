//! Where the database is and how to reach it: the connection string, with libpq's `sslmode` and
//! `sslrootcert` (<https://www.postgresql.org/docs/current/libpq-ssl.html>), which `tokio-postgres`
//! leaves to others.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

/// A database's address.
#[derive(Clone)]
pub struct Address {
    pub(super) config: Config,
    pub(super) tls: MakeRustlsConnect,
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

/// How far the server's certificate is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verify {
    Nothing,
    /// Signed by a trusted authority.
    Chain,
    /// ... and issued for the host's name.
    Name,
}

impl Address {
    /// Reads a connection string: a URL or libpq's key=value pairs.
    ///
    /// # Errors
    /// What is wrong, without the string itself, since there is a password in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (text, mode, root) = take_tls_options(text);
        let mut config: Config = text.parse().map_err(|error: tokio_postgres::Error| {
            use std::error::Error as _;
            let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            // What it quotes may be part of a password that was written wrongly.
            let cause = cause.split('`').next().unwrap_or_default().trim_end();
            format!(
                "{cause}; allowed are postgres://user:password@host:5432/database and libpq's \
                 key=value pairs"
            )
        })?;
        let at = |host: &Host| matches!(host, Host::Tcp(name) if name.contains('@'));
        if config.get_hosts().iter().any(at) {
            return Err("its host has an '@' in it; in a password, write %40 for it".to_owned());
        }
        if config.get_hosts().is_empty() {
            let error = "it names no host, as in postgres://user:password@host:5432/database";
            return Err(error.to_owned());
        }
        // Left in by a spelling that only `tokio-postgres` reads.
        if mode.is_none() && config.get_ssl_mode() != SslMode::Prefer {
            return Err("sslmode must be written as sslmode=require, without spaces".to_owned());
        }
        let (mode, verify) = match mode.as_deref().unwrap_or("prefer") {
            "disable" => (SslMode::Disable, Verify::Nothing),
            "allow" | "prefer" => (SslMode::Prefer, Verify::Nothing),
            // As in libpq: a root certificate turns require into verify-ca.
            "require" if root.is_some() => (SslMode::Require, Verify::Chain),
            "require" => (SslMode::Require, Verify::Nothing),
            "verify-ca" => (SslMode::Require, Verify::Chain),
            "verify-full" => (SslMode::Require, Verify::Name),
            // Not repeated: in a string that was taken apart wrongly it may be anything.
            _ => {
                let error = "sslmode is none of disable, allow, prefer, require, verify-ca, \
                     verify-full";
                return Err(error.to_owned());
            }
        };
        config.ssl_mode(mode);
        if config.get_application_name().is_none() {
            config.application_name("hooks-backend");
        }
        // A database that vanished without a word is noticed within a minute, not in two hours.
        if config.get_keepalives_idle() == Duration::from_hours(2) {
            config.keepalives_idle(Duration::from_secs(30));
            config.keepalives_interval(Duration::from_secs(10));
            config.keepalives_retries(3);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(Duration::from_mins(1));
        }
        let tls = MakeRustlsConnect::new(client_config(verify, root.as_deref())?);
        Ok(Self { config, tls })
    }
}

/// Takes `sslmode` and `sslrootcert` out of a connection string.
fn take_tls_options(text: &str) -> (String, Option<String>, Option<String>) {
    let (mut mode, mut root) = (None, None);
    let mut take = |option: &str| {
        let slot = match option.split_once('=') {
            Some(("sslmode", _)) => &mut mode,
            Some(("sslrootcert", _)) => &mut root,
            _ => return false,
        };
        let value = option.split_once('=').map_or("", |(_, value)| value).trim_matches('\'');
        // The one character of a path that a URL must not have as it is.
        *slot = Some(value.replace("%2F", "/").replace("%2f", "/"));
        true
    };
    let rest = if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        let (address, query) = text.split_once('?').unwrap_or((text, ""));
        let kept: Vec<&str> = query.split('&').filter(|option| !take(option)).collect();
        let kept = kept.join("&");
        if kept.is_empty() { address.to_owned() } else { format!("{address}?{kept}") }
    } else {
        let kept: Vec<&str> = text.split_whitespace().filter(|option| !take(option)).collect();
        kept.join(" ")
    };
    (rest, mode, root)
}

fn client_config(verify: Verify, root: Option<&str>) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))?;
    let chain = match verify {
        Verify::Nothing => None,
        Verify::Chain | Verify::Name => {
            let roots = Arc::new(roots(root)?);
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone());
            Some(verifier.build().map_err(|error| format!("sslrootcert: {error}"))?)
        }
    };
    let verifier = Arc::new(Verifier { provider, chain, name: verify == Verify::Name });
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// The trusted authorities: those of the file, or the operating system's.
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
                     ca-certificates); name a file with sslrootcert";
                return Err(error.to_owned());
            }
        }
    }
    Ok(roots)
}

/// Checks as much of a certificate as `sslmode` asks for. The handshake's signature always counts.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    chain: Option<Arc<WebPkiServerVerifier>>,
    name: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        let verified =
            chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // The name is the last thing that is checked.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.name => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
