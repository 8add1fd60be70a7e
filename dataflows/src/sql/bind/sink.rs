//! Binder of `CREATE SINK`: checks format, key and encodings against the proven properties of its view.
//!
//! UPSERT and DEBEZIUM need a key that the view proves unique; PLAIN needs a view that never takes
//! a row back. A refusal names the operator that retracts, or the proven keys.

use arrow::datatypes::{DataType, Schema};

use super::export::{bind_export, check_view};
use super::keyed::encoding_of_keys;
use super::option_columns::{key_columns, quoted_names};
use super::{check_connector, find_option, option_map};
use crate::mistake::{Mistake, Pos};
use crate::plan::analysis::properties::{covers_key, why_retracts};
use crate::plan::formats::{Encoding, Format};
use crate::plan::{Plan, Rel, RelId, Sink, Source};
use crate::sql::parse::ast::{CreateSink, SinkInput};

/// Binds the sink over `rel`; [`check_key`] proves its key later, with the whole plan.
pub(crate) fn bind_sink(create: &CreateSink, rel: RelId, schema: &Schema) -> Result<Sink, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let what = format!("sink {}", create.name.text);
    if let Err(mistake) =
        check_connector(&create.with, &["kafka", "file", "parquet", "blackhole"], (&what, create.pos))
    {
        mistakes.push(mistake);
    }
    let named = match create.format.0 {
        Format::Plain => "key",
        Format::Upsert | Format::Debezium => "primary_key",
    };
    let other = if named == "key" { "primary_key" } else { "key" };
    if let Some(item) = find_option(&create.with, other) {
        let format = create.format.0.word();
        mistakes.push(
            Mistake::new(item.pos, format!("FORMAT {format} has no option {other}"))
                .hint(format!("write {named} = '{}'", item.value)),
        );
    }
    let key = match find_option(&create.with, named) {
        Some(item) => key_columns(item, schema, &mut mistakes),
        None => vec![],
    };
    let (key_encoding, key_encode_options) = encoding_of_keys(&create.encode, create.key_encode.as_ref());
    if let Some((encoding, _, pos)) = &create.key_encode {
        mistakes.extend(check_key_encode((*encoding, *pos), &key, schema, named));
    }
    let mut rest = option_map(&create.with);
    rest.remove(named);
    let pseudonyms = bind_pseudonyms(create, schema, &mut mistakes);
    rest.retain(|name, _| ![PSEUDONYMS, PSEUDONYM_KEY].contains(&name.as_str()));
    mistakes.extend(bind_export(create, schema, &mut rest));
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    Ok(Sink {
        name: create.name.text.clone(),
        rel,
        format: create.format.0,
        encoding: create.encode.0,
        key_encoding,
        encode_options: option_map(&create.encode.1),
        key_encode_options,
        key,
        pseudonyms,
        record_name: match &create.input {
            SinkInput::From(view) => view.text.clone(),
            SinkInput::Query(..) => create.name.text.clone(),
        },
        options: rest,
    })
}

/// Option with the columns that leave as pseudonyms.
const PSEUDONYMS: &str = "pseudonyms";
/// Option with the key of pseudonyms, whose value no message shows.
const PSEUDONYM_KEY: &str = "pseudonym.key";

/// Binds the columns that leave as pseudonyms. The length of the key is judged with the connector's options.
fn bind_pseudonyms(
    create: &CreateSink,
    schema: &Schema,
    mistakes: &mut Vec<Mistake>,
) -> Option<schemas::Pseudonyms> {
    let (named, key) = (find_option(&create.with, PSEUDONYMS), find_option(&create.with, PSEUDONYM_KEY));
    let Some(named) = named else {
        let alone = key.map(|key| Mistake::new(key.pos, "pseudonym.key without pseudonyms"));
        mistakes.extend(alone.map(|mistake| mistake.hint("name the columns: pseudonyms = 'player_id'")));
        return None;
    };
    let columns = key_columns(named, schema, mistakes);
    for column in &columns {
        let field = schema.field(*column);
        let (name, is) = (field.name(), schemas::sql_type(field));
        if is != "VARCHAR" {
            mistakes.push(
                Mistake::new(
                    named.pos,
                    format!("pseudonyms: column {name} is {is}, and only VARCHAR has pseudonyms"),
                )
                .hint(format!("write CREATE SINK ... AS SELECT CAST({name} AS VARCHAR) AS {name}, ...")),
            );
        }
    }
    let Some(key) = key else {
        mistakes.push(
            Mistake::new(named.pos, "pseudonyms without pseudonym.key").hint(
                "add pseudonym.key = '${HERALD_PSEUDONYM_KEY}', at least 32 bytes from outside this file",
            ),
        );
        return None;
    };
    Some(schemas::Pseudonyms { key: schemas::PseudonymKey::new(key.value.as_bytes()), columns })
}

/// Refuses a sink whose view cannot feed its format.
pub(crate) fn check_key(plan: &Plan, sink: &Sink, create: &CreateSink) -> Option<Mistake> {
    if let Some(mistake) = check_view(plan, sink, create) {
        return Some(mistake);
    }
    let rel = &plan.rels[sink.rel];
    let (format, pos) = create.format;
    let from = match &create.input {
        SinkInput::From(view) => view.text.as_str(),
        SinkInput::Query(..) => "its query",
    };
    if format == Format::Plain {
        if rel.is_append_only() {
            return None;
        }
        let why = why_retracts(plan, sink.rel);
        let hint = match rel.unique.iter().find(|k| !k.is_empty()) {
            Some(k) => {
                let key = column_names(rel, &rel.telling_columns(k));
                format!("write FORMAT UPSERT and primary_key = '{key}'")
            }
            None if rel.unique.is_empty() => "write FORMAT UPSERT and primary_key = '...'".to_owned(),
            None => format!(
                "{from} has one row: add a constant column, such as 'all' AS id, and write FORMAT UPSERT and primary_key = 'id'"
            ),
        };
        return Some(
            Mistake::new(pos, format!("FORMAT PLAIN only adds rows, and {from} can take rows back: {why}"))
                .hint(hint),
        );
    }
    let fixed: Vec<usize> = sink.key.iter().chain(rel.constants.keys()).copied().collect();
    if rel.unique.iter().any(|key| covers_key(key, &fixed, &rel.paired)) && !sink.key.is_empty() {
        return None;
    }
    let mut proven = Vec::new();
    for key in &rel.unique {
        if !key.is_empty() {
            proven.push(format!("'{}'", column_names(rel, &rel.telling_columns(key))));
        }
    }
    let forgetting = plan.sources_of(sink.rel).into_iter().find(|at| has_retention(&plan.sources[*at]));
    let hint = match (proven.as_slice(), forgetting) {
        ([], _) if rel.unique.iter().any(Vec::is_empty) => format!(
            "{from} has one row: add a constant column, such as 'all' AS id, and make it the primary_key"
        ),
        ([], Some(at)) => format!(
            "no key of {from} is proven unique: {} has a retention, so a key that is dropped may come again; add GROUP BY or DISTINCT over the key",
            plan.sources[at].name
        ),
        ([], None) => format!(
            "no key of {from} is proven unique: add GROUP BY or DISTINCT over the key, read a table with a PRIMARY KEY, or select the partition and offset that a source INCLUDEs"
        ),
        (keys, _) => format!("write primary_key = {}", keys.join(" or ")),
    };
    let format = format.word();
    Some(match find_option(&create.with, "primary_key") {
        Some(item) => {
            Mistake::new(item.pos, format!("primary_key '{}' is not proven unique in {from}", item.value))
                .hint(hint)
        }
        None => Mistake::new(pos, format!("FORMAT {format} needs a primary_key")).hint(hint),
    })
}

/// Tells whether a table drops rows that are older than a retention.
fn has_retention(source: &Source) -> bool {
    matches!(&source.keyed, Some(keyed) if keyed.retention_us.is_some())
}

/// Names of columns as the value of an option lists them in SQL.
fn column_names(rel: &Rel, key: &[usize]) -> String {
    quoted_names(&rel.schema, key).replace('\'', "''")
}

/// Refuses KEY ENCODE without a key, and TEXT or BYTES for a key that is not one column of a fitting type.
fn check_key_encode(
    (encoding, pos): (Encoding, Pos),
    key: &[usize],
    schema: &Schema,
    named: &str,
) -> Option<Mistake> {
    if key.is_empty() {
        return Some(
            Mistake::new(pos, "KEY ENCODE without a key")
                .hint(format!("name the key columns: {named} = 'id'")),
        );
    }
    let wanted: &[DataType] = match encoding {
        Encoding::Text => &[DataType::Utf8, schemas::uuid_type()],
        Encoding::Bytes => &[DataType::Binary],
        Encoding::Json | Encoding::Avro | Encoding::Parquet => return None,
    };
    if matches!(key, [c] if wanted.contains(schema.field(*c).data_type())) {
        return None;
    }
    let (word, of) =
        if encoding == Encoding::Text { ("TEXT", "VARCHAR or UUID") } else { ("BYTES", "BYTEA") };
    Some(
        Mistake::new(pos, format!("KEY ENCODE {word} needs a key of one {of} column"))
            .hint("use KEY ENCODE JSON or AVRO"),
    )
}
