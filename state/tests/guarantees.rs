//! The guarantees of the state, one module each, and their shared helpers.

mod guarantees {
    mod bounded;
    mod commit;
    mod dead_letter;
    mod epochs;
    mod erasure;
    mod files;
    mod outbox;
    mod reading;
    mod refusals;
    mod secondary;
    mod survival;
}

use state::{
    Catalogue, CatalogueEntry, Commit, Counts, EntryFacts, StateTableKind, Store, StoreOptions, Writes,
};
use std::path::Path;

/// The state tables that the tests write to.
pub const TABLE: u32 = 1;
pub const VIEW: u32 = 2;
pub const OTHER: u32 = 3;

pub fn options() -> StoreOptions {
    let topology = Some("matches".to_owned());
    StoreOptions { create: true, topology, write_buffer_bytes: 32 << 20, ..StoreOptions::default() }
}

pub fn catalogue() -> Catalogue {
    let entry = |id, kind, name: &str| CatalogueEntry {
        id,
        kind,
        name: name.to_owned(),
        fingerprint: format!("f{id}"),
        schema: Some(serde_json::json!({"fields": []})),
        key: None,
        retention: None,
        index: None,
        facts: EntryFacts::default(),
    };
    let entries = vec![
        entry(TABLE, StateTableKind::Table, "matches"),
        entry(VIEW, StateTableKind::View, "hourly"),
        entry(OTHER, StateTableKind::Table, "players"),
    ];
    Catalogue { topology: "matches".to_owned(), entries, ..Catalogue::default() }
}

/// A store with the test's catalogue in a directory.
pub fn open(dir: &Path) -> Store {
    let store = Store::open(dir, &options()).unwrap();
    store.put_catalogue(&catalogue()).unwrap();
    store
}

pub fn writes(table_id: u32, pairs: &[(&str, Option<&str>)]) -> Writes {
    let mut writes = Writes { table_id, ..Writes::default() };
    for (key, value) in pairs {
        writes.keys.push(key.as_bytes());
        writes.values.push(value.map(str::as_bytes));
    }
    writes
}

pub fn counts(table_id: u32, pairs: &[(&str, i64)]) -> Counts {
    let mut counts = Counts { table_id, ..Counts::default() };
    for (row, diff) in pairs {
        counts.rows.push(row.as_bytes());
        counts.diffs.push(*diff);
    }
    counts
}

pub fn epoch(epoch: u64) -> Commit {
    Commit { epoch, commit_ms: 1_000 + epoch as i64, ..Commit::default() }
}

/// An epoch that puts one key of the table.
pub fn put(number: u64, key: &str, value: &str) -> Commit {
    Commit { writes: vec![writes(TABLE, &[(key, Some(value))])], ..epoch(number) }
}

/// The content of a state table as text, multiplicities as numbers.
pub fn content(store: &Store, table_id: u32) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    store
        .scan(table_id, b"", |key, value| {
            let value = match table_id {
                VIEW => state::count_of(value).unwrap().to_string(),
                _ => text(value),
            };
            found.push((text(key), value));
            Ok::<_, state::StateError>(())
        })
        .unwrap();
    found
}

pub fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
