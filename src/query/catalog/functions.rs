//! Scalar functions of PostgreSQL that tools call, as functions of the query engine.
//!
//! Each is an [`Entry`] of one of the modules that have them. They are called row by row, on the few rows of
//! the catalogue, so that they need no code for whole columns.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, ListArray, StructArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};
use datafusion::scalar::ScalarValue;

use super::call::{ANY, Call, EXPAND, Entry, ONLY_ROW, failed, int_of, items_of};
use super::facts::Facts;
use super::relations::{Value, array_of};
use super::types::label_field;
use super::{lookups, session, values};

/// All functions of the catalogue, over the facts of a session.
pub(super) fn all(facts: &Arc<Facts>) -> Vec<ScalarUDF> {
    let mut found: Vec<ScalarUDF> =
        entries().map(|entry| ScalarUDF::from(CatalogFunction::new(entry, Arc::clone(facts)))).collect();
    found.push(ScalarUDF::from(ExpandArray::new()));
    found.push(ScalarUDF::from(OnlyRow::new()));
    found
}

/// The list of functions.
fn entries() -> impl Iterator<Item = &'static Entry> {
    session::ENTRIES.iter().chain(lookups::ENTRIES).chain(values::ENTRIES)
}

/// Tells whether the catalogue has a function of this name.
pub(super) fn is_known(name: &str) -> bool {
    name == EXPAND || name == ONLY_ROW || entries().any(|entry| entry.name == name)
}

/// Function of the catalogue as the query engine calls it.
struct CatalogFunction {
    entry: &'static Entry,
    signature: Signature,
    facts: Arc<Facts>,
}

impl std::fmt::Debug for CatalogFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.entry.name)
    }
}

impl CatalogFunction {
    fn new(entry: &'static Entry, facts: Arc<Facts>) -> CatalogFunction {
        let volatility = match entry.name {
            "set_config" => Volatility::Volatile,
            _ => Volatility::Stable,
        };
        CatalogFunction { entry, signature: signature(entry, volatility), facts }
    }

    /// The value for one row.
    fn evaluate(&self, row: &[ScalarValue], fields: &[FieldRef]) -> Result<Value> {
        let entry = self.entry;
        if entry.strict && row.iter().any(ScalarValue::is_null) {
            return Ok(Value::Null);
        }
        (entry.body)(&Call { facts: &self.facts, values: row, fields })
    }
}

/// Signature of a function: numbers of arguments of any type.
fn signature(entry: &Entry, volatility: Volatility) -> Signature {
    if entry.most == ANY {
        let any = vec![TypeSignature::Nullary, TypeSignature::VariadicAny];
        return Signature::one_of(any, volatility);
    }
    let counts = entry.least..=entry.most;
    let forms =
        counts.map(|count| if count == 0 { TypeSignature::Nullary } else { TypeSignature::Any(count) });
    Signature::one_of(forms.collect(), volatility)
}

impl PartialEq for CatalogFunction {
    fn eq(&self, other: &CatalogFunction) -> bool {
        self.entry.name == other.entry.name && Arc::ptr_eq(&self.facts, &other.facts)
    }
}

impl Eq for CatalogFunction {}

impl Hash for CatalogFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.entry.name.hash(state);
    }
}

impl ScalarUDFImpl for CatalogFunction {
    fn name(&self) -> &str {
        self.entry.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(super::types::arrow_type(self.entry.gives))
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::new(label_field(self.entry.name, self.entry.gives)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if is_constant { 1 } else { args.number_rows };
        let mut values = Vec::with_capacity(rows);
        for place in 0..rows {
            let row: Vec<ScalarValue> =
                args.args.iter().map(|arg| cell(arg, place)).collect::<Result<_>>()?;
            values.push(self.evaluate(&row, &args.arg_fields)?);
        }
        let array = array_of(args.return_field.data_type(), values);
        if is_constant {
            return ScalarValue::try_from_array(&array, 0).map(ColumnarValue::Scalar);
        }
        Ok(ColumnarValue::Array(array))
    }
}

/// The value of an argument in a row.
fn cell(argument: &ColumnarValue, place: usize) -> Result<ScalarValue> {
    match argument {
        ColumnarValue::Scalar(value) => Ok(value.clone()),
        ColumnarValue::Array(array) => ScalarValue::try_from_array(array, place),
    }
}

/// `information_schema._pg_expandarray` as a list: each item of an array of numbers (`x`) with its subscript
/// (`n`).
#[derive(Debug, PartialEq, Eq, Hash)]
struct ExpandArray {
    signature: Signature,
}

impl ExpandArray {
    fn new() -> ExpandArray {
        ExpandArray { signature: Signature::any(1, Volatility::Immutable) }
    }

    fn fields() -> Fields {
        vec![Field::new("x", DataType::Int64, true), Field::new("n", DataType::Int32, true)].into()
    }
}

impl ScalarUDFImpl for ExpandArray {
    fn name(&self) -> &str {
        EXPAND
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(super::types::list_of(DataType::Struct(ExpandArray::fields())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (mut items, mut numbers, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
        for place in 0..args.number_rows {
            let Some(argument) = args.args.first() else { break };
            let found = items_of(&cell(argument, place)?)?.unwrap_or_default();
            lengths.push(found.len());
            for (item, number) in found.iter().zip(1..) {
                items.push(int_of(item));
                numbers.push(number);
            }
        }
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from(items)), Arc::new(Int32Array::from(numbers))];
        let pairs = StructArray::try_new(ExpandArray::fields(), columns, None)?;
        let item = Arc::new(Field::new("item", DataType::Struct(ExpandArray::fields()), true));
        let lists = ListArray::try_new(item, OffsetBuffer::from_lengths(lengths), Arc::new(pairs), None)?;
        Ok(ColumnarValue::Array(Arc::new(lists)))
    }
}

/// The value of a scalar subquery whose rows are an array: the only item, or NULL of none.
#[derive(Debug, PartialEq, Eq, Hash)]
struct OnlyRow {
    signature: Signature,
}

impl OnlyRow {
    fn new() -> OnlyRow {
        OnlyRow { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for OnlyRow {
    fn name(&self) -> &str {
        ONLY_ROW
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(match types.first() {
            Some(DataType::List(item)) => item.data_type().clone(),
            _ => DataType::Null,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let Some(lists) = arrays.first().and_then(|array| array.as_list_opt::<i32>()) else {
            return Ok(ColumnarValue::Scalar(ScalarValue::Null));
        };
        let mut places = Vec::with_capacity(lists.len());
        for (at, bounds) in lists.value_offsets().windows(2).enumerate() {
            let count = if lists.is_valid(at) { bounds[1] - bounds[0] } else { 0 };
            if count > 1 {
                let message = "more than one row returned by a subquery used as an expression";
                return Err(failed(message.to_owned()));
            }
            places.push(if count == 1 { u32::try_from(bounds[0]).ok() } else { None });
        }
        let values = take(lists.values(), &UInt32Array::from(places), None)?;
        Ok(ColumnarValue::Array(values))
    }
}
