//! The error table keeps its bound, and rows that are not kept can still be retracted.

use crate::{VIEW, catalogue, content, counts, epoch, open, options, pairs};
use rand::{RngExt, SeedableRng};
use state::{BoundedTotals, Commit, StateError, Store, StoreOptions};
use std::collections::BTreeMap;

/// Room for two rows of two letters: an entry takes 32 bytes beside its row.
fn bounded() -> StoreOptions {
    StoreOptions { error_bytes: 70, ..options() }
}

/// Commits changes as the driver does, and returns the number of copies that are not kept.
fn change(store: &Store, number: u64, changes: &[(&str, i64)]) -> Result<u64, StateError> {
    let kept = store.bound_counts(VIEW, &[counts(VIEW, changes)])?;
    let not_kept = kept.totals.not_kept;
    let bounded = Some(kept.totals);
    store.commit(Commit { counts: vec![kept.counts], bounded, ..epoch(number) })?;
    Ok(not_kept)
}

#[test]
fn rows_beyond_the_bound_are_counted_and_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let store = Store::open(dir.path(), &bounded()).unwrap();
    assert_eq!(change(&store, 1, &[("aa", 1), ("bb", 2)]).unwrap(), 0);
    assert_eq!(change(&store, 2, &[("aa", 5), ("cc", 3)]).unwrap(), 3);
    assert_eq!(content(&store, VIEW), pairs(&[("aa", "6"), ("bb", "2")]));
    // Retracting a kept row makes room, but only for rows added from then on.
    assert_eq!(change(&store, 3, &[("bb", -2), ("cc", -2)]).unwrap(), 1);
    assert_eq!(change(&store, 4, &[("cc", 1)]).unwrap(), 1);
    assert_eq!(content(&store, VIEW), pairs(&[("aa", "6"), ("cc", "1")]));
    drop(store);
    let store = Store::open(dir.path(), &bounded()).unwrap();
    assert_eq!(change(&store, 5, &[("cc", -2)]).unwrap(), 0);
    assert_eq!(content(&store, VIEW), pairs(&[("aa", "6")]));
    assert_eq!(change(&store, 6, &[("aa", -6)]).unwrap(), 0);
    assert_eq!(store.bounded_totals(VIEW).unwrap().bytes, 0);
    assert_eq!(store.snapshot().unwrap().verify().unwrap(), Vec::<String>::new());
}

#[test]
fn copies_that_nobody_added_are_found_while_nothing_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let store = Store::open(dir.path(), &bounded()).unwrap();
    change(&store, 1, &[("aa", 1)]).unwrap();
    let error = change(&store, 2, &[("aa", -2)]).unwrap_err();
    assert!(matches!(error, StateError::Negative { total: -1, .. }), "{error}");
    let error = change(&store, 2, &[("bb", -1)]).unwrap_err();
    assert!(matches!(error, StateError::Negative { total: -1, .. }), "{error}");
    assert_eq!(store.meta().epoch, 1);
}

#[test]
fn an_earlier_state_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.commit(Commit { counts: vec![counts(VIEW, &[("aa", 1), ("bb", 1)])], ..epoch(1) }).unwrap();
    drop(store);
    let store = Store::open(dir.path(), &bounded()).unwrap();
    let counted = BoundedTotals { bytes: 68, kept: Some(2), not_kept: 0 };
    assert_eq!(store.bounded_totals(VIEW).unwrap(), counted);
    assert_eq!(change(&store, 2, &[("cc", 1), ("bb", -1)]).unwrap(), 0);
    assert_eq!(content(&store, VIEW), pairs(&[("aa", "1"), ("cc", "1")]));
}

/// Totals that a release wrote which did not count the copies that are kept.
#[test]
fn copies_that_an_earlier_release_did_not_count_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let bounded = Some(BoundedTotals { bytes: 68, kept: None, not_kept: 5 });
    let kept = vec![counts(VIEW, &[("aa", 3), ("bb", 1)])];
    store.commit(Commit { counts: kept, bounded, ..epoch(1) }).unwrap();
    let totals = store.bounded_totals(VIEW).unwrap();
    assert_eq!(totals, BoundedTotals { bytes: 68, kept: Some(4), not_kept: 5 });
    assert_eq!(totals.copies(), 9);
    change(&store, 2, &[("aa", -1)]).unwrap();
    assert_eq!(store.bounded_totals(VIEW).unwrap().kept, Some(3));
}

#[test]
fn totals_that_do_not_fit_the_table_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &options()).unwrap();
    let mut named = catalogue();
    named.entries[1].name = "herald.errors".to_owned();
    store.put_catalogue(&named).unwrap();
    let bounded = Some(BoundedTotals { bytes: 33, kept: Some(2), not_kept: 0 });
    store.commit(Commit { counts: vec![counts(VIEW, &[("aa", 3)])], bounded, ..epoch(1) }).unwrap();
    assert_eq!(
        store.snapshot().unwrap().verify().unwrap(),
        ["herald.errors holds 34 bytes, and counts 33", "herald.errors holds 3 copies of rows, and counts 2"]
    );
}

/// Random changes against a plain count of copies: kept and not kept always add up to it, the bound holds,
/// and after all copies are retracted nothing is left.
#[test]
fn kept_and_not_kept_add_up_to_what_there_is() {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(3);
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let store = Store::open(dir.path(), &StoreOptions { error_bytes: 200, ..options() }).unwrap();
    let names: Vec<String> = (0..20).map(|n| format!("row {n}")).collect();
    let mut there: BTreeMap<&str, i64> = BTreeMap::new();
    let mut left_out = 0;
    for number in 1..=200 {
        let mut changes: Vec<(&str, i64)> = Vec::new();
        let last = number == 200;
        for _ in 0..if last { 0 } else { random.random_range(1..8) } {
            let name = names[random.random_range(0..names.len())].as_str();
            let held = there.entry(name).or_default();
            let diff = random.random_range(-*held..=3);
            *held += diff;
            changes.push((name, diff));
        }
        if last {
            changes = there.iter_mut().map(|(name, held)| (*name, -std::mem::take(held))).collect();
        }
        let not_kept = change(&store, number, &changes).unwrap_or_else(|e| panic!("{e}; {changes:?}"));
        let kept = content(&store, VIEW);
        let copies: i64 = kept.iter().map(|(_, copies)| copies.parse::<i64>().unwrap()).sum();
        assert_eq!(copies + not_kept as i64, there.values().sum::<i64>());
        assert_eq!(store.bounded_totals(VIEW).unwrap().kept, Some(copies as u64));
        for (row, copies) in &kept {
            assert!(copies.parse::<i64>().unwrap() <= there[row.as_str()]);
        }
        assert!(kept.iter().map(|(row, _)| row.len() + 32).sum::<usize>() <= 200);
        left_out += not_kept;
    }
    assert!(left_out > 100 && content(&store, VIEW).is_empty());
    let nothing = BoundedTotals { kept: Some(0), ..BoundedTotals::default() };
    assert_eq!(store.bounded_totals(VIEW).unwrap(), nothing);
}
