//! TLS as both sides of the server use it: one cryptography, and as much checking as is asked for.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

/// How far a client checks a server's certificate.
#[derive(Debug)]
pub(crate) enum Verify {
    /// Encryption alone.
    Nothing,
    /// Signed by one of these authorities.
    Chain(RootCertStore),
    /// ... and issued for the host's name.
    Name(RootCertStore),
}

/// The cryptography, `ring`.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// What a client needs for connections that are checked so far.
///
/// # Errors
/// If there is no authority to check with.
pub(crate) fn client_config(verify: Verify) -> Result<ClientConfig, String> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))?;
    let name = matches!(verify, Verify::Name(_));
    let chain = match verify {
        Verify::Nothing => None,
        Verify::Chain(roots) | Verify::Name(roots) => Some(chain_verifier(roots)?),
    };
    let verifier = Arc::new(Verifier { provider, chain, name });
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// Whether a certificate's time has passed, or has not come. One that cannot be read is not judged.
pub(crate) fn out_of_date(certificate: &CertificateDer<'_>) -> Option<String> {
    let mut roots = RootCertStore::empty();
    // Validity is checked before the chain, so it does not matter whether this one leads anywhere.
    roots.add(certificate.clone().into_owned()).ok()?;
    let name = ServerName::try_from("localhost").ok()?;
    let verified = chain_verifier(roots).ok()?.verify_server_cert(
        certificate,
        &[],
        &name,
        &[],
        UnixTime::now(),
    );
    match verified {
        Err(Error::InvalidCertificate(
            error @ (CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. }),
        )) => Some(error.to_string()),
        _ => None,
    }
}

fn chain_verifier(roots: RootCertStore) -> Result<Arc<WebPkiServerVerifier>, String> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| format!("trusted certificates: {error}"))
}

/// Checks as much of a certificate as is asked for. The handshake's signature always counts.
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
