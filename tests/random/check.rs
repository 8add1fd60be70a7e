//! One case through all ways and before both judges.
//!
//! The random cuts of the second way are where the judges are asked. All ways must hold the same after the
//! same records, wherever their epochs end; and each view must equal both judges' answers over the rows
//! that the model of the sources says are accepted.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use dataflows::plan::Plan;

use crate::case::Case;
use crate::duck::{Duck, Tables};
use crate::expression::Dialect;
use crate::judge::Verdict;
use crate::judge::{Columns, Judge};
use crate::model::Model;
use crate::report::Report;
use crate::rows::{Row, difference};
use crate::run::{Contents, JUDGED, WAYS, run};

/// Both judges.
pub struct Judges {
    duck: Duck,
    postgres: Judge,
}

/// A difference.
#[derive(Debug)]
pub struct Failure {
    /// The view's place among all of the case, where it is known.
    pub view: Option<usize>,
    /// What differs, where and how.
    pub text: String,
}

impl Judges {
    /// Starts them.
    pub fn new() -> Judges {
        Judges { duck: Duck::new(), postgres: Judge::new() }
    }

    /// Runs a case in these ways, among them the judged one, and says what it found first.
    pub fn check(&mut self, case: &Case, ways: &[usize], report: &mut Report) -> Result<(), Failure> {
        let plan = case.compile().map_err(|text| Failure { view: None, text })?;
        let mut held: BTreeMap<usize, Contents> = BTreeMap::new();
        for at in ways {
            let (way, begun) = (&WAYS[*at], Instant::now());
            let dir = tempfile::tempdir_in(scratch()).unwrap();
            let ran = catch_unwind(AssertUnwindSafe(|| run(case, &plan, way, &dir.path().join("state"))));
            let contents = ran.map_err(|panic| {
                let told = panic.downcast_ref::<String>().cloned();
                let told = told.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
                Failure { view: None, text: format!("{way:?}: {}", told.unwrap_or_default()) }
            })?;
            held.insert(*at, contents);
            report.spent[*at] += begun.elapsed();
        }
        let columns: Columns = plan
            .views
            .iter()
            .map(|view| (view.name.clone(), plan.rels[view.rel].schema.fields().iter().cloned().collect()))
            .collect();
        let mut judged: BTreeMap<usize, usize> = BTreeMap::new();
        for (end, tables) in states(case, &WAYS[JUDGED].ends(case.seed, case.records.len())) {
            let begun = Instant::now();
            let duck = self.duck.answer(&tables, &case.queries(Dialect::Duck));
            report.spent[4] += begun.elapsed();
            let begun = Instant::now();
            let postgres = self.postgres.answer(&tables, &case.queries(Dialect::Postgres), &columns);
            report.spent[5] += begun.elapsed();
            for (at, found) in of_views(case, &plan, &held[&JUDGED][&end]) {
                let told = judge(found, &duck[at], &postgres[at]);
                let text = told.map_err(|told| format!("after {end} records: {told}"));
                *judged.entry(at).or_default() |= text.map_err(|text| Failure { view: Some(at), text })?;
                report.compared(&duck[at], &postgres[at], &case.views[at]);
            }
        }
        agree(case, &plan, &held)?;
        if let Some(rows) = held.get(&0).or_else(|| held.get(&JUDGED)) {
            report.count(case, rows, &of_views(case, &plan, &vec![vec![]; plan.views.len()]), &judged);
        }
        Ok(())
    }
}

/// Where states are: in memory, if that can be had.
pub fn scratch() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() }
}

/// The accepted rows after so many records.
fn states(case: &Case, ends: &[usize]) -> Vec<(usize, Tables)> {
    let mut model = Model::new(&case.specs);
    let mut at = 0;
    ends.iter()
        .map(|end| {
            model.epoch(&case.records[at..*end]);
            at = *end;
            (at, model.tables())
        })
        .collect()
}

/// The contents of views with their place among all views.
fn of_views<'a>(case: &Case, plan: &Arc<Plan>, contents: &'a [Vec<Row>]) -> Vec<(usize, &'a Vec<Row>)> {
    let mut all: Vec<(usize, &Vec<Row>)> = plan
        .views
        .iter()
        .zip(contents)
        .map(|(view, rows)| {
            let at = case.views.iter().position(|v| v.name == view.name).expect("a view of the case");
            (at, rows)
        })
        .collect();
    all.sort_by_key(|(at, _)| *at);
    all
}

/// How many judges could say that `found` is right: a bit each.
fn judge(found: &[Row], duck: &Verdict, postgres: &Verdict) -> Result<usize, String> {
    let mut judged = 0;
    let mut told = String::new();
    for (bit, name, verdict) in [(1, "DuckDB", duck), (2, "PostgreSQL", postgres)] {
        let Ok(wanted) = verdict else { continue };
        match difference(found, wanted) {
            Some(difference) => told.push_str(&format!("\n{name}: {difference}")),
            None => judged |= bit,
        }
    }
    let with = match judged {
        1 => " (DuckDB agrees)",
        2 => " (PostgreSQL agrees)",
        _ => "",
    };
    if told.is_empty() { Ok(judged) } else { Err(format!("Herald differs{with}{told}")) }
}

fn agree(case: &Case, plan: &Arc<Plan>, held: &BTreeMap<usize, Contents>) -> Result<(), Failure> {
    let mut first: BTreeMap<usize, (usize, &Vec<Vec<Row>>)> = BTreeMap::new();
    for (way, contents) in held {
        for (end, views) in contents {
            let (other, wanted) = *first.entry(*end).or_insert((*way, views));
            let pairs = of_views(case, plan, views).into_iter().zip(of_views(case, plan, wanted));
            for ((at, found), (_, wanted)) in pairs {
                if let Some(difference) = difference(found, wanted) {
                    let text = format!(
                        "after {end} records {:?} differs from {:?}: {difference}",
                        WAYS[*way], WAYS[other]
                    );
                    return Err(Failure { view: Some(at), text });
                }
            }
        }
    }
    Ok(())
}
