//! Check of ENCODE BYTES and ENCODE TEXT, which put a record's value into one column as it is.

use arrow::datatypes::{DataType, Field};

use crate::mistake::Mistake;
use crate::plan::formats::{Encoding, Format};
use crate::sql::parse::ast::{ColumnDef, CreateRelation};

/// Mistakes of a relation whose values are one column: another FORMAT than PLAIN, another number of columns that
/// are not computed, another type. None for other encodings, and for columns that are not declared.
pub(super) fn check(create: &CreateRelation, columns: &[ColumnDef]) -> Option<Mistake> {
    let (encoding, _, pos) = &create.encode;
    let (kind, fits): (&str, fn(&Field) -> bool) = match encoding {
        Encoding::Bytes => ("BYTEA", |field| *field.data_type() == DataType::Binary),
        Encoding::Text => {
            ("VARCHAR", |field| *field.data_type() == DataType::Utf8 && !schemas::is_jsonb(field))
        }
        Encoding::Json | Encoding::Avro | Encoding::Parquet => return None,
    };
    let word = encoding.word();
    if create.format.0 != Format::Plain {
        let format = create.format.0.word();
        let message =
            format!("FORMAT {format} reads columns from the value, and ENCODE {word} takes it as it is");
        return Some(Mistake::new(*pos, message).hint(format!("write FORMAT PLAIN ENCODE {word}")));
    }
    let mut filled = columns.iter().filter(|column| column.generated.is_none());
    let hint = format!(
        "declare one, as in {} (body {kind}); compute others from it: part VARCHAR AS (...)",
        create.name.text
    );
    match (filled.next(), filled.next()) {
        (Some(only), None) if fits(&only.data_type) => None,
        (Some(only), None) => {
            let found = schemas::sql_type(&only.data_type);
            let message =
                format!("ENCODE {word} fills a column of {kind}, and {} is {found}", only.name.text);
            Some(Mistake::new(only.name.pos, message).hint(format!("write {} {kind}", only.name.text)))
        }
        (Some(first), Some(second)) => {
            let message = format!(
                "ENCODE {word} fills one column with the record's value: {}, and not {}",
                first.name.text, second.name.text
            );
            Some(Mistake::new(second.name.pos, message).hint(hint))
        }
        // Without a list of columns that is told already.
        (None, _) if create.star.is_some() => None,
        (None, _) => {
            let message = format!("ENCODE {word} needs a column to fill with the record's value");
            Some(Mistake::new(create.name.pos, message).hint(hint))
        }
    }
}
