//! Functions and operators over JSONB.
//!
//! Each is a [`Def`]: its name, what it takes and gives, and a body over the values of one row; NULL
//! for any argument is NULL. The names are PostgreSQL's where it has them, and begin with `herald_`
//! for what stands for an operator, a cast or a function in FROM. A text constant where JSONB is taken
//! is read as JSONB, as PostgreSQL reads an untyped literal. JSONB comes in as the one text of each
//! value (see `schemas::jsonb`) and leaves as such.

mod access;
pub(crate) mod aggregate;
mod args;
pub(crate) mod build;
mod cast;
mod change;
pub(crate) mod key;
pub(super) mod operators;
mod out;
mod search;

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion_common::{DataFusionError, Result, ScalarValue, plan_err};
use datafusion_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    TypeSignature, Volatility,
};

use args::{Columns, names_of};
use out::Builder;

/// What a function takes in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// JSONB, or a text constant that is JSON.
    Json,
    /// A text.
    Name,
    /// A text, or JSONB as its text.
    Text,
    /// An integer.
    Number,
    /// An array of texts, or a constant such as `'{a,b}'`.
    Names,
    /// A boolean.
    Flag,
    /// A text, an integer or an array of texts.
    Step,
}

/// One value of a row.
#[derive(Debug)]
pub(super) enum Arg<'a> {
    /// The text of a JSONB value.
    Json(&'a str),
    /// A text.
    Name(&'a str),
    /// An integer.
    Number(i64),
    /// Texts, of which some may be NULL.
    Names(Cow<'a, [Option<String>]>),
    /// A boolean.
    Flag(bool),
}

/// What a function gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gives {
    /// JSONB.
    Json,
    /// A text.
    Text,
    /// A boolean.
    Flag,
    /// An INT.
    Number,
    /// An array of JSONB.
    Jsons,
    /// An array of texts.
    Texts,
    /// An array of `key` and `value`, which is JSONB.
    Members,
    /// An array of `key` and `value`, which is text.
    TextMembers,
}

/// The result for one row.
#[derive(Debug)]
pub(super) enum Value {
    /// NULL.
    Null,
    /// JSONB or a text.
    Text(String),
    /// A boolean.
    Flag(bool),
    /// An integer.
    Number(i32),
    /// An array of JSONB or texts.
    List(Vec<Option<String>>),
    /// Members of an object.
    Members(Vec<(String, Option<String>)>),
}

/// A body: the values of one row, none of them NULL, to the result or why there is none.
pub(super) type Body = fn(&[Arg<'_>]) -> std::result::Result<Value, String>;

/// One function.
pub(super) struct Def {
    pub name: &'static str,
    /// What it takes, the last as often as wanted where `more` is true.
    pub takes: &'static [Takes],
    /// How many arguments there must be.
    pub least: usize,
    pub more: bool,
    pub gives: Gives,
    pub body: Body,
}

impl Def {
    /// A function of a fixed number of arguments.
    const fn new(name: &'static str, takes: &'static [Takes], gives: Gives, body: Body) -> Def {
        Def { name, takes, least: takes.len(), more: false, gives, body }
    }

    /// What stands at a place.
    fn at(&self, place: usize) -> Option<Takes> {
        let last = self.more.then(|| self.takes.last()).flatten();
        self.takes.get(place).or(last).copied()
    }
}

/// All functions over JSONB, by which name they are called.
pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    let tables = [access::FUNCTIONS, search::FUNCTIONS, change::FUNCTIONS, cast::FUNCTIONS];
    let plain = tables.into_iter().flatten().map(|def| Arc::new(ScalarUDF::from(Function::of(def))));
    plain.chain(build::functions()).chain([key::function()]).collect()
}

/// A call of the function `name`, which is one of these.
///
/// # Errors
/// When there is no such function.
pub(crate) fn call(name: &str, args: Vec<Expr>) -> Result<Expr> {
    match super::FUNCTIONS.scalar(name) {
        Some(function) => Ok(function.call(args)),
        None => plan_err!("there is no function {name}"),
    }
}

/// A [`Def`] as DataFusion takes it.
#[derive(Debug)]
struct Function {
    def: &'static Def,
    signature: Signature,
}

impl std::fmt::Debug for Def {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Function) -> bool {
        self.def.name == other.def.name
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.def.name.hash(state);
    }
}

/// Any number of arguments of any types: what is taken is judged with the fields at hand.
pub(super) fn any_arguments() -> Signature {
    let either = vec![TypeSignature::VariadicAny, TypeSignature::Nullary];
    Signature::one_of(either, Volatility::Immutable)
}

impl Function {
    fn of(def: &'static Def) -> Function {
        Function { def, signature: any_arguments() }
    }

    fn judge(&self, args: &ReturnFieldArgs<'_>) -> Result<()> {
        let (name, given) = (shown(self.def.name), args.arg_fields.len());
        if given < self.def.least || (given > self.def.takes.len() && !self.def.more) {
            return plan_err!("'{name}' takes {} arguments, not {given}", self.def.takes.len());
        }
        for (place, field) in args.arg_fields.iter().enumerate() {
            let constant = args.scalar_arguments.get(place).copied().flatten();
            let Some(takes) = self.def.at(place) else { return plan_err!("{name} takes fewer arguments") };
            accepts(takes, field, constant, (name, place))?;
            if self.def.name == "herald_jsonb_parse" {
                readable(constant.and_then(|c| c.try_as_str().flatten()))?;
            }
        }
        Ok(())
    }
}

/// The operator that a function stands for, or its own name.
fn shown(name: &'static str) -> &'static str {
    match name {
        "herald_jsonb_get" | "herald_jsonb_get_text" => "->",
        "herald_jsonb_path" => "#>",
        "herald_jsonb_path_text" => "#>>",
        "jsonb_contains" => "@>",
        "jsonb_contained" => "<@",
        "jsonb_exists" => "?",
        "jsonb_exists_any" => "?|",
        "jsonb_exists_all" => "?&",
        "jsonb_delete_path" => "#-",
        "jsonb_concat" => "||",
        "jsonb_delete" => "-",
        "herald_jsonb_elements" => "jsonb_array_elements",
        "herald_jsonb_elements_text" => "jsonb_array_elements_text",
        "herald_jsonb_keys" => "jsonb_object_keys",
        "herald_jsonb_each" => "jsonb_each",
        "herald_jsonb_each_text" => "jsonb_each_text",
        other => other,
    }
}

/// A function's name in quotes, by which its place is found; an operator as it is.
fn quoted(name: &str) -> String {
    if name.contains(char::is_alphabetic) { format!("'{name}'") } else { name.to_owned() }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Refuses a constant that is not JSON.
fn readable(text: Option<&str>) -> Result<()> {
    match text.map(|text| (text, schemas::jsonb::parse(text))) {
        Some((text, Err(error))) => {
            plan_err!("'{text}' is no JSONB, {error}: write JSON, texts in it in double quotes")
        }
        _ => Ok(()),
    }
}

/// Refuses an argument that the place does not take.
fn accepts(
    takes: Takes,
    field: &FieldRef,
    constant: Option<&ScalarValue>,
    (name, place): (&str, usize),
) -> Result<()> {
    let of = field.data_type();
    let text = constant.and_then(|c| c.try_as_str().flatten());
    let plain_text = is_text(of) && !schemas::is_jsonb(field);
    let names = || match of {
        DataType::List(item) => is_text(item.data_type()) && !schemas::is_jsonb(item),
        _ => text.is_some_and(|text| names_of(text).is_ok()),
    };
    let fits = match takes {
        _ if *of == DataType::Null => true,
        Takes::Json => {
            readable(text)?;
            schemas::is_jsonb(field) || (text.is_some() && place > 0)
        }
        Takes::Name => plain_text,
        Takes::Text => is_text(of),
        Takes::Number => of.is_integer(),
        Takes::Names => names(),
        Takes::Flag => *of == DataType::Boolean,
        Takes::Step => plain_text || of.is_integer() || names(),
    };
    if fits {
        return Ok(());
    }
    let found = schemas::sql_type(field);
    match (takes, name) {
        (Takes::Json, "->") => plan_err!("-> and ->> need JSONB on their left, not {found}"),
        (Takes::Step, "->") => {
            plan_err!("-> and ->> need a member's name or an element's number on their right")
        }
        (Takes::Json, _) => plan_err!("{} needs JSONB, not {found}: write CAST(x AS JSONB)", quoted(name)),
        (Takes::Names, _) => plan_err!(
            "{} needs an array of texts beside JSONB, not {found}: write ARRAY['a', 'b']",
            quoted(name)
        ),
        _ => plan_err!(
            "'{name}' does not take {found} at place {} beside JSONB: convert it with CAST",
            place + 1
        ),
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.def.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.def.gives.field("").data_type().clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.judge(&args)?;
        Ok(Arc::new(self.def.gives.field(self.def.name)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let columns = Columns::new(self.def, &args.args, rows)?;
        let mut out = Builder::new(self.def.gives);
        for row in 0..rows {
            match columns.row(row) {
                None => out.push(Value::Null)?,
                Some(values) => out.push((self.def.body)(&values).map_err(DataFusionError::Execution)?)?,
            }
        }
        Ok(ColumnarValue::Array(out.finish()))
    }
}

#[cfg(test)]
mod tests;
