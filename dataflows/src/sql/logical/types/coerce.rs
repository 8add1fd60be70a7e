//! Coercion of operands of different types by PostgreSQL's rules, before DataFusion coerces them.
//!
//! DataFusion's coercion is wider than PostgreSQL's and loses values: it compares DECIMAL with DOUBLE as
//! DECIMAL(30, 15), numbers with text as either, and reads text as a number row by row. This pass decides
//! those pairs first: a text constant takes the type of the other operands; DECIMAL with DOUBLE is DOUBLE,
//! but a constant with a point is DECIMAL with a DECIMAL; whole numbers with REAL are DOUBLE; any other text
//! goes with text only and is refused with anything else.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{
    DFSchema, DataFusionError, Diagnostic, Result, ScalarValue, plan_datafusion_err, plan_err,
};
use datafusion_expr::expr::{Between, Case, Cast, InList, ScalarFunction};
use datafusion_expr::logical_plan::{LogicalPlan, LogicalPlanBuilder, Union};
use datafusion_expr::type_coercion::other::get_coerce_type_for_case_expression;
use datafusion_expr::{BinaryExpr, Expr, ExprSchemable, Operator, when};

use crate::sql::logical::rewrite;

/// Functions whose arguments are alternatives of one type.
pub(crate) const ALTERNATIVES: [&str; 4] = ["coalesce", "greatest", "least", "nullif"];

/// Coerces the operands of every expression of `plan`.
///
/// # Errors
/// If operands have no type in common.
pub(crate) fn plan(plan: LogicalPlan) -> Result<LogicalPlan> {
    // Bottom up, so that a UNION has the types of its inputs before a node above reads it.
    Ok(plan.transform_up_with_subqueries(coerce_node)?.data)
}

/// Coerces the operands of the expressions of one node.
fn coerce_node(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match node {
        LogicalPlan::Union(union) => {
            check_union(&union)?;
            coerce_union(union)
        }
        LogicalPlan::Join(join) => {
            // Joins of INTERSECT and EXCEPT compare columns without an expression for it.
            for (left, right) in &join.on {
                let types = (left.get_type(join.left.schema()), right.get_type(join.right.schema()));
                if let (Ok(left), Ok(right)) = types {
                    check_text_beside(&left, &right, "=")?;
                }
            }
            rewrite::node_expressions(LogicalPlan::Join(join), &coerce_operands)
        }
        other => rewrite::node_expressions(other, &coerce_operands),
    }
}

/// Refuses text beside numbers, truth values or times in a column of a UNION. A constant has the type of the others.
fn check_union(union: &Union) -> Result<()> {
    for at in 0..union.schema.fields().len() {
        let mut first: Option<DataType> = None;
        for input in union.inputs.iter().filter(|input| !is_constant_column(input, at)) {
            let Some(field) = input.schema().fields().get(at) else { continue };
            let of = field.data_type();
            match &first {
                Some(first) if is_text(first) != is_text(of) && (is_scalar(first) || is_scalar(of)) => {
                    return plan_err!(
                        "Incompatible inputs for Union: Previous inputs were of type {}, but got incompatible type {} on column '{}'",
                        type_name(first),
                        type_name(of),
                        field.name()
                    );
                }
                None if !of.is_null() => first = Some(of.clone()),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Tells whether a column of a UNION's input is written in the query.
fn is_constant_column(input: &LogicalPlan, at: usize) -> bool {
    match input {
        LogicalPlan::Projection(projection) => match projection.expr.get(at).cloned().map(Expr::unalias) {
            Some(Expr::Literal(..)) => true,
            Some(Expr::Column(_)) => matches!(&*projection.input, LogicalPlan::Values(_)),
            _ => false,
        },
        LogicalPlan::SubqueryAlias(alias) => is_constant_column(&alias.input, at),
        LogicalPlan::Values(_) => true,
        _ => false,
    }
}

/// Refuses the comparison of text with a value of another type.
fn check_text_beside(left: &DataType, right: &DataType, what: &str) -> Result<()> {
    let known = !left.is_null() && !right.is_null();
    if known && is_text(left) != is_text(right) && (is_scalar(left) || is_scalar(right)) {
        return Err(types_refusal(left, right, what));
    }
    Ok(())
}

/// Casts the dates of a UNION to times in columns in which another input has times, and recomputes the types
/// of the UNION's columns if its inputs have changed.
fn coerce_union(union: Union) -> Result<Transformed<LogicalPlan>> {
    let width = union.inputs.iter().map(|i| i.schema().fields().len()).min().unwrap_or(0);
    let times: Vec<Option<DataType>> = (0..width).map(|at| time_of_column(&union, at)).collect();
    let mut changed = false;
    let mut inputs = Vec::with_capacity(union.inputs.len());
    for input in &union.inputs {
        changed |= is_stale(&union, input, width);
        match dates_as_times(input, &times)? {
            Some(cast) => {
                changed = true;
                inputs.push(Arc::new(cast));
            }
            None => inputs.push(Arc::clone(input)),
        }
    }
    let union = if changed { Union::try_new_with_loose_types(inputs)? } else { union };
    Ok(Transformed::new_transformed(LogicalPlan::Union(union), changed))
}

/// The type of a column of an input.
fn column_type(input: &LogicalPlan, at: usize) -> Option<DataType> {
    input.schema().fields().get(at).map(|field| field.data_type().clone())
}

/// The type of a column in the first input of a UNION that has times there.
fn time_of_column(union: &Union, at: usize) -> Option<DataType> {
    for input in &union.inputs {
        if let Some(time @ DataType::Timestamp(..)) = column_type(input, at) {
            return Some(time);
        }
    }
    None
}

/// Tells whether a UNION was typed before this input was coerced.
fn is_stale(union: &Union, input: &LogicalPlan, width: usize) -> bool {
    (0..width).any(|at| column_type(input, at).as_ref() != Some(union.schema.field(at).data_type()))
}

/// The input with its dates as times in the columns that have a type in `times`; None without such dates.
fn dates_as_times(input: &LogicalPlan, times: &[Option<DataType>]) -> Result<Option<LogicalPlan>> {
    let (mut columns, mut changed) = (Vec::new(), false);
    for (at, column) in input.schema().columns().into_iter().enumerate() {
        let is_date = column_type(input, at) == Some(DataType::Date32);
        match times.get(at) {
            Some(Some(time)) if is_date => {
                let name = column.name.clone();
                columns.push(Expr::Column(column).cast_to(time, input.schema())?.alias(name));
                changed = true;
            }
            _ => columns.push(Expr::Column(column)),
        }
    }
    if !changed {
        return Ok(None);
    }
    Ok(Some(LogicalPlanBuilder::from(input.clone()).project(columns)?.build()?))
}

/// Coerces the operands of one expression and its parts.
///
/// # Errors
/// As [`plan`].
pub(crate) fn expression(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    Ok(expr.transform_up(|e| coerce_operands(e, schema))?.data)
}

/// Coerces the operands of one expression whose parts are coerced.
fn coerce_operands(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_comparison(op) || is_arithmetic(op) => {
            let mut sides = vec![*left, *right];
            let changed = coerce_together(
                &mut sides,
                schema,
                &op.to_string(),
                if is_arithmetic(op) { OperandUse::Calculated } else { OperandUse::Compared },
            )?;
            let (right, left) = (sides.pop().unwrap_or_default(), sides.pop().unwrap_or_default());
            let expr = Expr::BinaryExpr(BinaryExpr { left: Box::new(left), op, right: Box::new(right) });
            Ok(Transformed::new_transformed(expr, changed))
        }
        Expr::Between(Between { expr, negated, low, high }) => {
            let mut all = vec![*expr, *low, *high];
            coerce_together(&mut all, schema, "BETWEEN", OperandUse::Compared)?;
            let mut all = all.into_iter();
            let (Some(expr), Some(low), Some(high)) = (all.next(), all.next(), all.next()) else {
                return plan_err!("BETWEEN takes three values");
            };
            let subquery = expr.exists(|e| Ok(matches!(e, Expr::ScalarSubquery(_))))?;
            if subquery {
                let (expr, low, high) = (Box::new(expr), Box::new(low), Box::new(high));
                return Ok(Transformed::yes(Expr::Between(Between { expr, negated, low, high })));
            }
            // As an AND, its second comparison is evaluated only if the first is not false.
            let within = expr.clone().gt_eq(low).and(expr.lt_eq(high));
            Ok(Transformed::yes(if negated { Expr::Not(Box::new(within)) } else { within }))
        }
        Expr::InList(InList { expr, list, negated }) => {
            let mut all = vec![*expr];
            all.extend(list);
            let changed = coerce_together(&mut all, schema, "IN", OperandUse::Compared)?;
            let expr = Box::new(all.remove(0));
            if all.len() <= MAX_COMPARISONS && all.iter().any(reads_columns) {
                return Ok(Transformed::yes(list_as_comparisons(&expr, all, negated)?));
            }
            Ok(Transformed::new_transformed(Expr::InList(InList { expr, list: all, negated }), changed))
        }
        Expr::ScalarFunction(ScalarFunction { func, args })
            if func.name() == "nullif" && is_first(&args, schema) =>
        {
            let null = ScalarValue::try_from(&args[0].get_type(schema)?)?;
            let same = expression(args[0].clone().eq(args[1].clone()), schema)?;
            Ok(Transformed::yes(when(same, Expr::Literal(null, None)).otherwise(args[0].clone())?))
        }
        Expr::ScalarFunction(ScalarFunction { func, mut args }) if ALTERNATIVES.contains(&func.name()) => {
            let changed = coerce_together(&mut args, schema, func.name(), OperandUse::Chosen)?;
            Ok(Transformed::new_transformed(Expr::ScalarFunction(ScalarFunction { func, args }), changed))
        }
        Expr::InSubquery(ref within) => {
            let first = column_type(&within.subquery.subquery, 0);
            if let (Ok(left), Some(right)) = (within.expr.get_type(schema), first)
                && !is_text_constant(&within.expr)
                && let Err(error) = check_text_beside(&left, &right, "IN")
            {
                return Err(at_columns(error, std::slice::from_ref(within.expr.as_ref())));
            }
            Ok(Transformed::no(expr))
        }
        Expr::Case(case) => coerced_case(case, schema),
        other => Ok(Transformed::no(other)),
    }
}

/// Greatest length of a list with columns that is rewritten to comparisons.
const MAX_COMPARISONS: usize = 64;

/// Tells whether an item of a list reads columns.
fn reads_columns(item: &Expr) -> bool {
    !item.column_refs().is_empty()
}

/// Rewrites an IN list to comparisons, each of which is evaluated only if those before it do not decide.
/// PostgreSQL compares with constants first if there are at least two.
fn list_as_comparisons(expr: &Expr, list: Vec<Expr>, negated: bool) -> Result<Expr> {
    let (moving, fixed): (Vec<Expr>, Vec<Expr>) = list.iter().cloned().partition(reads_columns);
    let items = if fixed.len() > 1 { [fixed, moving].concat() } else { list };
    let mut spelled: Option<Expr> = None;
    for item in items {
        let one = if negated { expr.clone().not_eq(item) } else { expr.clone().eq(item) };
        spelled = Some(match spelled {
            None => one,
            Some(before) if negated => before.and(one),
            Some(before) => before.or(one),
        });
    }
    match spelled {
        Some(spelled) => Ok(spelled),
        None => plan_err!("IN takes a list"),
    }
}

/// Tells whether `nullif` of these arguments keeps the type of the first: PostgreSQL compares whole numbers
/// of different widths without a cast.
fn is_first(args: &[Expr], schema: &DFSchema) -> bool {
    let types: Vec<DataType> = args.iter().filter_map(|arg| arg.get_type(schema).ok()).collect();
    matches!(types.as_slice(), [a, b] if a != b && a.is_signed_integer() && b.is_signed_integer())
}

/// Coerces the compared values of a CASE to one type, and its results to another.
fn coerced_case(case: Case, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Case { expr, when_then_expr, else_expr } = case;
    let (mut whens, mut thens): (Vec<Expr>, Vec<Expr>) =
        when_then_expr.into_iter().map(|(when, then)| (*when, *then)).unzip();
    let mut changed = false;
    let expr = match expr {
        None => None,
        Some(base) => {
            whens.insert(0, *base);
            changed |= coerce_together(&mut whens, schema, "CASE", OperandUse::Compared)?;
            Some(Box::new(whens.remove(0)))
        }
    };
    let otherwise = else_expr.is_some();
    if let Some(last) = else_expr {
        thens.push(*last);
    }
    changed |= coerce_together(&mut thens, schema, "CASE", OperandUse::Chosen)?;
    let else_expr = if otherwise { thens.pop().map(Box::new) } else { None };
    let when_then_expr = whens.into_iter().map(Box::new).zip(thens.into_iter().map(Box::new)).collect();
    let case = Expr::Case(Case { expr, when_then_expr, else_expr });
    Ok(Transformed::new_transformed(case, changed))
}

/// Tells whether an operator compares.
fn is_comparison(op: Operator) -> bool {
    use Operator as O;
    matches!(
        op,
        O::Eq | O::NotEq | O::Lt | O::LtEq | O::Gt | O::GtEq | O::IsDistinctFrom | O::IsNotDistinctFrom
    )
}

/// Tells whether an operator is arithmetic.
fn is_arithmetic(op: Operator) -> bool {
    matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide | Operator::Modulo)
}

/// Use of values that are coerced together.
#[derive(Clone, Copy, PartialEq)]
enum OperandUse {
    /// Operands of arithmetic.
    Calculated,
    /// Compared with one another.
    Compared,
    /// Alternatives of one result, as in CASE.
    Chosen,
}

/// Coerces the values of one construct to types that go together; true if one changed. Messages name the
/// construct.
fn coerce_together(values: &mut [Expr], schema: &DFSchema, what: &str, used: OperandUse) -> Result<bool> {
    let mut types = Vec::with_capacity(values.len());
    for value in values.iter() {
        match value.get_type(schema) {
            Ok(of) => types.push(of),
            Err(_) => return Ok(false), // The planner reports the error.
        }
    }
    let mut changed = false;
    // Text constants take the type of the first value that is neither text nor NULL.
    let other = types.iter().position(|of| !of.is_null() && !is_text(of));
    if let Some(other) = other {
        let target = types[other].clone();
        let odd = types.iter().find(|of| !is_uuid(of) && !of.is_null() && !is_text(of));
        if let (true, Some(odd)) = (types.iter().any(is_uuid), odd) {
            return Err(at_columns(types_refusal(&schemas::uuid_type(), odd, what), values));
        }
        for at in 0..values.len() {
            if !is_text(&types[at]) {
                continue;
            }
            if !is_text_constant(&values[at]) {
                if is_scalar(&target) {
                    return Err(at_columns(types_refusal(&types[at], &target, what), values));
                }
            } else if is_scalar(&target) && !(used == OperandUse::Calculated && is_time(&target)) {
                let value = std::mem::take(&mut values[at]);
                values[at] = if is_uuid(&target) {
                    Expr::Cast(Cast::new(Box::new(value), target.clone()))
                } else {
                    value.cast_to(&target, schema)?
                };
                types[at] = target.clone();
                changed = true;
            }
        }
    }
    changed |= coerce_numbers(values, &mut types, schema)?;
    if used == OperandUse::Chosen {
        changed |= of_one_type(values, &types, schema)?;
    }
    Ok(changed)
}

/// Casts alternatives that are numbers, or dates and times, to their common type. Otherwise a choice would
/// have the type of its first branch until DataFusion coerces it, and the expressions around it would be
/// planned by that type.
fn of_one_type(values: &mut [Expr], types: &[DataType], schema: &DFSchema) -> Result<bool> {
    let some: Vec<DataType> = types.iter().filter(|of| !of.is_null()).cloned().collect();
    if !some.iter().all(DataType::is_numeric) && !some.iter().all(is_date_or_time) {
        return Ok(false);
    }
    let Some(common) = get_coerce_type_for_case_expression(&some, None) else { return Ok(false) };
    let mut changed = false;
    for (value, of) in values.iter_mut().zip(types) {
        if *of != common && !of.is_null() {
            *value = std::mem::take(value).cast_to(&common, schema)?;
            changed = true;
        }
    }
    Ok(changed)
}

/// Error for types that do not go together.
fn types_refusal(left: &DataType, right: &DataType, what: &str) -> DataFusionError {
    plan_datafusion_err!(
        "Cannot infer common argument type for comparison operation {} {what} {}",
        type_name(left),
        type_name(right)
    )
}

/// SQL name of a type.
fn type_name(of: &DataType) -> String {
    schemas::sql_type(&Field::new("", of.clone(), true))
}

/// Gives an error the place of the first column in the values.
fn at_columns(error: DataFusionError, values: &[Expr]) -> DataFusionError {
    let columns = values.iter().flat_map(Expr::column_refs);
    match columns.filter_map(|column| column.spans.first()).min() {
        Some(span) => error.with_diagnostic(Diagnostic::new_error("", Some(span))),
        None => error,
    }
}

/// Coerces DECIMAL, DOUBLE, REAL and whole numbers; true if one changed.
fn coerce_numbers(values: &mut [Expr], types: &mut [DataType], schema: &DFSchema) -> Result<bool> {
    let mut changed = false;
    if types.iter().any(is_decimal) {
        for (value, of) in values.iter_mut().zip(types.iter_mut()) {
            if let Some(exact) = exact_constant(value) {
                (*of, changed) = (exact.get_type(schema)?, true);
                *value = exact;
            }
        }
    }
    let floats = types.iter().any(DataType::is_floating);
    let one_type = types.iter().all(|t| *t == DataType::Float32 || *t == DataType::Null);
    if !floats || one_type {
        return Ok(changed);
    }
    for (value, of) in values.iter_mut().zip(types.iter_mut()) {
        if is_decimal(of) || of.is_integer() || *of == DataType::Float32 {
            let old = std::mem::take(value);
            *value = old.cast_to(&DataType::Float64, schema)?;
            *of = DataType::Float64;
            changed = true;
        }
    }
    Ok(changed)
}

/// A constant with a point as DECIMAL, for use with a DECIMAL: `1.5` is DECIMAL(2, 1).
pub(crate) fn exact_constant(expr: &Expr) -> Option<Expr> {
    let Expr::Literal(ScalarValue::Float64(Some(value)), _) = expr else { return None };
    let text = value.to_string();
    if !value.is_finite() || text.contains('e') {
        return None;
    }
    let scale = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let digits = digits.trim_start_matches('0').len().max(scale).max(1);
    let precision = u8::try_from(digits).ok().filter(|p| *p <= 38)?;
    let unscaled: i128 = text.replace('.', "").parse().ok()?;
    let value = ScalarValue::Decimal128(Some(unscaled), precision, i8::try_from(scale).ok()?);
    Some(Expr::Literal(value, None))
}

/// Tells whether a type is DECIMAL.
fn is_decimal(of: &DataType) -> bool {
    matches!(of, DataType::Decimal128(..) | DataType::Decimal256(..))
}

/// Tells whether a type is UUID.
fn is_uuid(of: &DataType) -> bool {
    *of == schemas::uuid_type()
}

/// Tells whether a type is DATE or a timestamp.
fn is_date_or_time(of: &DataType) -> bool {
    matches!(of, DataType::Date32 | DataType::Timestamp(..))
}

/// Tells whether a type is text.
fn is_text(of: &DataType) -> bool {
    matches!(of, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Tells whether an expression is a text constant (and not one of JSONB).
fn is_text_constant(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, metadata) => metadata.is_none() && is_text(&value.data_type()),
        _ => false,
    }
}

/// Tells whether a text constant can be converted to a type.
fn is_scalar(of: &DataType) -> bool {
    of.is_numeric() || *of == DataType::Boolean || is_time(of)
}

/// Tells whether a type is a date, time or interval, or bytes: types whose constants are written as text.
fn is_time(of: &DataType) -> bool {
    matches!(
        of,
        DataType::Date32
            | DataType::Timestamp(..)
            | DataType::Time64(_)
            | DataType::Interval(_)
            | DataType::Binary
            | DataType::FixedSizeBinary(16)
    )
}
