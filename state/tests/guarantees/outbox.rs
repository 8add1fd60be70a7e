//! The outbox returns epochs and parts in order, each epoch with its own time, and deletes published ones;
//! records of topics survive a restart.

use std::collections::BTreeMap;

use crate::{epoch, open};
use state::{Commit, KnownTopic, OutboxChunk, OutboxEpoch, Published, Store};

fn chunk(cluster: u16, part: u32, text: &str) -> OutboxChunk {
    OutboxChunk { cluster, part, bytes: text.as_bytes().to_vec() }
}

fn waiting(store: &Store, cluster: u16, after: u64) -> Vec<(u64, Vec<String>)> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let epochs = store.outbox_after(cluster, after).unwrap().map(Result::unwrap);
    epochs.map(|OutboxEpoch { epoch, parts, .. }| (epoch, parts.into_iter().map(text).collect())).collect()
}

#[test]
fn in_order_until_published() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let outbox = vec![chunk(0, 1, "b"), chunk(1, 0, "other"), chunk(0, 0, "a"), chunk(0, 300, "c")];
    let output = store.commit(Commit { outbox, ..epoch(1) }).unwrap();
    let output: Vec<(u16, u32)> = output.iter().map(|chunk| (chunk.cluster, chunk.part)).collect();
    assert_eq!(output, [(0, 1), (1, 0), (0, 0), (0, 300)], "the output comes back as it was given");
    store.commit(epoch(2)).unwrap();
    for number in 3..=260 {
        store.commit(Commit { outbox: vec![chunk(0, 0, "x")], ..epoch(number) }).unwrap();
    }
    let all = waiting(&store, 0, 0);
    assert_eq!(all[0], (1, vec!["a".into(), "b".into(), "c".into()]));
    assert_eq!(
        all.iter().map(|epoch| epoch.0).collect::<Vec<_>>(),
        [1].into_iter().chain(3..=260).collect::<Vec<_>>()
    );
    assert_eq!(waiting(&store, 0, 258).len(), 2);
    assert_eq!(waiting(&store, 0, 260), []);
    assert_eq!(waiting(&store, 0, u64::MAX), []);
    assert_eq!(waiting(&store, 7, 0), []);
    let depth = &store.outbox_depth()[&0];
    assert_eq!((depth.epochs, depth.chunks, depth.bytes), (259, 261, 261));

    let until = |store: &Store, cluster| store.published_until(cluster, store.meta().epoch).unwrap();
    assert_eq!((until(&store, 0), until(&store, 1), until(&store, 7)), (0, 0, 260));
    assert_eq!(store.published(0).unwrap(), None);
    let published = Published { epoch: 259, digest: Some(u128::MAX - 5) };
    store.set_published(0, &published).unwrap();
    assert_eq!(waiting(&store, 0, 0), [(260, vec!["x".to_owned()])]);
    assert_eq!(waiting(&store, 1, 0), [(1, vec!["other".to_owned()])]);
    assert_eq!((until(&store, 0), until(&store, 1)), (259, 0));
    store.commit(epoch(261)).unwrap();
    drop(store);

    let store = open(dir.path());
    store.delete_outbox(0, 259).unwrap();
    assert_eq!(store.published(0).unwrap(), Some(published), "the digest stays");
    assert_eq!(store.outbox_depth()[&0].epochs, 1);
    store.delete_outbox(0, 260).unwrap();
    store.delete_outbox(1, 1).unwrap();
    assert!(store.outbox_depth().is_empty());
    assert_eq!((until(&store, 0), until(&store, 1)), (261, 261));
    assert_eq!(store.published(0).unwrap(), Some(Published { epoch: 260, digest: None }));
    assert_eq!(waiting(&store, 0, 0), []);
}

#[test]
fn each_epoch_has_the_time_of_its_own_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for (number, commit_ms) in [(1, 7_000), (2, 3_000), (3, i64::MAX)] {
        let outbox = vec![chunk(0, 0, "a"), chunk(0, 1, "b"), chunk(1, 0, "c")];
        store.commit(Commit { outbox, commit_ms, ..epoch(number) }).unwrap();
    }
    let times = |store: &Store, cluster: u16| -> Vec<(u64, Option<i64>)> {
        let epochs = store.outbox_after(cluster, 0).unwrap().map(Result::unwrap);
        epochs.map(|epoch| (epoch.epoch, epoch.commit_ms)).collect()
    };
    let expected = [(1, Some(7_000)), (2, Some(3_000)), (3, Some(i64::MAX))];
    assert_eq!((times(&store, 0), times(&store, 1)), (expected.to_vec(), expected.to_vec()));
    store.delete_outbox(0, 2).unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!((times(&store, 0), times(&store, 1)), (expected[2..].to_vec(), expected.to_vec()));
    store.delete_outbox(0, 3).unwrap();
    store.delete_outbox(1, 3).unwrap();
    assert!(store.outbox_depth().is_empty());
}

#[test]
fn topics_and_orders_are_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert!(store.known_topics().unwrap().is_empty() && store.resends().unwrap().is_empty());
    store.commit(epoch(4)).unwrap();
    let topic = KnownTopic { partitions: 2, reached: vec![3, 0], lost: true };
    let topics = BTreeMap::from([("out".to_owned(), topic)]);
    store.set_known_topics(&topics).unwrap();
    assert_eq!(store.order_resend("a").unwrap(), 4);
    store.commit(epoch(5)).unwrap();
    assert_eq!(store.order_resend("b").unwrap(), 5);
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.known_topics().unwrap(), topics);
    assert_eq!(store.resends().unwrap(), BTreeMap::from([("a".to_owned(), 4), ("b".to_owned(), 5)]));
}
