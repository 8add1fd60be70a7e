//! The report: a line for each query, as Markdown and as JSON.

use std::fmt;

use serde_json::{Value, json};

use super::dbsp;
use super::events::Events;
use super::options::NexmarkOptions;
use crate::peers::Run;
use crate::peers::report::{counted, java_version, spread_of};
use crate::table::{load, machine, short};

/// Least CPU time that a run can be told to have taken: a tick of the kernel.
const TICK_S: f64 = 0.01;

/// Runs of one query.
#[derive(Default)]
pub struct Line {
    /// Its name.
    pub query: &'static str,
    /// Rows of its answer, which are equal; None if they were not compared.
    pub rows: Option<u64>,
    /// Herald's runs.
    pub herald: Vec<Run>,
    /// Flink's runs.
    pub flink: Vec<Run>,
    /// Flink's runs without events: start, planning and end.
    pub start: Vec<Run>,
    /// Runs of dbsp; none if it has not the query.
    pub dbsp: Vec<Run>,
}

impl Line {
    /// Flink's CPU time by Herald's, and the same without what Flink takes when there are no events; None if one of the
    /// two was not measured.
    fn ratios(&self) -> Option<[f64; 2]> {
        if self.herald.is_empty() || self.flink.is_empty() {
            return None;
        }
        let [herald, flink, start] = [&self.herald, &self.flink, &self.start].map(|runs| cpu_s(runs));
        let herald = herald.max(TICK_S);
        Some([flink / herald, (flink - start).max(TICK_S) / herald])
    }

    /// CPU time of dbsp by Herald's; None if one of the two was not measured.
    fn dbsp_ratio(&self) -> Option<f64> {
        if self.herald.is_empty() || self.dbsp.is_empty() {
            return None;
        }
        Some(cpu_s(&self.dbsp) / cpu_s(&self.herald).max(TICK_S))
    }

    fn to_json(&self) -> Value {
        let shown = |runs: &[Run]| -> Vec<Value> {
            runs.iter().map(|run| json!({"cpu_s": run.cpu_s, "wall_s": run.wall_s})).collect()
        };
        json!({"query": self.query, "rows": self.rows, "ratios": self.ratios(), "dbsp_ratio": self.dbsp_ratio(),
            "herald": shown(&self.herald), "flink": shown(&self.flink), "flink_without_events": shown(&self.start),
            "dbsp": shown(&self.dbsp)})
    }

    /// The columns of dbsp, which follow the others.
    fn dbsp_columns(&self) -> String {
        if self.dbsp.is_empty() {
            return " | | | |".to_owned();
        }
        let ratio = self.dbsp_ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
        format!(
            "{} {ratio} | {:.2} |",
            cpu_columns(&self.dbsp),
            spread_of(&self.dbsp, |run| run.wall_s).median
        )
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {} | {} |", self.query, self.rows.map(|rows| rows.to_string()).unwrap_or_default())?;
        for runs in [&self.herald, &self.flink] {
            f.write_str(&cpu_columns(runs))?;
        }
        match self.flink.as_slice() {
            [] => write!(f, " |")?,
            _ => write!(f, " {:.2} |", cpu_s(&self.start))?,
        }
        match self.ratios() {
            Some([all, less]) => write!(f, " {all:.2} | {less:.2} |")?,
            None => write!(f, " | |")?,
        }
        for runs in [&self.herald, &self.flink] {
            match runs.as_slice() {
                [] => write!(f, " |")?,
                runs => write!(f, " {:.2} |", spread_of(runs, |run| run.wall_s).median)?,
            }
        }
        Ok(())
    }
}

/// Columns of CPU time: the median, and the least and the most.
fn cpu_columns(runs: &[Run]) -> String {
    if runs.is_empty() {
        return " | |".to_owned();
    }
    let cpu = spread_of(runs, |run| run.cpu_s);
    format!(" {:.2} | {:.2}-{:.2} |", cpu.median, cpu.least, cpu.most)
}

/// A peer's ratios to Herald in all queries that both have.
struct Ratios {
    /// Their geometric mean.
    mean: f64,
    /// The least, with the query.
    lowest: (f64, &'static str),
    /// Queries in which the peer took less CPU time.
    cheaper: usize,
    /// Queries that both have.
    queries: usize,
}

impl Ratios {
    /// The ratios of some lines; None if no line has one.
    fn of(lines: &[Line], ratio: impl Fn(&Line) -> Option<f64>) -> Option<Ratios> {
        let found: Vec<(f64, &str)> =
            lines.iter().filter_map(|line| ratio(line).map(|ratio| (ratio, line.query))).collect();
        let lowest = found.iter().copied().min_by(|a, b| a.0.total_cmp(&b.0))?;
        let logarithms: f64 = found.iter().map(|(ratio, _)| ratio.ln()).sum();
        let cheaper = found.iter().filter(|(ratio, _)| *ratio < 1.0).count();
        Some(Ratios { mean: (logarithms / found.len() as f64).exp(), lowest, cheaper, queries: found.len() })
    }

    fn to_json(&self) -> Value {
        let (ratio, query) = self.lowest;
        json!({"geometric_mean": self.mean, "lowest": {"ratio": ratio, "query": query},
            "cheaper_than_herald": self.cheaper, "queries": self.queries})
    }
}

impl fmt::Display for Ratios {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ratios { mean, lowest: (lowest, query), cheaper, queries } = self;
        write!(
            f,
            "geometric mean {mean:.2}, lowest {lowest:.2} ({query}), below 1 in {cheaper} of {queries} queries"
        )
    }
}

/// Median CPU time of runs.
fn cpu_s(runs: &[Run]) -> f64 {
    spread_of(runs, |run| run.cpu_s).median
}

/// Everything that was measured, with what is needed to measure it again.
pub struct Report {
    command: String,
    events: u64,
    bytes: u64,
    repeat: usize,
    /// One for each query.
    pub lines: Vec<Line>,
}

impl Report {
    /// A report without lines.
    pub fn new(options: &NexmarkOptions, arguments: &[String], events: &Events) -> Report {
        Report {
            command: format!("herald-benches nexmark {}", arguments.join(" ")).trim_end().to_owned(),
            events: options.events,
            bytes: events.bytes,
            repeat: options.repeat,
            lines: vec![],
        }
    }

    /// The names and ratios of all peers that were measured beside Herald.
    fn ratios(&self) -> Vec<(&'static str, Ratios)> {
        let all = |at: usize| Ratios::of(&self.lines, move |line| Some(line.ratios()?[at]));
        let peers = [
            ("Flink/Herald", all(0)),
            ("without start", all(1)),
            ("dbsp/Herald", Ratios::of(&self.lines, Line::dbsp_ratio)),
        ];
        peers.into_iter().filter_map(|(name, ratios)| Some((name, ratios?))).collect()
    }

    /// Tells whether any query was run in dbsp.
    fn has_dbsp(&self) -> bool {
        self.lines.iter().any(|line| !line.dbsp.is_empty())
    }

    /// The versions of all engines.
    fn versions(&self) -> String {
        let mut versions =
            format!("Herald {}, Flink 2.2.1, Java {}", env!("CARGO_PKG_VERSION"), java_version());
        if self.has_dbsp() {
            versions.push_str(&format!(", dbsp {}", dbsp::VERSION));
        }
        versions
    }

    /// A sentence that tells which answers were compared.
    fn compared(&self) -> &'static str {
        match self.lines.iter().filter(|line| line.rows.is_some()).count() {
            0 => "No answer was compared.",
            some if some < self.lines.len() => {
                "Answers that two engines have were compared, row by row, and are equal."
            }
            _ => "Every answer was compared, row by row, and is equal.",
        }
    }

    /// The report as JSON.
    pub fn to_json(&self) -> String {
        let lines: Vec<Value> = self.lines.iter().map(Line::to_json).collect();
        let ratios: serde_json::Map<String, Value> =
            self.ratios().into_iter().map(|(name, ratios)| (name.to_owned(), ratios.to_json())).collect();
        let report = json!({"command": self.command, "machine": machine(), "load": load(),
            "versions": self.versions(), "events": self.events, "bytes": self.bytes, "repeat": self.repeat,
            "ratios": ratios, "queries": lines});
        format!("{report:#}\n")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "`{}`\n", self.command)?;
        writeln!(f, "{}, load {} at the end; {}.", machine(), load(), self.versions())?;
        let mib = self.bytes as f64 / f64::from(1 << 20);
        writeln!(f, "{} events, {mib:.0} MiB. Median of {}.", short(self.events), counted(self.repeat))?;
        writeln!(f, "{}\n", self.compared())?;
        let mut head =
            "| query | rows | Herald CPU s | least-most | Flink CPU s | least-most | without events |"
                .to_owned();
        head.push_str(" Flink/Herald | without start | Herald wall s | Flink wall s |");
        if self.has_dbsp() {
            head.push_str(" dbsp CPU s | least-most | dbsp/Herald | dbsp wall s |");
        }
        writeln!(f, "{head}\n| --- |{}", " ---: |".repeat(head.matches('|').count() - 2))?;
        for line in &self.lines {
            let dbsp = if self.has_dbsp() { line.dbsp_columns() } else { String::new() };
            writeln!(f, "{line}{dbsp}")?;
        }
        let ratios = self.ratios();
        if !ratios.is_empty() {
            writeln!(f)?;
        }
        for (name, ratios) in ratios {
            writeln!(f, "- {name}: {ratios}.")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(query: &'static str, [herald, flink, start]: [f64; 3]) -> Line {
        let runs = |cpu_s: f64| vec![Run { cpu_s, wall_s: 1.0, ..Run::default() }];
        let [herald, flink, start] = [herald, flink, start].map(runs);
        Line { query, rows: Some(7), herald, flink, start, dbsp: vec![] }
    }

    fn report(lines: Vec<Line>) -> Report {
        Report {
            command: "herald-benches nexmark".to_owned(),
            events: 1000,
            bytes: 1 << 20,
            repeat: 1,
            lines,
        }
    }

    #[test]
    fn ratios_are_of_flink_to_herald() {
        let report = report(vec![line("q0", [1.0, 16.0, 8.0]), line("q1", [2.0, 8.0, 4.0])]);
        let text = report.to_string();
        assert!(text.contains(
            "| q0 | 7 | 1.00 | 1.00-1.00 | 16.00 | 16.00-16.00 | 8.00 | 16.00 | 8.00 | 1.00 | 1.00 |\n"
        ));
        assert!(
            text.contains(
                "- Flink/Herald: geometric mean 8.00, lowest 4.00 (q1), below 1 in 0 of 2 queries.\n"
            )
        );
        assert!(text.contains(
            "- without start: geometric mean 4.00, lowest 2.00 (q1), below 1 in 0 of 2 queries.\n"
        ));
        assert!(!text.contains("dbsp") && report.to_json().contains("\"geometric_mean\""));
    }

    #[test]
    fn dbsp_has_columns_of_its_own() {
        let mut first = line("q0", [1.0, 16.0, 8.0]);
        first.dbsp = vec![Run { cpu_s: 0.5, wall_s: 0.25, ..Run::default() }];
        let text = report(vec![first, line("q11", [2.0, 8.0, 4.0])]).to_string();
        assert!(text.contains("| 8.00 | 1.00 | 1.00 | 0.50 | 0.50-0.50 | 0.50 | 0.25 |\n"));
        assert!(text.contains("| 2.00 | 1.00 | 1.00 | | | | |\n"));
        assert!(
            text.contains(
                "- dbsp/Herald: geometric mean 0.50, lowest 0.50 (q0), below 1 in 1 of 1 queries.\n"
            )
        );
        let columns = |row: &str| row.matches('|').count();
        let table: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
        assert!(table.iter().all(|row| columns(row) == columns(table[0])));
    }

    #[test]
    fn one_engine_alone_has_no_ratios() {
        let alone =
            Line { query: "q0", herald: vec![Run { cpu_s: 1.0, ..Run::default() }], ..Line::default() };
        let report = report(vec![alone]);
        assert!(report.ratios().is_empty());
        assert!(report.to_string().contains("| q0 |  | 1.00 | 1.00-1.00 | | | | | | 0.00 | |\n"));
        assert!(report.to_string().contains("No answer was compared."));
    }
}
