//! The decoder of a source, from its FORMAT, ENCODE and KEY ENCODE.
//!
//! The driver, the tests of topologies and the tests of Herald all get their decoders here, so that all of
//! them read a format alike.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use schemas::{
    AvroDecoder, DebeziumDecoder, Decoder, Form, JsonDecoder, JsonOptions, Registry, SchemaError,
    UpsertDecoder, decode::whole::WholeDecoder,
};

use crate::plan::formats::{Encoding, Format};
use crate::plan::{Origin, Source};

/// Makes the decoder of `source`. When `cancel` becomes true, a wait for its schema registry ends.
///
/// # Errors
/// When an option cannot be used, or a column has no such form.
pub fn of(source: &Source, cancel: &Arc<AtomicBool>) -> Result<Decoder, SchemaError> {
    let schema = source.decoded.clone();
    let value = form_of(source.encoding, &source.encode_options, cancel)?;
    let key = || form_of(source.key_encoding, &source.key_encode_options, cancel);
    Ok(match source.format {
        Format::Plain => match value {
            Form::Avro(registry, cancel) => Decoder::Avro(AvroDecoder::new(schema, registry, cancel)?),
            Form::Json(options) => Decoder::Json(JsonDecoder::new(schema, options)?),
            Form::Text | Form::Bytes => Decoder::Whole(WholeDecoder::new(schema)?),
        },
        Format::Upsert => {
            Decoder::Upsert(Box::new(UpsertDecoder::new(schema, key_columns(source), value, key()?)?))
        }
        Format::Debezium => {
            Decoder::Debezium(Box::new(DebeziumDecoder::new(schema, key_columns(source), value, key()?)?))
        }
    })
}

fn form_of(
    encoding: Encoding,
    options: &BTreeMap<String, String>,
    cancel: &Arc<AtomicBool>,
) -> Result<Form, SchemaError> {
    Ok(match encoding {
        Encoding::Json => Form::Json(JsonOptions::from_options(options)?),
        Encoding::Avro => {
            let url = options.get("schema.registry").cloned().unwrap_or_default();
            Form::Avro(Registry::new(&url, options)?, cancel.clone())
        }
        Encoding::Text => Form::Text,
        Encoding::Bytes => Form::Bytes,
        Encoding::Parquet => return Err(SchemaError::UnsupportedType("a Parquet file".to_owned())),
    })
}

/// Positions in `Source::decoded` of the key columns; none where the key is the INCLUDEd bytes of the
/// record's key.
fn key_columns(source: &Source) -> Vec<usize> {
    let Some(keyed) = &source.keyed else { return vec![] };
    let mut columns = Vec::with_capacity(keyed.key.len());
    for column in &keyed.key {
        if let Some(Origin::Decoded(at)) = source.origins.get(*column) {
            columns.push(*at);
        }
    }
    columns
}
