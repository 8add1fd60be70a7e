//! Erasure of persons: orders to erase, and the persons erased so far, at one worker.
//!
//! A table with `erase = 'column'` holds orders. The worker that reads one replaces the identity by its digest before
//! anything else sees it, and notes the order. When the epoch is closed every worker learns the orders of all, and
//! each table with paths (`erase.by`) takes the persons out of the rows that it holds in this epoch, before it decides
//! the epoch's own records. From the next epoch on records are filtered as they come. So a row is compared with others
//! only after both were filtered, and the order in which records and orders come has no part in the result.
//!
//! | module | content |
//! | --- | --- |
//! | `path` | paths to the values that name persons |
//! | `filter` | the rows of a table without erased persons |
//! | `left` | places that may hold an identity and that no erasure reaches |

pub mod filter;
pub mod left;
pub mod path;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use schemas::{Digest, Digester, ErasedSet};
use serde::{Deserialize, Serialize};
use state::{Erasure, RowsErased, Store};

use crate::error::RunError;
use crate::plan::Plan;

/// An order to erase a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Index of the worker that it is sent to.
    pub to: u64,
    /// The table that holds it, by its place in the plan.
    pub source: usize,
    /// The digest of the identity.
    pub digest: Digest,
    /// The hash by which records are screened.
    pub screen: u64,
    /// The identity. It is in memory alone, until the epoch is committed.
    pub identity: Vec<u8>,
    /// The time of the order, microseconds, if it has one.
    pub requested_us: Option<i64>,
}

/// Persons erased at a worker, shared by its operators.
#[derive(Debug)]
pub struct Erasing {
    /// Those of closed epochs.
    pub known: ErasedSet,
    /// Those of the epoch that is being closed, all workers' orders.
    pub fresh: ErasedSet,
    /// The identities of the latter.
    pub identities: Vec<Vec<u8>>,
    /// Orders that have arrived, by the epoch: another worker may be an epoch ahead, and sends those of the next one
    /// before this one has ended the last.
    pub arrived: BTreeMap<u64, Vec<Order>>,
    /// Orders that this worker has read in the open epoch.
    pub noted: Vec<Order>,
    /// Tables whose rows were filtered by other paths, or by none, until now.
    pub anew: BTreeSet<usize>,
    /// The sources' watermarks at the end of the epoch before.
    pub watermarks: BTreeMap<usize, i64>,
}

/// [`Erasing`], as the operators of a worker share it.
pub type SharedErasing = Rc<RefCell<Erasing>>;

impl Erasing {
    /// The persons that the state knows, for a plan that erases or has erased some; None for another plan.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn of(plan: &Plan, store: &Store) -> Result<Option<SharedErasing>, RunError> {
        if !plan.sources.iter().any(|source| source.erases.is_some() || !source.erase_by.is_empty()) {
            return Ok(None);
        }
        let known = store.erased_set()?;
        let fresh = ErasedSet::new(known.digester().clone());
        let anew = tables_filtered_anew(plan, store)?;
        let (identities, arrived, noted, watermarks) = Default::default();
        let erasing = Erasing { known, fresh, identities, arrived, noted, anew, watermarks };
        Ok(Some(Rc::new(RefCell::new(erasing))))
    }

    /// The function from identities to digests.
    pub fn digester(&self) -> &Digester {
        self.known.digester()
    }

    /// Takes the orders of all workers for the epoch that is being closed, all of which have arrived.
    pub fn take_orders(&mut self, epoch: u64) {
        for order in self.arrived.remove(&epoch).unwrap_or_default() {
            // One that is given again finds nothing in tables: all that came since was filtered.
            if self.known.find(&order.identity).is_none() && self.fresh.insert(order.digest, order.screen) {
                self.identities.push(order.identity);
            }
        }
    }

    /// The persons to take out of a table's held rows in the epoch that is being closed.
    pub fn to_erase_in(&self, source: usize) -> Option<ErasedSet> {
        let mut erased = self.fresh.clone();
        if self.anew.contains(&source) {
            erased.extend(&self.known);
        }
        (!erased.is_empty()).then_some(erased)
    }

    /// Ends the epoch: its persons are known from now on.
    pub fn settle(&mut self) {
        self.known.extend(&self.fresh);
        self.fresh.clear();
        self.identities.clear();
        self.anew.clear();
    }
}

/// Tables whose held rows were filtered by other paths than the plan's, while persons were erased before.
///
/// # Errors
/// When the state cannot be read.
pub fn tables_filtered_anew(plan: &Plan, store: &Store) -> Result<BTreeSet<usize>, RunError> {
    let mut anew = BTreeSet::new();
    // Without digests there is nothing to filter by.
    if store.erasures()?.is_empty() {
        return Ok(anew);
    }
    let (held, wanted) = (store.erase_paths()?, paths_of(plan));
    for (at, source) in plan.sources.iter().enumerate() {
        if wanted.contains_key(&source.name) && wanted.get(&source.name) != held.get(&source.name) {
            anew.insert(at);
        }
    }
    Ok(anew)
}

/// The texts of the paths of each table that has some.
pub fn paths_of(plan: &Plan) -> BTreeMap<String, String> {
    let mut paths = BTreeMap::new();
    for source in plan.sources.iter().filter(|source| !source.erase_by.is_empty()) {
        let texts: Vec<&str> = source.erase_by.iter().map(|path| path.text.as_str()).collect();
        paths.insert(source.name.clone(), texts.join(", "));
    }
    paths
}

/// Rows that an epoch took from a person, by the person and the table.
pub type RowsTaken = BTreeMap<(Digest, usize), RowsErased>;

/// Makes the receipts of an epoch: of its orders, and of persons of earlier ones whom other paths took out of rows.
pub fn receipts(
    plan: &Plan,
    (epoch, commit_ms): (u64, i64),
    orders: &[Order],
    taken: &RowsTaken,
) -> Vec<Erasure> {
    let mut receipts: BTreeMap<Digest, Erasure> = BTreeMap::new();
    if orders.is_empty() && taken.is_empty() {
        return Vec::new();
    }
    // The same for all: it follows from the plan.
    let left = left::places_left(plan);
    let begin = |digest: Digest| Erasure {
        digest,
        screen: 0,
        ordered_in: String::new(),
        orders: 0,
        epoch,
        requested_us: None,
        committed_ms: commit_ms,
        finished_ms: None,
        tables: BTreeMap::new(),
        dead_letters: 0,
        errors: 0,
        left: left.clone(),
    };
    let name_of =
        |source: usize| plan.sources.get(source).map(|source| source.name.clone()).unwrap_or_default();
    for order in orders {
        let receipt = receipts.entry(order.digest).or_insert_with(|| begin(order.digest));
        (receipt.screen, receipt.ordered_in) = (order.screen, name_of(order.source));
        receipt.orders += 1;
        receipt.requested_us = [receipt.requested_us, order.requested_us].into_iter().flatten().min();
    }
    for ((digest, source), rows) in taken {
        let receipt = receipts.entry(*digest).or_insert_with(|| begin(*digest));
        let held = receipt.tables.entry(name_of(*source)).or_default();
        held.rewritten += rows.rewritten;
        held.removed += rows.removed;
    }
    receipts.into_values().collect()
}
