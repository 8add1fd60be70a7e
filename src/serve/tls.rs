//! TLS for the HTTP server: what to accept with. Handshakes are done by the connections themselves.

use std::path::Path;

use anyhow::{Context, Result};
use openssl::pkey::PKey;
use openssl::ssl::{SslAcceptor, SslMethod};
use openssl::x509::X509;

use crate::exit::mistake;

/// Certificate and key, ready to accept with: TLS 1.2 and 1.3, with the ciphers that Mozilla calls intermediate.
///
/// # Errors
/// When a file cannot be read or does not hold what it must: the certificate, with those between it and its
/// authority behind it, and its key, both in PEM.
pub fn acceptor(certificate: &Path, key: &Path) -> Result<SslAcceptor> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| mistake(format!("{} cannot be read: {error}", path.display())))
    };
    let (chain, secret) = (read(certificate)?, read(key)?);
    let mut builder =
        SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).context("TLS cannot be set up")?;
    let mut identify = || {
        let mut certificates = X509::stack_from_pem(&chain)?.into_iter();
        // An empty file gives no certificate, and the key then fits none.
        if let Some(own) = certificates.next() {
            builder.set_certificate(&own)?;
        }
        certificates.try_for_each(|between| builder.add_extra_chain_cert(between))?;
        // Without a passphrase: a key that has one is refused instead of asked for.
        builder.set_private_key(&*PKey::private_key_from_pem_passphrase(&secret, b"")?)?;
        builder.check_private_key()
    };
    identify().map_err(|error| {
        let (certificate, key) = (certificate.display(), key.display());
        mistake(format!("{certificate} and {key} are no certificate and its key, both in PEM: {error}"))
    })?;
    Ok(builder.build())
}
