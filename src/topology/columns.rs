//! Columns that a relation leaves out because its encoding names them.
//!
//! With ENCODE AVRO they come from `schema.file`, or from the newest schema that the registry has for the
//! topic's values; with FORMAT DEBEZIUM they are those of the rows inside the events. JSON names none. Where
//! the network may not be used, a relation that needs a registry is refused with a hint.

use std::collections::BTreeMap;

use arrow::datatypes::Field;
use dataflows::plan::formats::{Encoding, Format};
use dataflows::sql::parse::ast::{CreateRelation, OptionItem};
use schemas::{Registry, SchemaError, columns_of_avro, columns_of_debezium};

use super::{Network, find_option};

/// The columns that the encoding of a relation names; None if it names none.
pub fn columns_of(create: &CreateRelation, network: Network) -> Result<Option<Vec<Field>>, String> {
    let (encoding, items, _) = &create.encode;
    if *encoding != Encoding::Avro {
        return Ok(None);
    }
    let schema = match (option_value(items, "schema.file"), option_value(items, "schema.registry")) {
        (Some(path), _) => std::fs::read_to_string(path)
            .map_err(|error| format!("schema.file {path} cannot be read: {error}"))?,
        (None, Some(_)) if network == Network::Refused => {
            return Err(
                "the columns come from the schema registry, which is asked with --connect only".to_owned()
            );
        }
        (None, Some(url)) => latest_schema(url, create, items)?,
        (None, None) => return Ok(None),
    };
    let columns = match create.format.0 {
        Format::Debezium => columns_of_debezium(&schema),
        Format::Plain | Format::Upsert => columns_of_avro(&schema),
    };
    let columns = columns.map_err(describe_error)?;
    Ok(Some(columns.fields().iter().map(|field| field.as_ref().clone()).collect()))
}

/// The newest value schema that the registry has for the relation's topic.
fn latest_schema(url: &str, create: &CreateRelation, items: &[OptionItem]) -> Result<String, String> {
    let topic = option_value(&create.with, "topic")
        .ok_or("the option topic is missing, and the registry is asked by it")?;
    let options: BTreeMap<String, String> =
        items.iter().map(|item| (item.name.clone(), item.value.clone())).collect();
    let registry = Registry::new(url, &options).map_err(describe_error)?;
    let (_, text) = registry.latest(&format!("{topic}-value")).map_err(describe_error)?;
    Ok(text)
}

/// The value of an option, if it is given.
fn option_value<'a>(items: &'a [OptionItem], name: &str) -> Option<&'a str> {
    Some(find_option(items, name)?.value.as_str())
}

fn describe_error(error: SchemaError) -> String {
    error.to_string()
}
