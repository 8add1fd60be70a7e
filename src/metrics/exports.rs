//! Metrics of exports: files and bytes written, and the epochs that wait in the outbox for a file.

use anyhow::Result;
use prometheus::core::Collector;
use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::{counter_vec, gauge_vec, saturating_i64};

/// Counters and gauges of exports, by sink.
#[derive(Clone)]
pub struct ExportMetrics {
    files: IntCounterVec,
    bytes: IntCounterVec,
    failures: IntCounterVec,
    open_bytes: IntGaugeVec,
    open_age: GaugeVec,
}

impl ExportMetrics {
    /// Creates and registers the metrics.
    pub fn new(registry: &Registry) -> Result<ExportMetrics> {
        let metrics = ExportMetrics {
            files: counter_vec("export_files_total", "Parquet files written.", &["sink"])?,
            bytes: counter_vec("export_bytes_total", "Bytes of Parquet files written.", &["sink"])?,
            failures: counter_vec(
                "export_failures_total",
                "Failed attempts to write Parquet files, which are made again.",
                &["sink"],
            )?,
            open_bytes: gauge_vec(
                "export_open_bytes",
                "Bytes of rows that wait in the outbox for a Parquet file.",
                &["sink"],
            )?,
            open_age: GaugeVec::new(
                Opts::new(
                    "export_open_age_seconds",
                    "Time for which the oldest rows have waited in the outbox for a Parquet file.",
                ),
                &["sink"],
            )?,
        };
        for collector in metrics.collectors() {
            registry.register(collector)?;
        }
        Ok(metrics)
    }

    /// All metrics of exports.
    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.files.clone()),
            Box::new(self.bytes.clone()),
            Box::new(self.failures.clone()),
            Box::new(self.open_bytes.clone()),
            Box::new(self.open_age.clone()),
        ]
    }

    /// Counts files that were written.
    pub fn count_files(&self, sink: &str, files: u64, bytes: u64) {
        self.files.with_label_values(&[sink]).inc_by(files);
        self.bytes.with_label_values(&[sink]).inc_by(bytes);
    }

    /// Counts a failed attempt that is made again.
    pub fn count_failure(&self, sink: &str) {
        self.failures.with_label_values(&[sink]).inc();
    }

    /// Sets the bytes that wait for a file, and the seconds for which the first of them has.
    pub fn set_open(&self, sink: &str, bytes: u64, seconds: f64) {
        self.open_bytes.with_label_values(&[sink]).set(saturating_i64(bytes));
        self.open_age.with_label_values(&[sink]).set(seconds);
    }
}
