//! Aggregates that need the rows of their group: `array_agg`, `string_agg`, `median` and the like.
//!
//! A [`Fold`] wraps DataFusion's aggregate function, which computes the result over the group's
//! values whenever the group changes, so that it equals the batch engine's by construction. The values
//! come in the order of ORDER BY, then of the packed argument (NULL lowest), each with its number of
//! copies or, under DISTINCT, once: the result depends on the rows alone. The text is canonical, as a
//! [`Scalar`]'s is.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion_common::{DataFusionError, ScalarValue};
use datafusion_expr::function::AccumulatorArgs;
use datafusion_expr::{Accumulator, AggregateUDF};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{Column, Literal};

use super::Scalar;

/// An aggregate over the rows of a group.
#[derive(Clone)]
pub struct Fold {
    /// The function.
    pub func: Arc<AggregateUDF>,
    /// Argument over the input's columns, in the type the function takes.
    pub arg: Scalar,
    /// The second argument: a delimiter or a percentile.
    pub constant: Option<ScalarValue>,
    /// FILTER (WHERE ...), over the input's columns.
    pub filter: Option<Scalar>,
    /// The order of the values; equal ones are taken in the order of the packed argument.
    pub order: Vec<SortKey>,
    /// True when equal values are taken once, in the place of the first of them.
    pub distinct: bool,
    /// True when NULLs are left out where the function would take them.
    pub ignore_nulls: bool,
    /// Output type.
    pub output: DataType,
}

/// One expression of an ORDER BY.
#[derive(Clone, Debug)]
pub struct SortKey {
    /// Over the input's columns.
    pub expr: Scalar,
    /// Greatest first.
    pub descending: bool,
    /// NULL before all other values, otherwise after.
    pub nulls_first: bool,
}

impl Fold {
    /// Makes an accumulator for arguments of type `of`.
    ///
    /// # Errors
    /// When the function does not take such arguments.
    pub fn new_accumulator(&self, of: &DataType) -> Result<Box<dyn Accumulator>, DataFusionError> {
        let mut fields: Vec<FieldRef> = vec![Arc::new(Field::new("value", of.clone(), true))];
        let mut exprs: Vec<Arc<dyn PhysicalExpr>> = vec![Arc::new(Column::new("value", 0))];
        let schema = Schema::new(fields.clone());
        if let Some(constant) = &self.constant {
            fields.push(Arc::new(Field::new("constant", constant.data_type(), true)));
            exprs.push(Arc::new(Literal::new(constant.clone())));
        }
        // The operator orders and deduplicates the values before the accumulator gets them.
        self.func.accumulator(AccumulatorArgs {
            return_field: self.func.return_field(&fields)?,
            schema: &schema,
            ignore_nulls: self.ignore_nulls,
            order_bys: &[],
            is_reversed: false,
            name: self.func.name(),
            is_distinct: false,
            exprs: &exprs,
            expr_fields: &fields,
        })
    }

    /// Number of copies of a value that has the effect of `count` copies; `count` is at least one.
    pub fn effective_copies(&self, count: i64) -> i64 {
        match self.func.name() {
            _ if self.distinct => 1,
            "first_value" | "last_value" | "bit_and" | "bit_or" => 1,
            "bit_xor" => 2 - count % 2,
            _ => count,
        }
    }

    /// The expressions it reads: the argument, the filter, the order.
    pub fn scalars(&self) -> impl Iterator<Item = &Scalar> {
        [&self.arg].into_iter().chain(&self.filter).chain(self.order.iter().map(|key| &key.expr))
    }

    /// The same with every expression replaced.
    pub fn map(&self, by: impl Fn(&Scalar) -> Scalar) -> Fold {
        Fold {
            arg: by(&self.arg),
            filter: self.filter.as_ref().map(&by),
            order: self.order.iter().map(|key| SortKey { expr: by(&key.expr), ..key.clone() }).collect(),
            ..self.clone()
        }
    }
}

impl fmt::Display for SortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = if self.descending { " desc" } else { "" };
        let nulls = if self.nulls_first { " nulls first" } else { "" };
        write!(f, "{}{way}{nulls}", self.expr)
    }
}

impl fmt::Display for Fold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let distinct = if self.distinct { "distinct " } else { "" };
        write!(f, "{}({distinct}{}", self.func.name(), self.arg)?;
        match self.constant.as_ref().map(|c| (c, c.try_as_str().flatten())) {
            Some((_, Some(text))) => write!(f, ", {text:?}")?,
            Some((constant, None)) => write!(f, ", {constant}")?,
            None => {}
        }
        for (at, key) in self.order.iter().enumerate() {
            write!(f, "{}{key}", if at == 0 { " order by " } else { ", " })?;
        }
        if self.ignore_nulls {
            f.write_str(" ignoring nulls")?;
        }
        if let Some(filter) = &self.filter {
            write!(f, " where {filter}")?;
        }
        f.write_str(")")
    }
}

impl fmt::Debug for Fold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
