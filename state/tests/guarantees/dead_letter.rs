//! The dead letter table keeps its bound, by dropping the oldest or by stopping.

use crate::{epoch, open, options};
use state::{Commit, DeadLetterPolicy, Order, StateError, Store, StoreOptions};

fn dead_letters(store: &Store, order: Order, limit: usize) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    let snapshot = store.snapshot().unwrap();
    snapshot
        .dead_letters(order, limit, |number, dead_letter| {
            found.push((number, String::from_utf8(dead_letter.to_vec()).unwrap()));
            Ok::<_, StateError>(())
        })
        .unwrap();
    found
}

fn reject(store: &Store, number: u64, dead_letters: &[&str]) -> Result<(), StateError> {
    let dead_letters = dead_letters.iter().map(|dead_letter| dead_letter.as_bytes().to_vec()).collect();
    store.commit(Commit { dead_letters, ..epoch(number) }).map(drop)
}

fn bounded(policy: DeadLetterPolicy) -> StoreOptions {
    StoreOptions { dead_letter_bytes: 10, dead_letter_policy: policy, ..options() }
}

fn named(expected: &[(u64, &str)]) -> Vec<(u64, String)> {
    expected.iter().map(|(number, dead_letter)| (*number, (*dead_letter).to_owned())).collect()
}

#[test]
fn the_oldest_make_room() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let store = Store::open(dir.path(), &bounded(DeadLetterPolicy::DropOldest)).unwrap();
    reject(&store, 1, &["one", "two", "four"]).unwrap();
    assert_eq!(dead_letters(&store, Order::Newest, 2), named(&[(2, "four"), (1, "two")]));
    reject(&store, 2, &["five"]).unwrap();
    assert_eq!(dead_letters(&store, Order::Oldest, 9), named(&[(2, "four"), (3, "five")]));
    drop(store);
    let store = Store::open(dir.path(), &bounded(DeadLetterPolicy::DropOldest)).unwrap();
    reject(&store, 3, &["far too long for it", "six", "seven"]).unwrap();
    assert_eq!(dead_letters(&store, Order::Oldest, 9), named(&[(5, "six"), (6, "seven")]));
    let totals = store.stats().unwrap().dead_letters;
    assert_eq!((totals.first, totals.next, totals.bytes, totals.dropped), (5, 7, 8, 5));
    reject(&store, 4, &["far too long for it"]).unwrap();
    reject(&store, 5, &["eight"]).unwrap();
    assert_eq!(dead_letters(&store, Order::Oldest, 9), named(&[(8, "eight")]));
    assert_eq!(store.snapshot().unwrap().verify().unwrap(), Vec::<String>::new());
}

#[test]
fn or_the_topology_stops() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &bounded(DeadLetterPolicy::Stop)).unwrap();
    reject(&store, 1, &["one", "two", "four"]).unwrap();
    let error = reject(&store, 2, &["x"]).unwrap_err();
    assert!(matches!(error, StateError::DeadLetterFull { bytes: 11, limit: 10 }), "{error}");
    assert_eq!(store.meta().epoch, 1);
    assert_eq!(dead_letters(&store, Order::Oldest, 9).len(), 3);
}
