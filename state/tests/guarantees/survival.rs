//! Committed epochs survive a crash and a copy; uncommitted ones do not.

use crate::{TABLE, VIEW, content, counts, epoch, open, options, pairs, put};
use state::{Commit, Store, Writes};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The files as a crash would leave them: copied while the store is open.
fn crash(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => crash(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[test]
fn a_committed_epoch_survives_a_crash() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path());
    for number in 1..=20 {
        let one = counts(VIEW, &[("epochs", 1)]);
        store.commit(Commit { counts: vec![one], ..put(number, "k", &number.to_string()) }).unwrap();
        if number == 7 {
            store.flush().unwrap();
        }
    }
    crash(dir.path(), copy.path());
    let crashed = Store::open(copy.path(), &options()).unwrap();
    assert_eq!(crashed.meta(), store.meta());
    assert_eq!(content(&crashed, TABLE), pairs(&[("k", "20")]));
    assert_eq!(content(&crashed, VIEW), pairs(&[("epochs", "20")]));
}

/// The log is cut at every length within its last epoch: either all of that epoch is there or none of it.
#[test]
fn half_an_epoch_does_not() {
    let (dir, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path());
    store.commit(Commit { counts: vec![counts(VIEW, &[("r", 1)])], ..put(1, "k", "1") }).unwrap();
    let log = |dir: &Path| {
        let mut logs: Vec<_> =
            fs::read_dir(dir.join("db")).unwrap().flatten().map(|entry| entry.path()).collect();
        logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        logs.sort();
        logs.pop().unwrap()
    };
    let before = fs::metadata(log(dir.path())).unwrap().len();
    store.commit(Commit { counts: vec![counts(VIEW, &[("r", 1)])], ..put(2, "k", "2") }).unwrap();
    let after = fs::metadata(log(dir.path())).unwrap().len();
    let cuts: BTreeSet<u64> = (before..after).step_by(17).chain([after - 1, after]).collect();
    for length in cuts {
        let copy = copies.path().join(length.to_string());
        crash(dir.path(), &copy);
        fs::File::options().write(true).open(log(&copy)).unwrap().set_len(length).unwrap();
        let store = Store::open(&copy, &options()).unwrap();
        let (number, text) = if length == after { (2, "2") } else { (1, "1") };
        assert_eq!(store.meta().epoch, number, "cut at {length} of {before}..{after}");
        assert_eq!(content(&store, TABLE), pairs(&[("k", text)]));
        assert_eq!(content(&store, VIEW), pairs(&[("r", text)]));
    }
}

#[test]
fn a_checkpoint_is_a_state() {
    let (dir, backups) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path());
    store.commit(put(1, "k", "1")).unwrap();
    let target = backups.path().join("first");
    store.checkpoint(&target).unwrap();
    store.commit(put(2, "k", "2")).unwrap();
    assert!(store.checkpoint(&target).is_err(), "a checkpoint overwrites nothing");
    let copy = open(&target);
    assert_eq!((copy.meta().epoch, copy.state_id()), (1, store.state_id()));
    assert_eq!(content(&copy, TABLE), pairs(&[("k", "1")]));
}

/// A large epoch is committed as a whole. Prints the durations of its phases, but is not a benchmark.
#[test]
fn a_large_epoch_goes_in() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for number in 1..=4u64 {
        let mut held = Writes { table_id: TABLE, ..Writes::default() };
        let mut rows = counts(VIEW, &[]);
        for index in 0..100_000u64 {
            let key = schemas::hash(&(index + number * 50_000).to_be_bytes()).to_be_bytes();
            held.keys.push(&key);
            held.values.push(Some(&[7; 60]));
            rows.rows.push(&key);
            rows.diffs.push(1);
        }
        store.commit(Commit { writes: vec![held], counts: vec![rows], ..epoch(number) }).unwrap();
    }
    assert_eq!(content_len(&store), 250_000);
}

fn content_len(store: &Store) -> usize {
    let mut rows = 0;
    store
        .scan(TABLE, b"", |_, _| {
            rows += 1;
            Ok::<_, state::StateError>(())
        })
        .unwrap();
    rows
}
