//! The numbers of what is served: connections, requests that were refused and why, queries and how they ended,
//! answers that wait to be read, descriptors.

use anyhow::Result;
use prometheus::core::Collector;
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::{counters, gauges};

/// Why requests are refused without being answered.
pub const REFUSALS: [&str; 7] =
    ["rate", "host", "body_size", "body_time", "connections", "queries", "query_turn"];
/// Why connections are ended by this side.
pub const ENDS: [&str; 6] = ["idle_for_another", "no_place", "handshake", "idle", "stalled", "age"];
/// How queries end.
pub const OUTCOMES: [&str; 9] =
    ["answered", "mistake", "time", "memory", "depth", "answer_size", "answers", "left", "failed"];

/// Gauges and counters of the server; what is at a bound shows here.
#[derive(Clone)]
pub struct Serving {
    connections: IntGaugeVec,
    ended: IntCounterVec,
    refused: IntCounterVec,
    queries: IntGaugeVec,
    outcomes: IntCounterVec,
    answers: IntGauge,
    descriptors: IntGaugeVec,
}

impl Serving {
    /// All of them, registered.
    pub fn new(registry: &Registry) -> Result<Serving> {
        let serving = Serving {
            connections: gauges(
                "http_connections_number",
                "Connections that are open, and that may be.",
                &["kind"],
            )?,
            ended: counters(
                "http_connections_ended_total",
                "Connections that the server ended, by reason.",
                &["reason"],
            )?,
            refused: counters(
                "http_requests_refused_total",
                "Requests at a limit that were refused, by limit.",
                &["reason"],
            )?,
            queries: gauges("queries_number", "Queries that run, and that wait for their turn.", &["state"])?,
            outcomes: counters("queries_total", "Queries by how they ended.", &["outcome"])?,
            answers: IntGauge::new("query_answers_bytes", "Bytes of answers that wait to be read.")?,
            descriptors: gauges(
                "file_descriptors_number",
                "File descriptors that the process has, and that it may have.",
                &["kind"],
            )?,
        };
        let all: [Box<dyn Collector>; 7] = [
            Box::new(serving.connections.clone()),
            Box::new(serving.ended.clone()),
            Box::new(serving.refused.clone()),
            Box::new(serving.queries.clone()),
            Box::new(serving.outcomes.clone()),
            Box::new(serving.answers.clone()),
            Box::new(serving.descriptors.clone()),
        ];
        all.into_iter().try_for_each(|collector| registry.register(collector))?;
        for (counter, labels) in [
            (&serving.refused, &REFUSALS[..]),
            (&serving.ended, &ENDS[..]),
            (&serving.outcomes, &OUTCOMES[..]),
        ] {
            labels.iter().for_each(|label| drop(counter.with_label_values(&[label])));
        }
        Ok(serving)
    }

    /// Connections that are open, and that may be.
    pub fn connections(&self, open: usize, most: usize) {
        self.connections.with_label_values(&["open"]).set(open as i64);
        self.connections.with_label_values(&["limit"]).set(most as i64);
    }

    /// A connection was ended by this side.
    pub fn connection_ended(&self, reason: &str) {
        self.ended.with_label_values(&[reason]).inc();
    }

    /// A request was refused at a limit.
    pub fn refused(&self, reason: &str) {
        self.refused.with_label_values(&[reason]).inc();
    }

    /// A query began (1) or ceased (-1) to run.
    pub fn running(&self, change: i64) {
        self.queries.with_label_values(&["running"]).add(change);
    }

    /// A query began (1) or ceased (-1) to wait.
    pub fn waiting(&self, change: i64) {
        self.queries.with_label_values(&["waiting"]).add(change);
    }

    /// A query ended.
    pub fn query_ended(&self, outcome: &str) {
        self.outcomes.with_label_values(&[outcome]).inc();
    }

    /// Bytes of answers came to wait, or left.
    pub fn answer_bytes(&self, change: i64) {
        self.answers.add(change);
    }

    /// Descriptors that are open, and that may be.
    pub fn descriptors(&self, open: u64, limit: u64) {
        self.descriptors.with_label_values(&["open"]).set(open as i64);
        self.descriptors.with_label_values(&["limit"]).set(i64::try_from(limit).unwrap_or(i64::MAX));
    }
}
