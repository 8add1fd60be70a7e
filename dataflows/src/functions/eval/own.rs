//! Scalar functions as tables: name, arguments, result type, and the computation of one row.
//!
//! DataFusion converts arguments by its own rules (text to numbers, numbers to text) and some of its
//! functions read neighbouring rows. A [`Def`] says exactly which types are taken, as PostgreSQL's catalog
//! does; definitions of one name are its overloads, tried in order. The rows are computed one by one from the
//! batch's arrays, so that a result depends only on its own arguments. A NULL argument gives NULL, unless the
//! definition says otherwise.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{Result, ScalarValue, plan_err};
use datafusion_expr::type_coercion::binary::type_union_resolution;
use datafusion_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::value::{Out, Reader, ResultBuilder, Value, all_scalars, as_type, row_error, scalar_text};
use crate::functions::types::{herald_type, is_text, list_types};

/// Kinds of arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// VARCHAR.
    Text,
    /// SMALLINT or INT, as INT.
    Short,
    /// Any integer, as BIGINT.
    Int,
    /// Integers, all as the widest of them.
    Same,
    /// DECIMAL as it is, and integers as DECIMAL.
    Decimal,
    /// REAL as it is.
    Real,
    /// Any number, as DOUBLE.
    Double,
    /// BYTEA.
    Bytes,
    /// An array of any items.
    List,
    /// An array whose items have a common type with those of other arguments.
    Items,
    /// A value of that common type.
    Item,
    /// Any type, not converted.
    Any,
}

impl Kind {
    /// Returns the word of the reference pages for such arguments, and a type that is taken. No function has a
    /// result of DATE, so that this type stands for T.
    fn example(self) -> (&'static str, DataType) {
        match self {
            Kind::Text => ("VARCHAR", DataType::Utf8),
            Kind::Short => ("INT", DataType::Int32),
            Kind::Int => ("BIGINT", DataType::Int64),
            Kind::Same => ("integer", DataType::Int64),
            Kind::Decimal => ("DECIMAL", DataType::Decimal128(18, 4)),
            Kind::Real => ("REAL", DataType::Float32),
            Kind::Double => ("DOUBLE", DataType::Float64),
            Kind::Bytes => ("BYTEA", DataType::Binary),
            Kind::List | Kind::Items => ("T[]", list_of(DataType::Date32)),
            Kind::Item => ("T", DataType::Date32),
            Kind::Any => ("any", DataType::Utf8),
        }
    }

    /// Returns the word of the reference pages for such arguments.
    fn page_word(self) -> &'static str {
        self.example().0
    }

    /// Returns the word of error messages for such arguments.
    fn message_word(self) -> &'static str {
        match self {
            Kind::Text => "VARCHAR",
            Kind::Short | Kind::Int | Kind::Same => "INT",
            Kind::Decimal => "DECIMAL",
            Kind::Real => "REAL",
            Kind::Double => "DOUBLE",
            Kind::Bytes => "BYTEA",
            Kind::List | Kind::Items => "an array",
            Kind::Item => "an item",
            Kind::Any => "anything",
        }
    }
}

/// Types of results.
#[derive(Clone, Copy)]
pub(crate) enum Gives {
    /// VARCHAR.
    Text,
    /// INT.
    Int,
    /// BIGINT.
    Long,
    /// DOUBLE.
    Double,
    /// BOOLEAN.
    Bool,
    /// BYTEA.
    Bytes,
    /// DECIMAL of this precision and scale.
    Decimal(u8, i8),
    /// VARCHAR[].
    Texts,
    /// INT[].
    Ints,
    /// The type of the argument at this place, after conversion.
    Like(usize),
    /// Computed from the arguments' types after conversion.
    By(fn(&[DataType]) -> Result<DataType>),
    /// Computed from those types and from constant arguments.
    With(fn(&[DataType], &[Option<&ScalarValue>]) -> Result<DataType>),
}

/// One row's result, or the message of its error.
pub(crate) type Answer = std::result::Result<Out, String>;

/// The computation of one row.
#[derive(Clone, Copy)]
pub(crate) enum RowFunction {
    /// From the values.
    Values(fn(&[Value<'_>]) -> Answer),
    /// From the values and the type of the result.
    Typed(fn(&[Value<'_>], &DataType) -> Answer),
    /// From one number.
    Double(fn(f64) -> f64),
    /// From one number of a domain, which is checked first.
    Within(DomainCheck, fn(f64) -> f64),
}

impl RowFunction {
    fn compute(self, values: &[Value<'_>], gives: &DataType) -> Answer {
        match self {
            RowFunction::Values(run) => run(values),
            RowFunction::Typed(run) => run(values, gives),
            RowFunction::Double(run) => Ok(Out::Double(run(values[0].double()))),
            RowFunction::Within(check, run) => {
                let x = values[0].double();
                check(x)?;
                Ok(Out::Double(run(x)))
            }
        }
    }
}

/// Refuses a number that is outside a function's domain, by an error message.
pub(crate) type DomainCheck = fn(f64) -> std::result::Result<(), String>;

/// The computation of results.
#[derive(Clone, Copy)]
pub(crate) enum Run {
    /// Row by row.
    Row(RowFunction),
    /// Over arrays of one length. The function itself must not let rows depend on each other.
    Batch(fn(&[ArrayRef], &DataType) -> Result<ArrayRef>),
}

/// One overload of a function.
#[derive(Clone, Copy)]
pub(crate) struct Def {
    name: &'static str,
    takes: &'static [Kind],
    least: usize,
    rest: Option<Kind>,
    gives: Gives,
    strict: bool,
    total: bool,
    run: Run,
    check: Option<ConstantCheck>,
}

/// Checks constant arguments while a query is planned.
pub(crate) type ConstantCheck = fn(&[Option<&ScalarValue>]) -> std::result::Result<(), String>;

/// Defines a function computed row by row from its values.
pub(crate) const fn def(
    name: &'static str,
    takes: &'static [Kind],
    gives: Gives,
    run: fn(&[Value<'_>]) -> Answer,
) -> Def {
    define(name, takes, gives, Run::Row(RowFunction::Values(run)))
}

/// Defines a function computed row by row from its values and the type of its result.
pub(crate) const fn typed(
    name: &'static str,
    takes: &'static [Kind],
    gives: Gives,
    run: fn(&[Value<'_>], &DataType) -> Answer,
) -> Def {
    define(name, takes, gives, Run::Row(RowFunction::Typed(run)))
}

/// Defines a function of one number, computed as DOUBLE.
pub(crate) const fn double(
    name: &'static str,
    takes: &'static [Kind],
    gives: Gives,
    run: fn(f64) -> f64,
) -> Def {
    define(name, takes, gives, Run::Row(RowFunction::Double(run)))
}

/// Defines a function of a DOUBLE that is in the domain which `check` tests.
pub(crate) const fn double_within(name: &'static str, check: DomainCheck, run: fn(f64) -> f64) -> Def {
    define(name, &[Kind::Double], Gives::Double, Run::Row(RowFunction::Within(check, run)))
}

/// Defines a function computed over arrays; it receives NULL arguments.
pub(crate) const fn batch(
    name: &'static str,
    takes: &'static [Kind],
    gives: Gives,
    run: fn(&[ArrayRef], &DataType) -> Result<ArrayRef>,
) -> Def {
    Def { strict: false, ..define(name, takes, gives, Run::Batch(run)) }
}

const fn define(name: &'static str, takes: &'static [Kind], gives: Gives, run: Run) -> Def {
    Def { name, takes, least: takes.len(), rest: None, gives, strict: true, total: false, run, check: None }
}

impl Def {
    /// Lets the last `count` arguments be left out.
    pub(crate) const fn optional(self, count: usize) -> Def {
        Def { least: self.takes.len() - count, ..self }
    }

    /// Allows any number of further arguments of `kind`.
    pub(crate) const fn more(self, kind: Kind) -> Def {
        Def { rest: Some(kind), ..self }
    }

    /// Passes NULL arguments to the function.
    pub(crate) const fn lax(self) -> Def {
        Def { strict: false, ..self }
    }

    /// States that there is a result for all arguments.
    pub(crate) const fn total(self) -> Def {
        Def { total: true, ..self }
    }

    /// Checks constant arguments while a query is planned.
    pub(crate) const fn checked(self, check: ConstantCheck) -> Def {
        Def { check: Some(check), ..self }
    }

    fn kind_at(&self, at: usize) -> Option<Kind> {
        self.takes.get(at).copied().or(self.rest)
    }

    /// Returns the types that `given` are converted to; None if this overload does not take them.
    fn coerce_arguments(&self, given: &[DataType]) -> Option<Vec<DataType>> {
        if given.len() < self.least || (given.len() > self.takes.len() && self.rest.is_none()) {
            return None;
        }
        let widest = self.widest_integer(given);
        let item = self.common_item(given)?;
        let mut taken = Vec::with_capacity(given.len());
        for (at, t) in given.iter().enumerate() {
            taken.push(match self.kind_at(at)? {
                Kind::Items if t.is_null() || matches!(t, DataType::List(_)) => list_of(item.clone()),
                Kind::Items => return None,
                Kind::Item => item.clone(),
                kind => coerced_type(kind, t, widest.as_ref())?,
            });
        }
        Some(taken)
    }

    /// Returns the widest type of the integers that are all read as one; None where there are none.
    fn widest_integer(&self, given: &[DataType]) -> Option<DataType> {
        let same = given.iter().enumerate().filter(|(at, _)| self.kind_at(*at) == Some(Kind::Same));
        same.filter_map(|(_, t)| signed_integer(t)).max_by_key(DataType::primitive_width)
    }

    /// Returns the common type of the items among the arguments; None where they have none.
    fn common_item(&self, given: &[DataType]) -> Option<DataType> {
        let mut common = DataType::Null;
        for (at, t) in given.iter().enumerate() {
            let item = match (self.kind_at(at), t) {
                (Some(Kind::Items), DataType::List(item)) => item.data_type(),
                (Some(Kind::Item), t) => t,
                _ => continue,
            };
            common = match (&common, item) {
                (DataType::Null, t) => t.clone(),
                (c, t) if c == t || t.is_null() => continue,
                (c, t) if c.is_numeric() && t.is_numeric() => type_union_resolution(&[c.clone(), t.clone()])?,
                (c, t) if herald_type(c) == herald_type(t) => continue,
                _ => return None,
            };
        }
        herald_type(&common)
    }

    fn result_type(&self, args: &[DataType], constants: &[Option<&ScalarValue>]) -> Result<DataType> {
        Ok(match self.gives {
            Gives::Text => DataType::Utf8,
            Gives::Int => DataType::Int32,
            Gives::Long => DataType::Int64,
            Gives::Double => DataType::Float64,
            Gives::Bool => DataType::Boolean,
            Gives::Bytes => DataType::Binary,
            Gives::Decimal(precision, scale) => DataType::Decimal128(precision, scale),
            Gives::Texts => list_of(DataType::Utf8),
            Gives::Ints => list_of(DataType::Int32),
            Gives::Like(at) => args.get(at).cloned().unwrap_or(DataType::Null),
            Gives::By(of) => of(args)?,
            Gives::With(of) => of(args, constants)?,
        })
    }

    /// Returns the words of the arguments, those that may be left out in brackets.
    fn argument_words(&self, word: impl Fn(Kind) -> &'static str) -> Vec<String> {
        let mut words: Vec<String> = self.takes.iter().copied().map(word).map(str::to_owned).collect();
        for optional in &mut words[self.least..] {
            *optional = format!("[{optional}]");
        }
        words
    }

    fn describe_arguments(&self) -> String {
        let mut words = self.argument_words(Kind::message_word);
        if let Some(kind) = self.rest {
            words.push(format!("{} ...", kind.message_word()));
        }
        format!("({})", words.join(", "))
    }

    /// Returns arguments and result as the reference pages show them.
    fn show_types(&self) -> (String, String) {
        let mut words = self.argument_words(Kind::page_word);
        if let Some(kind) = self.rest {
            if self.takes.last() != Some(&kind) {
                words.push(kind.page_word().to_owned());
            }
            words.push("...".to_owned());
        }
        let types: Vec<DataType> = self.takes.iter().map(|kind| kind.example().1).collect();
        let result = match (self.gives, self.result_type(&types, &[])) {
            (Gives::Like(at), _) => self.kind_at(at).map_or("any", Kind::page_word).to_owned(),
            (_, Ok(DataType::Date32)) => "T".to_owned(),
            (_, Ok(DataType::Decimal128(..))) => "DECIMAL".to_owned(),
            (_, Ok(of)) => schemas::sql_type(&Field::new("", of, true)),
            // The constants of a call decide.
            (_, Err(_)) => "any".to_owned(),
        };
        (words.join(", "), result)
    }
}

/// Returns the type that a value of type `given` is converted to; None if `kind` does not take it. NULL is
/// taken as anything.
fn coerced_type(kind: Kind, given: &DataType, widest: Option<&DataType>) -> Option<DataType> {
    let none = given.is_null();
    let bytes = matches!(given, DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
    let list = matches!(given, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _));
    match kind {
        Kind::Text => (is_text(given) || none).then_some(DataType::Utf8),
        Kind::Short => {
            matches!(given, DataType::Int8 | DataType::Int16 | DataType::Int32).then_some(DataType::Int32)
        }
        Kind::Int => (given.is_integer() || none).then_some(DataType::Int64),
        Kind::Same if given.is_integer() || none => Some(widest.cloned().unwrap_or(DataType::Int32)),
        Kind::Decimal if none => Some(DataType::Decimal128(38, 0)),
        Kind::Decimal => as_decimal(given),
        Kind::Real => (*given == DataType::Float32).then_some(DataType::Float32),
        Kind::Double => (given.is_numeric() || none).then_some(DataType::Float64),
        Kind::Bytes => (bytes || none).then_some(DataType::Binary),
        Kind::List if none => Some(list_of(DataType::Utf8)),
        Kind::List if list => herald_type(given),
        Kind::Same | Kind::List | Kind::Items | Kind::Item => None,
        Kind::Any => Some(given.clone()),
    }
}

/// Builds the functions that the tables define, one per name.
pub(crate) fn functions(tables: &[&'static [Def]]) -> Vec<Arc<ScalarUDF>> {
    let mut named: BTreeMap<&'static str, Vec<&'static Def>> = BTreeMap::new();
    for def in tables.iter().copied().flatten() {
        named.entry(def.name).or_default().push(def);
    }
    let signature = Signature::user_defined(Volatility::Immutable);
    let mut functions = Vec::with_capacity(named.len());
    for (name, overloads) in named {
        functions.push(Arc::new(ScalarUDF::from(Own { name, overloads, signature: signature.clone() })));
    }
    functions
}

/// Returns the arguments and the result of each overload of a function of such tables, as the reference pages
/// show them; None for another function.
pub(crate) fn overloads(function: &ScalarUDF) -> Option<Vec<(String, String)>> {
    let own = function.inner().downcast_ref::<Own>()?;
    Some(own.overloads.iter().copied().map(Def::show_types).collect())
}

/// Returns true if a function has a result for all arguments that it takes.
pub(crate) fn is_total(function: &ScalarUDF) -> bool {
    let Some(own) = function.inner().downcast_ref::<Own>() else { return false };
    own.overloads.iter().all(|def| def.total)
}

/// A function and its overloads.
#[derive(Clone)]
struct Own {
    name: &'static str,
    overloads: Vec<&'static Def>,
    signature: Signature,
}

impl std::fmt::Debug for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.name)
    }
}

impl PartialEq for Own {
    fn eq(&self, other: &Own) -> bool {
        self.name == other.name
    }
}

impl Eq for Own {}

impl Hash for Own {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Own {
    /// Returns the overload for arguments of these types, and the types they are converted to.
    fn find_overload(&self, given: &[DataType]) -> Result<(&'static Def, Vec<DataType>)> {
        for def in self.overloads.iter().copied() {
            if let Some(types) = def.coerce_arguments(given) {
                return Ok((def, types));
            }
        }
        let mut takes: Vec<String> = self.overloads.iter().copied().map(Def::describe_arguments).collect();
        takes.dedup();
        plan_err!("{} takes {}, not ({})", self.name, takes.join(" or "), list_types(given))
    }
}

impl ScalarUDFImpl for Own {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        Ok(self.find_overload(given)?.1)
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        let (def, args) = self.find_overload(args)?;
        def.result_type(&args, &[])
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        let (def, types) = self.find_overload(&types)?;
        if let Some(check) = def.check
            && let Err(message) = check(args.scalar_arguments)
        {
            return plan_err!("{} always fails: {message}", self.name);
        }
        Ok(Arc::new(Field::new(self.name, def.result_type(&types, args.scalar_arguments)?, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let types: Vec<DataType> = args.args.iter().map(ColumnarValue::data_type).collect();
        let (def, types) = self.find_overload(&types)?;
        let gives = args.return_field.data_type();
        let row = match def.run {
            Run::Row(row) => row,
            Run::Batch(batch) => {
                let mut arrays = Vec::with_capacity(types.len());
                for (arg, of) in args.args.iter().zip(&types) {
                    arrays.push(as_type(&arg.to_array(args.number_rows)?, of)?);
                }
                return Ok(ColumnarValue::Array(batch(&arrays, gives)?));
            }
        };
        let constant = all_scalars(&args.args);
        // With constant arguments alone, one row is computed and returned as a scalar.
        let rows = if constant { 1 } else { args.number_rows };
        let mut readers = Vec::with_capacity(types.len());
        for (arg, of) in args.args.iter().zip(&types) {
            readers.push(Reader::new(arg, of)?);
        }
        let array = run_rows(def, row, &readers, rows, gives)?;
        Ok(if constant {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?)
        } else {
            ColumnarValue::Array(array)
        })
    }
}

fn run_rows(
    def: &Def,
    run: RowFunction,
    readers: &[Reader],
    rows: usize,
    gives: &DataType,
) -> Result<ArrayRef> {
    let mut out = ResultBuilder::new(gives, rows)?;
    let mut values = Vec::with_capacity(readers.len());
    for row in 0..rows {
        values.clear();
        values.extend(readers.iter().map(|r| r.value(row)));
        if def.strict && values.iter().any(Value::is_null) {
            out.push(Out::Null)?;
            continue;
        }
        let answer = run.compute(&values, gives).map_err(row_error)?;
        out.push(answer)?;
    }
    out.finish()
}

/// Returns the text of the constant argument at a place; None unless it is a constant text.
pub(crate) fn constant_text<'a>(constants: &[Option<&'a ScalarValue>], at: usize) -> Option<&'a str> {
    scalar_text(constants.get(at).copied().flatten())
}

/// Returns the signed type that an integer is read as; None for another type.
pub(crate) fn signed_integer(of: &DataType) -> Option<DataType> {
    Some(match of {
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => DataType::Int16,
        DataType::UInt16 | DataType::Int32 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 | DataType::Int64 => DataType::Int64,
        _ => return None,
    })
}

/// Returns the DECIMAL that holds an exact number; None for another type.
pub(crate) fn as_decimal(of: &DataType) -> Option<DataType> {
    Some(match of {
        DataType::Decimal128(..) => of.clone(),
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => DataType::Decimal128(*p, *s),
        of => match signed_integer(of)? {
            DataType::Int16 => DataType::Decimal128(5, 0),
            DataType::Int32 => DataType::Decimal128(10, 0),
            _ => DataType::Decimal128(20, 0),
        },
    })
}

/// Returns the type of arrays of `item`.
pub(crate) fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, true)))
}
