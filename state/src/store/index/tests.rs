//! Indexes of a state: filled from views, in pieces, with stops and crashes between them.

use schemas::{Blobs, Rows};
use serde_json::json;

use super::*;
use crate::{Commit, Counts, StoreOptions, Writes};

const SCORES: u32 = 1;
const POINTS: u32 = 2;

fn text(value: &str) -> Vec<u8> {
    [&[1], value.as_bytes(), &[0, 0]].concat()
}

fn number(value: i64) -> Vec<u8> {
    [&[1][..], &(value ^ i64::MIN).to_be_bytes()].concat()
}

fn score(player: &str, team: &str, points: i64) -> Vec<u8> {
    [text(player), text(team), number(points)].concat()
}

fn view(id: u32, name: &str, columns: &[(&str, &str)], key: Option<Vec<usize>>) -> CatalogueEntry {
    let columns: Vec<_> = columns.iter().map(|(name, of)| json!({"name": name, "type": of})).collect();
    CatalogueEntry {
        id,
        kind: StateTableKind::View,
        name: name.to_owned(),
        fingerprint: format!("f{id}"),
        schema: Some(json!(columns)),
        key,
        retention: None,
        index: None,
        facts: crate::EntryFacts::default(),
    }
}

fn index(id: u32, view: &str, columns: &[usize]) -> CatalogueEntry {
    CatalogueEntry {
        id,
        kind: StateTableKind::Index,
        name: format!("i{id}"),
        fingerprint: format!("f{id}"),
        schema: None,
        key: None,
        retention: None,
        index: Some(IndexOf { view: view.to_owned(), columns: columns.to_vec() }),
        facts: crate::EntryFacts::default(),
    }
}

/// A catalogue of `scores(player, team, points)`, keyed by player, of `points(team, points)` without a
/// key, and of some indexes.
fn catalogue(indexes: &[CatalogueEntry]) -> Catalogue {
    let scores = [("player", "utf8"), ("team", "utf8"), ("points", "int64")];
    let mut entries =
        vec![view(SCORES, "scores", &scores, Some(vec![0])), view(POINTS, "points", &scores[1..], None)];
    entries.extend_from_slice(indexes);
    Catalogue { topology: "t".to_owned(), entries, ..Catalogue::default() }
}

fn open(dir: &std::path::Path) -> Store {
    let options = StoreOptions { create: true, topology: Some("t".to_owned()), ..StoreOptions::default() };
    Store::open(dir, &options).unwrap()
}

fn commit(store: &Store, writes: Vec<Writes>, counts: Vec<Counts>) {
    let epoch = store.meta().epoch + 1;
    store.commit(Commit { epoch, commit_ms: 1, writes, counts, ..Commit::default() }).unwrap();
}

fn write(table_id: u32, key: &[u8], value: Option<&[u8]>) -> Writes {
    let (mut keys, mut values) = (Rows::new(), Blobs::new());
    keys.push(key);
    values.push(value);
    Writes { table_id, keys, values }
}

/// A state with three scores, and the points of two teams, one of them twice.
fn filled(dir: &std::path::Path) -> Store {
    let store = open(dir);
    store.put_catalogue(&catalogue(&[])).unwrap();
    let mut writes = Vec::new();
    for (player, team, points) in [("a", "red", 3), ("b", "blue", 4), ("c", "red", 5)] {
        writes.push(write(SCORES, &stored_key(&text(player)), Some(&score(player, team, points))));
    }
    let mut counts = Counts { table_id: POINTS, ..Counts::default() };
    for (team, points, copies) in [("red", 3, 2), ("blue", 3, 1)] {
        counts.rows.push(&stored_key(&[text(team), number(points)].concat()));
        counts.diffs.push(copies);
    }
    commit(&store, writes, vec![counts]);
    store
}

fn content(store: &Reads<'_>, table_id: u32) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    let mut scan = store.iter(table_id, &[]).unwrap();
    while let Some((key, value)) = scan.next_entry().unwrap() {
        found.push((key.to_vec(), value.to_vec()));
    }
    found
}

/// The ids with which keys in the family of views begin.
fn ids(store: &Store) -> Vec<u32> {
    let mut found = Vec::new();
    let mut scan = store.scan_family(store.family("view").unwrap(), &[], 0);
    while let Some((key, _)) = scan.next_entry().unwrap() {
        found.push(u32::from_be_bytes(*key.first_chunk().unwrap()));
    }
    found.dedup();
    found.retain(|id| *id != table::STAMP);
    found
}

#[test]
fn a_new_index_is_filled_from_its_view_and_a_dropped_one_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(&dir.path().join("state"));
    let wanted = catalogue(&[index(3, "scores", &[1, 2]), index(4, "points", &[1])]);
    store.put_catalogue(&wanted).unwrap();
    assert_eq!(store.catalogue().unwrap().as_ref(), Some(&wanted));
    let entry = |player: &str, team: &str, points: i64| {
        ([text(team), number(points), text(player)].concat(), score(player, team, points))
    };
    assert_eq!(content(&store, 3), [entry("b", "blue", 4), entry("a", "red", 3), entry("c", "red", 5)]);
    let counted = |team: &str, points: i64, copies: i64| {
        ([number(points), text(team), number(points)].concat(), copies.to_be_bytes().to_vec())
    };
    assert_eq!(content(&store, 4), [counted("blue", 3, 1), counted("red", 3, 2)]);
    assert_eq!(store.snapshot().unwrap().verify().unwrap(), Vec::<String>::new());

    // A reader in another process sees the deletion as well, and the index that comes in its place.
    let fewer = catalogue(&[index(4, "points", &[1])]);
    store.put_catalogue(&fewer).unwrap();
    assert_eq!(ids(&store), [SCORES, POINTS, 4]);
    assert!(matches!(store.iter(3, &[]), Err(StateError::UnknownStateTable(3))));
    let other = catalogue(&[index(4, "points", &[1]), index(3, "scores", &[2])]);
    store.put_catalogue(&other).unwrap();
    let reader = Store::open_secondary(store.dir(), &dir.path().join("scratch")).unwrap();
    let found = content(&reader.snapshot(), 3);
    assert_eq!((found.len(), &found[0].0), (3, &[number(3), text("a")].concat()));
    assert_eq!(reader.snapshot().verify().unwrap(), Vec::<String>::new());
    drop(store);
    let store = open(&dir.path().join("state"));
    assert_eq!((content(&store, 3).len(), ids(&store)), (3, vec![SCORES, POINTS, 3, 4]));
}

#[test]
fn entries_that_an_interrupted_filling_left_are_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    let leave = |id: u32| {
        let mut key = Vec::new();
        table::key_into(&mut key, id, b"left");
        store.db.put_cf(store.family("view").unwrap(), key, b"over").unwrap();
    };
    leave(3);
    leave(7);
    assert_eq!(ids(&store), [SCORES, POINTS, 3, 7]);
    assert_eq!(store.snapshot().unwrap().verify().unwrap().len(), 1);
    // Whether the index is still wanted or not.
    store.put_catalogue(&catalogue(&[])).unwrap();
    assert_eq!(ids(&store), [SCORES, POINTS]);
    leave(3);
    store.put_catalogue(&catalogue(&[index(3, "scores", &[1])])).unwrap();
    assert_eq!(content(&store, 3).len(), 3);
    assert_eq!(store.snapshot().unwrap().verify().unwrap(), Vec::<String>::new());
    commit(&store, vec![], vec![]);
}

/// A state with a thousand scores, of which an index takes several pieces.
fn large(dir: &std::path::Path) -> Store {
    let store = open(dir);
    store.put_catalogue(&catalogue(&[])).unwrap();
    let mut writes = Vec::new();
    let team = "x".repeat(PIECE_BYTES / 400);
    for points in 0..1000 {
        let player = format!("{points:04}");
        let row = score(&player, &team, points);
        writes.push(write(SCORES, &stored_key(&text(&player)), Some(&row)));
    }
    commit(&store, writes, vec![]);
    store
}

/// The findings of a check of the state.
fn findings(store: &Store) -> Vec<String> {
    store.snapshot().unwrap().verify().unwrap()
}

#[test]
fn an_index_larger_than_a_piece_is_filled() {
    let dir = tempfile::tempdir().unwrap();
    let store = large(dir.path());
    store.put_catalogue(&catalogue(&[index(3, "scores", &[2])])).unwrap();
    assert_eq!(content(&store, 3).len(), 1000);
    assert_eq!(findings(&store), Vec::<String>::new());
}

/// A stop is heard after the first piece; what is written by then is not written again.
#[test]
fn a_filling_that_is_stopped_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let wanted = catalogue(&[index(3, "scores", &[2]), index(4, "scores", &[1])]);
    let store = large(dir.path());
    assert_eq!(store.put_catalogue_unless(&wanted, &|| true).unwrap(), Some("i3".to_owned()));
    assert_eq!((store.catalogue().unwrap(), ids(&store)), (Some(catalogue(&[])), vec![SCORES]));
    // Two questions: one before the index, one after its first piece.
    let asked = std::cell::Cell::new(0);
    let at_first_piece = || asked.replace(asked.get() + 1) == 1;
    assert_eq!(store.put_catalogue_unless(&wanted, &at_first_piece).unwrap(), Some("i3".to_owned()));
    assert_eq!((store.catalogue().unwrap(), ids(&store)), (Some(catalogue(&[])), vec![SCORES, 3]));
    assert_eq!(findings(&store), Vec::<String>::new());
    let begun = store.interrupted_filling(1).unwrap().unwrap();
    assert!((1..1000).contains(&begun.entries), "{}", begun.entries);
    // An entry of that part that is gone stays away, which shows that the part is not filled again.
    let first = unlisted_keys(&store, 3).remove(0);
    store.db.delete_cf(store.family("view").unwrap(), first).unwrap();
    drop(store);
    let store = open(dir.path());
    store.put_catalogue(&wanted).unwrap();
    assert_eq!((content(&store, 3).len(), content(&store, 4).len()), (999, 1000));
    assert_eq!(store.interrupted_filling(1).unwrap(), None);
}

/// A filling is begun again when an epoch was committed, when the index is another, and when the index was
/// given up meanwhile.
#[test]
fn a_filling_of_another_index_or_epoch_is_begun_again() {
    let wanted = catalogue(&[index(3, "scores", &[2])]);
    let other = catalogue(&[index(3, "scores", &[1, 2])]);
    let after = catalogue(&[index(4, "scores", &[2])]);
    let cases =
        [(true, false, &wanted), (false, false, &other), (false, false, &after), (false, true, &wanted)];
    for (commits, gives_up, last) in cases {
        let dir = tempfile::tempdir().unwrap();
        let store = large(dir.path());
        let asked = std::cell::Cell::new(0);
        let at_first_piece = || asked.replace(asked.get() + 1) == 1;
        assert!(store.put_catalogue_unless(&wanted, &at_first_piece).unwrap().is_some());
        let first = unlisted_keys(&store, 3).remove(0);
        store.db.delete_cf(store.family("view").unwrap(), first).unwrap();
        if commits {
            commit(&store, vec![], vec![]);
        }
        if gives_up {
            store.put_catalogue(&catalogue(&[])).unwrap();
            assert_eq!(ids(&store), [SCORES]);
        }
        store.put_catalogue(last).unwrap();
        assert_eq!(store.catalogue().unwrap().as_ref(), Some(last));
        let id = last.entries.last().unwrap().id;
        assert_eq!((content(&store, id).len(), ids(&store)), (1000, vec![SCORES, id]));
        assert_eq!(findings(&store), Vec::<String>::new());
    }
}

/// The keys that begin with an id which the catalogue does not list.
fn unlisted_keys(store: &Store, id: u32) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut scan = store.scan_family(store.family("view").unwrap(), &id.to_be_bytes(), 0);
    while let Some((key, _)) = scan.next_entry().unwrap() {
        found.push(key.to_vec());
    }
    found
}

#[test]
fn an_index_that_differs_from_its_view_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    store.put_catalogue(&catalogue(&[index(3, "scores", &[1]), index(4, "points", &[0])])).unwrap();
    let found = || store.snapshot().unwrap().verify().unwrap();
    let first = content(&store, 3).remove(0);
    commit(&store, vec![write(3, &first.0, None)], vec![]);
    assert_eq!(found(), [r#"index "i3" lacks 1 of the rows of view "scores", and holds 0 that it has not"#]);
    // Another row of the same key, in another place.
    let place = [text("green"), text("b")].concat();
    commit(&store, vec![write(3, &place, Some(&score("b", "green", 4)))], vec![]);
    assert_eq!(found(), [r#"index "i3" lacks 1 of the rows of view "scores", and holds 1 that it has not"#]);
    commit(&store, vec![write(3, &first.0, Some(b"x")), write(3, &place, None)], vec![]);
    assert_eq!(found(), [r#"index "i3" lacks 1 of the rows of view "scores", and holds 0 that it has not"#]);
    commit(&store, vec![write(3, &first.0, Some(&first.1)), write(3, b"no key", Some(b""))], vec![]);
    assert_eq!(found(), [r#"index "i3" lacks 0 of the rows of view "scores", and holds 1 that it has not"#]);
    commit(&store, vec![write(3, b"no key", None)], vec![]);
    assert_eq!(found(), Vec::<String>::new());
    // One copy more in the index than in the view.
    let counted = content(&store, 4).remove(0);
    let mut counts = Counts { table_id: 4, ..Counts::default() };
    counts.rows.push(&counted.0);
    counts.diffs.push(1);
    commit(&store, vec![], vec![counts]);
    assert_eq!(found(), [r#"index "i4" lacks 1 of the rows of view "points", and holds 0 that it has not"#]);
}
