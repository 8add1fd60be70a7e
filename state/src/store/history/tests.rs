//! Histories of views: their bounds, restarts, gaps, and pieces that cannot be read.

use std::path::Path;

use super::*;
use crate::{Catalogue, CatalogueEntry, Commit, EntryFacts, StateTableKind, StoreOptions};

const VIEW: u32 = 1;
/// Bytes of a piece with one row of ten bytes.
const ONE: u64 = (KEY_BYTES + HEAD_BYTES + 12) as u64;

fn open(dir: &Path) -> Store {
    let options = StoreOptions { create: true, topology: Some("t".to_owned()), ..StoreOptions::default() };
    let store = Store::open(dir, &options).unwrap();
    let view = CatalogueEntry {
        id: VIEW,
        kind: StateTableKind::View,
        name: "v".to_owned(),
        fingerprint: "f".to_owned(),
        schema: None,
        key: None,
        retention: None,
        index: None,
        facts: EntryFacts::default(),
    };
    store
        .put_catalogue(&Catalogue { topology: "t".to_owned(), entries: vec![view], ..Catalogue::default() })
        .unwrap();
    store
}

fn limits(age_ms: i64, bytes: u64) -> BTreeMap<u32, HistoryLimits> {
    BTreeMap::from([(VIEW, HistoryLimits { age_ms, bytes })])
}

/// A row of ten bytes.
fn row(number: u64) -> Vec<u8> {
    format!("row{number:07}").into_bytes()
}

/// Commits an epoch at a time of a hundred milliseconds for each, with one row that is its number.
fn commit(store: &Store, epoch: u64) {
    let mut changes = RowChanges::default();
    changes.push(&row(epoch), if epoch.is_multiple_of(2) { -1 } else { 300 }, u64::MAX);
    commit_changes(store, epoch, vec![ViewChanges { view: VIEW, changes }]);
}

fn commit_changes(store: &Store, epoch: u64, changes: Vec<ViewChanges>) {
    let commit_ms = 100 * epoch as i64;
    store.commit(Commit { epoch, commit_ms, changes, ..Commit::default() }).unwrap();
}

/// The epochs after one that are held, or the epoch after which they are.
fn held(store: &Store, after: u64) -> Result<Vec<u64>, Option<u64>> {
    let snapshot = store.snapshot().unwrap();
    let mut scan = match snapshot.history_from(VIEW, HistoryPlace::after(after)).unwrap() {
        HistorySince::Held(scan) => scan,
        HistorySince::Gone(since) => return Err(since),
    };
    let mut epochs = Vec::new();
    while let Some(piece) = scan.next_piece().unwrap() {
        let epoch = piece.place.epoch;
        assert_eq!(piece.commit_ms, 100 * epoch as i64);
        assert_eq!(piece.changes[0].row, row(epoch));
        assert_eq!(piece.changes[0].diff, if epoch.is_multiple_of(2) { -1 } else { 300 });
        epochs.push(epoch);
    }
    Ok(epochs)
}

fn bytes(store: &Store) -> u64 {
    store.history_bytes().get(&VIEW).copied().unwrap_or_default()
}

#[test]
fn changes_are_decoded_as_they_were_pushed() {
    let pushed = [(1, &b"a"[..]), (-1, b""), (i64::MAX, b"bb"), (i64::MIN, &[7; 300]), (0, b"c")];
    let mut changes = RowChanges::default();
    for (diff, row) in pushed {
        changes.push(row, diff, u64::MAX);
    }
    let key = HistoryPlace { epoch: 9, part: 2 }.key();
    changes.set_time(5);
    let value = changes.pieces[0].clone();
    let piece = HistoryPiece::decode((&key, &value)).unwrap();
    assert_eq!((piece.place, piece.commit_ms), (HistoryPlace { epoch: 9, part: 2 }, 5));
    assert_eq!(piece.changes.iter().map(|change| (change.diff, change.row)).collect::<Vec<_>>(), pushed);
    // The form on disk.
    assert_eq!(&value[8..13], [2, 1, b'a', 1, 0]);
    let whole = value.len();
    for cut in HEAD_BYTES + 1..whole {
        let read = HistoryPiece::decode((&key, &value[..cut])).map_or(0, |piece| piece.changes.len());
        assert!(read < pushed.len(), "{cut}");
    }
    assert_eq!(HistoryPiece::decode((&key[..11], &value)), None);
    assert_eq!(HistoryPiece::decode((&key, &[0xff; 30])), None);
}

#[test]
fn large_changes_are_in_pieces_and_too_large_ones_are_given_up() {
    let large = vec![1; PIECE_BYTES / 2 + 1];
    let mut changes = RowChanges::default();
    for _ in 0..5 {
        changes.push(&large, 1, u64::MAX);
    }
    assert_eq!(changes.pieces.len(), 3);
    let mut changes = RowChanges::default();
    for _ in 0..5 {
        changes.push(&large, 1, 2 * PIECE_BYTES as u64);
    }
    assert!(changes.overflowed && changes.pieces.is_empty() && !changes.is_empty());
}

#[test]
fn a_history_is_bounded_in_age() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    commit(&store, 1);
    assert_eq!(held(&store, 0), Err(None), "nothing is kept before it is asked for");
    store.keep_histories(&limits(300, 1 << 20)).unwrap();
    assert_eq!((held(&store, 0), held(&store, 1)), (Err(Some(1)), Ok(vec![])));
    for epoch in 2..=5 {
        commit(&store, epoch);
    }
    assert_eq!((held(&store, 1), bytes(&store)), (Ok(vec![2, 3, 4, 5]), 4 * ONE + 2));
    assert_eq!((held(&store, 3), held(&store, 5)), (Ok(vec![4, 5]), Ok(vec![])));
    assert_eq!(held(&store, 6), Err(Some(1)), "an epoch that is none");
    commit(&store, 6);
    assert_eq!((held(&store, 1), held(&store, 2)), (Err(Some(2)), Ok(vec![3, 4, 5, 6])));
    // Epochs without changes age it as well.
    commit_changes(&store, 9, vec![]);
    assert_eq!((held(&store, 4), held(&store, 5)), (Err(Some(5)), Ok(vec![6])));
    commit_changes(&store, 30, vec![]);
    assert_eq!((held(&store, 5), held(&store, 6), bytes(&store)), (Err(Some(6)), Ok(vec![]), 0));
    commit(&store, 31);
    assert_eq!(held(&store, 6), Ok(vec![31]));
    assert_eq!(store.snapshot().unwrap().verify().unwrap(), Vec::<String>::new());
}

#[test]
fn a_history_is_bounded_in_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.keep_histories(&limits(1 << 40, 3 * ONE + 3)).unwrap();
    for epoch in 1..=9 {
        commit(&store, epoch);
        assert!(bytes(&store) <= 3 * ONE + 3);
    }
    assert_eq!((held(&store, 5), held(&store, 6)), (Err(Some(6)), Ok(vec![7, 8, 9])));
    // An epoch of more than it may hold leaves nothing, and the next one is held again.
    let mut changes = RowChanges::default();
    changes.push(&[1; 500], 1, 3 * ONE);
    commit_changes(&store, 10, vec![ViewChanges { view: VIEW, changes }]);
    assert_eq!((held(&store, 9), held(&store, 10), bytes(&store)), (Err(Some(10)), Ok(vec![]), 0));
    let mut changes = RowChanges::default();
    changes.push(&row(11), 300, u64::MAX);
    let half = ViewChanges { view: VIEW, changes };
    commit_changes(&store, 11, vec![half.clone(), half.clone(), half.clone(), half]);
    assert_eq!((held(&store, 10), bytes(&store)), (Err(Some(11)), 0), "of all workers together");
    commit(&store, 12);
    assert_eq!(held(&store, 11), Ok(vec![12]));
    assert_eq!(store.snapshot().unwrap().verify().unwrap(), Vec::<String>::new());
}

#[test]
fn many_pieces_are_deleted_some_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.keep_histories(&limits(i64::MAX, u64::MAX)).unwrap();
    let epochs = 3 * PIECES_PER_COMMIT as u64;
    for epoch in 1..=epochs {
        commit(&store, epoch);
    }
    assert_eq!(held(&store, 0).map(|held| held.len()), Ok(epochs as usize));
    store.keep_histories(&limits(50, u64::MAX)).unwrap();
    for (round, left) in [(1, 2), (2, 1), (3, 0)] {
        commit_changes(&store, epochs + round, vec![]);
        let (after, left) = (round * PIECES_PER_COMMIT as u64, left * PIECES_PER_COMMIT);
        assert_eq!(held(&store, after - 1), Err(Some(after)));
        assert_eq!(held(&store, after).map(|held| held.len()), Ok(left));
        assert_eq!(store.snapshot().unwrap().verify().unwrap(), Vec::<String>::new());
    }
    assert_eq!(bytes(&store), 0);
}

#[test]
fn a_large_epoch_displaces_any_number_of_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (tiny, bound) = (5 * PIECES_PER_COMMIT as u64, 400 * ONE);
    store.keep_histories(&limits(1 << 40, bound)).unwrap();
    (1..=tiny).for_each(|epoch| commit(&store, epoch));
    assert_eq!(held(&store, 0).map(|held| held.len()), Ok(tiny as usize));
    // Epochs of half the bound each, whose first row is as `held` expects it.
    for (epoch, left) in [(tiny + 1, None), (tiny + 2, None), (tiny + 3, Some(tiny + 1))] {
        let mut changes = RowChanges::default();
        changes.push(&row(epoch), if epoch.is_multiple_of(2) { -1 } else { 300 }, u64::MAX);
        changes.push(&vec![7; (bound / 2 - 2 * ONE) as usize], 1, u64::MAX);
        commit_changes(&store, epoch, vec![ViewChanges { view: VIEW, changes }]);
        assert!(bytes(&store) <= bound, "{} of {bound} bytes at epoch {epoch}", bytes(&store));
        assert_eq!(store.snapshot().unwrap().verify().unwrap(), Vec::<String>::new());
        // No more went than had to.
        let after = held(&store, 0).err().flatten();
        assert_eq!(held(&store, after.unwrap_or_default()).map(|held| held.last().copied()), Ok(Some(epoch)));
        match left {
            Some(left) => assert_eq!(after, Some(left)),
            None => assert!(bytes(&store) + ONE + 1 > bound, "{}", bytes(&store)),
        }
    }
    // One commit gets a history below a bound that was lowered, too.
    store.keep_histories(&limits(1 << 40, 1 << 30)).unwrap();
    (tiny + 4..2 * tiny).for_each(|epoch| commit(&store, epoch));
    store.keep_histories(&limits(1 << 40, 3 * ONE)).unwrap();
    commit_changes(&store, 2 * tiny, vec![]);
    assert_eq!(held(&store, 2 * tiny - 3), Ok(vec![2 * tiny - 2, 2 * tiny - 1]));
    assert!(bytes(&store) <= 3 * ONE);
    assert_eq!(store.snapshot().unwrap().verify().unwrap(), Vec::<String>::new());
}

#[test]
fn a_history_with_an_unreadable_piece_begins_anew() {
    let key = |place: HistoryPlace| [&VIEW.to_be_bytes()[..], &place.key()].concat();
    let whole = key(HistoryPlace { epoch: 3, part: 0 });
    let damages = [
        (whole.clone(), &b"cut"[..]),
        (whole[..15].to_vec(), &[0; 10]),
        (key(HistoryPlace { epoch: 90, part: 0 }), &[0; 10]),
    ];
    for (damaged, value) in damages {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let other = VIEW + 1;
        let bounds = HistoryLimits { age_ms: 300, bytes: 1 << 20 };
        store.keep_histories(&BTreeMap::from([(VIEW, bounds), (other, bounds)])).unwrap();
        (1..=4).for_each(|epoch| commit(&store, epoch));
        store.db.put_cf(store.family(HISTORY_FAMILY).unwrap(), &damaged, value).unwrap();
        let mut changes = RowChanges::default();
        changes.push(b"other", 1, u64::MAX);
        let of_other = ViewChanges { view: other, changes };
        let mut changes = RowChanges::default();
        changes.push(&row(8), -1, u64::MAX);
        commit_changes(&store, 8, vec![ViewChanges { view: VIEW, changes }, of_other]);
        assert_eq!(store.poisoned(), None);
        // All that follows the epoch before is held, and the other history is as it was.
        assert_eq!((held(&store, 3), held(&store, 4)), (Err(Some(4)), Ok(vec![8])), "{damaged:?}");
        assert_eq!(bytes(&store), ONE);
        assert_eq!(store.history_bytes()[&other], (KEY_BYTES + HEAD_BYTES + 7) as u64);
        let left = store.scan_table(store.family(HISTORY_FAMILY).unwrap(), VIEW, &[]);
        let mut pieces = 0;
        left.each::<StateError>(|_, _| {
            pieces += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(pieces, 1, "{damaged:?}");
        commit(&store, 9);
        drop(store);
        let store = open(dir.path());
        store.keep_histories(&limits(300, 1 << 20)).unwrap();
        commit(&store, 10);
        assert_eq!(held(&store, 4), Ok(vec![8, 9, 10]));
        assert_eq!(store.snapshot().unwrap().verify().unwrap(), Vec::<String>::new());
    }
}

#[test]
fn a_restart_goes_on_and_a_gap_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.keep_histories(&limits(300, 1 << 20)).unwrap();
    (1..=4).for_each(|epoch| commit(&store, epoch));
    drop(store);
    let store = open(dir.path());
    assert_eq!(held(&store, 1), Ok(vec![2, 3, 4]), "also before they are kept again");
    store.keep_histories(&limits(300, 1 << 20)).unwrap();
    commit(&store, 5);
    assert_eq!((held(&store, 0), held(&store, 1)), (Err(Some(1)), Ok(vec![2, 3, 4, 5])));
    drop(store);
    // A commit that does not know of histories, as that of a repair.
    let store = open(dir.path());
    commit_changes(&store, 6, vec![]);
    assert_eq!((held(&store, 5), held(&store, 6)), (Err(None), Err(None)));
    assert_eq!(store.snapshot().unwrap().verify().unwrap(), Vec::<String>::new());
    drop(store);
    let store = open(dir.path());
    store.keep_histories(&limits(300, 1 << 20)).unwrap();
    assert_eq!((held(&store, 5), held(&store, 6), bytes(&store)), (Err(Some(6)), Ok(vec![]), 0));
    commit(&store, 7);
    assert_eq!(held(&store, 6), Ok(vec![7]));
    // Another reader sees the deletion, too.
    let reader = Store::open_secondary(store.dir(), &dir.path().join("scratch")).unwrap();
    assert_eq!(reader.snapshot().verify().unwrap(), Vec::<String>::new());
    drop((reader, store));
    let store = open(dir.path());
    store.keep_histories(&BTreeMap::new()).unwrap();
    commit(&store, 8);
    assert_eq!((held(&store, 7), bytes(&store)), (Err(None), 0), "it was turned off");
    assert_eq!(store.snapshot().unwrap().verify().unwrap(), Vec::<String>::new());
}

#[test]
fn a_damaged_history_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.keep_histories(&limits(1 << 40, 1 << 20)).unwrap();
    commit(&store, 1);
    let put = |place: HistoryPlace, value: &[u8]| {
        let key = [&VIEW.to_be_bytes()[..], &place.key()].concat();
        store.db.put_cf(store.family(HISTORY_FAMILY).unwrap(), key, value).unwrap();
    };
    put(HistoryPlace { epoch: 1, part: 0 }, b"cut");
    put(HistoryPlace { epoch: 7, part: 0 }, &[0; 10]);
    let found = store.snapshot().unwrap().verify().unwrap();
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(found[0], r#"1 pieces of the history of view "v" are not readable"#);
    assert_eq!(found[1], r#"1 pieces of the history of view "v" are of epochs after 1"#);
    assert!(found[2].starts_with(r#"the history of view "v" holds "#), "{found:?}");
}
