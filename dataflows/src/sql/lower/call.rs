//! Lowering of one aggregate call.
//!
//! A call is kept in accumulators if sums or an ordered index give its result, over deduplicated rows if it
//! is DISTINCT; otherwise it is folded over the rows of its group. Arguments that a function would refuse at
//! run time (a percentile above 1) are refused here.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion_common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion_expr::expr::{AggregateFunction, NullTreatment};
use datafusion_expr::{AggregateUDF, Expr, ExprSchemable, Operator};
use datafusion_functions_aggregate::first_last::first_value_udaf;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{BinaryExpr, IsNotNullExpr};

use super::{cast, column_type, lower_condition, lower_scalar};
use crate::functions::aggregates::interval_sum::is_interval;
use crate::functions::aggregates::picks::{ARG_MAX, ARG_MIN};
use crate::functions::aggregates::{ANY_VALUE, APPROX_DISTINCT, is_folded, is_within_group};
use crate::plan::{AggFunc, Aggregate, Fold, Scalar, SortKey};

/// Way in which a call is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallKind {
    /// Accumulators over all rows.
    Sums,
    /// Accumulators over each distinct value once.
    Once,
    /// A fold over the rows of the group.
    Rows,
}

/// One aggregate call of a query, over the columns of a relation.
#[derive(Clone)]
pub(super) struct AggregateCall<'a> {
    f: &'a AggregateFunction,
    /// Accumulator function; None for a fold.
    func: Option<AggFunc>,
    /// First argument; None for count(*).
    pub arg: Option<Scalar>,
    /// Second argument of statistics over pairs.
    other: Option<Scalar>,
    /// Function of the fold.
    folds: Arc<AggregateUDF>,
    /// Second argument of a fold.
    constant: Option<ScalarValue>,
    ignore_nulls: bool,
    order: Vec<SortKey>,
    pub filter: Option<Scalar>,
    distinct: bool,
    /// Name and type of the result.
    pub named: &'a Field,
}

impl<'a> AggregateCall<'a> {
    /// Call of the aggregate `expr` over the columns of `schema`.
    pub fn of(expr: &'a Expr, schema: &DFSchema, named: &'a Field) -> Result<AggregateCall<'a>> {
        let Expr::AggregateFunction(f) = strip_alias(expr) else {
            return plan_err!("{expr} is not an aggregate");
        };
        let name = f.func.name();
        let counts_each = name == APPROX_DISTINCT;
        // Accumulators hold no intervals: their sums are folds, which add the parts row by row.
        let folded = match f.params.args.first() {
            Some(first) => is_interval(&first.get_type(schema)?) && matches!(name, "sum" | "avg"),
            None => false,
        };
        let func = if folded {
            None
        } else if counts_each {
            Some(AggFunc::Count)
        } else {
            AggFunc::from_name(name)
        };
        if func.is_none() && !folded && !is_folded(name) {
            return plan_err!("the aggregate {name} is not supported");
        }
        let filter = match &f.params.filter {
            Some(filter) => Some(lower_condition(filter, schema)?),
            None => None,
        };
        let call = AggregateCall {
            f,
            func,
            arg: None,
            other: None,
            folds: Arc::clone(&f.func),
            constant: None,
            ignore_nulls: f.params.null_treatment == Some(NullTreatment::IgnoreNulls),
            order: vec![],
            filter,
            distinct: f.params.distinct || counts_each,
            named,
        };
        if func.is_some() { call.with_sum_arguments(schema) } else { call.with_fold_arguments(schema) }
    }

    /// Adds the arguments of an accumulator function.
    fn with_sum_arguments(mut self, schema: &DFSchema) -> Result<AggregateCall<'a>> {
        let (f, name) = (self.f, self.f.func.name());
        if !f.params.order_by.is_empty() {
            return plan_err!("ORDER BY in {name} is not supported");
        }
        let (arg, other) = match (f.params.args.as_slice(), self.func) {
            ([y, x], Some(AggFunc::Stat(stat))) if stat.is_over_pairs() => (y, Some(x)),
            ([arg], _) => (arg, None),
            _ => return plan_err!("{name} takes one argument"),
        };
        if other.is_some() && self.distinct {
            return plan_err!("{name}(DISTINCT ...) over more than one value is not supported");
        }
        self.distinct &= !self.func.is_some_and(AggFunc::ignores_duplicates);
        let every_row = self.func == Some(AggFunc::Count)
            && !self.distinct
            && matches!(arg, Expr::Literal(v, _) if !ScalarValue::is_null(v));
        self.arg = if every_row { None } else { Some(lower_scalar(arg, schema)?) };
        if let Some(other) = other {
            self.other = Some(lower_scalar(other, schema)?);
        }
        Ok(self)
    }

    /// Adds the arguments and the order of a fold.
    fn with_fold_arguments(mut self, schema: &DFSchema) -> Result<AggregateCall<'a>> {
        let (f, name) = (self.f, self.f.func.name());
        let arg = match f.params.args.as_slice() {
            [arg, by] if matches!(name, ARG_MIN | ARG_MAX) => return self.pick_first(arg, by, schema),
            [arg] => arg,
            [arg, Expr::Literal(constant, _)] => {
                self.constant = Some(constant.clone());
                arg
            }
            [_, _] => return plan_err!("the second argument of '{name}' must be a constant"),
            _ => return plan_err!("{name} takes one argument"),
        };
        self.arg = Some(lower_scalar(arg, schema)?);
        if name == ANY_VALUE {
            (self.folds, self.ignore_nulls) = (first_value_udaf(), true);
        }
        if is_within_group(name) {
            // WITHIN GROUP orders by the argument itself, ascending by default; NULLs are left out.
            if f.params.order_by.first().is_some_and(|sort| !sort.asc) {
                let expr = lower_scalar(arg, schema)?;
                self.order.push(SortKey { expr, descending: true, nulls_first: false });
            }
            return Ok(self);
        }
        if self.distinct && f.params.order_by.iter().any(|sort| sort.expr != *arg) {
            return plan_err!("ORDER BY in '{name}'(DISTINCT ...) must be by its argument");
        }
        for sort in &f.params.order_by {
            self.order.push(SortKey {
                expr: lower_scalar(&sort.expr, schema)?,
                descending: !sort.asc,
                nulls_first: sort.nulls_first,
            });
        }
        Ok(self)
    }

    /// Adds the arguments of `arg_min` and `arg_max`: the argument of the row with the least or greatest
    /// `by`, as the first value in that order. Rows whose `by` is NULL are filtered out.
    fn pick_first(mut self, arg: &Expr, by: &Expr, schema: &DFSchema) -> Result<AggregateCall<'a>> {
        let by = lower_scalar(by, schema)?;
        let known: Arc<dyn PhysicalExpr> = Arc::new(IsNotNullExpr::new(Arc::clone(by.expr())));
        self.filter = Some(match self.filter.take() {
            Some(filter) => {
                Scalar::new(Arc::new(BinaryExpr::new(Arc::clone(filter.expr()), Operator::And, known)))
            }
            None => Scalar::new(known),
        });
        self.folds = first_value_udaf();
        self.arg = Some(lower_scalar(arg, schema)?);
        let descending = self.f.func.name() == ARG_MAX;
        self.order.push(SortKey { expr: by, descending, nulls_first: false });
        Ok(self)
    }

    /// Way in which the call is computed.
    pub fn kind(&self) -> CallKind {
        match (self.func, self.distinct) {
            (None, _) => CallKind::Rows,
            (Some(_), true) => CallKind::Once,
            (Some(_), false) => CallKind::Sums,
        }
    }

    /// Every scalar that the call reads.
    pub fn scalars_mut(&mut self) -> impl Iterator<Item = &mut Scalar> {
        let order = self.order.iter_mut().map(|key| &mut key.expr);
        [&mut self.arg, &mut self.other, &mut self.filter].into_iter().flatten().chain(order)
    }

    /// The aggregate over rows of `below`, with its argument cast to the type that the accumulator sums in.
    pub fn to_aggregate(&self, below: &Schema) -> Result<Aggregate> {
        let name = self.f.func.name();
        let Some(func) = self.func else { return plan_err!("{name} is not kept in sums") };
        let mut output = self.named.data_type().clone();
        let filter = self.filter.clone();
        let Some(arg) = self.arg.clone() else {
            return Ok(Aggregate { func, arg: None, other: None, filter, output });
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
                    "{name} over {} is not supported",
                    schemas::sql_type(&Field::new("", other.clone(), true))
                );
            }
            (AggFunc::Min | AggFunc::Max, _) => {
                output = column_type(self.named.name(), &of)?;
                output.clone()
            }
            // The accumulator counts TRUE as 1.
            (AggFunc::BoolAnd | AggFunc::BoolOr, _) => DataType::Int64,
            (AggFunc::Stat(_), _) => DataType::Float64,
            (AggFunc::Count, _) => of.clone(),
        };
        let arg = Some(cast(arg, &sums_in, below)?);
        let other = match self.other.clone() {
            Some(other) => Some(cast(other, &sums_in, below)?),
            None => None,
        };
        Ok(Aggregate { func, arg, other, filter, output })
    }

    /// The fold over rows of `below`.
    pub fn to_fold(&self, below: &Schema) -> Result<Fold> {
        let Some(arg) = self.arg.clone() else {
            return plan_err!("{} needs an argument", self.f.func.name());
        };
        let takes = column_type(self.named.name(), &arg.data_type(below)?)?;
        let fold = Fold {
            func: Arc::clone(&self.folds),
            arg: cast(arg, &takes, below)?,
            constant: self.constant.clone(),
            filter: self.filter.clone(),
            order: self.order.clone(),
            distinct: self.distinct,
            ignore_nulls: self.ignore_nulls,
            output: column_type(self.named.name(), self.named.data_type())?,
        };
        // Making an accumulator validates the arguments, so that the query is refused and not its rows.
        fold.new_accumulator(&takes)?;
        Ok(fold)
    }
}

fn strip_alias(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => strip_alias(&alias.expr),
        other => other,
    }
}
