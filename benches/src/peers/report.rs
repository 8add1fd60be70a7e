//! The report: one table for each shape of record, as Markdown and as JSON.

use std::fmt;
use std::process::Command;

use serde_json::{Value, json};

use super::Run;
use super::games::Input;
use super::options::PeerOptions;
use super::systems::System;
use crate::paths::Paths;
use crate::table::spread::Spread;
use crate::table::{load, machine};

/// Runs over one shape of record.
pub struct Section {
    /// The topic.
    pub input: Input,
    /// Receiving it with librdkafka alone.
    pub receive: Vec<Run>,
    /// Reading and decoding it with Herald's reader and decoder.
    pub decode: Vec<Run>,
    /// Each system's runs.
    pub runs: Vec<(System, Vec<Run>)>,
}

impl Section {
    /// A section without runs.
    pub fn new(input: Input, systems: &[System]) -> Section {
        let runs = systems.iter().map(|system| (*system, vec![])).collect();
        Section { input, receive: vec![], decode: vec![], runs }
    }

    /// All lines: the limits and the systems, by name.
    fn lines(&self) -> Vec<(&'static str, &[Run])> {
        let limits = [
            ("receive only (librdkafka)", self.receive.as_slice()),
            ("receive and decode (Herald's)", self.decode.as_slice()),
        ];
        let systems = self.runs.iter().map(|(system, runs)| (system.title(), runs.as_slice()));
        limits.into_iter().chain(systems).collect()
    }

    /// Median CPU time of the system that the others are compared with.
    fn herald_s(&self) -> Option<f64> {
        let (_, runs) = self.runs.iter().find(|(system, _)| *system == System::Herald)?;
        Some(spread_of(runs, |run| run.cpu_s).median)
    }

    fn to_json(&self) -> Value {
        let lines = self.lines().into_iter().map(|(name, runs)| {
            let runs: Vec<Value> = runs
                .iter()
                .map(|run| {
                    json!({"cpu_s": run.cpu_s, "wall_s": run.wall_s, "peak_kib": run.peak_kib,
                        "answers_written": run.written})
                })
                .collect();
            json!({"name": name, "runs": runs})
        });
        let lines: Vec<Value> = lines.collect();
        let Input { records, bytes, accepted, .. } = self.input;
        json!({"shape": self.input.shape.topic(), "events": records, "bytes": bytes, "accepted": accepted,
            "lines": lines})
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Input { shape, records, bytes, accepted } = self.input;
        let size = bytes / records.max(1);
        writeln!(f, "### {records} {} records of {size} bytes, {accepted} accepted\n", shape.topic())?;
        writeln!(
            f,
            "| | CPU s | least-most | wall s | events/CPU s | ratio | receive | decode | peak MiB |"
        )?;
        writeln!(f, "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")?;
        let [receive, decode] =
            [&self.receive, &self.decode].map(|runs| spread_of(runs, |run| run.cpu_s).median);
        for (at, (name, runs)) in self.lines().into_iter().enumerate() {
            let cpu = spread_of(runs, |run| run.cpu_s);
            let wall = spread_of(runs, |run| run.wall_s).median;
            write!(f, "| {name} | {:.2} | {:.2}-{:.2} | {wall:.2} |", cpu.median, cpu.least, cpu.most)?;
            write!(f, " {:.0} |", records as f64 / cpu.median.max(0.01))?;
            if at < 2 {
                writeln!(f, " | | | |")?;
                continue;
            }
            let ratio = self.herald_s().map(|herald| format!("{:.2}", cpu.median / herald));
            let share = |limit: f64| format!("{:.1}%", 100.0 * limit / cpu.median.max(0.01));
            let peak = spread_of(runs, |run| run.peak_kib as f64 / 1024.0).median;
            let ratio = ratio.unwrap_or_default();
            writeln!(f, " {ratio} | {} | {} | {peak:.0} |", share(receive), share(decode))?;
        }
        Ok(())
    }
}

/// Median and bounds of a figure of some runs.
pub fn spread_of(runs: &[Run], figure: impl Fn(&Run) -> f64) -> Spread {
    Spread::of(&runs.iter().map(figure).collect::<Vec<f64>>())
}

/// Everything that was measured, with what is needed to measure it again.
pub struct Report {
    command: String,
    players: String,
    repeat: usize,
    versions: Vec<String>,
    /// One for each shape of record.
    pub sections: Vec<Section>,
}

impl Report {
    /// A report without sections.
    pub fn new(options: &PeerOptions, arguments: &[String], paths: &Paths) -> Report {
        let law = if options.zipf { "by Zipf's law (0.99)" } else { "all alike" };
        Report {
            command: format!("herald-benches peers {}", arguments.join(" ")).trim_end().to_owned(),
            players: format!("{} players, {law}", options.keys),
            repeat: options.repeat,
            versions: versions(paths),
            sections: vec![],
        }
    }

    /// The report as JSON.
    pub fn to_json(&self) -> String {
        let sections: Vec<Value> = self.sections.iter().map(Section::to_json).collect();
        let report = json!({"command": self.command, "machine": machine(), "load": load(), "versions": self.versions,
            "players": self.players, "repeat": self.repeat, "sections": sections});
        format!("{report:#}\n")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "`{}`\n", self.command)?;
        writeln!(f, "{}, load {} at the end; {}.", machine(), load(), self.players)?;
        writeln!(f, "{}. Median of {}.", self.versions.join(", "), counted(self.repeat))?;
        writeln!(f, "Every answer was compared, key by key, and is right.")?;
        for section in &self.sections {
            write!(f, "\n{section}")?;
        }
        Ok(())
    }
}

/// Versions of all that takes part.
pub fn versions(paths: &Paths) -> Vec<String> {
    let script = std::fs::read_to_string(&paths.kafka_script).unwrap_or_default();
    let broker = script.lines().find_map(|line| line.strip_prefix("VERSION=")).unwrap_or("unknown");
    vec![
        format!("Herald {}", env!("CARGO_PKG_VERSION")),
        "Kafka Streams 4.4.0".to_owned(),
        "Flink 2.2.1 with connector 5.0.0-2.2".to_owned(),
        format!("Java {}", java_version()),
        format!("broker: Apache Kafka {broker}"),
    ]
}

/// The version of the Java that runs the peers.
pub fn java_version() -> String {
    // It tells its version on standard error.
    let said = Command::new("java").arg("-version").output().map(|output| output.stderr).unwrap_or_default();
    String::from_utf8_lossy(&said).split('"').nth(1).unwrap_or("unknown").to_owned()
}

/// A number of runs, in words.
pub fn counted(runs: usize) -> String {
    if runs == 1 { "1 run".to_owned() } else { format!("{runs} runs") }
}
