//! Connections, bounded in number, in idleness and in age; and that there is always one for who asks for health.
//!
//! When all places are taken, a new connection takes that of the one that has been idle longest, so that whoever
//! opens many and says nothing holds up nobody. While as many as there are places are busy, a few more are let in,
//! and are answered `/healthz`, `/readyz` and `/metrics` only; what is beyond that is closed at once. A TLS
//! handshake is done by the connection itself: one that is slow holds up nobody.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::{Pin, pin};
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
use openssl::ssl::{Ssl, SslAcceptor};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_openssl::SslStream;

use super::guarded::Guarded;
use crate::metrics::Serving;

/// Connections when nothing is said.
pub const MOST: usize = 256;
/// Connections beyond, for those that have just come, and for health and metrics.
const RESERVED: usize = 32;
/// One that has been idle for less than this has just come: its request may be on its way.
const YOUNG: Duration = Duration::from_secs(1);
/// How long a TLS handshake, or the head of a request, may take; and how long a connection may be idle.
const HANDSHAKE: Duration = Duration::from_secs(5);
const HEAD: Duration = Duration::from_secs(30);
/// How long a client may take nothing of an answer.
const STALLED: Duration = Duration::from_secs(20);
/// How long a connection lives; then the request it is in may be finished.
const AGE: Duration = Duration::from_secs(600);
const FINISH: Duration = Duration::from_secs(120);
/// Bytes of a connection's buffers, each way.
const BUFFER: usize = 64 << 10;

/// Who is at the other end of a request, and whether there is a place for more than health and metrics.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The address.
    pub address: IpAddr,
    /// Tells whether all places are taken by others that are busy.
    pub crowded: bool,
}

/// All open connections.
pub struct Connections {
    most: usize,
    open: Mutex<Open>,
    metrics: Serving,
}

#[derive(Default)]
struct Open {
    next: u64,
    places: BTreeMap<u64, Place>,
}

/// An open connection: since when it is idle, if it is, and how it is told to go.
struct Place {
    idle: Option<Instant>,
    busy: usize,
    go: Arc<Notify>,
}

impl Connections {
    /// So many at a time.
    pub fn new(most: usize, metrics: Serving) -> Arc<Connections> {
        metrics.connections(0, most);
        Arc::new(Connections { most, open: Mutex::default(), metrics })
    }

    fn locked(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more, if need be of one that is idle; none when all are busy.
    fn seat(self: &Arc<Self>) -> Option<Seat> {
        let mut open = self.locked();
        if open.places.len() >= self.most {
            let full = open.places.len() >= self.most + RESERVED;
            let idle = open.places.iter().filter_map(|(id, place)| Some((place.idle?, *id)));
            if let Some((since, id)) = idle.min()
                && (full || since.elapsed() > YOUNG)
                && let Some(place) = open.places.remove(&id)
            {
                place.go.notify_one();
                self.metrics.connection_ended("idle_for_another");
            }
        }
        if open.places.len() >= self.most + RESERVED {
            self.metrics.connection_ended("no_place");
            return None;
        }
        let (id, go) = (open.next, Arc::new(Notify::new()));
        open.next += 1;
        open.places.insert(id, Place { idle: Some(Instant::now()), busy: 0, go: go.clone() });
        self.metrics.connections(open.places.len(), self.most);
        Some(Seat { all: self.clone(), id, go })
    }
}

/// A connection's place, until it is dropped.
struct Seat {
    all: Arc<Connections>,
    id: u64,
    go: Arc<Notify>,
}

impl Seat {
    /// Marks the connection busy until what is returned is dropped; also whether more are than there are places.
    fn busy(&self) -> (Busy, bool) {
        let mut open = self.all.locked();
        if let Some(place) = open.places.get_mut(&self.id) {
            place.busy += 1;
            place.idle = None;
        }
        let busy = open.places.values().filter(|place| place.idle.is_none()).count();
        (Busy { all: self.all.clone(), id: self.id }, busy > self.all.most)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.all.locked();
        open.places.remove(&self.id);
        self.all.metrics.connections(open.places.len(), self.all.most);
    }
}

/// A request that is answered.
struct Busy {
    all: Arc<Connections>,
    id: u64,
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(place) = self.all.locked().places.get_mut(&self.id) {
            place.busy = place.busy.saturating_sub(1);
            place.idle = (place.busy == 0).then(Instant::now);
        }
    }
}

/// Accepts connections and serves them, until the runtime ends.
///
/// # Errors
/// When the listener is no more.
pub async fn accept(
    listener: TcpListener,
    tls: Option<SslAcceptor>,
    all: Arc<Connections>,
    router: Router,
) -> Result<()> {
    loop {
        fail_point!("serve.accept");
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, for one: it passes.
                tracing::warn!("a connection could not be accepted: {error}");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(seat) = all.seat() else { continue };
        let _ = stream.set_nodelay(true);
        let (tls, router) = (tls.clone(), router.clone());
        tokio::spawn(async move {
            let go = seat.go.clone();
            let metrics = seat.all.metrics.clone();
            let serving = async {
                match tls {
                    None => serve(stream, from.ip(), seat, router).await,
                    Some(tls) => match handshake(&tls, stream).await {
                        Some(stream) => serve(stream, from.ip(), seat, router).await,
                        None => metrics.connection_ended("handshake"),
                    },
                }
            };
            tokio::select! {
                () = serving => {}
                () = go.notified() => {}
            }
        });
    }
}

async fn handshake(tls: &SslAcceptor, stream: TcpStream) -> Option<SslStream<TcpStream>> {
    let mut stream = SslStream::new(Ssl::new(tls.context()).ok()?, stream).ok()?;
    match timeout(HANDSHAKE, Pin::new(&mut stream).accept()).await {
        Ok(Ok(())) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!("no TLS handshake: {error}");
            None
        }
        Err(_) => None,
    }
}

/// Serves one connection to its end.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    address: IpAddr,
    seat: Seat,
    router: Router,
) {
    let routes = TowerToHyperService::new(router);
    let metrics = seat.all.metrics.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (busy, crowded) = seat.busy();
        request.extensions_mut().insert(Peer { address, crowded });
        let answered = routes.call(request);
        async move {
            let response: Response = answered.await?;
            Ok::<_, Infallible>(response.map(|body| Body::new(Held { body, _busy: busy })))
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(BUFFER);
    let io = TokioIo::new(Guarded::new(stream, STALLED));
    let mut connection = pin!(http.serve_connection(io, service));
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = sleep(AGE) => None,
    };
    match ended {
        Some(Err(error)) if error.is_timeout() => metrics.connection_ended("idle"),
        Some(Err(error)) if stalled(&error) => metrics.connection_ended("stalled"),
        Some(_) => {}
        None => {
            metrics.connection_ended("age");
            connection.as_mut().graceful_shutdown();
            let _ = timeout(FINISH, connection).await;
        }
    }
}

/// Tells whether a connection ended because its client took nothing.
fn stalled(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    cause.is_some_and(|error| error.kind() == std::io::ErrorKind::TimedOut)
}

/// An answer's body, with what lives as long as it is sent.
struct Held {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Held {
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
        Ok(Connections::new(most, Metrics::new("t")?.serving().clone()))
    }

    /// Tells whether a connection has been told to go.
    fn told(seat: &Seat) -> bool {
        let mut waiting = pin!(seat.go.notified());
        waiting.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    #[test]
    fn the_idlest_gives_way() -> Result<()> {
        let all = connections(8)?;
        let seats: Vec<Seat> = (0..8 + RESERVED).filter_map(|_| all.seat()).collect();
        let first = seats[0].busy();
        let _one_more = all.seat().ok_or_else(|| anyhow::anyhow!("no place"))?;
        assert_eq!(seats.iter().map(told).collect::<Vec<_>>()[..3], [false, true, false]);
        assert_eq!(all.locked().places.len(), 8 + RESERVED);
        drop((seats, first));
        assert_eq!(all.locked().places.len(), 1, "one that went does not take another's place with it");
        Ok(())
    }

    #[test]
    fn when_all_are_busy_a_few_more_may_ask_for_health() -> Result<()> {
        let all = connections(8)?;
        let seats: Vec<Seat> = (0..8).filter_map(|_| all.seat()).collect();
        let busy: Vec<(Busy, bool)> = seats.iter().map(Seat::busy).collect();
        assert!(!busy.iter().any(|(_, crowded)| *crowded));
        // Those that come now, and are not busy for long, give way to each other.
        let more: Vec<Seat> = (0..100).filter_map(|_| all.seat()).collect();
        assert_eq!(more.len(), 100);
        assert_eq!(all.locked().places.len(), 8 + RESERVED);
        assert!(!seats.iter().any(told), "nobody who is busy is told to go");
        let busier: Vec<(Busy, bool)> = more.iter().rev().take(RESERVED).map(Seat::busy).collect();
        assert!(busier.iter().all(|(_, crowded)| *crowded));
        assert!(all.seat().is_none(), "there is an end");
        drop((busy, busier));
        assert!(all.seat().is_some());
        Ok(())
    }

    #[test]
    fn a_connection_is_idle_when_its_answers_are_read() -> Result<()> {
        let all = connections(8)?;
        let seat = all.seat().ok_or_else(|| anyhow::anyhow!("no place"))?;
        let idle = || all.locked().places[&0].idle.is_some();
        assert!(idle());
        let (one, two) = (seat.busy(), seat.busy());
        assert!(!idle());
        drop(one);
        assert!(!idle());
        drop(two);
        assert!(idle());
        Ok(())
    }
}
