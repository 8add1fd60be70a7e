//! A stream with a write timeout: a client that reads nothing for a while is treated as gone.
//!
//! Reading needs no timeout here: the HTTP server bounds the time of a request's head, the handlers that of
//! its body, and [`super::connections`] that of the whole connection.

use std::future::Future;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A stream whose writes fail when they wait for longer than `timeout`.
pub struct Guarded<S> {
    stream: S,
    timeout: Duration,
    /// The timer of a write that waits.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Guarded<S> {
    /// Wraps a stream.
    pub fn new(stream: S, timeout: Duration) -> Guarded<S> {
        Guarded { stream, timeout, waiting: None }
    }

    /// Applies the timeout to the outcome of a write: a pending one starts or checks the timer, a ready one
    /// resets it.
    fn apply_timeout<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<Result<T>>) -> Poll<Result<T>> {
        if outcome.is_ready() {
            self.waiting = None;
            return outcome;
        }
        let timeout = self.timeout;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(timeout)));
        match waiting.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the client reads nothing"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.apply_timeout(cx, outcome)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write_vectored(cx, bytes);
        this.apply_timeout(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_flush(cx);
        this.apply_timeout(cx, outcome)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.apply_timeout(cx, outcome)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn a_client_that_reads_nothing_has_left() {
        let (ours, theirs) = tokio::io::duplex(64);
        let mut guarded = Guarded::new(ours, Duration::from_millis(50));
        assert!(guarded.write_all(&[0; 64]).await.is_ok());
        let full = guarded.write_all(&[0; 64]).await.map_err(|error| error.kind());
        assert_eq!(full, Err(ErrorKind::TimedOut));
        drop(theirs);
    }
}
