//! Migration of a state that an earlier release wrote, when its topology starts.
//!
//! The stored key of an arrangement is grouped by its leading columns. The state does not know how many bytes
//! they take, so the plan is rendered once, without any record, for the packed forms of its keys.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};

use schemas::{Decoder, RowCodec, SchemaError};
use state::{Catalogue, Migration, Progress, Store, StoreOptions};

use crate::error::RunError;
use crate::plan::{Plan, Source};
use crate::render::Start;
use crate::runtime::edition::earlier::plan_of_state;
use crate::runtime::state_tables::StateTables;
use crate::runtime::worker::{Setup, Topology};

/// Outcome of a look at a state's format.
#[derive(Debug, PartialEq, Eq)]
pub enum Migrated {
    /// The state has this release's format, or there is none.
    Current,
    /// The state was rewritten; the number of its keys.
    Rewritten(u64),
    /// The plan is not the one that filled the state: the names that differ. Nothing was changed.
    OtherPlan(Vec<String>),
}

/// Rewrites the state in `dir` in this release's format if an earlier release wrote it for this plan.
///
/// # Errors
/// When the state is in use, of another topology than the options name, or cannot be read or written; it is
/// then as it was.
pub fn migrate_state(dir: &Path, options: &StoreOptions, plan: &Arc<Plan>) -> Result<Migrated, RunError> {
    let Some(migration) = Migration::open(dir, options)? else { return Ok(Migrated::Current) };
    let held = migration.catalogue()?.filter(|held| !held.entries.is_empty());
    let plan = &match &held {
        Some(held) => Arc::new(plan_of_state(plan, held)),
        None => plan.clone(),
    };
    let state_tables = match StateTables::of(plan, held.as_ref()) {
        Ok(state_tables) => state_tables,
        Err(changed) => return Ok(Migrated::OtherPlan(changed)),
    };
    let errors = state_tables.errors;
    let keys = arrangement_keys(&migration.scratch_dir(), plan, (state_tables, held))?;
    let rewritten = migration.rewrite(errors, |entry, stored| -> Result<usize, RunError> {
        let Some(codec) = keys.get(&entry.id) else {
            let what = format!("{} is stored, and the plan does not restore it", entry.name);
            return Err(RunError::Broken(what));
        };
        Ok(codec.prefix_len(stored, codec.columns())?)
    })?;
    Ok(Migrated::Rewritten(rewritten))
}

/// The packed forms of the arrangements' keys, by state table. `scratch` becomes an empty state, which the
/// dataflow's tables need and which is deleted.
fn arrangement_keys(
    scratch: &Path,
    plan: &Arc<Plan>,
    (state_tables, catalogue): (StateTables, Option<Catalogue>),
) -> Result<HashMap<u32, RowCodec>, RunError> {
    let store = Store::open(scratch, &StoreOptions { create: true, ..StoreOptions::default() })?;
    if let Some(catalogue) = &catalogue {
        store.put_catalogue(catalogue)?;
    }
    let setup = Setup {
        plan: plan.clone(),
        state_tables: Arc::new(state_tables),
        store: Arc::new(store),
        // The epoch of a state that holds something, so that all that is restored is rendered.
        start: Start { epoch: 1, whole: false, anew: false },
        progress: Arc::new(Progress::default()),
        committed: Arc::new(AtomicU64::new(1)),
        watermarks: plan.sources.iter().map(|_| Arc::new(AtomicI64::new(i64::MIN))).collect(),
        abort: Arc::new(AtomicBool::new(false)),
        decoder: Arc::new(no_decoder),
        joined_bytes: u64::MAX,
        totals: Arc::default(),
    };
    let keys = timely::execute_directly(move |worker| Topology::arrangement_keys(worker, &setup))?;
    Store::wipe(scratch)?;
    Ok(keys)
}

/// Refuses to make the decoder of a source, of which no record is read.
fn no_decoder(_: &Source) -> Result<Decoder, SchemaError> {
    Err(SchemaError::Mismatch("no record is read".to_owned()))
}
