//! Formats and encodings of records, and the parts of a record that can be INCLUDEd as columns.

/// FORMAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Every message is a row.
    Plain,
    /// Key to row; a null value deletes.
    Upsert,
    /// before, after, op.
    Debezium,
}

impl Format {
    /// Its word in SQL.
    pub fn word(self) -> &'static str {
        match self {
            Format::Plain => "PLAIN",
            Format::Upsert => "UPSERT",
            Format::Debezium => "DEBEZIUM",
        }
    }
}

/// ENCODE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// JSON objects.
    Json,
    /// Avro in the Confluent wire format.
    Avro,
    /// UTF-8 text: of keys, and of a source's values as they are.
    Text,
    /// Raw bytes: of keys, and of a source's values as they are.
    Bytes,
    /// Parquet files (sinks only).
    Parquet,
}

impl Encoding {
    /// Its word in SQL.
    pub fn word(self) -> &'static str {
        match self {
            Encoding::Json => "JSON",
            Encoding::Avro => "AVRO",
            Encoding::Text => "TEXT",
            Encoding::Bytes => "BYTES",
            Encoding::Parquet => "PARQUET",
        }
    }

    /// True where a value is one column as it is.
    pub fn is_whole(self) -> bool {
        matches!(self, Encoding::Text | Encoding::Bytes)
    }
}

/// A part of a record that can be INCLUDEd as a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IncludeKind {
    /// Record timestamp, TIMESTAMPTZ.
    Timestamp,
    /// Key bytes, BYTEA.
    Key,
    /// Partition, INT.
    Partition,
    /// Offset, BIGINT.
    Offset,
    /// A header's value by name, BYTEA.
    Header(String),
    /// Value bytes, BYTEA.
    Payload,
}
