//! A state that was given rows its tables do not lead to, in a view, in a side of a join, in the error table: it
//! is told, mended, and goes on as one that never met the fault.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};

use dataflows::maintenance::repair::{Repaired, repair};
use dataflows::maintenance::verify::{Derived, Finding, Subject, findings};
use dataflows::plan::state_role::StateRole;
use dataflows::plan::{Plan, Source};
use dataflows::render::Start;
use dataflows::runtime::state_tables::StateTables;
use dataflows::runtime::worker::Setup;
use dataflows::source::decoder;
use schemas::Records;
use state::{Commit, Counts, StateTableKind, Store, StoreOptions, Writes};

use crate::engine::{Engine, Options, plan};

const TOPOLOGY: &str = "
CREATE TABLE champions (champion_id INT, role VARCHAR, n BIGINT, PRIMARY KEY (champion_id))
ON CONFLICT OVERWRITE WITH (connector = 'file', path = 'champions') FORMAT PLAIN ENCODE JSON;
CREATE SOURCE live (champion_id INT, amount BIGINT) WITH (connector = 'file', path = 'live') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW roles AS SELECT role, count(*) AS n FROM champions GROUP BY role;
CREATE MATERIALIZED VIEW plain AS SELECT role FROM champions;
CREATE MATERIALIZED VIEW quotient AS SELECT champion_id, 10 / n AS q FROM champions;
CREATE MATERIALIZED VIEW found AS
  SELECT l.amount, c.role FROM live AS l JOIN champions AS c ON l.champion_id = c.champion_id;
CREATE MATERIALIZED VIEW amounts AS SELECT amount FROM live;
CREATE INDEX plain_by_role ON plain (role);
CREATE INDEX roles_by_n ON roles (n);
CREATE SINK roles_out FROM roles WITH (connector = 'blackhole', primary_key = 'role') FORMAT UPSERT ENCODE JSON;
";

const OPTIONS: Options = Options { workers: 2, in_flight: 1, cut: true };

fn feed(engine: &mut Engine, source: usize, from: i64, rows: &[&str]) {
    let mut records = Records::new(0);
    for (offset, row) in (from..).zip(rows) {
        records.push(offset, None, None, Some(row.as_bytes()));
    }
    engine.feed(source, records);
}

fn first(plan: &Arc<Plan>, dir: &Path) {
    let mut engine = Engine::open(plan, dir, &[1, 1], OPTIONS);
    let champions = [
        r#"{"champion_id":1,"role":"mage","n":5}"#,
        r#"{"champion_id":2,"role":"tank","n":0}"#,
        r#"{"champion_id":3,"role":"mage","n":2}"#,
    ];
    feed(&mut engine, 0, 0, &champions);
    feed(&mut engine, 1, 0, &[r#"{"champion_id":1,"amount":7}"#, r#"{"champion_id":2,"amount":8}"#]);
    engine.close(|_, _| {});
}

/// Changes and removals of every champion.
fn second(plan: &Arc<Plan>, dir: &Path) -> Vec<Vec<Vec<u8>>> {
    let mut engine = Engine::open(plan, dir, &[1, 1], OPTIONS);
    let champions = [
        r#"{"champion_id":1,"role":"tank","n":0}"#,
        r#"{"champion_id":2,"role":"mage","n":1}"#,
        r#"{"champion_id":3,"role":"tank","n":4}"#,
    ];
    feed(&mut engine, 0, 3, &champions);
    feed(&mut engine, 1, 2, &[r#"{"champion_id":3,"amount":9}"#]);
    engine.close(|_, _| {});
    let views = (0..plan.views.len()).map(|at| engine.view_rows(at).unwrap());
    let sorted = |rows: schemas::Rows| {
        let mut rows: Vec<Vec<u8>> = rows.iter().map(<[u8]>::to_vec).collect();
        rows.sort();
        rows
    };
    views.chain([engine.error_rows().unwrap()]).map(sorted).collect()
}

fn setup(plan: &Arc<Plan>, dir: &Path) -> Setup {
    let store = Arc::new(Store::open(dir, &StoreOptions::default()).unwrap());
    let committed = store.meta();
    Setup {
        plan: plan.clone(),
        state_tables: Arc::new(StateTables::of(plan, store.catalogue().unwrap().as_ref()).unwrap()),
        start: Start { epoch: committed.epoch, whole: true, anew: true },
        watermarks: plan.sources.iter().map(|_| Arc::new(AtomicI64::new(i64::MIN))).collect(),
        committed: Arc::new(AtomicU64::new(committed.epoch)),
        progress: Arc::new(committed.progress),
        abort: Arc::new(AtomicBool::new(false)),
        decoder: Arc::new(|source: &Source| decoder::of(source, &Arc::default())),
        joined_bytes: u64::MAX,
        totals: Arc::default(),
        store,
    }
}

/// One more copy of the first row of a state table, or its last copy gone.
fn poison(setup: &Setup, table_id: u32, diff: i64) {
    let mut counts = Counts { table_id, ..Counts::default() };
    let mut scan = setup.store.iter(table_id, &[]).unwrap();
    let (row, _) = scan.next_entry().unwrap().expect("a row");
    counts.rows.push(row);
    counts.diffs.push(diff);
    let held = setup.store.meta();
    let commit = Commit {
        epoch: held.epoch + 1,
        commit_ms: held.commit_ms,
        progress: held.progress,
        counts: vec![counts],
        ..Commit::default()
    };
    setup.store.commit(commit).unwrap();
}

fn wrong(found: &[Finding]) -> Vec<(Subject, &str)> {
    found.iter().filter(|found| !found.fine()).map(|found| (found.subject, found.name.as_str())).collect()
}

/// Holds that all views follow from what the state keeps, and are what follows.
pub fn sound(plan: &Arc<Plan>, dir: &Path) {
    let found = findings(&setup(plan, dir)).unwrap();
    assert_eq!(wrong(&found), []);
    let views: Vec<&Finding> = found.iter().filter(|found| found.subject == Subject::View).collect();
    assert_eq!(views.len(), plan.views.len());
    views.iter().for_each(|view| assert_eq!(view.derived, Derived::All, "{}", view.name));
}

fn mended(plan: &Arc<Plan>, dir: &Path) -> Repaired {
    let repaired = repair(&setup(plan, dir), 1).unwrap();
    let again = findings(&setup(plan, dir)).unwrap();
    assert_eq!(wrong(&again), []);
    assert_eq!(repair(&setup(plan, dir), 1).unwrap().epoch, None, "once is enough");
    repaired
}

#[test]
fn ghosts_of_views_joins_and_errors_are_mended() {
    let plan = plan(TOPOLOGY);
    let (good, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    first(&plan, good.path());
    let expected = second(&plan, good.path());

    first(&plan, dir.path());
    assert_eq!(wrong(&findings(&setup(&plan, dir.path())).unwrap()), []);
    let side = {
        let setup = setup(&plan, dir.path());
        let view = |name: &str| {
            let at = setup.plan.views.iter().position(|view| view.name == name).unwrap();
            assert!(setup.plan.views[at].key.is_none(), "{name} is counted");
            setup.state_tables.views[at]
        };
        let side = setup
            .state_tables
            .roles()
            .find(|(_, part, entry)| *part == StateRole::Right && entry.name.starts_with("found/"));
        let (.., side) = side.expect("the champions' side of the join");
        let (id, name) = (side.id, side.name.clone());
        [view("plain"), id, setup.state_tables.errors]
            .iter()
            .for_each(|table_id| poison(&setup, *table_id, 1));
        name
    };
    // Each poisoned epoch is a restart away from the next.
    let told = findings(&setup(&plan, dir.path())).unwrap();
    let places =
        [(Subject::View, "plain"), (Subject::Arrangement, side.as_str()), (Subject::Errors, "herald.errors")];
    assert_eq!(wrong(&told), places);
    let derived: Vec<Derived> = told.iter().filter(|f| f.name == "amounts").map(|f| f.derived).collect();
    assert_eq!(derived, [Derived::Nothing], "nothing keeps what an append-only source had");
    let repaired = mended(&plan, dir.path());
    assert_eq!(wrong(&repaired.findings), places);
    assert!(repaired.owed.is_empty() && repaired.unknown.is_empty(), "{repaired:?}");
    assert_eq!(second(&plan, dir.path()), expected);
}

/// One copy too many in an index of a view without a key, and a row too few in one of a view with a key.
#[test]
fn an_index_that_differs_from_its_view_is_mended() {
    let plan = plan(TOPOLOGY);
    let (good, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    first(&plan, good.path());
    let expected = second(&plan, good.path());
    first(&plan, dir.path());
    {
        let setup = setup(&plan, dir.path());
        let catalogue = setup.store.catalogue().unwrap().unwrap();
        let id = |name: &str| catalogue.find(StateTableKind::Index, name).unwrap().id;
        poison(&setup, id("plain_by_role"), 1);
        let mut writes = Writes { table_id: id("roles_by_n"), ..Writes::default() };
        let mut scan = setup.store.iter(writes.table_id, &[]).unwrap();
        writes.keys.push(scan.next_entry().unwrap().expect("a row").0);
        writes.values.push(None);
        drop(scan);
        let held = setup.store.meta();
        let (epoch, progress) = (held.epoch + 1, held.progress);
        let commit = Commit { epoch, progress, writes: vec![writes], ..Commit::default() };
        setup.store.commit(commit).unwrap();
        assert_eq!(setup.store.snapshot().unwrap().verify().unwrap().len(), 2);
    }
    let repaired = mended(&plan, dir.path());
    let places = [(Subject::Index, "roles_by_n"), (Subject::Index, "plain_by_role")];
    assert_eq!(wrong(&repaired.findings), places);
    let store = setup(&plan, dir.path()).store;
    assert_eq!(store.snapshot().unwrap().verify().unwrap(), Vec::<String>::new());
    drop(store);
    assert_eq!(second(&plan, dir.path()), expected);
}

#[test]
fn a_row_that_is_missing_comes_back() {
    let plan = plan(TOPOLOGY);
    let (good, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    first(&plan, good.path());
    let expected = second(&plan, good.path());
    first(&plan, dir.path());
    {
        let setup = setup(&plan, dir.path());
        let errors = setup.state_tables.errors;
        poison(&setup, errors, -1);
    }
    let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| second(&plan, dir.path())));
    assert!(refused.is_err(), "what is taken back was not there");
    mended(&plan, dir.path());
    assert_eq!(second(&plan, dir.path()), expected);
}

/// Topology with a condition on now() and a lookup.
const NEAR: &str = "
CREATE TABLE champions (champion_id INT, role VARCHAR, n BIGINT, PRIMARY KEY (champion_id))
ON CONFLICT OVERWRITE WITH (connector = 'file', path = 'champions') FORMAT PLAIN ENCODE JSON;
CREATE SOURCE live (champion_id INT, amount BIGINT, at TIMESTAMPTZ, WATERMARK FOR at AS at)
WITH (connector = 'file', path = 'live') FORMAT PLAIN ENCODE JSON;
CREATE TABLE held (held_id INT, champion_id INT, until TIMESTAMPTZ, PRIMARY KEY (held_id), WATERMARK FOR until AS until)
ON CONFLICT OVERWRITE WITH (connector = 'file', path = 'held') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW recent AS SELECT amount FROM live WHERE at > now() - INTERVAL '10 seconds';
CREATE MATERIALIZED VIEW total AS SELECT sum(amount) AS s, count(*) AS n FROM recent;
CREATE MATERIALIZED VIEW past AS SELECT amount FROM live WHERE at <= now();
CREATE MATERIALIZED VIEW still AS SELECT champion_id FROM held WHERE until > now() - INTERVAL '10 seconds';
CREATE MATERIALIZED VIEW roles AS
  SELECT h.held_id, c.role FROM held AS h JOIN champions FOR SYSTEM_TIME AS OF PROCTIME() AS c
  ON h.champion_id = c.champion_id;
";

#[test]
fn what_now_lets_in_is_derived_again_and_what_a_lookup_found_is_not() {
    let plan = plan(NEAR);
    let dir = tempfile::tempdir().unwrap();
    let epoch = |offset: i64, rows: [&[&str]; 3]| {
        let mut engine = Engine::open(&plan, dir.path(), &[1, 1, 1], OPTIONS);
        for (source, rows) in rows.into_iter().enumerate() {
            feed(&mut engine, source, offset, rows);
        }
        engine.close(|_, _| {});
        let sorted = |view: usize| {
            let mut rows: Vec<Vec<u8>> = engine.view_rows(view).unwrap().iter().map(<[u8]>::to_vec).collect();
            rows.sort();
            rows
        };
        (0..plan.views.len()).map(sorted).collect::<Vec<_>>()
    };
    let live = |amount: i64, second: i64| {
        format!(r#"{{"champion_id":1,"amount":{amount},"at":"2026-01-31T12:00:{second:02}Z"}}"#)
    };
    let held = |id: i64, champion: i64, second: i64| {
        let until = format!("2026-01-31T12:00:{second:02}Z");
        format!(r#"{{"held_id":{id},"champion_id":{champion},"until":"{until}"}}"#)
    };
    epoch(
        0,
        [
            &[r#"{"champion_id":1,"role":"mage"}"#, r#"{"champion_id":2,"role":"tank"}"#],
            &[&live(7, 0), &live(8, 9), &live(9, 15)],
            &[&held(1, 1, 1), &held(2, 2, 14), &held(3, 1, 15)],
        ],
    );
    let before = epoch(9, [&[r#"{"champion_id":1,"role":"tank"}"#], &[], &[]]);
    let told = findings(&setup(&plan, dir.path())).unwrap();
    assert_eq!(wrong(&told), []);
    let derived = |name: &str| told.iter().find(|f| f.name == name).map(|f| f.derived);
    let all = ["recent", "total", "past", "still", "roles"].map(derived);
    let (whole, nothing) = (Some(Derived::All), Some(Derived::Nothing));
    assert_eq!(all, [whole, whole, nothing, whole, nothing]);
    {
        let setup = setup(&plan, dir.path());
        for view in ["recent", "still"] {
            let at = setup.plan.views.iter().position(|known| known.name == view).unwrap();
            poison(&setup, setup.state_tables.views[at], 1);
        }
    }
    let repaired = mended(&plan, dir.path());
    assert_eq!(wrong(&repaired.findings), [(Subject::View, "recent"), (Subject::View, "still")]);
    assert_eq!(epoch(18, [&[], &[], &[]]), before);
    // The mage is a tank by now: what was found is taken back, and the new lookup finds what stands there.
    let after = epoch(27, [&[], &[&live(1, 30)], &[&held(1, 2, 40)]]);
    let roles = |rows: &[Vec<Vec<u8>>]| rows[4].len();
    assert_eq!((roles(&before), roles(&after)), (3, 3));
    assert_eq!((after[0].len(), after[3].len()), (1, 1));
    assert_eq!(wrong(&findings(&setup(&plan, dir.path())).unwrap()), []);
}
