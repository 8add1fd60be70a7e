//! The places and texts of expressions.
//!
//! An expression that only goes into a STRUCT, or takes an item of a list, copies; every other computes. Columns stand in
//! texts by their names, without positions; one that planning has made stands for the place that it copies.

use std::sync::Arc;

use datafusion_common::ScalarValue;
use datafusion_physical_expr::expressions::{Column, Literal};
use datafusion_physical_expr::utils::collect_columns;
use datafusion_physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use super::{ColumnLineage, Expression, Place, Step, Use, path_text};
use crate::functions::planning::may_be_null::MAY_BE_NULL;
use crate::functions::text::format::{quote_identifier, quote_literal};
use crate::plan::Scalar;
use crate::plan::canonical::strip_canonical;
use crate::plan::explain::failure::spell;
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};

/// Most expressions that are kept on the way to a column.
const MAX_EXPRESSIONS: usize = 32;

/// The columns that an expression reads, with their names.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a> {
    /// Lineage of each.
    pub of: &'a [ColumnLineage],
    /// Name of each.
    pub names: &'a [String],
    /// The sources' columns, for names of places.
    pub place_name: &'a dyn Fn(&Place) -> String,
}

/// Adds what one column comes from to another.
pub(super) fn merge(into: &mut ColumnLineage, from: &ColumnLineage) {
    for (place, used) in &from.values {
        let known =
            into.values.entry(place.clone()).or_insert(Use { generated: used.generated, ..Use::default() });
        known.copied |= used.copied;
        known.computed |= used.computed;
        known.generated &= used.generated;
    }
    into.conditions.extend(&from.conditions);
    for expression in &from.expressions {
        if !into.expressions.contains(expression) && into.expressions.len() < MAX_EXPRESSIONS {
            into.expressions.push(expression.clone());
        }
    }
}

/// The same with values that are computed from it.
pub(super) fn computed(mut of: ColumnLineage) -> ColumnLineage {
    for used in of.values.values_mut() {
        (used.copied, used.computed) = (false, true);
    }
    of
}

/// The same at a step further into copied values.
pub(super) fn stepped(of: ColumnLineage, step: &Step) -> ColumnLineage {
    let mut out = ColumnLineage { values: Default::default(), ..of };
    for (place, used) in of.values {
        if used.copied {
            out.values.insert(place.at(step.clone()), Use { computed: false, ..used });
        }
        if used.computed {
            out.values.insert(place, Use { copied: false, ..used });
        }
    }
    out
}

/// The origin of an expression's value.
pub(super) fn read(expr: &Arc<dyn PhysicalExpr>, columns: Columns<'_>) -> ColumnLineage {
    let expr = strip_canonical(expr);
    if let Some(column) = expr.downcast_ref::<Column>() {
        return columns.of.get(column.index()).cloned().unwrap_or_default();
    }
    if let Some((base, steps, others)) = taken_part(expr) {
        let mut of = read(base, columns);
        for step in &steps {
            of = stepped(of, step);
        }
        for other in others {
            merge(&mut of, &computed(read(other, columns)));
        }
        return of;
    }
    let mut all = ColumnLineage::default();
    for child in expr.children() {
        merge(&mut all, &read(child, columns));
    }
    computed(all)
}

/// The value of which an expression takes a part, the way to the part, and other values that tell it; None for one that
/// computes.
#[allow(clippy::type_complexity, reason = "it is taken apart at once")]
fn taken_part(
    expr: &Arc<dyn PhysicalExpr>,
) -> Option<(&Arc<dyn PhysicalExpr>, Vec<Step>, &[Arc<dyn PhysicalExpr>])> {
    let call = expr.downcast_ref::<ScalarFunctionExpr>()?;
    let (base, rest) = call.args().split_first()?;
    match call.name() {
        MAY_BE_NULL => Some((base, Vec::new(), &[])),
        "get_field" => {
            let steps = rest.iter().map(|name| Some(Step::Field(literal_text(name)?)));
            Some((base, steps.collect::<Option<Vec<_>>>()?, &[]))
        }
        "array_element" | "herald_item" => Some((base, vec![Step::Items], rest)),
        _ => None,
    }
}

/// The text of a literal.
fn literal_text(expr: &Arc<dyn PhysicalExpr>) -> Option<String> {
    expr.downcast_ref::<Literal>()?.value().try_as_str().flatten().map(str::to_owned)
}

/// The origin of a column that an operator computes by `scalar`, with its expression, unless it copies.
pub(super) fn read_as(name: &str, scalar: &Scalar, columns: Columns<'_>) -> ColumnLineage {
    let mut of = read(scalar.expr(), columns);
    if !is_path(scalar.expr()) {
        of.expressions.insert(0, Expression { name: name.to_owned(), text: text(scalar, columns) });
        of.expressions.truncate(MAX_EXPRESSIONS);
    }
    of
}

/// Returns true if an expression is a column or a part of one.
fn is_path(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let expr = strip_canonical(expr);
    expr.is::<Column>() || taken_part(expr).is_some_and(|(base, ..)| is_path(base))
}

/// The text of an expression.
pub(super) fn text(scalar: &Scalar, columns: Columns<'_>) -> String {
    if let Some(literal) = scalar.expr().downcast_ref::<Literal>() {
        return match literal.value() {
            ScalarValue::Utf8(Some(text)) => quote_literal(text),
            other => spell("expression", &other.to_string()).into_owned(),
        };
    }
    let mut names = Names::default();
    let marked = names.mark(scalar, columns);
    names.written(&marked.to_string())
}

/// Names of columns, for which marks stand in an expression while it is spelled as SQL.
#[derive(Default)]
pub(super) struct Names {
    names: Vec<String>,
}

/// The beginning of a mark.
const MARK: &str = "lineage_name_";

impl Names {
    /// The expression with marks in place of columns and their parts.
    pub fn mark(&mut self, scalar: &Scalar, columns: Columns<'_>) -> Scalar {
        let marked = Arc::clone(scalar.expr()).transform_down(|expr| match shown_path(&expr, columns) {
            Some(name) => {
                self.names.push(name);
                let mark: Arc<dyn PhysicalExpr> =
                    Arc::new(Column::new(&format!("{MARK}{}_", self.names.len() - 1), 0));
                Ok(Transformed::new(mark, true, TreeNodeRecursion::Jump))
            }
            None => Ok(Transformed::no(expr)),
        });
        // The closure cannot fail, and an expression that cannot be rebuilt keeps its own names.
        marked.map_or_else(|_| scalar.clone(), |marked| Scalar::new(marked.data))
    }

    /// A text spelled as SQL, with the names of the marked columns.
    pub fn written(&self, text: &str) -> String {
        // Functions of lambdas have these in brackets behind their names.
        let mut out = spell("expression", text).replace("herald_array_", "");
        for (at, name) in self.names.iter().enumerate() {
            out = out.replace(&format!("{MARK}{at}_"), name);
        }
        out
    }
}

/// The name of a column or of a part of one; None for another expression.
fn shown_path(expr: &Arc<dyn PhysicalExpr>, columns: Columns<'_>) -> Option<String> {
    let expr = strip_canonical(expr);
    if let Some(column) = expr.downcast_ref::<Column>() {
        return Some(column_name(column, columns));
    }
    match taken_part(expr)? {
        (base, steps, []) => Some(format!("{}{}", shown_path(base, columns)?, path_text(&steps))),
        _ => None,
    }
}

/// Returns true for a name that planning makes.
fn is_made(name: &str) -> bool {
    let number = name.strip_prefix("value_").or_else(|| name.strip_prefix("key_"));
    name.starts_with("__") || number.is_some_and(|n| !n.is_empty() && n.bytes().all(|c| c.is_ascii_digit()))
}

/// The name of a column; the place that it copies for one that planning has made.
fn column_name(column: &Column, columns: Columns<'_>) -> String {
    let name = columns.names.get(column.index()).map_or(column.name(), String::as_str);
    if !is_made(name) {
        let plain = name.contains(['(', ')']) || name.is_empty();
        return if plain { spell("expression", name).into_owned() } else { quote_identifier(name) };
    }
    let mut values = columns.of.get(column.index()).map(|of| of.values.iter()).into_iter().flatten();
    match (values.next(), values.next()) {
        (Some((place, used)), None) if used.copied && !used.computed => (columns.place_name)(place),
        _ => spell("expression", name).into_owned(),
    }
}

/// The positions of the columns that an expression reads.
pub(super) fn columns_of(expr: &Arc<dyn PhysicalExpr>) -> Vec<usize> {
    collect_columns(expr).iter().map(Column::index).collect()
}
