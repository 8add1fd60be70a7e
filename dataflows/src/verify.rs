//! The state derived again: what tables and durable arrangements give, compared with what is held.
//!
//! The dataflow is built over the restored state as at any start, and what views get at the committed epoch is
//! kept instead of dropped. A view of which the state keeps everything must equal its table; of one whose state
//! expires, what is still there must be held; rows that nothing kept (an append-only source as it is, a lookup
//! as of now) cannot be derived again. Sides of joins that lead to nothing but tables are filled from the tables
//! anew, so that they are compared, too, and so are rows of the error table of views that lead to nothing else.

mod compare;

use std::collections::BTreeSet;
use std::sync::mpsc::channel;

use crate::error::RunError;
use crate::plan::state_role::Part;
use crate::plan::{Op, Plan, RelId, When};
use crate::render::Start;
use crate::render::collect::EpochOut;
use crate::worker::{self, Setup, Topology, Worker};

pub use compare::{Change, Difference, differences};

/// How much of a relation the state can give again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Derived {
    /// Nothing that could be compared.
    Nothing,
    /// What has not expired.
    Part,
    /// All of it.
    All,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Of {
    /// A view.
    View,
    /// A part of an operator's state.
    Arrangement,
    /// The error table.
    Errors,
}

/// What was found of a view, an arrangement or the error table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which of them.
    pub of: Of,
    /// Name.
    pub name: String,
    /// How much of it could be compared.
    pub derived: Derived,
    /// Entries its table holds.
    pub held: u64,
    /// Entries that are not what was derived.
    pub wrong: u64,
    /// Entries that were derived and are not held.
    pub missing: u64,
}

impl Finding {
    /// Whether it holds what was derived.
    pub fn fine(&self) -> bool {
        self.wrong == 0 && self.missing == 0
    }
}

/// How much of a relation the state can give again.
pub fn derived(plan: &Plan, id: RelId) -> Derived {
    // Inputs come first, so each relation is looked at once, however often it is used.
    let mut all = Vec::with_capacity(id + 1);
    for at in 0..=id {
        all.push(derived_from(plan, at, &all));
    }
    all[id]
}

fn derived_from(plan: &Plan, id: RelId, before: &[Derived]) -> Derived {
    let rel = &plan.rels[id];
    let below = || rel.op.inputs().iter().map(|input| before[*input]).min().unwrap_or(Derived::Nothing);
    match &rel.op {
        Op::Source(at) => match &plan.sources[*at].keyed {
            Some(keyed) if keyed.retention_us.is_none() => Derived::All,
            Some(_) => Derived::Part,
            None => Derived::Nothing,
        },
        Op::Values(_) => Derived::All,
        Op::Close { .. } | Op::Lookup { when: When::Now, .. } => Derived::Nothing,
        // Rows that never leave are not kept once they are in.
        Op::Within { until, .. } if rel.durable && until.is_empty() => Derived::Nothing,
        // A row whose partner has expired comes back as one that never had any.
        Op::Join { .. } | Op::Lookup { .. } if expires(plan, id) => Derived::Nothing,
        _ if rel.durable && expires(plan, id) => Derived::Part,
        _ if rel.durable => Derived::All,
        _ => below(),
    }
}

/// Whether a relation follows from the rows of tables alone, all of which the state keeps.
pub fn rooted(plan: &Plan, id: RelId) -> bool {
    let (mut seen, mut open) = (BTreeSet::from([id]), vec![id]);
    while let Some(id) = open.pop() {
        let itself = match &plan.rels[id].op {
            Op::Source(at) => {
                plan.sources[*at].keyed.as_ref().is_some_and(|keyed| keyed.retention_us.is_none())
            }
            Op::Close { .. } | Op::Lookup { when: When::Now, .. } => false,
            _ => !expires(plan, id),
        };
        if !itself {
            return false;
        }
        open.extend(plan.rels[id].op.inputs().into_iter().filter(|input| seen.insert(*input)));
    }
    true
}

/// Whether a part of an operator's state is filled from the tables anew when the state is derived again.
pub fn anew(plan: &Plan, (id, part): (RelId, Part)) -> bool {
    let inputs = plan.rels[id].op.inputs();
    let input = if part == Part::Right { inputs.get(1) } else { inputs.first() };
    let sides = match plan.rels[id].op {
        // What left rows found once is not found again.
        Op::Lookup { when: When::Now, .. } => part == Part::Right,
        Op::Join { .. } | Op::Lookup { .. } => true,
        _ => false,
    };
    sides && !expires(plan, id) && input.is_some_and(|input| rooted(plan, *input))
}

/// Whether a part of a relation's state is dropped once it is final.
fn expires(plan: &Plan, id: RelId) -> bool {
    plan.expiry.range((id, Part::Groups)..).next().is_some_and(|((of, _), _)| *of == id)
}

/// Derives everything again and compares. `setup` is of a state that nobody writes.
///
/// # Errors
/// When the state cannot be read or does not fit the plan.
pub fn findings(setup: &Setup) -> Result<Vec<Finding>, RunError> {
    let all = differences(setup, &derive(setup)?)?;
    Ok(all.into_iter().map(|difference| difference.finding).collect())
}

/// What tables and durable arrangements give at the committed epoch; nothing for a new state.
///
/// # Errors
/// When the state cannot be read or does not fit the plan.
pub fn derive(setup: &Setup) -> Result<EpochOut, RunError> {
    let mut setup = setup.clone();
    setup.start = Start { whole: true, anew: true, ..setup.start };
    if !setup.start.restored() {
        return Ok(EpochOut::default());
    }
    let (tell, told) = channel();
    let (shared, failures) = (setup.clone(), tell.clone());
    let body = move |worker: &mut Worker| {
        let out = Topology::build(worker, &shared)?.restored().unwrap_or_default();
        let _ = tell.send(Ok(out));
        Ok(())
    };
    let failed = move |error: RunError| drop(failures.send(Err(error)));
    let workers = worker::start(1, setup.abort.clone(), body, failed)?;
    let out = told.recv().map_err(|_| RunError::Broken("the dataflow ended by itself".into()))??;
    drop(workers.join());
    Ok(out)
}
