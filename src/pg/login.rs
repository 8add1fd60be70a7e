//! The first messages of a connection: TLS, the client's parameters, and who it is.
//!
//! With tokens, clients log in by SCRAM-SHA-256: as `admin` with the token to administer, under any other
//! name with the one to read. Both may read, and nobody may do more here. Without tokens everybody gets in;
//! then Herald listens on the loopback interface only.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use pgwire::api::auth::sasl::scram::ScramServerAuth;
use pgwire::messages::response::{GssEncResponse, SslResponse};
use pgwire::messages::startup::{
    Authentication, BackendKeyData, NegotiateProtocolVersion, ParameterStatus, PasswordMessageFamily,
    SecretKey, Startup,
};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage, ProtocolVersion};
use tokio_rustls::TlsAcceptor;

use super::control::{Closed, SessionConfig, Verifier};
use super::errors::{PgError, PgResult, codes};
use super::sql::settings::Settings;
use super::wire::{Received, Wire, gone};
use crate::serve::tls::TlsIdentity;

/// Code of a request for TLS.
const SSL_REQUEST: i32 = 80_877_103;
/// Code of a request for encryption by GSSAPI.
const GSS_REQUEST: i32 = 80_877_104;
/// First byte of a connection that begins with TLS at once.
const TLS_HANDSHAKE: u8 = 0x16;
/// Name of the protocol within TLS.
const ALPN: &[u8] = b"postgresql";
/// The user that logs in with the token to administer.
const ADMIN: &str = "admin";
/// SCRAM without and with binding to the TLS connection.
const SCRAM: &str = "SCRAM-SHA-256";
const SCRAM_PLUS: &str = "SCRAM-SHA-256-PLUS";
/// Bytes of a key for cancel requests that clients of protocol 3.0 take.
const SHORT_KEY: usize = 4;

/// Outcome of the first messages.
#[derive(Debug)]
pub enum Login {
    /// A client that wants a session, with its settings.
    Client(Box<Settings>),
    /// A request to stop the statement of another session.
    Cancel {
        /// The number of the session's process.
        pid: i32,
        /// Its key.
        secret: Vec<u8>,
    },
}

/// Carries out the first messages.
///
/// # Errors
/// When the client is refused, or speaks another protocol. The client is told by the caller.
pub async fn log_in(wire: &mut Wire, config: &SessionConfig) -> PgResult<Login> {
    let secure = negotiate_tls(wire, config.tls.as_ref()).await?;
    let startup = match wire.receive(None).await? {
        Received::Message(PgWireFrontendMessage::Startup(startup)) => startup,
        Received::Message(PgWireFrontendMessage::CancelRequest(request)) => {
            let secret = request.secret_key.to_bytes().to_vec();
            return Ok(Login::Cancel { pid: request.pid, secret });
        }
        Received::Message(_) | Received::NoText(..) => {
            return Err(PgError::fatal(codes::PROTOCOL_VIOLATION, "a startup message is expected"));
        }
        Received::None(_) => return Err(gone()),
    };
    let version = negotiate_version(wire, &startup);
    let is_near = config.client.parse::<IpAddr>().is_ok_and(|client| client.is_loopback());
    if secure.is_none() && config.tls.is_some() && !is_near {
        let message = "connections from other machines are taken by TLS only";
        return Err(
            PgError::fatal(codes::INVALID_AUTHORIZATION, message).hint("connect with sslmode=require")
        );
    }
    match config.closed {
        Some(Closed::Crowded) => {
            let message = "sorry, too many clients already";
            return Err(PgError::fatal(codes::TOO_MANY_CONNECTIONS, message)
                .hint("close connections that are not used, or grant --pg-connections"));
        }
        Some(Closed::Starting) => {
            let message = "the topology is still starting: connect again in a moment";
            return Err(PgError::fatal(codes::CANNOT_CONNECT_NOW, message));
        }
        None => {}
    }
    let Some(user) = startup.parameters.get("user").filter(|user| !user.is_empty()) else {
        let message = "no PostgreSQL user name specified in startup packet";
        return Err(PgError::fatal(codes::INVALID_AUTHORIZATION, message));
    };
    let settings = first_settings(&startup.parameters, user, secure.is_some(), config)?;
    authenticate(wire, config, user, secure).await?;
    wire.send(PgWireBackendMessage::Authentication(Authentication::Ok));
    wire.set_logged_in();
    let mut settings = settings;
    send_untold(wire, &mut settings);
    let secret_key = session_key(&config.secret, version);
    wire.send(PgWireBackendMessage::BackendKeyData(BackendKeyData::new(config.pid, secret_key)));
    Ok(Login::Client(Box::new(settings)))
}

/// Tells the client the settings whose values it does not know.
pub fn send_untold(wire: &mut Wire, settings: &mut Settings) {
    for (name, value) in settings.take_untold() {
        wire.send(PgWireBackendMessage::ParameterStatus(ParameterStatus::new(name.to_owned(), value)));
    }
}

/// The key for cancel requests in the form of a version.
fn session_key(secret: &[u8], version: ProtocolVersion) -> SecretKey {
    match (version, secret.first_chunk::<SHORT_KEY>()) {
        (ProtocolVersion::PROTOCOL3_0, Some(first)) => SecretKey::I32(i32::from_be_bytes(*first)),
        _ => SecretKey::Bytes(bytes::Bytes::copy_from_slice(secret)),
    }
}

/// Tells whether the key of a cancel request is that of a session: the whole of it, or the part that clients
/// of protocol 3.0 are told.
pub fn is_key(given: &[u8], secret: &[u8]) -> bool {
    use subtle::ConstantTimeEq;
    let expected = if given.len() == SHORT_KEY { secret.get(..SHORT_KEY) } else { Some(secret) };
    expected.is_some_and(|expected| expected.ct_eq(given).into())
}

/// Answers requests for encryption. Returns the certificate chain if the connection is secure from then on.
async fn negotiate_tls<'c>(
    wire: &mut Wire,
    identity: Option<&'c TlsIdentity>,
) -> PgResult<Option<&'c TlsIdentity>> {
    let mut refused = 0;
    loop {
        let begin = wire.peek(1).await?;
        if begin.first() == Some(&TLS_HANDSHAKE) {
            let Some(identity) = identity else {
                return Err(PgError::fatal(codes::PROTOCOL_VIOLATION, "there is no TLS here"));
            };
            secure(wire, identity, true).await?;
            return Ok(Some(identity));
        }
        let begin = wire.peek(8).await?;
        let length = i32::from_be_bytes([begin[0], begin[1], begin[2], begin[3]]);
        let code = i32::from_be_bytes([begin[4], begin[5], begin[6], begin[7]]);
        if length != 8 || !matches!(code, SSL_REQUEST | GSS_REQUEST) {
            return Ok(None);
        }
        wire.skip(8);
        match (code, identity) {
            (SSL_REQUEST, Some(identity)) => {
                wire.send(PgWireBackendMessage::SslResponse(SslResponse::Accept));
                secure(wire, identity, false).await?;
                return Ok(Some(identity));
            }
            (SSL_REQUEST, None) => wire.send(PgWireBackendMessage::SslResponse(SslResponse::Refuse)),
            _ => wire.send(PgWireBackendMessage::GssEncResponse(GssEncResponse::Refuse)),
        }
        wire.flush().await.map_err(|_| gone())?;
        refused += 1;
        if refused > 2 {
            return Err(PgError::fatal(codes::PROTOCOL_VIOLATION, "encryption is asked for again and again"));
        }
    }
}

/// Puts TLS over the connection; with `begun` the client has begun the handshake, and must name the protocol
/// in it.
async fn secure(wire: &mut Wire, identity: &TlsIdentity, begun: bool) -> PgResult<()> {
    let failed = |error: String| PgError::fatal(codes::PROTOCOL_VIOLATION, format!("no TLS: {error}"));
    let mut settings = identity.settings().map_err(|error| failed(error.to_string()))?;
    settings.alpn_protocols = vec![ALPN.to_vec()];
    let plain = wire.take_stream(begun).await?;
    let stream = TlsAcceptor::from(Arc::new(settings))
        .accept(plain)
        .await
        .map_err(|error| failed(error.to_string()))?;
    if begun && stream.get_ref().1.alpn_protocol() != Some(ALPN) {
        return Err(failed("the client names no protocol".to_owned()));
    }
    wire.put_stream(Box::new(stream));
    Ok(())
}

/// Settles the version of the protocol: 3.2 or 3.0, the newest that the client knows.
fn negotiate_version(wire: &mut Wire, startup: &Startup) -> ProtocolVersion {
    let minor = startup.protocol_number_minor;
    let version = if minor >= 2 { ProtocolVersion::PROTOCOL3_2 } else { ProtocolVersion::PROTOCOL3_0 };
    let options: Vec<String> =
        startup.parameters.keys().filter(|name| name.starts_with("_pq_.")).cloned().collect();
    if !matches!(minor, 0 | 2) || !options.is_empty() {
        let told = NegotiateProtocolVersion::new(version.into(), options);
        wire.send(PgWireBackendMessage::NegotiateProtocolVersion(told));
    }
    wire.set_version(version);
    version
}

/// The settings of a session with those that the client's first message has.
fn first_settings(
    parameters: &BTreeMap<String, String>,
    user: &str,
    tls: bool,
    config: &SessionConfig,
) -> PgResult<Settings> {
    let database = parameters.get("database").filter(|name| !name.is_empty()).map_or(user, String::as_str);
    let mut settings = Settings::new(user, database, tls, config.time);
    for (name, value) in parameters {
        match name.as_str() {
            "user" | "database" => {}
            "replication" if matches!(value.as_str(), "false" | "off" | "no" | "0") => {}
            "replication" => {
                let message = "replication is not supported";
                return Err(PgError::fatal(codes::FEATURE_NOT_SUPPORTED, message)
                    .hint("changes are told by a view's sink, a topic"));
            }
            "options" => {
                for (name, value) in command_line_options(value) {
                    set_first(&mut settings, &name, &value)?;
                }
            }
            name if name.starts_with("_pq_.") => {}
            name => set_first(&mut settings, name, value)?,
        }
    }
    Ok(settings)
}

/// Sets a first value; a wrong one ends the connection.
fn set_first(settings: &mut Settings, name: &str, value: &str) -> PgResult<()> {
    let set = settings.begin_with(name, value);
    set.map_err(|error| PgError { severity: super::errors::Severity::Fatal, ..error })
}

/// The settings in options like `-c name=value --other=value`, with `\ ` for a blank within a value.
fn command_line_options(text: &str) -> Vec<(String, String)> {
    let mut words = vec![String::new()];
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, words.last_mut()) {
            ('\\', Some(word)) => word.extend(letters.next()),
            (blank, _) if blank.is_whitespace() => words.push(String::new()),
            (other, Some(word)) => word.push(other),
            _ => {}
        }
    }
    let mut options = Vec::new();
    let mut words = words.into_iter().filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        let setting = match word.as_str() {
            "-c" => words.next(),
            _ => word.strip_prefix("-c").or_else(|| word.strip_prefix("--")).map(str::to_owned),
        };
        if let Some((name, value)) = setting.as_deref().and_then(|setting| setting.split_once('=')) {
            options.push((name.replace('-', "_"), value.to_owned()));
        }
    }
    options
}

/// The proof that a user must give; None if everybody gets in.
fn verifier_for<'c>(user: &str, config: &'c SessionConfig) -> Option<&'c Verifier> {
    match (user, &config.admin, &config.reader) {
        (ADMIN, Some(admin), _) => Some(admin),
        (_, admin, reader) => reader.as_ref().or(admin.as_ref()),
    }
}

/// Has the client prove that it knows the token of its role.
async fn authenticate(
    wire: &mut Wire,
    config: &SessionConfig,
    user: &str,
    secure: Option<&TlsIdentity>,
) -> PgResult<()> {
    let Some(verifier) = verifier_for(user, config) else { return Ok(()) };
    let wrong = || {
        let message = format!("password authentication failed for user \"{user}\"");
        PgError::fatal(codes::INVALID_PASSWORD, message).hint(
            "the password is the token of HERALD_READ_TOKEN, and for user admin that of HERALD_ADMIN_TOKEN",
        )
    };
    let mut scram = ScramServerAuth::new();
    let mut mechanisms = vec![SCRAM.to_owned()];
    // A certificate whose signature has no hash is without a binding.
    if let Some(identity) = secure
        && scram.configure_certificate(identity.certificate.as_bytes()).is_ok()
    {
        mechanisms.insert(0, SCRAM_PLUS.to_owned());
    }
    wire.send(PgWireBackendMessage::Authentication(Authentication::SASL(mechanisms.clone())));
    let first = receive_password(wire).await?.into_sasl_initial_response().map_err(|_| wrong())?;
    let (Some(data), true) = (first.data, mechanisms.contains(&first.auth_method)) else {
        let message = "client selected an invalid SASL authentication mechanism";
        return Err(PgError::fatal(codes::PROTOCOL_VIOLATION, message));
    };
    let (challenge, waiting) =
        scram.on_client_first_message_with_secret(&data, verifier.secret()).map_err(|_| wrong())?;
    wire.send(PgWireBackendMessage::Authentication(Authentication::SASLContinue(challenge.into())));
    let proof = receive_password(wire).await?.into_sasl_response().map_err(|_| wrong())?;
    let signature = waiting.on_client_final_message(&proof.data).map_err(|_| wrong())?;
    wire.send(PgWireBackendMessage::Authentication(Authentication::SASLFinal(signature.into())));
    Ok(())
}

/// Sends the output, and waits for a message with a password.
async fn receive_password(wire: &mut Wire) -> PgResult<PasswordMessageFamily> {
    wire.flush().await.map_err(|_| gone())?;
    match wire.receive(None).await? {
        Received::Message(PgWireFrontendMessage::PasswordMessageFamily(message)) => Ok(message),
        Received::None(_) => Err(gone()),
        Received::Message(_) | Received::NoText(..) => {
            Err(PgError::fatal(codes::PROTOCOL_VIOLATION, "expected SASL response"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_settings() {
        let read = |text: &str| -> Vec<String> {
            command_line_options(text).into_iter().map(|(name, value)| format!("{name}={value}")).collect()
        };
        assert_eq!(
            read("-c statement_timeout=5s -cjit=off --search-path=a\\ b -x"),
            ["statement_timeout=5s", "jit=off", "search_path=a b"]
        );
        assert!(read("").is_empty());
    }

    #[test]
    fn keys_are_compared_in_both_lengths() {
        let secret: Vec<u8> = (0..32).collect();
        assert!(is_key(&secret, &secret));
        assert!(is_key(&secret[..4], &secret));
        assert!(!is_key(&secret[..8], &secret));
        assert!(!is_key(&[0; 4], &secret));
        assert!(!is_key(&[], &secret));
        let short = session_key(&secret, ProtocolVersion::PROTOCOL3_0);
        assert_eq!(short.to_bytes().as_ref(), &secret[..4]);
    }
}
