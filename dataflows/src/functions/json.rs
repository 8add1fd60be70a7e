//! Functions and operators over JSONB.
//!
//! Each is a [`JsonDef`]: its name, the arguments it takes, the type it gives, and a body over the values of
//! one row; NULL for any argument is NULL. The names are PostgreSQL's where it has them; names beginning with
//! `herald_` implement an operator, a cast or a function in FROM. A text constant where JSONB is taken is
//! read as JSONB, as PostgreSQL reads an untyped literal. A JSONB value is passed in and out as its canonical
//! text (see `schemas::types::jsonb`).

mod access;
pub(crate) mod aggregate;
mod args;
pub(crate) mod build;
mod cast;
mod change;
pub(crate) mod key;
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
use schemas::types::jsonb::JsonbError;

use super::eval::about::{About, about, called};
use super::eval::value::scalar_text;
use super::types::is_text;
use args::{ArgColumns, names_of};
use out::JsonColumnBuilder;

/// The kind of argument that a function takes in one place.
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
    /// A text or bytes.
    Bytes,
}

impl Takes {
    /// Returns the word of the reference pages for such arguments.
    fn page_word(self) -> &'static str {
        match self {
            Takes::Json => "JSONB",
            Takes::Name | Takes::Text => "VARCHAR",
            Takes::Number => "BIGINT",
            Takes::Names => "VARCHAR[]",
            Takes::Flag => "BOOLEAN",
            Takes::Step => "VARCHAR / BIGINT / VARCHAR[]",
            Takes::Bytes => "VARCHAR / BYTEA",
        }
    }
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
    /// Bytes.
    Bytes(&'a [u8]),
}

/// The type of a function's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JsonType {
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
    /// An array of `key` and `value`, where `value` is JSONB.
    Members,
    /// An array of `key` and `value`, where `value` is text.
    TextMembers,
}

/// The result for one row.
#[derive(Debug)]
pub(super) enum JsonResult {
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

/// The computation of one row: from its values, none of them NULL, to the result or an error message.
pub(super) type Body = fn(&[Arg<'_>]) -> std::result::Result<JsonResult, String>;

/// One function.
pub(super) struct JsonDef {
    pub name: &'static str,
    /// The kinds of its arguments; the last may repeat if `more` is true.
    pub takes: &'static [Takes],
    /// The least number of arguments.
    pub least: usize,
    pub more: bool,
    pub gives: JsonType,
    pub body: Body,
}

impl JsonDef {
    /// Defines a function of a fixed number of arguments.
    const fn new(name: &'static str, takes: &'static [Takes], gives: JsonType, body: Body) -> JsonDef {
        JsonDef { name, takes, least: takes.len(), more: false, gives, body }
    }

    /// Returns the kind of the argument at a place.
    fn argument_at(&self, place: usize) -> Option<Takes> {
        let last = if self.more { self.takes.last() } else { None };
        self.takes.get(place).or(last).copied()
    }
}

/// The lines of the reference pages about these functions.
pub(crate) const ABOUT: &[About] = &[
    about(
        "jsonb_extract_path json_extract_path",
        "The part at a path of names and numbers; `#>` is the same.",
    ),
    about(
        "jsonb_extract_path_text json_extract_path_text",
        "The part at a path, as text; `#>>` is the same.",
    ),
    about("jsonb_contains", "True if the first value contains the second; `@>` is the same."),
    about("jsonb_contained", "True if the second value contains the first; `<@` is the same."),
    about("jsonb_exists", "True if a name is a member or an element; `?` is the same."),
    about("jsonb_exists_any", "True if any of the names is; `?|` is the same."),
    about("jsonb_exists_all", "True if all of the names are; `?&` is the same."),
    about("jsonb_typeof json_typeof", "Kind of the value: object, array, string, number, boolean or null."),
    about("jsonb_array_length json_array_length", "Number of elements of an array."),
    about("jsonb_concat", "Two objects or arrays as one; `||` is the same."),
    about("jsonb_delete", "The value without members of these names, or without element n; `-` is the same."),
    about("jsonb_delete_path", "The value without the part at a path; `#-` is the same."),
    about(
        "jsonb_set",
        "The value with another part at a path; added if missing, unless the last argument is false.",
    ),
    about(
        "jsonb_insert",
        "The value with a part put in before a path; behind it, if the last argument is true.",
    ),
    about("jsonb_strip_nulls json_strip_nulls", "The value without the members that are null."),
    about("jsonb_pretty", "The value as text with line breaks."),
    about("try_jsonb", "The text or the bytes as JSONB; NULL if they are not JSON."),
    called("to_jsonb", &["to_jsonb(any) -> JSONB"], "The value as JSONB."),
    called(
        "jsonb_build_object",
        &["jsonb_build_object(VARCHAR, any, ...) -> JSONB"],
        "Object of names and values in turn.",
    ),
    called("jsonb_build_array", &["jsonb_build_array(any, ...) -> JSONB"], "Array of the arguments."),
];

/// Returns all functions over JSONB.
pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    let tables = [access::FUNCTIONS, search::FUNCTIONS, change::FUNCTIONS, cast::FUNCTIONS];
    let plain = tables.into_iter().flatten().map(|def| Arc::new(ScalarUDF::from(JsonUdf::new(def))));
    plain.chain(build::functions()).chain([key::function()]).collect()
}

/// Builds a call of the function `name`, which is one of these.
///
/// # Errors
/// When there is no such function.
pub(crate) fn call(name: &str, args: Vec<Expr>) -> Result<Expr> {
    match super::FUNCTIONS.scalar(name) {
        Some(function) => Ok(function.call(args)),
        None => plan_err!("there is no function {name}"),
    }
}

/// A [`JsonDef`] as a DataFusion function.
#[derive(Debug)]
struct JsonUdf {
    def: &'static JsonDef,
    signature: Signature,
}

impl std::fmt::Debug for JsonDef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for JsonUdf {
    fn eq(&self, other: &JsonUdf) -> bool {
        self.def.name == other.def.name
    }
}

impl Eq for JsonUdf {}

impl Hash for JsonUdf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.def.name.hash(state);
    }
}

/// Returns the signature for any number of arguments of any types; they are checked once their fields are
/// known.
pub(super) fn any_arguments() -> Signature {
    let either = vec![TypeSignature::VariadicAny, TypeSignature::Nullary];
    Signature::one_of(either, Volatility::Immutable)
}

impl JsonUdf {
    fn new(def: &'static JsonDef) -> JsonUdf {
        JsonUdf { def, signature: any_arguments() }
    }

    fn check_arguments(&self, args: &ReturnFieldArgs<'_>) -> Result<()> {
        let (name, given) = (operator_or_name(self.def.name), args.arg_fields.len());
        if given < self.def.least || (given > self.def.takes.len() && !self.def.more) {
            return plan_err!("'{name}' takes {} arguments, not {given}", self.def.takes.len());
        }
        for (place, field) in args.arg_fields.iter().enumerate() {
            let constant = args.scalar_arguments.get(place).copied().flatten();
            let Some(takes) = self.def.argument_at(place) else {
                return plan_err!("{name} takes fewer arguments");
            };
            check_argument(takes, field, constant, (name, place))?;
            if self.def.name == "herald_jsonb_parse" {
                check_json_constant(scalar_text(constant))?;
            }
        }
        Ok(())
    }
}

/// Returns the arguments and the result of a function of this folder's tables, as the reference pages show
/// them; None for another function.
pub(crate) fn overloads(function: &ScalarUDF) -> Option<Vec<(String, String)>> {
    let def = function.inner().downcast_ref::<JsonUdf>()?.def;
    let mut words: Vec<String> = def.takes.iter().copied().map(Takes::page_word).map(str::to_owned).collect();
    for optional in &mut words[def.least..] {
        *optional = format!("[{optional}]");
    }
    if def.more {
        words.push("...".to_owned());
    }
    Some(vec![(words.join(", "), schemas::sql_type(&def.gives.field("")))])
}

/// Returns the operator that a function implements, or else its own name.
fn operator_or_name(name: &'static str) -> &'static str {
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

/// Returns the message of an error about a JSONB value.
fn error_text(error: JsonbError) -> String {
    error.to_string()
}

/// Makes the error of a row whose value is no JSONB.
fn execution_error(error: JsonbError) -> DataFusionError {
    DataFusionError::Execution(error.to_string())
}

/// Returns a function's name in quotes, by which the error's position is found; an operator unchanged.
fn quote_name(name: &str) -> String {
    if name.contains(char::is_alphabetic) { format!("'{name}'") } else { name.to_owned() }
}

/// Refuses a constant that is not JSON.
fn check_json_constant(text: Option<&str>) -> Result<()> {
    if let Some(text) = text
        && let Err(error) = schemas::types::jsonb::parse(text)
    {
        return plan_err!("'{text}' is no JSONB, {error}: write JSON, texts in it in double quotes");
    }
    Ok(())
}

/// Returns true for an array of texts, and for a constant text that is read as one.
fn is_name_list(of: &DataType, text: Option<&str>) -> bool {
    match of {
        DataType::List(item) => is_text(item.data_type()) && !schemas::is_jsonb(item),
        _ => text.is_some_and(|text| names_of(text).is_ok()),
    }
}

/// Refuses an argument of a type that the place does not take.
fn check_argument(
    takes: Takes,
    field: &FieldRef,
    constant: Option<&ScalarValue>,
    (name, place): (&str, usize),
) -> Result<()> {
    let of = field.data_type();
    let text = scalar_text(constant);
    let plain_text = is_text(of) && !schemas::is_jsonb(field);
    let fits = match takes {
        _ if *of == DataType::Null => true,
        Takes::Json => {
            check_json_constant(text)?;
            schemas::is_jsonb(field) || (text.is_some() && place > 0)
        }
        Takes::Name => plain_text,
        Takes::Text => is_text(of),
        Takes::Number => of.is_integer(),
        Takes::Names => is_name_list(of, text),
        Takes::Flag => *of == DataType::Boolean,
        Takes::Bytes => plain_text || *of == DataType::Binary,
        Takes::Step => plain_text || of.is_integer() || is_name_list(of, text),
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
        (Takes::Json, _) => {
            plan_err!("{} needs JSONB, not {found}: write CAST(x AS JSONB)", quote_name(name))
        }
        (Takes::Names, _) => plan_err!(
            "{} needs an array of texts beside JSONB, not {found}: write ARRAY['a', 'b']",
            quote_name(name)
        ),
        _ => plan_err!(
            "'{name}' does not take {found} at place {} beside JSONB: convert it with CAST",
            place + 1
        ),
    }
}

impl ScalarUDFImpl for JsonUdf {
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
        self.check_arguments(&args)?;
        Ok(Arc::new(self.def.gives.field(self.def.name)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let columns = ArgColumns::new(self.def, &args.args, rows)?;
        let mut out = JsonColumnBuilder::new(self.def.gives);
        for row in 0..rows {
            match columns.row(row) {
                None => out.push(JsonResult::Null)?,
                Some(values) => out.push((self.def.body)(&values).map_err(DataFusionError::Execution)?)?,
            }
        }
        Ok(ColumnarValue::Array(out.finish()))
    }
}

#[cfg(test)]
mod tests;
