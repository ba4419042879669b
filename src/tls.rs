//! TLS towards Hubs and git servers: rustls with ring, trusting what the machine trusts.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// The settings, made once: roots from `SSL_CERT_FILE`, `SSL_CERT_DIR` or the system's store, and
/// where there are none (a minimal image), the Mozilla roots that are compiled in.
pub(crate) fn client_config() -> Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    Arc::clone(CONFIG.get_or_init(|| Arc::new(build())))
}

fn build() -> ClientConfig {
    with(machine_roots())
}

fn machine_roots() -> RootCertStore {
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(%error, "a TLS root certificate could not be loaded");
    }
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(native.certs);
    if added == 0 {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

/// The same roots, and the certificates of a PEM file.
pub(crate) fn client_config_with(ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let Some(file) = ca_file else {
        return Ok((*client_config()).clone());
    };
    let fault = |why: String| format!("cannot use the certificates in {}: {why}", file.display());
    let mut roots = machine_roots();
    let before = roots.len();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|e| fault(e.to_string()))? {
        let certificate = certificate.map_err(|e| fault(e.to_string()))?;
        roots.add(certificate).map_err(|e| fault(e.to_string()))?;
    }
    if roots.len() == before {
        return Err(fault("there are none in PEM form".to_owned()));
    }
    Ok(with(roots))
}

/// Trusts nobody: for a client that speaks in the clear.
pub(crate) fn without_roots() -> ClientConfig {
    with(RootCertStore::empty())
}

fn with(roots: RootCertStore) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap_or_else(|error| unreachable!("ring knows the default TLS versions: {error}"));
    config.with_root_certificates(roots).with_no_client_auth()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_are_made_once() {
        assert!(Arc::ptr_eq(&client_config(), &client_config()));
    }
}
