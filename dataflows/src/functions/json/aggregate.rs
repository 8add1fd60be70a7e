//! `jsonb_agg` and `jsonb_object_agg`: a group's values as one array or object.
//!
//! The planner has converted their arguments to JSONB: the value itself, or an array of a name and a value.
//! They are folded over the rows of their group as `array_agg` is: in the order of ORDER BY, then of the text
//! of the value. NULL becomes the element null; the result for no rows is NULL.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{Result, ScalarValue, exec_err, plan_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::planner::RawAggregateExpr;
use datafusion_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use schemas::types::jsonb::{self, Json};

use super::build::PAIR;
use super::{call, execution_error};

/// Name of the aggregate that gives an array.
pub(crate) const ARRAY: &str = "jsonb_agg";
/// Name of the aggregate that gives an object.
pub(crate) const OBJECT: &str = "jsonb_object_agg";

/// Returns both aggregates.
pub(crate) fn aggregates() -> Vec<Arc<AggregateUDF>> {
    vec![gather_values(false), gather_values(true)]
}

fn gather_values(object: bool) -> Arc<AggregateUDF> {
    let signature = Signature::variadic_any(Volatility::Immutable);
    Arc::new(AggregateUDF::from(Gather { object, signature }))
}

/// Converts the arguments of a call of these aggregates to one JSONB value; leaves any other call unchanged.
///
/// # Errors
/// When the number of arguments is wrong.
pub(crate) fn plan_aggregate(mut call_of: RawAggregateExpr) -> Result<RawAggregateExpr> {
    let args = std::mem::take(&mut call_of.args);
    call_of.args = match (call_of.func.name(), args.len()) {
        (ARRAY, 1) => vec![call("to_jsonb", args)?],
        (OBJECT, 2) => vec![call(PAIR, args)?],
        (ARRAY, _) => return plan_err!("{ARRAY} takes one argument"),
        (OBJECT, _) => return plan_err!("{OBJECT} takes a name and a value"),
        _ => args,
    };
    Ok(call_of)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Gather {
    object: bool,
    signature: Signature,
}

impl AggregateUDFImpl for Gather {
    fn name(&self) -> &str {
        if self.object { OBJECT } else { ARRAY }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field(&self, _: &[FieldRef]) -> Result<FieldRef> {
        Ok(Arc::new(schemas::jsonb_field(self.name(), true)))
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Gathered { object: self.object, items: None, bytes: 0 }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(args.name, DataType::Utf8, true))])
    }
}

/// The texts of a group's values so far; None before the first.
#[derive(Debug)]
struct Gathered {
    object: bool,
    items: Option<Vec<String>>,
    bytes: usize,
}

impl Gathered {
    fn text(&self) -> Result<Option<String>> {
        let Some(items) = &self.items else { return Ok(None) };
        if !self.object {
            return Ok(Some(format!("[{}]", items.join(", "))));
        }
        let mut members = Vec::with_capacity(items.len());
        for item in items {
            if let Json::Array(pair) = jsonb::parse(item).map_err(execution_error)?
                && let Ok([Json::String(name), value]) = <[Json<'_>; 2]>::try_from(pair)
            {
                members.push((name, value));
            }
        }
        Json::object(members).text().map(Some).map_err(execution_error)
    }
}

impl Accumulator for Gathered {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let Some(texts) = values.first().and_then(|array| array.as_string_opt::<i32>()) else {
            return exec_err!("JSONB values are needed");
        };
        let items = self.items.get_or_insert_with(Vec::new);
        for text in texts {
            let text = text.unwrap_or("null");
            self.bytes += text.len() + 2;
            if self.bytes > jsonb::LENGTH_MAX {
                return exec_err!("a JSONB value is too large");
            }
            items.push(text.to_owned());
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Utf8(self.text()?))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.bytes
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        exec_err!("the values of a group are gathered in one place")
    }
}
