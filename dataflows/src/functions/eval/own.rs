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
use datafusion_common::{Result, ScalarValue, exec_datafusion_err, plan_err};
use datafusion_expr::type_coercion::binary::type_union_resolution;
use datafusion_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::value::{Out, Reader, ResultBuilder, Value, as_type};

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
    /// VARCHAR[].
    Texts,
    /// The type of the argument at this place, after conversion.
    Like(usize),
    /// Computed from the arguments' types after conversion.
    By(fn(&[DataType]) -> Result<DataType>),
    /// Computed from those types and from constant arguments.
    With(fn(&[DataType], &[Option<&ScalarValue>]) -> Result<DataType>),
}

/// One row's result, or the message of its error.
pub(crate) type Answer = std::result::Result<Out, String>;

/// The computation of results.
#[derive(Clone, Copy)]
pub(crate) enum Run {
    /// Row by row; the type is the result's.
    Row(fn(&[Value<'_>], &DataType) -> Answer),
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

/// Defines a function computed row by row.
pub(crate) const fn def(
    name: &'static str,
    takes: &'static [Kind],
    gives: Gives,
    run: fn(&[Value<'_>], &DataType) -> Answer,
) -> Def {
    define(name, takes, gives, Run::Row(run))
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
        let of = |at: usize| self.kind_at(at);
        let widest = given
            .iter()
            .enumerate()
            .filter(|(at, _)| of(*at) == Some(Kind::Same))
            .filter_map(|(_, t)| signed_integer(t))
            .max_by_key(|t| t.primitive_width());
        let item = self.common_item(given)?;
        let taken = given.iter().enumerate().map(|(at, t)| match of(at)? {
            Kind::Items if t.is_null() => Some(list_of(item.clone())),
            Kind::Items => matches!(t, DataType::List(_)).then(|| list_of(item.clone())),
            Kind::Item => Some(item.clone()),
            kind => coerced_type(kind, t, widest.as_ref()),
        });
        taken.collect()
    }

    /// Returns the common type of the items among the arguments; None where they have none.
    fn common_item(&self, given: &[DataType]) -> Option<DataType> {
        let items = given.iter().enumerate().filter_map(|(at, t)| match (self.kind_at(at)?, t) {
            (Kind::Items, DataType::List(item)) => Some(item.data_type()),
            (Kind::Item, t) => Some(t),
            _ => None,
        });
        let mut common = DataType::Null;
        for item in items {
            common = match (&common, item) {
                (DataType::Null, t) => t.clone(),
                (c, t) if c == t || t.is_null() => continue,
                (c, t) if c.is_numeric() && t.is_numeric() => type_union_resolution(&[c.clone(), t.clone()])?,
                (c, t)
                    if crate::functions::types::herald_type(c) == crate::functions::types::herald_type(t) =>
                {
                    continue;
                }
                _ => return None,
            };
        }
        crate::functions::types::herald_type(&common)
    }

    fn result_type(&self, args: &[DataType], constants: &[Option<&ScalarValue>]) -> Result<DataType> {
        Ok(match self.gives {
            Gives::Text => DataType::Utf8,
            Gives::Int => DataType::Int32,
            Gives::Long => DataType::Int64,
            Gives::Double => DataType::Float64,
            Gives::Bool => DataType::Boolean,
            Gives::Bytes => DataType::Binary,
            Gives::Texts => list_of(DataType::Utf8),
            Gives::Like(at) => args.get(at).cloned().unwrap_or(DataType::Null),
            Gives::By(of) => of(args)?,
            Gives::With(of) => of(args, constants)?,
        })
    }

    /// Returns the words of the arguments, those that may be left out in brackets.
    fn argument_words(&self, word: impl Fn(Kind) -> &'static str) -> Vec<String> {
        let mut words: Vec<String> = self.takes.iter().map(|kind| word(*kind).to_owned()).collect();
        for optional in &mut words[self.least..] {
            *optional = format!("[{optional}]");
        }
        words
    }

    fn describe_arguments(&self) -> String {
        let word = |kind: Kind| match kind {
            Kind::Text => "VARCHAR",
            Kind::Short | Kind::Int | Kind::Same => "INT",
            Kind::Decimal => "DECIMAL",
            Kind::Real => "REAL",
            Kind::Double => "DOUBLE",
            Kind::Bytes => "BYTEA",
            Kind::List | Kind::Items => "an array",
            Kind::Item => "an item",
            Kind::Any => "anything",
        };
        let mut words = self.argument_words(word);
        words.extend(self.rest.map(|kind| format!("{} ...", word(kind))));
        format!("({})", words.join(", "))
    }

    /// Returns arguments and result as the reference pages show them.
    fn show_types(&self) -> (String, String) {
        let word = |kind: Kind| kind.example().0;
        let mut words = self.argument_words(word);
        if let Some(kind) = self.rest {
            let other = self.takes.last() != Some(&kind);
            words.extend(other.then(|| word(kind).to_owned()));
            words.push("...".to_owned());
        }
        let types: Vec<DataType> = self.takes.iter().map(|kind| kind.example().1).collect();
        let result = match (self.gives, self.result_type(&types, &[])) {
            (Gives::Like(at), _) => self.kind_at(at).map_or("any", word).to_owned(),
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
    let text = matches!(given, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let bytes = matches!(given, DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
    let list = matches!(given, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _));
    match kind {
        Kind::Text => (text || none).then_some(DataType::Utf8),
        Kind::Short => {
            matches!(given, DataType::Int8 | DataType::Int16 | DataType::Int32).then_some(DataType::Int32)
        }
        Kind::Int => (given.is_integer() || none).then_some(DataType::Int64),
        Kind::Same => (given.is_integer() || none).then(|| widest.cloned().unwrap_or(DataType::Int32)),
        Kind::Decimal if none => Some(DataType::Decimal128(38, 0)),
        Kind::Decimal => as_decimal(given),
        Kind::Real => (*given == DataType::Float32).then_some(DataType::Float32),
        Kind::Double => (given.is_numeric() || none).then_some(DataType::Float64),
        Kind::Bytes => (bytes || none).then_some(DataType::Binary),
        Kind::List if none => Some(list_of(DataType::Utf8)),
        Kind::List => list.then(|| crate::functions::types::herald_type(given)).flatten(),
        Kind::Items | Kind::Item => None,
        Kind::Any => Some(given.clone()),
    }
}

/// Builds the functions that the tables define, one per name.
pub(crate) fn functions(tables: &[&'static [Def]]) -> Vec<Arc<ScalarUDF>> {
    let mut named: BTreeMap<&'static str, Vec<&'static Def>> = BTreeMap::new();
    for def in tables.iter().flat_map(|table| table.iter()) {
        named.entry(def.name).or_default().push(def);
    }
    let signature = Signature::user_defined(Volatility::Immutable);
    named
        .into_iter()
        .map(|(name, overloads)| {
            Arc::new(ScalarUDF::from(Own { name, overloads, signature: signature.clone() }))
        })
        .collect()
}

/// Returns the arguments and the result of each overload of a function of such tables, as the reference pages
/// show them; None for another function.
pub(crate) fn overloads(function: &ScalarUDF) -> Option<Vec<(String, String)>> {
    let own = function.inner().downcast_ref::<Own>()?;
    Some(own.overloads.iter().map(|def| def.show_types()).collect())
}

/// Returns true if a function has a result for all arguments that it takes.
pub(crate) fn is_total(function: &ScalarUDF) -> bool {
    function.inner().downcast_ref::<Own>().is_some_and(|own| own.overloads.iter().all(|def| def.total))
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
        let found = self.overloads.iter().find_map(|def| Some((*def, def.coerce_arguments(given)?)));
        if let Some(found) = found {
            return Ok(found);
        }
        let given: Vec<String> =
            given.iter().map(|t| schemas::sql_type(&Field::new("", t.clone(), true))).collect();
        let mut takes: Vec<String> = self.overloads.iter().map(|def| def.describe_arguments()).collect();
        takes.dedup();
        plan_err!("{} takes {}, not ({})", self.name, takes.join(" or "), given.join(", "))
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
        if let Some(Err(message)) = def.check.map(|check| check(args.scalar_arguments)) {
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
                let arrays = args
                    .args
                    .iter()
                    .zip(&types)
                    .map(|(a, t)| as_type(&a.to_array(args.number_rows)?, t))
                    .collect::<Result<Vec<_>>>()?;
                return Ok(ColumnarValue::Array(batch(&arrays, gives)?));
            }
        };
        let constant = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        // With constant arguments alone, one row is computed and returned as a scalar.
        let rows = if constant { 1 } else { args.number_rows };
        let readers =
            args.args.iter().zip(&types).map(|(arg, of)| Reader::new(arg, of)).collect::<Result<Vec<_>>>()?;
        let array = run_rows(def, row, &readers, rows, gives)?;
        Ok(match constant {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?),
            false => ColumnarValue::Array(array),
        })
    }
}

fn run_rows(
    def: &Def,
    run: fn(&[Value<'_>], &DataType) -> Answer,
    readers: &[Reader],
    rows: usize,
    gives: &DataType,
) -> Result<ArrayRef> {
    let mut out = ResultBuilder::new(gives, rows)?;
    let mut values = Vec::with_capacity(readers.len());
    for row in 0..rows {
        values.clear();
        values.extend(readers.iter().map(|r| r.value(row)));
        if def.strict && values.iter().any(|v| matches!(v, Value::Null)) {
            out.push(Out::Null)?;
            continue;
        }
        let answer = run(&values, gives).map_err(|message| exec_datafusion_err!("{message}"))?;
        out.push(answer)?;
    }
    out.finish()
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
