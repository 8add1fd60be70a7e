//! Rows of the error table in the first epoch of an edited topology: which of them stay, go or come.
//!
//! A row is known by its owner and the text of the expression that failed. A relation that sees its whole input
//! again leads to its rows again, so that the state's are replaced. One below the restored state of an operator does
//! not: the state's rows stay, as the rows that failed will be taken back some day.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::datatypes::DataType;
use schemas::{Ownership, RowCodec, Rows, stored_key, without_group};

use super::share::{Share, share_of_kept};
use crate::error::RunError;
use crate::plan::analysis::fallible::input_scalars;
use crate::plan::{Op, Plan, RelId, When};
use crate::runtime::fill::Fill;
use crate::runtime::restore::rows_needed;
use crate::runtime::restore::scan_groups;
use crate::runtime::state_tables::expires;
use crate::runtime::worker::Setup;

/// Changes of the error table: rows of edited owners go, and those that it leads to come.
pub(super) struct ErrorChanges<'a> {
    setup: &'a Setup,
    fill: &'a Fill,
    codec: RowCodec,
    origins: Origins<'a>,
    /// Names of kept owners in the topology.
    kept: BTreeSet<&'a str>,
}

impl<'a> ErrorChanges<'a> {
    pub(super) fn new(setup: &'a Setup, fill: &'a Fill) -> Result<ErrorChanges<'a>, RunError> {
        Ok(ErrorChanges {
            setup,
            fill,
            codec: RowCodec::new(&[const { DataType::Utf8 }; 4])?,
            origins: Origins::of(setup, fill),
            kept: fill.kept_owners.values().map(String::as_str).collect(),
        })
    }

    /// Collects the changes of rows in the worker's key groups; `derived` are the rows that the start led to.
    pub(super) fn collect(
        &self,
        derived: Option<(Rows, Vec<i64>)>,
        owned: &Ownership,
        index: usize,
    ) -> Result<(Rows, Vec<i64>), RunError> {
        let (mut rows, mut diffs) = (Rows::new(), Vec::new());
        let errors = self.setup.state_tables.errors;
        scan_groups(&self.setup.store, errors, &owned.ranges(index), |stored, value| {
            let Some(count) = state::count_of(value) else {
                return Err(RunError::Damaged("a row of herald.errors has no count".into()));
            };
            let columns = self.codec.decode(std::iter::once(without_group(stored)))?;
            let now = self.renamed(&columns)?;
            if now.as_deref() == Some(stored) {
                return Ok(());
            }
            rows.push(stored);
            diffs.push(-count);
            if let Some(now) = now {
                rows.push(&now);
                diffs.push(count);
            }
            Ok(())
        })?;
        let (derived_rows, derived_diffs) = derived.unwrap_or_default();
        for (stored, diff) in derived_rows.iter().zip(derived_diffs) {
            let columns = self.codec.decode(std::iter::once(without_group(stored)))?;
            let (owner, expression) = (text_at(&columns, 0), text_at(&columns, 1));
            if self.origins.comes_again(owner, expression, self.kept.contains(owner)) {
                rows.push(stored);
                diffs.push(diff);
            }
        }
        Ok((rows, diffs))
    }

    /// The stored form of a row that stays, under the name that its owner has now; None for one that goes or is
    /// derived again.
    fn renamed(&self, columns: &[ArrayRef]) -> Result<Option<Vec<u8>>, RunError> {
        let (owner, expression) = (text_at(columns, 0), text_at(columns, 1));
        let mut renamed = columns.to_vec();
        // Errors of sinks arise when records are sent, not in the dataflow.
        if let Some(sink) = expression.strip_prefix("sink ") {
            let now = self.fill.kept_sinks.get(sink);
            let Some(sink) = self.setup.plan.sinks.iter().find(|sink| now == Some(&sink.name)) else {
                return Ok(None);
            };
            renamed[0] = one_text(&sink.record_name);
            renamed[1] = one_text(&format!("sink {}", sink.name));
        } else {
            let kept = self.fill.kept_owners.get(owner).map(String::as_str);
            let now = match kept {
                Some(now) => Some(now),
                None => self.origins.owner_now(self.fill, owner, expression),
            };
            let Some(now) = now.filter(|now| self.origins.stays(now, expression, kept.is_some())) else {
                return Ok(None);
            };
            renamed[0] = one_text(now);
        }
        Ok(Some(stored_key(self.codec.encode(&renamed)?.get(0))))
    }
}

/// Expressions by the owner of their relation.
type Expressions<'a> = BTreeMap<&'a str, BTreeSet<String>>;

/// The relations that rows of the error table come from, by owner and expression.
struct Origins<'a> {
    owners: BTreeSet<&'a str>,
    /// Of relations of the state that do not see their whole input again.
    held: Expressions<'a>,
    /// Of relations that do, and of new ones.
    again: Expressions<'a>,
    /// Owners all of whose relations do.
    rooted: BTreeSet<&'a str>,
}

impl<'a> Origins<'a> {
    fn of(setup: &'a Setup, fill: &Fill) -> Origins<'a> {
        let plan = &setup.plan;
        let sees_all = relations_fed_again(setup);
        let owners: BTreeSet<&str> = plan.rels.iter().map(|rel| rel.owner.as_str()).collect();
        let mut origins =
            Origins { rooted: owners.clone(), owners, held: BTreeMap::new(), again: BTreeMap::new() };
        for (id, rel) in plan.rels.iter().enumerate() {
            let owner = rel.owner.as_str();
            if !sees_all[id] {
                origins.rooted.remove(owner);
            }
            let is_held = fill.kept_rels.contains(&id) && !sees_all[id];
            let of = if is_held { &mut origins.held } else { &mut origins.again };
            of.entry(owner).or_default().extend(input_expressions(plan, id));
        }
        origins
    }

    /// The owner that rows of an owner that is not kept belong to now: that which its operators have gone to,
    /// itself, or another name of its relations.
    fn owner_now<'b>(&'b self, fill: &'b Fill, owner: &'b str, expression: &str) -> Option<&'b str> {
        let mut moved = fill.moved_owners.get(&owner.to_lowercase()).into_iter().flatten();
        if let Some(now) = moved.find(|now| contains(&self.held, now, expression)) {
            return Some(now);
        }
        if self.owners.contains(owner) {
            return Some(owner);
        }
        let other = self.held.iter().find(|(_, expressions)| expressions.contains(expression));
        other.map(|(owner, _)| *owner)
    }

    /// Returns true if the state's rows stay; `is_kept` for an owner of which nothing changed.
    fn stays(&self, owner: &str, expression: &str, is_kept: bool) -> bool {
        if !is_kept {
            return contains(&self.held, owner, expression);
        }
        !self.rooted.contains(owner) && !self.is_only_again(owner, expression)
    }

    /// Returns true if derived rows are added. Where a new relation fails with the text of a held one there may be
    /// too many rows, never too few: a row that is taken back must be there.
    fn comes_again(&self, owner: &str, expression: &str, is_kept: bool) -> bool {
        if !is_kept {
            return contains(&self.again, owner, expression) || !contains(&self.held, owner, expression);
        }
        self.rooted.contains(owner) || self.is_only_again(owner, expression)
    }

    fn is_only_again(&self, owner: &str, expression: &str) -> bool {
        contains(&self.again, owner, expression) && !contains(&self.held, owner, expression)
    }
}

fn contains(of: &Expressions<'_>, owner: &str, expression: &str) -> bool {
    of.get(owner).is_some_and(|expressions| expressions.contains(expression))
}

/// By relation: whether the start evaluates its expressions over all rows of its inputs.
fn relations_fed_again(setup: &Setup) -> Vec<bool> {
    let (plan, tables) = (&setup.plan, &setup.state_tables);
    let durable: BTreeSet<RelId> = tables.roles().map(|(id, _, _)| id).collect();
    let (mut whole, mut sees_all) =
        (Vec::with_capacity(plan.rels.len()), Vec::with_capacity(plan.rels.len()));
    for (id, rel) in plan.rels.iter().enumerate() {
        let inputs_whole = rel.op.inputs().iter().all(|input| whole[*input]);
        // State that is restored emits its rows, and does not see its input again.
        let restored = durable.contains(&id) && !tables.fills(id);
        let is_whole = match &rel.op {
            Op::Source(at) => {
                let keyed = plan.sources[*at].keyed.as_ref();
                keyed.is_some_and(|keyed| keyed.retention_us.is_none()) && rows_needed(setup, *at)
            }
            _ if restored => share_of_kept(plan, id) == Share::All,
            Op::EmitOnClose { .. } | Op::TemporalJoin { when: When::ProcTime, .. } => false,
            _ => inputs_whole && !expires(plan, id),
        };
        sees_all.push(inputs_whole && !restored && !expires(plan, id));
        whole.push(is_whole);
    }
    sees_all
}

/// The texts of the expressions that an operator evaluates over the rows of its inputs.
fn input_expressions(plan: &Plan, id: RelId) -> BTreeSet<String> {
    input_scalars(&plan.rels[id].op).into_iter().map(|(_, scalar)| scalar.to_string()).collect()
}

fn one_text(text: &str) -> ArrayRef {
    Arc::new(StringArray::from(vec![text]))
}

/// The text in the only row of a column.
fn text_at(columns: &[ArrayRef], column: usize) -> &str {
    columns.get(column).map_or("", |column| column.as_string::<i32>().value(0))
}
