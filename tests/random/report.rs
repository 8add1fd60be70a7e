//! What was run and compared, by operator.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;

use crate::case::{Case, View};
use crate::expression::Dialect;
use crate::judge::Verdict;
use crate::rows::Row;
use crate::run::Contents;

/// Cases of an operator.
#[derive(Clone, Copy, Default)]
struct Seen {
    cases: usize,
    with_rows: usize,
    retracted: usize,
}

/// Pairs of a run that must show every operator often.
pub const LONG: usize = 10_000;
/// Cases of an operator with rows that were taken back, in such a run.
pub const OFTEN: usize = 100;
/// Failures after which a run has said enough.
const FAILURES: usize = 8;

/// Counts of a run.
#[derive(Default)]
pub struct Report {
    /// Query-history pairs that both judges judged.
    pub pairs: usize,
    /// Pairs that only one judge could judge.
    pub by_one: usize,
    /// Pairs that no judge could judge.
    pub by_none: usize,
    contents: usize,
    rows: usize,
    ops: BTreeMap<String, Seen>,
    refused: BTreeMap<String, (usize, String)>,
    silent: BTreeMap<String, (usize, String)>,
    /// Time in each way, in DuckDB, in PostgreSQL, and drawing cases.
    pub spent: [Duration; 7],
    /// Differences.
    pub failures: Vec<String>,
}

impl Report {
    /// A view at an epoch was compared.
    pub fn compared(&mut self, duck: &Verdict, postgres: &Verdict, view: &View) {
        self.contents += 1;
        for (name, verdict, dialect) in
            [("DuckDB", duck, Dialect::Duck), ("PostgreSQL", postgres, Dialect::Postgres)]
        {
            match verdict {
                Ok(rows) => self.rows += rows.len(),
                Err(told) => {
                    let reason: String =
                        format!("{name}: {}", told.replace('\n', " ")).chars().take(160).collect();
                    let entry = self.silent.entry(reason).or_insert((0, view.query.sql(dialect)));
                    entry.0 += 1;
                }
            }
        }
    }

    /// A case is done: what its views held after each record, and who judged them.
    pub fn count(
        &mut self,
        case: &Case,
        held: &Contents,
        views: &[(usize, &Vec<Row>)],
        judged: &BTreeMap<usize, usize>,
    ) {
        for (place, (at, _)) in views.iter().enumerate() {
            match judged.get(at).copied().unwrap_or(0) {
                3 => self.pairs += 1,
                0 => self.by_none += 1,
                _ => self.by_one += 1,
            }
            let states: Vec<&Vec<Row>> = held.values().map(|views| &views[place]).collect();
            let with_rows = states.iter().any(|rows| !rows.is_empty());
            let retracted = states.windows(2).any(|pair| lost(pair[0], pair[1]));
            let mut ops = BTreeSet::new();
            case.views[*at].query.ops(&mut ops);
            let read = case.views[*at].reads();
            let kinds = case.kinds.iter().filter(|(name, _)| read.contains(*name));
            ops.extend(kinds.flat_map(|(_, kinds)| kinds.iter().map(ToString::to_string)));
            for op in ops {
                let seen = self.ops.entry(op).or_default();
                seen.cases += 1;
                seen.with_rows += usize::from(with_rows);
                seen.retracted += usize::from(with_rows && retracted);
            }
        }
        for (reason, (n, example)) in &case.refused {
            self.refused.entry(reason.clone()).or_insert((0, example.clone())).0 += n;
        }
    }

    /// Both together.
    pub fn add(&mut self, other: Report) {
        self.pairs += other.pairs;
        self.by_one += other.by_one;
        self.by_none += other.by_none;
        self.contents += other.contents;
        self.rows += other.rows;
        for (sum, spent) in self.spent.iter_mut().zip(other.spent) {
            *sum += spent;
        }
        for (op, seen) in other.ops {
            let sum = self.ops.entry(op).or_default();
            sum.cases += seen.cases;
            sum.with_rows += seen.with_rows;
            sum.retracted += seen.retracted;
        }
        for (into, from) in [(&mut self.refused, other.refused), (&mut self.silent, other.silent)] {
            for (reason, (n, example)) in from {
                into.entry(reason).or_insert((0, example)).0 += n;
            }
        }
        self.failures.extend(other.failures);
    }

    /// Operators that ran too seldom with rows that were taken back.
    pub fn seldom(&self) -> Vec<&str> {
        self.ops.iter().filter(|(_, seen)| seen.retracted < OFTEN).map(|(op, _)| op.as_str()).collect()
    }

    /// Whether `done` of `pairs` are enough: a long run goes on, up to twice as long, for what it has seen
    /// too seldom; and a run with many failures has said enough.
    pub fn enough(&self, done: usize, pairs: usize) -> bool {
        let longer = pairs >= LONG && done < 2 * pairs && !self.seldom().is_empty();
        self.failures.len() >= FAILURES || done >= pairs && !longer
    }
}

/// Whether a row of `before` is not in `after`, or not as often.
fn lost(before: &[Row], after: &[Row]) -> bool {
    if before == after {
        return false;
    }
    let mut left: HashMap<String, usize> = HashMap::new();
    for row in after {
        *left.entry(format!("{row:?}")).or_default() += 1;
    }
    before.iter().any(|row| match left.get_mut(&format!("{row:?}")) {
        Some(n) if *n > 0 => {
            *n -= 1;
            false
        }
        _ => true,
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:32} {:>8} {:>10} {:>16}", "operator", "cases", "with rows", "under retraction")?;
        for (op, seen) in &self.ops {
            writeln!(f, "{op:32} {:>8} {:>10} {:>16}", seen.cases, seen.with_rows, seen.retracted)?;
        }
        for (what, reasons) in [("Herald refused", &self.refused), ("a judge was silent", &self.silent)] {
            for (reason, (n, example)) in reasons {
                let short: String = reason.replace('\n', " ").chars().take(200).collect();
                writeln!(
                    f,
                    "{what} {n} times: {short}\n    {}",
                    example.chars().take(400).collect::<String>()
                )?;
            }
        }
        writeln!(f, "time in each way, in DuckDB, in PostgreSQL, and drawing cases: {:?}", self.spent)?;
        writeln!(
            f,
            "{} query-history pairs before both judges, {} before one, {} before none; {} contents with {} rows compared; {} differences",
            self.pairs,
            self.by_one,
            self.by_none,
            self.contents,
            self.rows,
            self.failures.len()
        )
    }
}
