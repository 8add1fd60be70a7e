//! The function that a call with a lambda becomes.

use std::hash::{Hash, Hasher};
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

use super::column;
use crate::functions::types::herald_type;
use crate::plan::Scalar;
use crate::sql::query;

/// Items that are evaluated together.
const TOGETHER: usize = 4096;

/// Bytes that a batch's results may have.
const LONGEST: usize = 256 << 20;

/// Use that a function makes of the expression's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// An array of them.
    Transform,
    /// The items for which it is true.
    Filter,
    /// Tells whether it is true for one.
    Any,
    /// Tells whether it is true for all.
    All,
    /// Tells whether it is true for none.
    None,
    /// The first item for which it is true.
    First,
}

impl What {
    /// By the name of a function.
    pub(super) fn of(name: &str) -> Option<What> {
        Some(match name {
            "array_transform" | "list_transform" | "transform" | "array_apply" | "list_apply" => {
                What::Transform
            }
            "array_filter" | "list_filter" | "filter" => What::Filter,
            "array_exists" | "array_any_match" | "list_any_match" | "any_match" => What::Any,
            "array_all_match" | "list_all_match" | "all_match" => What::All,
            "array_none_match" | "none_match" => What::None,
            "array_first" | "list_first" | "array_find" => What::First,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            What::Transform => "array_transform",
            What::Filter => "array_filter",
            What::Any => "array_any_match",
            What::All => "array_all_match",
            What::None => "array_none_match",
            What::First => "array_first",
        }
    }
}

/// A function over an array and columns, with the expression it evaluates.
#[derive(Debug)]
pub(super) struct Each {
    /// Tells what it computes: functions of one name are equal.
    name: String,
    what: What,
    /// Name in the query.
    called: String,
    param: String,
    body: Expr,
    columns: usize,
    signature: Signature,
    /// The expression as it was last planned.
    held: Mutex<Option<Arc<Held>>>,
}

/// The expression over an item and columns of certain types.
#[derive(Debug)]
struct Held {
    schema: SchemaRef,
    value: Scalar,
    gives: Field,
}

impl PartialEq for Each {
    fn eq(&self, other: &Each) -> bool {
        self.name == other.name
    }
}

impl Eq for Each {}

impl Hash for Each {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Each {
    /// Evaluates `body` for each item, called `param`, and so many columns; `text` is what was written.
    pub(super) fn new(
        (what, called): (What, &str),
        param: String,
        (body, text): (Expr, String),
        columns: usize,
    ) -> Each {
        let name = format!("herald_{}[{param} -> {text}]", what.name());
        let signature = Signature::user_defined(Volatility::Immutable);
        Each {
            name,
            what,
            called: called.to_owned(),
            param,
            body,
            columns,
            signature,
            held: Mutex::new(None),
        }
    }

    fn list<'a>(&self, args: &'a [DataType]) -> Result<&'a FieldRef> {
        match args {
            [DataType::List(item), columns @ ..] if columns.len() == self.columns => Ok(item),
            [other, ..] => {
                let shown = schemas::sql_type(&Field::new("", other.clone(), true));
                plan_err!("{} needs an array, and this is {shown}", self.called)
            }
            [] => plan_err!("{} needs an array", self.called),
        }
    }

    /// The expression over arguments of these fields.
    fn held(&self, args: &[FieldRef]) -> Result<Arc<Held>> {
        let types: Vec<DataType> = args.iter().map(|f| f.data_type().clone()).collect();
        let item = self.list(&types)?.as_ref().clone().with_name(&self.param);
        let columns = args.iter().skip(1).enumerate();
        let columns = columns.map(|(at, field)| field.as_ref().clone().with_name(column(at)));
        let fields: Vec<Field> =
            std::iter::once(item).chain(columns).map(|field| field.with_nullable(true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = held.as_ref().filter(|held| held.schema == schema) {
            return Ok(Arc::clone(held));
        }
        let (value, gives) = query::body(&self.body, &schema)?;
        let truth = matches!(gives.data_type(), DataType::Boolean | DataType::Null);
        if self.what != What::Transform && !truth {
            let shown = schemas::sql_type(&gives);
            return plan_err!("{} needs a condition, and this is {shown}", self.called);
        }
        let new = Arc::new(Held { schema, value, gives });
        *held = Some(Arc::clone(&new));
        Ok(new)
    }
}

impl ScalarUDFImpl for Each {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let one = |(at, of): (usize, &DataType)| match of {
            DataType::Null if at == 0 => {
                Some(DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))))
            }
            of => herald_type(of),
        };
        match given.iter().enumerate().map(one).collect::<Option<Vec<_>>>() {
            Some(types) => {
                self.list(&types)?;
                Ok(types)
            }
            None => plan_err!("{} does not take arguments of such types", self.called),
        }
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        let fields: Vec<FieldRef> = args.iter().map(|t| Arc::new(Field::new("", t.clone(), true))).collect();
        let args = ReturnFieldArgs { arg_fields: &fields, scalar_arguments: &vec![None; fields.len()] };
        Ok(self.return_field_from_args(args)?.data_type().clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        let types = self.coerce_types(&types)?;
        let fields = args.arg_fields.iter().zip(types);
        let fields: Vec<FieldRef> =
            fields.map(|(f, of)| Arc::new(f.as_ref().clone().with_data_type(of))).collect();
        let held = self.held(&fields)?;
        let of = |data_type: DataType| Field::new(self.name(), data_type, true);
        Ok(Arc::new(match self.what {
            What::Transform => of(DataType::List(Arc::new(held.gives.clone()))),
            What::Filter => of(fields[0].data_type().clone()),
            What::Any | What::All | What::None => of(DataType::Boolean),
            What::First => held.schema.field(0).clone().with_name(self.name()),
        }))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        let types = self.coerce_types(&types)?;
        let fields = args.arg_fields.iter().zip(&types);
        let fields: Vec<FieldRef> =
            fields.map(|(f, of)| Arc::new(f.as_ref().clone().with_data_type(of.clone()))).collect();
        let held = self.held(&fields)?;
        let given = args.args.iter().zip(&types);
        let given: Vec<ArrayRef> =
            given.map(|(arg, of)| as_type(&arg.to_array(args.number_rows)?, of)).collect::<Result<_>>()?;
        let items = Items::of(given[0].as_list::<i32>());
        let values = held.values(&given, &items)?;
        let result =
            self.what.result(given[0].as_list::<i32>(), &items, &values, args.return_field.data_type())?;
        Ok(ColumnarValue::Array(result))
    }
}

fn as_type(array: &ArrayRef, of: &DataType) -> Result<ArrayRef> {
    match array.data_type() {
        found if found == of => Ok(Arc::clone(array)),
        DataType::Null => Ok(new_null_array(of, array.len())),
        _ => Ok(arrow::compute::cast(array, of)?),
    }
}

/// The items of a batch laid end to end.
struct Items {
    /// The row of each.
    rows: Vec<u32>,
    /// Where each stands among the values of the arrays.
    places: Vec<u32>,
    /// Number of items of each row; an array that is NULL has none.
    lengths: Vec<usize>,
}

impl Items {
    fn of(list: &ListArray) -> Items {
        let mut items = Items { rows: vec![], places: vec![], lengths: Vec::with_capacity(list.len()) };
        let offsets = list.value_offsets();
        for row in 0..list.len() {
            let range = if list.is_null(row) { 0..0 } else { offsets[row] as u32..offsets[row + 1] as u32 };
            items.lengths.push(range.len());
            items.rows.extend(std::iter::repeat_n(row as u32, range.len()));
            items.places.extend(range);
        }
        items
    }
}

impl Held {
    /// The expression's value for each item.
    fn values(&self, given: &[ArrayRef], items: &Items) -> Result<ArrayRef> {
        let (mut values, mut bytes) = (Vec::new(), 0);
        for (rows, places) in items.rows.chunks(TOGETHER).zip(items.places.chunks(TOGETHER)) {
            let (rows, places) = (UInt32Array::from(rows.to_vec()), UInt32Array::from(places.to_vec()));
            let mut columns = vec![take(given[0].as_list::<i32>().values(), &places, None)?];
            for column in &given[1..] {
                columns.push(take(column, &rows, None)?);
            }
            let value = self.value.evaluate(&RecordBatch::try_new(Arc::clone(&self.schema), columns)?)?;
            bytes += value.get_array_memory_size();
            if bytes > LONGEST {
                return exec_err!("the result is too long");
            }
            values.push(as_type(&value, self.gives.data_type())?);
        }
        match values.is_empty() {
            true => Ok(new_empty_array(self.gives.data_type())),
            false => Ok(concat(&values.iter().map(AsRef::as_ref).collect::<Vec<_>>())?),
        }
    }
}

impl What {
    /// Makes the result of the values of the items of `list`.
    fn result(self, list: &ListArray, items: &Items, values: &ArrayRef, of: &DataType) -> Result<ArrayRef> {
        if self == What::Transform {
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
        let holds = |at: usize| truths.is_valid(at) && truths.value(at);
        let mut from = 0;
        let mut rows = items.lengths.iter().map(|length| {
            from += length;
            from - length..from
        });
        match self {
            What::Filter => {
                let DataType::List(item) = of else { return exec_err!("this is no array") };
                let kept = rows.map(|row| row.filter(|at| holds(*at)).map(|at| items.places[at]).collect());
                let kept: Vec<Vec<u32>> = kept.collect();
                let offsets = OffsetBuffer::from_lengths(kept.iter().map(Vec::len));
                let values = take(list.values(), &UInt32Array::from(kept.concat()), None)?;
                Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, values, list.nulls().cloned())?))
            }
            What::First => {
                let first = rows.map(|mut row| row.find(|at| holds(*at)).map(|at| items.places[at]));
                Ok(take(list.values(), &UInt32Array::from_iter(first), None)?)
            }
            _ => {
                // NULL is a value that is not known: it decides nothing.
                let told = |row: std::ops::Range<usize>, at: bool| {
                    let mut known = Some(!at);
                    for item in row {
                        match truths.is_valid(item).then(|| truths.value(item)) {
                            Some(value) if value == at => return Some(at),
                            None => known = None,
                            Some(_) => {}
                        }
                    }
                    known
                };
                let one = |(row, range): (usize, std::ops::Range<usize>)| match self {
                    _ if list.is_null(row) => None,
                    What::All => told(range, false),
                    What::None => told(range, true).map(|any| !any),
                    _ => told(range, true),
                };
                let rows: Vec<_> = rows.by_ref().enumerate().collect();
                Ok(Arc::new(BooleanArray::from_iter(rows.into_iter().map(one))))
            }
        }
    }
}
