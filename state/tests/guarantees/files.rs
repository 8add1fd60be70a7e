//! A flipped bit in any file of a state is detected; new files are accessible to their owner alone.

use crate::{OTHER, TABLE, VIEW, counts, epoch, open, options, writes};
use rand::{RngExt, SeedableRng};
use state::{Commit, OutboxChunk, Store};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Tables of several flushes, and a log that was never flushed.
fn filled(dir: &Path) -> Store {
    let store = open(dir);
    for number in 1..=60u64 {
        let keys: Vec<String> = (0..40).map(|n| format!("key {}", number * 37 + n)).collect();
        let pairs: Vec<(&str, Option<&str>)> = keys.iter().map(|key| (key.as_str(), Some("value"))).collect();
        let rows: Vec<(&str, i64)> = keys.iter().map(|key| (key.as_str(), 1)).collect();
        let commit = Commit {
            writes: vec![writes(TABLE, &pairs), writes(OTHER, &pairs)],
            counts: vec![counts(VIEW, &rows)],
            outbox: vec![OutboxChunk { cluster: 0, part: 0, bytes: b"output".repeat(20) }],
            dead_letters: vec![b"letter".repeat(9)],
            ..epoch(number)
        };
        store.commit(commit).unwrap();
        if [20, 40].contains(&number) {
            store.flush().unwrap();
        }
    }
    store
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Files that hold committed data or locate it.
fn holding(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir.join("db")).unwrap().flatten().map(|entry| entry.path());
    let holds = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        let kinds = name.ends_with(".sst") || name.ends_with(".log") || name.starts_with("MANIFEST");
        (kinds || name == "CURRENT") && path.metadata().unwrap().len() > 0
    };
    files.filter(holds).chain([dir.join("HERALD")]).collect()
}

/// The first finding in a state, as `herald state verify` reports it.
fn found(dir: &Path) -> Option<String> {
    match Store::check_files(dir) {
        Err(error) => return Some(error.to_string()),
        Ok(checked) if !checked.damaged.is_empty() => return Some(checked.damaged.join("; ")),
        Ok(_) => {}
    }
    let store = match Store::open(dir, &options()) {
        Err(error) => return Some(error.to_string()),
        Ok(store) => store,
    };
    match store.snapshot().unwrap().verify() {
        Err(error) => Some(error.to_string()),
        Ok(findings) => (!findings.is_empty()).then(|| findings.join("; ")),
    }
}

#[test]
fn a_flipped_bit_is_found_wherever_it_is() {
    let (dir, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let whole = scratch.path().join("whole");
    let store = filled(dir.path());
    // The state as a kill leaves it: with a log.
    copy(dir.path(), &whole);
    let checked = Store::check_files(&whole).unwrap();
    assert!(checked.tables >= 4 && checked.records > 20, "{checked:?}");
    assert!(checked.damaged.is_empty() && checked.torn.is_empty(), "{checked:?}");
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(17);
    let files = holding(&whole);
    for file in &files {
        let bytes = fs::read(file).unwrap();
        // Filters, lists and footer are at the end of a table file.
        let tail = bytes.len().saturating_sub(2_000);
        for trial in 0..14 {
            let from = if trial % 2 == 0 { tail } else { 0 };
            let (at, bit) = (random.random_range(from..bytes.len()), random.random_range(0..8));
            let broken = scratch.path().join("broken");
            copy(&whole, &broken);
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            fs::write(broken.join(file.strip_prefix(&whole).unwrap()), flipped).unwrap();
            let name = file.file_name().unwrap();
            assert!(found(&broken).is_some(), "byte {at}, bit {bit} of {name:?} ({} bytes)", bytes.len());
            fs::remove_dir_all(&broken).unwrap();
        }
    }
    drop(store);
    assert_eq!(found(&whole), None);
}

#[test]
fn a_damaged_log_is_told_and_left_alone() {
    let (dir, copied) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path());
    for number in 1..=9 {
        store.commit(epoch(number)).unwrap();
    }
    copy(dir.path(), copied.path());
    let log = holding(copied.path()).into_iter().find(|path| path.extension().is_some_and(|e| e == "log"));
    let log = log.unwrap();
    let mut bytes = fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&log, &bytes).unwrap();
    let checked = Store::check_files(copied.path()).unwrap();
    assert!(checked.damaged[0].contains("does not fit its checksum"), "{checked:?}");
    assert_eq!(fs::read(&log).unwrap(), bytes, "nothing was changed");
    // A log cut within its last record is the trace of a crash, not damage.
    fs::write(&log, &bytes[..40]).unwrap();
    let checked = Store::check_files(copied.path()).unwrap();
    assert!(checked.damaged.is_empty() && checked.torn.len() == 1, "{checked:?}");
}

#[test]
fn what_is_made_is_its_owners_alone() {
    let parent = tempfile::tempdir().unwrap();
    let (dir, backup) = (parent.path().join("a/state"), parent.path().join("backup"));
    drop(open(&dir));
    let store = open(&dir);
    store.commit(epoch(1)).unwrap();
    store.checkpoint(&backup).unwrap();
    drop(store);
    let restored = parent.path().join("restored");
    Store::restore(&backup, &restored, None).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for root in [&parent.path().join("a"), &dir, &backup, &restored] {
        assert_eq!(mode(root), 0o700, "{}", root.display());
    }
    for root in [&dir, &backup, &restored] {
        assert_eq!(mode(&root.join("db")), 0o700);
        assert_eq!(mode(&root.join("HERALD")), 0o600);
    }
    for root in [&backup, &restored] {
        for entry in fs::read_dir(root.join("db")).unwrap().flatten() {
            assert_eq!(mode(&entry.path()), 0o600, "{}", entry.path().display());
        }
    }
}
