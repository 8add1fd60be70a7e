//! Lowering of GROUPING SETS, ROLLUP and CUBE: a union of one GROUP BY per set.
//!
//! The input is lowered once. Each set's rows have NULL in the columns it does not group by, and a
//! number that distinguishes the sets: one bit for each column left out, the last column's lowest, and
//! above those bits the number of times that the same set came before. DataFusion computes
//! `grouping(...)` from it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion_common::{DFSchemaRef, Result, ScalarValue, plan_err};
use datafusion_expr::expr::GroupingSet;
use datafusion_expr::logical_plan::{self as logical, Extension, LogicalPlan};
use datafusion_expr::utils::grouping_set_to_exprlist;
use datafusion_expr::{Expr, UserDefinedLogicalNodeCore, lit};
use datafusion_functions_aggregate::count::count_udaf;
use datafusion_physical_expr::expressions::Literal;

use super::{Lower, cast, column_at, lower_scalar, plain_field};
use crate::plan::{Op, RelId, Scalar};

/// Greatest number of sets in one GROUP BY; each set keeps its own state.
const MAX_SETS: usize = 64;

/// Leaf for a relation that has been lowered already.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lowered {
    /// The relation.
    pub rel: RelId,
    schema: DFSchemaRef,
}

impl Lower<'_> {
    /// The groups of every set, with the columns of DataFusion's schema for a grouping by sets.
    pub(super) fn lower_grouping_sets(
        &mut self,
        aggregate: &logical::Aggregate,
        set: &GroupingSet,
    ) -> Result<RelId> {
        let sets = expand_sets(set);
        if sets.len() > MAX_SETS {
            return plan_err!("{} grouping sets are more than the {MAX_SETS} allowed", sets.len());
        }
        let rel = self.lower_node(&aggregate.input)?;
        let below = self.schema_of(rel);
        let input = aggregate.input.schema();
        let node = Arc::new(Lowered { rel, schema: Arc::clone(input) });
        let lowered = Arc::new(LogicalPlan::Extension(Extension { node }));
        let columns: Vec<Expr> =
            grouping_set_to_exprlist(&aggregate.group_expr)?.into_iter().cloned().collect();
        let mut types = Vec::with_capacity(columns.len());
        for column in &columns {
            types.push(lower_scalar(column, input)?.data_type(&below)?);
        }
        let number = aggregate.schema.field(columns.len()).data_type();
        let (mut seen, mut inputs) = (BTreeMap::<u64, u64>::new(), Vec::with_capacity(sets.len()));
        for keys in sets {
            let mut left_out = 0u64;
            for column in &columns {
                left_out = left_out << 1 | u64::from(!keys.contains(column));
            }
            let before = seen.entry(left_out).or_default();
            let id = ScalarValue::UInt64(Some(left_out | *before << columns.len())).cast_to(number)?;
            *before += 1;
            inputs.push(self.push_set((aggregate, Arc::clone(&lowered)), keys, (&columns, &types), id)?);
        }
        let schema = self.schema_of(inputs[0]);
        Ok(self.push(Op::Union { inputs }, schema))
    }

    /// The groups of one set in the columns of the whole grouping; `id` is the number of the set.
    fn push_set(
        &mut self,
        (aggregate, input): (&logical::Aggregate, Arc<LogicalPlan>),
        keys: Vec<Expr>,
        (columns, types): (&[Expr], &[DataType]),
        id: ScalarValue,
    ) -> Result<RelId> {
        // The empty set gives one row even without aggregates: a count makes it a total. Its column is
        // dropped below.
        let calls = if aggregate.aggr_expr.is_empty() && keys.is_empty() {
            vec![count_udaf().call(vec![lit(1)])]
        } else {
            aggregate.aggr_expr.clone()
        };
        let rel = self.lower_aggregate(&logical::Aggregate::try_new(input, keys.clone(), calls)?)?;
        let grouped = self.schema_of(rel);
        let named = aggregate.schema.fields();
        let (mut exprs, mut fields) = (Vec::new(), Vec::new());
        for ((column, of), named) in columns.iter().zip(types).zip(named) {
            let value = match keys.iter().position(|key| key == column) {
                Some(at) => cast(column_at(&grouped, at), of, &grouped)?,
                None => Scalar::new(Arc::new(Literal::new(ScalarValue::try_from(of)?))),
            };
            exprs.push(value);
            fields.push(plain_field(named, of.clone(), true));
        }
        fields.push(Field::new(named[columns.len()].name(), id.data_type(), false));
        exprs.push(Scalar::new(Arc::new(Literal::new(id))));
        for (nth, named) in named.iter().skip(columns.len() + 1).enumerate() {
            let at = keys.len() + nth;
            exprs.push(column_at(&grouped, at));
            fields.push(plain_field(named, grouped.field(at).data_type().clone(), true));
        }
        Ok(self.push(Op::Project { input: rel, exprs }, Arc::new(Schema::new(fields))))
    }
}

/// The sets of a GROUPING SETS, ROLLUP or CUBE, each without repeated columns.
fn expand_sets(set: &GroupingSet) -> Vec<Vec<Expr>> {
    let sets: Vec<Vec<Expr>> = match set {
        GroupingSet::GroupingSets(sets) => sets.clone(),
        GroupingSet::Rollup(columns) => (0..=columns.len()).rev().map(|n| columns[..n].to_vec()).collect(),
        GroupingSet::Cube(columns) => {
            (0..1u64 << columns.len().min(20)).map(|left_out| without_columns(columns, left_out)).collect()
        }
    };
    sets.into_iter().map(without_repeats).collect()
}

/// The columns whose bit in `left_out` is 0.
fn without_columns(columns: &[Expr], left_out: u64) -> Vec<Expr> {
    let mut kept = Vec::with_capacity(columns.len());
    for (at, column) in columns.iter().enumerate() {
        if left_out >> at & 1 == 0 {
            kept.push(column.clone());
        }
    }
    kept
}

/// The columns of a set, each once.
fn without_repeats(set: Vec<Expr>) -> Vec<Expr> {
    let mut kept: Vec<Expr> = Vec::with_capacity(set.len());
    for column in set {
        if !kept.contains(&column) {
            kept.push(column);
        }
    }
    kept
}

impl PartialOrd for Lowered {
    fn partial_cmp(&self, other: &Lowered) -> Option<std::cmp::Ordering> {
        self.rel.partial_cmp(&other.rel)
    }
}

impl UserDefinedLogicalNodeCore for Lowered {
    fn name(&self) -> &str {
        "Lowered"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lowered")
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, _: Vec<LogicalPlan>) -> Result<Lowered> {
        Ok(Lowered { rel: self.rel, schema: Arc::clone(&self.schema) })
    }
}
