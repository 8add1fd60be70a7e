//! Aggregates over frames that DataFusion cannot slide: `array_agg`, `median`, `bit_and`, DISTINCT and the
//! like.
//!
//! The rows of the frame are kept, and the function is computed over all of them again whenever they changed,
//! so that its value depends on the frame's rows alone. Each row then costs time proportional to the length
//! of its frame. Under DISTINCT equal values are taken once, at the place of the first.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion_common::{Result, ScalarValue, internal_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature};
use datafusion_physical_expr::PhysicalExpr;

use crate::functions::aggregates::forward_to;
use crate::plan::AggFunc;

/// Aggregates that are allowed with OVER although they are not maintained as sums.
pub const SLIDES: [&str; 6] = ["array_agg", "string_agg", "median", "bit_and", "bit_or", "bit_xor"];

/// Returns the form of an aggregate that keeps its frame; None where DataFusion's form is correct.
pub fn slide(function: &Arc<AggregateUDF>, distinct: bool) -> Option<Arc<AggregateUDF>> {
    // MIN and MAX do not depend on duplicates, and DataFusion slides them correctly.
    let once = distinct && !AggFunc::from_name(function.name()).is_some_and(AggFunc::ignores_duplicates);
    let kept = SLIDES.contains(&function.name()) || once;
    kept.then(|| Arc::new(AggregateUDF::new_from_impl(Slide { like: Arc::clone(function), distinct: once })))
}

/// A function that is computed over each frame.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Slide {
    like: Arc<AggregateUDF>,
    distinct: bool,
}

impl AggregateUDFImpl for Slide {
    forward_to! {
        like: name() -> &str;
        signature() -> &Signature;
        return_type(args: &[DataType]) -> Result<DataType>;
        return_field(args: &[FieldRef]) -> Result<FieldRef>;
        default_value(of: &DataType) -> Result<ScalarValue>;
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let frame = Frame {
            like: Arc::clone(&self.like),
            distinct: self.distinct,
            gives: args.return_field,
            schema: args.schema.clone(),
            exprs: args.exprs.to_vec(),
            fields: args.expr_fields.to_vec(),
            ignore_nulls: args.ignore_nulls,
            rows: VecDeque::new(),
            known: None,
        };
        // Computed once over no rows, so that the function reports unsupported arguments while planning.
        frame.compute_over(&[])?;
        Ok(Box::new(frame))
    }

    fn state_fields(&self, _: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new("none", DataType::Float64, true))])
    }
}

/// The rows of a frame.
#[derive(Debug)]
struct Frame {
    like: Arc<AggregateUDF>,
    distinct: bool,
    gives: FieldRef,
    schema: Schema,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    fields: Vec<FieldRef>,
    ignore_nulls: bool,
    /// The arguments of each row, in order.
    rows: VecDeque<Vec<ScalarValue>>,
    /// The value over the current rows; None after a change.
    known: Option<ScalarValue>,
}

impl Frame {
    /// Computes the function's value over rows.
    fn compute_over(&self, rows: &[&Vec<ScalarValue>]) -> Result<ScalarValue> {
        let mut accumulator = self.like.accumulator(AccumulatorArgs {
            return_field: Arc::clone(&self.gives),
            schema: &self.schema,
            ignore_nulls: self.ignore_nulls,
            order_bys: &[],
            is_reversed: false,
            name: self.like.name(),
            is_distinct: false,
            exprs: &self.exprs,
            expr_fields: &self.fields,
        })?;
        if !rows.is_empty() {
            let columns = (0..self.exprs.len()).map(|at| column_at(rows, at)).collect::<Result<Vec<_>>>()?;
            accumulator.update_batch(&columns)?;
        }
        let value = accumulator.evaluate()?;
        // Some functions give text of 64-bit length, which no column can have.
        let gives = self.gives.data_type();
        if value.data_type() == *gives { Ok(value) } else { value.cast_to(gives) }
    }
}

/// Returns a column of an argument of each row.
fn column_at(rows: &[&Vec<ScalarValue>], at: usize) -> Result<ArrayRef> {
    ScalarValue::iter_to_array(rows.iter().map(|row| row[at].clone()))
}

impl Accumulator for Frame {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = values.first().map_or(0, Array::len);
        for row in 0..rows {
            let of = |column: &ArrayRef| ScalarValue::try_from_array(column, row);
            self.rows.push_back(values.iter().map(of).collect::<Result<Vec<_>>>()?);
        }
        if rows > 0 {
            self.known = None;
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        // Rows leave a frame in the order they entered.
        let rows = values.first().map_or(0, Array::len).min(self.rows.len());
        self.rows.drain(..rows);
        if rows > 0 {
            self.known = None;
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if let Some(known) = &self.known {
            return Ok(known.clone());
        }
        let mut seen = HashSet::new();
        let rows: Vec<&Vec<ScalarValue>> =
            self.rows.iter().filter(|row| !self.distinct || seen.insert(*row)).collect();
        let value = self.compute_over(&rows)?;
        self.known = Some(value.clone());
        Ok(value)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.rows.len() * self.exprs.len() * size_of::<ScalarValue>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        internal_err!("a frame is not made of parts")
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        internal_err!("a frame is not made of parts")
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use datafusion_functions_aggregate::{count, median};
    use datafusion_physical_expr::expressions::Column;

    use super::*;

    fn over(function: Arc<AggregateUDF>, distinct: bool) -> Box<dyn Accumulator> {
        let fields: Vec<FieldRef> = vec![Arc::new(Field::new("x", DataType::Int64, true))];
        let exprs: Vec<Arc<dyn PhysicalExpr>> = vec![Arc::new(Column::new("x", 0))];
        let slide = slide(&function, distinct).unwrap();
        slide
            .accumulator(AccumulatorArgs {
                return_field: slide.return_field(&fields).unwrap(),
                schema: &Schema::new(fields.clone()),
                ignore_nulls: false,
                order_bys: &[],
                is_reversed: false,
                name: "x",
                is_distinct: false,
                exprs: &exprs,
                expr_fields: &fields,
            })
            .unwrap()
    }

    fn numbers(values: &[i64]) -> [ArrayRef; 1] {
        [Arc::new(Int64Array::from(values.to_vec()))]
    }

    #[test]
    fn a_frame_is_what_stands_in_it() {
        let mut middle = over(median::median_udaf(), false);
        middle.update_batch(&numbers(&[9, 1, 5])).unwrap();
        assert_eq!(middle.evaluate().unwrap(), ScalarValue::Int64(Some(5)));
        assert_eq!(middle.evaluate().unwrap(), ScalarValue::Int64(Some(5)));
        middle.retract_batch(&numbers(&[9, 1])).unwrap();
        middle.update_batch(&numbers(&[7, 8])).unwrap();
        assert_eq!(middle.evaluate().unwrap(), ScalarValue::Int64(Some(7)));
        middle.retract_batch(&numbers(&[5, 7, 8])).unwrap();
        assert_eq!(middle.evaluate().unwrap(), ScalarValue::Int64(None));
    }

    #[test]
    fn distinct_values_count_once_for_as_long_as_one_is_there() {
        let mut different = over(count::count_udaf(), true);
        different.update_batch(&numbers(&[3, 3, 4])).unwrap();
        assert_eq!(different.evaluate().unwrap(), ScalarValue::Int64(Some(2)));
        different.retract_batch(&numbers(&[3])).unwrap();
        assert_eq!(different.evaluate().unwrap(), ScalarValue::Int64(Some(2)));
        different.retract_batch(&numbers(&[3])).unwrap();
        assert_eq!(different.evaluate().unwrap(), ScalarValue::Int64(Some(1)));
    }
}
