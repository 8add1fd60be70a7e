//! Operators that become function calls: over text, DECIMAL, arrays and BYTEA.
//!
//! DataFusion plans an operator by the common type of its two sides. Where PostgreSQL gives the operator
//! another meaning, it becomes a call of the function with that meaning; all others are left to DataFusion.

use arrow::datatypes::DataType;
use datafusion_common::tree_node::TreeNode;
use datafusion_common::utils::list_ndims;
use datafusion_common::{DFSchema, Result, plan_err};
use datafusion_expr::expr::Cast;
use datafusion_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr, RawFieldAccessExpr};
use datafusion_expr::{Expr, ExprSchemable, GetFieldAccess, when};
use datafusion_sql::sqlparser::ast::BinaryOperator as Op;

use crate::functions::FUNCTIONS;
use crate::functions::eval::cast::cast;
use crate::functions::eval::own::as_decimal;
use crate::sql::logical::types::coerce::{self, ALTERNATIVES, exact_constant};

/// Planner of these operators; comes before DataFusion's planners.
#[derive(Debug)]
pub(crate) struct TypedOperators;

impl ExprPlanner for TypedOperators {
    fn plan_binary_op(&self, raw: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let negated = matches!(raw.op, Op::PGNotLikeMatch | Op::PGNotILikeMatch);
        let name = match raw.op {
            Op::PGRegexMatch => "~",
            Op::PGRegexIMatch => "~*",
            Op::PGRegexNotMatch => "!~",
            Op::PGRegexNotIMatch => "!~*",
            Op::PGLikeMatch | Op::PGNotLikeMatch => "like",
            Op::PGILikeMatch | Op::PGNotILikeMatch => "ilike",
            Op::PGStartsWith => "starts_with",
            _ => return by_type(raw, schema),
        };
        let call = call_function(name, vec![raw.left, raw.right])?;
        Ok(PlannerResult::Planned(if negated { Expr::Not(Box::new(call)) } else { call }))
    }

    fn plan_field_access(
        &self,
        raw: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        // `(array_agg(x))[n]` is planned by DataFusion as the aggregate nth_value.
        if matches!(raw.expr, Expr::AggregateFunction(_)) || !is_list(&raw.expr.get_type(schema)?) {
            return Ok(PlannerResult::Original(raw));
        }
        match raw.field_access {
            GetFieldAccess::ListIndex { key } => part_of_array(raw.expr, "herald_item", vec![*key]),
            GetFieldAccess::ListRange { start, stop, stride } => {
                if !is_one(&stride) {
                    return plan_err!("a slice of an array has two bounds: write a[from:to]");
                }
                part_of_array(raw.expr, "herald_slice", vec![*start, *stop])
            }
            field_access => Ok(PlannerResult::Original(RawFieldAccessExpr { expr: raw.expr, field_access })),
        }
    }

    fn plan_position(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(call_function("position", args)?))
    }

    fn plan_substring(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(call_function("substring", args)?))
    }

    fn plan_overlay(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(call_function("overlay", args)?))
    }
}

/// Tells whether an expression is the constant 1.
fn is_one(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, _) => value.to_string().parse::<i64>() == Ok(1),
        _ => false,
    }
}

fn call_function(name: &str, args: Vec<Expr>) -> Result<Expr> {
    match FUNCTIONS.scalar(name) {
        Some(function) => Ok(function.call(args)),
        None => plan_err!("there is no function called {name}"),
    }
}

fn planned_call<T>(name: &str, args: Vec<Expr>) -> Result<PlannerResult<T>> {
    Ok(PlannerResult::Planned(call_function(name, args)?))
}

/// Plans the part of an array at `places`. If the places are more than constants or columns, they are
/// evaluated only where the array is not NULL, since they could fail.
fn part_of_array(array: Expr, name: &str, places: Vec<Expr>) -> Result<PlannerResult<RawFieldAccessExpr>> {
    let plain = places.iter().all(|place| matches!(place, Expr::Literal(..) | Expr::Column(_)));
    let part = call_function(name, [vec![array.clone()], places].concat())?;
    Ok(PlannerResult::Planned(if plain { part } else { when(array.is_not_null(), part).end()? }))
}

/// Decides the types of CASE and similar alternatives in an operand, since its own type depends on them.
fn decide_alternatives(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let chooses = expr.exists(|e| {
        Ok(match e {
            Expr::Case(_) => true,
            Expr::ScalarFunction(f) => ALTERNATIVES.contains(&f.name()),
            _ => false,
        })
    })?;
    // Incompatible alternatives are reported later, when the whole expression is planned.
    Ok(if chooses { coerce::expression(expr.clone(), schema).unwrap_or(expr) } else { expr })
}

fn is_list(of: &DataType) -> bool {
    matches!(of, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _))
}

fn is_text(of: &DataType) -> bool {
    matches!(of, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn is_bytes(of: &DataType) -> bool {
    matches!(of, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

fn by_type(mut raw: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
    (raw.left, raw.right) = (decide_alternatives(raw.left, schema)?, decide_alternatives(raw.right, schema)?);
    // An operand without a type is reported by DataFusion's planner, with its position.
    let (Ok(mut left), Ok(mut right)) = (raw.left.get_type(schema), raw.right.get_type(schema)) else {
        return Ok(PlannerResult::Original(raw));
    };
    // A constant with a decimal point next to a DECIMAL is a DECIMAL itself, not a DOUBLE.
    if is_decimal(&left)
        && let Some(exact) = exact_constant(&raw.right)
    {
        (right, raw.right) = (exact.get_type(schema)?, exact);
    }
    if is_decimal(&right)
        && let Some(exact) = exact_constant(&raw.left)
    {
        (left, raw.left) = (exact.get_type(schema)?, exact);
    }
    match raw.op {
        Op::StringConcat => plan_concat(raw, &left, &right),
        Op::AtArrow if is_list(&left) && is_list(&right) => {
            planned_call("array_has_all", vec![raw.left, raw.right])
        }
        Op::ArrowAt if is_list(&left) && is_list(&right) => {
            planned_call("array_has_all", vec![raw.right, raw.left])
        }
        Op::PGOverlap if is_list(&left) && is_list(&right) => {
            planned_call("array_has_any", vec![raw.left, raw.right])
        }
        Op::Plus => plan_arithmetic("+", raw, &left, &right),
        Op::Minus => plan_arithmetic("-", raw, &left, &right),
        Op::Multiply => plan_arithmetic("*", raw, &left, &right),
        Op::Divide => plan_arithmetic("/", raw, &left, &right),
        Op::Modulo => plan_arithmetic("%", raw, &left, &right),
        Op::PGBitwiseShiftLeft => planned_call("<<", vec![raw.left, raw.right]),
        Op::PGBitwiseShiftRight => planned_call(">>", vec![raw.left, raw.right]),
        Op::Lt if is_list(&left) && is_list(&right) => {
            planned_call("herald_array_lt", vec![raw.left, raw.right])
        }
        Op::LtEq if is_list(&left) && is_list(&right) => {
            planned_call("herald_array_le", vec![raw.left, raw.right])
        }
        Op::Gt if is_list(&left) && is_list(&right) => {
            planned_call("herald_array_gt", vec![raw.left, raw.right])
        }
        Op::GtEq if is_list(&left) && is_list(&right) => {
            planned_call("herald_array_ge", vec![raw.left, raw.right])
        }
        Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq => {
            Ok(PlannerResult::Original(as_doubles(as_uuids(raw, &left, &right), &left, &right)))
        }
        _ => Ok(PlannerResult::Original(raw)),
    }
}

fn is_decimal(of: &DataType) -> bool {
    matches!(of, DataType::Decimal128(..))
}

fn plan_concat(
    raw: RawBinaryExpr,
    left: &DataType,
    right: &DataType,
) -> Result<PlannerResult<RawBinaryExpr>> {
    let args = vec![raw.left.clone(), raw.right.clone()];
    match (left, right) {
        (l, r) if is_list(l) || is_list(r) => planned_call(
            match list_ndims(l).cmp(&list_ndims(r)) {
                _ if l.is_null() || r.is_null() => "array_cat",
                std::cmp::Ordering::Equal => "array_cat",
                std::cmp::Ordering::Greater => "array_append",
                std::cmp::Ordering::Less => "array_prepend",
            },
            args,
        ),
        (l, r) if is_bytes(l) && is_bytes(r) => planned_call("herald_bytes_concat", args),
        (l, r) if (is_text(l) && is_text(r)) || l.is_null() || r.is_null() => {
            Ok(PlannerResult::Original(raw))
        }
        (l, r) if is_text(l) || is_text(r) => planned_call("||", args),
        _ => plan_err!("|| needs text or an array on one side: write CAST(x AS VARCHAR) || y"),
    }
}

/// Plans exact arithmetic of two DECIMALs, or of one and an integer; with a DOUBLE it is arithmetic of
/// DOUBLEs.
fn plan_arithmetic(
    name: &str,
    raw: RawBinaryExpr,
    left: &DataType,
    right: &DataType,
) -> Result<PlannerResult<RawBinaryExpr>> {
    if (is_decimal(left) || is_decimal(right)) && as_decimal(left).is_some() && as_decimal(right).is_some() {
        return planned_call(name, vec![raw.left, raw.right]);
    }
    Ok(PlannerResult::Original(as_doubles(raw, left, right)))
}

/// Casts a text constant compared with a UUID to UUID.
fn as_uuids(mut raw: RawBinaryExpr, left: &DataType, right: &DataType) -> RawBinaryExpr {
    raw.left = as_uuid(raw.left, left, right);
    raw.right = as_uuid(raw.right, right, left);
    raw
}

/// An operand of type `of`, cast to UUID if it is a text constant and `beside` is UUID.
fn as_uuid(operand: Expr, of: &DataType, beside: &DataType) -> Expr {
    let uuid = schemas::uuid_type();
    match &operand {
        Expr::Literal(..) if is_text(of) && *beside == uuid => Expr::Cast(Cast::new(Box::new(operand), uuid)),
        _ => operand,
    }
}

/// Casts a DECIMAL next to a DOUBLE or REAL to DOUBLE.
fn as_doubles(mut raw: RawBinaryExpr, left: &DataType, right: &DataType) -> RawBinaryExpr {
    raw.left = as_double(raw.left, left, right);
    raw.right = as_double(raw.right, right, left);
    raw
}

/// An operand of type `of`, cast to DOUBLE if it is a DECIMAL and `beside` is DOUBLE or REAL.
fn as_double(operand: Expr, of: &DataType, beside: &DataType) -> Expr {
    match (of, cast(of, &DataType::Float64)) {
        (DataType::Decimal128(..), Some(cast)) if beside.is_floating() => cast.call(vec![operand]),
        _ => operand,
    }
}
