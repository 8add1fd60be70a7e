//! NEXMark: every query of `benches/nexmark` that runs gives what DuckDB gives over the same events,
//! epoch by epoch, on several workers and through restarts. What is refused is refused as
//! `benches/nexmark/README.md` says, and what that says runs does.

mod events;
mod queries;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use connectors::SourceConnector;

use crate::duck::Duck;
use crate::engine::{compiled, plan};
use crate::model::Spec;
use crate::way::{Case, Compared, Cut, Way};
use events::{History, records};
use queries::QUERIES;

const SECOND_US: i64 = 1_000_000;

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/nexmark")
}

fn text(query: &str) -> String {
    fs::read_to_string(home().join(format!("{query}.sql"))).unwrap()
}

/// What the table in README.md says of each query: None where it runs, or the words it is refused with.
fn told() -> BTreeMap<String, Option<String>> {
    let readme = fs::read_to_string(home().join("README.md")).unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let query = cells.get(1).filter(|name| **name != "query" && name.starts_with('q'))?.to_string();
        let words = cells[3].split('`').nth(1).map(str::to_owned);
        match cells[2] {
            "runs" => Some((query, None)),
            "refused" => Some((query, Some(words.expect("the words of the refusal")))),
            other => panic!("{query}: {other}"),
        }
    };
    readme.lines().filter_map(row).collect()
}

/// One topology of all queries that run: their sources are declared alike.
fn topology() -> String {
    let mut statements: Vec<String> = Vec::new();
    for (query, refused) in told() {
        let text = text(&query);
        let code: String = text.lines().filter(|l| !l.starts_with("--")).map(|l| format!("{l}\n")).collect();
        for statement in code.split(';').map(str::trim).filter(|s| !s.is_empty() && refused.is_none()) {
            if !statements.iter().any(|known| known == statement) {
                statements.push(statement.to_owned());
            }
        }
    }
    statements.sort_by_key(|statement| !statement.starts_with("CREATE SOURCE"));
    statements.join(";\n") + ";\n"
}

/// What the sources declare, for the model.
fn spec(name: &str) -> Spec {
    let person = "id:BIGINT name email_address credit_card city state date_time:TIMESTAMP extra";
    let auction = "id:BIGINT item_name description initial_bid:BIGINT reserve:BIGINT date_time:TIMESTAMP \
                   expires:TIMESTAMP seller:BIGINT category:BIGINT extra";
    let bid = "auction:BIGINT bidder:BIGINT price:BIGINT channel url date_time:TIMESTAMP extra";
    let (name, columns, included) = match name {
        "person" => ("person", person, vec![]),
        "auction" => ("auction", auction, vec![]),
        "bid" => ("bid", bid, vec![("timestamp", "arrived_at"), ("partition", "part"), ("offset", "event")]),
        _ => ("side_input", "key:BIGINT value", vec![]),
    };
    let columns: Vec<(&str, &str)> = columns
        .split_whitespace()
        .map(|column| column.split_once(':').unwrap_or((column, "VARCHAR")))
        .collect();
    let time = columns.iter().position(|(name, _)| *name == "date_time");
    Spec {
        name,
        columns,
        generated: vec![],
        included,
        not_null: vec![],
        checks: vec![],
        watermark: time.map(|at| (at, 4 * SECOND_US)),
        keyed: None,
        partitions: 1,
    }
}

fn run(history: &History) {
    let plan = plan(&topology());
    let specs: Vec<Spec> = plan.sources.iter().map(|source| spec(&source.name)).collect();
    let records = records(&plan, &specs, history);
    let case = Case { plan, specs, records, joins: vec![], failing: |_| 0 };
    let runs = told();
    let queries = QUERIES.iter().filter(|(name, _)| runs[*name].is_none());
    let queries: Vec<_> = queries.map(|(name, sql)| (name.to_string(), sql.to_string())).collect();
    let mut duck = Duck::new(&queries);
    let (cut, mut all) = (Cut::Random(history.seed, case.records.len() / 2), Compared::default());
    let ways = [
        Way::plain(cut, &[1]),
        Way { in_flight: 2, restart: Some(2), ..Way::plain(cut, &[2, 3]) },
        Way::plain(Cut::Once, &[3]),
    ];
    for way in ways {
        let dir = tempfile::tempdir().unwrap();
        let (compared, model) = case.run(&way, &dir.path().join("state"), &mut duck);
        all = all.and(compared);
        for (query, rows) in duck.answer(&model.tables()) {
            assert!(!rows.is_empty(), "{query} has no rows, which proves nothing");
        }
    }
    let waited = (duck.asked, duck.waited);
    println!(
        "{} events, {} queries, {all:?}, questions to DuckDB {waited:?}",
        case.records.len(),
        queries.len()
    );
}

#[test]
fn events_of_a_morning() {
    run(&History { seed: 1, events: 5000, rate: 100, base: "2026-01-01T07:59:30Z", group: 1 });
}

#[test]
fn events_of_an_evening_come_slowly() {
    run(&History { seed: 2, events: 2500, rate: 1, base: "2026-01-01T19:30:00Z", group: 1 });
}

#[test]
fn events_around_midnight_come_out_of_order() {
    run(&History { seed: 3, events: 2500, rate: 50, base: "2026-01-01T23:59:40Z", group: 30 });
}

#[test]
fn the_readme_says_what_runs_and_what_is_refused() {
    let told = told();
    let names: Vec<String> = told.keys().cloned().collect();
    let mut wanted: Vec<String> = (0..24).map(|n| format!("q{n}")).collect();
    wanted.sort_unstable();
    assert_eq!(names, wanted);
    for (query, refused) in &told {
        match (compiled(&text(query)), refused) {
            (Ok(plan), None) => {
                let views: Vec<&str> = plan.views.iter().map(|view| view.name.as_str()).collect();
                assert_eq!(views, [query.as_str()]);
                assert_eq!(plan.sinks.len(), 1, "{query}");
                for source in &plan.sources {
                    SourceConnector::from_options(&source.options).unwrap();
                }
            }
            (Err(mistakes), Some(words)) => {
                assert!(mistakes.contains(words.as_str()), "{query} is refused otherwise: {mistakes}");
            }
            (Ok(_), Some(words)) => panic!("{query} runs, and README.md says: {words}"),
            (Err(mistakes), None) => panic!("{query} does not run: {mistakes}"),
        }
    }
}
