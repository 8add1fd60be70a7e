//! Judgement of a case: runs it all ways, compares the first way with the expectations, and the other ways
//! with the first at the end of each step.

use std::collections::BTreeMap;

use dataflows::plan::{Op, Rel, When};

use super::case::{Case, Expect};
use super::picture::{self, Observed, Picture};
use super::table::{Table, difference};
use super::update::Rewrite;
use super::way::{WAYS, Way};
use crate::exit;

/// A failed expectation or a difference between ways.
pub struct Finding {
    /// The line in the script.
    pub line: u64,
    /// The message with the difference.
    pub text: String,
}

/// The result of a case.
pub struct Verdict<'a> {
    /// All failures.
    pub findings: Vec<Finding>,
    /// Failed expectations with the rows found.
    pub rewrites: Vec<Rewrite<'a>>,
}

impl Verdict<'_> {
    /// Returns true if nothing but expectations failed.
    pub fn ways_agree(&self) -> bool {
        self.findings.len() == self.rewrites.len()
    }
}

/// Runs a case all ways and compares the results.
pub fn run_case(case: &Case) -> Verdict<'_> {
    let mut verdict = Verdict { findings: vec![], rewrites: vec![] };
    let [first, others @ ..] = &WAYS;
    let wanted = match first.run(case) {
        Ok(pictures) => pictures,
        Err(error) => {
            verdict.findings.push(engine_failure(first, &error));
            return verdict;
        }
    };
    for (step, picture) in case.steps.iter().zip(&wanted) {
        for expect in &step.expects {
            verdict.check_expectation(case, expect, (first, picture.as_ref()));
        }
    }
    let mut seen = Vec::new();
    // A temporal join by processing time depends on the rows present at each step, so a way with a single
    // epoch has other results and is left out.
    let now = |rel: &Rel| matches!(rel.op, Op::TemporalJoin { when: When::ProcTime, .. });
    let looks_up = case.steps.len() > 1 && case.plan.rels.iter().any(now);
    for way in others.iter().filter(|way| !(looks_up && way.skips_steps())) {
        match way.run(case) {
            Ok(pictures) => seen.push((way, pictures)),
            Err(error) => verdict.findings.push(engine_failure(way, &error)),
        }
    }
    verdict.findings.extend(compare_ways(case, &wanted, &seen));
    verdict.findings.sort_by_key(|finding| finding.line);
    verdict
}

impl<'a> Verdict<'a> {
    /// Compares an expectation with the first way's result.
    fn check_expectation(
        &mut self,
        case: &Case,
        expect: &'a Expect,
        (way, picture): (&Way, Option<&Picture>),
    ) {
        let nothing = Table::default();
        let found = picture.and_then(|picture| picture.get(&expect.observed)).unwrap_or(&nothing);
        let shape = case.shapes.shape_of(expect.observed);
        let Some(diff) = shape.and_then(|shape| difference(shape, &expect.wanted, found)) else { return };
        let name = picture::observed_name(&case.plan, expect.observed);
        let text = format!("expect {name}: not so (- expected, + found; {way})\n{diff}");
        self.findings.push(Finding { line: expect.line, text });
        self.rewrites.push(Rewrite { line: expect.line, rows: &expect.rows, found: found.clone() });
    }
}

/// Differences of the other ways from the first. Ways with the same difference are reported together.
fn compare_ways(
    case: &Case,
    wanted: &[Option<Picture>],
    others: &[(&Way, Vec<Option<Picture>>)],
) -> Vec<Finding> {
    let mut found: BTreeMap<(u64, Observed, String), Vec<String>> = BTreeMap::new();
    for (way, pictures) in others {
        for ((step, wanted), picture) in case.steps.iter().zip(wanted).zip(pictures) {
            let (Some(wanted), Some(picture)) = (wanted, picture) else { continue };
            for (observed, table) in wanted {
                // A way that skips steps reports the changes of all steps at the last one; they are not
                // comparable.
                let all = way.skips_steps() && case.steps.len() > 1;
                let (Some(other), Some(shape)) = (picture.get(observed), case.shapes.shape_of(*observed))
                else {
                    continue;
                };
                if all && goes_by_epochs(case, *observed) {
                    continue;
                }
                if let Some(diff) = difference(shape, table, other) {
                    found.entry((step.line, *observed, diff)).or_default().push(way.to_string());
                }
            }
        }
    }
    let mut findings = Vec::with_capacity(found.len());
    for ((line, observed, diff), ways) in found {
        let name = picture::observed_name(&case.plan, observed);
        let (first, ways) = (&WAYS[0], ways.join("; "));
        let text = format!("{name}: not the same in all ways (- {first}; + {ways})\n{diff}");
        findings.push(Finding { line, text });
    }
    findings
}

/// Returns true for content that depends on the epochs: changes, and where persons are erased what became of records,
/// as one that comes with the epoch of the order, or after it, counts as that of an erased person.
fn goes_by_epochs(case: &Case, observed: Observed) -> bool {
    let erasable = |at: usize| case.plan.sources.get(at).is_some_and(|source| !source.erase_by.is_empty());
    match observed {
        Observed::Changes(_) => true,
        Observed::Outcomes(at) => erasable(at),
        Observed::DeadLetters => (0..case.plan.sources.len()).any(erasable),
        Observed::Errors | Observed::View(_) | Observed::Sink(_) => false,
    }
}

/// The finding for a way in which the engine failed.
fn engine_failure(way: &Way, error: &anyhow::Error) -> Finding {
    let message = exit::sentences(error).replace('\n', "\n  ");
    Finding { line: 1, text: format!("the script cannot be run ({way})\n  {message}") }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, Result};

    use super::*;
    use crate::commands::test::case;
    use crate::topology::Variables;

    const TOPOLOGY: &str = "CREATE TABLE t (k BIGINT, n BIGINT, PRIMARY KEY (k)) ON CONFLICT OVERWRITE
        WITH (connector = 'kafka', topic = 't', properties.bootstrap.server = 'nobody:9') FORMAT PLAIN ENCODE JSON;
        CREATE MATERIALIZED VIEW v AS SELECT k, n FROM t;
        CREATE SINK s FROM v WITH (connector = 'blackhole', primary_key = 'k') FORMAT DEBEZIUM ENCODE JSON;";
    const SCRIPT: &str = "-- topology t.sql\n-- feed t\n{\"k\":1,\"n\":1}\n{\"k\":2,\"n\":2}\n-- expect v\n{\"k\":1,\"n\":1}\n{\"n\":2,\"k\":2}\n\
        -- feed t\n{\"k\":2,\"n\":1}\n{\"k\":2,\"n\":3}\n-- expect changes s\n\
        {\"before\":{\"k\":2,\"n\":2},\"after\":{\"k\":2,\"n\":3},\"op\":\"u\"}\n";

    fn case(script: &str) -> Result<(tempfile::TempDir, Case)> {
        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join("t.sql"), TOPOLOGY)?;
        let path = dir.path().join("t.test.sql");
        std::fs::write(&path, script)?;
        let case = case::read_case(&path, &Variables::only(&[]))?;
        Ok((dir, case))
    }

    #[test]
    fn all_ways_are_held_against_the_first() -> Result<()> {
        let (_dir, case) = case(SCRIPT)?;
        let verdict = run_case(&case);
        let told: Vec<&str> = verdict.findings.iter().map(|finding| finding.text.as_str()).collect();
        assert_eq!(told, Vec::<&str>::new());

        let wanted = WAYS[0].run(&case)?;
        let mut other = WAYS[3].run(&case)?;
        let picture = other.last_mut().context("two steps")?.as_mut().context("a picture")?;
        let view = picture.get_mut(&Observed::View(0)).context("a view")?;
        *view = Table::new(vec![r#"{"k":1,"n":1}"#.to_owned(), r#"{"k":2,"n":4}"#.to_owned()]);
        let findings = compare_ways(&case, &wanted, &[(&WAYS[4], wanted.clone()), (&WAYS[3], other)]);
        let told: Vec<(u64, &str)> = findings.iter().map(|f| (f.line, f.text.as_str())).collect();
        let text = "v: not the same in all ways (- one epoch a step, 1 worker; + one row an epoch, 1 worker)\n  \
                    ~ {\"k\":2}\n      - n: 3\n      + n: 4\n";
        assert_eq!(told, [(11, text)]);
        Ok(())
    }

    #[test]
    fn a_failed_expectation_is_told_once() -> Result<()> {
        let (_dir, case) = case(&SCRIPT.replace("{\"n\":2,\"k\":2}", "{\"k\":7,\"n\":2}"))?;
        let verdict = run_case(&case);
        let told: Vec<(u64, &str)> = verdict.findings.iter().map(|f| (f.line, f.text.as_str())).collect();
        let text = "expect v: not so (- expected, + found; one epoch a step, 1 worker)\n  \
                    + {\"k\":2,\"n\":2}\n  - {\"k\":7,\"n\":2}\n";
        assert_eq!(told, [(5, text)]);
        assert!(verdict.ways_agree());
        Ok(())
    }
}
