//! Connections of the HTTP server, bounded in number, idle time and age, with a reserve for health checks.
//!
//! When the limit is reached, a new connection replaces the one that has been idle longest, so that a client
//! with many silent connections blocks nobody. While the limit is reached by busy connections, a few more are
//! accepted for `/healthz`, `/readyz` and `/metrics` only; connections beyond that are closed at once. Each
//! connection does its TLS handshake in its own task, so that a slow one delays no other.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use anyhow::Result;
use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::response::Response;
use fail::fail_point;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::guarded::Guarded;
use crate::metrics::Serving;

/// Default limit of connections.
pub const DEFAULT_LIMIT: usize = 256;
/// Connections beyond the limit, for new ones and for health and metrics.
const RESERVED_CONNECTIONS: usize = 32;
/// Idle time below which a connection counts as new: its request may be on its way.
const MIN_IDLE: Duration = Duration::from_secs(1);
/// Longest time of a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time in which the head of a request must arrive, and for which a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time for which a client may read nothing of an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// Age at which a connection is closed.
const MAX_AGE: Duration = Duration::from_secs(600);
/// Longest time in which a connection of that age may finish its request.
const FINISH_TIMEOUT: Duration = Duration::from_secs(120);
/// Bytes of a connection's buffers, each way.
const BUFFER_BYTES: usize = 64 << 10;

/// The client of a request, and whether the server has room for more than health and metrics.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The address.
    pub address: IpAddr,
    /// Set when more connections are busy than the limit.
    pub crowded: bool,
}

/// Longest time for which the end of a topology waits for answers.
const LAST_ANSWERS_TIMEOUT: Duration = Duration::from_secs(1);
/// Time between two looks at the requests that are being answered.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Number of requests that are being answered, over all connections.
#[derive(Clone, Debug, Default)]
pub struct Answering(Arc<AtomicUsize>);

impl Answering {
    /// Waits for a short while until there are none: queries end with their topology, and who asked is told so.
    pub fn wait_for_none(&self) {
        let begun = Instant::now();
        while self.0.load(Ordering::Acquire) > 0 && begun.elapsed() < LAST_ANSWERS_TIMEOUT {
            std::thread::sleep(LOOK_INTERVAL);
        }
    }
}

/// Mark of a connection whose answer has no end: it is not closed for its age.
#[derive(Clone)]
pub struct Lasting {
    mark: Arc<AtomicBool>,
    connection: Arc<Registration>,
}

impl Lasting {
    fn new(connection: Arc<Registration>) -> Lasting {
        Lasting { mark: Arc::default(), connection }
    }

    /// Sets the mark.
    pub fn set(&self) {
        self.mark.store(true, Ordering::Release);
    }

    fn is_set(&self) -> bool {
        self.mark.load(Ordering::Acquire)
    }

    /// Holds the place of the connection, which goes on in another protocol when its HTTP has ended.
    pub fn hold(&self) -> Held {
        Held { _busy: self.connection.start_request().0, connection: self.connection.clone() }
    }
}

/// Place of a connection that is no longer one of HTTP, until it is dropped: it counts, and is busy.
pub struct Held {
    _busy: BusyGuard,
    connection: Arc<Registration>,
}

impl Held {
    /// Counts the end of the connection, if its client read nothing.
    pub fn count_end(&self, error: &(dyn std::error::Error + 'static)) {
        if is_write_timeout(error) {
            self.connection.all.metrics.count_ended_connection("stalled");
        }
    }
}

/// All open connections.
pub struct Connections {
    most: usize,
    open: Mutex<Open>,
    answering: Answering,
    metrics: Serving,
}

#[derive(Default)]
struct Open {
    next: u64,
    places: BTreeMap<u64, OpenConnection>,
}

/// An open connection.
struct OpenConnection {
    /// The time since which it is idle, if it is.
    idle: Option<Instant>,
    /// Requests that are being answered.
    busy: usize,
    /// Signal to close.
    close: Arc<Notify>,
}

impl Connections {
    /// Creates the table of connections with their limit, which counts their requests in `answering`.
    pub fn new(most: usize, answering: Answering, metrics: Serving) -> Arc<Connections> {
        metrics.set_connections(0, most);
        Arc::new(Connections { most, open: Mutex::default(), answering, metrics })
    }

    fn lock_open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits one more connection, and closes the one that has been idle longest if the limit is reached.
    /// None if the reserve is used up as well.
    fn admit(self: &Arc<Self>) -> Option<Registration> {
        let mut open = self.lock_open();
        if open.places.len() >= self.most {
            let full = open.places.len() >= self.most + RESERVED_CONNECTIONS;
            let idle = open.places.iter().filter_map(|(id, place)| Some((place.idle?, *id)));
            if let Some((since, id)) = idle.min()
                && (full || since.elapsed() > MIN_IDLE)
                && let Some(place) = open.places.remove(&id)
            {
                place.close.notify_one();
                self.metrics.count_ended_connection("idle_for_another");
            }
        }
        if open.places.len() >= self.most + RESERVED_CONNECTIONS {
            self.metrics.count_ended_connection("no_place");
            return None;
        }
        let (id, close) = (open.next, Arc::new(Notify::new()));
        open.next += 1;
        open.places.insert(id, OpenConnection { idle: Some(Instant::now()), busy: 0, close: close.clone() });
        self.metrics.set_connections(open.places.len(), self.most);
        Some(Registration { all: self.clone(), id, close })
    }
}

/// Registration of an open connection, until it is dropped.
struct Registration {
    all: Arc<Connections>,
    id: u64,
    close: Arc<Notify>,
}

impl Registration {
    /// Marks the connection busy until the returned guard is dropped. Also tells whether more connections are
    /// busy than the limit.
    fn start_request(&self) -> (BusyGuard, bool) {
        let mut open = self.all.lock_open();
        if let Some(place) = open.places.get_mut(&self.id) {
            place.busy += 1;
            place.idle = None;
        }
        self.all.answering.0.fetch_add(1, Ordering::AcqRel);
        let busy = open.places.values().filter(|place| place.idle.is_none()).count();
        (BusyGuard { all: self.all.clone(), id: self.id }, busy > self.all.most)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut open = self.all.lock_open();
        open.places.remove(&self.id);
        self.all.metrics.set_connections(open.places.len(), self.all.most);
    }
}

/// Guard of a request that is being answered.
struct BusyGuard {
    all: Arc<Connections>,
    id: u64,
}

impl Drop for BusyGuard {
    fn drop(&mut self) {
        self.all.answering.0.fetch_sub(1, Ordering::AcqRel);
        if let Some(place) = self.all.lock_open().places.get_mut(&self.id) {
            place.busy = place.busy.saturating_sub(1);
            place.idle = (place.busy == 0).then(Instant::now);
        }
    }
}

/// Accepts connections and serves them, until the runtime ends.
///
/// # Errors
/// Never: errors of single connections are logged.
pub async fn accept_all(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    all: Arc<Connections>,
    router: Router,
) -> Result<()> {
    loop {
        fail_point!("serve.accept");
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Transient, such as a lack of file descriptors.
                tracing::warn!("a connection could not be accepted: {error}");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(connection) = all.admit() else { continue };
        let _ = stream.set_nodelay(true);
        let (tls, router) = (tls.clone(), router.clone());
        tokio::spawn(async move {
            let close = connection.close.clone();
            let metrics = connection.all.metrics.clone();
            let serving = async {
                match tls {
                    None => serve_connection(stream, from.ip(), connection, router).await,
                    Some(tls) => match tls_handshake(&tls, stream).await {
                        Some(stream) => serve_connection(stream, from.ip(), connection, router).await,
                        None => metrics.count_ended_connection("handshake"),
                    },
                }
            };
            tokio::select! {
                () = serving => {}
                () = close.notified() => {}
            }
        });
    }
}

/// Does a TLS handshake; None if it fails or takes too long.
async fn tls_handshake(tls: &TlsAcceptor, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
    match timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!("no TLS handshake: {error}");
            None
        }
        Err(_) => None,
    }
}

/// Serves one connection until it ends.
async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    address: IpAddr,
    connection: Registration,
    router: Router,
) {
    let routes = TowerToHyperService::new(router);
    let metrics = connection.all.metrics.clone();
    let connection = Arc::new(connection);
    let lasting = Lasting::new(connection.clone());
    let mark = lasting.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (busy, crowded) = connection.start_request();
        request.extensions_mut().insert(Peer { address, crowded });
        request.extensions_mut().insert(mark.clone());
        let answered = routes.call(request);
        async move {
            let response: Response = answered.await?;
            Ok::<_, Infallible>(response.map(|body| Body::new(GuardedBody { body, _busy: busy })))
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(BUFFER_BYTES);
    let io = TokioIo::new(Guarded::new(stream, WRITE_TIMEOUT));
    let mut connection = pin!(http.serve_connection(io, service).with_upgrades());
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = sleep(MAX_AGE) => None,
    };
    let ended = if ended.is_none() && lasting.is_set() { Some(connection.as_mut().await) } else { ended };
    match ended {
        Some(Err(error)) if error.is_timeout() => metrics.count_ended_connection("idle"),
        Some(Err(error)) if is_write_timeout(&error) => metrics.count_ended_connection("stalled"),
        Some(_) => {}
        None => {
            metrics.count_ended_connection("age");
            connection.as_mut().graceful_shutdown();
            let _ = timeout(FINISH_TIMEOUT, connection).await;
        }
    }
}

/// Tells whether a connection ended because its client read nothing.
fn is_write_timeout(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return error.kind() == std::io::ErrorKind::TimedOut;
        }
        cause = error.source();
    }
    false
}

/// A response's body with the guard that keeps its connection busy while it is sent.
struct GuardedBody {
    body: Body,
    _busy: BusyGuard,
}

impl HttpBody for GuardedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use super::*;
    use crate::metrics::Metrics;

    fn connections(most: usize) -> Result<Arc<Connections>> {
        Ok(Connections::new(most, Answering::default(), Metrics::new("t")?.serving().clone()))
    }

    /// Tells whether a connection has been told to go.
    fn is_told_to_close(connection: &Registration) -> bool {
        let mut waiting = pin!(connection.close.notified());
        waiting.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    #[test]
    fn the_idlest_gives_way() -> Result<()> {
        let all = connections(8)?;
        let connections: Vec<Registration> =
            (0..8 + RESERVED_CONNECTIONS).filter_map(|_| all.admit()).collect();
        let first = connections[0].start_request();
        let _one_more = all.admit().ok_or_else(|| anyhow::anyhow!("no place"))?;
        assert_eq!(connections.iter().map(is_told_to_close).collect::<Vec<_>>()[..3], [false, true, false]);
        assert_eq!(all.lock_open().places.len(), 8 + RESERVED_CONNECTIONS);
        drop((connections, first));
        assert_eq!(all.lock_open().places.len(), 1, "one that went does not take another's place with it");
        Ok(())
    }

    #[test]
    fn when_all_are_busy_a_few_more_may_ask_for_health() -> Result<()> {
        let all = connections(8)?;
        let connections: Vec<Registration> = (0..8).filter_map(|_| all.admit()).collect();
        let busy: Vec<(BusyGuard, bool)> = connections.iter().map(Registration::start_request).collect();
        assert!(!busy.iter().any(|(_, crowded)| *crowded));
        // Further connections are idle, and replace each other.
        let more: Vec<Registration> = (0..100).filter_map(|_| all.admit()).collect();
        assert_eq!(more.len(), 100);
        assert_eq!(all.lock_open().places.len(), 8 + RESERVED_CONNECTIONS);
        assert!(!connections.iter().any(is_told_to_close), "nobody who is busy is told to go");
        let busier: Vec<(BusyGuard, bool)> =
            more.iter().rev().take(RESERVED_CONNECTIONS).map(Registration::start_request).collect();
        assert!(busier.iter().all(|(_, crowded)| *crowded));
        assert!(all.admit().is_none(), "there is an end");
        drop((busy, busier));
        assert!(all.admit().is_some());
        Ok(())
    }

    #[test]
    fn a_connection_is_idle_when_its_answers_are_read() -> Result<()> {
        let all = connections(8)?;
        let connection = all.admit().ok_or_else(|| anyhow::anyhow!("no place"))?;
        let idle = || all.lock_open().places[&0].idle.is_some();
        let answering = || all.answering.0.load(Ordering::Acquire);
        assert!(idle());
        let (one, two) = (connection.start_request(), connection.start_request());
        assert_eq!((idle(), answering()), (false, 2));
        drop(one);
        assert!(!idle());
        // A connection that goes on in another protocol has its place until that ends.
        let held = Lasting::new(Arc::new(connection)).hold();
        assert_eq!((idle(), answering(), all.lock_open().places.len()), (false, 2, 1));
        let connection = held.connection.clone();
        drop(held);
        assert_eq!((idle(), answering(), all.lock_open().places.len()), (false, 1, 1));
        // A request that outlives its connection counts until it is answered.
        drop((connection.all.admit(), two));
        assert_eq!((idle(), answering()), (true, 0));
        all.answering.wait_for_none();
        Ok(())
    }
}
