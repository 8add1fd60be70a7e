//! A reader in another process sees committed epochs, each one complete.

use crate::{TABLE, VIEW, counts, epoch, open, put};
use state::{Commit, StateError, Store, Writes};
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn it_follows_the_running_process() {
    let (dir, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path());
    let mut reader = Store::open_secondary(dir.path(), &scratch.path().join("reader")).unwrap();
    assert_eq!((reader.snapshot().epoch(), reader.state_id()), (0, store.state_id()));
    store.commit(Commit { counts: vec![counts(VIEW, &[("row", 2)])], ..put(1, "k", "v") }).unwrap();
    assert_eq!(reader.snapshot().epoch(), 0);
    assert_eq!(reader.refresh().unwrap(), 1);
    let snapshot = reader.snapshot();
    assert_eq!(snapshot.catalogue().unwrap(), Some(crate::catalogue()));
    assert_eq!(snapshot.get(TABLE, b"k").unwrap().as_deref(), Some(&b"v"[..]));
    let found = snapshot.multi_get(VIEW, [&b"no"[..], b"row"]).unwrap();
    assert!(found[0].is_none() && found[1].as_deref() == Some(&2i64.to_be_bytes()[..]));
    assert_eq!(snapshot.verify().unwrap(), Vec::<String>::new());
    drop(store);
    assert_eq!(Store::open_secondary(dir.path(), scratch.path()).unwrap().snapshot().epoch(), 1);
}

/// Every epoch writes its number to all keys and adds one to the view, while tables are flushed and logs
/// deleted all the time: a reader that missed a log would find two different numbers.
#[test]
fn it_never_sees_half_an_epoch() {
    let (dir, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path());
    let stop = AtomicBool::new(false);
    /// Stops the writer however the reader ends: a failed assertion must not hang the test.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for number in 1.. {
                let mut writes = Writes { table_id: TABLE, ..Writes::default() };
                for key in 0..50u32 {
                    writes.keys.push(&key.to_be_bytes());
                    writes.values.push(Some(&u64::to_be_bytes(number)));
                }
                let one = counts(VIEW, &[("epochs", 1)]);
                store.commit(Commit { writes: vec![writes], counts: vec![one], ..epoch(number) }).unwrap();
                if number % 10 == 0 {
                    store.flush().unwrap();
                    std::thread::sleep(std::time::Duration::from_millis(150));
                }
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let _stop = Stop(&stop);
        let mut reader = Store::open_secondary(dir.path(), scratch.path()).unwrap();
        let mut seen = 0;
        for _ in 0..30 {
            let epoch = reader.refresh().unwrap();
            assert!(epoch >= seen);
            seen = epoch;
            let (snapshot, mut keys) = (reader.snapshot(), 0);
            snapshot
                .scan(TABLE, b"", |_, value| {
                    assert_eq!(value, epoch.to_be_bytes());
                    keys += 1;
                    Ok::<_, StateError>(())
                })
                .unwrap();
            assert_eq!(keys, if epoch == 0 { 0 } else { 50 });
            let count = snapshot.get(VIEW, b"epochs").unwrap().and_then(|value| state::count_of(&value));
            assert_eq!(count.unwrap_or(0), epoch as i64);
        }
        assert!(seen > 3, "the writer must have made progress");
    });
}
