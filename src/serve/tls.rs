//! TLS for the HTTP server: what to accept with. Handshakes are done by the connections themselves.

use std::path::Path;

use anyhow::{Context, Result};
use native_tls::{Identity, Protocol};
use tokio_native_tls::TlsAcceptor;

use crate::exit::mistake;

/// Certificate and key, ready to accept with: TLS 1.2, which is all that the library's server has.
///
/// # Errors
/// When a file cannot be read or does not hold what it must, PEM both; the key in PKCS #8.
pub fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| mistake(format!("{} cannot be read: {error}", path.display())))
    };
    let (chain, secret) = (read(certificate)?, read(key)?);
    let identity = Identity::from_pkcs8(&chain, &secret).map_err(|error| {
        let (certificate, key) = (certificate.display(), key.display());
        mistake(format!(
            "{certificate} and {key} are no certificate in PEM and its key in PKCS #8 PEM: {error}"
        ))
    })?;
    let mut builder = native_tls::TlsAcceptor::builder(identity);
    builder.min_protocol_version(Some(Protocol::Tlsv12));
    Ok(builder.build().context("TLS cannot be set up")?.into())
}
