//! Verification of a state: views and arrangements derived again from tables and durable arrangements,
//! compared with the stored ones.
//!
//! The dataflow is built over the restored state as at any start, and the output for views at the committed
//! epoch is kept instead of dropped. A view of which the state keeps everything must equal its table; of a
//! view whose state expires, every derived row must be stored; rows that nothing kept (of an append-only
//! source, of a join as of PROCTIME()) cannot be derived again. Sides of joins that follow from tables alone
//! are filled from the tables, not from the state, so that they are compared, too, and so are rows of the
//! error table of views that follow from tables alone.

mod compare;

use std::sync::mpsc::channel;

use crate::collect::EpochOut;
use crate::error::RunError;
use crate::plan::{Op, Plan, RelId, When};
use crate::render::Start;
use crate::runtime::state_tables::expires;
use crate::runtime::worker::{self, Setup, Topology, Worker};

pub use compare::{Change, Difference, differences, index_differences};

/// Share of a relation that can be derived again from the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Derived {
    /// Nothing to compare.
    Nothing,
    /// The rows that have not expired.
    Part,
    /// All of it.
    All,
}

/// Kind of the compared state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A view.
    View,
    /// A part of an operator's state.
    Arrangement,
    /// The error table.
    Errors,
    /// An index, which follows from its view.
    Index,
}

/// Result of the comparison of a view, an arrangement or the error table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its kind.
    pub subject: Subject,
    /// Name.
    pub name: String,
    /// Share of it that could be compared.
    pub derived: Derived,
    /// Entries its table holds.
    pub held: u64,
    /// Stored entries that differ from the derived ones.
    pub wrong: u64,
    /// Derived entries that are not stored.
    pub missing: u64,
}

impl Finding {
    /// Returns true if it equals the derived entries.
    pub fn fine(&self) -> bool {
        self.wrong == 0 && self.missing == 0
    }
}

/// Share of a relation that can be derived again from the state.
pub fn derivable(plan: &Plan, id: RelId) -> Derived {
    // Inputs come first, so each relation is visited once, however often it is used.
    let mut all = Vec::with_capacity(id + 1);
    for at in 0..=id {
        all.push(derivable_from(plan, at, &all));
    }
    all[id]
}

fn derivable_from(plan: &Plan, id: RelId, before: &[Derived]) -> Derived {
    let rel = &plan.rels[id];
    match &rel.op {
        Op::Source(at) => match &plan.sources[*at].keyed {
            Some(keyed) if keyed.retention_us.is_none() => Derived::All,
            Some(_) => Derived::Part,
            None => Derived::Nothing,
        },
        Op::Values(_) => Derived::All,
        Op::EmitOnClose { .. } | Op::TemporalJoin { when: When::ProcTime, .. } => Derived::Nothing,
        // Rows that never leave are not kept in the state once they have entered.
        Op::TemporalFilter { until, .. } if rel.durable && until.is_empty() => Derived::Nothing,
        // A row whose match has expired would be derived as a row without a match.
        Op::Join { .. } | Op::TemporalJoin { .. } if expires(plan, id) => Derived::Nothing,
        _ if rel.durable && expires(plan, id) => Derived::Part,
        _ if rel.durable => Derived::All,
        _ => rel.op.inputs().iter().map(|input| before[*input]).min().unwrap_or(Derived::Nothing),
    }
}

/// Derives everything again and compares. Nothing else may write the state of `setup`.
///
/// # Errors
/// When the state cannot be read or does not fit the plan.
pub fn findings(setup: &Setup) -> Result<Vec<Finding>, RunError> {
    let all = differences(setup, &derive(setup)?)?;
    Ok(all.into_iter().map(|difference| difference.finding).collect())
}

/// Compares the indexes that the state holds with their views. Nothing else may write the state of `setup`.
///
/// # Errors
/// When the state cannot be read.
pub fn index_findings(setup: &Setup) -> Result<Vec<Finding>, RunError> {
    let all = index_differences(setup, &[])?;
    Ok(all.into_iter().map(|difference| difference.finding).collect())
}

/// Output that tables and durable arrangements give at the committed epoch; empty for a new state.
///
/// # Errors
/// When the state cannot be read or does not fit the plan.
pub fn derive(setup: &Setup) -> Result<EpochOut, RunError> {
    let mut setup = setup.clone();
    setup.start = Start { whole: true, anew: true, ..setup.start };
    if !setup.start.is_restored() {
        return Ok(EpochOut::default());
    }
    let (results, received) = channel();
    let (shared, failures) = (setup.clone(), results.clone());
    let body = move |worker: &mut Worker| {
        let out = Topology::build(worker, &shared)?.take_restored().unwrap_or_default();
        let _ = results.send(Ok(out));
        Ok(())
    };
    let failed = move |error: RunError| drop(failures.send(Err(error)));
    let workers = worker::start(1, setup.abort.clone(), body, failed)?;
    let out = received.recv().map_err(|_| RunError::Broken("the dataflow ended by itself".into()))??;
    drop(workers.join());
    Ok(out)
}
