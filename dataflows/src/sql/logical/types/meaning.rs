//! PostgreSQL's conversions and Herald's types for expressions, after DataFusion has coerced their types.
//!
//! Casts, written or coerced, become functions of [`crate::functions`] where PostgreSQL rounds, reads or
//! prints in another way than Arrow does. A value of a type that no column has (seconds, unsigned numbers,
//! views of text) is converted where it is computed, so that the optimiser can make a column of any
//! expression. No other module does either.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::tree_node::Transformed;
use datafusion_common::{DFSchema, Result, ScalarValue};
use datafusion_expr::expr::{Cast, ScalarFunction};
use datafusion_expr::expr_rewriter::NamePreserver;
use datafusion_expr::logical_plan::{LogicalPlan, Projection};
use datafusion_expr::{Expr, ExprSchemable, ScalarUDF, when};

use crate::functions::planning::written_cast::CAST;
use crate::functions::types::herald_type;
use crate::sql::logical::rewrite;

/// Applies the conversions and types to every expression of `plan`; the result tells whether one changed.
///
/// # Errors
/// If the changed plan is inconsistent.
pub(crate) fn plan(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    plan.transform_up_with_subqueries(settle_node)
}

/// Applies the conversions and types to the expressions of one node.
fn settle_node(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let meant = rewrite::node_expressions(node, &settle_meaning)?;
    Ok(match meant.data {
        LogicalPlan::Projection(p) => or_else_transformed(hold_columns(p)?, meant.transformed),
        other => Transformed::new_transformed(other, meant.transformed),
    })
}

/// A plan that counts as changed if `before` is true.
fn or_else_transformed(mut done: Transformed<LogicalPlan>, before: bool) -> Transformed<LogicalPlan> {
    done.transformed |= before;
    done
}

/// Casts the columns of a projection to Herald's types; an untyped NULL becomes text.
fn hold_columns(p: Projection) -> Result<Transformed<LogicalPlan>> {
    let names = NamePreserver::new_for_projection();
    let schema = Arc::clone(p.input.schema());
    let mut changed = false;
    let mut exprs = Vec::with_capacity(p.expr.len());
    for expr in p.expr {
        let found = expr.get_type(&schema)?;
        match herald_type(&found) {
            Some(target) if target != found => {
                changed = true;
                let name = names.save(&expr);
                exprs.push(name.restore(expr.unalias().cast_to(&target, schema.as_ref())?));
            }
            _ => exprs.push(expr),
        }
    }
    let plan = LogicalPlan::Projection(Projection::try_new(exprs, p.input)?);
    Ok(Transformed::new_transformed(plan, changed))
}

/// Applies the conversion of one expression, or casts it to a type that a column can have.
fn settle_meaning(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::ScalarFunction(ScalarFunction { func, args }) if func.name() == CAST => {
            let mut args = args.into_iter();
            let (Some(value), Some(target)) = (args.next(), args.next()) else {
                return datafusion_common::plan_err!("a cast has a value and a type");
            };
            let target = target.to_field(schema)?.1;
            let length = args.next().as_ref().and_then(written_length);
            Ok(Transformed::yes(convert_value(value, &target, length, schema)?))
        }
        Expr::Cast(Cast { expr, field }) => {
            if matches!(expr.as_ref(), Expr::Cast(inner) if inner.field.data_type() == field.data_type()) {
                return Ok(Transformed::yes(*expr));
            }
            let from = expr.get_type(schema)?;
            if !has_meaning(&from, field.data_type()) {
                // This cast makes the argument type of some function, which no column need have.
                return Ok(Transformed::no(Expr::Cast(Cast { expr, field })));
            }
            Ok(Transformed::yes(convert_value(*expr, &field, None, schema)?))
        }
        Expr::ScalarFunction(ScalarFunction { func, args }) if func.name() == "coalesce" => {
            Ok(Transformed::yes(first_known(args)?))
        }
        Expr::Literal(ScalarValue::Float64(Some(value)), metadata) => {
            let one = ScalarValue::Float64(Some(schemas::types::canonical::double(value)));
            let changed = value.to_bits() != schemas::types::canonical::double(value).to_bits();
            Ok(Transformed::new_transformed(Expr::Literal(one, metadata), changed))
        }
        Expr::ScalarFunction(_)
        | Expr::BinaryExpr(_)
        | Expr::Literal(..)
        | Expr::TryCast(_)
        | Expr::Column(_)
        | Expr::Case(_) => hold_value(expr, schema),
        other => Ok(Transformed::no(other)),
    }
}

/// Casts `value` to a type that a column can have.
fn hold_value(value: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Ok(of) = value.get_type(schema) else { return Ok(Transformed::no(value)) };
    if of == DataType::Null {
        return Ok(Transformed::no(value)); // The expression around it gives it a type.
    }
    match herald_type(&of) {
        Some(target) if target != of => {
            if let Expr::Literal(literal, None) = &value
                && let Ok(cast) = literal.cast_to(&target)
            {
                return Ok(Transformed::yes(Expr::Literal(cast, None)));
            }
            Ok(Transformed::yes(Expr::Cast(Cast::new(Box::new(value), target))))
        }
        _ => Ok(Transformed::no(value)),
    }
}

/// Converts `value` to `target` as PostgreSQL does, and cuts it to `length` characters if given.
fn convert_value(value: Expr, target: &FieldRef, length: Option<Length>, schema: &DFSchema) -> Result<Expr> {
    let of = value.to_field(schema)?.1;
    let (from, to) = (of.data_type().clone(), target.data_type());
    let mut out = match conversion_function(&of, target) {
        Some(function) => function.call(vec![value]),
        None if from == *to => value,
        None if [&from, to].contains(&&schemas::uuid_type()) && !from.is_null() => {
            return datafusion_common::plan_err!(
                "{} cannot be cast to {}",
                schemas::sql_type(&of),
                schemas::sql_type(target)
            );
        }
        None => Expr::Cast(Cast::new_from_field(Box::new(value), cast_field(target))),
    };
    if let Some(length) = length
        && let Some(cut) = crate::functions::FUNCTIONS.scalar(length.function)
    {
        out = cut.call(vec![out, Expr::Literal(ScalarValue::Int64(Some(length.characters)), None)]);
    }
    Ok(out)
}

/// Unnamed field of a cast, with the type and metadata of `target`.
fn cast_field(target: &FieldRef) -> FieldRef {
    Arc::new(Field::new("", target.data_type().clone(), true).with_metadata(target.metadata().clone()))
}

/// Function for a conversion that Arrow's cast does not do as PostgreSQL does.
fn conversion_function(from: &Field, to: &Field) -> Option<Arc<ScalarUDF>> {
    crate::functions::cast_function(from, to)
}

/// Tells whether a cast between these types has a conversion function.
fn has_meaning(from: &DataType, to: &DataType) -> bool {
    let fields = |of: &DataType| Field::new("", of.clone(), true);
    from != to && conversion_function(&fields(from), &fields(to)).is_some()
}

/// Rewrites `coalesce` to a CASE, which evaluates no argument behind the first that is not NULL.
fn first_known(args: Vec<Expr>) -> Result<Expr> {
    let mut args = args;
    let Some(last) = args.pop() else { return datafusion_common::plan_err!("coalesce takes a value") };
    let mut rest = args.into_iter();
    let Some(first) = rest.next() else { return Ok(last) };
    let mut case = when(first.clone().is_not_null(), first);
    for arg in rest {
        case = case.when(arg.clone().is_not_null(), arg);
    }
    case.otherwise(last)
}

/// Greatest length of a text type, and the function that cuts to it.
struct Length {
    function: &'static str,
    characters: i64,
}

/// Length in the written form of a type: `VARCHAR(3)` and its other names.
fn written_length(written: &Expr) -> Option<Length> {
    let Expr::Literal(ScalarValue::Utf8(Some(text)), _) = written else { return None };
    let text = text.to_ascii_lowercase();
    let (name, rest) = text.split_once('(').unwrap_or((text.as_str(), ""));
    let name = name.trim();
    let varying = matches!(name, "varchar" | "character varying" | "char varying" | "nvarchar");
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let characters: Option<i64> = digits.parse().ok();
    match characters {
        Some(characters) if varying => Some(Length { function: "herald_cut", characters }),
        _ => None,
    }
}
