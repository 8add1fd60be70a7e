//! The report: a table for each part, as Markdown and as JSON. A figure of several runs is shown as its median with its
//! bounds.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::paths::Paths;
use crate::peers::report::{counted, versions};
use crate::table::spread::Spread;
use crate::table::{load, machine};

/// A table of one part: lines with labels, and the runs of each figure.
pub struct Part {
    title: &'static str,
    labels: Vec<&'static str>,
    /// Names of the figures, with the number of digits behind the point.
    figures: Vec<(&'static str, usize)>,
    lines: Vec<Line>,
    /// Sentences below the table.
    pub notes: Vec<String>,
}

struct Line {
    labels: Vec<String>,
    /// Of each figure the runs in which there was one.
    runs: Vec<Vec<f64>>,
}

impl Part {
    /// A table without lines.
    pub fn new(title: &'static str, labels: &[&'static str], figures: &[(&'static str, usize)]) -> Part {
        let (labels, figures) = (labels.to_vec(), figures.to_vec());
        Part { title, labels, figures, lines: vec![], notes: vec![] }
    }

    /// Adds a run to the line of these labels, which is made if there is none. A figure of a run may be missing.
    pub fn add(&mut self, labels: &[&str], figures: &[Option<f64>]) {
        let found = self.lines.iter().position(|line| line.labels == labels);
        let at = found.unwrap_or_else(|| {
            let labels = labels.iter().map(|label| (*label).to_owned()).collect();
            self.lines.push(Line { labels, runs: vec![vec![]; self.figures.len()] });
            self.lines.len() - 1
        });
        for (runs, figure) in self.lines[at].runs.iter_mut().zip(figures) {
            runs.extend(figure);
        }
    }

    /// Median of a figure of a line; None if no run has it.
    pub fn median(&self, labels: &[&str], figure: &str) -> Option<f64> {
        let line = self.lines.iter().find(|line| line.labels == labels)?;
        let at = self.figures.iter().position(|(name, _)| *name == figure)?;
        (!line.runs[at].is_empty()).then(|| Spread::of(&line.runs[at]).median)
    }

    fn to_json(&self) -> Value {
        let lines = self.lines.iter().map(|line| {
            let labels = self.labels.iter().zip(&line.labels).map(|(name, label)| (*name, json!(label)));
            let figures = self.figures.iter().zip(&line.runs).map(|((name, _), runs)| {
                let Spread { least, median, most } = Spread::of(runs);
                (*name, json!({"median": median, "least": least, "most": most, "runs": runs}))
            });
            labels.chain(figures).map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>()
        });
        json!({"title": self.title, "lines": lines.collect::<Vec<_>>(), "notes": self.notes})
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.labels.iter().copied().chain(self.figures.iter().map(|(name, _)| *name));
        writeln!(f, "### {}\n\n| {} |", self.title, names.collect::<Vec<_>>().join(" | "))?;
        let dashes = self.labels.iter().map(|_| "---").chain(self.figures.iter().map(|_| "---:"));
        writeln!(f, "| {} |", dashes.collect::<Vec<_>>().join(" | "))?;
        for line in &self.lines {
            write!(f, "| {} |", line.labels.join(" | "))?;
            for ((_, digits), runs) in self.figures.iter().zip(&line.runs) {
                let Spread { least, median, most } = Spread::of(runs);
                match runs.len() {
                    0 => write!(f, " - |")?,
                    1 => write!(f, " {median:.digits$} |")?,
                    _ => write!(f, " {median:.digits$} ({least:.digits$}-{most:.digits$}) |")?,
                }
            }
            writeln!(f)?;
        }
        for note in &self.notes {
            writeln!(f, "\n{note}")?;
        }
        Ok(())
    }
}

/// Everything that was measured, with all that is needed to measure it again.
pub struct Report {
    command: String,
    repeat: usize,
    versions: Vec<String>,
    /// Tables, in the order of the parts.
    pub parts: Vec<Part>,
}

impl Report {
    /// A report without parts.
    pub fn new(arguments: &[String], repeat: usize, paths: &Paths) -> Report {
        let command = format!("herald-benches serve {}", arguments.join(" ")).trim_end().to_owned();
        let versions = versions(paths).into_iter().filter(|version| !version.starts_with("Flink")).collect();
        Report { command, repeat, versions, parts: vec![] }
    }

    /// The report as JSON.
    pub fn to_json(&self) -> String {
        let parts: Vec<Value> = self.parts.iter().map(Part::to_json).collect();
        let report = json!({"command": self.command, "machine": machine(), "load": load(),
            "versions": self.versions, "repeat": self.repeat, "parts": parts});
        format!("{report:#}\n")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "`{}`\n", self.command)?;
        writeln!(f, "{}, load {} at the end.", machine(), load())?;
        writeln!(f, "{}. Median (least-most) of {}.", self.versions.join(", "), counted(self.repeat))?;
        for part in &self.parts {
            write!(f, "\n{part}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_gathers_the_runs_of_its_labels() {
        let mut part = Part::new("Times", &["system", "load"], &[("p50 ms", 1), ("rate", 0)]);
        part.add(&["Herald", "10%"], &[Some(2.0), None]);
        part.add(&["Herald", "50%"], &[Some(7.0), Some(100.0)]);
        part.add(&["Herald", "10%"], &[Some(4.0), None]);
        part.notes.push("A note.".to_owned());
        let table = "### Times\n\n| system | load | p50 ms | rate |\n| --- | --- | ---: | ---: |\n\
                     | Herald | 10% | 3.0 (2.0-4.0) | - |\n| Herald | 50% | 7.0 | 100 |\n\nA note.\n";
        assert_eq!(part.to_string(), table);
        assert_eq!(part.median(&["Herald", "10%"], "p50 ms"), Some(3.0));
        assert_eq!(part.median(&["Herald", "10%"], "rate"), None);
        assert_eq!(part.to_json()["lines"][0]["p50 ms"]["runs"], json!([2.0, 4.0]));
    }
}
