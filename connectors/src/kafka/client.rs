//! Shared parts of all Kafka clients of this crate: logging, delivery reports, mapping of errors.
//!
//! librdkafka reports through callbacks; [`Context`] passes its log lines to `tracing`, stores the
//! first record that could not be delivered, and stores transport errors, because a session that saw
//! one is not used again (see [`super::publisher::session`]). librdkafka logs no secrets.

pub mod brief;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::task::{Context as TaskContext, Poll, Wake};

use rdkafka::client::{Client, ClientContext};
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message};
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::topic_partition_list::TopicPartitionList;

use crate::ConnectorError;
use crate::dead_letter::HeaderRef;

/// Header of a record that a replay has sent: the place of the rejected one.
pub(crate) const REPLAY_HEADER: &str = "herald.replay";
/// Header of a record that a replay has sent: its marker, as the name of the dead-letter topic and the marker's digest.
pub(crate) const MARKER_HEADER: &str = "herald.replay.marker";

thread_local! {
    /// True while this thread reads a header.
    static READS_HEADER: Cell<bool> = const { Cell::new(false) };
}

/// Offset that the broker gave to a marked record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkedOffset {
    /// The mark that it was sent with.
    pub mark: usize,
    /// Its offset.
    pub offset: i64,
}

/// The context of every client. A record may be sent with a mark above 0: then its offset is kept.
#[derive(Default)]
pub struct Context {
    transport_error: AtomicBool,
    timed_out: AtomicBool,
    timestamp_refused: AtomicBool,
    marked_offsets: Mutex<Vec<MarkedOffset>>,
    undelivered: Mutex<Option<String>>,
    last_error: Mutex<Option<String>>,
    refused: Mutex<Option<String>>,
}

impl Context {
    /// Clears all events but the last error and the refusal.
    pub fn clear(&self) {
        self.transport_error.store(false, Ordering::Relaxed);
        self.timed_out.store(false, Ordering::Relaxed);
        self.timestamp_refused.store(false, Ordering::Relaxed);
        drop(self.take_marked_offsets());
        *locked(&self.undelivered) = None;
    }

    /// Returns true if a connection failed since [`Context::clear`].
    pub fn saw_transport_error(&self) -> bool {
        self.transport_error.load(Ordering::Relaxed)
    }

    /// Returns true if a record timed out before its delivery since [`Context::clear`].
    pub fn timed_out(&self) -> bool {
        self.timed_out.load(Ordering::Relaxed)
    }

    /// Returns true if the broker refused a record for its timestamp since [`Context::clear`].
    pub fn timestamp_refused(&self) -> bool {
        self.timestamp_refused.load(Ordering::Relaxed)
    }

    /// Takes the offsets of marked records since [`Context::clear`].
    pub fn take_marked_offsets(&self) -> Vec<MarkedOffset> {
        std::mem::take(&mut *locked(&self.marked_offsets))
    }

    /// Reason why the first undelivered record since [`Context::clear`] was not delivered.
    pub fn delivery_error(&self) -> Option<String> {
        locked(&self.undelivered).clone()
    }

    /// The same in brackets, to follow another error; empty when all records were delivered.
    pub(crate) fn delivery_note(&self) -> String {
        match self.delivery_error() {
            Some(why) => format!(" ({why})"),
            None => String::new(),
        }
    }

    /// The last error a client reported since [`Context::clear_last_error`].
    pub fn last_error(&self) -> Option<String> {
        locked(&self.last_error).clone()
    }

    /// The last error, or that the broker is silent.
    pub(crate) fn failure_reason(&self) -> String {
        self.last_error().unwrap_or_else(|| "the broker does not answer".to_string())
    }

    /// Takes the reason why a broker refused authentication or TLS: trying again does not help.
    pub fn take_refused(&self) -> Option<String> {
        locked(&self.refused).take()
    }

    /// Clears the last error once the client works again.
    pub fn clear_last_error(&self) {
        *locked(&self.last_error) = None;
    }
}

/// Locks a value that each holder leaves whole: one that panicked does not keep others out.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // All options go to all clients, so warnings of producer options on a consumer say nothing new. Brokers that
        // load the coordinator of a new transactional id answer a moment later.
        let passing = facility == "GETPID" && message.ends_with("retrying");
        if facility == "CONFWARN" || passing {
            return tracing::debug!(target: "kafka", "{message}");
        }
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => tracing::warn!(target: "kafka", facility, "{message}"),
            _ => tracing::debug!(target: "kafka", facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        use RDKafkaErrorCode as Code;
        // librdkafka appends the time and its own connection state, which are of no use to the user.
        let reason = reason.split_once(" (after ").map_or(reason, |(reason, _)| reason);
        match error.rdkafka_error_code() {
            Some(Code::PartitionEOF) => return,
            Some(Code::BrokerTransportFailure | Code::AllBrokersDown | Code::OperationTimedOut) => {
                self.transport_error.store(true, Ordering::Relaxed);
            }
            Some(Code::Authentication | Code::SSL) => *locked(&self.refused) = Some(reason.to_string()),
            _ => {}
        }
        // AllBrokersDown follows the error that names the cause, and must not replace it.
        let vague = error.rdkafka_error_code() == Some(Code::AllBrokersDown);
        let mut last_error = locked(&self.last_error);
        if !vague || last_error.is_none() {
            *last_error = Some(reason.to_string());
        }
        drop(last_error);
        tracing::debug!(target: "kafka", %error, "{reason}");
    }
}

impl ConsumerContext for Context {
    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        // Offsets of the group are for lag tools; nothing depends on them.
        if let Err(error) = result {
            tracing::debug!(target: "kafka", %error, "group offsets were not committed");
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, mark: usize) {
        let error = match result {
            Ok(message) => {
                // For a record that was sent twice the broker reports no offset.
                if mark > 0 && message.offset() >= 0 {
                    locked(&self.marked_offsets).push(MarkedOffset { mark, offset: message.offset() });
                }
                return;
            }
            Err((error, _)) => error,
        };
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageTimedOut) => self.timed_out.store(true, Ordering::Relaxed),
            Some(RDKafkaErrorCode::InvalidTimestamp) => self.timestamp_refused.store(true, Ordering::Relaxed),
            _ => {}
        }
        locked(&self.undelivered).get_or_insert_with(|| error.to_string());
    }
}

/// Creates a client; the error names an option that it refuses.
pub(crate) fn create_client<T: FromClientConfigAndContext<Context>>(
    config: &ClientConfig,
    bootstrap: &str,
) -> Result<T, ConnectorError> {
    config
        .create_with_context(Context::default())
        .map_err(|error| to_connector_error(error, bootstrap, "the options"))
}

/// Tells whether another producer has taken over the transactional id, by an error or by the client's fatal one.
pub(crate) fn is_fenced(client: &Client<Context>, error: &KafkaError) -> bool {
    error.rdkafka_error_code().is_some_and(is_fencing)
        || client.fatal_error().is_some_and(|(code, _)| is_fencing(code))
}

fn is_fencing(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch)
}

/// The value of a message's first header of this name.
pub(crate) fn header_of<'m, M: Message>(message: &'m M, name: &str) -> Option<&'m [u8]> {
    let headers = message.headers()?;
    for at in 0..headers.count() {
        if let Some(header) = header_at(headers, at)
            && header.key == name
        {
            return header.value;
        }
    }
    None
}

/// All headers of a message in order, but those that cannot be read.
pub(crate) fn headers_of<'m>(message: &'m BorrowedMessage<'_>) -> Vec<HeaderRef<'m>> {
    let mut all = Vec::new();
    if let Some(headers) = message.headers() {
        for at in 0..headers.count() {
            if let Some(header) = header_at(headers, at) {
                all.push((header.key, header.value));
            }
        }
    }
    all
}

/// The header at an index; None if its name is not UTF-8. The client panics at such a name, which anybody may send:
/// the panic ends here, and nothing is printed of it.
pub(crate) fn header_at<'h, H: Headers>(headers: &'h H, at: usize) -> Option<Header<'h, &'h [u8]>> {
    static HOOK: Once = Once::new();
    HOOK.call_once(silence_header_panics);
    READS_HEADER.set(true);
    let header = catch_unwind(AssertUnwindSafe(|| headers.try_get(at)));
    READS_HEADER.set(false);
    header.ok().flatten()
}

/// Sets a panic hook that prints nothing while a header is read, and else does what the one before it does.
fn silence_header_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !READS_HEADER.get() {
            before(panic);
        }
    }));
}

/// A topic in the cluster's metadata, if it is there.
pub(crate) fn find_topic<'m>(metadata: &'m Metadata, topic: &str) -> Option<&'m MetadataTopic> {
    metadata.topics().iter().find(|found| found.name() == topic)
}

/// Maps an error of the client; `what` names the action that failed.
pub fn to_connector_error(error: KafkaError, bootstrap: &str, what: &str) -> ConnectorError {
    use RDKafkaErrorCode as Code;
    if let KafkaError::ClientConfig(_, reason, name, _) = &error {
        // The value is left out: it may be a secret.
        return ConnectorError::config(&format!("properties.{name}"), reason.clone());
    }
    if let KafkaError::ClientCreation(reason) = &error {
        return ConnectorError::config("properties", reason.clone());
    }
    let bootstrap = bootstrap.to_string();
    match error.rdkafka_error_code() {
        Some(
            Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::Resolve
            | Code::NodeUpdate
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::NotCoordinator
            | Code::CoordinatorNotAvailable
            | Code::CoordinatorLoadInProgress
            | Code::NetworkException
            | Code::BrokerNotAvailable
            | Code::ReplicaNotAvailable
            | Code::NotEnoughReplicas
            | Code::NotEnoughReplicasAfterAppend
            // A leader has just changed, and the client or the broker has not heard of it.
            | Code::NotController
            | Code::ListenerNotFound
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::OffsetNotAvailable
            | Code::KafkaStorageError,
        ) => ConnectorError::Unreachable { bootstrap, reason: error.to_string() },
        Some(
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::SaslAuthenticationFailed
            | Code::Authentication
            | Code::SecurityDisabled
            | Code::UnsupportedSASLMechanism
            | Code::MessageSizeTooLarge
            | Code::InvalidRecord
            | Code::InvalidTransactionTimeout
            | Code::PolicyViolation,
        ) => ConnectorError::Refused { bootstrap, what: what.to_string(), reason: error.to_string() },
        _ => ConnectorError::Kafka(error),
    }
}

/// Runs a future of the admin client to its end on this thread. It is completed by a thread of
/// the client's own, so no runtime is needed.
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut task = TaskContext::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut task) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Headers of which the client panics at the first, as it does at a name that is not UTF-8.
    struct Poisoned;

    impl Headers for Poisoned {
        fn count(&self) -> usize {
            2
        }

        fn try_get(&self, at: usize) -> Option<Header<'_, &[u8]>> {
            assert!(at > 0, "not UTF-8");
            Some(Header { key: "trace", value: Some(&b"7"[..]) })
        }
    }

    #[test]
    fn a_header_that_cannot_be_read_ends_nothing() {
        assert_eq!(header_at(&Poisoned, 0), None);
        assert_eq!(header_at(&Poisoned, 1), Some(Header { key: "trace", value: Some(&b"7"[..]) }));
    }

    #[test]
    fn nothing_is_printed_of_a_header_that_cannot_be_read() {
        thread_local! {
            static PRINTED: Cell<u32> = const { Cell::new(0) };
        }
        // The hook is set once: from here on by this test alone.
        assert!(header_at(&Poisoned, 1).is_some());
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PRINTED.set(PRINTED.get() + 1);
            before(panic);
        }));
        silence_header_panics();
        assert_eq!((header_at(&Poisoned, 0), PRINTED.get()), (None, 0));
        assert!(catch_unwind(|| Poisoned.try_get(0).is_some()).is_err());
        assert_eq!(PRINTED.get(), 1, "any other panic is printed");
    }
}
