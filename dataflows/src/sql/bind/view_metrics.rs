//! Binder of a view's option `metrics`: columns whose values are exported as gauges, labelled by all others.
//!
//! A series is named by the labels of a row, so the view must have one row for them, and their names and types must
//! be such that Prometheus takes them.

use arrow::datatypes::{DataType, Field};

use super::find_option;
use super::option_columns::{key_columns, quoted_names};
use crate::mistake::Mistake;
use crate::plan::Rel;
use crate::plan::analysis::properties::covers_key;
use crate::sql::parse::ast::OptionItem;

/// Labels that every series of a view has.
const OWN_LABELS: [&str; 3] = ["topology", "view", "column"];

/// Binds the exported columns of the view that shows `rel`; none without the option.
///
/// # Errors
/// All mistakes in the option.
pub(crate) fn bind_metrics(with: &[OptionItem], rel: &Rel) -> Result<Vec<usize>, Vec<Mistake>> {
    let Some(option) = find_option(with, "metrics") else { return Ok(Vec::new()) };
    let mut mistakes = Vec::new();
    let schema = &rel.schema;
    let columns = key_columns(option, schema, &mut mistakes);
    for column in &columns {
        let field = schema.field(*column);
        if !(field.data_type().is_numeric() || field.data_type().is_decimal()) {
            let (name, kind) = (field.name(), schemas::sql_type(field));
            mistakes.push(
                Mistake::new(option.pos, format!("metrics: {name} is {kind}, and a metric is a number"))
                    .hint(metric_hint(field)),
            );
        }
    }
    let labels: Vec<usize> = (0..schema.fields().len()).filter(|at| !columns.contains(at)).collect();
    for label in &labels {
        mistakes.extend(refuse_label(option, schema.field(*label)));
    }
    let fixed: Vec<usize> = labels.iter().chain(rel.constants.keys()).copied().collect();
    if mistakes.is_empty() && !rel.unique.iter().any(|key| covers_key(key, &fixed, &rel.paired)) {
        let names = quoted_names(schema, &labels);
        let message = match labels.len() {
            0 => "metrics: without other columns as labels, rows would be one series".to_owned(),
            _ => format!("metrics: the labels of a row are {names}, and that key is not proven unique"),
        };
        let hint = "GROUP BY the columns that are no metrics, or leave the others out of the view";
        mistakes.push(Mistake::new(option.pos, message).hint(hint));
    }
    if mistakes.is_empty() { Ok(columns) } else { Err(mistakes) }
}

/// Hint at a number in place of a column.
fn metric_hint(field: &Field) -> String {
    let name = field.name();
    match field.data_type() {
        DataType::Timestamp(..) | DataType::Interval(_) => {
            format!("select its seconds: extract(epoch FROM {name}) AS {name}_seconds")
        }
        DataType::Boolean => format!("select CAST({name} AS INT) AS {name}"),
        _ => "name columns of numbers; all others are labels".to_owned(),
    }
}

/// Refuses a column that cannot be a label: by its type, or by its name.
fn refuse_label(option: &OptionItem, field: &Field) -> Option<Mistake> {
    let name = field.name();
    let of = field.data_type();
    if of.is_nested() || *of == DataType::Binary || schemas::is_jsonb(field) {
        let message = format!("metrics: {name} would be a label, and is {}", schemas::sql_type(field));
        return Some(
            Mistake::new(option.pos, message).hint("leave it out of the view, or select a text of it"),
        );
    }
    let word = |(at, c): (usize, char)| c == '_' || c.is_ascii_alphabetic() || (at > 0 && c.is_ascii_digit());
    let taken = OWN_LABELS.contains(&name.as_str());
    if !taken && !name.starts_with("__") && name.chars().enumerate().all(word) {
        return None;
    }
    let message = match taken {
        true => format!("metrics: {name} would be a label, and every series has one of that name"),
        false => format!("metrics: \"{name}\" cannot be the name of a label"),
    };
    Some(Mistake::new(option.pos, message).hint("give it another name in the view, of letters, digits and _"))
}
