//! What sinks get again as a whole, in an epoch of its own at the start.
//!
//! All sinks of a copy that became a state of its own (`herald state restore --as`), and each sink that was ordered
//! to be sent again (`herald sink resend`). The epoch's commit ends the order, so that it goes out once. What no
//! view holds is derived again from the durable state; what cannot be derived is not sent.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use dataflows::plan::Plan;
use dataflows::render::collect::{EpochOut, SinkDelta};
use dataflows::repair::resend;
use dataflows::verify::{Derived, derived};
use dataflows::worker::Setup;
use state::Store;

use super::topics::renewed;

/// The sinks that get their content again.
#[derive(Clone, Debug, Default)]
pub struct Again {
    /// All of them, as far as it can be derived.
    all: bool,
    /// By their place in the plan.
    sinks: BTreeSet<usize>,
    /// Those of them whose content no view holds.
    derived: BTreeSet<usize>,
}

impl Again {
    /// What the state says.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(plan: &Plan, store: &Store) -> Result<Again> {
        let (mut again, renewed) = (Again { all: store.republishes()?, ..Again::default() }, renewed(store)?);
        for (at, sink) in plan.sinks.iter().enumerate().filter(|(_, sink)| renewed.contains(&sink.name)) {
            again.sinks.insert(at);
            let fate = derived(plan, sink.rel);
            let how = match (resend::held(plan, at), fate) {
                (true, _) => "what its view holds",
                (false, Derived::All) => "what the state gives it",
                (false, Derived::Part) => "what the state still gives it",
                (false, Derived::Nothing) => {
                    "nothing, for nothing keeps what it sent: put a materialized view below it"
                }
            };
            tracing::warn!("sink {} is sent again, as ordered: {how}", sink.name);
            if !resend::held(plan, at) {
                again.derived.insert(at);
            }
        }
        Ok(again)
    }

    /// Tells whether there is anything to send.
    pub fn any(&self) -> bool {
        self.all || !self.sinks.is_empty()
    }

    /// Tells whether the dataflow has to give what it holds.
    pub fn derives(&self) -> bool {
        self.all || !self.derived.is_empty()
    }

    /// One worker's part of it. `restored` is what the dataflow gave.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn deltas(
        &self,
        setup: &Setup,
        restored: Option<EpochOut>,
        place: (usize, usize),
    ) -> Result<BTreeMap<usize, SinkDelta>> {
        let plan = &setup.plan;
        let mut sinks = restored.map(|restored| restored.sinks).unwrap_or_default();
        sinks.retain(|at, _| {
            let wanted = self.all || self.derived.contains(at);
            wanted && derived(plan, plan.sinks[*at].rel) != Derived::Nothing
        });
        for at in &self.sinks {
            if let Some(delta) = resend::content(setup, *at, place)? {
                sinks.insert(*at, delta);
            }
        }
        Ok(sinks)
    }
}
