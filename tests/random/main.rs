//! The random oracle: random queries over random histories, judged by PostgreSQL and DuckDB.
//!
//! A case is a random schema, views over it (nested, and over each other), and a history of records with
//! updates, duplicates, disorder and late versions, all from one seed. It is run in several ways (`run`),
//! which must agree; and at the ends of random epochs every view must equal what both judges answer over
//! the rows that the model of the sources accepts. A case that fails is made smaller and printed.
//!
//! ```console
//! $ cargo test --release --test random                                   # a few hundred pairs
//! $ HERALD_PAIRS=10000 cargo test --release --test random -- random_queries --nocapture   # the long run
//! $ HERALD_MINUTES=40 HERALD_PAIRS=10000 cargo test ...                     # and no longer than that
//! $ HERALD_QUICK=1 HERALD_PAIRS=3000 cargo test ...                      # only the way that is judged: five times as fast
//! $ HERALD_SEED=17 HERALD_PAIRS=1 cargo test --release --test random     # one case again
//! ```
//!
//! | file | what it holds |
//! | --- | --- |
//! | `schema`, `feed` | random sources, and records for them |
//! | `expression`, `forms` | expressions and the tables of functions and aggregates |
//! | `query` | queries as trees, and their text in three dialects |
//! | `generate`, `combine`, `focus` | random queries, nested and of one thing each |
//! | `case`, `run`, `check` | a case, a way to run it, its judgement |
//! | `judge`, `duck` | PostgreSQL and DuckDB |
//! | `bank` | transfers between accounts: the total is right in every epoch |
//! | `regressions` | what was found, as tests by name |
//! | `shrink`, `report` | smaller failures, and what was covered |

mod bank;
mod case;
mod check;
mod combine;
mod duck;
#[path = "../oracle/engine.rs"]
#[allow(dead_code, reason = "the oracle's; not all of it is needed here")]
mod engine;
mod expression;
mod feed;
mod focus;
mod forms;
mod generate;
#[path = "../oracle/history.rs"]
#[allow(dead_code, reason = "the oracle's; not all of it is needed here")]
mod history;
mod judge;
#[path = "../oracle/model.rs"]
#[allow(dead_code, reason = "the oracle's; not all of it is needed here")]
mod model;
#[path = "../oracle/postgres.rs"]
mod postgres;
mod query;
mod regressions;
mod report;
#[path = "../oracle/rows.rs"]
#[allow(dead_code, reason = "the oracle's; not all of it is needed here")]
mod rows;
mod run;
mod schema;
mod shrink;
#[path = "../oracle/texts.rs"]
mod texts;
#[path = "../scalar/value.rs"]
#[allow(dead_code, reason = "values are compared as texts there")]
mod value;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use case::Case;
use check::Judges;
use report::Report;
use run::JUDGED;

/// Pairs of a run that nobody asked to be longer.
const PAIRS: usize = 240;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn random_queries() {
    let (pairs, first) = (number("HERALD_PAIRS", PAIRS), number("HERALD_SEED", 1) as u64);
    let quick = number("HERALD_QUICK", 0) > 0;
    let longest = Duration::from_secs(60 * number("HERALD_MINUTES", 24 * 60) as u64);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    let (begun, next, done) = (Instant::now(), AtomicU64::new(first), AtomicUsize::new(0));
    let all = Mutex::new(Report::default());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut judges = Judges::new();
                while begun.elapsed() < longest
                    && !all.lock().unwrap().enough(done.load(Ordering::Relaxed), pairs)
                {
                    let mut report = Report::default();
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let drawing = Instant::now();
                    let case = Case::new(seed);
                    report.spent[6] += drawing.elapsed();
                    let ways: &[usize] = match seed % 3 {
                        _ if quick => &[JUDGED],
                        0 => &[0, 1, 2, 3],
                        _ => &[0, 1, 2],
                    };
                    if let Err(failure) = judges.check(&case, ways, &mut report) {
                        println!("seed {seed}: {}", failure.text);
                        let (case, failure) = shrink::shrink(&mut judges, &case, failure);
                        let picture = shrink::picture(&case, &failure);
                        println!("{picture}");
                        report.failures.push(picture);
                    }
                    let total = done.fetch_add(case::VIEWS, Ordering::Relaxed) + case::VIEWS;
                    if total % 200 < case::VIEWS {
                        println!("{total} pairs, seed {seed}, {:?}", begun.elapsed());
                    }
                    let mut all = all.lock().unwrap();
                    all.add(report);
                    if total % 2000 < case::VIEWS {
                        println!(
                            "so far less than {} times under retraction: {:?}",
                            report::OFTEN,
                            all.seldom()
                        );
                    }
                }
            });
        }
    });
    let report = all.into_inner().unwrap();
    println!("{report}seeds {first}..{} in {:?}", next.load(Ordering::Relaxed), begun.elapsed());
    assert!(report.failures.is_empty(), "{}", report.failures.join("\n\n"));
    if pairs >= report::LONG {
        let seldom = report.seldom();
        assert!(seldom.is_empty(), "under retraction less than {} times: {seldom:?}", report::OFTEN);
    }
}
