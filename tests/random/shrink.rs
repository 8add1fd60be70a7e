//! A case that fails made smaller while it still fails: fewer views, records, and parts of the query.

use crate::case::Case;
use crate::check::{Failure, Judges};
use crate::expression::Dialect;
use crate::report::Report;
use crate::run::JUDGED;

/// Runs that one failure is worth.
const PATIENCE: usize = 250;

/// The smallest failing case found, and how it fails.
pub fn shrink(judges: &mut Judges, case: &Case, failure: Failure) -> (Case, Failure) {
    let mut shrinker = Shrinker { judges, ways: &[JUDGED], left: PATIENCE, best: (case.clone(), failure) };
    if !shrinker.attempt(case.clone()) {
        shrinker.ways = &[0, 1, 2, 3];
    }
    shrinker.views();
    shrinker.records();
    shrinker.query();
    shrinker.views();
    shrinker.records();
    shrinker.best
}

struct Shrinker<'a> {
    judges: &'a mut Judges,
    ways: &'static [usize],
    left: usize,
    best: (Case, Failure),
}

impl Shrinker<'_> {
    fn attempt(&mut self, case: Case) -> bool {
        // A query that makes no sense any more is no smaller case.
        if self.left == 0 || case.compile().is_err() {
            return false;
        }
        self.left -= 1;
        match self.judges.check(&case, self.ways, &mut Report::default()) {
            Ok(()) => false,
            // An engine that fails and one that differs are not the same failure.
            Err(failure) if failure.view.is_some() != self.best.1.view.is_some() => false,
            Err(failure) => {
                self.best = (case, failure);
                true
            }
        }
    }

    fn views(&mut self) {
        let case = self.best.0.clone();
        match self.best.1.view {
            Some(view) => drop(self.attempt(case.only(view))),
            None => {
                let _ = (0..case.views.len()).any(|view| self.attempt(case.only(view)));
            }
        }
    }

    fn records(&mut self) {
        let mut size = self.best.0.records.len() / 2;
        while size > 0 {
            let mut at = 0;
            while at < self.best.0.records.len() {
                let mut case = self.best.0.clone();
                let end = (at + size).min(case.records.len());
                case.records.drain(at..end);
                if case.records.is_empty() || !self.attempt(case) {
                    at += size;
                }
            }
            size /= 2;
        }
    }

    fn query(&mut self) {
        let mut again = true;
        while again && self.left > 0 {
            again = false;
            for view in (0..self.best.0.views.len()).rev() {
                let smaller = self.best.0.views[view].query.simpler();
                for query in smaller {
                    let mut case = self.best.0.clone();
                    case.views[view].query = query;
                    if self.attempt(case) {
                        again = true;
                        break;
                    }
                }
            }
        }
    }
}

/// All that is needed to see a failure again.
pub fn picture(case: &Case, failure: &Failure) -> String {
    let mut text = format!("seed {}: {}\n{}\n", case.seed, failure.text, case.text());
    for dialect in [Dialect::Postgres, Dialect::Duck] {
        for (name, sql) in case.queries(dialect) {
            text.push_str(&format!("{dialect:?} {name}: {sql}\n"));
        }
    }
    for record in &case.records {
        let told = |bytes: &Option<Vec<u8>>| match bytes {
            Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            None => "NULL".into(),
        };
        let (name, key, bytes) = (case.specs[record.source].name, told(&record.key), told(&record.bytes));
        text.push_str(&format!("{name} {}/{} {key}: {bytes}\n", record.partition, record.offset));
    }
    text
}
