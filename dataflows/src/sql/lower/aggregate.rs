//! Lowering of GROUP BY.
//!
//! Aggregates kept in accumulators and aggregates that need the rows of a group become separate relations. An
//! accumulator over DISTINCT values is an ordinary one over the distinct values of a group. Each argument has one
//! relation of them; a column of it for each FILTER tells whether a row with the value passes it. The results are
//! joined by group. Every part has every group, so no part of a joined row is ever missing.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_common::{Result, plan_err};
use datafusion_expr::{Expr, logical_plan as logical};

use super::call::{AggregateCall, CallKind};
use super::{Lower, all_columns, cast, column_at, column_type, lower_scalars, plain_field, scalar_fields};
use crate::plan::aggregate::{MAX_ACCUMULATORS, MAX_AGGREGATES, Stat};
use crate::plan::{AggFunc, Aggregate, JoinKind, Op, RelId, Scalar};

impl Lower<'_> {
    /// One relation, or several joined by group if the aggregates are not all of one kind.
    pub(super) fn lower_aggregate(&mut self, aggregate: &logical::Aggregate) -> Result<RelId> {
        if let [Expr::GroupingSet(set)] = aggregate.group_expr.as_slice() {
            return self.lower_grouping_sets(aggregate, set);
        }
        let input = self.lower_node(&aggregate.input)?;
        let below = self.schema_of(input);
        let schema = aggregate.input.schema();
        let keys = lower_scalars(&aggregate.group_expr, schema)?;
        let named = aggregate.schema.fields();
        let fields = scalar_fields(named, &keys, &below)?;
        let mut calls = Vec::with_capacity(aggregate.aggr_expr.len());
        for (expr, named) in aggregate.aggr_expr.iter().zip(named.iter().skip(keys.len())) {
            calls.push(AggregateCall::of(expr, schema, named)?);
        }
        let one_kind = calls.iter().all(|call| call.kind() == calls[0].kind());
        if !one_kind || calls.iter().any(|call| call.kind() == CallKind::Once) {
            return self.push_parts(input, (&keys, fields), calls);
        }
        self.push_groups(input, (keys, fields), &calls.iter().collect::<Vec<_>>())
    }

    /// Groups with aggregates of one kind: folds over rows, or accumulators.
    fn push_groups(
        &mut self,
        input: RelId,
        (keys, mut fields): (Vec<Scalar>, Vec<Field>),
        calls: &[&AggregateCall<'_>],
    ) -> Result<RelId> {
        let below = self.schema_of(input);
        if calls.first().is_some_and(|call| call.kind() == CallKind::Rows) {
            let mut folds = Vec::with_capacity(calls.len());
            for call in calls {
                let fold = call.to_fold(&below)?;
                fields.push(plain_field(call.named, fold.output.clone(), true));
                folds.push(fold);
            }
            return Ok(self.push(Op::GroupRows { input, keys, folds }, Arc::new(Schema::new(fields))));
        }
        let mut aggregates = Vec::with_capacity(calls.len());
        for call in calls {
            let one = call.to_aggregate(&below)?;
            let counts = matches!(one.func, AggFunc::Count | AggFunc::Stat(Stat::RegrCount));
            fields.push(plain_field(call.named, one.output.clone(), !counts));
            aggregates.push(one);
        }
        check_room(&aggregates)?;
        Ok(self.push(Op::Aggregate { input, keys, aggregates }, Arc::new(Schema::new(fields))))
    }

    /// Groups with aggregates of several kinds: one relation for each kind and DISTINCT argument, joined by
    /// group.
    fn push_parts(
        &mut self,
        input: RelId,
        (keys, fields): (&[Scalar], Vec<Field>),
        mut calls: Vec<AggregateCall<'_>>,
    ) -> Result<RelId> {
        // Keys and arguments are computed below all parts, so that a failing row is reported once.
        let rows = self.push_computed(input, (keys, &fields), &mut calls)?;
        let by = all_columns(&Schema::new(fields.clone()));
        let mut groups: Vec<(CallKind, Vec<usize>)> = Vec::new();
        for (at, call) in calls.iter().enumerate() {
            match groups.iter_mut().find(|(_, members)| share_relation(call, &calls[members[0]])) {
                Some((_, members)) => members.push(at),
                None => groups.push((call.kind(), vec![at])),
            }
        }
        let mut parts = Vec::with_capacity(groups.len());
        let mut places = Vec::with_capacity(calls.len());
        for (kind, members) in groups {
            let mut of: Vec<AggregateCall<'_>> = members.iter().map(|at| calls[*at].clone()).collect();
            let input =
                if kind == CallKind::Once { self.push_distinct_arguments(rows, &by, &mut of)? } else { rows };
            let grouping = (by.clone(), fields.clone());
            parts.push(self.push_groups(input, grouping, &of.iter().collect::<Vec<_>>())?);
            places.extend(members);
        }
        self.join_parts(&parts, (&by, &fields), &places)
    }

    /// A projection of the keys and then of the scalars that the calls read; the calls are changed to read
    /// its columns.
    fn push_computed(
        &mut self,
        input: RelId,
        (keys, named): (&[Scalar], &[Field]),
        calls: &mut [AggregateCall<'_>],
    ) -> Result<RelId> {
        let below = self.schema_of(input);
        let mut exprs = keys.to_vec();
        let mut fields = named.to_vec();
        for part in calls.iter_mut().flat_map(AggregateCall::scalars_mut) {
            let known = find_equal(&exprs[keys.len()..], part, &below)?;
            let value = known.unwrap_or(exprs.len() - keys.len());
            let name = format!("value_{value}");
            let column = Scalar::column(&name, keys.len() + value);
            if known.is_none() {
                let target = column_type(&name, &part.data_type(&below)?)?;
                fields.push(Field::new(&name, target.clone(), part.nullable(&below)?));
                exprs.push(cast(part.clone(), &target, &below)?);
            }
            *part = column;
        }
        Ok(self.push(Op::Project { input, exprs }, Arc::new(Schema::new(fields))))
    }

    /// The distinct values of an argument in each group, for calls that share the argument, with a column for each of
    /// their filters: whether any row with the value passes it. The calls are changed to read its columns.
    fn push_distinct_arguments(
        &mut self,
        rows: RelId,
        by: &[Scalar],
        calls: &mut [AggregateCall<'_>],
    ) -> Result<RelId> {
        let below = self.schema_of(rows);
        let mut keys = by.to_vec();
        let Some(first) = calls.first() else { return plan_err!("no aggregate to compute") };
        keys.extend(first.arg.clone());
        let columns = keys.iter().filter_map(Scalar::as_column);
        let mut fields: Vec<_> = columns.map(|column| Arc::clone(&below.fields()[column])).collect();
        let mut filters: Vec<Scalar> = Vec::new();
        for call in calls.iter_mut() {
            call.arg = call.arg.as_ref().map(|_| Scalar::column(fields[by.len()].name(), by.len()));
            let Some(filter) = &mut call.filter else { continue };
            let at = find_equal(&filters, filter, &below)?.unwrap_or(filters.len());
            let passes = Scalar::column(&format!("passes_{at}"), keys.len() + at);
            let filter = std::mem::replace(filter, passes);
            if at == filters.len() {
                filters.push(filter);
            }
        }
        let mut passes = Vec::with_capacity(filters.len());
        for (at, filter) in filters.into_iter().enumerate() {
            let (func, output) = (AggFunc::BoolOr, DataType::Boolean);
            fields.push(Arc::new(Field::new(format!("passes_{at}"), output.clone(), true)));
            // The accumulator counts TRUE as 1.
            let arg = Some(cast(filter, &DataType::Int64, &below)?);
            passes.push(Aggregate { func, arg, other: None, filter: None, output });
        }
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        if passes.is_empty() {
            let input = self.push(Op::Project { input: rows, exprs: keys }, Arc::clone(&schema));
            return Ok(self.push(Op::Distinct { input }, schema));
        }
        check_room(&passes)?;
        Ok(self.push(Op::Aggregate { input: rows, keys, aggregates: passes }, schema))
    }

    /// Joins parts that have the same groups to one row per group; `places` holds each value's position in
    /// the query.
    fn join_parts(
        &mut self,
        parts: &[RelId],
        (by, fields): (&[Scalar], &[Field]),
        places: &[usize],
    ) -> Result<RelId> {
        let [first, rest @ ..] = parts else { return plan_err!("no aggregate to compute") };
        let mut left = *first;
        let width = by.len();
        let mut values: Vec<usize> = (width..self.schema_of(left).fields().len()).collect();
        for right in rest.iter().copied() {
            let (l, r) = (self.schema_of(left), self.schema_of(right));
            let behind = l.fields().len();
            values.extend(behind + width..behind + r.fields().len());
            let schema = Schema::new(l.fields().iter().chain(r.fields()).cloned().collect::<Vec<_>>());
            let op = Op::Join {
                left,
                right,
                kind: JoinKind::Inner,
                left_keys: by.to_vec(),
                right_keys: by.to_vec(),
                residual: None,
                null_equal: true,
            };
            left = self.push(op, Arc::new(schema));
        }
        let below = self.schema_of(left);
        let mut columns: Vec<usize> = (0..width).collect();
        columns.resize(width + places.len(), 0);
        for (value, place) in values.into_iter().zip(places) {
            columns[width + place] = value;
        }
        let exprs = columns.iter().map(|at| column_at(&below, *at)).collect();
        let named = fields.iter().cloned().map(Arc::new);
        let values = columns[width..].iter().map(|c| Arc::clone(&below.fields()[*c]));
        let schema = Arc::new(Schema::new(named.chain(values).collect::<Vec<_>>()));
        Ok(self.push(Op::Project { input: left, exprs }, schema))
    }
}

/// Position of the scalar that equals `part`, over the columns of `below`.
fn find_equal(scalars: &[Scalar], part: &Scalar, below: &Schema) -> Result<Option<usize>> {
    let (text, of) = (part.to_string(), part.data_type(below)?);
    // Scalars that print alike may differ in type: NULL prints the same for every type.
    Ok(scalars.iter().position(|e| e.to_string() == text && matches!(e.data_type(below), Ok(o) if o == of)))
}

/// Checks that a GROUP BY can keep its aggregates.
fn check_room(aggregates: &[Aggregate]) -> Result<()> {
    let accumulators: usize = aggregates.iter().map(|one| one.func.accumulator_count()).sum();
    if aggregates.len() > MAX_AGGREGATES || accumulators > MAX_ACCUMULATORS {
        return plan_err!("one GROUP BY keeps at most {MAX_AGGREGATES} sums: write two views and join them");
    }
    Ok(())
}

/// Tells whether two aggregates are of one kind and, over DISTINCT values, of one argument.
fn share_relation(a: &AggregateCall<'_>, b: &AggregateCall<'_>) -> bool {
    a.kind() == b.kind() && (a.kind() != CallKind::Once || scalar_text(&a.arg) == scalar_text(&b.arg))
}

/// Text of a scalar by which equal ones are recognised; empty for None.
fn scalar_text(scalar: &Option<Scalar>) -> String {
    scalar.as_ref().map(ToString::to_string).unwrap_or_default()
}
