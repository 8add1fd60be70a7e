//! What all Kafka clients of this crate share: logging, delivery reports, the meaning of errors.
//!
//! librdkafka reports through callbacks; [`Context`] hands its log lines to `tracing`, remembers the
//! first record that could not be delivered, and remembers transport errors, because a transaction
//! that saw one is not trusted (see [`super::publisher::session`]). Nothing that librdkafka logs holds a secret.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as TaskContext, Poll, Wake};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::topic_partition_list::TopicPartitionList;

use crate::ConnectorError;

/// Where the broker put a record that was marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct First {
    /// The mark that it was sent with.
    pub mark: usize,
    /// Its offset.
    pub offset: i64,
}

/// The context of every client. What a producer sends may be marked with a number above 0: then the place it got
/// is kept.
#[derive(Default)]
pub struct Context {
    transport_error: AtomicBool,
    timed_out: AtomicBool,
    untimely: AtomicBool,
    firsts: Mutex<Vec<First>>,
    undelivered: Mutex<Option<String>>,
    trouble: Mutex<Option<String>>,
    refused: Mutex<Option<String>>,
}

impl Context {
    /// Forgets what was noticed so far.
    pub fn clear(&self) {
        self.transport_error.store(false, Ordering::Relaxed);
        self.timed_out.store(false, Ordering::Relaxed);
        self.untimely.store(false, Ordering::Relaxed);
        drop(self.take_firsts());
        if let Ok(mut undelivered) = self.undelivered.lock() {
            *undelivered = None;
        }
    }

    /// Whether a connection failed since [`Context::clear`].
    pub fn saw_transport_error(&self) -> bool {
        self.transport_error.load(Ordering::Relaxed)
    }

    /// Whether a record could not be delivered in its time since [`Context::clear`].
    pub fn timed_out(&self) -> bool {
        self.timed_out.load(Ordering::Relaxed)
    }

    /// Whether the broker refused a record for its time since [`Context::clear`].
    pub fn untimely(&self) -> bool {
        self.untimely.load(Ordering::Relaxed)
    }

    /// Where marked records were put since [`Context::clear`]. Forgets it.
    pub fn take_firsts(&self) -> Vec<First> {
        self.firsts.lock().map(|mut firsts| std::mem::take(&mut *firsts)).unwrap_or_default()
    }

    /// Why the first record that was not delivered since [`Context::clear`] was not.
    pub fn undelivered(&self) -> Option<String> {
        self.undelivered.lock().ok().and_then(|undelivered| undelivered.clone())
    }

    /// The last error a client reported since [`Context::recovered`].
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().ok().and_then(|trouble| trouble.clone())
    }

    /// Why a broker let nobody in who comes like this: asking again does not help.
    /// Forgets it.
    pub fn take_refused(&self) -> Option<String> {
        self.refused.lock().ok().and_then(|mut refused| refused.take())
    }

    /// The client works: whatever was reported before is over.
    pub fn recovered(&self) {
        if let Ok(mut trouble) = self.trouble.lock()
            && trouble.is_some()
        {
            *trouble = None;
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // Producer options set on a consumer, and the reverse, are no news: options pass through.
        if facility == "CONFWARN" {
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
        // After how long, and in which state of the client's own, helps nobody.
        let reason = reason.split_once(" (after ").map_or(reason, |(reason, _)| reason);
        match error.rdkafka_error_code() {
            Some(Code::PartitionEOF) => return,
            Some(Code::BrokerTransportFailure | Code::AllBrokersDown | Code::OperationTimedOut) => {
                self.transport_error.store(true, Ordering::Relaxed);
            }
            Some(Code::Authentication | Code::SSL) => {
                if let Ok(mut refused) = self.refused.lock() {
                    *refused = Some(reason.to_string());
                }
            }
            _ => {}
        }
        // That all are down is said after why, and says less.
        let vague = error.rdkafka_error_code() == Some(Code::AllBrokersDown);
        if let Ok(mut trouble) = self.trouble.lock()
            && (!vague || trouble.is_none())
        {
            *trouble = Some(reason.to_string());
        }
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
                // Of a record that was sent twice the broker does not tell the place.
                if mark > 0
                    && message.offset() >= 0
                    && let Ok(mut firsts) = self.firsts.lock()
                {
                    firsts.push(First { mark, offset: message.offset() });
                }
                return;
            }
            Err((error, _)) => error,
        };
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageTimedOut) => self.timed_out.store(true, Ordering::Relaxed),
            Some(RDKafkaErrorCode::InvalidTimestamp) => self.untimely.store(true, Ordering::Relaxed),
            _ => {}
        }
        if let Ok(mut undelivered) = self.undelivered.lock()
            && undelivered.is_none()
        {
            *undelivered = Some(error.to_string());
        }
    }
}

/// What an error of the client means to us; `what` is what was being done.
pub fn meaning(error: KafkaError, bootstrap: &str, what: &str) -> ConnectorError {
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
            | Code::NotEnoughReplicasAfterAppend,
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

/// Runs a future of the admin client to its end on this thread. They are completed by a thread of
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
