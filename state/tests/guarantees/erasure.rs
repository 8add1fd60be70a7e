//! Nothing of an erased identity stays in any file once the files are rewritten, and a receipt does.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use schemas::{Digester, identity_patterns};
use state::{
    Commit, Erasure, HistoryLimits, OutboxChunk, RowChanges, RowsErased, Store, StoreOptions, ViewChanges,
};

use crate::{TABLE, VIEW, catalogue, counts, epoch, options, writes};

const ANNA: &str = "4c1f09c0a6e94b1f8d2e3a5b7c9d0e1f2a3b4c5d6e7f8091a2b3c4d5e6f70819";
const BEN: &str = "b7d2e4f6a8c0b1d3e5f7092b4d6f8a0c1e3a5c7e9b1d3f5a7c9e0b2d4f6a8c0e";

/// A state whose files are not compressed, where the build can do that; then with true.
fn open(dir: &Path) -> (Store, bool) {
    let plain = fail::cfg("store.plain", "return").is_ok();
    let store = Store::open(dir, &StoreOptions { erases: true, ..options() }).unwrap();
    fail::remove("store.plain");
    store.put_catalogue(&catalogue()).unwrap();
    store
        .keep_histories(&BTreeMap::from([(VIEW, HistoryLimits { age_ms: 1 << 40, bytes: 1 << 30 })]))
        .unwrap();
    (store, plain)
}

fn receipt(store: &Store, name: &str, epoch: u64) -> Erasure {
    let digester: Digester = store.digester().unwrap();
    Erasure {
        digest: digester.digest(name.as_bytes()),
        screen: digester.screen(name.as_bytes()),
        ordered_in: "erasures".to_owned(),
        orders: 1,
        epoch,
        requested_us: Some(5),
        committed_ms: 1_000 + epoch as i64,
        finished_ms: None,
        tables: BTreeMap::from([("matches".to_owned(), RowsErased { rewritten: 0, removed: 1 })]),
        dead_letters: 1,
        errors: 0,
        left: vec!["topic matches".to_owned()],
    }
}

/// An epoch that brings a person, in every family.
fn bring(number: u64, name: &str) -> Commit {
    let mut changes = RowChanges::default();
    changes.push(name.as_bytes(), 1, u64::MAX);
    Commit {
        writes: vec![writes(TABLE, &[(name, Some(name))])],
        counts: vec![counts(VIEW, &[(name, 1)])],
        changes: vec![ViewChanges { view: VIEW, changes }],
        outbox: vec![OutboxChunk { cluster: 0, part: 0, bytes: name.as_bytes().to_vec() }],
        dead_letters: vec![format!("rejected {name}").into_bytes()],
        ..epoch(number)
    }
}

/// The epoch that erases the person who came first.
fn erase(store: &Store, number: u64, name: &str) -> Commit {
    let mut changes = RowChanges::default();
    changes.push(name.as_bytes(), -1, u64::MAX);
    Commit {
        writes: vec![writes(TABLE, &[(name, None)])],
        counts: vec![counts(VIEW, &[(name, -1)])],
        changes: vec![ViewChanges { view: VIEW, changes }],
        erasures: vec![receipt(store, name, number)],
        replaced_dead_letters: BTreeMap::from([(0, b"rejected somebody".to_vec())]),
        ..epoch(number)
    }
}

fn files_with(dir: &Path, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir.join("db")).unwrap().flatten() {
        let bytes = fs::read(entry.path()).unwrap_or_default();
        if schemas::contains_any(&bytes, &[name.as_bytes().to_vec()]) {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    found
}

#[test]
fn an_erased_identity_is_in_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let (store, plain) = open(dir.path());
    store.commit(bring(1, ANNA)).unwrap();
    store.flush().unwrap();
    store.commit(bring(2, BEN)).unwrap();
    store.commit(erase(&store, 3, ANNA)).unwrap();
    store.delete_outbox(0, 3).unwrap();
    assert!(!files_with(dir.path(), ANNA).is_empty(), "it was there");
    assert_eq!(store.unfinished_erasures(), Some((1, 3)));

    // A reader of an earlier epoch keeps its values alive.
    let reader = store.snapshot().unwrap();
    store.commit(epoch(4)).unwrap();
    store.forget_histories(3).unwrap();
    assert!(!store.rewrite_files(&|| false).unwrap());
    drop(reader);
    assert!(!store.rewrite_files(&|| true).unwrap(), "whoever stops it has not finished");
    assert!(store.rewrite_files(&|| false).unwrap());
    assert_eq!(store.finish_erasures(3, 77).unwrap().len(), 1);
    assert_eq!(store.unfinished_erasures(), None);

    assert_eq!(files_with(dir.path(), ANNA), Vec::<String>::new());
    assert_eq!(store.families_with(&identity_patterns(ANNA.as_bytes())).unwrap(), Vec::<&str>::new());
    assert!(!store.families_with(&identity_patterns(BEN.as_bytes())).unwrap().is_empty());
    if plain {
        assert!(!files_with(dir.path(), BEN).is_empty(), "the control is found");
    }
    assert_eq!(store.snapshot().unwrap().verify().unwrap(), Vec::<String>::new());
    let mut letters = Vec::new();
    store
        .dead_letters(state::Order::Oldest, 9, |_, letter| {
            letters.push(String::from_utf8(letter.to_vec()).unwrap());
            Ok::<_, state::StateError>(())
        })
        .unwrap();
    assert_eq!(letters, ["rejected somebody".to_owned(), format!("rejected {BEN}")]);

    // The receipt and the salt outlive the process: the same name has the same digest.
    drop(store);
    let (store, _) = open(dir.path());
    let erased = store.erased_set().unwrap();
    assert!(erased.find(ANNA.as_bytes()).is_some() && erased.find(BEN.as_bytes()).is_none());
    let [held] = &store.erasures().unwrap()[..] else { panic!("one receipt") };
    assert_eq!((held.finished_ms, held.orders, held.epoch), (Some(77), 1, 3));
    // Another order for the same person opens the receipt again, and adds to it.
    store.commit(Commit { erasures: vec![receipt(&store, ANNA, 5)], ..epoch(5) }).unwrap();
    let [held] = &store.erasures().unwrap()[..] else { panic!("one receipt") };
    assert_eq!((held.finished_ms, held.orders, held.epoch, held.tables["matches"].removed), (None, 2, 5, 2));
    drop(store);
    // A state with unfinished erasures is opened for them by whoever opens it.
    let store = Store::open(dir.path(), &options()).unwrap();
    assert_eq!(store.unfinished_erasures(), Some((1, 5)));
    assert!(store.rewrite_files(&|| false).unwrap());
}

#[test]
fn failing_rows_of_a_person_are_forgotten_and_may_still_be_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let patterns = identity_patterns(ANNA.as_bytes());
    let (row, fresh) = (format!("row of {ANNA}"), format!("fresh {ANNA}"));
    let (row, fresh) = (row.as_str(), fresh.as_str());
    let commit = |number: u64, changes: &[(&str, i64)], forget: bool| {
        let counts = vec![counts(VIEW, changes)];
        let mut kept = store.bound_counts(VIEW, &counts).unwrap();
        let mut forgotten = 0;
        if forget {
            forgotten = store.forget_bounded_rows((VIEW, &mut kept), &patterns).unwrap();
        }
        let commit =
            Commit { counts: vec![kept.counts], bounded: Some(kept.totals.clone()), ..epoch(number) };
        store.commit(commit).unwrap();
        (forgotten, kept.totals.kept, kept.totals.not_kept)
    };
    assert_eq!(commit(1, &[(row, 2), ("another", 1)], false), (0, Some(3), 0));
    // One copy goes by itself, the other by its bytes; one that comes with the commit is not kept at all.
    assert_eq!(commit(2, &[(row, -1), (fresh, 1)], true), (2, Some(1), 2));
    assert_eq!(store.families_with(&patterns).unwrap(), Vec::<&str>::new());
    // Retractions that come after all are not too many.
    assert_eq!(commit(3, &[(row, -1), (fresh, -1)], false), (0, Some(1), 0));
}
