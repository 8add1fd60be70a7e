//! Columns that have one value in all rows of a relation: literals, and columns that a condition `column = literal`
//! fixes.
//!
//! Such a column tells no rows apart, so a key is unique without it as well. It holds at every epoch, whatever the
//! data. Values are kept for unions, whose columns are constant where all inputs have the same value. Of the
//! conditions only those joined by AND count, over types whose equal values are the same bits: not numbers with a
//! signed zero, INTERVAL or JSONB.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion_common::ScalarValue;
use datafusion_expr::Operator;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{BinaryExpr, CastExpr, Literal};

use crate::plan::{JoinKind, Op, Rel, Scalar};

/// Constant columns by position, with their values.
pub(crate) type Constants = BTreeMap<usize, ScalarValue>;

impl Rel {
    /// The columns of a key that are not constant; all of them where all are.
    pub fn telling_columns(&self, key: &[usize]) -> Vec<usize> {
        let mut telling = key.to_vec();
        telling.retain(|column| !self.constants.contains_key(column));
        if telling.is_empty() { key.to_vec() } else { telling }
    }
}

/// The constant columns of a relation, from those of its inputs.
pub(crate) fn constants_of(rel: &Rel, inputs: &[&Rel]) -> Constants {
    match &rel.op {
        Op::Source(_) | Op::Values(_) | Op::Given(_) | Op::Recursive(_) => Constants::new(),
        Op::Filter { predicate, .. } => {
            let mut constants = inputs[0].constants.clone();
            add_fixed(predicate.expr(), inputs[0], &mut constants);
            constants
        }
        Op::TemporalFilter { .. } | Op::Distinct { .. } | Op::EmitOnClose { .. } | Op::Window { .. } => {
            inputs[0].constants.clone()
        }
        Op::Unnest { column, .. } => {
            let mut constants = inputs[0].constants.clone();
            constants.remove(column);
            constants
        }
        Op::Project { exprs: made, .. }
        | Op::Aggregate { keys: made, .. }
        | Op::GroupRows { keys: made, .. } => constants_among(made, inputs[0]),
        Op::Union { .. } => common_constants(inputs),
        // Columns of a side that may be missing are NULL in some rows.
        Op::Join { kind: JoinKind::Full, .. } => Constants::new(),
        Op::Join { kind: JoinKind::Inner, .. } | Op::TemporalJoin { outer: false, .. } => {
            let mut constants = inputs[0].constants.clone();
            let width = inputs[0].schema.fields().len();
            for (column, value) in &inputs[1].constants {
                constants.insert(column + width, value.clone());
            }
            constants
        }
        Op::Join { .. } | Op::TemporalJoin { .. } => inputs[0].constants.clone(),
    }
}

/// The constants among expressions over `input`: literals, and columns that are constant there.
fn constants_among(exprs: &[Scalar], input: &Rel) -> Constants {
    let mut constants = Constants::new();
    for (at, expr) in exprs.iter().enumerate() {
        let value = match (expr.expr().downcast_ref::<Literal>(), expr.as_column()) {
            (Some(literal), _) => Some(literal.value()),
            (None, Some(column)) => input.constants.get(&column),
            (None, None) => None,
        };
        if let Some(value) = value {
            constants.insert(at, value.clone());
        }
    }
    constants
}

/// The columns that have one value in all inputs of a union.
fn common_constants(inputs: &[&Rel]) -> Constants {
    let Some((first, others)) = inputs.split_first() else { return Constants::new() };
    let mut constants = first.constants.clone();
    for other in others {
        constants.retain(|column, value| other.constants.get(column) == Some(&*value));
    }
    constants
}

/// The columns that have another value in each input of a union: they tell which one a row is of.
pub(super) fn telling_inputs<'a>(rel: &'a Rel, inputs: &'a [&Rel]) -> impl Iterator<Item = usize> + 'a {
    let fields = rel.schema.fields().iter().enumerate().filter(|(_, field)| is_told_by_equality(field));
    fields.filter_map(|(column, field)| {
        // A condition may have compared in a wider type: 3 as BIGINT is no other value than 3 as INT.
        let value = |input: &&Rel| input.constants.get(&column)?.cast_to(field.data_type()).ok();
        let values: Option<HashSet<ScalarValue>> = inputs.iter().map(value).collect();
        values.is_some_and(|values| values.len() == inputs.len()).then_some(column)
    })
}

/// Adds the columns that a condition fixes.
fn add_fixed(condition: &Arc<dyn PhysicalExpr>, input: &Rel, constants: &mut Constants) {
    let Some(condition) = condition.downcast_ref::<BinaryExpr>() else { return };
    let (left, right) = (condition.left(), condition.right());
    match condition.op() {
        Operator::And => {
            add_fixed(left, input, constants);
            add_fixed(right, input, constants);
        }
        Operator::Eq => {
            for (of, value) in [(left, right), (right, left)] {
                if let Some(literal) = value.downcast_ref::<Literal>()
                    && !literal.value().is_null()
                    && let Some(column) = carried_column(&Scalar::new(Arc::clone(of)), input)
                    && is_told_by_equality(input.schema.field(column))
                {
                    constants.insert(column, literal.value().clone());
                }
            }
        }
        _ => {}
    }
}

/// The column of which `expr` is a one-to-one function: the column itself, or a checked cast of a whole
/// number.
pub(super) fn carried_column(expr: &Scalar, input: &Rel) -> Option<usize> {
    let Some(cast) = expr.expr().downcast_ref::<CastExpr>() else { return expr.as_column() };
    let from = cast.expr().data_type(&input.schema).ok()?;
    let whole = from.is_integer() && cast.cast_type().is_integer();
    if whole { Scalar::new(Arc::clone(cast.expr())).as_column() } else { None }
}

/// Returns true if equal values of a column are the same in every respect.
fn is_told_by_equality(field: &Field) -> bool {
    match field.data_type() {
        DataType::Utf8 => !schemas::is_jsonb(field),
        DataType::Boolean | DataType::Int16 | DataType::Int32 | DataType::Int64 => true,
        DataType::Decimal128(..) | DataType::Binary => true,
        DataType::Date32 | DataType::Time64(_) | DataType::Timestamp(..) => true,
        other => *other == schemas::uuid_type(),
    }
}
