//! TLS of the servers, HTTP's and PostgreSQL's: versions 1.2 and 1.3, by rustls with ring.
//!
//! Both have the certificate of `--tls-cert` and `--tls-key`. Connections do their handshakes themselves.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, anyhow, bail, ensure};
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{Error, InconsistentKeys, ServerConfig};
use serde::{Deserialize, Serialize};
use tokio_rustls::TlsAcceptor;

use crate::cli::ServeArgs;
use crate::exit::mistake;

/// Marks of a key with a passphrase: of PKCS#8, and of the forms before it.
const ENCRYPTED: [&str; 2] = ["-----BEGIN ENCRYPTED PRIVATE KEY-----", "Proc-Type: 4,ENCRYPTED"];

/// A server's certificate chain and its key, both PEM.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TlsIdentity {
    /// The chain, which begins with the server's certificate.
    pub certificate: String,
    /// Its key: PKCS#8, PKCS#1 or SEC1.
    pub key: String,
}

impl TlsIdentity {
    /// Reads the files of `--tls-cert` and `--tls-key`; None without them.
    ///
    /// # Errors
    /// When a file cannot be read, is not PEM, or the key does not belong to the certificate.
    pub fn from_flags(args: &ServeArgs) -> Result<Option<TlsIdentity>> {
        match (&args.tls_cert, &args.tls_key) {
            (Some(certificate), Some(key)) => TlsIdentity::read(certificate, key).map(Some),
            _ => Ok(None),
        }
    }

    /// Reads two files, and checks that servers can use them.
    fn read(certificate: &Path, key: &Path) -> Result<TlsIdentity> {
        let identity = TlsIdentity { certificate: read_text(certificate)?, key: read_text(key)? };
        identity.settings().map_err(|error| {
            let (certificate, key) = (certificate.display(), key.display());
            mistake(format!("{certificate} and {key} are no certificate and its key, both in PEM: {error}"))
        })?;
        Ok(identity)
    }

    /// The settings of a server.
    ///
    /// # Errors
    /// When there is no certificate or no key that can be used, or they do not belong together.
    pub fn settings(&self) -> Result<ServerConfig> {
        let (chain, key) = (read_chain(&self.certificate)?, read_key(&self.key)?);
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
        builder.with_single_cert(chain, key).map_err(explain)
    }

    /// The acceptor of connections.
    ///
    /// # Errors
    /// As [`TlsIdentity::settings`].
    pub fn acceptor(&self) -> Result<TlsAcceptor> {
        Ok(TlsAcceptor::from(Arc::new(self.settings()?)))
    }
}

/// Reads a file. Only the lines between PEM's marks matter, and those are ASCII.
fn read_text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path)
        .map_err(|error| mistake(format!("{} cannot be read: {error}", path.display())))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn read_chain(text: &str) -> Result<Vec<CertificateDer<'static>>> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let chain = chain.map_err(|error| anyhow!("the certificate cannot be read: {}", describe(&error)))?;
    ensure!(!chain.is_empty(), "the first holds no certificate");
    Ok(chain)
}

fn read_key(text: &str) -> Result<PrivateKeyDer<'static>> {
    if ENCRYPTED.iter().any(|mark| text.contains(mark)) {
        bail!("the key has a passphrase; openssl pkey -in KEY -out PLAIN writes it without one");
    }
    match PrivateKeyDer::from_pem_slice(text.as_bytes()) {
        Err(pem::Error::NoItemsFound) => bail!("the second holds no private key"),
        read => read.map_err(|error| anyhow!("the key cannot be read: {}", describe(&error))),
    }
}

/// Words for a fault of PEM.
fn describe(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "its end is missing".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "its first line ends without five dashes".to_owned(),
        pem::Error::Base64Decode(_) => "it is not base64 between its first and last line".to_owned(),
        other => other.to_string(),
    }
}

/// The reason, in words, for which rustls refuses a certificate and its key.
fn explain(error: Error) -> anyhow::Error {
    match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => anyhow!("the key is another certificate's"),
        Error::InvalidCertificate(refusal) => {
            anyhow!("the first certificate is none of X.509, version 3, that can be used ({refusal})")
        }
        // Of a key, the provider says only that it is none of these.
        Error::General(_) => anyhow!(
            "the key is none that can be used; it must be RSA of 2048 bits or more, EC on P-256 or P-384, \
             or Ed25519"
        ),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rustls::pki_types::ServerName;
    use rustls::version::{TLS12, TLS13};
    use rustls::{ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion};
    use tokio_rustls::TlsConnector;

    use super::*;

    /// Runs openssl in a directory.
    fn openssl(dir: &Path, args: &str) -> Result<()> {
        let output = Command::new("openssl").args(args.split(' ')).current_dir(dir).output()?;
        ensure!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Makes `NAME.pem`, a certificate for localhost, and `NAME.key`, a key of some kind in PKCS#8.
    fn make_pair(dir: &Path, name: &str, kind: &str) -> Result<()> {
        let subject =
            "-subj /CN=localhost -addext subjectAltName=DNS:localhost -addext basicConstraints=CA:FALSE";
        openssl(
            dir,
            &format!("req -x509 -newkey {kind} -nodes -days 2 {subject} -keyout {name}.key -out {name}.pem"),
        )
    }

    /// Does a handshake between a server of an identity and a client of one version. Returns the client's.
    async fn shake_hands(
        identity: &TlsIdentity,
        version: &'static SupportedProtocolVersion,
    ) -> Result<Option<ProtocolVersion>> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(read_chain(&identity.certificate)?);
        let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (near, far) = tokio::io::duplex(1 << 16);
        let connector = TlsConnector::from(Arc::new(client));
        let acceptor = identity.acceptor()?;
        let (accepted, connected) =
            tokio::join!(acceptor.accept(far), connector.connect(ServerName::try_from("localhost")?, near));
        accepted?;
        Ok(connected?.get_ref().1.protocol_version())
    }

    #[test]
    fn keys_of_every_kind_and_form_serve() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        for (name, kind, older) in [
            ("rsa", "rsa:2048", Some("-----BEGIN RSA PRIVATE KEY-----")),
            ("p256", "ec -pkeyopt ec_paramgen_curve:P-256", Some("-----BEGIN EC PRIVATE KEY-----")),
            ("p384", "ec -pkeyopt ec_paramgen_curve:P-384", Some("-----BEGIN EC PRIVATE KEY-----")),
            ("ed25519", "ed25519", None),
        ] {
            make_pair(dir.path(), name, kind)?;
            let file = |ending: &str| dir.path().join(format!("{name}.{ending}"));
            let mut keys = vec![(file("key"), "-----BEGIN PRIVATE KEY-----")];
            if let Some(mark) = older {
                openssl(dir.path(), &format!("pkey -in {name}.key -traditional -out {name}.older"))?;
                keys.push((file("older"), mark));
            }
            for (key, mark) in keys {
                let identity = TlsIdentity::read(&file("pem"), &key)?;
                assert!(identity.key.starts_with(mark), "{}: {mark}", key.display());
                for (version, expected) in
                    [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)]
                {
                    let version = runtime.block_on(shake_hands(&identity, version))?;
                    assert_eq!(version, Some(expected), "{}", key.display());
                }
            }
        }
        // As `openssl ecparam -genkey` writes a key, and what may stand around PEM, in one file.
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name));
        let parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
        let all =
            ["localhost's\r\n", parameters, &read("p256.older")?, &read("p256.pem")?, &read("rsa.pem")?];
        let all_in_one = dir.path().join("all.pem");
        std::fs::write(&all_in_one, [all.concat().as_bytes(), b"\xff\n"].concat())?;
        let identity = TlsIdentity::read(&all_in_one, &all_in_one)?;
        assert_eq!(read_chain(&identity.certificate)?.len(), 2);
        assert!(runtime.block_on(shake_hands(&identity, &TLS13))?.is_some());
        Ok(())
    }

    #[test]
    fn files_that_are_no_certificate_and_its_key_are_mistakes() -> Result<()> {
        let dir = tempfile::tempdir()?;
        make_pair(dir.path(), "rsa", "rsa:2048")?;
        make_pair(dir.path(), "other", "rsa:2048")?;
        make_pair(dir.path(), "ec", "ec -pkeyopt ec_paramgen_curve:P-256")?;
        make_pair(dir.path(), "p521", "ec -pkeyopt ec_paramgen_curve:P-521")?;
        let sealed = "-aes256 -passout pass:secret -out sealed";
        openssl(dir.path(), &format!("pkey -in rsa.key {sealed}.key"))?;
        openssl(dir.path(), &format!("pkey -in rsa.key -traditional {sealed}.older"))?;
        let file = |name: &str| dir.path().join(name);
        std::fs::write(file("empty"), "")?;
        let whole = std::fs::read_to_string(file("rsa.pem"))?;
        std::fs::write(file("cut.pem"), &whole[..whole.len() / 2])?;
        let no_x509 = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(file("odd.pem"), no_x509)?;
        let another = "the key is another certificate's";
        for (certificate, key, expected) in [
            ("rsa.pem", "other.key", another),
            ("rsa.pem", "ec.key", another),
            ("ec.pem", "rsa.key", another),
            ("rsa.pem", "sealed.key", "the key has a passphrase"),
            ("rsa.pem", "sealed.older", "the key has a passphrase"),
            ("rsa.pem", "rsa.pem", "the second holds no private key"),
            ("rsa.key", "rsa.key", "the first holds no certificate"),
            ("empty", "rsa.key", "the first holds no certificate"),
            ("rsa.pem", "empty", "the second holds no private key"),
            ("cut.pem", "rsa.key", "the certificate cannot be read: its end is missing"),
            ("odd.pem", "rsa.key", "none of X.509, version 3"),
            ("p521.pem", "p521.key", "EC on P-256 or P-384"),
            ("nothing", "rsa.key", "nothing cannot be read"),
            ("rsa.pem", "nothing", "nothing cannot be read"),
        ] {
            let Err(error) = TlsIdentity::read(&file(certificate), &file(key)) else {
                bail!("{certificate} and {key} are taken");
            };
            assert!(error.to_string().contains(expected), "{certificate}, {key}: {error}");
            assert_eq!(crate::exit::code(&error), 2);
        }
        Ok(())
    }
}
