//! A commit is whole, follows the committed one, and is refused before anything is written.

use crate::{OTHER, TABLE, VIEW, content, counts, epoch, open, pairs, put, writes};
use state::{Commit, OutboxChunk, PartitionProgress, Progress, SourceProgress, StateError};
use std::collections::BTreeMap;

fn source(read: u64, accepted: u64, next_offset: i64) -> Progress {
    let partition = PartitionProgress {
        next_offset,
        last_ms: Some(7),
        max_event_us: Some(5),
        ..PartitionProgress::default()
    };
    let source = SourceProgress {
        partitions: BTreeMap::from([(3, partition)]),
        watermark_us: Some(-1),
        outcomes: [accepted, 0, 0, 0, 0, 0, 0],
        read,
        ended: false,
        ended_us: None,
    };
    Progress {
        sources: BTreeMap::from([("matches".to_owned(), source)]),
        views: BTreeMap::new(),
        ..Progress::default()
    }
}

#[test]
fn all_parts_of_an_epoch_are_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let state_id = store.state_id().to_owned();
    store
        .commit(Commit {
            writes: vec![
                writes(TABLE, &[("b", Some("2")), ("a", Some("1"))]),
                writes(OTHER, &[("x", Some(""))]),
                writes(TABLE, &[("c", Some("3"))]),
            ],
            counts: vec![counts(VIEW, &[("row", 2)]), counts(VIEW, &[("row", 1), ("gone", 1), ("gone", -1)])],
            progress: source(7, 7, 42),
            outbox: vec![OutboxChunk { cluster: 0, part: 0, bytes: b"out".to_vec() }],
            dead_letters: vec![b"dead".to_vec()],
            ..epoch(1)
        })
        .unwrap();
    let next = Commit {
        writes: vec![writes(TABLE, &[("a", None), ("d", Some("4"))])],
        progress: source(8, 8, 43),
        ..epoch(5)
    };
    store.commit(next).unwrap();
    drop(store);

    let store = open(dir.path());
    assert_eq!(store.state_id(), state_id);
    let meta = store.meta();
    assert_eq!((meta.epoch, meta.commit_ms), (5, 1_005));
    assert_eq!(meta.progress, source(8, 8, 43));
    assert_eq!(content(&store, TABLE), pairs(&[("b", "2"), ("c", "3"), ("d", "4")]));
    assert_eq!(content(&store, OTHER), pairs(&[("x", "")]));
    assert_eq!(content(&store, VIEW), pairs(&[("row", "3")]));
    assert_eq!(store.outbox_depth()[&0].bytes, 3);
    assert_eq!(store.stats().unwrap().dead_letters.bytes, 4);
    assert_eq!(store.catalogue().unwrap(), Some(crate::catalogue()));
    assert_eq!(store.snapshot().unwrap().verify().unwrap(), Vec::<String>::new());
}

#[test]
fn the_last_total_of_a_key_counts() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let twice = vec![
        writes(TABLE, &[("k", Some("1")), ("a", Some("0")), ("k", Some("2")), ("z", Some("9"))]),
        writes(TABLE, &[("z", None), ("b", Some("5"))]),
    ];
    store.commit(Commit { writes: twice, ..epoch(1) }).unwrap();
    assert_eq!(content(&store, TABLE), pairs(&[("a", "0"), ("b", "5"), ("k", "2")]));
}

/// A refused commit leaves nothing behind, and the store refuses further writes.
fn refused(commit: Commit, expected: impl Fn(&StateError) -> bool) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let first = Commit {
        counts: vec![counts(VIEW, &[("held", 2)])],
        progress: source(5, 5, 5),
        ..put(3, "old", "1")
    };
    store.commit(first).unwrap();
    let error = store.commit(commit).unwrap_err();
    assert!(expected(&error), "{error}");
    assert!(
        matches!(store.commit(epoch(9)), Err(StateError::Poisoned(reason)) if reason == error.to_string())
    );
    assert!(matches!(store.put_catalogue(&crate::catalogue()), Err(StateError::Poisoned(_))));
    assert!(matches!(store.delete_outbox(0, 9), Err(StateError::Poisoned(_))));
    assert_eq!(store.poisoned(), Some(error.to_string().as_str()));
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.meta().epoch, 3);
    assert_eq!(content(&store, TABLE), pairs(&[("old", "1")]));
    assert_eq!(content(&store, VIEW), pairs(&[("held", "2")]));
    store.commit(Commit { progress: source(6, 6, 6), ..put(4, "new", "1") }).unwrap();
}

#[test]
fn counts_below_zero_are_refused() {
    let below = Commit { counts: vec![counts(VIEW, &[("a", 1), ("held", -3)])], ..put(4, "new", "1") };
    refused(below, |error| matches!(error, StateError::Negative { table_id: VIEW, total: -1, .. }));
    let absent = Commit { counts: vec![counts(VIEW, &[("absent", -1)])], ..put(4, "new", "1") };
    refused(absent, |error| error.to_string() == "space 2 would hold -1 copies of row 0x616273656e74");
}

#[test]
fn broken_conservation_is_refused() {
    let lost = Commit { progress: source(8, 7, 8), ..put(4, "new", "1") };
    refused(lost, |error| matches!(error, StateError::Conservation { read: 8, counted: 7, .. }));
}

#[test]
fn going_back_is_refused() {
    refused(put(3, "new", "1"), |error| matches!(error, StateError::Epoch { committed: 3, offered: 3 }));
    let offset = Commit { progress: source(6, 6, 4), ..put(4, "new", "1") };
    refused(offset, |error| matches!(error, StateError::Backwards { held: 5, offered: 4, .. }));
    let read = Commit { progress: source(4, 4, 6), ..put(4, "new", "1") };
    refused(read, |error| matches!(error, StateError::Backwards { .. }));
}

#[test]
fn malformed_commits_are_refused() {
    let unknown = Commit { writes: vec![writes(77, &[("k", None)])], ..put(4, "new", "1") };
    refused(unknown, |error| matches!(error, StateError::UnknownStateTable(77)));
    let malformed = |error: &StateError| matches!(error, StateError::Malformed { epoch: 4, .. });
    let mut uneven = writes(TABLE, &[("k", Some("v"))]);
    uneven.keys.push(b"only a key");
    refused(Commit { writes: vec![uneven], ..epoch(4) }, malformed);
    let mut uneven = counts(VIEW, &[("k", 1)]);
    uneven.diffs.clear();
    refused(Commit { counts: vec![uneven], ..epoch(4) }, malformed);
    refused(Commit { counts: vec![counts(TABLE, &[("k", 1)])], ..put(4, "k", "1") }, malformed);
    refused(Commit { counts: vec![counts(VIEW, &[("k", i64::MAX), ("k", 1)])], ..epoch(4) }, malformed);
    let chunk = OutboxChunk { cluster: 1, part: 2, bytes: Vec::new() };
    refused(Commit { outbox: vec![chunk.clone(), chunk], ..epoch(4) }, malformed);
}
