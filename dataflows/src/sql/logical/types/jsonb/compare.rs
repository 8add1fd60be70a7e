//! Comparisons of JSONB values.
//!
//! Equality compares keys (see `functions::json::key`), so that it can be the key of a join; an order is
//! computed by a function. A text constant is read as JSONB, other types are refused.

use datafusion_common::tree_node::Transformed;
use datafusion_common::{DFSchema, Result, plan_err};
use datafusion_expr::expr::{Between, InList};
use datafusion_expr::{BinaryExpr, Expr, Operator, lit, when};

use super::{all_as_jsonb, any_jsonb, call, is_constant, is_jsonb, is_null, key, type_name};

/// Rewrites an operator, BETWEEN or IN of which an operand is JSONB.
pub(super) fn rewrite_comparison(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(b) if is_jsonb(&b.left, schema) || is_jsonb(&b.right, schema) => {
            rewrite_operator(b, schema)
        }
        Expr::InList(InList { expr, list, negated })
            if is_jsonb(&expr, schema) || any_jsonb(&list, schema) =>
        {
            let all = std::iter::once(*expr).chain(list).collect();
            let mut keys = as_keys(all_as_jsonb(all, schema, "IN")?)?;
            let expr = Box::new(keys.remove(0));
            Ok(Transformed::yes(Expr::InList(InList { expr, list: keys, negated })))
        }
        Expr::Between(Between { expr, negated, low, high })
            if is_jsonb(&expr, schema) || is_jsonb(&low, schema) || is_jsonb(&high, schema) =>
        {
            let mut all = all_as_jsonb(vec![*expr, *low, *high], schema, "BETWEEN")?.into_iter();
            let (Some(expr), Some(low), Some(high)) = (all.next(), all.next(), all.next()) else {
                return plan_err!("BETWEEN takes three values");
            };
            let above = compare_order(expr.clone(), Operator::GtEq, low)?;
            let within = above.and(compare_order(expr, Operator::LtEq, high)?);
            Ok(Transformed::yes(if negated { Expr::Not(Box::new(within)) } else { within }))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// Rewrites a binary operator of which an operand is JSONB.
fn rewrite_operator(b: BinaryExpr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    use Operator as O;
    let BinaryExpr { left, op, right } = b;
    match op {
        O::Eq | O::NotEq | O::IsDistinctFrom | O::IsNotDistinctFrom => {
            let (left, right) = both_as_jsonb(*left, *right, schema, &op.to_string())?;
            let mut keys = as_keys(vec![left, right])?.into_iter().map(Box::new);
            match (keys.next(), keys.next()) {
                (Some(left), Some(right)) => {
                    Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right })))
                }
                _ => plan_err!("{op} takes two operands"),
            }
        }
        O::Lt | O::LtEq | O::Gt | O::GtEq => {
            let (left, right) = both_as_jsonb(*left, *right, schema, &op.to_string())?;
            Ok(Transformed::yes(compare_order(left, op, right)?))
        }
        O::StringConcat => {
            if goes_with_jsonb(&left, schema) && goes_with_jsonb(&right, schema) {
                let (left, right) = both_as_jsonb(*left, *right, schema, "||")?;
                return Ok(Transformed::yes(call("jsonb_concat", vec![left, right])?));
            }
            Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })))
        }
        _ => plan_err!(
            "{} {op} {}, these types do not go together: convert JSONB with CAST, or take a text with ->>",
            type_name(&left, schema),
            type_name(&right, schema)
        ),
    }
}

/// Both operands of the operator `what` as JSONB.
fn both_as_jsonb(left: Expr, right: Expr, schema: &DFSchema, what: &str) -> Result<(Expr, Expr)> {
    let mut sides = all_as_jsonb(vec![left, right], schema, what)?.into_iter();
    match (sides.next(), sides.next()) {
        (Some(left), Some(right)) => Ok((left, right)),
        _ => plan_err!("{what} takes two operands"),
    }
}

/// Tells whether an operand is JSONB, or a constant that is read as JSONB beside it.
fn goes_with_jsonb(expr: &Expr, schema: &DFSchema) -> bool {
    is_jsonb(expr, schema) || is_constant(expr) || is_null(expr)
}

/// Keys of JSONB values: equal values have equal keys.
pub(super) fn as_keys(values: Vec<Expr>) -> Result<Vec<Expr>> {
    let mut keys = Vec::with_capacity(values.len());
    for value in values {
        let keeps = is_null(&value) || key::is_key(&value);
        keys.push(if keeps { value } else { call(key::NAME, vec![value])? });
    }
    Ok(keys)
}

/// Comparison of two JSONB values by their order.
fn compare_order(left: Expr, op: Operator, right: Expr) -> Result<Expr> {
    let order = call("herald_jsonb_compare", vec![left, right])?;
    Ok(Expr::BinaryExpr(BinaryExpr { left: Box::new(order), op, right: Box::new(lit(0i32)) }))
}

/// Rewrites `nullif` of JSONB to a CASE.
pub(super) fn null_if(values: Vec<Expr>) -> Result<Expr> {
    let [value, other] = values.as_slice() else { return plan_err!("nullif takes two arguments") };
    let mut keys = as_keys(values.clone())?.into_iter();
    let (Some(left), Some(right)) = (keys.next(), keys.next()) else {
        return plan_err!("nullif takes two arguments");
    };
    if is_null(value) || is_null(other) {
        return Ok(value.clone());
    }
    when(left.eq(right), Expr::Literal(datafusion_common::ScalarValue::Utf8(None), None))
        .otherwise(value.clone())
}
