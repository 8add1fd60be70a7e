//! Formats of COPY ... TO STDOUT: text with escapes, CSV with quotes, and PostgreSQL's binary format.

use std::cell::Cell;

use schemas::types::view::View;

use super::super::errors::PgResult;
use super::super::sql::copy_options::{CopyFormat, CopyOptions, Forced};
use super::super::sql::zone::Zone;
use super::rows::{Columns, Form, write_field};
use super::text::write_value;

/// Beginning of the binary format: its signature, no flags, no extension.
const BINARY_HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Writer of copied rows, each the content of a CopyData message.
#[derive(Debug)]
pub struct CopyWriter {
    options: CopyOptions,
    forms: Vec<Form>,
    /// Columns whose values always have quotes.
    forced: Vec<bool>,
    zone: Zone,
    /// Set when the header of the binary format is written, or there is none.
    headed: Cell<bool>,
}

impl CopyWriter {
    /// A writer of rows of these columns.
    pub fn new(options: CopyOptions, columns: &Columns, zone: Zone) -> CopyWriter {
        let binary = options.format == CopyFormat::Binary;
        let forms = columns.kinds.iter().map(|kind| Form { kind: kind.clone(), binary }).collect();
        let forced = match &options.forced {
            Forced::All => vec![true; columns.names.len()],
            Forced::Named(named) => columns.names.iter().map(|name| named.contains(name)).collect(),
        };
        let headed = Cell::new(options.format != CopyFormat::Binary);
        CopyWriter { options, forms, forced, zone, headed }
    }

    /// Code of the format in messages: 0 for text, 1 for binary.
    pub fn code(&self) -> i8 {
        i8::from(self.options.format == CopyFormat::Binary)
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.forms.len()
    }

    /// Appends the names of the columns, if the options ask for them.
    pub fn write_names(&self, out: &mut Vec<u8>, columns: &Columns) {
        if !self.options.header || self.options.format == CopyFormat::Binary {
            return;
        }
        for (at, name) in columns.names.iter().enumerate() {
            self.write_delimiter(out, at);
            self.write_plain(out, name.as_bytes(), false);
        }
        out.push(b'\n');
    }

    /// Appends the header of the binary format before the first row, or before the end if there is no row: in one
    /// message with it, as PostgreSQL does and clients expect.
    fn write_header(&self, out: &mut Vec<u8>) {
        if !self.headed.replace(true) {
            out.extend_from_slice(BINARY_HEADER);
        }
    }

    /// Appends the end of the copy.
    pub fn write_tail(&self, out: &mut Vec<u8>) {
        if self.options.format == CopyFormat::Binary {
            self.write_header(out);
            out.extend_from_slice(&(-1_i16).to_be_bytes());
        }
    }

    /// Appends a row.
    ///
    /// # Errors
    /// When a value cannot be written.
    pub fn write_row(&self, out: &mut Vec<u8>, views: &[View<'_>], row: usize) -> PgResult<()> {
        if self.options.format == CopyFormat::Binary {
            self.write_header(out);
            out.extend_from_slice(&(self.forms.len() as i16).to_be_bytes());
            for (view, form) in views.iter().zip(&self.forms) {
                write_field(out, form, self.zone, (view, row))?;
            }
            return Ok(());
        }
        for (at, (view, form)) in views.iter().zip(&self.forms).enumerate() {
            self.write_delimiter(out, at);
            if view.is_null(row) {
                out.extend_from_slice(self.options.null.as_bytes());
                continue;
            }
            let mut value = Vec::new();
            write_value(&mut value, &form.kind, self.zone, view, row);
            self.write_plain(out, &value, self.forced.get(at).copied().unwrap_or(false));
        }
        out.push(b'\n');
        Ok(())
    }

    fn write_delimiter(&self, out: &mut Vec<u8>, at: usize) {
        if at > 0 {
            out.push(self.options.delimiter);
        }
    }

    /// Appends the text of a value with the escapes or quotes of the format.
    fn write_plain(&self, out: &mut Vec<u8>, value: &[u8], forced: bool) {
        match self.options.format {
            CopyFormat::Csv => self.write_csv(out, value, forced),
            _ => self.write_escaped(out, value),
        }
    }

    fn write_escaped(&self, out: &mut Vec<u8>, value: &[u8]) {
        for byte in value {
            let escaped = match byte {
                0x08 => b'b',
                0x0c => b'f',
                b'\n' => b'n',
                b'\r' => b'r',
                b'\t' => b't',
                0x0b => b'v',
                b'\\' => b'\\',
                other if *other == self.options.delimiter => *other,
                other => {
                    out.push(*other);
                    continue;
                }
            };
            out.extend_from_slice(&[b'\\', escaped]);
        }
    }

    fn write_csv(&self, out: &mut Vec<u8>, value: &[u8], forced: bool) {
        let CopyOptions { delimiter, quote, escape, null, .. } = &self.options;
        // A line of nothing but \. would end the rows for readers that know the text format.
        let ends = self.forms.len() == 1 && value == b"\\.";
        let special = value.iter().any(|b| b == delimiter || b == quote || matches!(b, b'\n' | b'\r'));
        if !forced && !special && !ends && value != null.as_bytes() {
            out.extend_from_slice(value);
            return;
        }
        out.push(*quote);
        for byte in value {
            if byte == quote || byte == escape {
                out.push(*escape);
            }
            out.push(*byte);
        }
        out.push(*quote);
    }
}

/// Appends a CopyData message with the content that `write` appends.
///
/// # Errors
/// Those of `write`, with nothing appended.
pub fn write_message(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> PgResult<()>) -> PgResult<()> {
    let start = out.len();
    out.extend_from_slice(&[b'd', 0, 0, 0, 0]);
    if let Err(error) = write(out) {
        out.truncate(start);
        return Err(error);
    }
    // Rows are batches of at most some megabytes.
    let length = i32::try_from(out.len() - start - 1).unwrap_or(i32::MAX);
    out[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, BinaryArray, BooleanArray, Int32Array, StringArray};

    use super::super::super::sql::words::Words;
    use super::super::kind::Kind;
    use super::super::rows::views;
    use super::*;

    /// Copies two rows of three columns.
    fn copied(options: &str) -> Vec<u8> {
        let columns: [ArrayRef; 3] = [
            std::sync::Arc::new(Int32Array::from(vec![Some(1), None])),
            std::sync::Arc::new(StringArray::from(vec!["a\tb\\,\"c\"", ""])),
            std::sync::Arc::new(BooleanArray::from(vec![true, false])),
        ];
        let named = Columns {
            names: vec!["id".into(), "no, te".into(), "ok".into()],
            kinds: vec![Kind::Int4, Kind::Text, Kind::Bool],
            places: Vec::new(),
        };
        let options = CopyOptions::read(&mut Words::new(options)).expect("options");
        let writer = CopyWriter::new(options, &named, Zone::Utc);
        let views = views(&columns).expect("views");
        let mut out = Vec::new();
        writer.write_names(&mut out, &named);
        for row in 0..2 {
            assert!(writer.write_row(&mut out, &views, row).is_ok());
        }
        writer.write_tail(&mut out);
        out
    }

    fn text(options: &str) -> String {
        String::from_utf8(copied(options)).expect("text")
    }

    /// Each is PostgreSQL's answer.
    #[test]
    fn formats_are_those_of_postgresql() {
        assert_eq!(text(""), "1\ta\\tb\\\\,\"c\"\tt\n\\N\t\tf\n");
        assert_eq!(text("(NULL 'x', DELIMITER ',')"), "1,a\\tb\\\\\\,\"c\",t\nx,,f\n");
        assert_eq!(text("(FORMAT csv)"), "1,\"a\tb\\,\"\"c\"\"\",t\n,\"\",f\n");
        assert_eq!(
            text("(FORMAT csv, HEADER, DELIMITER ';', ESCAPE '\\', FORCE_QUOTE (ok))"),
            "id;no, te;ok\n1;\"a\tb\\\\,\\\"c\\\"\";\"t\"\n;\"\";\"f\"\n"
        );
        assert_eq!(text("(HEADER)"), "id\tno, te\tok\n1\ta\\tb\\\\,\"c\"\tt\n\\N\t\tf\n");
        assert_eq!(
            copied("(FORMAT binary)"),
            b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x03\0\0\0\x04\0\0\0\x01\0\0\0\x08a\tb\\,\"c\"\0\0\0\x01\x01\
              \0\x03\xff\xff\xff\xff\0\0\0\0\0\0\0\x01\0\xff\xff"
        );
    }

    #[test]
    fn a_message_has_its_length() {
        let mut out = vec![b'x'];
        let bytes: ArrayRef = std::sync::Arc::new(BinaryArray::from_vec(vec![&[1]]));
        let columns = [bytes];
        let views = views(&columns).expect("views");
        let form = Form { kind: Kind::Bytea, binary: true };
        let written = write_message(&mut out, |out| write_field(out, &form, Zone::Utc, (&views[0], 0)));
        assert_eq!(written, Ok(()));
        assert_eq!(out, b"xd\0\0\0\x09\0\0\0\x01\x01");
    }
}
