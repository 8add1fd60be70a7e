//! Admin requests for one topic, answered in the broker's own words.
//!
//! The client's safe interface drops the broker's reason, takes the refusal of a changed option for a success, and can only
//! replace all options of a topic at once, which would lose those that somebody else set. So these requests go to
//! librdkafka itself: options are changed one by one (IncrementalAlterConfigs).
#![allow(
    unsafe_code,
    reason = "librdkafka is C; every handle is freed by its owner, and none outlives the client"
)]

use std::ffi::{CStr, CString, c_char};
use std::time::Duration;

use rdkafka::admin::AdminClient;
use rdkafka::bindings as native;
use rdkafka::error::{IsError, KafkaError, RDKafkaErrorCode};
use rdkafka::types::{RDKafkaResourceType, RDKafkaRespErr};

use super::super::client::{Context, to_connector_error};
use crate::ConnectorError;

/// Bytes for the reason of librdkafka.
const REASON_BYTES: usize = 512;
/// Time for an answer beyond the request's own timeout.
const GRACE: Duration = Duration::from_secs(5);

/// A request for one topic.
pub(super) enum Request<'a> {
    /// Makes it; -1 for the broker's default number of partitions and replicas.
    Create { partitions: i32, replication: i32, configs: &'a [(&'a str, &'a str)] },
    /// Sets options and leaves the others as they are.
    Configure { configs: &'a [(&'a str, &'a str)] },
    /// Sets a greater number of partitions.
    Grow { partitions: i32 },
}

/// Sends a request, or with `dry_run` has the broker say whether it would carry it out.
///
/// # Errors
/// Fails when the broker does not answer, or refuses: with its reason.
pub(super) fn send(
    (client, bootstrap): (&AdminClient<Context>, &str),
    topic: &str,
    request: &Request<'_>,
    (timeout, dry_run): (Duration, bool),
) -> Result<(), ConnectorError> {
    let failed = match ask(client, topic, request, (timeout, dry_run)) {
        Ok(()) => return Ok(()),
        Err(failed) => failed,
    };
    let what = match request {
        Request::Create { .. } => format!("to create topic \"{topic}\""),
        Request::Configure { .. } => format!("to configure topic \"{topic}\""),
        Request::Grow { .. } => format!("more partitions of topic \"{topic}\""),
    };
    let Failure { code, reason } = failed;
    Err(match to_connector_error(KafkaError::Global(code), bootstrap, &what) {
        passing @ ConnectorError::Unreachable { .. } => passing,
        _ => ConnectorError::Refused { bootstrap: bootstrap.to_owned(), what, reason },
    })
}

/// The failure of a request.
struct Failure {
    code: RDKafkaErrorCode,
    reason: String,
}

impl Failure {
    fn new(code: RDKafkaRespErr, reason: String) -> Failure {
        let code = RDKafkaErrorCode::from(code);
        Failure { code, reason: if reason.is_empty() { code.to_string() } else { reason } }
    }

    /// A request that librdkafka does not take.
    fn invalid(reason: String) -> Failure {
        Failure::new(RDKafkaRespErr::RD_KAFKA_RESP_ERR__INVALID_ARG, reason)
    }
}

/// A handle of librdkafka's, freed when it is dropped.
struct Owned<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the handle came from librdkafka, is not null, and is freed nowhere else.
        unsafe { (self.1)(self.0) }
    }
}

/// Takes ownership of a handle.
fn owned<T>(handle: *mut T, free: unsafe extern "C" fn(*mut T)) -> Result<Owned<T>, Failure> {
    if handle.is_null() { Err(Failure::invalid(String::new())) } else { Ok(Owned(handle, free)) }
}

/// Sends a request and waits for its answer.
fn ask(
    client: &AdminClient<Context>,
    topic: &str,
    request: &Request<'_>,
    (timeout, dry_run): (Duration, bool),
) -> Result<(), Failure> {
    let rk = client.inner().native_ptr();
    let name = c_text(topic)?;
    let op = native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_ANY;
    // SAFETY: `rk` lives as long as `client`; the other handles are owned here, and freed behind the answer.
    unsafe {
        let queue = owned(native::rd_kafka_queue_new(rk), native::rd_kafka_queue_destroy)?;
        let options =
            owned(native::rd_kafka_AdminOptions_new(rk, op), native::rd_kafka_AdminOptions_destroy)?;
        set_options(&options, timeout, dry_run)?;
        match request {
            Request::Create { partitions, replication, configs } => {
                let mut made = new_topic(&name, (*partitions, *replication), configs)?;
                native::rd_kafka_CreateTopics(rk, &mut made.0, 1, options.0, queue.0);
            }
            Request::Configure { configs } => {
                let mut changed = changed_configs(&name, configs)?;
                native::rd_kafka_IncrementalAlterConfigs(rk, &mut changed.0, 1, options.0, queue.0);
            }
            Request::Grow { partitions } => {
                let total = usize::try_from(*partitions).unwrap_or(0);
                let new = native::rd_kafka_NewPartitions_new;
                let grown = with_reason(|text, size| new(name.as_ptr(), total, text, size))?;
                let mut grown = Owned(grown, native::rd_kafka_NewPartitions_destroy);
                native::rd_kafka_CreatePartitions(rk, &mut grown.0, 1, options.0, queue.0);
            }
        }
        let event = native::rd_kafka_queue_poll(queue.0, millis(timeout + GRACE));
        if event.is_null() {
            return Err(Failure::new(RDKafkaRespErr::RD_KAFKA_RESP_ERR__TIMED_OUT, String::new()));
        }
        let event = Owned(event, native::rd_kafka_event_destroy);
        read_answer(&event)
    }
}

/// A time as librdkafka takes it.
fn millis(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}

/// Sets the options of every request.
///
/// # Safety
/// The handle must be live.
unsafe fn set_options(
    options: &Owned<native::rd_kafka_AdminOptions_t>,
    timeout: Duration,
    dry_run: bool,
) -> Result<(), Failure> {
    let mut reason: [c_char; REASON_BYTES] = [0; REASON_BYTES];
    let (text, size, time) = (reason.as_mut_ptr(), REASON_BYTES, millis(timeout));
    // SAFETY: the handle is live, and `text` has `size` bytes.
    let codes = unsafe {
        [
            native::rd_kafka_AdminOptions_set_request_timeout(options.0, time, text, size),
            native::rd_kafka_AdminOptions_set_operation_timeout(options.0, time, text, size),
            native::rd_kafka_AdminOptions_set_validate_only(options.0, i32::from(dry_run), text, size),
        ]
    };
    match codes.into_iter().find(IsError::is_error) {
        // SAFETY: librdkafka ends the text with a zero.
        Some(code) => Err(Failure::new(code, unsafe { text_of(text) })),
        None => Ok(()),
    }
}

/// Makes a handle with a call that gives its reason when it fails.
fn with_reason<T>(make: impl FnOnce(*mut c_char, usize) -> *mut T) -> Result<*mut T, Failure> {
    let mut reason: [c_char; REASON_BYTES] = [0; REASON_BYTES];
    let made = make(reason.as_mut_ptr(), REASON_BYTES);
    // SAFETY: the text began as zeroes, and librdkafka ends its own with one.
    if made.is_null() { Err(Failure::invalid(unsafe { text_of(reason.as_ptr()) })) } else { Ok(made) }
}

/// The description of a new topic.
fn new_topic(
    name: &CStr,
    (partitions, replication): (i32, i32),
    configs: &[(&str, &str)],
) -> Result<Owned<native::rd_kafka_NewTopic_t>, Failure> {
    // SAFETY: the texts live until the call returns, and librdkafka copies them.
    unsafe {
        let new = native::rd_kafka_NewTopic_new;
        let made = with_reason(|text, size| new(name.as_ptr(), partitions, replication, text, size))?;
        let made = Owned(made, native::rd_kafka_NewTopic_destroy);
        for (option, value) in configs {
            let (option, value) = (c_text(option)?, c_text(value)?);
            let code = native::rd_kafka_NewTopic_set_config(made.0, option.as_ptr(), value.as_ptr());
            if code.is_error() {
                return Err(Failure::new(code, String::new()));
            }
        }
        Ok(made)
    }
}

/// The description of changed options.
fn changed_configs(
    name: &CStr,
    configs: &[(&str, &str)],
) -> Result<Owned<native::rd_kafka_ConfigResource_t>, Failure> {
    let set = native::rd_kafka_AlterConfigOpType_t::RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET;
    // SAFETY: the texts live until the call returns, and librdkafka copies them.
    unsafe {
        let resource =
            native::rd_kafka_ConfigResource_new(RDKafkaResourceType::RD_KAFKA_RESOURCE_TOPIC, name.as_ptr());
        let resource = owned(resource, native::rd_kafka_ConfigResource_destroy)?;
        for (option, value) in configs {
            let (option, value) = (c_text(option)?, c_text(value)?);
            let add = native::rd_kafka_ConfigResource_add_incremental_config;
            let error = add(resource.0, option.as_ptr(), set, value.as_ptr());
            if !error.is_null() {
                let error = Owned(error, native::rd_kafka_error_destroy);
                return Err(Failure::invalid(text_of(native::rd_kafka_error_string(error.0))));
            }
        }
        Ok(resource)
    }
}

/// Reads the answer: of the request, and of the one topic in it.
///
/// # Safety
/// The handle must be live.
unsafe fn read_answer(event: &Owned<native::rd_kafka_event_t>) -> Result<(), Failure> {
    // SAFETY: the event is live, and owns the results that it gives; `count` is written before it is read.
    unsafe {
        let code = native::rd_kafka_event_error(event.0);
        if code.is_error() {
            return Err(Failure::new(code, text_of(native::rd_kafka_event_error_string(event.0))));
        }
        let mut count = 0;
        let made = native::rd_kafka_event_CreateTopics_result(event.0);
        let grown = native::rd_kafka_event_CreatePartitions_result(event.0);
        let configured = native::rd_kafka_event_IncrementalAlterConfigs_result(event.0);
        let (code, reason) = if !configured.is_null() {
            let all = native::rd_kafka_IncrementalAlterConfigs_result_resources(configured, &mut count);
            if count == 0 {
                return Ok(());
            }
            (native::rd_kafka_ConfigResource_error(*all), native::rd_kafka_ConfigResource_error_string(*all))
        } else {
            let all = match (made.is_null(), grown.is_null()) {
                (false, _) => native::rd_kafka_CreateTopics_result_topics(made, &mut count),
                (_, false) => native::rd_kafka_CreatePartitions_result_topics(grown, &mut count),
                _ => return Err(Failure::invalid("the answer is to another request".to_owned())),
            };
            if count == 0 {
                return Ok(());
            }
            (native::rd_kafka_topic_result_error(*all), native::rd_kafka_topic_result_error_string(*all))
        };
        if code.is_error() { Err(Failure::new(code, text_of(reason))) } else { Ok(()) }
    }
}

/// A text for librdkafka.
fn c_text(text: &str) -> Result<CString, Failure> {
    CString::new(text).map_err(|_| Failure::invalid("a text has a zero byte".to_owned()))
}

/// A text of librdkafka's; empty if there is none.
///
/// # Safety
/// The text must end with a zero.
unsafe fn text_of(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
