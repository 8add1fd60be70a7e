//! The table: one line per measurement, with its ratio, its bar and the verdict.

pub mod profile;
pub mod spread;

use std::fmt;

use crate::child::Measured;
use crate::options::Options;

/// A line of the table.
pub struct Line {
    what: String,
    measured: Measured,
    against: Option<(String, f64)>,
    bar: Option<f64>,
}

impl Line {
    /// A line without ratio.
    pub fn new(what: String, measured: Measured) -> Line {
        Line { what, measured, against: None, bar: None }
    }

    /// Adds its ratio to a rate.
    pub fn against(mut self, what: &str, rate: f64) -> Line {
        self.against = Some((what.to_owned(), self.measured.rate() / rate));
        self
    }

    /// Sets the bar: the least value of its ratio.
    pub fn at_least(mut self, bar: f64) -> Line {
        self.bar = Some(bar);
        self
    }

    fn passes(&self) -> Option<bool> {
        Some(self.against.as_ref()?.1 >= self.bar?)
    }
}

/// All lines.
#[derive(Default)]
pub struct Table(Vec<Line>);

impl Table {
    /// Adds a line.
    pub fn push(&mut self, line: Line) {
        self.0.push(line);
    }

    /// Returns true if every line with a bar reached it.
    pub fn passed(&self) -> bool {
        self.0.iter().all(|line| line.passes().unwrap_or(true))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| measured | events | CPU s | wall s | events per CPU-second | events per second | ratio | pass line | |"
        )?;
        writeln!(f, "| --- | ---: | ---: | ---: | ---: | ---: | --- | --- | --- |")?;
        for line in &self.0 {
            let m = &line.measured;
            let ratio = line.against.as_ref().map(|(what, ratio)| format!("{:.1}% of {what}", ratio * 100.0));
            let bar = line.bar.map(|bar| format!("at least {:.0}%", bar * 100.0));
            let verdict = line.passes().map_or("", |passes| if passes { "PASS" } else { "FAIL" });
            writeln!(
                f,
                "| {} | {} | {:.2} | {:.2} | {:.0} | {:.0} | {} | {} | {verdict} |",
                line.what,
                m.events,
                m.cpu_s,
                m.wall_s,
                m.rate(),
                m.events as f64 / m.wall_s.max(0.001),
                ratio.unwrap_or_default(),
                bar.unwrap_or_default(),
            )?;
        }
        Ok(())
    }
}

/// The machine: its cores and its memory.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok());
    format!("{cores} cores, {} GiB of memory", kib.map_or(0, |kib: u64| kib >> 20))
}

/// The machine's load, averaged over a minute.
pub fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split_whitespace().next().unwrap_or("unknown").to_owned()
}

/// The text above the table: machine, load and number of runs.
pub fn title(options: &Options) -> String {
    format!(
        "{}, {} workers, load {} at the end; best of {} runs but for the lines with keys held.\n",
        machine(),
        options.workers,
        load(),
        options.repeat,
    )
}

/// Formats a number in short form: `10 k`, `1 M`.
pub fn short(n: u64) -> String {
    match n {
        _ if n >= 1_000_000 && n.is_multiple_of(1_000_000) => format!("{} M", n / 1_000_000),
        _ if n >= 1_000 && n.is_multiple_of(1_000) => format!("{} k", n / 1_000),
        _ => n.to_string(),
    }
}
