//! Parquet files of an export: written row group by row group, and read back to be merged.
//!
//! They are compressed with Zstandard and hold the Arrow schema beside Parquet's, so that readers of Arrow get the very
//! types. A UUID is marked as Parquet's UUID, which the Arrow schema alone does not tell.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use parquet::basic::{Compression, LogicalType, Type as PhysicalType, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};

use crate::ConnectorError;

/// Bytes of a UUID.
const UUID_BYTES: i32 = 16;

/// A file that is being written.
pub struct PartFile {
    /// The place where it is written.
    pub path: PathBuf,
    /// Its rows so far.
    pub rows: u64,
    writer: ArrowWriter<File>,
}

impl PartFile {
    /// Creates a file whose row groups have at most about `group_bytes`: so much of it is in memory.
    pub fn create(path: PathBuf, schema: &SchemaRef, group_bytes: usize) -> Result<PartFile, ConnectorError> {
        let file = File::create(&path).map_err(|error| ConnectorError::io(&path, error))?;
        let writer =
            new_writer(file, schema, group_bytes).map_err(|error| ConnectorError::parquet(&path, error))?;
        Ok(PartFile { path, rows: 0, writer })
    }

    /// Appends rows.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), ConnectorError> {
        self.rows += batch.num_rows() as u64;
        self.writer.write(batch).map_err(|error| ConnectorError::parquet(&self.path, error))
    }

    /// Bytes that the file has about, with the rows that are in memory.
    pub fn size(&self) -> u64 {
        (self.writer.bytes_written() + self.writer.in_progress_size()) as u64
    }

    /// Ends the file and syncs it. Returns its bytes.
    pub fn finish(self) -> Result<u64, ConnectorError> {
        let PartFile { path, writer, .. } = self;
        let file = writer.into_inner().map_err(|error| ConnectorError::parquet(&path, error))?;
        file.sync_all().map_err(|error| ConnectorError::io(&path, error))?;
        Ok(file.metadata().map_err(|error| ConnectorError::io(&path, error))?.len())
    }
}

/// Creates the writer of a file.
fn new_writer(file: File, schema: &SchemaRef, group_bytes: usize) -> Result<ArrowWriter<File>, ParquetError> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_bytes(Some(group_bytes))
        .set_created_by(concat!("herald ", env!("CARGO_PKG_VERSION")).to_owned())
        .build();
    let plain = ArrowSchemaConverter::new().convert(schema)?;
    let marked = SchemaDescriptor::new(mark_uuids(plain.root_schema())?);
    let options = ArrowWriterOptions::new().with_properties(properties).with_parquet_schema(marked);
    ArrowWriter::try_new_with_options(file, schema.clone(), options)
}

/// The same type with its values of 16 bytes marked as UUID; Herald has no other type of this form.
fn mark_uuids(plain: &Type) -> Result<TypePtr, ParquetError> {
    let about = plain.get_basic_info();
    if plain.is_group() {
        let mut fields = Vec::new();
        for field in plain.get_fields() {
            fields.push(mark_uuids(field)?);
        }
        let mut group = Type::group_type_builder(plain.name())
            .with_converted_type(about.converted_type())
            .with_logical_type(about.logical_type_ref().cloned())
            .with_fields(fields);
        if about.has_repetition() {
            group = group.with_repetition(about.repetition());
        }
        return Ok(Arc::new(group.build()?));
    }
    let is_uuid = match plain {
        Type::PrimitiveType { physical_type, type_length, .. } => {
            *physical_type == PhysicalType::FIXED_LEN_BYTE_ARRAY
                && *type_length == UUID_BYTES
                && about.logical_type_ref().is_none()
        }
        Type::GroupType { .. } => false,
    };
    if !is_uuid {
        return Ok(Arc::new(plain.clone()));
    }
    let uuid = Type::primitive_type_builder(plain.name(), PhysicalType::FIXED_LEN_BYTE_ARRAY)
        .with_repetition(about.repetition())
        .with_length(UUID_BYTES)
        .with_logical_type(Some(LogicalType::Uuid));
    Ok(Arc::new(uuid.build()?))
}

/// Opens a file to read its rows, a batch at a time.
pub fn read_part(path: &Path) -> Result<ParquetRecordBatchReader, ConnectorError> {
    let file = File::open(path).map_err(|error| ConnectorError::io(path, error))?;
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(file).and_then(ParquetRecordBatchReaderBuilder::build);
    reader.map_err(|error| ConnectorError::parquet(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::*;
    use arrow::buffer::{NullBuffer, OffsetBuffer};
    use arrow::datatypes::*;
    use schemas::{jsonb_field, timestamp, timestamptz, uuid_type};

    fn column(field: Field, values: ArrayRef) -> (Field, ArrayRef) {
        (field, values)
    }

    fn every_type() -> RecordBatch {
        let item = Arc::new(Field::new("item", DataType::Int32, true));
        let list = ListArray::new(
            item.clone(),
            OffsetBuffer::from_lengths([2, 0]),
            Arc::new(Int32Array::from(vec![Some(1), None])),
            Some(NullBuffer::from(vec![true, false])),
        );
        let inner =
            Fields::from(vec![Field::new("a", DataType::Utf8, true), Field::new("u", uuid_type(), true)]);
        let uuids = || FixedSizeBinaryArray::try_from_iter([[7u8; 16], [0xFF; 16]].into_iter()).unwrap();
        let texts = StringArray::from(vec![Some("é"), None]);
        let row = StructArray::new(inner.clone(), vec![Arc::new(texts), Arc::new(uuids())], None);
        let decimal =
            Decimal128Array::from(vec![Some(-12345), None]).with_precision_and_scale(38, 3).unwrap();
        let small = Decimal128Array::from(vec![Some(-12345), None]).with_precision_and_scale(12, 2).unwrap();
        let zoned = TimestampMicrosecondArray::from(vec![Some(-1), None]).with_timezone("UTC");
        let columns: Vec<(Field, ArrayRef)> = vec![
            column(
                Field::new("b", DataType::Boolean, true),
                Arc::new(BooleanArray::from(vec![Some(true), None])),
            ),
            column(
                Field::new("i", DataType::Int16, true),
                Arc::new(Int16Array::from(vec![Some(i16::MIN), None])),
            ),
            column(
                Field::new("n", DataType::Int64, true),
                Arc::new(Int64Array::from(vec![Some(i64::MAX), None])),
            ),
            column(
                Field::new("f", DataType::Float64, true),
                Arc::new(Float64Array::from(vec![Some(0.1), None])),
            ),
            column(Field::new("d", DataType::Decimal128(38, 3), true), Arc::new(decimal)),
            column(Field::new("e", DataType::Decimal128(12, 2), true), Arc::new(small)),
            column(
                Field::new("t", timestamp(), true),
                Arc::new(TimestampMicrosecondArray::from(vec![Some(1), None])),
            ),
            column(Field::new("z", timestamptz(), true), Arc::new(zoned)),
            column(
                Field::new("day", DataType::Date32, true),
                Arc::new(Date32Array::from(vec![Some(-1), None])),
            ),
            column(
                Field::new("time", DataType::Time64(TimeUnit::Microsecond), true),
                Arc::new(Time64MicrosecondArray::from(vec![Some(1), None])),
            ),
            column(
                Field::new("x", DataType::Binary, true),
                Arc::new(BinaryArray::from(vec![Some(&b"\0"[..]), None])),
            ),
            column(Field::new("u", uuid_type(), true), Arc::new(uuids())),
            column(jsonb_field("j", true), Arc::new(StringArray::from(vec![Some("{\"a\": 1}"), None]))),
            column(Field::new("l", DataType::List(item), true), Arc::new(list)),
            column(Field::new("s", DataType::Struct(inner), true), Arc::new(row)),
        ];
        let (fields, columns): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    }

    #[test]
    fn every_type_comes_back_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let (path, batch) = (dir.path().join("a.parquet"), every_type());
        let mut part = PartFile::create(path.clone(), &batch.schema(), 1 << 20).unwrap();
        part.write(&batch).unwrap();
        assert_eq!(part.rows, 2);
        let bytes = part.finish().unwrap();
        assert_eq!(bytes, std::fs::metadata(&path).unwrap().len());
        let back: Vec<RecordBatch> = read_part(&path).unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(back.len(), 1);
        assert_eq!(back[0].columns(), batch.columns());
        let types = |batch: &RecordBatch| -> Vec<DataType> {
            batch.schema().fields().iter().map(|field| field.data_type().clone()).collect()
        };
        assert_eq!(types(&back[0]), types(&batch));
    }

    #[test]
    fn a_uuid_is_marked_at_any_depth() {
        let dir = tempfile::tempdir().unwrap();
        let (path, batch) = (dir.path().join("a.parquet"), every_type());
        let mut part = PartFile::create(path.clone(), &batch.schema(), 1 << 20).unwrap();
        part.write(&batch).unwrap();
        part.finish().unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap();
        let mut marked = Vec::new();
        for column in reader.parquet_schema().columns() {
            if column.logical_type_ref() == Some(&LogicalType::Uuid) {
                marked.push(column.path().string());
            }
        }
        assert_eq!(marked, ["u", "s.u"]);
    }

    #[test]
    fn a_file_is_the_same_bytes_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let mut written = Vec::new();
        for name in ["a", "b"] {
            let (path, batch) = (dir.path().join(name), every_type());
            let mut part = PartFile::create(path.clone(), &batch.schema(), 1 << 20).unwrap();
            part.write(&batch).unwrap();
            part.finish().unwrap();
            written.push(std::fs::read(&path).unwrap());
        }
        assert_eq!(written[0], written[1]);
    }
}
