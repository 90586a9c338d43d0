//! TLS to other hosts.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::Error;

/// TLS as the host's own certificates have it, read when they are first needed.
#[derive(Default)]
pub(crate) struct Tls(OnceCell<TlsConnector>);

impl Tls {
    pub(crate) async fn connector(&self) -> Result<TlsConnector, Error> {
        let connector = self.0.get_or_try_init(async || {
            // Hundreds of files, maybe.
            let read = tokio::task::spawn_blocking(read_certificates).await;
            read.unwrap_or_else(|error| Err(error.to_string()))
        });
        connector.await.cloned().map_err(|why| Error::InternalError(Some(why)))
    }
}

fn read_certificates() -> Result<TlsConnector, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(found.certs);
    if taken == 0 {
        let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        return Err(format!(
            "the host has no certificates to check TLS by{why}; install the package `ca-certificates`, or set SSL_CERT_FILE"
        ));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = config.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}
