//! Profile of the run through Kafka: CPU seconds by thread, and the phases of its epochs as reported by
//! its own `/metrics`.
//!
//! Phases are wall time: decode and step are summed over the workers, and all four overlap. CPU time
//! after the last sample is a line of its own.

use std::collections::BTreeMap;
use std::fmt;

use crate::spine::Observed;

/// Beginnings of thread names (cut at 15 bytes by the kernel) and the tasks of the threads.
const THREADS: [(&str, &str); 10] = [
    ("timely:work", "workers: decode, judge, dataflow, encode"),
    ("herald-commit", "committer: one write an epoch"),
    ("herald-publish", "publisher: outbox to the transaction"),
    ("herald-serve", "HTTP and signals"),
    ("rocksdb", "RocksDB: flush and compaction"),
    ("rdk:broker", "Kafka client: fetch, send, (de)compress"),
    ("rdk:", "Kafka client: the rest"),
    ("producer pollin", "Kafka client: delivery reports"),
    ("kafka-watch", "watch for new partitions"),
    ("herald", "driver: poll, close epochs"),
];

/// The profile of one run.
pub struct Profile {
    cpu_s: f64,
    wall_s: f64,
    events: u64,
    threads: Vec<(String, f64)>,
    phases: Vec<(String, f64, u64)>,
}

impl Profile {
    /// Builds the profile from the samples of a run.
    pub fn of(run: &Observed) -> Profile {
        let mut groups: BTreeMap<String, f64> = BTreeMap::new();
        for ((_, name), cpu_s) in &run.seen.threads {
            let known = THREADS.iter().find(|(start, _)| name.starts_with(start));
            let group = known.map_or_else(|| format!("thread {name}"), |(_, what)| (*what).to_owned());
            *groups.entry(group).or_default() += cpu_s;
        }
        let mut threads: Vec<(String, f64)> = groups.into_iter().collect();
        threads.sort_by(|a, b| b.1.total_cmp(&a.1));
        let m = &run.measured;
        let unseen = m.cpu_s - threads.iter().map(|(_, cpu_s)| cpu_s).sum::<f64>();
        threads.push(("not seen: after the last sample".to_owned(), unseen.max(0.0)));
        let phases = ["decode", "step", "commit", "publish"].map(|phase| {
            let value = |suffix| phase_value(&run.seen.metrics, suffix, phase).unwrap_or(0.0);
            (phase.to_owned(), value("sum"), value("count") as u64)
        });
        Profile { cpu_s: m.cpu_s, wall_s: m.wall_s, events: m.events, threads, phases: phases.into() }
    }
}

/// Reads a value of the phases' histogram.
fn phase_value(metrics: &str, suffix: &str, phase: &str) -> Option<f64> {
    let start = format!("herald_epoch_phase_duration_seconds_{suffix}{{");
    let label = format!("phase=\"{phase}\"");
    let line = metrics.lines().find(|line| line.starts_with(&start) && line.contains(&label))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| threads | CPU s | share | µs an event |")?;
        writeln!(f, "| --- | ---: | ---: | ---: |")?;
        for (what, cpu_s) in self.threads.iter().filter(|(_, cpu_s)| *cpu_s >= 0.005 * self.cpu_s) {
            let (share, each) = (100.0 * cpu_s / self.cpu_s, 1e6 * cpu_s / self.events as f64);
            writeln!(f, "| {what} | {cpu_s:.2} | {share:.1}% | {each:.1} |")?;
        }
        let each = 1e6 * self.cpu_s / self.events as f64;
        writeln!(f, "| all | {:.2} | 100% | {each:.1} |\n", self.cpu_s)?;
        writeln!(
            f,
            "Phases of its epochs in wall time ({:.2} s in all; workers add up, phases overlap):\n",
            self.wall_s
        )?;
        writeln!(f, "| phase | seconds | times | ms each |")?;
        writeln!(f, "| --- | ---: | ---: | ---: |")?;
        for (phase, seconds, times) in &self.phases {
            let each = 1e3 * seconds / (*times).max(1) as f64;
            writeln!(f, "| {phase} | {seconds:.2} | {times} | {each:.1} |")?;
        }
        Ok(())
    }
}
