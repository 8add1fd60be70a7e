//! Bytes to and from a client: messages are read and written through buffers, in the clear or by TLS.
//!
//! Of pgwire its messages are used, and not its loop over a socket, so that rows are written straight into
//! the buffer, a message has a bound before it is held in memory, and a statement can be stopped while its
//! rows are on their way.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use pgwire::messages::{DecodeContext, PgWireBackendMessage, PgWireFrontendMessage, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

use super::errors::{PgError, PgResult, codes};

/// Bytes of output that are collected before they are sent.
pub const ENOUGH_BYTES: usize = 64 << 10;
/// Most bytes of a message before the client has logged in.
const MAX_LOGIN_BYTES: usize = 10_000;
/// Most bytes of a message.
const MAX_MESSAGE_BYTES: usize = 16 << 20;
/// Most bytes that are read ahead while a statement runs.
const MAX_AHEAD_BYTES: usize = 64 << 10;
/// Longest time for which a client may read nothing of what is sent.
const WRITE_TIMEOUT: Duration = Duration::from_secs(600);

/// A stream to a client.
pub trait ClientStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> ClientStream for S {}

/// Orders from outside of the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// Number of cancel requests so far.
    pub cancels: u64,
    /// Set when the topology's process ends.
    pub ending: bool,
}

/// Reason for which waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// A cancel request came.
    Cancelled,
    /// The time is over.
    TimedOut,
    /// The client has gone.
    Gone,
    /// The topology's process ends.
    Ending,
}

/// A message, or the reason for which there is none.
#[derive(Debug)]
pub enum Received {
    /// A message.
    Message(PgWireFrontendMessage),
    /// A statement that is no text; true for one of the extended protocol.
    NoText(PgError, bool),
    /// No more messages come.
    None(Interrupt),
}

/// The connection to a client.
pub struct Wire {
    stream: Box<dyn ClientStream>,
    input: BytesMut,
    output: BytesMut,
    context: DecodeContext,
    orders: watch::Receiver<Orders>,
    /// Cancel requests that are done with.
    cancels_seen: u64,
    logged_in: bool,
}

impl Wire {
    /// A connection whose client has not said anything yet.
    pub fn new(stream: Box<dyn ClientStream>, orders: watch::Receiver<Orders>) -> Wire {
        let mut context = DecodeContext::default();
        context.awaiting_frontend_ssl = false;
        Wire {
            stream,
            input: BytesMut::new(),
            output: BytesMut::new(),
            context,
            orders,
            cancels_seen: 0,
            logged_in: false,
        }
    }

    /// Takes the stream out, to put TLS over it. With `begun`, the input that is there is the begin of the
    /// handshake; else there must be none.
    ///
    /// # Errors
    /// When the client has sent something in the clear that was meant to be secret, or has gone.
    pub async fn take_stream(&mut self, begun: bool) -> PgResult<Box<dyn ClientStream>> {
        if !begun && !self.input.is_empty() {
            let message = "received unencrypted data after SSL request";
            return Err(PgError::fatal(codes::PROTOCOL_VIOLATION, message));
        }
        self.flush().await.map_err(|_| gone())?;
        let nothing = tokio::io::join(tokio::io::empty(), tokio::io::sink());
        let stream = std::mem::replace(&mut self.stream, Box::new(nothing));
        let input = self.input.split().freeze();
        let (read, write) = tokio::io::split(stream);
        let read = AsyncReadExt::chain(std::io::Cursor::new(input), read);
        Ok(Box::new(tokio::io::join(read, write)))
    }

    /// Puts a stream in.
    pub fn put_stream(&mut self, stream: Box<dyn ClientStream>) {
        self.stream = stream;
    }

    /// The version of the protocol that both sides speak from here on.
    pub fn set_version(&mut self, version: ProtocolVersion) {
        self.context.protocol_version = version;
        self.context.awaiting_frontend_startup = false;
    }

    /// Lifts the bound on messages, once the client has logged in.
    pub fn set_logged_in(&mut self) {
        self.logged_in = true;
    }

    /// Reads until there are at least `least` bytes of input, which stay there.
    ///
    /// # Errors
    /// When the client has gone.
    pub async fn peek(&mut self, least: usize) -> PgResult<&[u8]> {
        while self.input.len() < least {
            if self.fill().await == 0 {
                return Err(gone());
            }
        }
        Ok(&self.input)
    }

    /// Drops bytes of input that were looked at.
    pub fn skip(&mut self, bytes: usize) {
        self.input.advance(bytes.min(self.input.len()));
    }

    /// Reads more input; 0 if the client has gone.
    async fn fill(&mut self) -> usize {
        self.input.reserve(8 << 10);
        self.stream.read_buf(&mut self.input).await.unwrap_or(0)
    }

    /// Length of the first message in the input, with its type; None if it is not known yet.
    fn message_length(&self) -> PgResult<Option<usize>> {
        let typed = usize::from(!self.context.awaiting_frontend_startup);
        let Some(length) = self.input.get(typed..typed + 4) else { return Ok(None) };
        let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
        let most = if self.logged_in { MAX_MESSAGE_BYTES } else { MAX_LOGIN_BYTES };
        match usize::try_from(length) {
            Ok(length) if (4..=most).contains(&length) => Ok(Some(length + typed)),
            Ok(length) if length > most => {
                let message = format!("a message has at most {most} bytes, and this one {length}");
                Err(PgError::fatal(codes::PROGRAM_LIMIT_EXCEEDED, message))
            }
            _ => Err(PgError::fatal(codes::PROTOCOL_VIOLATION, "invalid message length")),
        }
    }

    /// Takes the first message from the input, if it is there as a whole.
    fn take_message(&mut self) -> PgResult<Option<Received>> {
        let Some(length) = self.message_length()? else { return Ok(None) };
        if self.input.len() < length {
            return Ok(None);
        }
        let mut message = self.input.split_to(length);
        if let Err(error) = check_text(&message) {
            return Ok(Some(Received::NoText(error, message.starts_with(b"P"))));
        }
        // The decoder takes counts and lengths within a message on trust, and panics where they lie.
        let decoded =
            catch_unwind(AssertUnwindSafe(|| PgWireFrontendMessage::decode(&mut message, &self.context)));
        match decoded {
            Ok(Ok(Some(message))) => Ok(Some(Received::Message(message))),
            Ok(Err(error)) => Err(PgError::fatal(codes::PROTOCOL_VIOLATION, error.to_string())),
            Ok(Ok(None)) | Err(_) => Err(PgError::fatal(codes::PROTOCOL_VIOLATION, "invalid message format")),
        }
    }

    /// Waits for the next message, for at most `patience`.
    ///
    /// # Errors
    /// When the input is no message.
    pub async fn receive(&mut self, patience: Option<Duration>) -> PgResult<Received> {
        let until = patience.map(|patience| Instant::now() + patience);
        loop {
            if let Some(received) = self.take_message()? {
                return Ok(received);
            }
            if self.orders.borrow().ending {
                return Ok(Received::None(Interrupt::Ending));
            }
            self.input.reserve(8 << 10);
            let read = tokio::select! {
                read = self.stream.read_buf(&mut self.input) => read.unwrap_or(0),
                _ = self.orders.wait_for(|orders| orders.ending) => {
                    return Ok(Received::None(Interrupt::Ending));
                }
                () = sleep_until(until) => return Ok(Received::None(Interrupt::TimedOut)),
            };
            if read == 0 {
                return Ok(Received::None(Interrupt::Gone));
            }
        }
    }

    /// Forgets cancel requests that came before a statement.
    pub fn begin_statement(&mut self) {
        self.cancels_seen = self.orders.borrow().cancels;
    }

    /// The order that stops the statement, if there is one.
    pub fn interrupted(&self) -> Option<Interrupt> {
        let orders = *self.orders.borrow();
        if orders.ending {
            return Some(Interrupt::Ending);
        }
        (orders.cancels != self.cancels_seen).then_some(Interrupt::Cancelled)
    }

    /// Waits for something that the engine does, unless the statement is stopped, its time is over or the
    /// client goes.
    ///
    /// # Errors
    /// The reason for which the waiting ended.
    pub async fn wait<T>(
        &mut self,
        done: impl Future<Output = T>,
        until: Option<Instant>,
    ) -> Result<T, Interrupt> {
        let mut done = std::pin::pin!(done);
        let seen = self.cancels_seen;
        loop {
            // A client that sends more than a little is heard later.
            let listens = self.input.len() < MAX_AHEAD_BYTES;
            self.input.reserve(8 << 10);
            let read = tokio::select! {
                biased;
                done = done.as_mut() => return Ok(done),
                ordered = self.orders.wait_for(|orders| orders.ending || orders.cancels != seen) => {
                    let ending = ordered.map_or(true, |orders| orders.ending);
                    return Err(if ending { Interrupt::Ending } else { Interrupt::Cancelled });
                }
                () = sleep_until(until) => return Err(Interrupt::TimedOut),
                read = self.stream.read_buf(&mut self.input), if listens => read.unwrap_or(0),
            };
            if read == 0 {
                return Err(Interrupt::Gone);
            }
        }
    }

    /// Adds a message to the output.
    pub fn send(&mut self, message: PgWireBackendMessage) {
        // Encoding fails for a message that is too large for its kind, such as a name of megabytes; a shorter
        // one takes its place.
        let start = self.output.len();
        if let Err(error) = message.encode(&mut self.output) {
            self.output.truncate(start);
            let told = PgError::new(codes::PROGRAM_LIMIT_EXCEEDED, error.to_string());
            let _ = PgWireBackendMessage::ErrorResponse(told.response()).encode(&mut self.output);
        }
    }

    /// Adds messages that are encoded already, and takes them out of `bytes`.
    pub fn send_bytes(&mut self, bytes: &mut Vec<u8>) {
        self.output.extend_from_slice(bytes);
        bytes.clear();
    }

    /// Sends the output if there is enough of it.
    ///
    /// # Errors
    /// When the client has gone, or reads nothing.
    pub async fn flush_if_full(&mut self) -> Result<(), Interrupt> {
        if self.output.len() < ENOUGH_BYTES { Ok(()) } else { self.flush().await }
    }

    /// Sends the output of a running statement if there are at least so many bytes of it, unless the statement is
    /// stopped or its time is over; what is not sent stays.
    ///
    /// # Errors
    /// The reason for which the sending ended.
    pub async fn flush_running(&mut self, until: Option<Instant>, least: usize) -> Result<(), Interrupt> {
        if until.is_some_and(|until| until <= Instant::now()) {
            return Err(Interrupt::TimedOut);
        }
        if self.output.len() < least {
            return Ok(());
        }
        let seen = self.cancels_seen;
        let (stream, output, orders) = (&mut self.stream, &mut self.output, &mut self.orders);
        let sending = async {
            // Takes out of the output what it has sent.
            stream.write_all_buf(output).await?;
            stream.flush().await
        };
        tokio::select! {
            biased;
            sent = tokio::time::timeout(WRITE_TIMEOUT, sending) => match sent {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) | Err(_) => Err(Interrupt::Gone),
            },
            ordered = orders.wait_for(|orders| orders.ending || orders.cancels != seen) => {
                let ending = ordered.map_or(true, |orders| orders.ending);
                Err(if ending { Interrupt::Ending } else { Interrupt::Cancelled })
            }
            () = sleep_until(until) => Err(Interrupt::TimedOut),
        }
    }

    /// Sends the output.
    ///
    /// # Errors
    /// When the client has gone, or reads nothing.
    pub async fn flush(&mut self) -> Result<(), Interrupt> {
        let sending = async {
            self.stream.write_all_buf(&mut self.output).await?;
            self.stream.flush().await
        };
        match tokio::time::timeout(WRITE_TIMEOUT, sending).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Interrupt::Gone),
        }
    }

    /// Sends the output and ends the connection.
    pub async fn close(&mut self) {
        if self.flush().await.is_ok() {
            // A client that has gone needs no goodbye.
            let _ = tokio::time::timeout(Duration::from_secs(5), self.stream.shutdown()).await;
        }
    }
}

/// The end of a connection whose client has gone: there is nobody to be told.
pub fn gone() -> PgError {
    PgError::fatal("08006", "the client has gone")
}

/// Sleeps until a time, or for ever.
async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}

/// Succeeds for a message whose statement is UTF-8; the decoder would replace what is not.
fn check_text(message: &[u8]) -> PgResult<()> {
    let text = match message {
        [b'Q', _, _, _, _, text @ ..] => text,
        [b'P', _, _, _, _, named @ ..] => {
            let name = named.iter().position(|byte| *byte == 0).map_or(named.len(), |end| end + 1);
            let rest = &named[name..];
            &rest[..rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len())]
        }
        _ => return Ok(()),
    };
    match std::str::from_utf8(text) {
        Ok(_) => Ok(()),
        Err(_) => Err(PgError::new(
            codes::CHARACTER_NOT_IN_REPERTOIRE,
            "invalid byte sequence for encoding \"UTF8\"",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The outcome of receiving these bytes.
    async fn received(bytes: &[u8], logged_in: bool) -> Result<Received, &'static str> {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let (_sender, orders) = watch::channel(Orders::default());
        let mut wire = Wire::new(Box::new(ours), orders);
        wire.set_version(ProtocolVersion::PROTOCOL3_0);
        if logged_in {
            wire.set_logged_in();
        }
        theirs.write_all(bytes).await.expect("a pipe");
        drop(theirs);
        wire.receive(None).await.map_err(|error| error.code)
    }

    #[tokio::test]
    async fn messages_are_bounded_and_checked() {
        let query = received(b"Q\0\0\0\x0dSELECT 1\0", true).await;
        assert!(matches!(query, Ok(Received::Message(PgWireFrontendMessage::Query(_)))), "{query:?}");
        let ended = received(b"Q\0\0\0\x0dSEL", true).await;
        assert!(matches!(ended, Ok(Received::None(Interrupt::Gone))), "{ended:?}");
        for (bytes, logged_in, code) in [
            (&b"Q\0\x10\0\0"[..], false, "54000"),
            (b"Q\x7f\xff\xff\xff", true, "54000"),
            (b"Q\0\0\0\x01", true, "08P01"),
            (b"Q\xff\xff\xff\xff", true, "08P01"),
            (b"B\0\0\0\x0a\0\0\xff\xff\0\0", true, "08P01"),
            (b"?\0\0\0\x04", true, "08P01"),
        ] {
            let told = received(bytes, logged_in).await;
            assert_eq!(told.err(), Some(code), "{bytes:?}");
        }
        let no_text = received(b"Q\0\0\0\x06\xff\0", true).await;
        assert!(matches!(no_text, Ok(Received::NoText(_, false))), "{no_text:?}");
    }

    #[tokio::test]
    async fn a_statement_is_stopped_by_what_comes_after_its_begin() {
        let (ours, theirs) = tokio::io::duplex(64);
        let (sender, orders) = watch::channel(Orders::default());
        let mut wire = Wire::new(Box::new(ours), orders);
        sender.send_modify(|orders| orders.cancels += 1);
        wire.begin_statement();
        assert_eq!(wire.interrupted(), None, "a request from before has no effect");
        assert_eq!(wire.wait(async { 1 }, None).await, Ok(1));
        sender.send_modify(|orders| orders.cancels += 1);
        assert_eq!(wire.interrupted(), Some(Interrupt::Cancelled));
        assert_eq!(wire.wait(std::future::pending::<()>(), None).await, Err(Interrupt::Cancelled));
        wire.begin_statement();
        let soon = Instant::now() + Duration::from_millis(20);
        assert_eq!(wire.wait(std::future::pending::<()>(), Some(soon)).await, Err(Interrupt::TimedOut));
        drop(theirs);
        assert_eq!(wire.wait(std::future::pending::<()>(), None).await, Err(Interrupt::Gone));
    }

    #[tokio::test]
    async fn a_statement_is_stopped_while_its_client_reads_no_rows() {
        let (ours, _theirs) = tokio::io::duplex(64);
        let (sender, orders) = watch::channel(Orders::default());
        let mut wire = Wire::new(Box::new(ours), orders);
        wire.begin_statement();
        wire.send_bytes(&mut vec![0; 200]);
        assert_eq!(wire.flush_running(None, ENOUGH_BYTES).await, Ok(()), "too little to be sent");
        let soon = Instant::now() + Duration::from_millis(20);
        assert_eq!(wire.flush_running(Some(soon), 1).await, Err(Interrupt::TimedOut));
        sender.send_modify(|orders| orders.cancels += 1);
        assert_eq!(wire.flush_running(None, 1).await, Err(Interrupt::Cancelled));
    }
}
