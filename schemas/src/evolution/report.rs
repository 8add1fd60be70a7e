//! Findings and verdicts as text of 80 columns and as JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{Comparison, Finding, Level, Place, Side, Verdict, Weight};

/// Columns of a line.
const WIDTH: usize = 80;

/// Findings of one place and reason, for all readers and versions that they concern.
struct Told<'c> {
    first: &'c Finding,
    sides: Vec<Side>,
    against: Vec<usize>,
    remedies: Vec<(Side, &'c str)>,
}

impl Comparison {
    /// The report for people. With a level asked for it has the findings that count for it, else all of them and
    /// a table of all levels.
    pub fn text(&self, asked: Option<Level>) -> String {
        let old = self.old.join(", ");
        let mut out = wrapped(&format!("{} compared with {old} ({})", self.new, self.kind.name()), 0);
        let told = self.told(asked);
        for one in &told {
            out.push('\n');
            out.push_str(&self.finding_text(one));
        }
        if told.is_empty() {
            out.push_str("\nNothing breaks a reader.\n");
        }
        out.push('\n');
        match asked {
            Some(level) => {
                let _ = writeln!(out, "{}: {}", level.name(), self.verdict(level).word());
            }
            None => {
                for level in Level::ALL {
                    let _ = writeln!(out, "{:<20} {}", level.name(), self.verdict(level).word());
                }
            }
        }
        out
    }

    /// The report for programs.
    pub fn json(&self, asked: Option<Level>) -> Value {
        let mut levels = serde_json::Map::new();
        for level in Level::ALL {
            levels.insert(level.name().to_owned(), json!(self.verdict(level).word()));
        }
        let mut findings = Vec::new();
        for one in self.told(asked) {
            let sides: Vec<&str> = one.sides.iter().map(|side| side_word(*side)).collect();
            let against: Vec<&str> = one.against.iter().map(|at| self.old[*at].as_str()).collect();
            let mut remedies = serde_json::Map::new();
            for (side, remedy) in &one.remedies {
                remedies.insert(side_word(*side).to_owned(), json!(remedy));
            }
            findings.push(json!({
                "path": one.first.path, "file": self.new, "line": one.first.at.line, "column": one.first.at.column,
                "weight": weight_word(one.first.weight), "breaks": sides, "against": against,
                "why": one.first.why, "remedies": remedies,
            }));
        }
        json!({
            "type": self.kind.name(), "new": self.new, "old": self.old, "levels": levels, "findings": findings,
        })
    }

    /// The findings, those of one place and reason together.
    fn told(&self, asked: Option<Level>) -> Vec<Told<'_>> {
        let mut told: Vec<Told<'_>> = Vec::new();
        for finding in &self.findings {
            let counts =
                asked.is_none_or(|level| self.counts(finding, level) || finding.weight == Weight::Note);
            if !counts {
                continue;
            }
            let key = (&finding.path, finding.at, &finding.why, finding.weight);
            let same = told
                .iter_mut()
                .find(|one| (&one.first.path, one.first.at, &one.first.why, one.first.weight) == key);
            match same {
                Some(one) => one.add(finding),
                None => {
                    let (sides, against, remedies) = (Vec::new(), Vec::new(), Vec::new());
                    let mut one = Told { first: finding, sides, against, remedies };
                    one.add(finding);
                    told.push(one);
                }
            }
        }
        told
    }

    fn finding_text(&self, one: &Told<'_>) -> String {
        let finding = one.first;
        let path = if finding.path.is_empty() { "the whole schema" } else { &finding.path };
        let mut out = wrapped(&format!("{} {path}", place_text(&self.new, finding.at)), 2);
        out.push_str(&wrapped(&format!("  {}.", capitalised(&finding.why)), 2));
        if self.old.len() > 1 && finding.side != Side::Itself {
            let names: Vec<&str> = one.against.iter().map(|at| self.old[*at].as_str()).collect();
            out.push_str(&wrapped(&format!("  Against {}.", names.join(", ")), 2));
        }
        let lead = match finding.weight {
            Weight::Broken => "",
            Weight::NotJudged => "Not judged; it may break: ",
            Weight::Note => "Breaks nobody; it concerns: ",
        };
        for side in &one.sides {
            out.push_str(&wrapped(&format!("  {}: {lead}{}.", side_word(*side), side_text(*side)), 4));
        }
        let mut said: Vec<&str> = Vec::new();
        for (_, remedy) in &one.remedies {
            if !said.contains(remedy) {
                said.push(remedy);
                out.push_str(&wrapped(&format!("  do: {remedy}."), 4));
            }
        }
        out
    }
}

impl<'c> Told<'c> {
    fn add(&mut self, finding: &'c Finding) {
        if !self.sides.contains(&finding.side) {
            self.sides.push(finding.side);
            self.remedies.push((finding.side, &finding.remedy));
        }
        if !self.against.contains(&finding.against) {
            self.against.push(finding.against);
        }
    }
}

impl Verdict {
    /// Tells whether the level is kept for certain.
    pub fn holds(self) -> bool {
        self == Verdict::Holds
    }
}

fn place_text(file: &str, at: Place) -> String {
    format!("{file}:{at}")
}

fn side_word(side: Side) -> &'static str {
    match side {
        Side::Backward => "backward",
        Side::Forward => "forward",
        Side::Itself => "itself",
    }
}

fn side_text(side: Side) -> &'static str {
    match side {
        Side::Backward => "a consumer with the new schema cannot read records written with the old one",
        Side::Forward => "a consumer that still has the old schema cannot read new records",
        Side::Itself => "the new schema is invalid: registries and producers refuse it",
    }
}

fn weight_word(weight: Weight) -> &'static str {
    match weight {
        Weight::Broken => "broken",
        Weight::NotJudged => "not judged",
        Weight::Note => "note",
    }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        // Names stay as they are.
        Some(first) if !text.starts_with("$") => first.to_uppercase().chain(chars).collect(),
        _ => text.to_owned(),
    }
}

/// A line broken at spaces, with further lines indented.
fn wrapped(line: &str, indent: usize) -> String {
    let begins = line.len() - line.trim_start().len();
    let (mut out, mut width) = (" ".repeat(begins), begins);
    let mut first = true;
    for word in line.split_whitespace() {
        let length = word.chars().count();
        if !first && width + 1 + length > WIDTH {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            (width, first) = (indent, true);
        }
        if !first {
            out.push(' ');
            width += 1;
        }
        out.push_str(word);
        width += length;
        first = false;
    }
    out.push('\n');
    out
}
