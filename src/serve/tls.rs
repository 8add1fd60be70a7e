//! TLS for the HTTP server: handshakes beside each other, so that one that is slow holds up nobody.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use native_tls::Identity;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Receiver, channel};
use tokio_native_tls::{TlsAcceptor, TlsStream};

use crate::exit::mistake;

/// Handshakes that are under way, at most; behind them connections wait.
const HANDSHAKES: usize = 64;
/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Certificate and key, ready to accept with.
///
/// # Errors
/// When a file cannot be read or does not hold what it must, PEM both; the key in PKCS #8.
pub fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor> {
    let read = |path: &Path| {
        std::fs::read(path).with_context(|| mistake(format!("{} cannot be read", path.display())))
    };
    let (chain, secret) = (read(certificate)?, read(key)?);
    let identity = Identity::from_pkcs8(&chain, &secret).with_context(|| {
        let (certificate, key) = (certificate.display(), key.display());
        mistake(format!("{certificate} and {key} are no certificate in PEM and its key in PKCS #8 PEM"))
    })?;
    let acceptor = native_tls::TlsAcceptor::new(identity).context("TLS cannot be set up")?;
    Ok(acceptor.into())
}

/// Connections whose handshake is done.
pub struct TlsListener {
    ready: Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
}

impl TlsListener {
    /// Accepts on `listener` until it is dropped.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn start(listener: TcpListener, acceptor: TlsAcceptor) -> std::io::Result<TlsListener> {
        let address = listener.local_addr()?;
        let (done, ready) = channel(HANDSHAKES);
        let turns = Arc::new(Semaphore::new(HANDSHAKES));
        tokio::spawn(async move {
            while let Ok(turn) = turns.clone().acquire_owned().await {
                let Ok((stream, from)) = listener.accept().await else {
                    // Out of descriptors, for one: it passes.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                let (acceptor, done) = (acceptor.clone(), done.clone());
                tokio::spawn(async move {
                    match tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
                        Ok(Ok(stream)) => drop(done.send((stream, from)).await),
                        Ok(Err(error)) => tracing::debug!(%from, "no TLS handshake: {error}"),
                        Err(_) => tracing::debug!(%from, "the TLS handshake took too long"),
                    }
                    drop(turn);
                });
            }
        });
        Ok(TlsListener { ready, address })
    }
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.address)
    }
}
