//! The exactly-once protocol against real Kafka: atomicity, fencing, crashes within a transaction.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use connectors::kafka::client::Context;
use connectors::kafka::settle;
use connectors::kafka::{EpochOutput, Marker, Publisher, PublisherConfig, progress_topic};
use connectors::{ConnectorError, Mismatch};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};

use crate::support::{chunks, content, kafka, name, noise, topic};

static GO: AtomicBool = AtomicBool::new(false);

fn config(topology: &str, state_id: &str) -> PublisherConfig {
    PublisherConfig::new(kafka(), topology, state_id)
}

fn open(topology: &str) -> (Publisher, Option<Marker>) {
    Publisher::open(config(topology, "state"), &GO).unwrap()
}

/// Runs a producer of the same transactional id that ends within its transaction, like a crash.
fn crash_within_a_transaction(topology: &str, out: &str, progress: &str, epoch: u64) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &kafka().bootstrap);
    config.set("transactional.id", format!("herald-{topology}"));
    let producer: ThreadedProducer<Context> = config.create_with_context(Context::default()).unwrap();
    producer.init_transactions(Duration::from_secs(20)).unwrap();
    producer.begin_transaction().unwrap();
    let marker = Marker::whole("state", epoch, &[]).to_json("");
    producer
        .send(BaseRecord::<str, str, usize>::with_opaque_to(out, 0).partition(0).payload("half"))
        .unwrap();
    producer
        .send(
            BaseRecord::<str, str, usize>::with_opaque_to(progress, 0)
                .partition(0)
                .key(topology)
                .payload(&marker),
        )
        .unwrap();
    producer.flush(Duration::from_secs(20)).unwrap();
}

#[test]
fn a_crash_within_a_transaction_leaves_nothing() {
    let (topology, out) = (name("t"), topic(&kafka(), "out", 1));
    let (mut first, _) = open(&topology);
    first.publish(1, &chunks(&out, &["a"]), 0, &GO).unwrap();
    drop(first);
    crash_within_a_transaction(&topology, &out, &progress_topic(&topology), 2);
    let (mut second, marker) = open(&topology);
    assert_eq!(marker.unwrap().epoch, 1);
    second.publish(2, &chunks(&out, &["b"]), 0, &GO).unwrap();
    assert_eq!(content(&kafka(), &out), ["a", "b"]);
}

#[test]
fn a_second_process_fences_the_first_for_good() {
    let (topology, out) = (name("t"), topic(&kafka(), "out", 1));
    let (mut first, _) = open(&topology);
    first.publish(1, &chunks(&out, &["a"]), 0, &GO).unwrap();
    let (mut second, _) = open(&topology);
    let published = first.publish(2, &chunks(&out, &["b"]), 0, &GO);
    assert!(matches!(published, Err(ConnectorError::Fenced { .. })), "{published:?}");
    second.publish(2, &chunks(&out, &["b"]), 0, &GO).unwrap();
    assert_eq!(content(&kafka(), &out), ["a", "b"]);
}

#[test]
fn a_process_that_slept_does_not_fence_its_successor_back() {
    let (topology, out) = (name("t"), topic(&kafka(), "out", 1));
    let (mut first, _) = open(&topology);
    first.take_over(&GO).unwrap();
    assert_eq!(first.marker(), None, "nothing is published yet");
    first.publish(1, &chunks(&out, &["a"]), 0, &GO).unwrap();
    let (mut second, marker) = open(&topology);
    assert_eq!(marker.unwrap().epoch, 1);
    second.take_over(&GO).unwrap();
    // The coordinator gives this producer the same error as one whose transaction it timed out.
    first.forget_session();
    let published = first.publish(2, &chunks(&out, &["b"]), 0, &GO);
    assert!(matches!(published, Err(ConnectorError::Fenced { .. })), "{published:?}");
    second.publish(2, &chunks(&out, &["c"]), 0, &GO).unwrap();
    assert_eq!(content(&kafka(), &out), ["a", "c"]);
}

#[test]
fn looking_does_not_fence() {
    let (topology, out) = (name("t"), topic(&kafka(), "out", 1));
    let (mut first, _) = open(&topology);
    assert_eq!(Publisher::peek(&config(&topology, "state")).unwrap(), None);
    first.publish(1, &chunks(&out, &["a"]), 0, &GO).unwrap();
    assert_eq!(Publisher::peek(&config(&topology, "state")).unwrap().unwrap().epoch, 1);
    first.publish(2, &chunks(&out, &["b"]), 0, &GO).unwrap();
    assert_eq!(content(&kafka(), &out), ["a", "b"]);
}

#[test]
fn parts_are_taken_up_where_they_ended() {
    let (topology, out) = (name("t"), topic(&kafka(), "out", 1));
    let all = chunks(&out, &["a", "b", "c"]);
    let (mut first, _) = open(&topology);
    // The marker of an epoch of which one chunk of three is published.
    first.publish(1, &all[..1], 0, &GO).unwrap();
    drop(first);
    let part = Marker { part: 1, ..Marker::whole("state", 1, &all) };
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &kafka().bootstrap);
    let producer: ThreadedProducer<Context> = config.create_with_context(Context::default()).unwrap();
    let json = part.to_json("");
    producer
        .send(
            BaseRecord::<str, str, usize>::with_opaque_to(&progress_topic(&topology), 0)
                .partition(0)
                .key(&topology)
                .payload(&json),
        )
        .unwrap();
    producer.flush(Duration::from_secs(20)).unwrap();
    let (mut second, marker) = open(&topology);
    let digest = Marker::whole("state", 1, &all).digest;
    assert_eq!(settle(marker.as_ref(), "state", 1, 0, |_| Some(digest)).unwrap(), 0);
    second.publish(1, &all, 0, &GO).unwrap();
    assert_eq!(content(&kafka(), &out), ["a", "b", "c"]);
}

#[test]
fn small_epochs_share_a_transaction() {
    let (topology, out) = (name("t"), topic(&kafka(), "out", 1));
    let (mut publisher, _) = open(&topology);
    let outbox: Vec<Vec<Vec<u8>>> = ["a", "b", "c"].iter().map(|value| chunks(&out, &[value])).collect();
    let epochs: Vec<EpochOutput<'_>> =
        (1..).zip(&outbox).map(|(epoch, chunks)| EpochOutput { epoch, commit_ms: 1, chunks }).collect();
    publisher.publish_all(&epochs, &GO).unwrap();
    assert_eq!(publisher.status().transactions.load(Ordering::Relaxed), 1);
    drop(publisher);
    assert_eq!(open(&topology).1.unwrap().epoch, 3);
    assert_eq!(content(&kafka(), &out), ["a", "b", "c"]);
}

#[test]
fn topologies_that_share_a_progress_topic_keep_apart() {
    let (one, two, out) = (name("t"), name("t"), topic(&kafka(), "out", 1));
    let shared = progress_topic(&name("shared"));
    let open = |topology: &str| {
        let config = PublisherConfig { progress_topic: shared.clone(), ..config(topology, "state") };
        Publisher::open(config, &GO).unwrap()
    };
    let (mut a, _) = open(&one);
    // The other's open transaction lies before our marker and hides it until it is settled.
    crash_within_a_transaction(&two, &out, &shared, 1);
    a.publish(1, &chunks(&out, &["a"]), 0, &GO).unwrap();
    drop(a);
    std::thread::scope(|scope| {
        let settled = scope.spawn(|| {
            std::thread::sleep(Duration::from_secs(2));
            open(&two).1
        });
        assert_eq!(open(&one).1.unwrap().epoch, 1);
        assert_eq!(settled.join().unwrap(), None);
    });
    assert_eq!(content(&kafka(), &out), ["a"]);
}

#[test]
fn a_state_that_starts_over_claims_its_sinks() {
    let (topology, out) = (name("t"), topic(&kafka(), "out", 1));
    let (mut old, _) = open(&topology);
    old.publish(5, &chunks(&out, &["a"]), 0, &GO).unwrap();
    drop(old);
    let (mut new, marker) = Publisher::open(config(&topology, "new"), &GO).unwrap();
    let settled = settle(marker.as_ref(), "new", 0, 0, |_| None);
    let Err(ConnectorError::StateMismatch(Mismatch::Foreign { published: 5, .. })) = settled else {
        panic!("{settled:?}");
    };
    new.claim(&GO).unwrap();
    new.publish(1, &chunks(&out, &["b"]), 0, &GO).unwrap();
    drop(new);
    let marker = Publisher::open(config(&topology, "new"), &GO).unwrap().1;
    assert_eq!(marker.unwrap().epoch, 1);
    assert_eq!(content(&kafka(), &out), ["a", "b"]);
}

#[test]
fn a_record_too_large_is_refused_and_not_tried_for_ever() {
    let (topology, out) = (name("t"), topic(&kafka(), "out", 1));
    let (mut publisher, _) = open(&topology);
    let large = noise(20 << 20);
    let published = publisher.publish(1, &chunks(&out, &[&large]), 0, &GO);
    assert!(matches!(published, Err(ConnectorError::Refused { .. })), "{published:?}");
    // Its transaction does not delay readers until it times out.
    let start = Instant::now();
    assert!(content(&kafka(), &out).is_empty());
    assert!(start.elapsed() < Duration::from_secs(20));
    drop(publisher);
    assert_eq!(open(&topology).1, None);
}
