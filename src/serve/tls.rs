//! TLS settings of the HTTP server. The connections do their handshakes themselves.

use std::path::Path;

use anyhow::{Context, Result};
use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{SslAcceptor, SslAcceptorBuilder, SslMethod};
use openssl::x509::X509;

use crate::exit::mistake;

/// Creates the TLS acceptor from a certificate chain and its key, both PEM: TLS 1.2 and 1.3 with Mozilla's
/// intermediate ciphers. The chain starts with the server's certificate, followed by the intermediate ones.
///
/// # Errors
/// When a file cannot be read, is not PEM, or the key does not belong to the certificate.
pub fn create_acceptor(certificate: &Path, key: &Path) -> Result<SslAcceptor> {
    let (chain, secret) = (read_pem(certificate)?, read_pem(key)?);
    let mut builder =
        SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).context("TLS cannot be set up")?;
    set_identity(&mut builder, &chain, &secret).map_err(|error| {
        let (certificate, key) = (certificate.display(), key.display());
        mistake(format!("{certificate} and {key} are no certificate and its key, both in PEM: {error}"))
    })?;
    Ok(builder.build())
}

fn read_pem(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| mistake(format!("{} cannot be read: {error}", path.display())))
}

/// Sets the certificate chain and the key, and checks that they belong together.
fn set_identity(builder: &mut SslAcceptorBuilder, chain: &[u8], secret: &[u8]) -> Result<(), ErrorStack> {
    let mut certificates = X509::stack_from_pem(chain)?.into_iter();
    // An empty file gives no certificate; the check of the key below then fails.
    if let Some(own) = certificates.next() {
        builder.set_certificate(&own)?;
    }
    for between in certificates {
        builder.add_extra_chain_cert(between)?;
    }
    // The empty passphrase makes OpenSSL refuse an encrypted key instead of prompting for a passphrase.
    builder.set_private_key(&*PKey::private_key_from_pem_passphrase(secret, b"")?)?;
    builder.check_private_key()
}
