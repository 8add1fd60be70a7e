//! States of earlier releases: groups with min and max over rows that are never taken back had an index of all values.

use dataflows::runtime::engine::Folded;
use state::{Commit, StateTableKind, Store, Writes};

use crate::edits::{AFTER, BEFORE, OPTIONS, assert_same, feed, fold, topology};
use crate::engine::{Engine, Options};

/// A stored total: its rows, and count, kind and value of each accumulator.
type StoredTotal<'a> = (&'a [u8], Vec<(i64, u8, &'a [u8])>);

/// Reads a total of integers and least values, whose kinds are 0 and 4.
fn read_total(bytes: &[u8]) -> StoredTotal<'_> {
    let (rows, rest) = bytes.split_at(8);
    let (accumulators, mut rest) = rest.split_first().unwrap();
    let mut found = Vec::new();
    for _ in 0..*accumulators {
        let (head, tail) = rest.split_at(9);
        let (len, tail) = match head[8] {
            0 => (16, tail),
            4 => (u32::from_le_bytes(tail[..4].try_into().unwrap()) as usize, &tail[4..]),
            kind => panic!("an accumulator of kind {kind}"),
        };
        found.push((i64::from_le_bytes(head[..8].try_into().unwrap()), head[8], &tail[..len]));
        rest = &tail[len..];
    }
    assert!(rest.is_empty());
    (rows, found)
}

/// Rewrites groups with min and max of a state as earlier releases stored them: with a row for each value.
fn index_extremes(store: &Store) {
    let mut writes = Vec::new();
    for entry in store.catalogue().unwrap().unwrap().entries {
        if entry.kind != StateTableKind::Arrangement {
            continue;
        }
        let mut write = Writes { table_id: entry.id, ..Writes::default() };
        let mut scan = store.iter(entry.id, &[]).unwrap();
        while let Some((key, value)) = scan.next_entry().unwrap() {
            let (rows, accumulators) = read_total(value);
            let mut others = Vec::new();
            // Each aggregate has one accumulator, so its place is that of the aggregate.
            for (at, (n, kind, value)) in accumulators.into_iter().enumerate() {
                if kind != 4 {
                    others.push([&n.to_le_bytes()[..], &[kind], value].concat());
                    continue;
                }
                // The least value, and another one behind it.
                for (rest, count) in [(&b""[..], n - 1), (b"z", 1)] {
                    write.keys.push(&[key, &[at as u8], value, rest].concat());
                    write.values.push(Some(&[&count.to_le_bytes()[..], &[0]].concat()));
                }
            }
            write.keys.push(key);
            write.values.push(Some(&[rows, &[others.len() as u8], &others.concat()].concat()));
        }
        drop(scan);
        writes.push(write);
    }
    let held = store.meta();
    let (epoch, progress) = (held.epoch + 1, held.progress);
    store.commit(Commit { epoch, progress, writes, ..Commit::default() }).unwrap();
}

#[test]
fn groups_whose_extremes_an_earlier_release_indexed_go_on() {
    let extremes = "CREATE MATERIALIZED VIEW extremes AS
      SELECT team, max(power) AS hi, count(*) AS n, min(shot_at) AS first, sum(power) AS p FROM shots GROUP BY team;
      CREATE MATERIALIZED VIEW best AS SELECT team, max(power) AS hi, min(power) AS lo FROM shots GROUP BY team;";
    // Above groups that stay in the state, and above such that are read at a start.
    let above = "CREATE MATERIALIZED VIEW ranked AS
      SELECT b.team, b.hi, t.league, e.first FROM best AS b JOIN extremes AS e ON b.team = e.team
      LEFT JOIN teams AS t ON t.team = b.team;";
    for parts in [&[extremes][..], &[extremes, above]] {
        let plan = topology(parts);
        let [dir, anew] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let [mut folded, mut of_anew] = [(); 2].map(|()| Folded::default());
        let mut fresh = Engine::open(&plan, anew.path(), &[1, 1, 1], OPTIONS);
        feed(&mut fresh, BEFORE, false, |done| fold(&mut of_anew, &plan, done));
        feed(&mut fresh, AFTER, true, |done| fold(&mut of_anew, &plan, done));
        {
            let mut engine = Engine::open(&plan, dir.path(), &[1, 1, 1], OPTIONS);
            feed(&mut engine, BEFORE, false, |done| fold(&mut folded, &plan, done));
            index_extremes(engine.store());
        }
        // The first start changes nothing, the second some groups, and the third finds both forms.
        drop(Engine::open(&plan, dir.path(), &[1, 1, 1], OPTIONS));
        let mut engine = Engine::open(&plan, dir.path(), &[1, 1, 1], Options { workers: 3, ..OPTIONS });
        feed(&mut engine, AFTER, true, |done| fold(&mut folded, &plan, done));
        assert_same(&engine, &fresh, &plan, (&folded, &of_anew));
        drop(engine);
        let engine = Engine::open(&plan, dir.path(), &[1, 1, 1], Options { workers: 1, ..OPTIONS });
        assert_same(&engine, &fresh, &plan, (&folded, &of_anew));
        let stored = |engine: &Engine| {
            let mut rows = Vec::new();
            for entry in engine.store().catalogue().unwrap().unwrap().entries {
                let mut scan = engine.store().iter(entry.id, &[]).unwrap();
                while let Some((key, value)) = scan.next_entry().unwrap() {
                    if entry.kind == StateTableKind::Arrangement {
                        rows.push((entry.id, key.to_vec(), value.to_vec()));
                    }
                }
            }
            rows
        };
        assert_eq!(
            stored(&engine),
            stored(&fresh),
            "changed groups are as if they had been stored so at first"
        );
    }
}
