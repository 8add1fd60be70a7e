//! Binder of the options `erase` and `erase.by` of a table: orders to erase persons, and the paths to persons in rows.

use arrow::datatypes::{DataType, Schema};

use super::{find_option, similar_column};
use crate::mistake::Mistake;
use crate::plan::Origin;
use crate::plan::formats::{Format, IncludeKind};
use crate::plan::sources::erase_path::{ErasePath, parse, resolve};
use crate::sql::parse::ast::{ConflictDef, CreateRelation, OptionItem};

/// Option that names the column of a table of orders.
pub(super) const ERASE: &str = "erase";
/// Option with the paths to persons.
pub(super) const ERASE_BY: &str = "erase.by";

/// Meaning of both options.
#[derive(Default)]
pub(super) struct Erased {
    /// The column of a table of orders that names the person.
    pub orders: Option<usize>,
    /// Paths to persons.
    pub paths: Vec<ErasePath>,
}

/// Reads both options of a table with its columns, their origins and its key.
pub(super) fn bind(
    create: &CreateRelation,
    (schema, origins): (&Schema, &[Origin]),
    key: &[usize],
) -> (Erased, Vec<Mistake>) {
    let (mut erased, mut mistakes) = (Erased::default(), Vec::new());
    let (orders, by) = (find_option(&create.with, ERASE), find_option(&create.with, ERASE_BY));
    for item in [orders, by].into_iter().flatten().filter(|_| !create.table) {
        mistakes.push(
            Mistake::new(
                item.pos,
                format!(
                    "a source keeps no rows, so that nothing can be taken back: {} needs a table",
                    item.name
                ),
            )
            .hint("write CREATE TABLE with a PRIMARY KEY; a retention bounds what it keeps"),
        );
    }
    if !mistakes.is_empty() {
        return (erased, mistakes);
    }
    if let (Some(orders), Some(_)) = (orders, by) {
        let message = "a table holds either orders to erase persons or rows that hold persons";
        let hint = "leave erase.by out: the orders hold digests, and no identities";
        mistakes.push(Mistake::new(orders.pos, message).hint(hint));
        return (erased, mistakes);
    }
    if let Some(item) = orders {
        match bind_orders(create, item, (schema, origins), key) {
            Ok(column) => erased.orders = Some(column),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    for text in by.iter().flat_map(|item| item.value.split(',')) {
        let Some(item) = by else { continue };
        match bind_path(create, (item, text.trim()), (schema, origins)) {
            Ok(path) => erased.paths.push(path),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    (erased, mistakes)
}

/// Finds the column of a table of orders; refuses all by which an order could be lost or an identity kept.
fn bind_orders(
    create: &CreateRelation,
    item: &OptionItem,
    (schema, origins): (&Schema, &[Origin]),
    key: &[usize],
) -> Result<usize, Mistake> {
    let refuse = |message: String, hint: &str| Err(Mistake::new(item.pos, message).hint(hint));
    let Some((column, field)) = schema.column_with_name(&item.value) else {
        let message = format!("{} has no column {}", create.name.text, item.value);
        return Err(Mistake::new(item.pos, message).maybe_hint(similar_column(schema, &item.value)));
    };
    let named = &item.value;
    if *field.data_type() != DataType::Utf8 || schemas::is_jsonb(field) {
        let message = format!("{named} is {}, and a person is named by a VARCHAR", schemas::sql_type(field));
        return refuse(message, "declare the column as VARCHAR");
    }
    if !matches!(origins.get(column), Some(Origin::Decoded(_))) || key != [column] {
        let message =
            format!("{named} is not the PRIMARY KEY: an order is known by the person that it names");
        return refuse(message, "read the column from the records, and write PRIMARY KEY with it alone");
    }
    if create.format.0 != Format::Plain {
        let message = "an order to erase cannot be taken back, and FORMAT UPSERT and DEBEZIUM have deletes";
        return refuse(message.to_owned(), "write FORMAT PLAIN");
    }
    if let Some(other) = find_option(&create.with, "retention") {
        let message = "an order to erase is never forgotten: it holds for records that are still to come";
        return Err(Mistake::new(other.pos, message).hint("leave retention out"));
    }
    let generated = origins.iter().any(|origin| matches!(origin, Origin::Generated(_)));
    if generated || !create.checks.is_empty() {
        let message = "a table of orders to erase has no generated columns and no CHECK: they would see a digest in the \
                       place of the person";
        return refuse(message.to_owned(), "leave them out, and compute them in a view");
    }
    let raw =
        |kind: &IncludeKind| matches!(kind, IncludeKind::Key | IncludeKind::Payload | IncludeKind::Header(_));
    if create.includes.iter().any(|include| raw(&include.kind)) {
        let message = "the record of an order names the person, and INCLUDE would keep its bytes";
        return refuse(message.to_owned(), "include no more than timestamp, partition and offset");
    }
    Ok(column)
}

/// Binds a path to the columns of its table.
fn bind_path(
    create: &CreateRelation,
    (item, text): (&OptionItem, &str),
    (schema, origins): (&Schema, &[Origin]),
) -> Result<ErasePath, Mistake> {
    let example =
        "write erase.by = 'player', or erase.by = 'info.participants[].puuid'; several with commas between";
    let Some(names) = parse(text) else {
        return Err(Mistake::new(item.pos, format!("erase.by: {text:?} is no path")).hint(example));
    };
    let name = &names[0].0;
    let exact = schema.fields().iter().position(|field| field.name() == name);
    let found =
        exact.or_else(|| schema.fields().iter().position(|field| field.name().eq_ignore_ascii_case(name)));
    let Some(column) = found else {
        let message = format!("erase.by: {} has no column {name}", create.name.text);
        return Err(Mistake::new(item.pos, message).maybe_hint(similar_column(schema, name)));
    };
    match origins.get(column) {
        Some(Origin::Decoded(_)) => {}
        Some(Origin::Generated(_)) => {
            return Err(Mistake::new(item.pos, format!("erase.by: the column {name} is computed"))
                .hint("name the column that it is computed from"));
        }
        _ => {
            return Err(Mistake::new(item.pos, format!("erase.by: the column {name} is INCLUDEd"))
                .hint("name a column that is read from the record's value or key"));
        }
    }
    if let Some((ConflictDef::Overwrite { version: Some(version) }, _)) = &create.conflict
        && version.text == *schema.field(column).name()
    {
        return Err(Mistake::new(
            item.pos,
            format!("erase.by: {name} is the version, which is kept of deleted rows"),
        )
        .hint("let another column be the version"));
    }
    match resolve(schema.field(column), &names) {
        Ok(steps) => Ok(ErasePath { text: text.to_owned(), column, steps }),
        Err(message) => Err(Mistake::new(item.pos, format!("erase.by: {text}: {message}")).hint(example)),
    }
}
