//! The certificate of the server, which can be reloaded while it runs.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{Error, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::tls::{out_of_date, provider};

/// The certificate and key from `TLS_CERT` and `TLS_KEY`.
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    acceptor: RwLock<TlsAcceptor>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads both files.
    ///
    /// # Errors
    /// If a file cannot be used; the message names it.
    pub fn new(certificate: PathBuf, key: PathBuf) -> Result<Self, String> {
        let acceptor = RwLock::new(read(&certificate, &key)?);
        Ok(Self { certificate, key, acceptor })
    }

    /// Reads the files again, for new connections. Invalid files leave the certificate unchanged.
    pub fn reload(&self) {
        match read(&self.certificate, &self.key) {
            Ok(acceptor) => {
                *self.acceptor.write().unwrap_or_else(PoisonError::into_inner) = acceptor;
                tracing::info!(file = %self.certificate.display(), "certificate reloaded");
            }
            Err(error) => tracing::error!(%error, "certificate not changed"),
        }
    }

    /// Returns the acceptor with the current certificate.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn read(certificate: &Path, key: &Path) -> Result<TlsAcceptor, String> {
    let chain = read_chain(certificate)?;
    if let Some(why) = chain.first().and_then(out_of_date) {
        // Not an error: clients that do not check the certificate can still connect.
        tracing::warn!("TLS_CERT {}: {why}", certificate.display());
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| match error {
        PemError::NoItemsFound => named(
            "TLS_KEY",
            key,
            &"no private key found; expected PEM (PKCS#8, PKCS#1 or SEC1), not encrypted",
        ),
        error => named("TLS_KEY", key, &describe(error)),
    })?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret))
        .map_err(|error| match error {
            Error::InconsistentKeys(_) => named(
                "TLS_KEY",
                key,
                &format!("not the key of the certificate in TLS_CERT {}", certificate.display()),
            ),
            Error::InvalidCertificate(_) => named("TLS_CERT", certificate, &error),
            error => named("TLS_KEY", key, &error),
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Reads the certificate and its intermediate certificates.
fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let named = |error: PemError| named("TLS_CERT", path, &describe(error));
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(named)?
        .collect::<Result<_, _>>()
        .map_err(named)?;
    if chain.is_empty() {
        return Err(named(PemError::NoItemsFound));
    }
    Ok(chain)
}

fn describe(error: PemError) -> String {
    match error {
        PemError::Io(error) => error.to_string(),
        PemError::NoItemsFound => {
            "no certificate found; expected PEM (BEGIN CERTIFICATE)".to_owned()
        }
        PemError::MissingSectionEnd { .. } => {
            "the file ends in the middle of a PEM section".to_owned()
        }
        PemError::Base64Decode(_) => "a PEM section is not base64".to_owned(),
        error => error.to_string(),
    }
}

fn named(variable: &str, path: &Path, error: &dyn Display) -> String {
    format!("{variable} {}: {error}", path.display())
}
