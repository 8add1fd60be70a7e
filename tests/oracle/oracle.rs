//! The oracle: every operator of this release over random histories, many ways each.
//!
//! | way | what it is for |
//! | --- | --- |
//! | a row an epoch | every state a view can be in |
//! | many rows an epoch, several workers, epochs in flight | the overlay, consolidation, exchange |
//! | all in one epoch, 1 to 3 workers | changes that cancel before they are seen |
//! | restarts with other numbers of workers, epochs in flight lost | the cut, durable state, key groups |

use dataflows::plan::View;

use crate::duck::Duck;
use crate::engine::plan;
use crate::games;
use crate::judge::Judge;
use crate::model::Record;
use crate::rows::difference;
use crate::way::{Case, Compared, Cut, Way};

/// States of a history at which PostgreSQL is asked.
const STATES: usize = 8;

const WAYS: &[Way] = &[
    Way::plain(Cut::Every(1), &[1]),
    Way { in_flight: 3, restart: Some(19), ..Way::plain(Cut::Every(1), &[2, 3, 1]) },
    Way { in_flight: 2, restart: None, ..Way::plain(Cut::Random(1, 12), &[3]) },
    Way { in_flight: 1, restart: Some(1), ..Way::plain(Cut::Random(2, 25), &[1, 2, 3]) },
    Way { in_flight: 4, restart: Some(6), ..Way::plain(Cut::Random(3, 40), &[2, 1]) },
    Way::plain(Cut::Once, &[1]),
    Way::plain(Cut::Once, &[2]),
    Way::plain(Cut::Once, &[3]),
];

fn case(records: Vec<Record>) -> Case {
    Case {
        plan: plan(&games::topology()),
        specs: games::specs(),
        records,
        joins: vec![],
        failing: |tables| games::failing(&tables["matches"].1),
    }
}

fn run(what: &str, records: Vec<Record>, ways: &[Way]) {
    println!("{what}: {} records", records.len());
    let case = case(records);
    let mut duck = Duck::new(&games::queries());
    let mut all = Compared::default();
    for way in ways {
        let dir = tempfile::tempdir().unwrap();
        let (compared, model) = case.run(way, &dir.path().join("state"), &mut duck);
        let outcomes: Vec<_> = (0..case.specs.len()).map(|s| model.outcomes(s)).collect();
        println!("  {way:?}: {compared:?}, outcomes {outcomes:?}");
        // A history that does not meet every outcome proves less than it seems to.
        let met = |outcome: usize| outcomes.iter().any(|o| o[outcome] > 0);
        assert!((0..6).all(met), "a kind of outcome does not occur");
        all = all.and(compared);
    }
    println!("  {} questions to DuckDB in {:?}; all: {all:?}", duck.asked, duck.waited);
    postgres_agrees(&case, &ways[0], &mut duck);
}

/// Every view at a sample of the states that `way` passes through: what Herald's rows were compared with is
/// PostgreSQL's answer, too.
fn postgres_agrees(case: &Case, way: &Way, duck: &mut Duck) {
    let fields = |view: &View| (view.name.clone(), case.plan.rels[view.rel].schema.fields().to_vec());
    let columns = case.plan.views.iter().map(fields).collect();
    let (states, queries, mut judge) = (case.states(way), games::postgres_queries(), Judge::new());
    let every = states.len().div_ceil(STATES);
    let mut compared = 0;
    for (epoch, tables) in states.iter().enumerate().rev().step_by(every) {
        let held = duck.answer(tables);
        let answers = judge.answer(tables, &queries, &columns);
        for ((view, _), answer) in queries.iter().zip(answers) {
            let Some(held) = held.get(view).filter(|_| columns.contains_key(view)) else { continue };
            let answer = answer.unwrap_or_else(|error| panic!("PostgreSQL on {view}: {error}"));
            if let Some(difference) = difference(held, &answer) {
                panic!("view {view}, epoch {}: DuckDB's rows before PostgreSQL's\n{difference}", epoch + 1);
            }
            compared += 1;
        }
    }
    println!("  {compared} views equal to PostgreSQL's");
}

#[test]
fn first_history() {
    run("seed 1", games::history(1, 140, 12, false), WAYS);
}

#[test]
fn second_history() {
    run("seed 2", games::history(2, 140, 20, false), WAYS);
}

#[test]
fn keys_that_come_from_any_partition() {
    run("seed 3, keys in any partition", games::history(3, 140, 10, true), WAYS);
}

#[test]
fn a_long_history() {
    let ways = [
        Way { in_flight: 3, restart: None, ..Way::plain(Cut::Random(5, 600), &[2]) },
        Way { in_flight: 2, restart: Some(3), ..Way::plain(Cut::Random(5, 600), &[3, 1]) },
    ];
    run("seed 4", games::history(4, 3000, 400, false), &ways);
}
