//! Types of a query's parameters that nobody has told, from the expressions in which they stand.
//!
//! A parameter beside a value of a type has that type, as in PostgreSQL: an operand of an operator, an item
//! of an IN list, a bound of BETWEEN, an argument of `coalesce`. The number behind LIMIT and OFFSET is a
//! BIGINT, the right side of `= ANY` an array of the left side's type. One that stands alone has no type
//! here; it is text.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_common::{DFSchema, Result};
use datafusion_expr::expr::Placeholder;
use datafusion_expr::logical_plan::LogicalPlan;
use datafusion_expr::utils::merge_schema;
use datafusion_expr::{Expr, ExprSchemable};
use datafusion_sql::sqlparser::ast::{self as sql, LimitClause, Query, Value, VisitorMut};

use crate::functions::planning::written_cast::CAST;
use crate::sql::parse::walk::WalkMut;

/// Functions whose arguments have one type, and those that stand for operators of which this holds.
const ALIKE: [&str; 12] =
    ["coalesce", "nullif", "greatest", "least", "like", "ilike", "similar_to", "+", "-", "*", "/", "%"];

/// Types of parameters by their numbers, from 1.
pub(crate) type ParameterFields = BTreeMap<usize, Field>;

/// Replaces the forms of `query` in which the planner takes no parameter: LIMIT and OFFSET lose theirs, and
/// `x = ANY ($1)` becomes `x = $1`. Returns the numbers of the first, and of the second.
pub(crate) fn without_forms(query: &mut Query) -> (BTreeSet<usize>, BTreeSet<usize>) {
    let mut forms = Forms::default();
    let _ = query.walk_mut(&mut forms);
    (forms.counts, forms.arrays)
}

#[derive(Default)]
struct Forms {
    counts: BTreeSet<usize>,
    arrays: BTreeSet<usize>,
}

impl VisitorMut for Forms {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let Some(LimitClause::LimitOffset { limit, offset, .. }) = &mut query.limit_clause {
            if let Some(n) = limit.as_ref().and_then(written_number) {
                self.counts.insert(n);
                *limit = None;
            }
            if let Some(n) = offset.as_ref().and_then(|offset| written_number(&offset.value)) {
                self.counts.insert(n);
                *offset = None;
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut sql::Expr) -> ControlFlow<()> {
        if let sql::Expr::AnyOp { left, compare_op, right, .. } | sql::Expr::AllOp { left, compare_op, right } =
            expr
            && let Some(n) = written_number(right)
        {
            self.arrays.insert(n);
            *expr = sql::Expr::BinaryOp {
                left: left.clone(),
                op: compare_op.clone(),
                right: Box::new(peeled(right).clone()),
            };
        }
        ControlFlow::Continue(())
    }
}

/// The expression without parentheses around it.
fn peeled(expr: &sql::Expr) -> &sql::Expr {
    match expr {
        sql::Expr::Nested(inner) => peeled(inner),
        other => other,
    }
}

/// The number of a written parameter.
fn written_number(expr: &sql::Expr) -> Option<usize> {
    match peeled(expr) {
        sql::Expr::Value(value) => match &value.value {
            Value::Placeholder(name) => name.strip_prefix('$')?.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

/// Types of the parameters of a plan, as it was planned before types were coerced.
///
/// # Errors
/// If the plan cannot be walked.
pub(crate) fn planned_types(plan: &LogicalPlan) -> Result<ParameterFields> {
    let mut found = ParameterFields::new();
    plan.apply_with_subqueries(|node| {
        let schema = merge_schema(&node.inputs());
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                note_types(part, &schema, &mut found);
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

/// Notes the types of parameters that are direct parts of an expression.
fn note_types(expr: &Expr, schema: &DFSchema, found: &mut ParameterFields) {
    match expr {
        Expr::BinaryExpr(binary) => note_alike(&[&binary.left, &binary.right], schema, found),
        Expr::Between(between) => note_alike(&[&between.expr, &between.low, &between.high], schema, found),
        Expr::InList(list) => {
            let mut parts = vec![list.expr.as_ref()];
            parts.extend(&list.list);
            note_alike(&parts, schema, found);
        }
        Expr::Like(like) | Expr::SimilarTo(like) => {
            note_field(&like.pattern, &Field::new("", DataType::Utf8, true), found);
        }
        Expr::InSubquery(subquery) => {
            if let [field, ..] = subquery.subquery.subquery.schema().fields().as_ref() {
                note_field(&subquery.expr, field, found);
            }
        }
        Expr::Case(case) => {
            let mut parts: Vec<&Expr> = case.when_then_expr.iter().map(|(_, then)| then.as_ref()).collect();
            parts.extend(case.else_expr.as_deref());
            note_alike(&parts, schema, found);
        }
        Expr::ScalarFunction(call) if call.name() == CAST => {
            if let [value, target, ..] = call.args.as_slice() {
                note_alike(&[value, target], schema, found);
            }
        }
        Expr::ScalarFunction(call) if ALIKE.contains(&call.name()) => {
            note_alike(&call.args.iter().collect::<Vec<_>>(), schema, found);
        }
        _ => {}
    }
}

/// Gives the parameters among `parts` the type of the first part that has one.
fn note_alike(parts: &[&Expr], schema: &DFSchema, found: &mut ParameterFields) {
    let typed = parts.iter().find_map(|part| {
        let (_, field) = part.to_field(schema).ok()?;
        (placeholder_number(part).is_none() && !field.data_type().is_null()).then_some(field)
    });
    let Some(typed) = typed else { return };
    for part in parts {
        note_field(part, &typed, found);
    }
}

/// Gives a parameter a type, unless it has one.
fn note_field(part: &Expr, field: &Field, found: &mut ParameterFields) {
    if let Some(n) = placeholder_number(part) {
        found.entry(n).or_insert_with(|| field.clone());
    }
}

/// The number of a parameter, also in a cast that the planner added.
fn placeholder_number(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Placeholder(Placeholder { id, .. }) => id.strip_prefix('$')?.parse().ok(),
        Expr::Cast(cast) => placeholder_number(&cast.expr),
        _ => None,
    }
}

/// An array of values of a type.
pub(crate) fn array_of(field: &Field) -> Field {
    let item = field.clone().with_name("item").with_nullable(true);
    Field::new("", DataType::List(Arc::new(item)), true)
}
