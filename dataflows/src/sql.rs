//! From text to plan: parse, bind, plan with DataFusion's parts, lower.
//!
//! [`parse()`] reads topology files into [`parse::ast::Statement`]s, each name with its place in the text;
//! variables are replaced and windows rewritten on the way. The binder resolves the statements
//! against each other; queries go through DataFusion's planner and optimiser and come out as
//! relations of [`crate::plan::Plan`]. Every mistake of every file is collected as an
//! [`crate::mistake::SqlError`]; no DataFusion plan type leaves this module.

mod bind;
mod catalog;
mod compile;
pub mod diagnostics;
pub(crate) mod logical;
mod lower;
pub mod parse;
pub(crate) mod planners;
mod query;
pub mod question;
pub(crate) mod syntax;
mod trial;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::{DataType, Field};
use datafusion_common::config::ConfigOptions;
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs};

pub use crate::functions::eval::print::{double as double_text, real as real_text};
pub use crate::mistake::SqlFile;
pub use crate::mistake::{Mistake, SqlError};
pub use bind::ColumnsOf;
pub use compile::compile;
pub use parse::bounds::{bounded, same_tokens};
pub use parse::walk::{walk_expr, walk_query};
pub use parse::{parse, parse_topics};

/// Tables of the dialect, for the reference pages of the documentation.
pub mod reference {
    mod functions;
    mod statements;
    mod types;

    pub use functions::{FunctionEntry, functions};
    pub use statements::{StatementEntry, statements};
    pub use types::{TypeEntry, types};
}

/// The value of a text as a literal of a column's type, as CAST reads it: an array with one value.
///
/// # Errors
/// The reason why the text is none, in a sentence.
pub fn literal_value(text: &str, column: &Field) -> Result<ArrayRef, String> {
    let value: ArrayRef = Arc::new(StringArray::from(vec![text]));
    if *column.data_type() == DataType::Utf8 {
        return Ok(value);
    }
    let given = Field::new("text", DataType::Utf8, false);
    let Some(cast) = crate::functions::cast_function(&given, column) else {
        return Err(format!("no text is read as {}", schemas::sql_type(column)));
    };
    let read = cast.invoke_with_args(ScalarFunctionArgs {
        args: vec![ColumnarValue::Array(value)],
        arg_fields: vec![Arc::new(given)],
        number_rows: 1,
        return_field: Arc::new(column.clone()),
        config_options: Arc::new(ConfigOptions::default()),
    });
    read.and_then(|read| read.into_array(1)).map_err(query::evaluation_message)
}

/// Names of the scalar functions that a query may call, aliases included. A test of each can be told by it.
pub fn scalar_functions() -> Vec<String> {
    crate::functions::FUNCTIONS.scalar_names()
}

/// Names of the aggregates that a query may call, aliases included.
pub fn aggregate_functions() -> Vec<String> {
    crate::functions::FUNCTIONS.aggregate_names()
}
