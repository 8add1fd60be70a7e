//! Binder of `CREATE INDEX`: resolves the view and its columns, and checks that they can be indexed.
//!
//! An index finds rows by the bytes of their values, so its columns have types whose values are equal if and only
//! if their packed bytes are.

use arrow::datatypes::Schema;

use super::similar_column;
use crate::mistake::Mistake;
use crate::plan::ViewIndex;
use crate::sql::parse::ast::{CreateIndex, Name, Statement};

/// Binds an index to the columns of its view.
///
/// # Errors
/// All mistakes in the columns.
pub(crate) fn bind_index(create: &CreateIndex, schema: &Schema) -> Result<ViewIndex, Vec<Mistake>> {
    let (mut columns, mut mistakes) = (Vec::new(), Vec::new());
    for name in &create.columns {
        match find_column(create, schema, name) {
            Ok(column) if columns.contains(&column) => {
                let message = format!("the column {} is in the index twice", name.text);
                mistakes.push(Mistake::new(name.pos, message).hint("leave one out"));
            }
            Ok(column) => columns.push(column),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    if mistakes.is_empty() {
        Ok(ViewIndex { name: create.name.text.clone(), columns })
    } else {
        Err(mistakes)
    }
}

/// Finds a column by its name; refuses an unknown one, and a type that cannot be indexed.
fn find_column(create: &CreateIndex, schema: &Schema, name: &Name) -> Result<usize, Mistake> {
    let Some((at, field)) = schema.column_with_name(&name.text) else {
        let message = format!("{} has no column {}", create.view.text, name.text);
        return Err(Mistake::new(name.pos, message).maybe_hint(similar_column(schema, &name.text)));
    };
    if schemas::is_equal_by_bytes(field) {
        return Ok(at);
    }
    let message = format!(
        "the column {} cannot be indexed: it is {}, whose equal values may have different bytes",
        name.text,
        schemas::sql_type(field)
    );
    let hint = "make a part of it, or a CAST to another type, a column of the view, and index that";
    Err(Mistake::new(name.pos, message).hint(hint))
}

/// Word for the object that a statement creates.
pub(crate) fn object_word(statement: &Statement) -> &'static str {
    match statement {
        Statement::Relation(create) if create.table => "table",
        Statement::Relation(_) => "source",
        Statement::View(create) if create.materialized => "materialized view",
        Statement::Declared(create) if create.materialized => "materialized view",
        Statement::View(_) | Statement::Declared(_) => "view",
        Statement::Insert(_) => "insertion",
        Statement::Sink(_) => "sink",
        Statement::Index(_) => "index",
    }
}

/// Refusal of an index on an object that is no materialized view, and for which `word` stands.
pub(crate) fn not_indexed(view: &Name, word: &str) -> Mistake {
    let name = &view.text;
    match word {
        "view" => Mistake::new(view.pos, format!("{name} is not materialized: it keeps no rows to index"))
            .hint(format!("write CREATE MATERIALIZED VIEW {name} AS ...")),
        "table" | "source" => {
            let message = format!("{name} is a {word}, and an index is on a materialized view");
            let hint =
                format!("write CREATE MATERIALIZED VIEW {name}_rows AS SELECT * FROM {name}, and index that");
            Mistake::new(view.pos, message).hint(hint)
        }
        _ => {
            let article = if word == "index" { "an" } else { "a" };
            let message = format!("{name} is {article} {word}, and an index is on a materialized view");
            Mistake::new(view.pos, message).hint("name the view")
        }
    }
}
