//! Prometheus metrics of a running topology.
//!
//! Every name starts with `herald_` and ends in its unit; every series carries the label
//! `topology`. The driver calls the methods here once per epoch or batch, never once per
//! record. `/metrics` serves [`Metrics::text`]; `herald demo` reads the same numbers.

mod allocator;
mod exports;
mod memory;
mod pg;
mod phases;
mod serving;

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::Result;
use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};
use state::{EarlierPhase, Store, TimedPhase};

pub use allocator::{CountingAllocator, keep_freed_memory};
use exports::ExportMetrics;
use memory::MemoryGauges;
pub use pg::PgMetrics;
use phases::PhaseNotes;
pub use phases::whole_us;
pub use serving::Serving;

/// A phase of an epoch; each is timed separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Bytes to columns.
    Decode,
    /// The dataflow's work.
    Step,
    /// The synced write to the state.
    Commit,
    /// The sinks' transaction.
    Publish,
}

impl Phase {
    /// Every phase, in the order an epoch goes through them.
    pub const ALL: [Phase; 4] = [Phase::Decode, Phase::Step, Phase::Commit, Phase::Publish];

    /// Its label value.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Decode => "decode",
            Phase::Step => "step",
            Phase::Commit => "commit",
            Phase::Publish => "publish",
        }
    }
}

/// Description of a metric, for the reference pages.
pub struct MetricReference {
    /// Its name without `herald_`.
    pub name: String,
    /// counter, gauge or histogram.
    pub kind: String,
    /// Labels beside `topology`.
    pub labels: Vec<String>,
    /// Its meaning.
    pub help: String,
}

/// The registry and its metrics.
pub struct Metrics {
    registry: Registry,
    outcomes: IntCounterVec,
    lag: IntGaugeVec,
    watermark: GaugeVec,
    watermark_lag: GaugeVec,
    watermark_held_by: IntGaugeVec,
    watermark_stalled: IntGaugeVec,
    phases: HistogramVec,
    arrangement_rows: IntGaugeVec,
    touched: IntCounterVec,
    lookups: IntCounterVec,
    state_bytes: IntGauge,
    outbox_depth: IntGauge,
    outbox_bytes: IntGauge,
    hottest_worker: Gauge,
    hottest_key: GaugeVec,
    end_to_end: Histogram,
    epoch: IntGauge,
    published: IntGauge,
    build: IntGaugeVec,
    dead_letter_bytes: IntGauge,
    error_bytes: IntGauge,
    errors_not_kept: IntGauge,
    unfinished_erasures: IntGauge,
    view_history: IntGaugeVec,
    fill_groups: IntGauge,
    broker_up: Gauge,
    registry_open: Gauge,
    exports: ExportMetrics,
    serving: Serving,
    pg: PgMetrics,
    memory: MemoryGauges,
    phase_notes: PhaseNotes,
}

impl Metrics {
    /// An empty registry for the topology named.
    pub fn new(topology: &str) -> Result<Metrics> {
        let labels = HashMap::from([("topology".to_owned(), topology.to_owned())]);
        let registry = Registry::new_custom(Some("herald".to_owned()), Some(labels))?;
        let metrics = Metrics::create(registry)?;
        for collector in metrics.collectors() {
            metrics.registry.register(collector)?;
        }
        for phase in Phase::ALL {
            metrics.phases.with_label_values(&[phase.name()]);
        }
        metrics.build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(metrics)
    }

    /// Creates the metrics. Only those of the servers and of memory are registered already.
    fn create(registry: Registry) -> Result<Metrics> {
        let (watermark, watermark_lag, watermark_held_by, watermark_stalled) = watermark_gauges()?;
        Ok(Metrics {
            exports: ExportMetrics::new(&registry)?,
            serving: Serving::new(&registry)?,
            pg: PgMetrics::new(&registry)?,
            memory: MemoryGauges::new(&registry)?,
            phase_notes: PhaseNotes::default(),
            registry,
            outcomes: counter_vec(
                "source_records_total",
                "Records read, by source and by what became of them.",
                &["source", "outcome"],
            )?,
            lag: gauge_vec(
                "source_lag_records",
                "Records in the partition that are not yet read.",
                &["source", "partition"],
            )?,
            watermark,
            watermark_lag,
            watermark_held_by,
            watermark_stalled,
            phases: phase_histogram()?,
            arrangement_rows: gauge_vec(
                "arrangement_rows",
                "Rows held by each arrangement.",
                &["arrangement"],
            )?,
            touched: counter_vec(
                "operator_touched_rows_total",
                "Rows each stateful operator read or wrote.",
                &["operator"],
            )?,
            lookups: lookup_counter()?,
            state_bytes: IntGauge::new("state_bytes", "Size of the state on disk.")?,
            outbox_depth: IntGauge::new(
                "outbox_depth_epochs",
                "Epochs that are committed and not yet published.",
            )?,
            outbox_bytes: IntGauge::new("outbox_bytes", "Output that is committed and not yet published.")?,
            hottest_worker: Gauge::new(
                "busiest_worker_share_ratio",
                "Of the rows that operators touched in the last epoch, the share of the worker with most.",
            )?,
            hottest_key: hottest_key_gauge()?,
            end_to_end: latency_histogram()?,
            epoch: IntGauge::new("committed_epoch_number", "The last committed epoch.")?,
            published: IntGauge::new("published_epoch_number", "The last published epoch.")?,
            build: gauge_vec("build_info", "1, with the program's version as a label.", &["version"])?,
            dead_letter_bytes: IntGauge::new("dead_letter_bytes", "Size of the table herald.dead_letter.")?,
            error_bytes: IntGauge::new("error_bytes", "Size of the table herald.errors.")?,
            unfinished_erasures: erasures_gauge()?,
            errors_not_kept: IntGauge::new(
                "errors_not_kept_rows",
                "Rows that fail and are not kept in herald.errors, because it is full.",
            )?,
            view_history: history_gauge()?,
            fill_groups: IntGauge::new(
                "fill_open_groups_number",
                "Key groups, of 4096, whose rows are in what an edit added; all while nothing is being filled.",
            )?,
            broker_up: Gauge::new(
                "broker_reachable_boolean",
                "1 while the brokers of all sources and sinks answer.",
            )?,
            registry_open: registry_gauge()?,
        })
    }

    fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.outcomes.clone()),
            Box::new(self.lag.clone()),
            Box::new(self.watermark.clone()),
            Box::new(self.watermark_lag.clone()),
            Box::new(self.watermark_held_by.clone()),
            Box::new(self.watermark_stalled.clone()),
            Box::new(self.phases.clone()),
            Box::new(self.arrangement_rows.clone()),
            Box::new(self.touched.clone()),
            Box::new(self.lookups.clone()),
            Box::new(self.state_bytes.clone()),
            Box::new(self.outbox_depth.clone()),
            Box::new(self.outbox_bytes.clone()),
            Box::new(self.hottest_worker.clone()),
            Box::new(self.hottest_key.clone()),
            Box::new(self.end_to_end.clone()),
            Box::new(self.epoch.clone()),
            Box::new(self.published.clone()),
            Box::new(self.build.clone()),
            Box::new(self.dead_letter_bytes.clone()),
            Box::new(self.error_bytes.clone()),
            Box::new(self.errors_not_kept.clone()),
            Box::new(self.unfinished_erasures.clone()),
            Box::new(self.view_history.clone()),
            Box::new(self.fill_groups.clone()),
            Box::new(self.broker_up.clone()),
            Box::new(self.registry_open.clone()),
        ]
    }

    /// All metrics by name, for the reference pages.
    pub fn described(&self) -> Vec<MetricReference> {
        let mut all = Vec::new();
        let servers = self.serving.collectors().into_iter().chain(self.pg.collectors());
        let beside = servers.chain(self.memory.collectors()).chain(self.exports.collectors());
        for collector in self.collectors().into_iter().chain(beside) {
            // A metric that has labels is without a family until a series of it exists; its type is the
            // collector's.
            let kinds: Vec<String> = collector
                .collect()
                .iter()
                .map(|family| format!("{:?}", family.get_field_type()).to_lowercase())
                .collect();
            for description in collector.desc() {
                all.push(MetricReference {
                    name: description.fq_name.clone(),
                    kind: kinds.first().cloned().unwrap_or_default(),
                    labels: description.variable_labels.clone(),
                    help: description.help.clone(),
                });
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The metrics of exports.
    pub fn exports(&self) -> &ExportMetrics {
        &self.exports
    }

    /// The metrics of the HTTP server.
    pub fn serving(&self) -> &Serving {
        &self.serving
    }

    /// The metrics of the PostgreSQL server.
    pub fn pg(&self) -> &PgMetrics {
        &self.pg
    }

    /// Measures the memory of the process by part. The kernel walks the page tables for it: some milliseconds
    /// for each GiB.
    pub fn measure_memory(&self, store: Option<&Store>) {
        self.memory.measure(store, self.serving.answer_bytes());
    }

    /// Counts `n` more records of a source with one outcome.
    pub fn count_outcomes(&self, source: &str, outcome: &str, n: u64) {
        self.outcomes.with_label_values(&[source, outcome]).inc_by(n);
    }

    /// Sets the number of unread records of a partition.
    pub fn set_lag(&self, source: &str, partition: i32, n: i64) {
        self.lag.with_label_values(&[source, &partition.to_string()]).set(n);
    }

    /// Sets a source's watermark (`us`, microseconds) and its lag behind the wall clock (`now_ms`,
    /// milliseconds). Nothing is exported for a source without a watermark yet, or for a bounded source that
    /// has ended.
    pub fn set_watermark(&self, source: &str, us: Option<i64>, now_ms: i64) {
        match us {
            Some(us) if us != i64::MAX && us != i64::MIN => {
                let seconds = us as f64 / 1e6;
                self.watermark.with_label_values(&[source]).set(seconds);
                self.watermark_lag.with_label_values(&[source]).set(now_ms as f64 / 1e3 - seconds);
            }
            _ => {
                let _ = self.watermark.remove_label_values(&[source]);
                let _ = self.watermark_lag.remove_label_values(&[source]);
            }
        }
    }

    /// Sets whether a source's watermark stands still while records arrive.
    pub fn set_watermark_stalled(&self, source: &str, stalled: bool) {
        self.watermark_stalled.with_label_values(&[source]).set(i64::from(stalled));
    }

    /// Sets the partition with the lowest watermark of a source, if any has one.
    pub fn set_watermark_held_by(&self, source: &str, partition: Option<i32>) {
        self.watermark_held_by.with_label_values(&[source]).set(partition.map_or(-1, i64::from));
    }

    /// Records the duration of one phase of an epoch.
    pub fn observe_phase(&self, phase: Phase, took: Duration) {
        self.phases.with_label_values(&[phase.name()]).observe(took.as_secs_f64());
    }

    /// Records the duration of the commit of an epoch, also for the history of epochs.
    pub fn observe_commit(&self, epoch: u64, took: Duration) {
        self.observe_phase(Phase::Commit, took);
        self.phase_notes.note(TimedPhase::Commit, epoch..=epoch, took);
    }

    /// Records the duration of the publishing of some epochs, also for the history of epochs.
    pub fn observe_publish(&self, epochs: RangeInclusive<u64>, took: Duration) {
        self.observe_phase(Phase::Publish, took);
        self.phase_notes.note(TimedPhase::Publish, epochs, took);
    }

    /// Takes the durations of earlier epochs that the history of epochs does not have yet.
    pub fn take_phase_notes(&self) -> Vec<EarlierPhase> {
        self.phase_notes.take()
    }

    /// Sets the number of rows in an arrangement.
    pub fn set_arrangement_rows(&self, name: &str, n: i64) {
        self.arrangement_rows.with_label_values(&[name]).set(n);
    }

    /// Counts `n` more rows that an operator read or wrote.
    pub fn count_touched_rows(&self, operator: &str, n: u64) {
        self.touched.with_label_values(&[operator]).inc_by(n);
    }

    /// Counts totals of groups that were found in an operator's cache, and that were read from the state.
    pub fn count_lookups(&self, operator: &str, (cached, read): (u64, u64)) {
        for (found, n) in [("cache", cached), ("state", read)] {
            self.lookups.with_label_values(&[operator, found]).inc_by(n);
        }
    }

    /// Sets the size of the state on disk.
    pub fn set_state_bytes(&self, n: u64) {
        self.state_bytes.set(saturating_i64(n));
    }

    /// Sets the number of epochs, and bytes of output, that are committed and not yet published.
    pub fn set_outbox_depth(&self, epochs: u64, bytes: u64) {
        self.outbox_depth.set(saturating_i64(epochs));
        self.outbox_bytes.set(saturating_i64(bytes));
    }

    /// Sets the hottest worker's share of the rows touched in an epoch. A share far above 1/workers means a
    /// hot key.
    pub fn set_worker_shares(&self, touched: &[u64]) {
        let (most, all) = (touched.iter().max().copied().unwrap_or(0), touched.iter().sum::<u64>());
        if all > 0 {
            self.hottest_worker.set(most as f64 / all as f64);
        }
    }

    /// Sets the hottest key's share of an arrangement's updates in an epoch (`most` of `all`). Epochs with
    /// fewer than 100 updates are skipped: their shares mean nothing.
    pub fn set_hottest_key(&self, arrangement: &str, (most, all): (u64, u64)) {
        if all >= 100 {
            self.hottest_key.with_label_values(&[arrangement]).set(most as f64 / all as f64);
        }
    }

    /// Records the latency, in milliseconds, from a record's timestamp to the publishing of its epoch.
    pub fn observe_end_to_end(&self, ms: i64) {
        self.end_to_end.observe(ms.max(0) as f64 / 1e3);
    }

    /// Sets the last committed epoch.
    pub fn set_epoch(&self, n: u64) {
        self.epoch.set(saturating_i64(n));
    }

    /// Sets the last published epoch.
    pub fn set_published(&self, n: u64) {
        self.published.set(saturating_i64(n));
    }

    /// Sets the size of the dead-letter table.
    pub fn set_dead_letter_bytes(&self, n: u64) {
        self.dead_letter_bytes.set(saturating_i64(n));
    }

    /// Sets the size of the error table, and the number of failing rows that it does not keep.
    pub fn set_error_table(&self, bytes: u64, not_kept: u64) {
        self.error_bytes.set(saturating_i64(bytes));
        self.errors_not_kept.set(saturating_i64(not_kept));
    }

    /// Sets the number of erased persons whose identity may still be in files.
    pub fn set_unfinished_erasures(&self, erasures: u64) {
        self.unfinished_erasures.set(saturating_i64(erasures));
    }

    /// Sets the bytes of the changes of a view that are kept.
    pub fn set_view_history(&self, view: &str, bytes: u64) {
        self.view_history.with_label_values(&[view]).set(saturating_i64(bytes));
    }

    /// Sets the key groups whose rows are in the additions of an edit.
    pub fn set_fill_groups(&self, groups: u16) {
        self.fill_groups.set(i64::from(groups));
    }

    /// Sets whether the brokers answer.
    pub fn set_broker_reachable(&self, reachable: bool) {
        self.broker_up.set(if reachable { 1.0 } else { 0.0 });
    }

    /// Sets whether records wait for a schema registry.
    pub fn set_registry_circuit_open(&self, open: bool) {
        self.registry_open.set(if open { 1.0 } else { 0.0 });
    }

    /// All metrics in Prometheus' text format.
    pub fn text(&self) -> Result<String> {
        Ok(TextEncoder::new().encode_to_string(&self.registry.gather())?)
    }

    /// The end-to-end latency below which a share `q` of the observations lies, in seconds, interpolated within the
    /// histogram's bucket. None before the first observation, and beyond the last bucket.
    pub fn latency_quantile(&self, q: f64) -> Option<f64> {
        let families = self.end_to_end.collect();
        let metric = families.first()?.get_metric().first()?;
        let histogram = metric.get_histogram();
        let wanted = (histogram.get_sample_count() as f64 * q).max(1.0);
        let (mut lower, mut below) = (0.0, 0);
        for bucket in histogram.get_bucket() {
            let (upper, count) = (bucket.upper_bound(), bucket.cumulative_count());
            if count as f64 >= wanted {
                let inside = (wanted - below as f64) / (count - below).max(1) as f64;
                return Some(lower + (upper - lower) * inside);
            }
            (lower, below) = (upper, count);
        }
        None
    }
}

fn hottest_key_gauge() -> Result<GaugeVec> {
    Ok(GaugeVec::new(
        Opts::new(
            "busiest_key_share_ratio",
            "Of the updates that came to an arrangement in the last epoch with a hundred or more, the share of the key with most.",
        ),
        &["arrangement"],
    )?)
}

/// Creates the gauges of source watermarks: time, lag, lowest partition, and whether it stands still.
fn watermark_gauges() -> Result<(GaugeVec, GaugeVec, IntGaugeVec, IntGaugeVec)> {
    let time = GaugeVec::new(
        Opts::new("source_watermark_timestamp_seconds", "The source's watermark as Unix time."),
        &["source"],
    )?;
    let lag = GaugeVec::new(
        Opts::new("source_watermark_lag_seconds", "How far the watermark is behind the wall clock."),
        &["source"],
    )?;
    let held_by = gauge_vec(
        "source_watermark_held_by_partition",
        "The partition whose watermark is least, which the source's follows; -1 when there is none.",
        &["source"],
    )?;
    let stalled = gauge_vec(
        "source_watermark_stalled_boolean",
        "1 when the watermark has stood still for 60 s while records arrived.",
        &["source"],
    )?;
    Ok((time, lag, held_by, stalled))
}

fn counter_vec(name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
    Ok(IntCounterVec::new(Opts::new(name, help), labels)?)
}

fn gauge_vec(name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
    Ok(IntGaugeVec::new(Opts::new(name, help), labels)?)
}

/// Creates the counter of totals that were looked up.
fn lookup_counter() -> Result<IntCounterVec> {
    let help = "Changed groups whose totals live in the state, by where the total was: in the cache, or in the state.";
    counter_vec("group_lookups_total", help, &["operator", "found"])
}

/// Creates the gauge of the schema registries.
fn registry_gauge() -> Result<Gauge> {
    let about = "1 while a schema registry does not answer and records wait for it.";
    Ok(Gauge::new("registry_circuit_open_boolean", about)?)
}

/// Creates the gauge of erasures that are not finished.
fn erasures_gauge() -> Result<IntGauge> {
    let about = "Erased persons whose identity may still be in files of the state.";
    Ok(IntGauge::new("unfinished_erasures_number", about)?)
}

/// Creates the gauge of the views' histories.
fn history_gauge() -> Result<IntGaugeVec> {
    let help = "Bytes of the changes of each view that the state keeps for subscribers.";
    gauge_vec("view_history_bytes", help, &["view"])
}

/// Creates the phase histogram. Its buckets reach from 0.1 ms to 1.5 minutes, with a usual epoch in the
/// middle.
fn phase_histogram() -> Result<HistogramVec> {
    let buckets = three_digits(prometheus::exponential_buckets(0.0001, 2.5, 16)?);
    let options = HistogramOpts::new("epoch_phase_duration_seconds", "Time spent in each phase of an epoch.");
    Ok(HistogramVec::new(options.buckets(buckets), &["phase"])?)
}

/// Creates the latency histogram. Its buckets reach from 2 ms to over ten minutes, close enough to read
/// quantiles from.
fn latency_histogram() -> Result<Histogram> {
    let buckets = three_digits(prometheus::exponential_buckets(0.002, 1.6, 28)?);
    let options = HistogramOpts::new(
        "end_to_end_latency_seconds",
        "From a record's timestamp to the publishing of the epoch it is in.",
    );
    Ok(Histogram::with_opts(options.buckets(buckets))?)
}

/// Rounds the edges of buckets: 0.00819 and not 0.008192000000000001.
fn three_digits(edges: Vec<f64>) -> Vec<f64> {
    edges.into_iter().map(|edge| format!("{edge:.2e}").parse().unwrap_or(edge)).collect()
}

/// Converts to a gauge's type; values too large become the maximum.
fn saturating_i64(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_names_its_topology() -> Result<()> {
        let metrics = Metrics::new("matches")?;
        metrics.count_outcomes("m", "accepted", 3);
        metrics.set_watermark("m", Some(1_000_000), 3_000);
        metrics.set_epoch(7);
        let text = metrics.text()?;
        assert!(
            text.contains(
                "herald_source_records_total{outcome=\"accepted\",source=\"m\",topology=\"matches\"} 3"
            ),
            "{text}"
        );
        assert!(text.contains("herald_source_watermark_lag_seconds{source=\"m\",topology=\"matches\"} 2"));
        assert!(text.contains("herald_committed_epoch_number{topology=\"matches\"} 7"));
        assert!(
            text.lines()
                .filter(|line| !line.starts_with('#'))
                .all(|line| line.starts_with("herald_") && line.contains("topology=\"matches\""))
        );
        Ok(())
    }

    #[test]
    fn edges_of_buckets_are_short() {
        let edges = three_digits(vec![0.002, 0.008192000000000001, 0.0131072, 663.1]);
        assert_eq!(edges, [0.002, 0.00819, 0.0131, 663.0]);
    }

    #[test]
    fn a_watermark_beyond_time_is_not_exported() -> Result<()> {
        let metrics = Metrics::new("t")?;
        metrics.set_watermark("s", Some(5), 0);
        metrics.set_watermark("s", Some(i64::MAX), 0);
        assert!(!metrics.text()?.contains("herald_source_watermark_timestamp_seconds{"));
        Ok(())
    }

    #[test]
    fn quantiles_are_interpolated_within_buckets() -> Result<()> {
        let metrics = Metrics::new("t")?;
        assert_eq!(metrics.latency_quantile(0.5), None);
        for _ in 0..99 {
            metrics.observe_end_to_end(10);
        }
        metrics.observe_end_to_end(5_000);
        let half = metrics.latency_quantile(0.5).unwrap_or_default();
        assert!((0.010..0.020).contains(&half), "{half}");
        let most = metrics.latency_quantile(1.0).unwrap_or_default();
        assert!(most >= 5.0, "{most}");
        Ok(())
    }
}
