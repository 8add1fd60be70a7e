//! The history of epochs keeps the last thousand, and nothing of those before.

use crate::{epoch, open};
use state::{Commit, EPOCHS_KEPT, EarlierPhase, Measured, Store, TimedPhase};

fn measured(number: u64) -> Commit {
    let measured = Measured { input_rows: number, step_us: 2 * number, ..Measured::default() };
    Commit { measured: Some(measured), ..epoch(number) }
}

/// The epochs of the history with their records read.
fn history(store: &Store) -> Vec<(u64, u64)> {
    let entries = store.snapshot().unwrap().epoch_entries().unwrap();
    entries.iter().map(|entry| (entry.epoch, entry.measured.input_rows)).collect()
}

#[test]
fn the_last_thousand_epochs_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert_eq!(history(&store), []);
    let last = EPOCHS_KEPT + 5;
    for number in 1..=last {
        store.commit(measured(number)).unwrap();
    }
    let expected: Vec<(u64, u64)> = (6..=last).map(|number| (number, number)).collect();
    assert_eq!(history(&store), expected);
    assert_eq!(store.snapshot().unwrap().verify().unwrap(), Vec::<String>::new());
    drop(store);
    let store = open(dir.path());
    assert_eq!(history(&store), expected);

    // Epochs without measurements, as an earlier release commits them, are left out and age the others.
    store.commit(epoch(last + 1)).unwrap();
    assert_eq!(history(&store).len(), 999);
    store.commit(epoch(last + 500)).unwrap();
    assert_eq!((history(&store).len(), history(&store)[0].0), (500, 506));
    store.commit(measured(last + 5000)).unwrap();
    assert_eq!(history(&store), [(last + 5000, last + 5000)]);
    assert_eq!(store.snapshot().unwrap().verify().unwrap(), Vec::<String>::new());
}

#[test]
fn an_entry_has_its_time_and_what_became_known_of_earlier_epochs() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.commit(measured(1)).unwrap();
    let earlier = vec![EarlierPhase { phase: TimedPhase::Commit, first: 1, last: 1, us: 70 }];
    let second = Measured { output_rows: 3, decode_us: 4, earlier: earlier.clone(), ..Measured::default() };
    store.commit(Commit { measured: Some(second), ..epoch(2) }).unwrap();
    let entries = store.snapshot().unwrap().epoch_entries().unwrap();
    assert_eq!((entries[1].epoch, entries[1].commit_ms), (2, 1_002));
    assert_eq!((entries[1].measured.output_rows, entries[1].measured.decode_us), (3, 4));
    assert_eq!(entries[1].measured.earlier, earlier);
}
