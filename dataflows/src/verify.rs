//! Views derived again: what the durable state gives them, compared with what their tables hold.
//!
//! The dataflow is built over the restored state as at any start, and what views get at the committed epoch is
//! kept instead of dropped. A view of which the state keeps everything must equal its table; of one whose state
//! expires, what is still there must be held; rows that nothing kept (an append-only source as it is, a lookup
//! as of now) cannot be derived again.

use std::collections::HashMap;
use std::sync::mpsc::channel;

use state::StateError;

use crate::error::RunError;
use crate::plan::{Op, Plan, RelId, When};
use crate::render::Start;
use crate::render::collect::EpochOut;
use crate::spaces::Part;
use crate::topology::{self, Setup, Topology, Worker};

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

/// What was found of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Name.
    pub view: String,
    /// How much of it could be compared.
    pub derived: Derived,
    /// Entries its table holds.
    pub held: u64,
    /// Entries that are not what was derived.
    pub wrong: u64,
    /// Entries that were derived and are not held.
    pub missing: u64,
}

/// How much of a relation the state can give again.
pub fn derived(plan: &Plan, id: RelId) -> Derived {
    let rel = &plan.rels[id];
    let below =
        || rel.op.inputs().iter().map(|input| derived(plan, *input)).min().unwrap_or(Derived::Nothing);
    let expires = plan.expiry.range((id, Part::Groups)..).next().is_some_and(|((of, _), _)| *of == id);
    match &rel.op {
        Op::Source(at) => match &plan.sources[*at].keyed {
            Some(keyed) if keyed.retention_us.is_none() => Derived::All,
            Some(_) => Derived::Part,
            None => Derived::Nothing,
        },
        Op::Close { .. } | Op::Lookup { when: When::Now, .. } => Derived::Nothing,
        // A row whose partner has expired comes back as one that never had any.
        Op::Join { .. } | Op::Lookup { .. } if expires => Derived::Nothing,
        _ if rel.durable && expires => Derived::Part,
        _ if rel.durable => Derived::All,
        _ => below(),
    }
}

/// Derives every view again and compares. `setup` is of a state that nobody writes.
///
/// # Errors
/// When the state cannot be read or does not fit the plan.
pub fn views(setup: &Setup) -> Result<Vec<Finding>, RunError> {
    let mut setup = setup.clone();
    setup.start = Start { whole: true, ..setup.start };
    if !setup.start.restored() {
        return Ok(vec![]);
    }
    let (tell, told) = channel();
    let (shared, failures) = (setup.clone(), tell.clone());
    let body = move |worker: &mut Worker| {
        let out = Topology::build(worker, &shared)?.restored().unwrap_or_default();
        let _ = tell.send(Ok(out));
        Ok(())
    };
    let failed = move |error: RunError| drop(failures.send(Err(error)));
    let workers = topology::start(1, setup.abort.clone(), body, failed)?;
    let out = told.recv().map_err(|_| RunError::Broken("the dataflow ended by itself".into()))??;
    drop(workers.join());
    let views = setup.plan.views.iter().zip(&setup.spaces.views);
    views
        .map(|(view, space)| compare(&setup, (&view.name, derived(&setup.plan, view.rel)), *space, &out))
        .collect()
}

/// One view's table and what was derived for it.
fn compare(
    setup: &Setup,
    (view, derived): (&str, Derived),
    space: u32,
    out: &EpochOut,
) -> Result<Finding, RunError> {
    let mut wanted: HashMap<&[u8], Vec<u8>> = HashMap::new();
    if derived != Derived::Nothing {
        if let Some((rows, diffs)) = out.counts.get(&space) {
            let counts = rows.iter().zip(diffs).filter(|(_, diff)| **diff != 0);
            wanted.extend(counts.map(|(row, diff)| (row, diff.to_be_bytes().to_vec())));
        }
        if let Some((keys, values)) = out.writes.get(&space) {
            let rows = keys.iter().zip(values.iter());
            wanted.extend(rows.filter_map(|(key, row)| Some((key, row?.to_vec()))));
        }
    }
    let counted = out.counts.contains_key(&space);
    let mut finding = Finding { view: view.to_owned(), derived, held: 0, wrong: 0, missing: 0 };
    setup.store.scan(space, &[], |key, value| -> Result<(), StateError> {
        finding.held += 1;
        let count = state::count_of(value).map(|count| count.to_be_bytes().to_vec());
        let held = if counted { count.unwrap_or_default() } else { value.to_vec() };
        match wanted.remove(key) {
            Some(derived) if derived == held => {}
            Some(_) => finding.wrong += 1,
            None => finding.wrong += u64::from(derived == Derived::All),
        }
        Ok(())
    })?;
    finding.missing = wanted.len() as u64;
    Ok(finding)
}
