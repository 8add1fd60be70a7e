//! TLS of HTTP clients: rustls with ring, and the certificates that this machine trusts.
//!
//! Trusted are the system's authorities and, beside them, the certificates in `SSL_CERT_FILE` and in the
//! directories of `SSL_CERT_DIR`. They are read at the first handshake: plain HTTP needs none, and a machine
//! may have none. A trusted certificate is also accepted from the server itself, even if it is marked as an
//! authority's, as `openssl req -x509` marks those that sign themselves.

use std::env;
use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_native_certs::load_certs_from_paths;

/// Directories of the system's authorities: of Debian, SUSE and Alpine, and of Fedora and its kin.
const SYSTEM: [&str; 2] = ["/etc/ssl/certs", "/etc/pki/tls/certs"];

/// The certificates that this machine trusts.
static TRUSTED: LazyLock<Trusted> = LazyLock::new(Trusted::read);

/// TLS settings of an HTTP client: versions 1.2 and 1.3.
///
/// # Errors
/// When ring lacks an algorithm that TLS needs, which would be a fault of the build.
pub fn client_tls() -> Result<ClientConfig, Error> {
    let provider = ring::default_provider();
    let verifier = Verifier { algorithms: provider.signature_verification_algorithms };
    let builder =
        ClientConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions()?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

/// The reason, in words, for which a request failed at the server's certificate; None if it failed elsewhere.
pub fn certificate_refusal(error: &(dyn StdError + 'static)) -> Option<String> {
    Some(TRUSTED.explain(refused_certificate(error)?))
}

/// The refusal of a certificate among the causes of an error. I/O errors hide theirs from
/// [`StdError::source`].
fn refused_certificate<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e CertificateError> {
    if let Some(Error::InvalidCertificate(refusal)) = error.downcast_ref::<Error>() {
        return Some(refusal);
    }
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(within) => refused_certificate(within),
        None => refused_certificate(error.source()?),
    }
}

/// Trusted certificates.
struct Trusted {
    certificates: Vec<CertificateDer<'static>>,
    roots: RootCertStore,
    /// The first failure to read what the variables name.
    unread: Option<String>,
}

impl Trusted {
    /// Reads those of the system and of the variables. What cannot be read is left out.
    fn read() -> Trusted {
        let file = env::var_os("SSL_CERT_FILE").filter(|name| !name.is_empty()).map(PathBuf::from);
        let mut found = load_certs_from_paths(file.as_deref(), None);
        for dir in env::split_paths(&env::var_os("SSL_CERT_DIR").unwrap_or_default()) {
            if !dir.as_os_str().is_empty() {
                let more = load_certs_from_paths(None, Some(&dir));
                found.certs.extend(more.certs);
                found.errors.extend(more.errors);
            }
        }
        let unread = found.errors.first().map(ToString::to_string);
        for dir in SYSTEM {
            found.certs.extend(load_certs_from_paths(None, Some(Path::new(dir))).certs);
        }
        Trusted::new(found.certs, unread)
    }

    fn new(certificates: Vec<CertificateDer<'static>>, unread: Option<String>) -> Trusted {
        let mut roots = RootCertStore::empty();
        // Whatever is in there may sign for every name: a server's own certificate must not.
        roots.add_parsable_certificates(certificates.iter().filter(|one| may_sign(one)).cloned());
        Trusted { certificates, roots, unread }
    }

    /// Checks the certificate that a server of a name shows, with those between it and an authority.
    fn verify(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Result<(), Error> {
        let parsed = ParsedCertificate::try_from(shown)?;
        match verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, between, now, algorithms.all) {
            // The times of its validity are checked before the mark of an authority.
            Err(Error::InvalidCertificate(refusal))
                if (is_authority(&refusal) || refusal == CertificateError::UnknownIssuer)
                    && self.certificates.iter().any(|trusted| trusted == shown) => {}
            verified => verified?,
        }
        verify_server_name(&parsed, name)
    }

    /// Words for the refusal of a server's certificate.
    fn explain(&self, refusal: &CertificateError) -> String {
        let why = match refusal {
            CertificateError::UnknownIssuer => {
                "its certificate is signed by no authority that is trusted here"
            }
            other if is_authority(other) => {
                "its certificate is marked as an authority's, and is not trusted here itself"
            }
            other => return format!("its certificate is refused: {other}"),
        };
        let unread = self.unread.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
        format!("{why}: name a file with the certificate to trust, PEM, in SSL_CERT_FILE{unread}")
    }
}

/// Tells whether a certificate is marked as an authority's, and valid now.
fn may_sign(certificate: &CertificateDer<'_>) -> bool {
    let Ok(parsed) = ParsedCertificate::try_from(certificate) else { return false };
    let algorithms = ring::default_provider().signature_verification_algorithms;
    let shown = verify_server_cert_signed_by_trust_anchor(
        &parsed,
        &RootCertStore::empty(),
        &[],
        UnixTime::now(),
        algorithms.all,
    );
    matches!(shown, Err(Error::InvalidCertificate(refusal)) if is_authority(&refusal))
}

/// Tells whether a certificate was refused because it is marked as an authority's.
fn is_authority(refusal: &CertificateError) -> bool {
    let CertificateError::Other(cause) = refusal else { return false };
    cause.0.downcast_ref::<webpki::Error>() == Some(&webpki::Error::CaUsedAsEndEntity)
}

/// Verifier of servers by the certificates that this machine trusts.
#[derive(Debug)]
struct Verifier {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        TRUSTED.verify(shown, between, name, now, self.algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use rustls::pki_types::pem::PemObject;

    use super::*;

    const DAY: u64 = 86_400;
    const NAMES: &str = "subjectAltName=DNS:localhost,IP:127.0.0.1";

    /// Runs openssl in a directory.
    fn openssl(dir: &Path, args: &str) {
        let output = Command::new("openssl").args(args.split(' ')).current_dir(dir).output().unwrap();
        assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Makes an authority, a server that it signs, and a server that signs itself, each valid for two days.
    fn make_certificates(dir: &Path) -> [CertificateDer<'static>; 3] {
        let own = "req -x509 -newkey rsa:2048 -nodes -days 2";
        openssl(dir, &format!("{own} -subj /CN=authority -keyout authority.key -out authority.pem"));
        openssl(dir, &format!("{own} -subj /CN=localhost -addext {NAMES} -keyout own.key -out own.pem"));
        openssl(dir, "req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr");
        std::fs::write(dir.join("extensions"), format!("{NAMES}\nbasicConstraints=CA:FALSE\n")).unwrap();
        let signed =
            "x509 -req -in server.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 2";
        openssl(dir, &format!("{signed} -extfile extensions -out server.pem"));
        ["authority", "server", "own"]
            .map(|name| CertificateDer::from_pem_file(dir.join(name).with_extension("pem")).unwrap())
    }

    /// The words for the refusal of a certificate, shown by a server of a name some days from now.
    fn refusal(trusted: &Trusted, shown: &CertificateDer<'_>, name: &str, days: u64) -> Option<String> {
        let now = UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs() + days * DAY));
        let name = ServerName::try_from(name).unwrap();
        let algorithms = ring::default_provider().signature_verification_algorithms;
        let error = trusted.verify(shown, &[], &name, now, algorithms).err()?;
        // As a client wraps it.
        let error = io::Error::other(io::Error::other(error));
        Some(trusted.explain(refused_certificate(&error).unwrap()))
    }

    /// The key of a server's own certificate makes no others that are trusted.
    #[test]
    fn a_servers_certificate_is_no_authority() {
        let dir = tempfile::tempdir().unwrap();
        let [authority, server, own] = make_certificates(dir.path());
        openssl(
            dir.path(),
            "req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout forged.key -out forged.csr",
        );
        let signed = "x509 -req -in forged.csr -CA server.pem -CAkey server.key -CAcreateserial -days 2";
        openssl(dir.path(), &format!("{signed} -extfile extensions -out forged.pem"));
        let forged = CertificateDer::from_pem_file(dir.path().join("forged.pem")).unwrap();
        let trusted = Trusted::new(vec![server.clone(), own], None);
        assert_eq!(refusal(&trusted, &server, "localhost", 1), None);
        assert!(refusal(&trusted, &forged, "localhost", 1).is_some());
        let trusted = Trusted::new(vec![authority, server], None);
        assert!(refusal(&trusted, &forged, "localhost", 1).is_some());
    }

    #[test]
    fn a_server_is_trusted_by_its_authority_or_its_own_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let [authority, server, own] = make_certificates(dir.path());
        let trusted = Trusted::new(vec![authority, own.clone()], None);
        for shown in [&server, &own] {
            assert_eq!(refusal(&trusted, shown, "localhost", 1), None);
            assert_eq!(refusal(&trusted, shown, "127.0.0.1", 1), None);
            let other = refusal(&trusted, shown, "elsewhere", 1).unwrap();
            assert!(other.contains("not valid for name \"elsewhere\""), "{other}");
            let late = refusal(&trusted, shown, "localhost", 3).unwrap();
            assert!(late.contains("certificate expired"), "{late}");
        }
    }

    #[test]
    fn a_server_that_nobody_vouches_for_is_refused_in_words() {
        let dir = tempfile::tempdir().unwrap();
        let [authority, server, own] = make_certificates(dir.path());
        let nobody = Trusted::new(Vec::new(), Some("no such file".to_owned()));
        let refused = refusal(&nobody, &server, "localhost", 1).unwrap();
        assert_eq!(
            refused,
            "its certificate is signed by no authority that is trusted here: name a file with the \
             certificate to trust, PEM, in SSL_CERT_FILE (no such file)"
        );
        // That an authority is trusted does not make another certificate with its mark a server's.
        let trusted = Trusted::new(vec![authority], None);
        let refused = refusal(&trusted, &own, "localhost", 1).unwrap();
        assert!(
            refused.contains("is not trusted here itself") && refused.contains("SSL_CERT_FILE"),
            "{refused}"
        );
        assert!(certificate_refusal(&io::Error::other("closed")).is_none());
    }

    #[test]
    fn a_client_needs_no_provider_of_its_process() {
        let tls = client_tls().unwrap();
        assert!(tls.alpn_protocols.is_empty());
        reqwest::blocking::Client::builder().tls_backend_preconfigured(tls).build().unwrap();
    }
}
