//! The lineage of joins.
//!
//! Rows of both sides and the condition decide the rows of a join, with one exception: where each row of the left stays
//! and finds one row of the right at most, the right side and the condition decide the right's columns alone.

use std::collections::BTreeSet;

use super::columns::{Deriver, Inputs, all_columns, conjuncts};
use super::reading::{read, text};
use super::{ColumnLineage, ConditionId, ConditionKind, RowsLineage};
use crate::plan::analysis::fallible::fallible;
use crate::plan::{JoinKind, Op, RelId, Scalar, When};

/// The sides of a join with its keys.
struct Sides<'a> {
    left: RelId,
    right: RelId,
    left_keys: &'a [Scalar],
    right_keys: &'a [Scalar],
}

impl Deriver<'_> {
    /// The lineage of a join.
    pub fn joined(&mut self, inputs: &Inputs<'_>, id: RelId) -> RowsLineage {
        match &inputs.plan.rels[id].op {
            Op::Join { left, right, kind, left_keys, right_keys, residual, .. } => {
                let sides = Sides { left: *left, right: *right, left_keys, right_keys };
                let mut deciding = self.key_conditions(inputs, &sides);
                let mut fails = false;
                if let Some(residual) = residual {
                    let both = both_schema(inputs, &sides);
                    fails = fallible(residual.expr(), &both);
                    deciding.extend(self.residual_conditions(inputs, &sides, residual));
                }
                let found: BTreeSet<usize> = right_keys.iter().filter_map(Scalar::as_column).collect();
                let apart = *kind == JoinKind::Left && !fails && is_told(inputs, *right, &found);
                combined(inputs, &sides, deciding, JoinForm { apart, pairs: kind.outputs_pairs() })
            }
            Op::TemporalJoin { left, right, left_keys, right_keys, outer, when } => {
                let sides = Sides { left: *left, right: *right, left_keys, right_keys };
                let mut deciding = self.key_conditions(inputs, &sides);
                let mut found: BTreeSet<usize> = right_keys.iter().filter_map(Scalar::as_column).collect();
                let mut one = false;
                if let When::AsOf { left: l, right: r, .. } = when {
                    (one, found) = (true, found.into_iter().chain([*r]).collect());
                    deciding.extend(self.times(inputs, &sides, (*l, *r)));
                    if !is_told(inputs, *right, &found) {
                        let read: Vec<&ColumnLineage> = inputs.done[*right].columns.iter().collect();
                        deciding.extend(self.note_over((ConditionKind::Ties, all_columns()), &read));
                    }
                }
                let apart = *outer && (one || is_told(inputs, *right, &found));
                combined(inputs, &sides, deciding, JoinForm { apart, pairs: true })
            }
            _ => RowsLineage::default(),
        }
    }

    /// Notes that keys are equal.
    fn key_conditions(&mut self, inputs: &Inputs<'_>, sides: &Sides<'_>) -> BTreeSet<ConditionId> {
        let mut all = BTreeSet::new();
        for (l, r) in sides.left_keys.iter().zip(sides.right_keys) {
            let (l, left) = self.read_key(inputs, sides.left, l);
            let (r, right) = self.read_key(inputs, sides.right, r);
            all.extend(self.note_over((ConditionKind::Join, format!("{l} = {r}")), &[&left, &right]));
        }
        all
    }

    fn read_key(&self, inputs: &Inputs<'_>, input: RelId, key: &Scalar) -> (String, ColumnLineage) {
        let names = inputs.names(input);
        self.with_columns(&inputs.done[input].columns, &names, |columns| {
            (text(key, columns), read(key.expr(), columns))
        })
    }

    /// Notes the conditions over both sides.
    fn residual_conditions(
        &mut self,
        inputs: &Inputs<'_>,
        sides: &Sides<'_>,
        residual: &Scalar,
    ) -> BTreeSet<ConditionId> {
        let mut names = inputs.names(sides.left);
        names.extend(inputs.names(sides.right));
        let mut columns = inputs.done[sides.left].columns.clone();
        columns.extend(inputs.done[sides.right].columns.iter().cloned());
        let mut all = BTreeSet::new();
        for condition in conjuncts(residual) {
            let (text, read) = self.with_columns(&columns, &names, |columns| {
                (text(&condition, columns), read(condition.expr(), columns))
            });
            all.extend(self.note_over((ConditionKind::Join, text), &[&read]));
        }
        all
    }

    /// Notes the times of a join as of a time.
    fn times(
        &mut self,
        inputs: &Inputs<'_>,
        sides: &Sides<'_>,
        (l, r): (usize, usize),
    ) -> BTreeSet<ConditionId> {
        let (left, right) = (&inputs.done[sides.left].columns[l], &inputs.done[sides.right].columns[r]);
        let text = format!(
            "{} nearest to {}",
            inputs.names(sides.right).swap_remove(r),
            inputs.names(sides.left).swap_remove(l)
        );
        self.note_over((ConditionKind::AsOf, text), &[left, right])
    }
}

/// Returns true if values of some columns tell a row of a relation from all others.
fn is_told(inputs: &Inputs<'_>, rel: RelId, columns: &BTreeSet<usize>) -> bool {
    inputs.plan.rels[rel].unique.iter().any(|key| key.iter().all(|column| columns.contains(column)))
}

/// The schema of both sides' columns.
fn both_schema(inputs: &Inputs<'_>, sides: &Sides<'_>) -> arrow::datatypes::Schema {
    let fields = |rel: RelId| inputs.plan.rels[rel].schema.fields().iter().cloned();
    arrow::datatypes::Schema::new(fields(sides.left).chain(fields(sides.right)).collect::<Vec<_>>())
}

/// The form of a join's rows.
struct JoinForm {
    /// True where the right side decides its own columns only.
    apart: bool,
    /// True where the right side has columns.
    pairs: bool,
}

/// The rows of a join, with the conditions that decide them.
fn combined(
    inputs: &Inputs<'_>,
    sides: &Sides<'_>,
    deciding: BTreeSet<ConditionId>,
    form: JoinForm,
) -> RowsLineage {
    let JoinForm { apart, pairs } = form;
    let mut out = inputs.done[sides.left].clone();
    let right = &inputs.done[sides.right];
    let deciding: BTreeSet<ConditionId> = deciding.union(&right.rows).copied().collect();
    if !apart {
        out.rows.extend(&deciding);
    }
    if pairs {
        for column in &right.columns {
            let mut column = column.clone();
            if apart {
                column.conditions.extend(&deciding);
            }
            out.columns.push(column);
        }
    }
    out
}
