//! Columns that the value of an option lists, as in `primary_key = 'a, "B"'`.

use arrow::datatypes::Schema;

use super::similar_column;
use crate::functions::text::format::quote_identifier;
use crate::mistake::Mistake;
use crate::sql::parse::ast::OptionItem;
use crate::sql::parse::tokens::fold;

/// Resolves the columns of a `'a, b, "C"'` list.
pub(super) fn key_columns(item: &OptionItem, schema: &Schema, mistakes: &mut Vec<Mistake>) -> Vec<usize> {
    let mut out = Vec::new();
    for word in item.value.split(',').map(str::trim) {
        let quoted = word.strip_prefix('"').and_then(|w| w.strip_suffix('"'));
        let name = match quoted {
            Some(name) => name.replace("\"\"", "\""),
            None => fold(word, None),
        };
        match schema.column_with_name(&name) {
            Some((c, _)) if out.contains(&c) => {
                mistakes.push(Mistake::new(item.pos, format!("{} names {name} twice", item.name)))
            }
            Some((c, _)) => out.push(c),
            None => {
                let hint = similar_column(schema, &name);
                mistakes.push(
                    Mistake::new(item.pos, format!("{}: there is no column {name}", item.name))
                        .maybe_hint(hint),
                );
            }
        }
    }
    out
}

/// Names of columns with commas between: those that would fold stand in double quotes.
pub(super) fn quoted_names(schema: &Schema, columns: &[usize]) -> String {
    let mut names = Vec::with_capacity(columns.len());
    for column in columns {
        names.push(quote_identifier(schema.field(*column).name()));
    }
    names.join(",")
}
