//! Rewriting of expressions over JSONB by their types, before any other pass.
//!
//! JSONB is text to DataFusion, which would compare, group and convert it as text. Here casts to and from
//! JSONB become functions, comparisons compare values, and the result of a CASE or coalesce of JSONB stays
//! JSONB. Expressions that PostgreSQL does not have (`lower(j)`, `j < 1`) are refused with a hint at their
//! replacement. [`keys`] does the same for the keys of groups, DISTINCT and joins.

mod casts;
mod compare;
mod keys;

use arrow::datatypes::DataType;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchema, Result, plan_err};
use datafusion_expr::expr::{AggregateFunction, Case, ScalarFunction, WindowFunction};
use datafusion_expr::expr_rewriter::NamePreserver;
use datafusion_expr::logical_plan::LogicalPlan;
use datafusion_expr::utils::merge_schema;
use datafusion_expr::{Expr, ExprSchemable};

use crate::functions::json::aggregate::{ARRAY, OBJECT};
use crate::functions::json::call;
use crate::functions::json::key::{self, holds_jsonb};
use crate::sql::logical::rewrite::ExprRewrite;

pub(crate) use keys::canonical_keys;

/// Functions that accept JSONB arguments unchanged.
const TAKE_JSONB: [&str; 14] = [
    "get_field",
    "concat",
    "concat_ws",
    "cardinality",
    "array_length",
    "array_slice",
    "array_to_string",
    "array_element",
    "array_append",
    "array_prepend",
    "array_concat",
    "array_reverse",
    "coalesce",
    "nullif",
];

/// Rewrites every expression over JSONB of `plan`.
///
/// # Errors
/// If an expression does not take JSONB.
pub(crate) fn plan(plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(plan.transform_up_with_subqueries(rewrite_over_jsonb)?.data)
}

/// Rewrites the expressions over JSONB of one node.
fn rewrite_over_jsonb(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    if let LogicalPlan::Union(union) = &node {
        keys::check_union(union)?;
    }
    if let LogicalPlan::Sort(sort) = &node {
        for by in &sort.expr {
            refuse_order(&by.expr, sort.input.schema())?;
        }
    }
    rewrite_node(node, &rewrite_expression)
}

/// Rewrites one expression over the columns of `schema`.
///
/// # Errors
/// As [`plan`].
pub(crate) fn expression(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    Ok(expr.transform_up(|e| rewrite_expression(e, schema))?.data)
}

/// Rewrites the expressions of a node, parts before the whole, and keeps the names of its columns.
fn rewrite_node(node: LogicalPlan, rewrite: &ExprRewrite<'_>) -> Result<Transformed<LogicalPlan>> {
    if matches!(node, LogicalPlan::TableScan(_) | LogicalPlan::Unnest(_)) {
        return Ok(Transformed::no(node));
    }
    let schema = merge_schema(&node.inputs());
    let names = NamePreserver::new(&node);
    let done = node.map_expressions(|expr| rewrite_named(expr, &names, &schema, rewrite))?;
    if done.transformed { done.map_data(LogicalPlan::recompute_schema) } else { Ok(done) }
}

/// Rewrites one expression of a node, parts before the whole, and keeps its name. Grouping sets have none.
fn rewrite_named(
    expr: Expr,
    names: &NamePreserver,
    schema: &DFSchema,
    rewrite: &ExprRewrite<'_>,
) -> Result<Transformed<Expr>> {
    let saved = names.save(&expr);
    let grouping = matches!(expr, Expr::GroupingSet(_));
    let mut done = expr.transform_up(|e| rewrite(e, schema))?;
    if !grouping && done.transformed {
        done.data = saved.restore(done.data);
    }
    Ok(done)
}

/// Tells whether `expr` is JSONB.
pub(in crate::sql) fn is_jsonb(expr: &Expr, schema: &DFSchema) -> bool {
    expr.to_field(schema).is_ok_and(|(_, field)| schemas::is_jsonb(&field))
}

/// Tells whether one of `exprs` is JSONB.
fn any_jsonb<'a>(exprs: impl IntoIterator<Item = &'a Expr>, schema: &DFSchema) -> bool {
    exprs.into_iter().any(|expr| is_jsonb(expr, schema))
}

/// Tells whether the values of `expr` are JSONB or contain it.
fn may_hold_jsonb(expr: &Expr, schema: &DFSchema) -> bool {
    expr.to_field(schema).is_ok_and(|(_, field)| holds_jsonb(&field))
}

/// Tells whether the values of one of `exprs` are JSONB or contain it.
fn any_may_hold_jsonb<'a>(exprs: impl IntoIterator<Item = &'a Expr>, schema: &DFSchema) -> bool {
    exprs.into_iter().any(|expr| may_hold_jsonb(expr, schema))
}

/// SQL name of an expression's type, for messages.
fn type_name(expr: &Expr, schema: &DFSchema) -> String {
    match expr.to_field(schema) {
        Ok((_, field)) => schemas::sql_type(&field),
        Err(_) => "this".to_owned(),
    }
}

/// Refuses ORDER BY of JSONB.
fn refuse_order(expr: &Expr, schema: &DFSchema) -> Result<()> {
    if may_hold_jsonb(expr, schema) {
        plan_err!("ORDER BY of JSONB is not supported: order by a part of it, as in CAST(j ->> 'a' AS INT)")
    } else {
        Ok(())
    }
}

/// Tells whether `expr` is a text constant, which takes the type of the operands beside it.
fn is_constant(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, None) => {
            matches!(value.data_type(), DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8)
        }
        _ => false,
    }
}

/// Tells whether `expr` is a NULL literal.
fn is_null(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if value.is_null())
}

/// Converts operands of which one is JSONB to JSONB, or refuses them. Messages name the operator by the last
/// parameter.
fn all_as_jsonb(values: Vec<Expr>, schema: &DFSchema, what: &str) -> Result<Vec<Expr>> {
    values.into_iter().map(|value| as_jsonb(value, schema, what)).collect()
}

/// Converts one operand to JSONB, or refuses it: only text constants are converted.
fn as_jsonb(value: Expr, schema: &DFSchema, what: &str) -> Result<Expr> {
    if is_null(&value) || is_jsonb(&value, schema) {
        return Ok(value);
    }
    if is_constant(&value) {
        return call("herald_jsonb_parse", vec![value]);
    }
    let found = type_name(&value, schema);
    plan_err!(
        "JSONB {what} {found}, these types do not go together: \
         write CAST(x AS JSONB) or to_jsonb(x), or take a text with ->>"
    )
}

/// Marks the type of an expression as JSONB, which DataFusion would infer as text.
fn mark_jsonb(expr: Expr) -> Result<Transformed<Expr>> {
    Ok(Transformed::yes(call("herald_jsonb_mark", vec![expr])?))
}

/// Rewrites one expression whose parts are rewritten.
fn rewrite_expression(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::Cast(_) | Expr::TryCast(_) => casts::rewrite_cast(expr, schema),
        Expr::BinaryExpr(_) | Expr::Between(_) | Expr::InList(_) => compare::rewrite_comparison(expr, schema),
        Expr::Case(case) => rewrite_case(case, schema),
        Expr::ScalarFunction(f) => rewrite_call(f, schema),
        Expr::AggregateFunction(f) => rewrite_aggregate(f, schema),
        Expr::WindowFunction(f) => rewrite_window(*f, schema),
        Expr::Like(ref like) | Expr::SimilarTo(ref like) => {
            if is_jsonb(&like.expr, schema) || is_jsonb(&like.pattern, schema) {
                return plan_err!(
                    "LIKE does not take JSONB: write CAST(x AS VARCHAR) LIKE ..., or take a text with ->>"
                );
            }
            Ok(Transformed::no(expr))
        }
        Expr::Negative(ref inner) if is_jsonb(inner, schema) => {
            plan_err!("- does not take JSONB: write CAST(x AS DECIMAL(38, 10))")
        }
        other => Ok(Transformed::no(other)),
    }
}

/// Rewrites a CASE: its compared values are compared as JSONB if one is, and its results stay JSONB if one
/// is.
fn rewrite_case(case: Case, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Case { expr, when_then_expr, else_expr } = case;
    let (whens, thens): (Vec<Expr>, Vec<Expr>) =
        when_then_expr.into_iter().map(|(when, then)| (*when, *then)).unzip();
    let mut compared: Vec<Expr> = expr.into_iter().map(|e| *e).chain(whens).collect();
    let bases = compared.len() - thens.len();
    let compares = bases > 0 && any_jsonb(&compared, schema);
    if compares {
        compared = compare::as_keys(all_as_jsonb(compared, schema, "CASE")?)?;
    }
    let count = thens.len();
    let mut given: Vec<Expr> = thens.into_iter().chain(else_expr.map(|e| *e)).collect();
    let gives = any_jsonb(&given, schema);
    if gives {
        given = all_as_jsonb(given, schema, "CASE")?;
    }
    let mut given = given.into_iter().map(Box::new);
    let mut compared = compared.into_iter().map(Box::new);
    let expr = if bases > 0 { compared.next() } else { None };
    let case = Expr::Case(Case {
        expr,
        when_then_expr: compared.zip(given.by_ref().take(count)).collect(),
        else_expr: given.next(),
    });
    if gives { mark_jsonb(case) } else { Ok(Transformed::new_transformed(case, compares)) }
}

/// Rewrites a function call over JSONB, and refuses functions that do not take it.
fn rewrite_call(f: ScalarFunction, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let name = f.func.name().to_owned();
    if name == casts::MARK {
        return casts::rewrite_marked_cast(Expr::ScalarFunction(f), schema);
    }
    if ["array_element", "herald_item"].contains(&name.as_str()) && items_are_jsonb(&f.args, schema) {
        return mark_jsonb(Expr::ScalarFunction(f));
    }
    let own = name.starts_with("herald_") || name.starts_with("jsonb_") || name == "to_jsonb";
    if own || !any_may_hold_jsonb(&f.args, schema) {
        return Ok(Transformed::no(Expr::ScalarFunction(f)));
    }
    let alone = any_jsonb(&f.args, schema);
    match name.as_str() {
        "coalesce" => {
            let args = all_as_jsonb(f.args, schema, "coalesce")?;
            mark_jsonb(Expr::ScalarFunction(ScalarFunction { func: f.func, args }))
        }
        "nullif" => compare::null_if(all_as_jsonb(f.args, schema, "nullif")?).and_then(mark_jsonb),
        known if TAKE_JSONB.contains(&known) && !(alone && known.starts_with("array_")) => {
            Ok(Transformed::no(Expr::ScalarFunction(f)))
        }
        "make_array" => plan_err!("'make_array' does not take JSONB: write jsonb_build_array(a, b)"),
        "named_struct" | "struct" => {
            plan_err!("'{name}' does not take JSONB: write jsonb_build_object('a', j)")
        }
        _ => plan_err!("'{name}' does not take JSONB: write CAST(x AS VARCHAR), or take a part with ->>"),
    }
}

/// Tells whether the first argument is an array of JSONB.
fn items_are_jsonb(args: &[Expr], schema: &DFSchema) -> bool {
    let Some(Ok((_, of))) = args.first().map(|list| list.to_field(schema)) else { return false };
    matches!(of.data_type(), DataType::List(item) if schemas::is_jsonb(item))
}

/// Rewrites an aggregate over JSONB to compare distinct values by key, and refuses aggregates that do not
/// take JSONB.
fn rewrite_aggregate(mut f: AggregateFunction, schema: &DFSchema) -> Result<Transformed<Expr>> {
    for sort in &f.params.order_by {
        refuse_order(&sort.expr, schema)?;
    }
    if !any_may_hold_jsonb(&f.params.args, schema) {
        return Ok(Transformed::no(Expr::AggregateFunction(f)));
    }
    let name = f.func.name().to_owned();
    let taken =
        ["count", "approx_distinct", "first_value", "last_value", ARRAY, OBJECT].contains(&name.as_str());
    if !taken {
        let instead = match name.as_str() {
            "array_agg" => "write jsonb_agg(x)",
            "min" | "max" => {
                "JSONB has no greatest value in SQL: take a part, as in max(CAST(j ->> 'a' AS INT))"
            }
            _ => "take a part with ->>, and convert it with CAST",
        };
        return plan_err!("'{name}' does not take JSONB: {instead}");
    }
    let distinct = f.params.distinct || name == "approx_distinct";
    if distinct {
        let args = std::mem::take(&mut f.params.args);
        f.params.args = compare::as_keys(args)?;
    }
    Ok(Transformed::new_transformed(Expr::AggregateFunction(f), distinct))
}

/// Rewrites a window function to partition by the keys of JSONB values, and refuses functions that do not
/// take JSONB.
fn rewrite_window(mut f: WindowFunction, schema: &DFSchema) -> Result<Transformed<Expr>> {
    for sort in &f.params.order_by {
        refuse_order(&sort.expr, schema)?;
    }
    let name = f.fun.name().to_owned();
    if name != "count" && any_may_hold_jsonb(&f.params.args, schema) {
        return plan_err!("'{name}'(...) OVER does not take JSONB: take a part with ->>");
    }
    let mut changed = false;
    for part in &mut f.params.partition_by {
        if may_hold_jsonb(part, schema) && !key::is_key(part) {
            *part = call(key::NAME, vec![std::mem::take(part)])?;
            changed = true;
        }
    }
    Ok(Transformed::new_transformed(Expr::WindowFunction(Box::new(f)), changed))
}
