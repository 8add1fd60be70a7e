//! Conditions that can fail on a row and must therefore stay behind those that guard them.
//!
//! `WHERE n <> 0 AND 10 / n > 1`, or the same in an inner and an outer query, must not divide by
//! zero; the optimiser merges filters without regard to that. Conditions that cannot fail are
//! therefore one filter, and those that can fail are another above it, which reads only rows that passed.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion_expr::Operator;
use datafusion_physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal, NotExpr,
};
use datafusion_physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use crate::functions::never_fails;
use crate::plan::canonical::Canonical;
use crate::plan::{Fold, Op, Plan, RelId, Scalar};

/// Functions of DataFusion's, of JSONB and our own marks that have a value for all arguments of their types.
const TOTAL: [&str; 24] = [
    "get_field",
    "coalesce",
    "nullif",
    "herald_may_be_null",
    "herald_now",
    "herald_interval_length",
    "herald_jsonb_get",
    "herald_jsonb_get_text",
    "herald_jsonb_path",
    "herald_jsonb_path_text",
    "herald_jsonb_compare",
    "herald_jsonb_key",
    "herald_jsonb_mark",
    "herald_jsonb_print",
    "is_final",
    "jsonb_contained",
    "jsonb_contains",
    "jsonb_exists",
    "jsonb_exists_all",
    "jsonb_exists_any",
    "jsonb_extract_path",
    "jsonb_extract_path_text",
    "jsonb_strip_nulls",
    "jsonb_typeof",
];

/// Returns true if `expr` may fail on some row of `input`; true as well for an expression that is not known.
pub(crate) fn fallible(expr: &Arc<dyn PhysicalExpr>, input: &Schema) -> bool {
    let harmless = if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        harmless_operator(binary, input)
    } else if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        cast.expr().data_type(input).is_ok_and(|from| widens(&from, cast.cast_type()))
    } else if let Some(call) = expr.downcast_ref::<ScalarFunctionExpr>() {
        TOTAL.contains(&call.name()) || never_fails(call.fun(), |at| is_constant_at(call, at))
    } else {
        expr.is::<Column>()
            || expr.is::<Canonical>()
            || expr.is::<Literal>()
            || expr.is::<IsNullExpr>()
            || expr.is::<IsNotNullExpr>()
            || expr.is::<NotExpr>()
            || expr.is::<LikeExpr>()
            || expr.is::<InListExpr>()
            || expr.is::<CaseExpr>()
    };
    !harmless || expr.children().into_iter().any(|child| fallible(child, input))
}

/// Returns true if the argument at `at` is constant or left out.
fn is_constant_at(call: &ScalarFunctionExpr, at: usize) -> bool {
    call.args().get(at).is_none_or(|arg| arg.is::<Literal>())
}

/// Returns true if the operator itself fails for no values of its operands' types.
fn harmless_operator(binary: &BinaryExpr, input: &Schema) -> bool {
    let op = binary.op();
    let compares = matches!(
        op,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::And
            | Operator::Or
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
            | Operator::LikeMatch
            | Operator::StringConcat
    );
    let result = binary.data_type(input);
    compares
        || (op.is_numerical_operators() && result.as_ref().is_ok_and(DataType::is_floating))
        || (matches!(op, Operator::Divide | Operator::Modulo)
            && result.as_ref().is_ok_and(DataType::is_integer)
            && is_safe_divisor(binary.right()))
}

/// Returns true if `expr` is a constant that divides every integer: neither 0, nor -1 with its one overflow.
fn is_safe_divisor(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let Some(literal) = expr.downcast_ref::<Literal>() else { return false };
    literal.value().to_string().parse::<i128>().is_ok_and(|n| n != 0 && n != -1)
}

/// Returns true if every value of `from` fits in `to`.
fn widens(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (a, b) if a == b => true,
        (a, b) if a.is_signed_integer() && b.is_signed_integer() => byte_width(a) <= byte_width(b),
        (a, b) if a.is_integer() || a.is_floating() => b.is_floating(),
        (DataType::Null, _) => true,
        _ => false,
    }
}

/// The bytes of a value of a type that has as many for each.
fn byte_width(of: &DataType) -> usize {
    of.primitive_width().unwrap_or(usize::MAX)
}

/// The expressions that an operator evaluates over the rows of its inputs, before its state, with the input of each.
pub(crate) fn input_scalars(op: &Op) -> Vec<(RelId, &Scalar)> {
    let (input, scalars): (RelId, Vec<&Scalar>) = match op {
        Op::Filter { input, predicate } => (*input, vec![predicate]),
        Op::Project { input, exprs } => (*input, exprs.iter().collect()),
        Op::TemporalFilter { input, since, until, .. } => {
            (*input, since.iter().chain(until).map(|edge| &edge.time).collect())
        }
        Op::Aggregate { input, keys, aggregates } => {
            let read = aggregates.iter().flat_map(|aggregate| aggregate.args().chain(&aggregate.filter));
            (*input, keys.iter().chain(read).collect())
        }
        Op::GroupRows { input, keys, folds } => {
            (*input, keys.iter().chain(folds.iter().flat_map(Fold::scalars)).collect())
        }
        Op::Window { input, window } => {
            let order = window.order.iter().map(|order| &order.by);
            (*input, window.partition.iter().chain(order).collect())
        }
        Op::Join { left, right, left_keys, right_keys, .. }
        | Op::TemporalJoin { left, right, left_keys, right_keys, .. } => {
            let mut both: Vec<(RelId, &Scalar)> = left_keys.iter().map(|key| (*left, key)).collect();
            both.extend(right_keys.iter().map(|key| (*right, key)));
            return both;
        }
        Op::Source(_)
        | Op::Values(_)
        | Op::Unnest { .. }
        | Op::Union { .. }
        | Op::Distinct { .. }
        | Op::EmitOnClose { .. }
        | Op::Recursive(_)
        | Op::Given(_) => return Vec::new(),
    };
    scalars.into_iter().map(|scalar| (input, scalar)).collect()
}

/// Returns true if an expression that an operator evaluates over its inputs may fail.
pub(crate) fn may_fail(plan: &Plan, id: RelId) -> bool {
    let mut scalars = input_scalars(&plan.rels[id].op).into_iter();
    scalars.any(|(input, scalar)| fallible(scalar.expr(), &plan.rels[input].schema))
}
