//! Subscriptions by WebSocket: every event is a text message with one JSON object.
//!
//! A client gets the same frames as one of Server-Sent Events: their text is copied into messages, and no row
//! is encoded again ([`json_events`]). The messages of a frame are written together. Nothing is expected of
//! a client but the end: its messages are read, with a bound, and dropped.
//!
//! The connection is no longer one of HTTP and holds its place among them ([`Held`]). A client that takes
//! nothing is cut off by the timeout of its writes, one that is gone without a word by unanswered pings.

use std::time::Duration;

use axum::Error;
use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocketUpgrade, close_code};
use axum::response::Response;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::events::{Part, end, json_events};
use crate::serve::connections::Held;

/// Subprotocol of subscriptions; browsers want one of those that they offered.
const PROTOCOL: &str = "herald";
/// Bytes of messages that are written together. One message more is buffered at most.
const WRITE_BYTES: usize = 32 << 10;
/// Bytes that are read at once.
const READ_BYTES: usize = 4 << 10;
/// Most bytes of a client's message.
const MAX_MESSAGE_BYTES: usize = 4 << 10;
/// Most pings in a row, without an event between, that a client may leave unanswered.
const MAX_UNANSWERED: u32 = 8;
/// Longest time in which a client may answer a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of the reason in a close frame.
const MAX_REASON_BYTES: usize = 123;

/// Accepts a handshake, and sends the parts of a subscription over the WebSocket.
pub(super) fn accept(upgrade: WebSocketUpgrade, parts: mpsc::Receiver<Part>, held: Option<Held>) -> Response {
    upgrade
        .protocols([PROTOCOL])
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(WRITE_BYTES)
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_frame_size(MAX_MESSAGE_BYTES)
        .on_upgrade(async |socket| Client { socket, held, unanswered: 0 }.serve(parts).await)
}

/// The client of a WebSocket.
struct Client<S> {
    socket: S,
    held: Option<Held>,
    /// Pings since the last event or message that were not answered.
    unanswered: u32,
}

impl<S> Client<S>
where
    S: Sink<Message, Error = Error> + Stream<Item = Result<Message, Error>> + Unpin,
{
    /// Sends the parts of a subscription until it ends or the client leaves, and closes the WebSocket.
    async fn serve(&mut self, mut parts: mpsc::Receiver<Part>) {
        let sent = self.send_parts(&mut parts).await;
        // The subscription ends here, also where its client is slow to go.
        drop(parts);
        let closed = match sent {
            Ok(Some(close)) => self.socket.send(Message::Close(Some(close))).await,
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = closed {
            if let Some(held) = &self.held {
                held.count_end(&error);
            }
            return;
        }
        // Whoever does not answer in time is told by the end of the connection.
        let _ = timeout(CLOSE_TIMEOUT, self.read_to_end()).await;
    }

    /// Sends parts until the subscription ends, for which it returns the close frame, or the client closes.
    ///
    /// # Errors
    /// When the connection breaks, or the client reads nothing.
    async fn send_parts(&mut self, parts: &mut mpsc::Receiver<Part>) -> Result<Option<CloseFrame>, Error> {
        loop {
            tokio::select! {
                part = parts.recv() => {
                    if let Some(close) = self.send_part(part).await? {
                        return Ok(Some(close));
                    }
                }
                heard = self.socket.next() => match heard {
                    None | Some(Ok(Message::Close(_))) => return Ok(None),
                    Some(Ok(_)) => self.unanswered = 0,
                    Some(Err(error)) => {
                        return Ok(Some(close_frame(close_code::POLICY, &error.to_string())));
                    }
                },
            }
        }
    }

    /// Sends a part; returns the close frame if it is the last.
    async fn send_part(&mut self, part: Option<Part>) -> Result<Option<CloseFrame>, Error> {
        match part {
            Some(Part::Events(frame)) => {
                self.send_events(&String::from_utf8_lossy(&frame)).await?;
                self.unanswered = 0;
                Ok(None)
            }
            Some(Part::Heartbeat) if self.unanswered >= MAX_UNANSWERED => {
                Ok(Some(close_frame(close_code::POLICY, "the client answers no ping")))
            }
            Some(Part::Heartbeat) => {
                self.unanswered += 1;
                self.socket.send(Message::Ping(Bytes::new())).await?;
                Ok(None)
            }
            Some(Part::End { reason, why }) => {
                self.send_events(&end(reason, &why)).await?;
                Ok(Some(close_frame(close_code_of(reason), &format!("{reason}: {why}"))))
            }
            None => Ok(Some(close_frame(close_code::ERROR, "failed: the log tells why"))),
        }
    }

    /// Sends the events of a frame, and waits until the client has room for them.
    async fn send_events(&mut self, frame: &str) -> Result<(), Error> {
        for event in json_events(frame) {
            self.socket.feed(Message::text(event)).await?;
        }
        self.socket.flush().await
    }

    /// Reads until the client has closed. Close frames are answered on the way.
    async fn read_to_end(&mut self) {
        while let Some(Ok(_)) = self.socket.next().await {}
    }
}

/// The close code for the reason of an end.
fn close_code_of(reason: &str) -> u16 {
    match reason {
        "ending" => close_code::AWAY,
        "failed" => close_code::ERROR,
        _ => close_code::POLICY,
    }
}

/// A close frame, with as much of the reason as fits.
fn close_frame(code: u16, reason: &str) -> CloseFrame {
    let reason = &reason[..reason.floor_char_boundary(MAX_REASON_BYTES)];
    CloseFrame { code, reason: Utf8Bytes::from(reason) }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use super::*;
    use crate::serve::subscribe::subject::End;

    /// A socket in memory, which ends when either side has closed it.
    struct Memory {
        sent: Vec<Message>,
        heard: VecDeque<Result<Message, Error>>,
        closed: bool,
    }

    impl Stream for Memory {
        type Item = Result<Message, Error>;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            match self.heard.pop_front() {
                Some(heard) => {
                    self.closed |= matches!(heard, Ok(Message::Close(_)));
                    Poll::Ready(Some(heard))
                }
                None if self.closed => Poll::Ready(None),
                None => Poll::Pending,
            }
        }
    }

    impl Sink<Message> for Memory {
        type Error = Error;

        fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
            Poll::Ready(Ok(()))
        }

        fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
            self.closed |= matches!(message, Message::Close(_));
            self.sent.push(message);
            Ok(())
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
            Poll::Ready(Ok(()))
        }
    }

    /// The messages to a client that gets some parts and then says something, if anything.
    async fn messages(parts: Vec<Part>, heard: Option<Result<Message, Error>>) -> Vec<Message> {
        let (out, waiting) = mpsc::channel(parts.len().max(1));
        for part in parts {
            let _ = out.send(part).await;
        }
        // Whoever is heard is not overtaken by an end of the parts.
        let _open = heard.is_some().then_some(out);
        let socket = Memory { sent: Vec::new(), heard: heard.into_iter().collect(), closed: false };
        let mut client = Client { socket, held: None, unanswered: 0 };
        client.serve(waiting).await;
        client.socket.sent
    }

    fn closed(code: u16, reason: &str) -> Message {
        Message::Close(Some(close_frame(code, reason)))
    }

    fn progress() -> Part {
        Part::Events(Bytes::from_static(b"event: progress\nid: 7-0\ndata: {}\n\nevent: reset\ndata: {}\n\n"))
    }

    #[tokio::test]
    async fn a_frame_is_a_message_for_each_event() {
        let end = Part::End { reason: "slow", why: "w".to_owned() };
        assert_eq!(
            messages(vec![progress(), end], None).await,
            [
                Message::text(r#"{"event":"progress","id":"7-0","data":{}}"#),
                Message::text(r#"{"event":"reset","data":{}}"#),
                Message::text(r#"{"event":"end","data":{"reason":"slow","why":"w"}}"#),
                closed(1008, "slow: w"),
            ]
        );
    }

    #[tokio::test]
    async fn a_client_that_answers_no_ping_has_left() {
        let pings = |count: u32| (0..count).map(|_| Part::Heartbeat).collect::<Vec<_>>();
        let ping = || Message::Ping(Bytes::new());
        let mut sent = messages(pings(MAX_UNANSWERED + 1), None).await;
        assert_eq!(sent.pop(), Some(closed(1008, "the client answers no ping")));
        assert!(sent.len() == MAX_UNANSWERED as usize && sent.iter().all(|sent| *sent == ping()));
        // An event between, and the count begins anew.
        let mut parts = pings(MAX_UNANSWERED);
        parts.push(progress());
        parts.extend(pings(MAX_UNANSWERED));
        let sent = messages(parts, None).await;
        assert_eq!(sent.iter().filter(|sent| **sent == ping()).count(), 2 * MAX_UNANSWERED as usize);
        assert_eq!(sent.last(), Some(&closed(1011, "failed: the log tells why")), "its task has gone");
    }

    #[tokio::test]
    async fn a_client_ends_its_subscription() {
        assert_eq!(messages(Vec::new(), Some(Ok(Message::Close(None)))).await, Vec::<Message>::new());
        let broken = Some(Err(Error::new("too long")));
        assert_eq!(messages(Vec::new(), broken).await, [closed(1008, "too long")]);
    }

    #[test]
    fn the_reason_of_an_end_is_that_of_the_close_frame() {
        for (end, code) in [
            (End::ending(), 1001),
            (End::slow(), 1008),
            (End::late(), 1008),
            (End::gone(), 1008),
            (End::failed(&anyhow::anyhow!("x")), 1011),
        ] {
            let close = close_frame(close_code_of(end.reason), &format!("{}: {}", end.reason, end.why));
            assert_eq!(close.code, code, "{end:?}");
            assert!(close.reason.starts_with(end.reason) && close.reason.len() <= MAX_REASON_BYTES);
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        assert_eq!(close_frame(1011, "why").reason.as_str(), "why");
        assert_eq!(close_frame(1011, &"x".repeat(200)).reason.len(), MAX_REASON_BYTES);
        // Two bytes a character: 123 is within one.
        assert_eq!(close_frame(1011, &"ä".repeat(100)).reason.as_str(), "ä".repeat(61));
    }
}
