//! Metrics of the HTTP server: connections, refused requests by reason, queries by outcome, answers that wait
//! to be read, subscribers, and file descriptors.

use anyhow::Result;
use prometheus::core::Collector;
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::{counter_vec, gauge_vec};

/// Reasons for refusing a request.
pub const REFUSALS: [&str; 9] = [
    "rate",
    "host",
    "origin",
    "body_size",
    "body_time",
    "connections",
    "queries",
    "query_turn",
    "subscribers",
];
/// Reasons for which subscriptions end.
pub const SUBSCRIPTION_ENDS: [&str; 5] = ["left", "slow", "gone", "failed", "ending"];
/// Reasons for which the server ends a connection.
pub const ENDS: [&str; 6] = ["idle_for_another", "no_place", "handshake", "idle", "stalled", "age"];
/// Outcomes of queries.
pub const OUTCOMES: [&str; 12] = [
    "answered",
    "mistake",
    "time",
    "memory",
    "disk",
    "rows",
    "depth",
    "answer_size",
    "answers",
    "left",
    "ending",
    "failed",
];

/// Gauges and counters of the server; they show which of its bounds are reached.
#[derive(Clone)]
pub struct Serving {
    connections: IntGaugeVec,
    ended: IntCounterVec,
    refused: IntCounterVec,
    queries: IntGaugeVec,
    outcomes: IntCounterVec,
    answers: IntGauge,
    descriptors: IntGaugeVec,
    subscribers: IntGaugeVec,
    subscription_ends: IntCounterVec,
    subscription_bytes: IntGauge,
}

impl Serving {
    /// Creates and registers the metrics.
    pub fn new(registry: &Registry) -> Result<Serving> {
        let serving = Serving {
            connections: gauge_vec(
                "http_connections_number",
                "Connections that are open, and that may be.",
                &["kind"],
            )?,
            ended: counter_vec(
                "http_connections_ended_total",
                "Connections that the server ended, by reason.",
                &["reason"],
            )?,
            refused: counter_vec(
                "http_requests_refused_total",
                "Requests at a limit that were refused, by limit.",
                &["reason"],
            )?,
            queries: gauge_vec(
                "queries_number",
                "Queries that run, and that wait for their turn.",
                &["state"],
            )?,
            outcomes: counter_vec("queries_total", "Queries by how they ended.", &["outcome"])?,
            answers: IntGauge::new("query_answers_bytes", "Bytes of answers that wait to be read.")?,
            descriptors: gauge_vec(
                "file_descriptors_number",
                "File descriptors that the process has, and that it may have.",
                &["kind"],
            )?,
            subscribers: gauge_vec(
                "subscribers_number",
                "Subscribers of views that there are, and that there may be.",
                &["kind"],
            )?,
            subscription_ends: counter_vec(
                "subscriptions_ended_total",
                "Subscriptions that ended, by reason.",
                &["reason"],
            )?,
            subscription_bytes: IntGauge::new(
                "subscription_events_bytes",
                "Bytes of events that are held for subscribers.",
            )?,
        };
        for collector in serving.collectors() {
            registry.register(collector)?;
        }
        for (counter, labels) in [
            (&serving.refused, &REFUSALS[..]),
            (&serving.ended, &ENDS[..]),
            (&serving.outcomes, &OUTCOMES[..]),
            (&serving.subscription_ends, &SUBSCRIPTION_ENDS[..]),
        ] {
            for label in labels {
                drop(counter.with_label_values(&[label]));
            }
        }
        Ok(serving)
    }

    /// All metrics of the server.
    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.connections.clone()),
            Box::new(self.ended.clone()),
            Box::new(self.refused.clone()),
            Box::new(self.queries.clone()),
            Box::new(self.outcomes.clone()),
            Box::new(self.answers.clone()),
            Box::new(self.descriptors.clone()),
            Box::new(self.subscribers.clone()),
            Box::new(self.subscription_ends.clone()),
            Box::new(self.subscription_bytes.clone()),
        ]
    }

    /// Sets the number of open connections and their limit.
    pub fn set_connections(&self, open: usize, most: usize) {
        self.connections.with_label_values(&["open"]).set(open as i64);
        self.connections.with_label_values(&["limit"]).set(most as i64);
    }

    /// Counts a connection that the server ended.
    pub fn count_ended_connection(&self, reason: &str) {
        self.ended.with_label_values(&[reason]).inc();
    }

    /// Counts a request that was refused at a limit.
    pub fn count_refused(&self, reason: &str) {
        self.refused.with_label_values(&[reason]).inc();
    }

    /// Changes the number of running queries by 1 or -1.
    pub fn change_running(&self, change: i64) {
        self.queries.with_label_values(&["running"]).add(change);
    }

    /// Changes the number of waiting queries by 1 or -1.
    pub fn change_waiting(&self, change: i64) {
        self.queries.with_label_values(&["waiting"]).add(change);
    }

    /// Counts a query that ended.
    pub fn count_query(&self, outcome: &str) {
        self.outcomes.with_label_values(&[outcome]).inc();
    }

    /// Changes the number of bytes of answers that wait to be read.
    pub fn change_answer_bytes(&self, change: i64) {
        self.answers.add(change);
    }

    /// Returns the number of bytes of answers that wait to be read.
    pub fn answer_bytes(&self) -> u64 {
        self.answers.get().max(0).unsigned_abs()
    }

    /// Sets the number of subscribers that there may be.
    pub fn set_most_subscribers(&self, most: usize) {
        self.subscribers.with_label_values(&["open"]).set(0);
        self.subscribers.with_label_values(&["limit"]).set(i64::try_from(most).unwrap_or(i64::MAX));
    }

    /// Changes the number of subscribers by 1 or -1.
    pub fn change_subscribers(&self, change: i64) {
        self.subscribers.with_label_values(&["open"]).add(change);
    }

    /// Counts a subscription that ended.
    pub fn count_subscription_end(&self, reason: &str) {
        self.subscription_ends.with_label_values(&[reason]).inc();
    }

    /// Changes the number of bytes that are held for subscribers.
    pub fn change_subscription_bytes(&self, change: i64) {
        self.subscription_bytes.add(change);
    }

    /// Sets the number of open file descriptors and their limit.
    pub fn set_descriptors(&self, open: u64, limit: u64) {
        self.descriptors.with_label_values(&["open"]).set(open as i64);
        self.descriptors.with_label_values(&["limit"]).set(i64::try_from(limit).unwrap_or(i64::MAX));
    }
}
