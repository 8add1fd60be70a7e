//! Scalar function that a call with a lambda becomes.

use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListArray, RecordBatch, UInt32Array, new_empty_array,
    new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion_common::{Result, exec_err, plan_err};
use datafusion_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use datafusion_sql::sqlparser::ast::Expr;

use super::column_name;
use crate::functions::eval::about::{About, called};
use crate::functions::types::herald_type;
use crate::plan::Scalar;
use crate::sql::query;

/// Most items that are evaluated in one batch.
const MAX_ITEMS_PER_BATCH: usize = 4096;

/// Most bytes of the results for a batch of rows.
const MAX_RESULT_BYTES: usize = 256 << 20;

/// Use that a function makes of the values of its expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LambdaUse {
    /// Returns an array of them.
    Transform,
    /// Returns the items for which it is true.
    Filter,
    /// Tells whether it is true for at least one.
    Any,
    /// Tells whether it is true for all.
    All,
    /// Tells whether it is true for none.
    None,
    /// Returns the first item for which it is true.
    First,
}

/// The names of the functions of each of [`USES`], and the lines of the reference pages about them.
pub(in crate::sql) const ABOUT: [About; 6] = [
    called(
        "array_transform list_transform transform array_apply list_apply",
        &["array_transform(T[], x -> any) -> any[]"],
        "The value of the expression for each item.",
    ),
    called(
        "array_filter list_filter filter",
        &["array_filter(T[], x -> BOOLEAN) -> T[]"],
        "The items for which it is true.",
    ),
    called(
        "array_any_match array_exists list_any_match any_match",
        &["array_any_match(T[], x -> BOOLEAN) -> BOOLEAN"],
        "True if it is true for an item, NULL where NULLs leave it open.",
    ),
    called(
        "array_all_match list_all_match all_match",
        &["array_all_match(T[], x -> BOOLEAN) -> BOOLEAN"],
        "True if it is true for all items, NULL where NULLs leave it open.",
    ),
    called(
        "array_none_match none_match",
        &["array_none_match(T[], x -> BOOLEAN) -> BOOLEAN"],
        "True if it is true for no item, NULL where NULLs leave it open.",
    ),
    called(
        "array_first list_first array_find",
        &["array_first(T[], x -> BOOLEAN) -> T"],
        "The first item for which it is true.",
    ),
];

/// The uses in the order of [`ABOUT`].
const USES: [LambdaUse; 6] = [
    LambdaUse::Transform,
    LambdaUse::Filter,
    LambdaUse::Any,
    LambdaUse::All,
    LambdaUse::None,
    LambdaUse::First,
];

impl LambdaUse {
    /// Looks up the use by the name of a function.
    pub(super) fn of(name: &str) -> Option<LambdaUse> {
        for (line, of) in ABOUT.iter().zip(USES) {
            if line.names.split(' ').any(|known| known == name) {
                return Some(of);
            }
        }
        None
    }

    fn name(self) -> &'static str {
        match self {
            LambdaUse::Transform => "array_transform",
            LambdaUse::Filter => "array_filter",
            LambdaUse::Any => "array_any_match",
            LambdaUse::All => "array_all_match",
            LambdaUse::None => "array_none_match",
            LambdaUse::First => "array_first",
        }
    }
}

/// A function over an array and columns, with the expression it evaluates.
#[derive(Debug)]
pub(super) struct LambdaFunction {
    /// Name that contains the use and the expression: functions of one name are equal.
    name: String,
    what: LambdaUse,
    /// Name of the function in the query.
    called: String,
    param: String,
    body: Expr,
    columns: usize,
    signature: Signature,
    /// Expression as last planned, for reuse while the argument types stay the same.
    planned: Mutex<Option<Arc<PlannedBody>>>,
}

/// Expression planned over an item and columns of certain types.
#[derive(Debug)]
struct PlannedBody {
    schema: SchemaRef,
    value: Scalar,
    gives: Field,
}

impl PartialEq for LambdaFunction {
    fn eq(&self, other: &LambdaFunction) -> bool {
        self.name == other.name
    }
}

impl Eq for LambdaFunction {}

impl Hash for LambdaFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl LambdaFunction {
    /// Makes the function that evaluates `body` for each item, bound to `param`, and `columns` columns;
    /// `text` is the expression as written.
    pub(super) fn new(
        (what, called): (LambdaUse, &str),
        param: String,
        (body, text): (Expr, String),
        columns: usize,
    ) -> LambdaFunction {
        let name = format!("herald_{}[{param} -> {text}]", what.name());
        let signature = Signature::user_defined(Volatility::Immutable);
        LambdaFunction {
            name,
            what,
            called: called.to_owned(),
            param,
            body,
            columns,
            signature,
            planned: Mutex::new(None),
        }
    }

    fn list_item<'a>(&self, args: &'a [DataType]) -> Result<&'a FieldRef> {
        match args {
            [DataType::List(item), columns @ ..] if columns.len() == self.columns => Ok(item),
            [other, ..] => {
                let shown = schemas::sql_type(&Field::new("", other.clone(), true));
                plan_err!("{} needs an array, and this is {shown}", self.called)
            }
            [] => plan_err!("{} needs an array", self.called),
        }
    }

    /// Plans the expression over arguments of these fields, or returns it as last planned.
    fn planned_body(&self, args: &[FieldRef]) -> Result<Arc<PlannedBody>> {
        let types = data_types(args);
        let item = self.list_item(&types)?.as_ref().clone().with_name(&self.param);
        let mut fields = Vec::with_capacity(args.len());
        fields.push(item.with_nullable(true));
        for (at, field) in args.iter().skip(1).enumerate() {
            fields.push(field.as_ref().clone().with_name(column_name(at)).with_nullable(true));
        }
        let schema = Arc::new(Schema::new(fields));
        // The lock is held while planning, so that concurrent calls plan once.
        let mut planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(planned) = planned.as_ref()
            && planned.schema == schema
        {
            return Ok(Arc::clone(planned));
        }
        let (value, gives) = query::plan_lambda_body(&self.body, &schema)?;
        let truth = matches!(gives.data_type(), DataType::Boolean | DataType::Null);
        if self.what != LambdaUse::Transform && !truth {
            let shown = schemas::sql_type(&gives);
            return plan_err!("{} needs a condition, and this is {shown}", self.called);
        }
        let new = Arc::new(PlannedBody { schema, value, gives });
        *planned = Some(Arc::clone(&new));
        Ok(new)
    }
}

impl ScalarUDFImpl for LambdaFunction {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let mut types = Vec::with_capacity(given.len());
        for (at, of) in given.iter().enumerate() {
            let coerced = match of {
                DataType::Null if at == 0 => {
                    Some(DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))))
                }
                of => herald_type(of),
            };
            let Some(coerced) = coerced else {
                return plan_err!("{} does not take arguments of such types", self.called);
            };
            types.push(coerced);
        }
        self.list_item(&types)?;
        Ok(types)
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        let fields: Vec<FieldRef> = args.iter().map(|t| Arc::new(Field::new("", t.clone(), true))).collect();
        let args = ReturnFieldArgs { arg_fields: &fields, scalar_arguments: &vec![None; fields.len()] };
        Ok(self.return_field_from_args(args)?.data_type().clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types = self.coerce_types(&data_types(args.arg_fields))?;
        let fields = with_types(args.arg_fields, &types);
        let planned = self.planned_body(&fields)?;
        let of = match self.what {
            LambdaUse::Transform => DataType::List(Arc::new(planned.gives.clone())),
            LambdaUse::Filter => fields[0].data_type().clone(),
            LambdaUse::Any | LambdaUse::All | LambdaUse::None => DataType::Boolean,
            LambdaUse::First => {
                return Ok(Arc::new(planned.schema.field(0).clone().with_name(self.name())));
            }
        };
        Ok(Arc::new(Field::new(self.name(), of, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let types = self.coerce_types(&data_types(&args.arg_fields))?;
        let planned = self.planned_body(&with_types(&args.arg_fields, &types))?;
        let mut given = Vec::with_capacity(types.len());
        for (arg, of) in args.args.iter().zip(&types) {
            given.push(as_type(&arg.to_array(args.number_rows)?, of)?);
        }
        let items = ArrayItems::of(given[0].as_list::<i32>());
        let values = planned.evaluate_items(&given, &items)?;
        let result = self.what.build_result(
            given[0].as_list::<i32>(),
            &items,
            &values,
            args.return_field.data_type(),
        )?;
        Ok(ColumnarValue::Array(result))
    }
}

fn data_types(fields: &[FieldRef]) -> Vec<DataType> {
    fields.iter().map(|field| field.data_type().clone()).collect()
}

/// Fields with other types.
fn with_types(fields: &[FieldRef], types: &[DataType]) -> Vec<FieldRef> {
    let typed = fields.iter().zip(types);
    typed.map(|(field, of)| Arc::new(field.as_ref().clone().with_data_type(of.clone()))).collect()
}

fn as_type(array: &ArrayRef, of: &DataType) -> Result<ArrayRef> {
    match array.data_type() {
        found if found == of => Ok(Arc::clone(array)),
        DataType::Null => Ok(new_null_array(of, array.len())),
        _ => Ok(arrow::compute::cast(array, of)?),
    }
}

/// Concatenated items of the arrays of a batch.
struct ArrayItems {
    /// Row of each item.
    rows: Vec<u32>,
    /// Index of each item among the values of the arrays.
    places: Vec<u32>,
    /// Number of items of each row; an array that is NULL has none.
    lengths: Vec<usize>,
}

impl ArrayItems {
    fn of(list: &ListArray) -> ArrayItems {
        let mut items = ArrayItems { rows: vec![], places: vec![], lengths: Vec::with_capacity(list.len()) };
        let offsets = list.value_offsets();
        for row in 0..list.len() {
            let range = if list.is_null(row) { 0..0 } else { offsets[row] as u32..offsets[row + 1] as u32 };
            items.lengths.push(range.len());
            items.rows.extend(std::iter::repeat_n(row as u32, range.len()));
            items.places.extend(range);
        }
        items
    }

    /// Range of each row among the concatenated items.
    fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        let mut end = 0;
        self.lengths.iter().map(move |length| {
            end += length;
            end - length..end
        })
    }

    /// Index, among the values of the arrays, of the first item of a row that is true.
    fn first_true(&self, mut row: Range<usize>, truths: &BooleanArray) -> Option<u32> {
        let first = row.find(|at| is_true(truths, *at))?;
        Some(self.places[first])
    }
}

fn is_true(truths: &BooleanArray, at: usize) -> bool {
    truths.is_valid(at) && truths.value(at)
}

/// Three-valued logic: `by` decides a row at once, else a NULL makes the result unknown.
fn decide(truths: &BooleanArray, row: Range<usize>, by: bool) -> Option<bool> {
    let mut known = Some(!by);
    for item in row {
        if truths.is_null(item) {
            known = None;
        } else if truths.value(item) == by {
            return Some(by);
        }
    }
    known
}

impl PlannedBody {
    /// Evaluates the expression for each item.
    fn evaluate_items(&self, given: &[ArrayRef], items: &ArrayItems) -> Result<ArrayRef> {
        let (mut values, mut bytes) = (Vec::new(), 0);
        for (rows, places) in
            items.rows.chunks(MAX_ITEMS_PER_BATCH).zip(items.places.chunks(MAX_ITEMS_PER_BATCH))
        {
            let (rows, places) = (UInt32Array::from(rows.to_vec()), UInt32Array::from(places.to_vec()));
            let mut columns = vec![take(given[0].as_list::<i32>().values(), &places, None)?];
            for column in &given[1..] {
                columns.push(take(column, &rows, None)?);
            }
            let value = self.value.evaluate(&RecordBatch::try_new(Arc::clone(&self.schema), columns)?)?;
            // Checked per batch, before the results are concatenated.
            bytes += value.get_array_memory_size();
            if bytes > MAX_RESULT_BYTES {
                return exec_err!("the result is too long");
            }
            values.push(as_type(&value, self.gives.data_type())?);
        }
        if values.is_empty() {
            Ok(new_empty_array(self.gives.data_type()))
        } else {
            Ok(concat(&values.iter().map(AsRef::as_ref).collect::<Vec<_>>())?)
        }
    }
}

impl LambdaUse {
    /// Computes the result for each array of `list` from the values of its items.
    fn build_result(
        self,
        list: &ListArray,
        items: &ArrayItems,
        values: &ArrayRef,
        of: &DataType,
    ) -> Result<ArrayRef> {
        if self == LambdaUse::Transform {
            let DataType::List(item) = of else { return exec_err!("this is no array") };
            let offsets = OffsetBuffer::from_lengths(items.lengths.iter().copied());
            let values = Arc::clone(values);
            return Ok(Arc::new(ListArray::try_new(
                Arc::clone(item),
                offsets,
                values,
                list.nulls().cloned(),
            )?));
        }
        let values = as_type(values, &DataType::Boolean)?;
        let truths = values.as_boolean();
        match self {
            LambdaUse::Filter => {
                let DataType::List(item) = of else { return exec_err!("this is no array") };
                let (mut kept, mut lengths) = (Vec::new(), Vec::with_capacity(list.len()));
                for row in items.ranges() {
                    let before = kept.len();
                    for at in row {
                        if is_true(truths, at) {
                            kept.push(items.places[at]);
                        }
                    }
                    lengths.push(kept.len() - before);
                }
                let offsets = OffsetBuffer::from_lengths(lengths);
                let values = take(list.values(), &UInt32Array::from(kept), None)?;
                Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, values, list.nulls().cloned())?))
            }
            LambdaUse::First => {
                let first = items.ranges().map(|row| items.first_true(row, truths));
                Ok(take(list.values(), &UInt32Array::from_iter(first), None)?)
            }
            _ => {
                let rows = items.ranges().enumerate();
                let results = rows
                    .map(|(row, range)| if list.is_null(row) { None } else { self.quantify(truths, range) });
                Ok(Arc::new(BooleanArray::from_iter(results)))
            }
        }
    }

    /// Tells whether the items of a row are true as ANY, ALL or NONE asks.
    fn quantify(self, truths: &BooleanArray, row: Range<usize>) -> Option<bool> {
        match self {
            LambdaUse::All => decide(truths, row, false),
            LambdaUse::None => Some(!decide(truths, row, true)?),
            _ => decide(truths, row, true),
        }
    }
}
