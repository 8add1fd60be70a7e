//! Lowering of window functions, LIMIT and DISTINCT ON.
//!
//! A window relation has one PARTITION BY and one ORDER BY, so a query with several becomes a chain.
//! Arguments are computed as columns below the window, so that a row on which one fails, fails alone.
//! LIMIT keeps the first rows by a row number over all rows, DISTINCT ON the first row of each partition.
//! [`bound_ranks`] finds conditions such as `rn <= 3` and limits each partition to the rows that they keep.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion_common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion_expr::expr::{NullTreatment, Sort, WindowFunction, WindowFunctionParams};
use datafusion_expr::logical_plan::{self as logical, FetchType, LogicalPlan, SkipType};
use datafusion_expr::{
    Expr, Operator, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{BinaryExpr, CastExpr, Literal};

use super::frame::frame;
use super::{
    Lower, all_columns, cast, column_at, lower_condition, lower_scalar, lower_scalars, not_a_column,
    owned_fields, plain_field,
};
use crate::functions::types::herald_type;
use crate::plan::window::{Call, First, Function, Order, Other, Window};
use crate::plan::{Op, Plan, RelId, Scalar};

/// A call with its output column.
struct Wanted<'a> {
    call: &'a WindowFunction,
    named: &'a Field,
}

impl Lower<'_> {
    /// Lowers window functions. The result has the input's columns, then the functions' in the order of the
    /// query.
    pub(super) fn lower_window(&mut self, window: &logical::Window) -> Result<RelId> {
        let input = self.lower_node(&window.input)?;
        let schema = window.input.schema();
        let width = schema.fields().len();
        let mut wanted = Vec::with_capacity(window.window_expr.len());
        for (expr, named) in window.window_expr.iter().zip(window.schema.fields().iter().skip(width)) {
            match expr.clone().unalias_nested().data {
                Expr::WindowFunction(call) => wanted.push((*call, named)),
                other => return plan_err!("{other} is not supported as a window function"),
            }
        }
        // Calls with the same PARTITION BY and ORDER BY share one relation.
        let mut groups: Vec<(Vec<usize>, &WindowFunctionParams)> = Vec::new();
        for (at, (call, _)) in wanted.iter().enumerate() {
            let of = &call.params;
            match groups
                .iter_mut()
                .find(|(_, g)| g.partition_by == of.partition_by && g.order_by == of.order_by)
            {
                Some((members, _)) => members.push(at),
                None => groups.push((vec![at], of)),
            }
        }
        let (mut id, mut places) = (input, vec![0; wanted.len()]);
        for (members, _) in &groups {
            let calls: Vec<Wanted<'_>> =
                members.iter().map(|at| Wanted { call: &wanted[*at].0, named: wanted[*at].1 }).collect();
            let (next, first) = self.push_window(id, &calls, schema)?;
            for (nth, at) in members.iter().enumerate() {
                places[*at] = first + nth;
            }
            id = next;
        }
        let below = self.schema_of(id);
        let (mut fixed, mut fields) = (all_columns(&below), owned_fields(&below));
        fixed.truncate(width);
        fields.truncate(width);
        for ((_, named), place) in wanted.iter().zip(&places) {
            fixed.push(cast(column_at(&below, *place), named.data_type(), &below)?);
            let field = plain_field(named, named.data_type().clone(), true);
            fields.push(field.with_name(below.field(*place).name()));
        }
        Ok(self.push(Op::Project { input: id, exprs: fixed }, Arc::new(Schema::new(fields))))
    }

    /// Functions of one PARTITION BY and ORDER BY over `input`, whose first columns are those of `schema`.
    /// Returns the relation and the position of its first function's column.
    fn push_window(
        &mut self,
        input: RelId,
        calls: &[Wanted<'_>],
        schema: &DFSchema,
    ) -> Result<(RelId, usize)> {
        let params = &calls[0].call.params;
        let mut columns = WindowColumns::of(&self.schema_of(input));
        let mut window = Window { partition: vec![], order: vec![], functions: vec![], first: None };
        window.partition = columns.partition_by(&params.partition_by, schema)?;
        window.order = columns.order_by(&params.order_by, schema)?;
        for wanted in calls {
            check_range(&window, &wanted.call.params.window_frame, &columns.fields)?;
        }
        for wanted in calls {
            window.functions.push(columns.window_function(wanted.call, schema)?);
        }
        let rel = self.push_computed_columns(input, &columns);
        let below = self.schema_of(rel);
        let mut fields = owned_fields(&below);
        for (at, wanted) in calls.iter().enumerate() {
            let of = output_type(&window, at, &below)?;
            window.functions[at].output.clone_from(&of);
            let name = format!("{}{}", wanted.call.fun.name().trim_start_matches("herald_"), fields.len());
            fields.push(plain_field(wanted.named, of, true).with_name(name));
        }
        let first = below.fields().len();
        let op = Op::Window { input: rel, window: Box::new(window) };
        Ok((self.push(op, Arc::new(Schema::new(fields))), first))
    }

    /// `input` with the computed columns of `columns` added; `input` itself if there are none.
    fn push_computed_columns(&mut self, input: RelId, columns: &WindowColumns) -> RelId {
        if columns.exprs.len() == columns.own {
            return input;
        }
        let schema = Arc::new(Schema::new(columns.fields.clone()));
        self.push(Op::Project { input, exprs: columns.exprs.clone() }, schema)
    }

    /// Lowers LIMIT and OFFSET: the first rows in an order, after the skipped ones.
    pub(super) fn lower_limit(&mut self, limit: &logical::Limit) -> Result<RelId> {
        let (SkipType::Literal(skip), FetchType::Literal(fetch)) =
            (limit.get_skip_type()?, limit.get_fetch_type()?)
        else {
            return plan_err!("LIMIT and OFFSET take whole numbers, written out");
        };
        // A projection between LIMIT and the order does not change which rows are first: limit below it.
        match limit.input.as_ref() {
            LogicalPlan::Distinct(logical::Distinct::On(on)) => {
                self.lower_distinct_on(on, Some((skip, fetch)))
            }
            LogicalPlan::Projection(p)
                if matches!(
                    p.input.as_ref(),
                    LogicalPlan::Sort(_) | LogicalPlan::Distinct(logical::Distinct::On(_))
                ) =>
            {
                let below = logical::Limit { input: Arc::clone(&p.input), ..limit.clone() };
                let input = self.lower_limit(&below)?;
                let exprs = lower_scalars(&p.expr, p.input.schema())?;
                self.push_project(input, exprs, &p.schema)
            }
            LogicalPlan::Sort(sort) => self.lower_first_rows(&sort.input, (&[], &sort.expr), (skip, fetch)),
            other => self.lower_first_rows(other, (&[], &[]), (skip, fetch)),
        }
    }

    /// The rows of each partition after the first `skip`, at most `fetch` of them.
    fn lower_first_rows(
        &mut self,
        input: &LogicalPlan,
        by: (&[Expr], &[Sort]),
        rows: (usize, Option<usize>),
    ) -> Result<RelId> {
        let id = self.lower_node(input)?;
        self.push_first_rows(id, input.schema(), by, rows)
    }

    /// As [`Lower::lower_first_rows`], over a relation that has been lowered.
    fn push_first_rows(
        &mut self,
        id: RelId,
        schema: &DFSchema,
        (partition, order): (&[Expr], &[Sort]),
        (skip, fetch): (usize, Option<usize>),
    ) -> Result<RelId> {
        let own = self.schema_of(id);
        let mut columns = WindowColumns::of(&own);
        let partition = columns.partition_by(partition, schema)?;
        let order = columns.order_by(order, schema)?;
        let number = Function { call: Call::RowNumber, output: DataType::Int64 };
        let first = fetch.map(|fetch| First { function: 0, most: skip.saturating_add(fetch) as u64 });
        let rel = self.push_computed_columns(id, &columns);
        let mut fields = columns.fields.clone();
        fields.push(Field::new("row_number", DataType::Int64, false));
        let (place, numbered) = (fields.len() - 1, Arc::new(Schema::new(fields)));
        let window = Box::new(Window { partition, order, functions: vec![number], first });
        let mut rel = self.push(Op::Window { input: rel, window }, Arc::clone(&numbered));
        if skip > 0 {
            let number = Arc::clone(Scalar::column("row_number", place).expr());
            let skip = Arc::new(Literal::new(ScalarValue::Int64(i64::try_from(skip).ok())));
            let predicate = Scalar::new(Arc::new(BinaryExpr::new(number, Operator::Gt, skip)));
            rel = self.push(Op::Filter { input: rel, predicate }, numbered);
        }
        Ok(self.push(Op::Project { input: rel, exprs: all_columns(&own) }, own))
    }

    /// The first row of each partition in an order; with a LIMIT, the first of these rows in the same order.
    pub(super) fn lower_distinct_on(
        &mut self,
        on: &logical::DistinctOn,
        limit: Option<(usize, Option<usize>)>,
    ) -> Result<RelId> {
        let order = on.sort_expr.as_deref().unwrap_or_default();
        let mut first = self.lower_first_rows(&on.input, (&on.on_expr, order), (0, Some(1)))?;
        if let Some(rows) = limit.filter(|_| !order.is_empty()) {
            first = self.push_first_rows(first, on.input.schema(), (&[], order), rows)?;
        }
        let exprs = lower_scalars(&on.select_expr, on.input.schema())?;
        let rel = self.push_project(first, exprs, &on.schema)?;
        match limit {
            Some(rows) if order.is_empty() => self.push_first_rows(rel, &on.schema, (&[], &[]), rows),
            _ => Ok(rel),
        }
    }
}

/// The columns of a relation, and columns computed in addition to them.
struct WindowColumns {
    own: usize,
    exprs: Vec<Scalar>,
    fields: Vec<Field>,
    below: Arc<Schema>,
}

impl WindowColumns {
    /// The columns of `schema`, with no computed ones yet.
    fn of(schema: &Arc<Schema>) -> WindowColumns {
        let (exprs, fields) = (all_columns(schema), owned_fields(schema));
        WindowColumns { own: exprs.len(), exprs, fields, below: Arc::clone(schema) }
    }

    /// The column that holds `value`, added if there is none.
    fn column_of(&mut self, value: Scalar) -> Result<Scalar> {
        let known = self.exprs.iter().position(|e| e.expr().as_ref() == value.expr().as_ref());
        let at = match known {
            Some(at) => at,
            None => {
                let of = value.data_type(&self.below)?;
                let Some(to) = herald_type(&of) else { return Err(not_a_column(&value.to_string(), &of)) };
                let name = format!("__{}", self.exprs.len());
                self.fields.push(Field::new(&name, to.clone(), true));
                self.exprs.push(cast(value, &to, &self.below)?);
                self.exprs.len() - 1
            }
        };
        Ok(Scalar::column(self.fields[at].name(), at))
    }

    /// The keys of a PARTITION BY as columns.
    fn partition_by(&mut self, keys: &[Expr], schema: &DFSchema) -> Result<Vec<Scalar>> {
        let mut out = Vec::with_capacity(keys.len());
        for key in keys {
            out.push(self.column_of(lower_scalar(key, schema)?)?);
        }
        Ok(out)
    }

    /// The keys of an ORDER BY as columns; constants order nothing and are left out.
    fn order_by(&mut self, order: &[Sort], schema: &DFSchema) -> Result<Vec<Order>> {
        let mut out = Vec::with_capacity(order.len());
        for sort in order {
            let by = lower_scalar(&sort.expr, schema)?;
            if !by.expr().is::<Literal>() {
                let by = self.column_of(by)?;
                out.push(Order { by, descending: !sort.asc, nulls_first: sort.nulls_first });
            }
        }
        Ok(out)
    }

    /// A window function whose arguments and FILTER are columns.
    fn window_function(&mut self, call: &WindowFunction, schema: &DFSchema) -> Result<Function> {
        let rank = match call.fun.name() {
            "row_number" => Some(Call::RowNumber),
            "rank" => Some(Call::Rank),
            "dense_rank" => Some(Call::DenseRank),
            _ => None,
        };
        if let Some(call) = rank {
            return Ok(Function { call, output: DataType::Int64 });
        }
        let params = &call.params;
        let mut args = Vec::with_capacity(params.args.len());
        for arg in &params.args {
            let arg = lower_scalar(arg, schema)?;
            if arg.expr().is::<Literal>() {
                args.push(arg);
                continue;
            }
            args.push(self.column_of(arg)?);
        }
        let filter = match &params.filter {
            Some(filter) => Some(self.column_of(lower_condition(filter, schema)?)?),
            None => None,
        };
        let other = Other {
            function: call.fun.clone(),
            args,
            filter,
            frame: frame(&params.window_frame)?,
            ignore_nulls: params.null_treatment == Some(NullTreatment::IgnoreNulls),
            distinct: params.distinct,
        };
        Ok(Function { call: Call::Other(Box::new(other)), output: DataType::Null })
    }
}

/// Refuses RANGE with a distance unless the window is ordered by one number or time.
fn check_range(window: &Window, frame: &WindowFrame, fields: &[Field]) -> Result<()> {
    let far = has_distance(&frame.start_bound) || has_distance(&frame.end_bound);
    if frame.units != WindowFrameUnits::Range || !far {
        return Ok(());
    }
    let by = if let [one] = window.order.as_slice() { one.by.as_column() } else { None };
    match by.map(|at| fields[at].data_type()) {
        Some(of) if of.is_numeric() || of.is_temporal() => Ok(()),
        _ => plan_err!("{RANGE}"),
    }
}

/// Tells whether a bound of a frame is a distance, other than UNBOUNDED.
fn has_distance(bound: &WindowFrameBound) -> bool {
    match bound {
        WindowFrameBound::Preceding(n) | WindowFrameBound::Following(n) => !n.is_null(),
        WindowFrameBound::CurrentRow => false,
    }
}

/// Message for a RANGE with a distance over an order that has no distances.
pub(crate) const RANGE: &str = "RANGE with a distance needs one ORDER BY, over a number or a time";

/// The type of a function's column; an error if the function does not support its frame.
fn output_type(window: &Window, at: usize, input: &Arc<Schema>) -> Result<DataType> {
    let Some(expr) = window.window_expr(at, input)? else { return Ok(DataType::Int64) };
    if let Call::Other(other) = &window.functions[at].call
        && let WindowFunctionDefinition::AggregateUDF(_) = other.function
    {
        expr.evaluate(&RecordBatch::new_empty(Arc::clone(input)))?;
    }
    Ok(expr.field()?.data_type().clone())
}

/// Limits each partition to the rows that a condition on their rank keeps.
pub(crate) fn bound_ranks(plan: &mut Plan) {
    let mut uses = vec![0usize; plan.rels.len()];
    let roots = plan.views.iter().map(|v| v.rel).chain(plan.sinks.iter().map(|s| s.rel));
    for id in plan.rels.iter().flat_map(|r| r.op.inputs()).chain(roots) {
        uses[id] += 1;
    }
    for id in 0..plan.rels.len() {
        let Op::Filter { input, predicate } = &plan.rels[id].op else { continue };
        // A window keeps one bound, so the first condition that bounds a rank suffices.
        let mut bounds = Vec::new();
        collect_upper_bounds(predicate.expr(), &mut bounds);
        for (column, most) in bounds {
            if let Some((window, function)) = rank_function(plan, *input, column, &uses) {
                bound_window(plan, window, First { function, most });
                break;
            }
        }
    }
}

/// Sets the bound of a window, or lowers it if it bounds the same function already.
fn bound_window(plan: &mut Plan, window: RelId, bound: First) {
    let Op::Window { window, .. } = &mut plan.rels[window].op else { return };
    match &mut window.first {
        Some(first) if first.function == bound.function => first.most = first.most.min(bound.most),
        Some(_) => {}
        first => *first = Some(bound),
    }
}

/// The window and function that column `column` of `rel` comes from, if all functions of the window are ranks
/// and nothing else reads the relations between.
fn rank_function(plan: &Plan, mut rel: RelId, mut column: usize, uses: &[usize]) -> Option<(RelId, usize)> {
    loop {
        if uses[rel] != 1 {
            return None;
        }
        match &plan.rels[rel].op {
            Op::Filter { input, .. } => rel = *input,
            Op::Project { input, exprs } => {
                column = column_in(exprs[column].expr())?;
                rel = *input;
            }
            Op::Window { input, window } => {
                let function = column.checked_sub(plan.rels[*input].schema.fields().len())?;
                return window.functions.iter().all(Function::is_rank).then_some((rel, function));
            }
            _ => return None,
        }
    }
}

/// The column that `expr` reads, directly or cast to an integer type.
fn column_in(expr: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        return if cast.cast_type().is_integer() { column_in(cast.expr()) } else { None };
    }
    Scalar::new(Arc::clone(expr)).as_column()
}

/// Collects the columns that an AND of conditions bounds from above, with their greatest values.
fn collect_upper_bounds(expr: &Arc<dyn PhysicalExpr>, out: &mut Vec<(usize, u64)>) {
    let Some(binary) = expr.downcast_ref::<BinaryExpr>() else { return };
    let (left, right) = (binary.left(), binary.right());
    let most = match binary.op() {
        Operator::And => {
            collect_upper_bounds(left, out);
            return collect_upper_bounds(right, out);
        }
        Operator::LtEq | Operator::Eq => (left, literal_number(right), 0),
        Operator::Lt => (left, literal_number(right), 1),
        Operator::GtEq => (right, literal_number(left), 0),
        Operator::Gt => (right, literal_number(left), 1),
        _ => return,
    };
    if let (Some(column), Some(number)) = (column_in(most.0), most.1) {
        out.push((column, u64::try_from((number - most.2).max(0)).unwrap_or(u64::MAX)));
    }
}

/// Value of a literal that is a whole number.
fn literal_number(expr: &Arc<dyn PhysicalExpr>) -> Option<i128> {
    match expr.downcast_ref::<Literal>()?.value() {
        ScalarValue::UInt64(Some(n)) => Some(i128::from(*n)),
        ScalarValue::Int64(Some(n)) => Some(i128::from(*n)),
        ScalarValue::Int32(Some(n)) => Some(i128::from(*n)),
        _ => None,
    }
}
