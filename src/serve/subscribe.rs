//! Handler of `/v1/subscribe/VIEW`: a snapshot of a view and then the changes of each committed epoch, as
//! Server-Sent Events ([`events`]) or by WebSocket ([`socket`]).
//!
//! The changes are those that the state keeps by epoch, so that no crash takes back anything that was sent. A
//! subscriber first reads for itself ([`catch_up`]), and then takes the frames of its feed, which are encoded
//! once for all that ask for the same ([`feed`], [`hub`]). Each has a task here, which waits for its client.

mod catch_up;
mod events;
mod feed;
pub mod hub;
mod shape;
mod socket;
mod subject;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::{Error, anyhow};
use axum::Extension;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body::Frame;
use state::{HistoryPlace, HistorySince, Snapshot};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use self::catch_up::{Begin, CatchUp};
use self::events::Part;
use self::feed::{Place, Taken};
use self::hub::{FeedKey, Reader, STACK_BYTES, Seat};
use self::shape::asked_shape;
use self::subject::{Break, CATCH_UP_TIMEOUT, End, Subject};
use super::access::asks_for_websocket;
use super::connections::Lasting;
use super::lookup::views_of;
use super::queries::Refusal;
use super::{STARTING, Served, Shared, failure};
use crate::exit::mistake;
use crate::query::tables::shape::{epoch_of_id, gone_text, without_history};

/// Frames that wait until the client takes them.
const FRAMES_AHEAD: usize = 2;
/// Time without an event after which a heartbeat is sent.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);

/// Parameters of `/v1/subscribe`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SubscribeParams {
    snapshot: Option<bool>,
    as_of: Option<u64>,
    /// The id of the last event that the client has, where it cannot send it as a header.
    from_id: Option<String>,
    #[serde(rename = "where")]
    filter: Option<String>,
    columns: Option<String>,
}

/// A subscription that was found in order, before it has a place.
struct Prepared {
    key: FeedKey,
    subject: Subject,
    begin: Begin,
    /// The last committed epoch.
    epoch: u64,
}

/// Answers a subscription.
pub(super) async fn subscribe(
    State(served): Shared,
    view: Result<Path<String>, PathRejection>,
    params: Result<Query<SubscribeParams>, QueryRejection>,
    lasting: Option<Extension<Lasting>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    headers: HeaderMap,
) -> Response {
    let websocket = match websocket_of(&headers, upgrade) {
        Ok(websocket) => websocket,
        Err(refusal) => return refuse(refusal, &headers),
    };
    let (parts, epoch) = match begin_subscription(&served, view, params, &headers).await {
        Ok(begun) => begun,
        Err(refusal) => return refuse(refusal, &headers),
    };
    let lasting = lasting.map(|Extension(lasting)| lasting);
    let mut response = match websocket {
        Some(upgrade) => socket::accept(upgrade, parts, lasting.map(|lasting| lasting.hold())),
        None => {
            if let Some(lasting) = lasting {
                lasting.set();
            }
            let fields = [
                (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
                (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
                // The connection is of no other use: a subscription has no end.
                (header::CONNECTION, HeaderValue::from_static("close")),
            ];
            (fields, Body::new(EventBody { parts })).into_response()
        }
    };
    response.headers_mut().insert("herald-epoch", HeaderValue::from(epoch));
    response
}

/// The response to a subscription that is refused.
fn refuse(Refusal(status, why): Refusal, headers: &HeaderMap) -> Response {
    let mut refused = failure(status, &why);
    if status == StatusCode::TOO_MANY_REQUESTS {
        refused.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if asks_for_websocket(headers) {
        refused.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    }
    refused
}

/// Begins a subscription; returns its parts, and the last committed epoch.
async fn begin_subscription(
    served: &Arc<Served>,
    view: Result<Path<String>, PathRejection>,
    params: Result<Query<SubscribeParams>, QueryRejection>,
    headers: &HeaderMap,
) -> Result<(mpsc::Receiver<Part>, u64), Refusal> {
    let Path(view) = view.map_err(|error| Refusal(StatusCode::BAD_REQUEST, error.body_text()))?;
    let Query(params) = params.map_err(|error| Refusal(StatusCode::BAD_REQUEST, params_text(&error)))?;
    if !served.handle.status().started {
        return Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, STARTING.to_owned()));
    }
    let hub = &served.subscriptions;
    let Some(place) = hub.take_place() else {
        hub.metrics.count_refused("subscribers");
        let why = format!("there are {} subscribers already: see --max-subscribers", hub.most());
        return Err(Refusal(StatusCode::TOO_MANY_REQUESTS, why));
    };
    // EventSource sends the header when it comes back, with the URL that it began with.
    let last_id = match headers.get("last-event-id") {
        Some(id) => Some(String::from_utf8_lossy(id.as_bytes()).into_owned()),
        None => params.from_id.clone(),
    };
    let shared = served.clone();
    let prepared = tokio::task::spawn_blocking(move || prepare(&shared, &view, params, last_id)).await;
    let Ok(prepared) = prepared else {
        let why = "the subscription failed unexpectedly".to_owned();
        return Err(Refusal(StatusCode::INTERNAL_SERVER_ERROR, why));
    };
    let Prepared { key, subject, begin, epoch } = prepared?;
    let joined = hub.join(key, (subject, epoch), place);
    let seat = joined.map_err(|error| Refusal(StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}")))?;
    let (out, parts) = mpsc::channel(FRAMES_AHEAD);
    tokio::spawn(Subscriber { seat, out }.run(begin));
    Ok((parts, epoch))
}

/// The sentence about parameters that cannot be read.
fn params_text(error: &QueryRejection) -> String {
    format!(
        "the parameters are snapshot (true or false), as_of (an epoch), from_id (the id of a progress), \
         where and columns: {}",
        error.body_text()
    )
}

/// The handshake of a client that asks for a WebSocket; None for one that takes Server-Sent Events.
fn websocket_of(
    headers: &HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Option<WebSocketUpgrade>, Refusal> {
    if asks_for_websocket(headers) {
        return match upgrade {
            Ok(upgrade) => Ok(Some(upgrade)),
            Err(error) => {
                let why = format!("the handshake of the WebSocket is not in order: {}", error.body_text());
                Err(Refusal(error.status(), why))
            }
        };
    }
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accepted.is_empty()
        || ["text/event-stream", "text/*", "*/*"].iter().any(|kind| accepted.contains(kind))
    {
        return Ok(None);
    }
    let why = format!("subscriptions are text/event-stream, and the client accepts {accepted} alone");
    Err(Refusal(StatusCode::NOT_ACCEPTABLE, why))
}

/// Looks whether a subscription is in order. Reads the state: not to be called from async code.
fn prepare(
    served: &Served,
    view: &str,
    params: SubscribeParams,
    last_id: Option<String>,
) -> Result<Prepared, Refusal> {
    let refuse = |error: Error| Refusal::of(&error);
    let store = served.handle.store().ok_or_else(|| refuse(anyhow!("the topology is ending")))?;
    let snapshot = store.snapshot().map_err(|error| refuse(error.into()))?;
    let views = views_of(served, &snapshot).map_err(refuse)?;
    let Some(found) = views.view(view) else {
        return Err(Refusal(StatusCode::NOT_FOUND, views.unknown(view).to_string()));
    };
    found.refuse_filling(&snapshot).map_err(refuse)?;
    let (entry, filter, columns) = (found.entry(), params.filter.as_deref(), params.columns.as_deref());
    let shape = asked_shape((view, found.schema()), (filter, columns)).map_err(refuse)?;
    let state_id = store.state_id().to_owned();
    let asked = match &last_id {
        Some(id) => Some(epoch_of_id(id, &state_id).ok_or_else(|| {
            refuse(mistake(format!(
                "{id:?} is no id of an event progress: send that as Last-Event-ID or from_id, or none"
            )))
        })?),
        None => params.as_of,
    };
    let begin = begin_after(&snapshot, (entry.id, view), (asked, params.snapshot))?;
    let subject = Subject { view: entry.id, keyed: entry.key.is_some(), shape, state_id };
    Ok(Prepared { key: (entry.id, params.filter, params.columns), subject, begin, epoch: snapshot.epoch() })
}

/// The beginning of a subscription that asks for the changes after an epoch, and for a snapshot or none.
fn begin_after(
    snapshot: &Snapshot<'_>,
    (id, view): (u32, &str),
    (asked, wanted): (Option<u64>, Option<bool>),
) -> Result<Begin, Refusal> {
    let from = HistoryPlace::after(asked.unwrap_or_else(|| snapshot.epoch()));
    let since = match snapshot.history_from(id, from).map_err(|error| Refusal::of(&error.into()))? {
        HistorySince::Held(_) => {
            return Ok(match (asked, wanted) {
                (Some(epoch), _) => Begin::After(epoch),
                (None, Some(false)) => Begin::Now,
                (None, _) => Begin::Snapshot("the subscription begins".to_owned()),
            });
        }
        HistorySince::Gone(since) => since,
    };
    if since.is_none() {
        return Err(Refusal::of(&without_history(view)));
    }
    let told = gone_text(asked.unwrap_or_default(), since);
    match wanted {
        Some(false) => {
            Err(Refusal(StatusCode::GONE, format!("{told}\n  leave snapshot=false out for a snapshot")))
        }
        _ => Ok(Begin::Snapshot(told)),
    }
}

/// A subscriber with its client.
struct Subscriber {
    seat: Seat,
    out: mpsc::Sender<Part>,
}

impl Subscriber {
    /// Sends events until the client leaves or the subscription ends, and counts the end.
    async fn run(self, begin: Begin) {
        let ended = match self.follow(begin).await {
            Break::End(end) => Some(end),
            Break::Gone(_) => Some(End::gone()),
            Break::Left => None,
        };
        let metrics = &self.seat.hub.metrics;
        let Some(End { reason, why }) = ended else {
            metrics.count_subscription_end("left");
            return;
        };
        metrics.count_subscription_end(reason);
        tracing::debug!(view = self.seat.feed.subject.view, reason, "a subscription ended: {why}");
        // One that takes nothing any more is told by the end of its connection.
        let _ = self.out.send(Part::End { reason, why }).await;
    }

    /// Sends events until the subscription breaks off.
    async fn follow(&self, begin: Begin) -> Break {
        let mut place = match self.catch_up(begin).await {
            Ok(place) => place,
            Err(broken) => return broken,
        };
        let mut changes = self.seat.feed.watch();
        loop {
            changes.borrow_and_update();
            match self.seat.feed.take(&mut place) {
                Taken::Frame(frame) => {
                    if self.out.send(Part::Events(frame)).await.is_err() {
                        return Break::Left;
                    }
                }
                Taken::Nothing => {
                    if let Err(broken) = self.wait(changes.changed()).await {
                        return broken;
                    }
                }
                Taken::Behind => return Break::End(End::slow()),
                Taken::Ended(end) => return Break::End(end),
            }
        }
    }

    /// Has a thread send all that precedes the ring of the feed, when there is a turn.
    async fn catch_up(&self, begin: Begin) -> Result<Place, Break> {
        let hub = &self.seat.hub;
        let Ok(turn) = self.wait(hub.turns.clone().acquire_owned()).await? else {
            return Err(Break::End(End::ending()));
        };
        let (done, caught_up) = oneshot::channel();
        let catch_up = CatchUp {
            handle: hub.handle.clone(),
            feed: self.seat.feed.clone(),
            out: self.out.clone(),
            stop: hub.watch_stop(),
            runtime: Handle::current(),
            deadline: Instant::now() + CATCH_UP_TIMEOUT,
        };
        let reader = Reader::new(hub);
        let started = std::thread::Builder::new()
            .name("herald-catch-up".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let caught_up = catch_up.run(begin);
                drop((reader, turn));
                // A subscriber that has gone needs no place.
                let _ = done.send(caught_up);
            });
        if let Err(error) = started {
            return Err(Error::from(error).context("the view cannot be read").into());
        }
        match self.wait(caught_up).await? {
            Ok(caught_up) => caught_up,
            Err(_) => Err(anyhow!("the rows cannot be read: the log tells why").into()),
        }
    }

    /// Waits for something, with heartbeats meanwhile.
    ///
    /// # Errors
    /// When the client leaves.
    async fn wait<T>(&self, waiting: impl Future<Output = T>) -> Result<T, Break> {
        let mut waiting = std::pin::pin!(waiting);
        loop {
            tokio::select! {
                done = waiting.as_mut() => return Ok(done),
                () = self.out.closed() => return Err(Break::Left),
                () = sleep(HEARTBEAT_INTERVAL) => {
                    // A client with frames left to take needs none.
                    let _ = self.out.try_send(Part::Heartbeat);
                }
            }
        }
    }
}

/// The events of a subscription, as the body of a response.
struct EventBody {
    parts: mpsc::Receiver<Part>,
}

impl HttpBody for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.parts.poll_recv(cx).map(|part| part.map(|part| Ok(Frame::data(part.into_text()))))
    }
}
