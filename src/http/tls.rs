//! TLS of the two public listeners: rustls with ring, TLS 1.3 and 1.2. Back ends and operators show a client certificate, and
//! who they are is its only subjectAltName URI.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::config::{MutualTlsListener, TlsListener};

/// Why a listener's TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing or is not PEM of the right kind.
    #[error("{path}: {what}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Certificate and key do not fit, or the stack refuses them.
    #[error("TLS cannot be set up with the files of [listen]")]
    Tls(#[from] rustls::Error),
    /// The client authorities cannot be used.
    #[error("client_ca: {0}")]
    ClientCa(String),
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let refuse = |what: String| TlsError::File { path: path.to_owned(), what };
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(|e| refuse(e.to_string()))?
        .collect::<Result<_, _>>()
        .map_err(|e| refuse(e.to_string()))?;
    if chain.is_empty() { Err(refuse("no certificate in the file".to_owned())) } else { Ok(chain) }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|e| TlsError::File { path: path.to_owned(), what: e.to_string() })
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn finish(mut config: ServerConfig) -> Arc<ServerConfig> {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// TLS of the device listener: the server shows its certificate, phones show none.
///
/// # Errors
/// [`TlsError`]: files missing or not fitting.
pub(super) fn device(listener: &TlsListener) -> Result<Arc<ServerConfig>, TlsError> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates(&listener.certificate)?, key(&listener.key)?)?;
    Ok(finish(config))
}

/// TLS of the back-end listener: a client certificate of one of the authorities is demanded.
///
/// # Errors
/// [`TlsError`]: files missing or not fitting.
pub(super) fn backend(listener: &MutualTlsListener) -> Result<Arc<ServerConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&listener.client_ca)? {
        roots.add(certificate)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| TlsError::ClientCa(error.to_string()))?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(&listener.certificate)?, key(&listener.key)?)?;
    Ok(finish(config))
}

/// The principal that a verified client certificate names: its only subjectAltName URI. None if it has no URI, or several:
/// who a certificate stands for is never a choice.
pub fn principal_uri(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = x509_cert::Certificate::from_der(certificate).ok()?;
    let (_, names) = certificate.tbs_certificate().get_extension::<SubjectAltName>().ok()??;
    let mut uris = names.0.iter().filter_map(|name| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str().to_owned()),
        _ => None,
    });
    let first = uris.next()?;
    uris.next().is_none().then_some(first)
}
