//! A case run all ways and judged: what the first way shows must be as expected, and what the others
//! show at the same step's end must be what the first shows.

use std::collections::BTreeMap;

use dataflows::plan::{Op, Rel, When};

use super::case::{Case, Expect};
use super::picture::{self, Picture, What};
use super::table::{Table, difference};
use super::update::Rewrite;
use super::way::{WAYS, Way};
use crate::exit;

/// Something that is not as it must be.
pub struct Finding {
    /// The line in the script.
    pub line: u64,
    /// What is wrong, and the difference.
    pub text: String,
}

/// How a case fared.
pub struct Verdict<'a> {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Expectations that are not met, with what is found.
    pub rewrites: Vec<Rewrite<'a>>,
}

impl Verdict<'_> {
    /// Whether nothing is wrong but expectations.
    pub fn ways_agree(&self) -> bool {
        self.findings.len() == self.rewrites.len()
    }
}

/// Runs a case all ways.
pub fn judge(case: &Case) -> Verdict<'_> {
    let mut verdict = Verdict { findings: vec![], rewrites: vec![] };
    let [first, others @ ..] = &WAYS;
    let wanted = match first.run(case) {
        Ok(pictures) => pictures,
        Err(error) => {
            verdict.findings.push(failed(first, &error));
            return verdict;
        }
    };
    for (step, picture) in case.steps.iter().zip(&wanted) {
        for expect in &step.expects {
            verdict.expectation(case, expect, (first, picture.as_ref()));
        }
    }
    let mut seen = Vec::new();
    // What a lookup as of now finds depends on what was there when: one epoch for all is another story.
    let now = |rel: &Rel| matches!(rel.op, Op::Lookup { when: When::Now, .. });
    let looks_up = case.steps.len() > 1 && case.plan.rels.iter().any(now);
    for way in others.iter().filter(|way| !(looks_up && way.skips_steps())) {
        match way.run(case) {
            Ok(pictures) => seen.push((way, pictures)),
            Err(error) => verdict.findings.push(failed(way, &error)),
        }
    }
    verdict.findings.extend(apart(case, &wanted, &seen));
    verdict.findings.sort_by_key(|finding| finding.line);
    verdict
}

impl<'a> Verdict<'a> {
    /// Holds an expectation against what the first way shows.
    fn expectation(&mut self, case: &Case, expect: &'a Expect, (way, picture): (&Way, Option<&Picture>)) {
        let nothing = Table::default();
        let found = picture.and_then(|picture| picture.get(&expect.what)).unwrap_or(&nothing);
        let shape = case.shapes.get(expect.what);
        let Some(apart) = shape.and_then(|shape| difference(shape, &expect.wanted, found)) else { return };
        let name = picture::name(&case.plan, expect.what);
        let text = format!("expect {name}: not so (- expected, + found; {way})\n{apart}");
        self.findings.push(Finding { line: expect.line, text });
        self.rewrites.push(Rewrite { line: expect.line, rows: &expect.rows, found: found.clone() });
    }
}

/// What other ways show otherwise than the first, the same difference once.
fn apart(case: &Case, wanted: &[Option<Picture>], others: &[(&Way, Vec<Option<Picture>>)]) -> Vec<Finding> {
    let mut found: BTreeMap<(u64, What, String), Vec<String>> = BTreeMap::new();
    for (way, pictures) in others {
        for ((step, wanted), picture) in case.steps.iter().zip(wanted).zip(pictures) {
            let (Some(wanted), Some(picture)) = (wanted, picture) else { continue };
            for (what, table) in wanted {
                // Without the steps before, the last one's changes are those of all.
                let all = way.skips_steps() && case.steps.len() > 1;
                let (Some(other), Some(shape)) = (picture.get(what), case.shapes.get(*what)) else {
                    continue;
                };
                if matches!(what, What::Changes(_)) && all {
                    continue;
                }
                if let Some(apart) = difference(shape, table, other) {
                    found.entry((step.line, *what, apart)).or_default().push(way.to_string());
                }
            }
        }
    }
    let finding = |((line, what, apart), ways): ((u64, What, String), Vec<String>)| {
        let name = picture::name(&case.plan, what);
        let (first, ways) = (&WAYS[0], ways.join("; "));
        let text = format!("{name}: not the same in all ways (- {first}; + {ways})\n{apart}");
        Finding { line, text }
    };
    found.into_iter().map(finding).collect()
}

/// The engine failed; how, in its words.
fn failed(way: &Way, error: &anyhow::Error) -> Finding {
    let told = exit::sentences(error).replace('\n', "\n  ");
    Finding { line: 1, text: format!("the script cannot be run ({way})\n  {told}") }
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
        let case = case::read(&path, &Variables::only(&[]))?;
        Ok((dir, case))
    }

    #[test]
    fn all_ways_are_held_against_the_first() -> Result<()> {
        let (_dir, case) = case(SCRIPT)?;
        let verdict = judge(&case);
        let told: Vec<&str> = verdict.findings.iter().map(|finding| finding.text.as_str()).collect();
        assert_eq!(told, Vec::<&str>::new());

        let wanted = WAYS[0].run(&case)?;
        let mut other = WAYS[3].run(&case)?;
        let picture = other.last_mut().context("two steps")?.as_mut().context("a picture")?;
        let view = picture.get_mut(&What::View(0)).context("a view")?;
        *view = Table::new(vec![r#"{"k":1,"n":1}"#.to_owned(), r#"{"k":2,"n":4}"#.to_owned()]);
        let findings = apart(&case, &wanted, &[(&WAYS[4], wanted.clone()), (&WAYS[3], other)]);
        let told: Vec<(u64, &str)> = findings.iter().map(|f| (f.line, f.text.as_str())).collect();
        let text = "v: not the same in all ways (- one epoch a step, 1 worker; + one row an epoch, 1 worker)\n  \
                    ~ {\"k\":2}\n      - n: 3\n      + n: 4\n";
        assert_eq!(told, [(11, text)]);
        Ok(())
    }

    #[test]
    fn a_failed_expectation_is_told_once() -> Result<()> {
        let (_dir, case) = case(&SCRIPT.replace("{\"n\":2,\"k\":2}", "{\"k\":7,\"n\":2}"))?;
        let verdict = judge(&case);
        let told: Vec<(u64, &str)> = verdict.findings.iter().map(|f| (f.line, f.text.as_str())).collect();
        let text = "expect v: not so (- expected, + found; one epoch a step, 1 worker)\n  \
                    + {\"k\":2,\"n\":2}\n  - {\"k\":7,\"n\":2}\n";
        assert_eq!(told, [(5, text)]);
        assert!(verdict.ways_agree());
        Ok(())
    }
}
