//! Resends at a start: sinks whose whole content is sent again, in an epoch of its own.
//!
//! These are all sinks of a copy that became a state of its own (`herald state restore --as`), and each sink
//! that an operator ordered to be sent again (`herald sink resend`). The epoch's commit ends the order, so
//! that it is carried out once. Content that no view holds is derived again from the durable state; content
//! that cannot be derived is not sent.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use dataflows::collect::{EpochOut, SinkDelta};
use dataflows::maintenance::repair::resend;
use dataflows::maintenance::verify::{Derived, derivable};
use dataflows::plan::Plan;
use dataflows::runtime::worker::Setup;
use state::Store;

use super::topics::sinks_to_resend;

/// The sinks whose content is sent again.
#[derive(Clone, Debug, Default)]
pub struct Resends {
    /// Set when all sinks are resent, as far as their content can be derived.
    all: bool,
    /// Sinks that were ordered to be resent, by their index in the plan.
    sinks: BTreeSet<usize>,
    /// The ordered sinks whose content no view holds.
    derived: BTreeSet<usize>,
}

impl Resends {
    /// Reads the resends that the state orders.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn read(plan: &Plan, store: &Store) -> Result<Resends> {
        let (mut resends, ordered) =
            (Resends { all: store.republishes()?, ..Resends::default() }, sinks_to_resend(store)?);
        for (at, sink) in plan.sinks.iter().enumerate() {
            if !ordered.contains(&sink.name) {
                continue;
            }
            resends.sinks.insert(at);
            let fate = derivable(plan, sink.rel);
            let how = match (resend::has_view(plan, at), fate) {
                (true, _) => "what its view holds",
                (false, Derived::All) => "what the state gives it",
                (false, Derived::Part) => "what the state still gives it",
                (false, Derived::Nothing) => {
                    "nothing, for nothing keeps what it sent: put a materialized view below it"
                }
            };
            tracing::warn!("sink {} is sent again, as ordered: {how}", sink.name);
            if !resend::has_view(plan, at) {
                resends.derived.insert(at);
            }
        }
        Ok(resends)
    }

    /// Tells whether any sink is resent.
    pub fn is_due(&self) -> bool {
        self.all || !self.sinks.is_empty()
    }

    /// Tells whether the dataflow must emit its restored content to views and sinks.
    pub fn needs_restored_content(&self) -> bool {
        self.all || !self.derived.is_empty()
    }

    /// One worker's share of the resent rows, by sink. `restored` is the content that the dataflow emitted.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn sink_deltas(
        &self,
        setup: &Setup,
        restored: Option<EpochOut>,
        place: (usize, usize),
    ) -> Result<BTreeMap<usize, SinkDelta>> {
        let plan = &setup.plan;
        let mut sinks = restored.map(|restored| restored.sinks).unwrap_or_default();
        sinks.retain(|at, _| {
            let wanted = self.all || self.derived.contains(at);
            wanted && derivable(plan, plan.sinks[*at].rel) != Derived::Nothing
        });
        for at in &self.sinks {
            if let Some(delta) = resend::content(setup, *at, place)? {
                sinks.insert(*at, delta);
            }
        }
        Ok(sinks)
    }
}
