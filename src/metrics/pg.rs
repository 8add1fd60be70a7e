//! Metrics of the PostgreSQL server: connections and sessions, clients that were refused, statements by
//! outcome.

use anyhow::Result;
use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Registry};

use super::{counter_vec, gauge_vec};

/// Reasons for refusing a client.
pub const REFUSALS: [&str; 7] =
    ["connections", "no_place", "starting", "password", "login_time", "protocol", "failed"];
/// Outcomes of statements.
pub const OUTCOMES: [&str; 8] =
    ["answered", "mistake", "time", "cancelled", "memory", "depth", "left", "failed"];

/// Gauges and counters of the server.
#[derive(Clone)]
pub struct PgMetrics {
    connections: IntGaugeVec,
    sessions: IntGaugeVec,
    refused: IntCounterVec,
    outcomes: IntCounterVec,
    crashed: IntCounter,
}

impl PgMetrics {
    /// Creates and registers the metrics.
    pub fn new(registry: &Registry) -> Result<PgMetrics> {
        let metrics = PgMetrics {
            connections: gauge_vec(
                "pg_connections_number",
                "Connections of PostgreSQL's protocol that are open, and that may be.",
                &["kind"],
            )?,
            sessions: gauge_vec(
                "pg_sessions_number",
                "Sessions of PostgreSQL's protocol by state: starting, active, idle, or waiting in a transaction.",
                &["state"],
            )?,
            refused: counter_vec(
                "pg_clients_refused_total",
                "Clients of PostgreSQL's protocol that were refused, by reason.",
                &["reason"],
            )?,
            outcomes: counter_vec(
                "pg_statements_total",
                "Statements of PostgreSQL's protocol by how they ended.",
                &["outcome"],
            )?,
            crashed: IntCounter::new(
                "pg_sessions_crashed_total",
                "Sessions of PostgreSQL's protocol whose process was ended by a bound or a crash.",
            )?,
        };
        for collector in metrics.collectors() {
            registry.register(collector)?;
        }
        for (counter, labels) in [(&metrics.refused, &REFUSALS[..]), (&metrics.outcomes, &OUTCOMES[..])] {
            for label in labels {
                drop(counter.with_label_values(&[label]));
            }
        }
        Ok(metrics)
    }

    /// All metrics of the server.
    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.connections.clone()),
            Box::new(self.sessions.clone()),
            Box::new(self.refused.clone()),
            Box::new(self.outcomes.clone()),
            Box::new(self.crashed.clone()),
        ]
    }

    /// Sets the number of open connections and their limit.
    pub fn set_connections(&self, open: usize, most: usize) {
        self.connections.with_label_values(&["open"]).set(open as i64);
        self.connections.with_label_values(&["limit"]).set(most as i64);
    }

    /// Changes the number of sessions in a state by 1 or -1.
    pub fn change_sessions(&self, state: &str, change: i64) {
        self.sessions.with_label_values(&[state]).add(change);
    }

    /// Counts a client that was refused; a reason that is unknown counts as a failure.
    pub fn count_refused(&self, reason: &str) {
        let known = if REFUSALS.contains(&reason) { reason } else { "failed" };
        self.refused.with_label_values(&[known]).inc();
    }

    /// Counts a statement that ended; an outcome that is unknown counts as a failure.
    pub fn count_statement(&self, outcome: &str) {
        let known = if OUTCOMES.contains(&outcome) { outcome } else { "failed" };
        self.outcomes.with_label_values(&[known]).inc();
    }

    /// Counts a session whose process was ended.
    pub fn count_crashed(&self) {
        self.crashed.inc();
    }
}
