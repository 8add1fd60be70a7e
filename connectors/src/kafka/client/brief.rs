//! Clients for a few requests, which threads of their own close.
//!
//! Closing a client waits up to a tenth of a second for the threads of the client library, and a start needs half a dozen
//! clients one after the other.

use std::ops::Deref;
use std::sync::Mutex;
use std::thread::{Builder, JoinHandle};

use super::locked;

/// The threads that close clients.
static CLOSING: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());

/// A client that is closed beside the thread that drops it.
pub(crate) struct BriefClient<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> BriefClient<T> {
    /// Takes a client.
    pub(crate) fn new(client: T) -> BriefClient<T> {
        BriefClient(Some(client))
    }
}

impl<T: Send + 'static> Deref for BriefClient<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Some(client) => client,
            None => unreachable!("a client is taken when it is dropped, not before"),
        }
    }
}

impl<T: Send + 'static> Drop for BriefClient<T> {
    fn drop(&mut self) {
        let client = self.0.take();
        // Where no thread can be had the client is closed here.
        if let Ok(thread) = Builder::new().name("kafka-close".to_owned()).spawn(move || drop(client)) {
            let mut closing = locked(&CLOSING);
            closing.retain(|thread| !thread.is_finished());
            closing.push(thread);
        }
    }
}

/// Waits for the clients that are being closed. The process must not end under them: the C libraries' own clean-up would
/// free what their threads still use.
pub fn await_closed() {
    for thread in std::mem::take(&mut *locked(&CLOSING)) {
        // A panic while closing has been reported, and nothing is left to be done.
        let _ = thread.join();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;

    /// A client that takes its time to close.
    struct Slow(Arc<AtomicBool>);

    impl Drop for Slow {
        fn drop(&mut self) {
            std::thread::sleep(Duration::from_millis(200));
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_client_is_closed_beside_and_waited_for() {
        let closed = Arc::new(AtomicBool::new(false));
        drop(BriefClient::new(Slow(closed.clone())));
        assert!(!closed.load(Ordering::SeqCst));
        await_closed();
        assert!(closed.load(Ordering::SeqCst));
    }
}
