//! The lineage of GROUP BY, of aggregates and of window functions.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion_expr::{WindowFrameUnits, WindowFunctionDefinition};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{CaseExpr, CastExpr, Literal};

use super::columns::{Deriver, Grouping, Inputs, all_columns};
use super::reading::{Columns, Names, computed, merge, read, read_as, text};
use super::{ColumnLineage, ConditionKind, Expression, RowsLineage};
use crate::plan::canonical::strip_canonical;
use crate::plan::window::{Call, Function, Order, Window};
use crate::plan::{AggFunc, Aggregate, Fold, RelId, Scalar};

/// The text of a column over marked columns.
type ColumnText<'a> = dyn Fn(&mut Names, Columns<'_>) -> String + 'a;

impl Deriver<'_> {
    /// The keys of a GROUP BY as columns, and the conditions that they are.
    fn grouped(&mut self, inputs: &Inputs<'_>, by: &Grouping<'_>) -> RowsLineage {
        let Grouping { id, input, keys } = *by;
        let names = inputs.names(input);
        let of = &inputs.done[input];
        let mut out = RowsLineage { columns: Vec::new(), rows: of.rows.clone() };
        for (key, field) in keys.iter().zip(inputs.plan.rels[id].schema.fields()) {
            let column =
                self.with_columns(&of.columns, &names, |columns| read_as(field.name(), key, columns));
            let scalar = Scalar::column(field.name(), 0);
            let name = self.with_columns(
                std::slice::from_ref(&column),
                std::slice::from_ref(field.name()),
                |columns| text(&scalar, columns),
            );
            out.rows.extend(self.note_over((ConditionKind::Group, name), &[&column]));
            out.columns.push(column);
        }
        out
    }

    pub fn aggregated(
        &mut self,
        inputs: &Inputs<'_>,
        by: &Grouping<'_>,
        aggregates: &[Aggregate],
    ) -> RowsLineage {
        let Grouping { id, input, keys } = *by;
        let mut out = self.grouped(inputs, by);
        let fields = inputs.plan.rels[id].schema.fields().iter().skip(keys.len());
        for (aggregate, field) in aggregates.iter().zip(fields) {
            let args: Vec<&Scalar> = aggregate.args().collect();
            let text = |names: &mut Names, columns: Columns<'_>| {
                let names = RefCell::new(names);
                aggregate.map(&|scalar| names.borrow_mut().mark(scalar, columns)).to_string()
            };
            let mut column = self.aggregate_column(inputs, input, &args, (field.name(), &text));
            if may_not_fit(aggregate, &inputs.plan.rels[input].schema) {
                let text = column.expressions.first().map(|e| e.text.clone()).unwrap_or_default();
                out.rows.extend(self.note_over((ConditionKind::Failure, text), &[&column]));
            }
            if let Some(filter) = &aggregate.filter {
                column.conditions.extend(self.condition(inputs, (ConditionKind::Filter, input), filter));
            }
            out.columns.push(column);
        }
        out
    }

    /// A column that an aggregate or window function computes of some arguments; `text` gives its text over marked
    /// columns.
    fn aggregate_column(
        &self,
        inputs: &Inputs<'_>,
        input: RelId,
        args: &[&Scalar],
        (name, text): (&str, &ColumnText<'_>),
    ) -> ColumnLineage {
        let names = inputs.names(input);
        self.with_columns(&inputs.done[input].columns, &names, |columns| {
            let mut of = ColumnLineage::default();
            for arg in args {
                merge(&mut of, &read_as(name, arg, columns));
            }
            // The argument is part of the function's own text.
            of.expressions.retain(|expression| expression.name != name);
            let mut marked = Names::default();
            let raw = text(&mut marked, columns);
            let expression = Expression { name: name.to_owned(), text: marked.written(&raw) };
            of.expressions.insert(0, expression);
            computed(of)
        })
    }

    pub fn folded(&mut self, inputs: &Inputs<'_>, by: &Grouping<'_>, folds: &[Fold]) -> RowsLineage {
        let Grouping { id, input, keys } = *by;
        let mut out = self.grouped(inputs, by);
        let fields = inputs.plan.rels[id].schema.fields().iter().skip(keys.len());
        for (fold, field) in folds.iter().zip(fields) {
            let text = |names: &mut Names, columns: Columns<'_>| {
                let names = RefCell::new(names);
                fold.map(|scalar| names.borrow_mut().mark(scalar, columns)).to_string()
            };
            let mut column = self.aggregate_column(inputs, input, &[&fold.arg], (field.name(), &text));
            // A sum may not fit its type, and a group may have more values than a function takes.
            let text = column.expressions.first().map(|e| e.text.clone()).unwrap_or_default();
            out.rows.extend(self.note_over((ConditionKind::Failure, text), &[&column]));
            if let Some(filter) = &fold.filter {
                column.conditions.extend(self.condition(inputs, (ConditionKind::Filter, input), filter));
            }
            for key in &fold.order {
                column.conditions.extend(self.condition(inputs, (ConditionKind::Order, input), &key.expr));
            }
            out.columns.push(column);
        }
        out
    }

    pub fn windowed(
        &mut self,
        inputs: &Inputs<'_>,
        id: RelId,
        (input, window): (RelId, &Window),
    ) -> RowsLineage {
        let mut out = inputs.done[input].clone();
        let mut order = BTreeSet::new();
        for key in &window.partition {
            order.extend(self.condition(inputs, (ConditionKind::Partition, input), key));
        }
        let kind = if window.first.is_some() { ConditionKind::Limit } else { ConditionKind::Order };
        for key in &window.order {
            let names = inputs.names(input);
            let of = &inputs.done[input].columns;
            let (text, read) = self.with_columns(of, &names, |columns| {
                let mut marked = Names::default();
                let shown = Order { by: marked.mark(&key.by, columns), ..key.clone() };
                (marked.written(&shown.to_string()), read(key.by.expr(), columns))
            });
            let text = match window.first {
                Some(first) => format!("{} in the order of {text}", first.most),
                None => text,
            };
            order.extend(self.note_over((kind, text), &[&read]));
        }
        let mut ties = BTreeSet::new();
        if window.functions.iter().any(breaks_ties) && !is_unique(inputs, input, window) {
            let read: Vec<&ColumnLineage> = inputs.done[input].columns.iter().collect();
            ties.extend(self.note_over((ConditionKind::Ties, all_columns()), &read));
        }
        if window.first.is_some() {
            out.rows.extend(order.iter().chain(&ties));
        }
        let width = inputs.plan.rels[input].schema.fields().len();
        let fields = inputs.plan.rels[id].schema.fields().iter().skip(width);
        for (function, field) in window.functions.iter().zip(fields) {
            let text = |names: &mut Names, columns: Columns<'_>| {
                let names = RefCell::new(names);
                let one = Window { functions: vec![function.clone()], ..window.clone() };
                let marked = one.map(&|scalar| names.borrow_mut().mark(scalar, columns));
                marked.functions.first().map(ToString::to_string).unwrap_or_default()
            };
            let args: Vec<&Scalar> = match &function.call {
                Call::Other(other) => other.args.iter().collect(),
                Call::RowNumber | Call::Rank | Call::DenseRank => Vec::new(),
            };
            let mut column = self.aggregate_column(inputs, input, &args, (field.name(), &text));
            if sums_in_type(function) {
                let text = column.expressions.first().map(|e| e.text.clone()).unwrap_or_default();
                out.rows.extend(self.note_over((ConditionKind::Failure, text), &[&column]));
            }
            if let Call::Other(other) = &function.call
                && let Some(filter) = &other.filter
            {
                column.conditions.extend(self.condition(inputs, (ConditionKind::Filter, input), filter));
            }
            column.conditions.extend(&order);
            if breaks_ties(function) {
                column.conditions.extend(&ties);
            }
            out.columns.push(column);
        }
        out
    }
}

/// Returns true if a sum may be too large for its type, so that its group has no row. Sums of INT and SMALLINT are not:
/// no group has so many rows.
fn may_not_fit(aggregate: &Aggregate, input: &Schema) -> bool {
    let whole = matches!(aggregate.output, DataType::Int64 | DataType::Decimal128(..));
    let sums = matches!(aggregate.func, AggFunc::Sum | AggFunc::Avg);
    whole && sums && !aggregate.arg.as_ref().is_some_and(|arg| is_small(arg.expr(), input))
}

/// Returns true if a window function is an aggregate whose result may not fit its type.
fn sums_in_type(function: &Function) -> bool {
    let Call::Other(other) = &function.call else { return false };
    let aggregate = matches!(other.function, WindowFunctionDefinition::AggregateUDF(_));
    aggregate
        && other.function.name() != "count"
        && matches!(function.output, DataType::Int64 | DataType::Decimal128(..))
}

/// Returns true if the order among rows that ORDER BY leaves equal decides the function's value.
fn breaks_ties(function: &Function) -> bool {
    match &function.call {
        Call::RowNumber => true,
        Call::Rank | Call::DenseRank => false,
        Call::Other(other) => match &other.function {
            WindowFunctionDefinition::AggregateUDF(_) => other.frame.units == WindowFrameUnits::Rows,
            WindowFunctionDefinition::WindowUDF(_) => true,
        },
    }
}

/// Returns true if no two rows of a partition are equal in the order.
fn is_unique(inputs: &Inputs<'_>, input: RelId, window: &Window) -> bool {
    let keys = window.partition.iter().chain(window.order.iter().map(|order| &order.by));
    let told: BTreeSet<usize> = keys.filter_map(Scalar::as_column).collect();
    inputs.plan.rels[input].unique.iter().any(|key| key.iter().all(|column| told.contains(column)))
}

/// Returns true if the values of an expression are of a small type, or constants.
fn is_small(expr: &Arc<dyn PhysicalExpr>, input: &Schema) -> bool {
    let expr = strip_canonical(expr);
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        let from = cast.expr().data_type(input);
        let small =
            from.is_ok_and(|from| matches!(from, DataType::Int16 | DataType::Int32 | DataType::Boolean));
        return small || is_small(cast.expr(), input);
    }
    if let Some(case) = expr.downcast_ref::<CaseExpr>() {
        let mut branches = case.when_then_expr().iter().map(|(_, then)| then).chain(case.else_expr());
        return branches.all(|branch| is_small(branch, input));
    }
    expr.downcast_ref::<Literal>().is_some_and(|literal| {
        let value = literal.value();
        value.is_null() || value.to_string().parse::<i128>().is_ok_and(|n| n.unsigned_abs() <= 1 << 31)
    })
}
