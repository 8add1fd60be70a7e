//! The numbers a running topology exports, in Prometheus' terms.
//!
//! Every name starts with `herald_` and ends in its unit; every series carries the label
//! `topology`. The driver calls the methods here once an epoch or once a batch, never once a
//! record. [`Metrics::text`] is what `/metrics` serves; `herald demo` reads the same numbers.

mod serving;

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Result;
use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

pub use serving::Serving;

/// A part of an epoch's life, each timed apart.
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

/// The registry and everything in it.
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
    state_bytes: IntGauge,
    outbox_depth: IntGauge,
    outbox_bytes: IntGauge,
    busiest_worker: Gauge,
    busiest_key: GaugeVec,
    end_to_end: Histogram,
    epoch: IntGauge,
    dead_letter_bytes: IntGauge,
    error_bytes: IntGauge,
    errors_not_kept: IntGauge,
    broker_up: Gauge,
    registry_open: Gauge,
    serving: Serving,
}

impl Metrics {
    /// An empty registry for the topology named.
    pub fn new(topology: &str) -> Result<Metrics> {
        let labels = HashMap::from([("topology".to_owned(), topology.to_owned())]);
        let registry = Registry::new_custom(Some("herald".to_owned()), Some(labels))?;
        let metrics = Metrics::unregistered(registry)?;
        for collector in metrics.collectors() {
            metrics.registry.register(collector)?;
        }
        for phase in Phase::ALL {
            metrics.phases.with_label_values(&[phase.name()]);
        }
        Ok(metrics)
    }

    fn unregistered(registry: Registry) -> Result<Metrics> {
        Ok(Metrics {
            serving: Serving::new(&registry)?,
            registry,
            outcomes: counters(
                "source_records_total",
                "Records read, by source and by what became of them.",
                &["source", "outcome"],
            )?,
            lag: gauges(
                "source_lag_records",
                "Records in the partition that are not yet read.",
                &["source", "partition"],
            )?,
            watermark: GaugeVec::new(
                Opts::new("source_watermark_timestamp_seconds", "The source's watermark as Unix time."),
                &["source"],
            )?,
            watermark_lag: GaugeVec::new(
                Opts::new("source_watermark_lag_seconds", "How far the watermark is behind the wall clock."),
                &["source"],
            )?,
            watermark_held_by: gauges(
                "source_watermark_held_by_partition",
                "The partition whose watermark is least, which the source's follows; -1 when there is none.",
                &["source"],
            )?,
            watermark_stalled: gauges(
                "source_watermark_stalled_boolean",
                "1 when the watermark has stood still for 60 s while records arrived.",
                &["source"],
            )?,
            phases: phases()?,
            arrangement_rows: gauges("arrangement_rows", "Rows held by each arrangement.", &["arrangement"])?,
            touched: counters(
                "operator_touched_rows_total",
                "Rows each stateful operator read or wrote.",
                &["operator"],
            )?,
            state_bytes: IntGauge::new("state_bytes", "Size of the state on disk.")?,
            outbox_depth: IntGauge::new(
                "outbox_depth_epochs",
                "Epochs that are committed and not yet published.",
            )?,
            outbox_bytes: IntGauge::new("outbox_bytes", "Output that is committed and not yet published.")?,
            busiest_worker: Gauge::new(
                "busiest_worker_share_ratio",
                "Of the rows that operators touched in the last epoch, the share of the worker with most.",
            )?,
            busiest_key: GaugeVec::new(
                Opts::new(
                    "busiest_key_share_ratio",
                    "Of the updates that came to an arrangement in the last epoch with a hundred or more, the share of the key with most.",
                ),
                &["arrangement"],
            )?,
            end_to_end: end_to_end()?,
            epoch: IntGauge::new("committed_epoch_number", "The last committed epoch.")?,
            dead_letter_bytes: IntGauge::new("dead_letter_bytes", "Size of the table herald.dead_letter.")?,
            error_bytes: IntGauge::new("error_bytes", "Size of the table herald.errors.")?,
            errors_not_kept: IntGauge::new(
                "errors_not_kept_rows",
                "Rows that fail and are not kept in herald.errors, because it is full.",
            )?,
            broker_up: Gauge::new(
                "broker_reachable_boolean",
                "1 while the brokers of all sources and sinks answer.",
            )?,
            registry_open: Gauge::new(
                "registry_circuit_open_boolean",
                "1 while a schema registry does not answer and records wait for it.",
            )?,
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
            Box::new(self.state_bytes.clone()),
            Box::new(self.outbox_depth.clone()),
            Box::new(self.outbox_bytes.clone()),
            Box::new(self.busiest_worker.clone()),
            Box::new(self.busiest_key.clone()),
            Box::new(self.end_to_end.clone()),
            Box::new(self.epoch.clone()),
            Box::new(self.dead_letter_bytes.clone()),
            Box::new(self.error_bytes.clone()),
            Box::new(self.errors_not_kept.clone()),
            Box::new(self.broker_up.clone()),
            Box::new(self.registry_open.clone()),
        ]
    }

    /// The numbers of what is served.
    pub fn serving(&self) -> &Serving {
        &self.serving
    }

    /// Counts `n` more records of a source with one outcome.
    pub fn outcomes(&self, source: &str, outcome: &str, n: u64) {
        self.outcomes.with_label_values(&[source, outcome]).inc_by(n);
    }

    /// Records of a partition not yet read.
    pub fn lag(&self, source: &str, partition: i32, n: i64) {
        self.lag.with_label_values(&[source, &partition.to_string()]).set(n);
    }

    /// A source's watermark in microseconds, and the wall clock in milliseconds to compare it to.
    /// A source without one yet, or with one beyond time (a bounded source that ended), exports none.
    pub fn watermark(&self, source: &str, us: Option<i64>, now_ms: i64) {
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

    /// Whether a source's watermark stands still while records arrive.
    pub fn watermark_stalled(&self, source: &str, stalled: bool) {
        self.watermark_stalled.with_label_values(&[source]).set(i64::from(stalled));
    }

    /// The partition whose watermark is least, if any has one.
    pub fn watermark_held_by(&self, source: &str, partition: Option<i32>) {
        self.watermark_held_by.with_label_values(&[source]).set(partition.map_or(-1, i64::from));
    }

    /// Time one phase of an epoch took.
    pub fn epoch_phase(&self, phase: Phase, took: Duration) {
        self.phases.with_label_values(&[phase.name()]).observe(took.as_secs_f64());
    }

    /// Rows an arrangement holds.
    pub fn rows_in_arrangement(&self, name: &str, n: i64) {
        self.arrangement_rows.with_label_values(&[name]).set(n);
    }

    /// Counts `n` more rows that an operator read or wrote.
    pub fn rows_touched(&self, operator: &str, n: u64) {
        self.touched.with_label_values(&[operator]).inc_by(n);
    }

    /// Size of the state on disk.
    pub fn state_bytes(&self, n: u64) {
        self.state_bytes.set(saturated(n));
    }

    /// Epochs, and bytes of their output, committed and not yet published.
    pub fn outbox_depth(&self, epochs: u64, bytes: u64) {
        self.outbox_depth.set(saturated(epochs));
        self.outbox_bytes.set(saturated(bytes));
    }

    /// Rows that each worker's operators touched in an epoch: one that is far above its part has a hot key.
    pub fn workers(&self, touched: &[u64]) {
        let (most, all) = (touched.iter().max().copied().unwrap_or(0), touched.iter().sum::<u64>());
        if all > 0 {
            self.busiest_worker.set(most as f64 / all as f64);
        }
    }

    /// Updates that came to an arrangement in an epoch: those of the key with most, and all. Few tell nothing.
    pub fn busiest_key(&self, arrangement: &str, (most, all): (u64, u64)) {
        if all >= 100 {
            self.busiest_key.with_label_values(&[arrangement]).set(most as f64 / all as f64);
        }
    }

    /// Milliseconds from a record's timestamp to its epoch's publishing.
    pub fn end_to_end(&self, ms: i64) {
        self.end_to_end.observe(ms.max(0) as f64 / 1e3);
    }

    /// The last committed epoch.
    pub fn epoch(&self, n: u64) {
        self.epoch.set(saturated(n));
    }

    /// Size of the dead letter table.
    pub fn dead_letter_bytes(&self, n: u64) {
        self.dead_letter_bytes.set(saturated(n));
    }

    /// Size of the error table, and how many rows fail that it does not keep.
    pub fn errors(&self, bytes: u64, not_kept: u64) {
        self.error_bytes.set(saturated(bytes));
        self.errors_not_kept.set(saturated(not_kept));
    }

    /// Whether the brokers answer.
    pub fn broker_reachable(&self, reachable: bool) {
        self.broker_up.set(if reachable { 1.0 } else { 0.0 });
    }

    /// Whether records wait for a schema registry.
    pub fn registry_circuit_open(&self, open: bool) {
        self.registry_open.set(if open { 1.0 } else { 0.0 });
    }

    /// Everything, in Prometheus' text format.
    pub fn text(&self) -> Result<String> {
        Ok(TextEncoder::new().encode_to_string(&self.registry.gather())?)
    }

    /// The end-to-end latency below which a share `q` of the observations lies, in seconds: the
    /// upper bound of the histogram's bucket. None before the first observation.
    pub fn latency_quantile(&self, q: f64) -> Option<f64> {
        let families = self.end_to_end.collect();
        let metric = families.first()?.get_metric().first()?;
        let histogram = metric.get_histogram();
        let wanted = (histogram.get_sample_count() as f64 * q).ceil().max(1.0) as u64;
        histogram
            .get_bucket()
            .iter()
            .find(|bucket| bucket.cumulative_count() >= wanted)
            .map(|bucket| bucket.upper_bound())
    }
}

fn counters(name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
    Ok(IntCounterVec::new(Opts::new(name, help), labels)?)
}

fn gauges(name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
    Ok(IntGaugeVec::new(Opts::new(name, help), labels)?)
}

/// From a tenth of a millisecond to a minute and a half: an epoch lies in the middle.
fn phases() -> Result<HistogramVec> {
    let buckets = prometheus::exponential_buckets(0.0001, 2.5, 16)?;
    let options = HistogramOpts::new("epoch_phase_duration_seconds", "Time spent in each phase of an epoch.");
    Ok(HistogramVec::new(options.buckets(buckets), &["phase"])?)
}

/// From 2 ms to over ten minutes, close enough together to read quantiles from.
fn end_to_end() -> Result<Histogram> {
    let buckets = prometheus::exponential_buckets(0.002, 1.6, 28)?;
    let options = HistogramOpts::new(
        "end_to_end_latency_seconds",
        "From a record's timestamp to the publishing of the epoch it is in.",
    );
    Ok(Histogram::with_opts(options.buckets(buckets))?)
}

fn saturated(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_names_its_topology() -> Result<()> {
        let metrics = Metrics::new("matches")?;
        metrics.outcomes("m", "accepted", 3);
        metrics.watermark("m", Some(1_000_000), 3_000);
        metrics.epoch(7);
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
    fn a_watermark_beyond_time_is_not_exported() -> Result<()> {
        let metrics = Metrics::new("t")?;
        metrics.watermark("s", Some(5), 0);
        metrics.watermark("s", Some(i64::MAX), 0);
        assert!(!metrics.text()?.contains("herald_source_watermark_timestamp_seconds{"));
        Ok(())
    }

    #[test]
    fn quantiles_are_bucket_bounds() -> Result<()> {
        let metrics = Metrics::new("t")?;
        assert_eq!(metrics.latency_quantile(0.5), None);
        for _ in 0..99 {
            metrics.end_to_end(10);
        }
        metrics.end_to_end(5_000);
        let half = metrics.latency_quantile(0.5).unwrap_or_default();
        assert!((0.010..0.020).contains(&half), "{half}");
        let most = metrics.latency_quantile(1.0).unwrap_or_default();
        assert!(most >= 5.0, "{most}");
        Ok(())
    }
}
