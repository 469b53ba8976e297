//! TLS settings of a client: whom to trust, and which certificate to show.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::Error;

/// Where certificates come from. The default trusts the system's authorities.
#[derive(Debug, Clone, Default)]
pub struct TlsOptions {
    /// A PEM file of authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// A folder of such files.
    pub ca_path: Option<PathBuf>,
    /// The certificate chain to show, PEM. Needs `client_key`.
    pub client_cert: Option<PathBuf>,
    /// The key of `client_cert`, PEM.
    pub client_key: Option<PathBuf>,
    /// Accept any server certificate.
    pub skip_verify: bool,
}

/// Builds the settings of a TLS client.
///
/// # Errors
/// [`Error::TlsFile`] for an unreadable file, [`Error::TlsConfig`] if things do not fit.
pub fn client_config(options: &TlsOptions) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::TlsConfig(e.to_string()))?;
    let builder = if options.skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAny(provider)))
    } else {
        builder.with_root_certificates(roots(options)?)
    };
    let config = match (&options.client_cert, &options.client_key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let chain = read_certificates(cert)?;
            let key_der = PrivateKeyDer::from_pem_file(key).map_err(|e| file_error(key, e.to_string()))?;
            builder.with_client_auth_cert(chain, key_der).map_err(|e| Error::TlsConfig(e.to_string()))?
        }
        (Some(_), None) => return Err(Error::TlsConfig("a client certificate needs its key".into())),
        (None, Some(_)) => return Err(Error::TlsConfig("a client key needs its certificate".into())),
    };
    Ok(Arc::new(config))
}

fn roots(options: &TlsOptions) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let mut add = |path: &Path| -> Result<(), Error> {
        for cert in read_certificates(path)? {
            roots.add(cert).map_err(|e| file_error(path, e.to_string()))?;
        }
        Ok(())
    };
    if let Some(file) = &options.ca_file {
        add(file)?;
    } else if let Some(folder) = &options.ca_path {
        let entries = std::fs::read_dir(folder).map_err(|e| file_error(folder, e.to_string()))?;
        for entry in entries {
            let path = entry.map_err(|e| file_error(folder, e.to_string()))?.path();
            if path.is_file() {
                add(&path)?;
            }
        }
    } else {
        for cert in rustls_native_certs::load_native_certs().certs {
            // The system's store may hold entries this library refuses; the others still count.
            let _refused = roots.add(cert);
        }
    }
    Ok(roots)
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certs = CertificateDer::pem_file_iter(path)
        .map_err(|e| file_error(path, e.to_string()))?
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| file_error(path, e.to_string()))?;
    if certs.is_empty() {
        return Err(file_error(path, "no certificate in it".to_owned()));
    }
    Ok(certs)
}

fn file_error(path: &Path, reason: String) -> Error {
    Error::TlsFile { path: path.display().to_string(), reason }
}

/// Checks that the peer owns the key it shows, but not who it is.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
