//! The topology's side of connections: listens, bounds them, and starts a process for each.
//!
//! A thread for each connection hears what its process tells until that ends, and logs why if it was not
//! meant to.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::TryRng;
use rand::rngs::SysRng;
use tokio::net::TcpSocket;

use super::control::{Closed, FromSession, SessionConfig, ToSession, Verifier, order};
use super::errors::{PgError, codes};
use super::sessions::{Place, Sessions, Told};
use crate::cli::{SERVE_CLIENT, ServeArgs};
use crate::driver::DriverHandle;
use crate::exit::mistake;
use crate::query::process::reads::{Lender, ToProcess};
use crate::query::process::scratch::Scratch;
use crate::query::process::{cause_of_death, limited_command, session_bytes};
use crate::serve::access::read_token;
use crate::serve::tls::TlsIdentity;
use crate::serve::{Listening, bind_address};

/// Default address.
const DEFAULT_ADDRESS: &str = "127.0.0.1:5433";
/// Default limit of connections.
const DEFAULT_LIMIT: usize = 100;
/// Stack bytes of the thread of a connection.
const STACK_BYTES: usize = 256 << 10;
/// Most bytes of a failed process' standard error that are kept.
const MAX_STDERR_BYTES: u64 = 16 << 10;
/// Most characters of a text that a session's process tells.
const MAX_TOLD_CHARS: usize = 1000;
/// Bytes of the key of a session.
const SECRET_BYTES: usize = 32;

/// A bound address with what proves tokens, TLS identity and connection limit.
pub struct PgListener {
    listener: TcpListener,
    reader: Option<Verifier>,
    admin: Option<Verifier>,
    tls: Option<TlsIdentity>,
    most: usize,
}

impl PgListener {
    /// The address.
    ///
    /// # Errors
    /// When the listener has none.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener.local_addr().context("cannot tell the address")
    }
}

/// Binds the address of `--listen-pg` with the settings of the other flags; None when it is off.
///
/// # Errors
/// When the address is invalid or taken, when files cannot be read, or when a network could read without a
/// token.
pub fn bind(args: &ServeArgs) -> Result<Option<PgListener>> {
    // Who wants no server at all says so once.
    let given = match (args.listen_pg.as_deref(), args.listen.as_deref()) {
        (None, Some("off")) => Some("off"),
        (given, _) => given,
    };
    let wanted = Listening { flag: "--listen-pg", given, default: DEFAULT_ADDRESS };
    let Some(listener) = bind_address(&wanted)? else { return Ok(None) };
    let read_token = read_token("HERALD_READ_TOKEN", args.read_token_file.as_deref())?;
    let admin_token = self::read_token("HERALD_ADMIN_TOKEN", args.admin_token_file.as_deref())?;
    let tls = TlsIdentity::from_flags(args)?;
    let address = listener.local_addr().context("cannot tell the address")?;
    if !address.ip().is_loopback() {
        if read_token.is_none() && admin_token.is_none() {
            return Err(mistake(format!(
                "--listen-pg {address} can be reached from the network, and whoever reaches it could read everything\n  \
                 set HERALD_READ_TOKEN (or --read-token-file), or listen on 127.0.0.1"
            )));
        }
        if tls.is_none() {
            tracing::warn!("answers pass {address} in clear: give --tls-cert and --tls-key");
        }
    }
    let most = args.pg_connections.unwrap_or(DEFAULT_LIMIT);
    let verifier = |token: Option<String>| token.map(|token| Verifier::of(&token)).transpose();
    let (reader, admin) = (verifier(read_token)?, verifier(admin_token)?);
    Ok(Some(PgListener { listener, reader, admin, tls, most }))
}

/// Serves until the runtime ends.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(pg: PgListener, sessions: Sessions, topology: (DriverHandle, Arc<Lender>)) -> Result<()> {
    let (handle, lender) = topology;
    sessions.set_limit(pg.most);
    pg.listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(pg.listener.try_clone()?)?;
    let pg = Arc::new(pg);
    loop {
        let accepted = match listener.accept().await {
            Ok((stream, address)) => stream.into_std().map(|stream| (stream, address)),
            Err(error) => Err(error),
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Transient, such as a lack of file descriptors.
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(place) = sessions.admit() else {
            sessions.metrics().count_refused("no_place");
            refuse(stream);
            continue;
        };
        let closed = match (place.crowded, handle.status().started) {
            (true, _) => Some(Closed::Crowded),
            (false, false) => Some(Closed::Starting),
            (false, true) => None,
        };
        let connection = Connection {
            pg: pg.clone(),
            sessions: sessions.clone(),
            lender: lender.clone(),
            address,
            closed,
        };
        let thread = std::thread::Builder::new().name("herald-pg".to_owned()).stack_size(STACK_BYTES);
        // A connection whose thread cannot be started is closed.
        if let Err(error) = thread.spawn(move || connection.run(stream, place)) {
            tracing::warn!("a connection could not be served: {error}");
        }
    }
}

/// Tells a client that there is no room, without listening to it.
fn refuse(mut stream: TcpStream) {
    let told = PgError::fatal(codes::TOO_MANY_CONNECTIONS, "sorry, too many clients already");
    let mut message = bytes::BytesMut::new();
    let _ = pgwire::messages::PgWireBackendMessage::ErrorResponse(told.response()).encode(&mut message);
    // The socket's buffer is empty: this does not wait.
    let _ = stream.write_all(&message);
}

/// A connection that was accepted.
struct Connection {
    pg: Arc<PgListener>,
    sessions: Sessions,
    lender: Arc<Lender>,
    address: SocketAddr,
    closed: Option<Closed>,
}

impl Connection {
    /// Runs the process of the connection to its end.
    fn run(self, stream: TcpStream, mut place: Place) {
        if let Err(error) = self.serve(stream, &mut place) {
            tracing::warn!("the connection from {} cannot be served: {error:#}", self.address);
            self.sessions.metrics().count_refused("failed");
        }
    }

    /// Starts the process, and hears it until it ends.
    fn serve(&self, stream: TcpStream, place: &mut Place) -> Result<()> {
        let scratch = Scratch::new()?;
        let (ours, theirs) = UnixStream::pair().context("there are no sockets")?;
        let mut child = self.start_process(stream, theirs)?;
        let pid = i32::try_from(child.id()).unwrap_or(i32::MAX);
        let mut secret = vec![0; SECRET_BYTES];
        SysRng.try_fill_bytes(&mut secret).context("there are no random numbers")?;
        let config = self.session_config(scratch.path(), pid, &secret);
        let process = ToProcess::of(ours);
        place.register(pid, secret, (process.clone(), self.address));
        // A process that died at once is told by its end.
        order(&process, &ToSession::Configure(Box::new(config)));
        let served = self.lender.serve_session(&process, &mut |told| self.take_message(pid, told));
        let known = place.unregister();
        drop(process);
        self.finish(&mut child, known)?;
        served
    }

    /// Starts the program for the client at the other end of a socket.
    fn start_process(&self, stream: TcpStream, orders: UnixStream) -> Result<Child> {
        stream.set_nonblocking(false)?;
        let socket = TcpSocket::from_std_stream(stream);
        // A client whose machine has gone is noticed at last.
        let _ = socket.set_keepalive(true);
        let socket = socket.as_fd().try_clone_to_owned()?;
        let data = session_bytes(self.sessions.limits().query_memory);
        limited_command(SERVE_CLIENT, data, None)
            .stdin(OwnedFd::from(orders))
            .stdout(socket)
            .spawn()
            .context("cannot start the session's process")
    }

    /// The configuration of the session.
    fn session_config(&self, scratch: &Path, pid: i32, secret: &[u8]) -> SessionConfig {
        SessionConfig {
            scratch: scratch.to_owned(),
            disk: self.sessions.limits().query_disk,
            memory: self.sessions.limits().query_memory,
            time: self.sessions.limits().query_time,
            reader: self.pg.reader.clone(),
            admin: self.pg.admin.clone(),
            tls: self.pg.tls.clone(),
            pid,
            client: self.address.ip().to_string(),
            begun_ms: connectors::clock::now_ms(),
            secret: secret.to_vec(),
            closed: self.closed,
        }
    }

    /// Takes a message of the session.
    fn take_message(&self, pid: i32, message: &str) {
        let Ok(message) = serde_json::from_str(message) else { return };
        match message {
            FromSession::Cancel { pid, secret } => self.sessions.cancel(pid, &secret),
            FromSession::Client { user, application } => self.sessions.note(pid, |told| {
                told.user = cut(user);
                told.application = cut(application);
            }),
            FromSession::State(state, query) => self.sessions.note(pid, |told| {
                told.state = state;
                if let Some(query) = query {
                    told.query = cut(query);
                }
            }),
            FromSession::Ended(outcome) => self.sessions.metrics().count_statement(&outcome),
            FromSession::Refused(reason) => self.sessions.metrics().count_refused(&reason),
        }
    }

    /// Waits for the end of the process, and tells of one that was not meant to end.
    fn finish(&self, child: &mut Child, known: Option<Told>) -> Result<()> {
        let mut said = Vec::new();
        if let Some(stderr) = child.stderr.take() {
            let _ = stderr.take(MAX_STDERR_BYTES).read_to_end(&mut said);
        }
        let status = child.wait().context("the session's process is lost")?;
        if status.success() {
            return Ok(());
        }
        let limits = self.sessions.limits();
        let cause =
            cause_of_death(status, &String::from_utf8_lossy(&said), (limits.query_memory, limits.query_time));
        match known {
            Some(Told { address, user, application, query, .. }) => tracing::warn!(
                "the session of {user} ({application}) from {address} ended: {cause:#}; its last statement was {query:?}"
            ),
            None => tracing::warn!("the session from {} ended: {cause:#}", self.address),
        }
        self.sessions.metrics().count_crashed();
        Ok(())
    }
}

/// A text of a session's process, whose length is not to be trusted.
fn cut(mut text: String) -> String {
    let end = text.char_indices().nth(MAX_TOLD_CHARS).map(|(at, _)| at);
    text.truncate(end.unwrap_or(text.len()));
    text.shrink_to_fit();
    text
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn the_flags_decide_where_it_listens() -> Result<()> {
        let args = |listen: Option<&str>, listen_pg: Option<&str>| ServeArgs {
            listen: listen.map(str::to_owned),
            listen_pg: listen_pg.map(str::to_owned),
            ..ServeArgs::default()
        };
        assert!(bind(&args(Some("off"), None))?.is_none());
        assert!(bind(&args(None, Some("off")))?.is_none());
        let bound = bind(&args(Some("off"), Some("0")))?.context("an address")?;
        assert!(bound.address()?.ip().is_loopback());
        let taken = bound.address()?.to_string();
        for wrong in [
            args(None, Some(taken.as_str())),
            args(None, Some("nowhere")),
            args(None, Some("0.0.0.0:0")),
            ServeArgs {
                tls_cert: Some(PathBuf::from("no/such")),
                tls_key: Some(PathBuf::from("no/such")),
                ..args(None, Some("0"))
            },
        ] {
            assert_eq!(bind(&wrong).err().map(|error| crate::exit::code(&error)), Some(2), "{wrong:?}");
        }
        Ok(())
    }
}
