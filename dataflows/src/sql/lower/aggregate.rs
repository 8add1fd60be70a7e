//! GROUP BY, from DataFusion's to ours.
//!
//! An aggregate over DISTINCT values is an ordinary one over rows that stand there once: by group, argument
//! and whether FILTER lets it pass. Each argument (with its filter) gets such rows of its own; the results
//! are joined by group. Every part has every group, so no part of a joined row is ever missing.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion_expr::Expr;
use datafusion_expr::expr::AggregateFunction;
use datafusion_expr::logical_plan as logical;

use super::{Lower, cast, field, not_a_column, plain_field, scalar};
use crate::plan::{AggFunc, Aggregate, JoinKind, Op, RelId, Scalar};
use crate::sql::query::herald_type;

/// One aggregate of a query, over the columns of some relation.
struct Call<'a> {
    f: &'a AggregateFunction,
    func: AggFunc,
    /// None for count(*).
    arg: Option<Scalar>,
    filter: Option<Scalar>,
    distinct: bool,
    named: &'a Field,
}

impl Lower<'_> {
    /// One relation; several joined by group where values are DISTINCT.
    pub(super) fn aggregate(&mut self, aggregate: &logical::Aggregate) -> Result<RelId> {
        if let [Expr::GroupingSet(set)] = aggregate.group_expr.as_slice() {
            return self.grouping_sets(aggregate, set);
        }
        let input = self.node(&aggregate.input)?;
        let below = self.schema(input);
        let schema = aggregate.input.schema();
        let keys = aggregate.group_expr.iter().map(|e| scalar(e, schema)).collect::<Result<Vec<_>>>()?;
        let named = aggregate.schema.fields();
        let fields = keys.iter().zip(named).map(|(k, f)| field(f, k, &below)).collect::<Result<Vec<_>>>()?;
        let calls = aggregate
            .aggr_expr
            .iter()
            .zip(named.iter().skip(keys.len()))
            .map(|(expr, named)| Call::of(expr, schema, named))
            .collect::<Result<Vec<_>>>()?;
        if calls.iter().any(|call| call.distinct) {
            return self.distinct_values(input, (&keys, fields), calls);
        }
        self.grouped(input, (keys, fields), &calls.iter().collect::<Vec<_>>())
    }

    fn grouped(
        &mut self,
        input: RelId,
        (keys, mut fields): (Vec<Scalar>, Vec<Field>),
        calls: &[&Call<'_>],
    ) -> Result<RelId> {
        let below = self.schema(input);
        let mut aggregates = Vec::with_capacity(calls.len());
        for call in calls {
            let one = call.aggregate(&below)?;
            fields.push(plain_field(call.named, one.output.clone(), one.func != AggFunc::Count));
            aggregates.push(one);
        }
        Ok(self.push(Op::Aggregate { input, keys, aggregates }, Arc::new(Schema::new(fields))))
    }

    fn distinct_values(
        &mut self,
        input: RelId,
        (keys, fields): (&[Scalar], Vec<Field>),
        mut calls: Vec<Call<'_>>,
    ) -> Result<RelId> {
        // Keys and arguments are computed once: a row on which one fails, fails once.
        let rows = self.computed(input, (keys, &fields), &mut calls)?;
        let by: Vec<Scalar> = fields.iter().enumerate().map(|(at, f)| Scalar::column(f.name(), at)).collect();
        let mut groups: Vec<(bool, Vec<usize>)> = Vec::new();
        for (at, call) in calls.iter().enumerate() {
            let same = |other: &Call<'_>| {
                !call.distinct
                    || text(&call.arg) == text(&other.arg) && text(&call.filter) == text(&other.filter)
            };
            match groups.iter_mut().find(|g| g.0 == call.distinct && same(&calls[g.1[0]])) {
                Some(group) => group.1.push(at),
                None => groups.push((call.distinct, vec![at])),
            }
        }
        let mut parts = Vec::with_capacity(groups.len());
        for (distinct, members) in &groups {
            let mut of: Vec<Call<'_>> = members.iter().map(|at| calls[*at].again()).collect();
            let input = if *distinct { self.once(rows, &by, &mut of)? } else { rows };
            let grouping = (by.clone(), fields.clone());
            parts.push(self.grouped(input, grouping, &of.iter().collect::<Vec<_>>())?);
        }
        let places: Vec<usize> = groups.into_iter().flat_map(|g| g.1).collect();
        self.side_by_side(&parts, (&by, &fields), &places)
    }

    /// Keys, then what the calls read, which become columns.
    fn computed(
        &mut self,
        input: RelId,
        (keys, named): (&[Scalar], &[Field]),
        calls: &mut [Call<'_>],
    ) -> Result<RelId> {
        let below = self.schema(input);
        let mut exprs = keys.to_vec();
        let mut fields = named.to_vec();
        for part in calls.iter_mut().flat_map(|call| [&mut call.arg, &mut call.filter]).flatten() {
            let of = part.data_type(&below)?;
            let known = exprs.iter().skip(keys.len()).position(|e| e.to_string() == part.to_string());
            let at = known.map_or(exprs.len(), |at| at + keys.len());
            let name = format!("value_{}", at - keys.len());
            let column = Scalar::column(&name, at);
            if known.is_none() {
                let target = herald_type(&of).ok_or_else(|| not_a_column(&name, &of))?;
                fields.push(Field::new(&name, target.clone(), part.nullable(&below)?));
                exprs.push(cast(part.clone(), &target, &below)?);
            }
            *part = column;
        }
        Ok(self.push(Op::Project { input, exprs }, Arc::new(Schema::new(fields))))
    }

    /// Group, argument and filter of distinct calls that share them, each once.
    fn once(&mut self, rows: RelId, by: &[Scalar], calls: &mut [Call<'_>]) -> Result<RelId> {
        let below = self.schema(rows);
        let mut exprs = by.to_vec();
        let Some(first) = calls.first() else { return plan_err!("no aggregate to compute") };
        exprs.extend(first.arg.iter().chain(&first.filter).cloned());
        let columns = exprs.iter().filter_map(Scalar::as_column);
        let fields: Vec<_> = columns.map(|c| Arc::clone(&below.fields()[c])).collect();
        let column = |at: usize| Scalar::column(fields[at].name(), at);
        for call in calls {
            let filter_at = by.len() + usize::from(call.arg.is_some());
            call.arg = call.arg.is_some().then(|| column(by.len()));
            call.filter = call.filter.is_some().then(|| column(filter_at));
        }
        let schema: SchemaRef = Arc::new(Schema::new(fields.clone()));
        let input = self.push(Op::Project { input: rows, exprs }, Arc::clone(&schema));
        Ok(self.push(Op::Distinct { input }, schema))
    }

    /// Parts that have the same groups, as one row a group; `places` gives the written order.
    fn side_by_side(
        &mut self,
        parts: &[RelId],
        (by, fields): (&[Scalar], &[Field]),
        places: &[usize],
    ) -> Result<RelId> {
        let [first, rest @ ..] = parts else { return plan_err!("no aggregate to compute") };
        let mut left = *first;
        let width = by.len();
        let mut values: Vec<usize> = (width..self.schema(left).fields().len()).collect();
        for right in rest.iter().copied() {
            let (l, r) = (self.schema(left), self.schema(right));
            values.extend((width..r.fields().len()).map(|c| c + l.fields().len()));
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
        let below = self.schema(left);
        let mut columns: Vec<usize> = (0..width).collect();
        columns.resize(width + places.len(), 0);
        for (value, place) in values.into_iter().zip(places) {
            columns[width + place] = value;
        }
        let exprs = columns.iter().map(|c| Scalar::column(below.field(*c).name(), *c)).collect();
        let named = fields.iter().cloned().map(Arc::new);
        let values = columns[width..].iter().map(|c| Arc::clone(&below.fields()[*c]));
        let schema = Arc::new(Schema::new(named.chain(values).collect::<Vec<_>>()));
        Ok(self.push(Op::Project { input: left, exprs }, schema))
    }
}

impl<'a> Call<'a> {
    fn of(expr: &'a Expr, schema: &DFSchema, named: &'a Field) -> Result<Call<'a>> {
        let Expr::AggregateFunction(f) = unaliased(expr) else {
            return plan_err!("{expr} is not an aggregate");
        };
        let func = match f.func.name() {
            "count" => AggFunc::Count,
            "sum" => AggFunc::Sum,
            "avg" => AggFunc::Avg,
            "min" => AggFunc::Min,
            "max" => AggFunc::Max,
            other => return plan_err!("the aggregate {other} is not supported"),
        };
        if !f.params.order_by.is_empty() {
            return plan_err!("ORDER BY in {} is not supported", f.func.name());
        }
        let [arg] = f.params.args.as_slice() else {
            return plan_err!("{} takes one argument", f.func.name());
        };
        // The least and the greatest of values are those of the values that differ.
        let distinct = f.params.distinct && !matches!(func, AggFunc::Min | AggFunc::Max);
        let every_row = func == AggFunc::Count
            && !distinct
            && matches!(arg, Expr::Literal(v, _) if !ScalarValue::is_null(v));
        let arg = if every_row { None } else { Some(scalar(arg, schema)?) };
        let filter = f.params.filter.as_ref().map(|e| scalar(e, schema)).transpose()?;
        Ok(Call { f, func, arg, filter, distinct, named })
    }

    fn again(&self) -> Call<'a> {
        Call { arg: self.arg.clone(), filter: self.filter.clone(), ..*self }
    }

    /// The aggregate over rows of `below`, its argument in the type the function sums in.
    fn aggregate(&self, below: &Schema) -> Result<Aggregate> {
        let mut output = self.named.data_type().clone();
        let (func, filter) = (self.func, self.filter.clone());
        let Some(arg) = self.arg.clone() else {
            return Ok(Aggregate { func, arg: None, filter, output });
        };
        let of = arg.data_type(below)?;
        let sums_in = match (func, &output) {
            (AggFunc::Sum | AggFunc::Avg, DataType::Decimal128(..)) => of.clone(),
            (AggFunc::Sum, DataType::Int64 | DataType::UInt64) => {
                output = DataType::Int64;
                DataType::Int64
            }
            (AggFunc::Sum | AggFunc::Avg, DataType::Float64) => DataType::Float64,
            (AggFunc::Sum | AggFunc::Avg, other) => {
                return plan_err!(
                    "{} over {} is not supported",
                    self.f.func.name(),
                    schemas::sql_type(&Field::new("", other.clone(), true))
                );
            }
            (AggFunc::Min | AggFunc::Max, _) => {
                output = herald_type(&of).ok_or_else(|| not_a_column(self.named.name(), &of))?;
                output.clone()
            }
            (AggFunc::Count, _) => of.clone(),
        };
        let arg = Some(cast(arg, &sums_in, below)?);
        Ok(Aggregate { func, arg, filter, output })
    }
}

fn text(scalar: &Option<Scalar>) -> String {
    scalar.as_ref().map(ToString::to_string).unwrap_or_default()
}

fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}
