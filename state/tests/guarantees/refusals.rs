//! Each reason for which a directory is not the requested state has an error of its own.

use crate::{catalogue, epoch, open, options, put};
use state::{StateError, StateTableKind, Store, StoreOptions};
use std::fs;

#[test]
fn in_use() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let message = format!(
        "the state in {} is in use by this very process ({})",
        dir.path().display(),
        std::process::id()
    );
    let error = Store::open(dir.path(), &options()).err().unwrap();
    assert!(matches!(error, StateError::Locked { pid: Some(_), .. }));
    assert_eq!(error.to_string(), message);
    assert_eq!(Store::wipe(dir.path()).unwrap_err().to_string(), message);
    drop(store);
    open(dir.path());
}

#[test]
fn missing() {
    let dir = tempfile::tempdir().unwrap();
    let not_created = StoreOptions { create: false, ..options() };
    for path in [dir.path().join("nowhere"), dir.path().to_owned()] {
        let error = Store::open(&path, &not_created).err().unwrap();
        assert_eq!(error.to_string(), format!("there is no state in {}", path.display()));
        assert!(matches!(
            Store::open_secondary(&path, &dir.path().join("s")),
            Err(StateError::Missing { .. })
        ));
    }
    assert!(fs::read_dir(dir.path()).unwrap().next().is_none(), "asking leaves nothing behind");
}

#[test]
fn another_format() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let marker = dir.path().join("HERALD");
    let text = fs::read_to_string(&marker).unwrap();
    assert!(text.starts_with("{\"format_version\":2,\"state_id\":\""), "{text}");
    fs::write(&marker, "{\"format_version\":3,\"something\":\"new\"}").unwrap();
    let expected =
        format!("the state in {} has format version 3, this release reads version 2", dir.path().display());
    assert_eq!(Store::open(dir.path(), &options()).err().unwrap().to_string(), expected);
    let scratch = tempfile::tempdir().unwrap();
    assert_eq!(Store::open_secondary(dir.path(), scratch.path()).err().unwrap().to_string(), expected);
    fs::write(&marker, "garbage").unwrap();
    assert!(matches!(Store::open(dir.path(), &options()), Err(StateError::Corrupt { .. })));
}

#[test]
fn another_topology() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let other = StoreOptions { topology: Some("players".to_owned()), ..options() };
    let error = Store::open(dir.path(), &other).err().unwrap();
    let expected =
        format!("the state in {} belongs to topology \"matches\", not to \"players\"", dir.path().display());
    assert_eq!(error.to_string(), expected);
    let any = Store::open(dir.path(), &StoreOptions { topology: None, ..options() }).unwrap();
    let renamed = state::Catalogue { topology: "players".to_owned(), ..catalogue() };
    assert!(matches!(any.put_catalogue(&renamed), Err(StateError::Foreign { .. })));
}

#[test]
fn emptied_and_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.commit(put(1, "k", "v")).unwrap();
    store.flush().unwrap();
    drop(store);
    let database = dir.path().join("db");
    let table = fs::read_dir(&database)
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|x| x == "sst"));
    fs::remove_file(table.unwrap()).unwrap();
    let error = Store::open(dir.path(), &options()).err().unwrap();
    assert!(matches!(error, StateError::Corrupt { .. }), "{error:?}");
    fs::remove_dir_all(&database).unwrap();
    let error = Store::open(dir.path(), &options()).err().unwrap();
    assert!(matches!(error, StateError::Wiped { .. }), "{error:?}");
    assert!(error.advice().unwrap().contains("--fresh"));
    let scratch = tempfile::tempdir().unwrap();
    assert!(matches!(Store::open_secondary(dir.path(), scratch.path()), Err(StateError::Wiped { .. })));
    Store::wipe(dir.path()).unwrap();
    assert_eq!(open(dir.path()).meta().epoch, 0);
}

#[test]
fn other_peoples_files() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.tex"), "text").unwrap();
    let expected =
        format!("{} holds other files (thesis.tex, for one) and no Herald state", dir.path().display());
    assert_eq!(Store::open(dir.path(), &options()).err().unwrap().to_string(), expected);
    assert_eq!(Store::wipe(dir.path()).unwrap_err().to_string(), expected);
    assert!(dir.path().join("thesis.tex").exists());
}

#[test]
fn a_wipe_clears_leftovers_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let before = store.state_id().to_owned();
    store.commit(epoch(1)).unwrap();
    drop(store);
    fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    fs::create_dir_all(dir.path().join("old-0/sub")).unwrap();
    Store::wipe(dir.path()).unwrap();
    Store::wipe(&dir.path().join("nowhere")).unwrap();
    let mut left: Vec<_> =
        fs::read_dir(dir.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    left.sort();
    assert_eq!(left, ["LOCK", "notes.txt"]);
    fs::remove_file(dir.path().join("notes.txt")).unwrap();
    fs::create_dir_all(dir.path().join("old-7")).unwrap();
    let store = open(dir.path());
    assert!(store.meta().epoch == 0 && store.state_id() != before);
    assert!(!dir.path().join("old-7").exists());
}

#[test]
fn a_catalogue_only_grows() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut grown = catalogue();
    grown.entries.push(state::CatalogueEntry {
        id: grown.next_id(),
        name: "daily".to_owned(),
        ..grown.entries[1].clone()
    });
    store.put_catalogue(&grown).unwrap();
    assert_eq!(store.catalogue().unwrap().unwrap().find(StateTableKind::View, "daily").unwrap().id, 4);
    let refused = |change: fn(&mut state::Catalogue)| {
        let mut changed = grown.clone();
        change(&mut changed);
        assert!(matches!(store.put_catalogue(&changed), Err(StateError::Catalogue(_))));
    };
    refused(|changed| drop(changed.entries.remove(0)));
    refused(|changed| changed.entries[0].fingerprint = "other".to_owned());
    refused(|changed| changed.entries[0].kind = StateTableKind::Arrangement);
    refused(|changed| changed.entries[3].id = 1);
    refused(|changed| changed.entries[3].id = u32::MAX);
    refused(|changed| changed.entries[3].name = "hourly".to_owned());
    store.commit(epoch(1)).unwrap();
}
