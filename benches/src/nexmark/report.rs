//! The report: a line for each query, as Markdown and as JSON.

use std::fmt;

use serde_json::{Value, json};

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

    fn to_json(&self) -> Value {
        let shown = |runs: &[Run]| -> Vec<Value> {
            runs.iter().map(|run| json!({"cpu_s": run.cpu_s, "wall_s": run.wall_s})).collect()
        };
        json!({"query": self.query, "rows": self.rows, "ratios": self.ratios(), "herald": shown(&self.herald),
            "flink": shown(&self.flink), "flink_without_events": shown(&self.start)})
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {} | {} |", self.query, self.rows.map(|rows| rows.to_string()).unwrap_or_default())?;
        for runs in [&self.herald, &self.flink] {
            match runs.as_slice() {
                [] => write!(f, " | |")?,
                runs => {
                    let cpu = spread_of(runs, |run| run.cpu_s);
                    write!(f, " {:.2} | {:.2}-{:.2} |", cpu.median, cpu.least, cpu.most)?;
                }
            }
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
        writeln!(f)
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

    /// The geometric mean of each of the two ratios; None without one.
    fn means(&self) -> Option<[f64; 2]> {
        let ratios: Vec<[f64; 2]> = self.lines.iter().filter_map(Line::ratios).collect();
        let mean = |at: usize| {
            let logarithms: f64 = ratios.iter().map(|of_line| of_line[at].ln()).sum();
            (logarithms / ratios.len() as f64).exp()
        };
        (!ratios.is_empty()).then(|| [mean(0), mean(1)])
    }

    /// The least of each of the two ratios, with the query; None without one.
    fn lowest(&self) -> Option<[(f64, &'static str); 2]> {
        let least = |at: usize| {
            let ratios = self.lines.iter().filter_map(|line| Some((line.ratios()?[at], line.query)));
            ratios.min_by(|a, b| a.0.total_cmp(&b.0))
        };
        Some([least(0)?, least(1)?])
    }

    /// What was run.
    fn versions(&self) -> String {
        format!("Herald {}, Flink 2.2.1, Java {}", env!("CARGO_PKG_VERSION"), java_version())
    }

    /// The report as JSON.
    pub fn to_json(&self) -> String {
        let lines: Vec<Value> = self.lines.iter().map(Line::to_json).collect();
        let lowest =
            self.lowest().map(|both| both.map(|(ratio, query)| json!({"ratio": ratio, "query": query})));
        let report = json!({"command": self.command, "machine": machine(), "load": load(),
            "versions": self.versions(), "events": self.events, "bytes": self.bytes, "repeat": self.repeat,
            "geometric_means": self.means(), "lowest": lowest, "queries": lines});
        format!("{report:#}\n")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "`{}`\n", self.command)?;
        writeln!(f, "{}, load {} at the end; {}.", machine(), load(), self.versions())?;
        let mib = self.bytes as f64 / f64::from(1 << 20);
        writeln!(f, "{} events, {mib:.0} MiB. Median of {}.", short(self.events), counted(self.repeat))?;
        let compared = self.lines.iter().all(|line| line.rows.is_some());
        writeln!(
            f,
            "{}\n",
            if compared {
                "Every answer was compared, row by row, and is equal."
            } else {
                "No answer was compared."
            }
        )?;
        write!(
            f,
            "| query | rows | Herald CPU s | least-most | Flink CPU s | least-most | without events |"
        )?;
        writeln!(f, " Flink/Herald | without start | Herald wall s | Flink wall s |")?;
        write!(f, "| --- | ---: | ---: | ---: | ---: | ---: | ---: |")?;
        writeln!(f, " ---: | ---: | ---: | ---: |")?;
        for line in &self.lines {
            write!(f, "{line}")?;
        }
        if let (Some([all, less]), Some([(lowest, query), (least, least_query)])) =
            (self.means(), self.lowest())
        {
            writeln!(f, "\nGeometric mean of Flink/Herald: {all:.2}, without Flink's start {less:.2}.")?;
            writeln!(f, "Lowest: {lowest:.2} ({query}), without Flink's start {least:.2} ({least_query}).")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(query: &'static str, [herald, flink, start]: [f64; 3]) -> Line {
        let runs = |cpu_s: f64| vec![Run { cpu_s, wall_s: 1.0, ..Run::default() }];
        Line { query, rows: Some(7), herald: runs(herald), flink: runs(flink), start: runs(start) }
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
        assert_eq!(report.means().map(|means| means.map(f64::round)), Some([8.0, 4.0]));
        assert_eq!(report.lowest(), Some([(4.0, "q1"), (2.0, "q1")]));
        let text = report.to_string();
        assert!(text.contains(
            "| q0 | 7 | 1.00 | 1.00-1.00 | 16.00 | 16.00-16.00 | 8.00 | 16.00 | 8.00 | 1.00 | 1.00 |"
        ));
        assert!(text.contains("Geometric mean of Flink/Herald: 8.00, without Flink's start 4.00."));
        assert!(report.to_json().contains("\"geometric_means\""));
    }

    #[test]
    fn one_engine_alone_has_no_ratios() {
        let alone =
            Line { query: "q0", herald: vec![Run { cpu_s: 1.0, ..Run::default() }], ..Line::default() };
        let report = report(vec![alone]);
        assert_eq!((report.means(), report.lowest()), (None, None));
        assert!(report.to_string().contains("| q0 |  | 1.00 | 1.00-1.00 | | | | | | 0.00 | |\n"));
        assert!(report.to_string().contains("No answer was compared."));
    }
}
