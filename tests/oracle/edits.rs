//! Edited topologies over the state of an earlier text: whatever came, went or changed, every view and sink is as
//! that of the new text over the whole history, and sinks that nothing changed for are sent nothing.

use std::path::Path;
use std::sync::Arc;

use dataflows::plan::{Op, Plan, Source};
use dataflows::render::aggregates::cache::CacheRoom;
use dataflows::runtime::engine::{self, Committed, Folded, Opening};
use dataflows::runtime::state_tables::follows_from_tables;
use dataflows::source::decoder;
use schemas::Records;
use state::{StateTableKind, Store};

use crate::engine::{Engine, Options, plan};
use crate::rows::{difference, errors, of_sink, of_view, sort};

const SOURCES: &str = "
CREATE TABLE games (game INT, team VARCHAR, points BIGINT, PRIMARY KEY (game))
ON CONFLICT OVERWRITE WITH (connector = 'file', path = 'games') FORMAT PLAIN ENCODE JSON;
CREATE TABLE teams (team VARCHAR, league VARCHAR, PRIMARY KEY (team))
ON CONFLICT OVERWRITE WITH (connector = 'file', path = 'teams') FORMAT PLAIN ENCODE JSON;
CREATE SOURCE shots (team VARCHAR, power BIGINT, shot_at TIMESTAMPTZ,
  WATERMARK FOR shot_at AS shot_at - INTERVAL '1 minute')
WITH (connector = 'file', path = 'shots') FORMAT PLAIN ENCODE JSON;
";
const PER_TEAM: &str = "CREATE MATERIALIZED VIEW per_team AS SELECT team, count(*) AS n, sum(points) AS s FROM games GROUP BY team;";
const POWERS: &str = "CREATE MATERIALIZED VIEW powers AS SELECT team, sum(power) AS p, max(power) AS hi FROM shots GROUP BY team;";
const MINUTES: &str = "CREATE MATERIALIZED VIEW minutes AS
  SELECT window_start, team, count(*) * 2 AS n FROM TUMBLE(shots, shot_at, INTERVAL '1 minute')
  GROUP BY window_start, window_end, team;";
const PER_TEAM_OUT: &str = "CREATE SINK per_team_out FROM per_team
  WITH (connector = 'blackhole', primary_key = 'team') FORMAT UPSERT ENCODE JSON;";

/// Records by source, before the edit and after it; late, corrected and failing ones are among them.
pub const BEFORE: [&[&str]; 3] = [
    &[
        r#"{"game":1,"team":"red","points":3}"#,
        r#"{"game":2,"team":"blue","points":0}"#,
        r#"{"game":3,"team":"red","points":5}"#,
    ],
    &[r#"{"team":"red","league":"a"}"#, r#"{"team":"blue","league":"b"}"#],
    &[
        r#"{"team":"red","power":4,"shot_at":"2026-01-01T10:00:10Z"}"#,
        r#"{"team":"blue","power":2,"shot_at":"2026-01-01T10:01:00Z"}"#,
        r#"{"team":"red","power":6,"shot_at":"2026-01-01T10:09:00Z"}"#,
    ],
];
pub const AFTER: [&[&str]; 3] = [
    &[r#"{"game":2,"team":"red","points":2}"#, r#"{"game":4,"team":"green","points":1}"#],
    &[r#"{"team":"red","league":"b"}"#],
    &[
        r#"{"team":"red","power":1,"shot_at":"2026-01-01T10:08:30Z"}"#,
        r#"{"team":"blue","power":9,"shot_at":"2026-01-01T10:30:00Z"}"#,
    ],
];

/// No sink.
const NONE: [usize; 0] = [];
pub const OPTIONS: Options = Options { workers: 2, in_flight: 1, cut: true };

pub fn topology(parts: &[&str]) -> Arc<Plan> {
    plan(&format!("{SOURCES}{}", parts.concat()))
}

/// Feeds records of all sources behind `BEFORE` (`later`) or at the beginning, an epoch for each source.
pub fn feed(engine: &mut Engine, rows: [&[&str]; 3], later: bool, mut sent: impl FnMut(&Committed)) {
    for (source, rows) in rows.into_iter().enumerate() {
        let mut records = Records::new(0);
        let first = if later { BEFORE[source].len() } else { 0 };
        for (offset, row) in (first..).zip(rows) {
            records.push(offset as i64, None, None, Some(row.as_bytes()));
        }
        engine.feed(source, records);
        engine.close(|_, done| sent(&done));
    }
}

pub fn fold(folded: &mut Folded, plan: &Plan, done: &Committed) {
    for sinks in &done.sinks {
        folded.apply(plan, sinks).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Sinks that an epoch sends something.
fn sent(done: &Committed) -> Vec<usize> {
    let mut sent = Vec::new();
    for sinks in &done.sinks {
        sent.extend(sinks.iter().filter(|(_, delta)| !delta.diffs.is_empty()).map(|(at, _)| *at));
    }
    sent.sort_unstable();
    sent.dedup();
    sent
}

/// Holds that views, failed rows and the sinks of `folded` are as those of the engine `fresh`.
pub fn assert_same(found: &Engine, fresh: &Engine, plan: &Plan, (folded, anew): (&Folded, &Folded)) {
    for (at, view) in plan.views.iter().enumerate() {
        let schema = &plan.rels[view.rel].schema;
        let [mut found, mut wanted] = [found, fresh].map(|engine| of_view(engine, schema, at));
        sort(&mut found);
        sort(&mut wanted);
        if let Some(difference) = difference(&found, &wanted) {
            panic!("view {}\n{difference}", view.name);
        }
    }
    let [mut failed, mut wanted] = [errors(found), errors(fresh)];
    sort(&mut failed);
    sort(&mut wanted);
    assert_eq!(failed, wanted, "rows that fail");
    for (at, sink) in plan.sinks.iter().enumerate() {
        if let Some(difference) = difference(&of_sink(folded, plan, at), &of_sink(anew, plan, at)) {
            panic!("sink {}\n{difference}", sink.name);
        }
    }
}

/// Runs one text, then the other, and compares with a run of the other over everything: after the edit, at the end, and
/// after one more restart. Returns the sinks that the edit sent something. Sinks have one place in both texts.
fn edited(before: &[&str], after: &[&str]) -> Vec<usize> {
    edited_from((&topology(before), &topology(after)), |_| {})
}

/// The same of plans; `left` is done to the state that the first run leaves.
fn edited_from((old, new): (&Arc<Plan>, &Arc<Plan>), left: impl FnOnce(&Store)) -> Vec<usize> {
    let (dir, anew) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut folded, mut of_anew) = (Folded::default(), Folded::default());
    {
        let mut engine = Engine::open(old, dir.path(), &[1, 1, 1], OPTIONS);
        feed(&mut engine, BEFORE, false, |done| fold(&mut folded, old, done));
        left(engine.store());
    }
    let mut fresh = Engine::open(new, anew.path(), &[1, 1, 1], OPTIONS);
    feed(&mut fresh, BEFORE, false, |done| fold(&mut of_anew, new, done));
    let mut engine = Engine::open(new, dir.path(), &[1, 1, 1], Options { workers: 3, ..OPTIONS });
    let filled = engine.filled();
    assert!(!filled.is_empty(), "an epoch of the edit");
    for done in &filled {
        fold(&mut folded, new, done);
    }
    assert!(!engine.is_filling());
    assert_same(&engine, &fresh, new, (&folded, &of_anew));
    feed(&mut engine, AFTER, true, |done| fold(&mut folded, new, done));
    feed(&mut fresh, AFTER, true, |done| fold(&mut of_anew, new, done));
    assert_same(&engine, &fresh, new, (&folded, &of_anew));
    drop(engine);
    let mut engine = Engine::open(new, dir.path(), &[1, 1, 1], Options { workers: 1, ..OPTIONS });
    assert!(engine.filled().is_empty(), "nothing is left to do");
    assert_same(&engine, &fresh, new, (&folded, &of_anew));
    assert_eq!(engine.store().snapshot().unwrap().verify().unwrap(), Vec::<String>::new());
    edited_in_pieces((old, new), (&fresh, &of_anew));
    let mut sinks: Vec<usize> = filled.iter().flat_map(sent).collect();
    sinks.sort_unstable();
    sinks.dedup();
    sinks
}

/// Runs one text, then the other in pieces of a row with records between them, stopped after each piece and going on with
/// other workers; some of the stops lose a piece. Compares the end with that of the run `fresh` of the other text.
/// Returns the number of starts.
fn edited_in_pieces((old, new): (&Arc<Plan>, &Arc<Plan>), (fresh, of_anew): (&Engine, &Folded)) -> usize {
    let (dir, mut folded) = (tempfile::tempdir().unwrap(), Folded::default());
    {
        let mut engine = Engine::open(old, dir.path(), &[1, 1, 1], OPTIONS);
        feed(&mut engine, BEFORE, false, |done| fold(&mut folded, old, done));
    }
    let mut later = Vec::new();
    for (source, rows) in AFTER.into_iter().enumerate() {
        later.extend((BEFORE[source].len()..).zip(rows).map(|(offset, row)| (source, offset, *row)));
    }
    let mut later = later.into_iter();
    for starts in 1.. {
        assert!(starts < 100, "a filling that does not end");
        let loses = starts % 3 == 0;
        let options = Options { workers: 1 + starts % 4, in_flight: if loses { 2 } else { 1 }, ..OPTIONS };
        let mut engine = Engine::open_filling(new, dir.path(), &[1, 1, 1], (options, 1));
        for done in engine.filled() {
            fold(&mut folded, new, &done);
        }
        let filling = engine.is_filling();
        while let Some((source, offset, row)) = if loses && filling { None } else { later.next() } {
            let mut record = Records::new(0);
            record.push(offset as i64, None, None, Some(row.as_bytes()));
            engine.feed(source, record);
            if filling {
                break;
            }
            engine.close(|_, done| fold(&mut folded, new, &done));
        }
        if filling {
            engine.close(|_, done| fold(&mut folded, new, &done));
            continue;
        }
        engine.finish(|_, done| fold(&mut folded, new, &done));
        assert_same(&engine, fresh, new, (&folded, of_anew));
        assert_eq!(engine.store().snapshot().unwrap().verify().unwrap(), Vec::<String>::new());
        let catalogue = engine.store().catalogue().unwrap().unwrap();
        assert!(!catalogue.is_filling() && catalogue.leaving.is_empty());
        return starts;
    }
    unreachable!("it returns")
}

/// The reason for which an edit is refused.
fn refused(before: &[&str], after: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    {
        let mut engine = Engine::open(&topology(before), dir.path(), &[1, 1, 1], OPTIONS);
        feed(&mut engine, BEFORE, false, |_| {});
    }
    let held = held_catalogue(dir.path(), &topology(before));
    let opened = engine::Engine::open(Opening {
        plan: &plan(after),
        dir: dir.path(),
        partitions: vec![],
        workers: 1,
        totals_bytes: CacheRoom::DEFAULT_BYTES,
        decoder: Arc::new(|source: &Source| decoder::of(source, &Arc::default())),
    });
    let refused = opened.err().expect("a refusal").to_string();
    assert_eq!(held_catalogue(dir.path(), &topology(before)), held, "a refusal changes nothing");
    refused
}

fn held_catalogue(dir: &Path, plan: &Arc<Plan>) -> Option<state::Catalogue> {
    Engine::open(plan, dir, &[1, 1, 1], OPTIONS).store().catalogue().unwrap()
}

const LEAGUES: &str = "CREATE MATERIALIZED VIEW leagues AS SELECT t.league, count(*) AS n, sum(g.points) AS s
  FROM games AS g JOIN teams AS t ON g.team = t.team GROUP BY t.league;";

#[test]
fn groups_that_an_earlier_release_summed_at_each_start_are_filled() {
    let kinds = "CREATE MATERIALIZED VIEW kinds AS SELECT DISTINCT team, points > 2 AS many FROM games;";
    let new = topology(&[PER_TEAM, PER_TEAM_OUT, LEAGUES, kinds, POWERS]);
    let mut old = Plan::clone(&new);
    let mut summed = 0;
    for id in 0..old.rels.len() {
        let groups = matches!(old.rels[id].op, Op::Aggregate { .. } | Op::Distinct { .. });
        if groups && follows_from_tables(&old, id) {
            old.rels[id].durable = false;
            summed += 1;
        }
    }
    assert_eq!(summed, 3);
    let old = Arc::new(old);
    assert_eq!(edited_from((&old, &new), |_| {}), NONE);
    // As in states that do not say what an edit goes by.
    let forget = |store: &Store| {
        let mut held = store.catalogue().unwrap().unwrap();
        for entry in &mut held.entries {
            entry.facts.edition = None;
        }
        store.put_catalogue(&held).unwrap();
    };
    assert_eq!(edited_from((&old, &new), forget), NONE);
}

#[test]
fn a_view_comes_and_goes() {
    assert_eq!(edited(&[PER_TEAM, PER_TEAM_OUT], &[PER_TEAM, LEAGUES, PER_TEAM_OUT]), NONE);
    assert_eq!(edited(&[LEAGUES, PER_TEAM, PER_TEAM_OUT], &[PER_TEAM, PER_TEAM_OUT]), NONE);
    // Above one over an append-only source, and in front of it.
    let best = "CREATE MATERIALIZED VIEW best AS SELECT p, count(*) AS n FROM powers GROUP BY p;";
    assert_eq!(edited(&[POWERS], &[POWERS, best]), NONE);
    assert_eq!(edited(&[PER_TEAM, POWERS], &[LEAGUES, POWERS, PER_TEAM]), NONE);
}

#[test]
fn rows_of_tables_come_in_pieces_and_sinks_send_once_they_are_whole() {
    let shown =
        |filter: &str| format!("CREATE MATERIALIZED VIEW shown AS SELECT game, team FROM games {filter};");
    let out = "CREATE SINK shown_out FROM shown
      WITH (connector = 'blackhole', primary_key = 'game') FORMAT UPSERT ENCODE JSON;";
    let (old, new) = (topology(&[&shown(""), out]), topology(&[&shown("WHERE game <> 2"), LEAGUES, out]));
    let dir = tempfile::tempdir().unwrap();
    {
        let mut engine = Engine::open(&old, dir.path(), &[1, 1, 1], OPTIONS);
        feed(&mut engine, BEFORE, false, |_| {});
    }
    let mut engine = Engine::open_filling(&new, dir.path(), &[1, 1, 1], (OPTIONS, 1));
    let mut epochs = engine.filled();
    assert_eq!(epochs.len(), 1);
    assert!(engine.store().catalogue().unwrap().unwrap().is_filling());
    let held = |engine: &Engine| of_view(engine, &new.rels[new.views[0].rel].schema, 0).len();
    let mut held_rows = vec![held(&engine)];
    while engine.is_filling() {
        engine.close(|engine, done| {
            held_rows.push(held(engine));
            epochs.push(done);
        });
    }
    // Two rows of each view, mostly in groups of their own, and the end.
    assert!(epochs.len() >= 4, "{} epochs", epochs.len());
    assert!(held_rows.is_sorted() && held_rows.first() < Some(&2), "{held_rows:?}");
    assert_eq!(held_rows.last(), Some(&2));
    let last = epochs.pop().expect("the last epoch");
    assert!(epochs.iter().all(|done| sent(done).is_empty()), "before all is filled");
    let deltas = last.sinks.iter().filter_map(|sinks| sinks.get(&0));
    let diffs: Vec<i64> = deltas.flat_map(|delta| delta.diffs.iter().copied()).collect();
    assert_eq!(diffs, [-1], "the tombstone of game 2 alone");
}

#[test]
fn another_edit_gives_up_what_the_first_has_not_filled() {
    let dir = tempfile::tempdir().unwrap();
    {
        let mut engine = Engine::open(&topology(&[PER_TEAM]), dir.path(), &[1, 1, 1], OPTIONS);
        feed(&mut engine, BEFORE, false, |_| {});
    }
    let both = topology(&[PER_TEAM, LEAGUES]);
    assert!(Engine::open_filling(&both, dir.path(), &[1, 1, 1], (OPTIONS, 1)).is_filling());
    // It goes on from what is whole: the first view is there, the second is filled anew.
    let engine = Engine::open(&topology(&[LEAGUES]), dir.path(), &[1, 1, 1], OPTIONS);
    assert!(!engine.is_filling());
    let names: Vec<String> = engine
        .store()
        .catalogue()
        .unwrap()
        .unwrap()
        .entries
        .into_iter()
        .filter(|entry| entry.kind == StateTableKind::View && !entry.name.starts_with("herald."))
        .map(|entry| entry.name)
        .collect();
    assert_eq!(names, ["leagues"]);
}

#[test]
fn a_renamed_view_keeps_its_state_and_sends_nothing() {
    let renamed =
        |text: &str| text.replace("per_team", "team_points").replace("team_points_out", "per_team_out");
    assert_eq!(edited(&[PER_TEAM, PER_TEAM_OUT], &[&renamed(PER_TEAM), &renamed(PER_TEAM_OUT)]), NONE);
    assert_eq!(edited(&[POWERS], &[&POWERS.replace("powers", "strength")]), NONE);
}

#[test]
fn a_changed_view_sends_the_difference() {
    let others = PER_TEAM.replace("FROM games", "FROM games WHERE points > 0");
    assert_eq!(edited(&[PER_TEAM, PER_TEAM_OUT], &[&others, PER_TEAM_OUT]), [0_usize]);
    // Another text for the same rows.
    let same = PER_TEAM.replace("sum(points)", "sum(points + 0)");
    assert_eq!(edited(&[PER_TEAM, PER_TEAM_OUT], &[&same, PER_TEAM_OUT]), NONE);
    let wider = PER_TEAM.replace("count(*) AS n", "count(*) AS n, max(points) AS hi");
    assert_eq!(edited(&[PER_TEAM, PER_TEAM_OUT], &[&wider, PER_TEAM_OUT]), [0_usize]);
    let debezium = PER_TEAM_OUT.replace("UPSERT", "DEBEZIUM");
    assert_eq!(edited(&[PER_TEAM, &debezium], &[&others, &debezium]), [0_usize]);
}

/// A view that is filled by INSERTs, as an edited UNION ALL: the view above it changes, what is beside them goes on.
#[test]
fn an_insert_more_is_the_edit_of_a_union() {
    let model = "CREATE MATERIALIZED VIEW members (kind VARCHAR, team VARCHAR, n DOUBLE);";
    let games = "INSERT INTO members SELECT 'game', team, points FROM games;";
    let teams = "INSERT INTO members (team, kind) SELECT team, league FROM teams;";
    let above = "CREATE MATERIALIZED VIEW kinds AS SELECT kind, count(*) AS c, sum(n) AS n FROM members GROUP BY kind;
      CREATE SINK kinds_out FROM kinds WITH (connector = 'blackhole', primary_key = 'kind') FORMAT UPSERT ENCODE JSON;";
    let (one, two) =
        ([PER_TEAM, PER_TEAM_OUT, model, games, above], [PER_TEAM, PER_TEAM_OUT, model, games, teams, above]);
    assert_eq!(edited(&one, &two), [1]);
    assert_eq!(edited(&two, &one), [1]);
    // Written as a UNION ALL it is the same text: nothing changes.
    let union = "CREATE VIEW a AS SELECT 'game' AS kind, team, CAST(points AS DOUBLE) AS n FROM games;
      CREATE VIEW b AS SELECT league AS kind, team, CAST(NULL AS DOUBLE) AS n FROM teams;
      CREATE MATERIALIZED VIEW members AS SELECT * FROM a UNION ALL SELECT * FROM b;";
    let as_union = [PER_TEAM, PER_TEAM_OUT, union, above];
    let dir = tempfile::tempdir().unwrap();
    feed(&mut Engine::open(&topology(&two), dir.path(), &[1, 1, 1], OPTIONS), BEFORE, false, |_| ());
    let mut engine = Engine::open(&topology(&as_union), dir.path(), &[1, 1, 1], OPTIONS);
    assert!(engine.filled().is_empty(), "no edit");
    let (again, mut folded) = (tempfile::tempdir().unwrap(), Folded::default());
    let plan = topology(&as_union);
    let mut fresh = Engine::open(&plan, again.path(), &[1, 1, 1], OPTIONS);
    feed(&mut fresh, BEFORE, false, |done| fold(&mut folded, &plan, done));
    assert_same(&engine, &fresh, &plan, (&folded, &folded));
}

#[test]
fn a_new_sink_is_sent_all() {
    assert_eq!(edited(&[PER_TEAM], &[PER_TEAM, PER_TEAM_OUT]), [0_usize]);
    let powers_out = PER_TEAM_OUT.replace("per_team", "powers");
    assert_eq!(
        edited(&[POWERS, PER_TEAM, PER_TEAM_OUT], &[POWERS, PER_TEAM, PER_TEAM_OUT, &powers_out]),
        [1_usize]
    );
}

#[test]
fn a_projection_above_kept_state_gets_a_column() {
    let before = "CREATE MATERIALIZED VIEW shown AS SELECT team, p FROM powers;";
    let after = "CREATE MATERIALIZED VIEW shown AS SELECT team, p, p * 2 AS twice FROM powers;";
    assert_eq!(edited(&[POWERS, before], &[POWERS, after]), NONE);
}

#[test]
fn old_and_new_are_joined() {
    let both = "CREATE MATERIALIZED VIEW both AS SELECT a.team, a.n, b.p, l.league FROM per_team AS a
      LEFT JOIN powers AS b ON a.team = b.team LEFT JOIN teams AS l ON l.team = a.team;";
    assert_eq!(edited(&[POWERS], &[PER_TEAM, POWERS, both, PER_TEAM_OUT]), [0_usize]);
    let lacking = "CREATE MATERIALIZED VIEW lacking AS SELECT team FROM teams WHERE team NOT IN (SELECT team FROM powers);";
    assert_eq!(edited(&[POWERS], &[POWERS, lacking]), NONE);
}

#[test]
fn what_an_operator_has_dropped_comes_from_its_view() {
    let total = "CREATE MATERIALIZED VIEW total AS SELECT team, sum(n) AS n, min(window_start) AS first
      FROM minutes WHERE n > 0 GROUP BY team;";
    assert_eq!(edited(&[MINUTES], &[MINUTES, total]), NONE);
    // A view that only picks columns of its GROUP BY.
    let plain = MINUTES.replace("count(*) * 2 AS n", "count(*) AS n");
    assert_eq!(edited(&[&plain], &[&plain, total]), NONE);
    let ranked = "CREATE MATERIALIZED VIEW ranked AS
      SELECT team, window_start, n, row_number() OVER (PARTITION BY team ORDER BY window_start) AS nth FROM minutes;";
    assert_eq!(edited(&[MINUTES], &[MINUTES, ranked]), NONE);
    let out = "CREATE SINK minutes_out FROM minutes
      WITH (connector = 'blackhole', primary_key = 'window_start,team') FORMAT UPSERT ENCODE JSON;";
    assert_eq!(edited(&[MINUTES], &[MINUTES, out]), [0_usize]);
}

#[test]
fn indexes_come_with_kept_and_with_new_views() {
    let (by_n, by_league) =
        ("CREATE INDEX by_n ON per_team (n);", "CREATE INDEX by_league ON leagues (league);");
    assert_eq!(edited(&[PER_TEAM], &[PER_TEAM, LEAGUES, by_n, by_league]), NONE);
    let renamed = PER_TEAM.replace("per_team", "team_points");
    let moved = "CREATE INDEX by_s ON team_points (s);";
    assert_eq!(edited(&[PER_TEAM, by_n], &[&renamed, moved]), NONE);
}

#[test]
fn rows_that_fail_go_with_their_view() {
    let quotient = "CREATE MATERIALIZED VIEW quotient AS SELECT game, 10 / points AS q FROM games;";
    let shifted = "CREATE MATERIALIZED VIEW quotient AS SELECT game, 10 / (points - 3) AS q FROM games;";
    assert_eq!(edited(&[PER_TEAM, quotient], &[PER_TEAM, shifted]), NONE);
    assert_eq!(edited(&[quotient], &[&quotient.replace("quotient", "ratio")]), NONE);
    assert_eq!(edited(&[quotient], &[PER_TEAM]), NONE);
    assert_eq!(edited(&[PER_TEAM], &[PER_TEAM, quotient]), NONE);
}

#[test]
fn records_that_are_gone_are_asked_for() {
    let text = |parts: &[&str]| format!("{SOURCES}{}", parts.concat());
    let told = refused(&[PER_TEAM], &text(&[PER_TEAM, POWERS]));
    assert!(
        told.contains("view powers cannot be filled: 3 records of file shots (offsets 0: 0 to 2)"),
        "{told}"
    );
    let checked = SOURCES.replace("PRIMARY KEY (game)", "CHECK (points > 0), PRIMARY KEY (game)");
    let told = refused(&[PER_TEAM], &format!("{checked}{PER_TEAM}"));
    assert!(told.contains("table games is another one than the state was made with: 3 records"), "{told}");
    let plain = "CREATE SINK shown_out FROM shown WITH (connector = 'blackhole') FORMAT PLAIN ENCODE JSON;"
        .replace("blackhole'", "file', path = 'shown.jsonl'");
    let shown = |columns: &str| format!("CREATE MATERIALIZED VIEW shown AS SELECT {columns} FROM shots;");
    let told = refused(&[&shown("team, power"), &plain], &text(&[&shown("team"), &plain]));
    assert!(told.contains("cannot be"), "{told}");
}

#[test]
fn rows_that_failed_below_kept_state_stay_until_they_are_taken_back() {
    let valued = "CREATE MATERIALIZED VIEW valued AS SELECT s.team, s.power * r.inv AS a FROM shots AS s
      JOIN (SELECT team, 100 / points AS inv FROM games) AS r ON s.team = r.team;";
    let twice = valued.replace("r.inv AS a", "r.inv * 2 AS a");
    assert_eq!(edited(&[valued], &[&twice]), NONE);
    // Under another name, and with another view that has the old one.
    assert_eq!(edited(&[valued], &[&twice.replace("valued", "priced")]), NONE);
    assert_eq!(edited(&[valued], &[&twice.replace("valued", "priced"), PER_TEAM]), NONE);
    let quotients =
        "CREATE MATERIALIZED VIEW quotients AS SELECT team, sum(10 / points) AS q FROM games GROUP BY team;";
    assert_eq!(edited(&[quotients], &[&quotients.replace("AS q", "* 2 AS q")]), NONE);
    // A view that one kept and one changed view read.
    let inverse =
        "CREATE VIEW inverse AS SELECT game, team, points + game AS moved, 10 / points AS inv FROM games;";
    let (summed, picked) = (
        "CREATE MATERIALIZED VIEW summed AS SELECT team, sum(inv) AS s FROM inverse GROUP BY team;",
        "CREATE MATERIALIZED VIEW picked AS SELECT game, inv FROM inverse WHERE inv > 0;",
    );
    assert_eq!(edited(&[inverse, summed, picked], &[inverse, summed, &picked.replace("> 0", "> 2")]), NONE);
    // Another reader widens the rows whose values stand in the error table.
    let moved = "CREATE MATERIALIZED VIEW moved AS SELECT moved, count(*) AS n FROM inverse GROUP BY moved;";
    assert_eq!(edited(&[inverse, summed], &[inverse, summed, moved]), NONE);
    assert_eq!(edited(&[inverse, picked, moved], &[inverse, picked]), NONE);
}

#[test]
fn ties_are_broken_by_all_columns() {
    let ranks = "CREATE VIEW ranks AS SELECT 10 - game AS back, game, team,
      row_number() OVER (PARTITION BY team ORDER BY team) AS nth FROM games;";
    let by_game = "CREATE MATERIALIZED VIEW by_game AS SELECT game, team, nth FROM ranks;";
    let backwards = "CREATE MATERIALIZED VIEW backwards AS SELECT back, nth FROM ranks;";
    assert_eq!(edited(&[ranks, by_game], &[ranks, by_game, backwards]), NONE);
}

#[test]
fn a_sink_goes_on_where_it_wrote_to_whatever_its_name() {
    let shown = "CREATE MATERIALIZED VIEW shown AS SELECT team, power FROM shots;";
    let out = |name: &str, path: &str| {
        format!(
            "CREATE SINK {name} FROM shown WITH (connector = 'file', path = '{path}') FORMAT PLAIN ENCODE JSON;"
        )
    };
    let before = out("first_out", "a.jsonl");
    let (renamed, other) = (out("second_out", "a.jsonl"), out("first_out", "b.jsonl"));
    assert_eq!(edited(&[shown, &before], &[shown, &renamed, &other]), [1_usize]);
    // Another relation in its place.
    let fewer = "CREATE MATERIALIZED VIEW fewer AS SELECT team FROM shots;";
    let replaced = renamed.replace("FROM shown", "FROM fewer");
    let told = refused(&[shown, fewer, &before], &format!("{SOURCES}{shown}{fewer}{replaced}{other}"));
    assert!(told.contains("sink second_out only appends"), "{told}");
}

#[test]
fn constants_are_told_apart() {
    let chosen = |teams: &str| {
        format!(
            "CREATE MATERIALIZED VIEW chosen AS SELECT game FROM games WHERE team IN ({teams}, 'v', 'w', 'x', 'y', 'z');"
        )
    };
    assert_eq!(edited(&[&chosen("'red, blue'")], &[&chosen("'red', 'blue'")]), NONE);
}

#[test]
fn a_new_view_leaves_others_their_state() {
    let other = POWERS.replace("powers", "a_powers");
    let told = refused(&[POWERS], &format!("{SOURCES}{other}{POWERS}"));
    assert!(told.contains("view a_powers cannot be filled"), "{told}");
}

#[test]
fn a_view_that_lacks_failed_rows_does_not_fill() {
    let counts = "CREATE VIEW counts AS SELECT window_start, team, count(*) AS n
      FROM TUMBLE(shots, shot_at, INTERVAL '1 minute') GROUP BY window_start, window_end, team;";
    let shown =
        "CREATE MATERIALIZED VIEW shown AS SELECT window_start, team, n, 10 / (n - 1) AS q FROM counts;";
    let total = "CREATE MATERIALIZED VIEW total AS SELECT team, sum(n) AS n FROM counts GROUP BY team;";
    let told = refused(&[counts, shown], &format!("{SOURCES}{counts}{shown}{total}"));
    assert!(told.contains("view total cannot be filled"), "{told}");
}
