//! A broker that is killed while epochs are published, and publishers that go away: every epoch
//! lands once all the same.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use connectors::kafka::settle;
use connectors::kafka::{KafkaCluster, Publisher, PublisherConfig};

use crate::support::{chunks, content, start, topic};

const EPOCHS: u64 = 240;

/// Runs the broker script. Stopping a broker by SIGKILL need not succeed in every step.
fn script(arguments: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/kafka.sh");
    let done = Command::new(script).args(arguments).output().unwrap();
    let ok = done.status.success() || arguments[0] == "stop";
    assert!(ok, "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn every_epoch_lands_once_through_outages() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = KafkaCluster::new(&start(dir.path()));
    let out = topic(&cluster, "out", 1);
    let (stop, watched) = (AtomicBool::new(false), std::process::id().to_string());
    let directory = dir.path().to_str().unwrap();
    let outbox: Vec<Vec<Vec<u8>>> = (1..=EPOCHS).map(|epoch| chunks(&out, &[&epoch.to_string()])).collect();
    let publish = |from: u64, to: u64| {
        let config = PublisherConfig {
            timeout: Duration::from_secs(60),
            topics: vec![(out.clone(), 1)],
            ..PublisherConfig::new(cluster.clone(), "outages", "state")
        };
        let (mut publisher, marker) = Publisher::open(config, &stop).unwrap();
        let digest = marker.as_ref().map(|marker| marker.digest);
        let after = settle(marker.as_ref(), "state", to, from, |_| digest).unwrap();
        for epoch in after + 1..=to {
            publisher.publish(epoch, &outbox[epoch as usize - 1], 0, &stop).unwrap();
            std::thread::sleep(Duration::from_millis(15));
        }
        // The publisher is dropped without an orderly end, like a process that is killed.
        after
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..2 {
                std::thread::sleep(Duration::from_millis(1500));
                script(&["stop", directory, "--now"]);
                std::thread::sleep(Duration::from_millis(500));
                script(&["start", directory, "--watch", &watched]);
            }
        });
        for quarter in 0..4 {
            let (from, to) = (EPOCHS / 4 * quarter, EPOCHS / 4 * (quarter + 1));
            assert_eq!(publish(from, to), from);
        }
    });
    let expected: Vec<String> = (1..=EPOCHS).map(|epoch| epoch.to_string()).collect();
    assert_eq!(content(&cluster, &out), expected);
    script(&["stop", directory]);
}
