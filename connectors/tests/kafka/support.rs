//! Shared parts of the tests: a real broker, topics of their own, and plain reading and feeding.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use connectors::kafka::{Feed, KafkaCluster, KafkaReader, KafkaSource, TopicSpec, Topics};
use schemas::{OutChunk, OutRecord, Records};

/// A real cluster: the one named by KAFKA_BOOTSTRAP, else one that ends with this process.
pub fn kafka() -> KafkaCluster {
    static BOOTSTRAP: OnceLock<String> = OnceLock::new();
    let bootstrap = BOOTSTRAP.get_or_init(|| {
        std::env::var("KAFKA_BOOTSTRAP").unwrap_or_else(|_| start(&tempfile::tempdir().unwrap().keep()))
    });
    KafkaCluster::new(bootstrap)
}

/// Starts a broker in `dir`; it ends with this process.
pub fn start(dir: &Path) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/kafka.sh");
    let started = Command::new(script)
        .arg("start")
        .arg(dir)
        .args(["--watch", &std::process::id().to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&started.stdout);
    let bootstrap = text.lines().find_map(|line| line.strip_prefix("bootstrap="));
    bootstrap.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&started.stderr))).to_string()
}

/// A name that no other test uses.
pub fn name(stem: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{stem}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A new topic on a real cluster.
pub fn topic(cluster: &KafkaCluster, stem: &str, partitions: i32) -> String {
    let name = name(stem);
    let spec = TopicSpec {
        name: name.clone(),
        partitions: Some(partitions),
        replication: Some(1),
        ..TopicSpec::default()
    };
    Topics::open(cluster, Duration::from_secs(30)).unwrap().ensure(&spec).unwrap();
    name
}

/// Sends `values` to one partition.
pub fn feed(cluster: &KafkaCluster, to: (&str, i32), values: impl IntoIterator<Item = String>) {
    let feed = Feed::open(cluster).unwrap();
    for value in values {
        feed.send(to, Some(b"k"), Some(value.as_bytes()), Some(7)).unwrap();
    }
    feed.flush(Duration::from_secs(30)).unwrap();
}

/// Opens a reader at the offsets given.
pub fn open(cluster: &KafkaCluster, topic: &str, start: &BTreeMap<i32, i64>) -> KafkaReader {
    let source = KafkaSource::new(cluster.clone(), topic);
    KafkaReader::open(&source, "herald-test", start, (true, true)).unwrap()
}

/// Reads up to the ends at opening.
pub fn read_all(reader: &mut KafkaReader) -> Vec<Records> {
    reader.stop_at_end();
    let (mut all, until) = (Vec::new(), Instant::now() + Duration::from_secs(60));
    while !reader.bounded_done() {
        assert!(Instant::now() < until, "the end was not reached");
        all.extend(reader.poll(1000, 1 << 20, Duration::from_millis(100)).unwrap());
    }
    all
}

/// The values of all records, in the order they came.
pub fn values(all: &[Records]) -> Vec<String> {
    let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap_or(b"null").to_vec()).unwrap();
    all.iter().flat_map(|records| records.values.iter().map(text).collect::<Vec<_>>()).collect()
}

/// All values of a topic, as a read_committed reader sees them.
pub fn content(cluster: &KafkaCluster, topic: &str) -> Vec<String> {
    values(&read_all(&mut open(cluster, topic, &BTreeMap::new())))
}

/// The output of an epoch: one chunk for each value.
pub fn chunks(topic: &str, values: &[&str]) -> Vec<Vec<u8>> {
    let chunk = |value: &&str| {
        let mut chunk = OutChunk::new();
        chunk.push(&OutRecord { topic, value: Some(value.as_bytes()), ..OutRecord::default() });
        chunk.into_bytes()
    };
    values.iter().map(chunk).collect()
}

/// Text that does not compress.
pub fn noise(length: usize) -> String {
    let mut random = connectors::generate::random::Random::new(length as u64, 0);
    (0..length).map(|_| char::from(b'0' + random.below(75) as u8)).collect()
}
