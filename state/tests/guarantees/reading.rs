//! Lookups return values in the order of their keys, scans keep to their state table and prefix, snapshots do
//! not change.

use crate::{OTHER, TABLE, VIEW, content, counts, epoch, open, put, writes};
use state::{Commit, StateError, Writes};

#[test]
fn multi_get_answers_in_the_order_asked() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut held = Writes { table_id: TABLE, ..Writes::default() };
    for number in (0..20_000u32).rev().step_by(2) {
        held.keys.push(format!("key{number:06}").as_bytes());
        held.values.push(Some(&number.to_le_bytes()));
    }
    store.commit(Commit { writes: vec![held], ..epoch(1) }).unwrap();
    for flushed in [false, true] {
        if flushed {
            store.flush().unwrap();
        }
        let numbers: Vec<u32> = (0..5_000u32).map(|index| index.wrapping_mul(7_919) % 20_000).collect();
        let keys: Vec<String> = numbers.iter().map(|number| format!("key{number:06}")).collect();
        let found = store.multi_get(TABLE, keys.iter().map(String::as_bytes)).unwrap();
        for (number, found) in numbers.iter().zip(&found) {
            let expected = (number % 2 == 1).then(|| number.to_le_bytes());
            assert_eq!(found.as_deref(), expected.as_ref().map(|bytes| &bytes[..]), "{number}");
        }
        assert!(
            store.multi_get(OTHER, keys.iter().map(String::as_bytes)).unwrap().iter().all(Option::is_none)
        );
        assert_eq!(store.get(TABLE, b"key000001").unwrap().as_deref(), Some(&1u32.to_le_bytes()[..]));
        assert!(store.get(TABLE, b"key000002").unwrap().is_none());
    }
    assert!(store.multi_get(TABLE, std::iter::empty()).unwrap().is_empty());
    assert!(matches!(store.multi_get(9, std::iter::empty()), Err(StateError::UnknownStateTable(9))));
}

#[test]
fn scans_keep_to_prefix_and_space() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let keys: [&[u8]; 7] = [b"", b"a", b"a\x00", b"ab", b"a\xff", b"a\xff\xff", b"b"];
    let mut all =
        [Writes { table_id: TABLE, ..Writes::default() }, Writes { table_id: OTHER, ..Writes::default() }];
    for writes in &mut all {
        for key in keys {
            writes.keys.push(key);
            writes.values.push(Some(b"v"));
        }
    }
    store.commit(Commit { writes: all.to_vec(), ..epoch(1) }).unwrap();
    let found = |prefix: &[u8]| {
        let mut found = Vec::new();
        let scanned = store.scan(TABLE, prefix, |key, _| {
            found.push(key.to_vec());
            Ok::<_, StateError>(())
        });
        scanned.map(|()| found).unwrap()
    };
    assert_eq!(found(b""), keys);
    assert_eq!(found(b"a"), keys[1..6]);
    assert_eq!(found(b"a\xff"), keys[4..6]);
    assert_eq!(found(b"\xff"), Vec::<Vec<u8>>::new());
    let stopped = store.scan(TABLE, b"", |_, _| Err(StateError::UnknownStateTable(5)));
    assert!(matches!(stopped, Err(StateError::UnknownStateTable(5))));
    let mut walk = store.iter(TABLE, b"ab").unwrap();
    assert_eq!(walk.next_entry().unwrap(), Some((&b"ab"[..], &b"v"[..])));
    assert_eq!(walk.next_entry().unwrap(), None);
    assert_eq!(walk.next_entry().unwrap(), None);
}

#[test]
fn a_scan_moves_both_ways_within_its_space() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let pairs = [("a", Some("1")), ("c", Some("3")), ("e", Some("5"))];
    let all = vec![writes(TABLE, &pairs), writes(OTHER, &[("d", Some("other"))])];
    store.commit(Commit { writes: all, ..epoch(1) }).unwrap();
    for flushed in [false, true] {
        if flushed {
            store.flush().unwrap();
        }
        let mut walk = store.iter(TABLE, b"").unwrap();
        for (from, found) in
            [("d", Some("e")), ("b", Some("c")), ("c", Some("c")), ("f", None), ("", Some("a"))]
        {
            walk.seek(from.as_bytes());
            let next = walk.next_entry().unwrap().map(|(key, _)| key);
            assert_eq!(next, found.map(str::as_bytes), "{from}");
        }
        assert_eq!(walk.next_entry().unwrap(), Some((&b"c"[..], &b"3"[..])), "and goes on from there");
    }
    assert!(store.estimated_bytes(TABLE).is_ok());
    let ranges = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().map(|(from, to)| (from.as_bytes().to_vec(), to.as_bytes().to_vec()));
        store.estimated_bytes_within(TABLE, &pairs.collect::<Vec<_>>()).unwrap()
    };
    assert_eq!((ranges(&[]), ranges(&[("x", "z")])), (0, 0));
    assert!(ranges(&[("a", "f")]) <= store.estimated_bytes(TABLE).unwrap());
    assert!(store.estimated_bytes_within(9, &[]).is_err());
    assert!(matches!(store.estimated_bytes(9), Err(StateError::UnknownStateTable(9))));
}

#[test]
fn a_snapshot_stands_still() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.commit(Commit { counts: vec![counts(VIEW, &[("row", 1)])], ..put(1, "k", "old") }).unwrap();
    let snapshot = store.snapshot().unwrap();
    let more = Commit {
        writes: vec![writes(TABLE, &[("k", None)])],
        counts: vec![counts(VIEW, &[("row", 4)])],
        ..epoch(2)
    };
    store.commit(more).unwrap();
    assert_eq!((snapshot.epoch(), snapshot.committed().commit_ms), (1, 1_001));
    assert_eq!(snapshot.get(TABLE, b"k").unwrap().as_deref(), Some(&b"old"[..]));
    assert_eq!(snapshot.multi_get(VIEW, [&b"row"[..]]).unwrap()[0].as_deref(), Some(&1i64.to_be_bytes()[..]));
    let mut walk = snapshot.iter(TABLE, b"").unwrap();
    assert!(walk.next_entry().unwrap().is_some());
    assert_eq!(content(&store, TABLE), []);
    assert_eq!(store.snapshot().unwrap().epoch(), 2);
}

#[test]
fn stats_name_every_family() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.commit(put(1, "k", "v")).unwrap();
    let stats = store.stats().unwrap();
    let names: Vec<_> = stats.families.iter().map(|family| family.name).collect();
    assert_eq!(names, ["table", "arrangement", "view", "sink", "meta", "outbox", "dead_letter"]);
    assert_eq!(stats.families[0].estimated_keys, 2, "the key and the epoch");
    assert!(stats.state_bytes > 0 && stats.memtable_bytes > 0);
    let memory = store.memory().unwrap();
    assert_eq!(memory.memtable_bytes, stats.memtable_bytes);
}
