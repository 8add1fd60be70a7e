//! The rows of some epochs as files in the staging folder, one or more for each partition.
//!
//! Rows are read again for every few partitions, so that only a few files are open at a time, however many partitions
//! there are: first the names of the partitions are collected, of which a step has a bounded number, then their rows are
//! written. Memory is bounded by the row groups of the open files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use arrow::array::{RecordBatch, RecordBatchReader, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::Schema;

use super::layout::{copy_folder, join_path, range_name, range_of};
use super::manifest::NamedFile;
use super::parts::{PartFile, read_part};
use super::settings::ExportMode;
use super::shape::ExportShape;
use super::store::ExportStore;
use crate::ConnectorError;

/// Visitor of the chunks of an outbox, each with its epoch.
pub type VisitChunk<'a> = dyn FnMut(u64, &[u8]) -> Result<(), ConnectorError> + 'a;
/// Reader of all chunks of a step, in order; it is called several times, and gives the same chunks.
pub type ReadChunks<'a> = dyn Fn(&mut VisitChunk<'_>) -> Result<(), ConnectorError> + 'a;

/// Most files that are written at a time.
const OPEN_FILES: usize = 16;
/// Bytes of row groups in memory, of all open files together.
const GROUP_BYTES: usize = 64 << 20;
/// Most files of a step.
const MAX_FILES: usize = 10_000;
/// Number of small files of a partition from which they are merged.
const MERGED_FROM: usize = 8;

/// Folder, epochs and sizes of a step's files.
pub struct StagePlan<'a> {
    /// The columns and partitions.
    pub shape: &'a ExportShape,
    /// The store, whose staging folder is written to.
    pub store: &'a dyn ExportStore,
    /// The first epoch.
    pub first: u64,
    /// The last epoch; in mode `current` that of the copy.
    pub last: u64,
    /// Bytes from which a file is complete.
    pub target_bytes: u64,
    /// Epochs of the manifests, when small files are merged with the new rows.
    pub compact: Option<&'a BTreeSet<u64>>,
    /// The export's name in messages.
    pub place: &'a str,
}

/// A file that was written and is not in its place yet.
#[derive(Debug)]
pub struct StagedFile {
    /// The place where it was written.
    pub staged: PathBuf,
    /// Its place, rows and bytes.
    pub named: NamedFile,
    /// Files whose rows are in it, and that it replaces.
    pub replaces: Vec<String>,
}

/// A file that is being written, with the partition it is in.
struct OpenPart {
    file: PartFile,
    path: String,
    replaces: Vec<String>,
}

impl StagePlan<'_> {
    /// Writes the rows to files.
    ///
    /// # Errors
    /// When rows cannot be read or files be written, or there would be too many.
    pub fn write_files(&self, rows: &ReadChunks<'_>) -> Result<Vec<StagedFile>, ConnectorError> {
        let folder = self.store.staging();
        std::fs::create_dir_all(folder).map_err(|error| ConnectorError::io(folder, error))?;
        let (mut staged, mut left) = (Vec::new(), self.find_partitions(rows)?);
        while !left.is_empty() {
            let mut next = BTreeSet::new();
            while next.len() < OPEN_FILES
                && let Some(partition) = left.pop_first()
            {
                next.insert(partition);
            }
            self.write_partitions(&next, rows, &mut staged)?;
        }
        if staged.is_empty() && self.shape.mode == ExportMode::Current {
            // The view is empty, and its copy is a file without rows, in no partition.
            let empty = self.open_part("", 0)?;
            staged.push(self.finish_part(empty)?);
        }
        Ok(staged)
    }

    /// The partitions of the rows.
    fn find_partitions(&self, rows: &ReadChunks<'_>) -> Result<BTreeSet<String>, ConnectorError> {
        if !self.shape.is_partitioned() {
            return Ok(BTreeSet::from([String::new()]));
        }
        let mut found = BTreeSet::new();
        rows(&mut |_, chunk| {
            found.extend(self.shape.read_partitions(chunk)?);
            if found.len() > MAX_FILES { Err(self.too_many_files()) } else { Ok(()) }
        })?;
        Ok(found)
    }

    /// Writes the rows of some partitions.
    fn write_partitions(
        &self,
        wanted: &BTreeSet<String>,
        rows: &ReadChunks<'_>,
        staged: &mut Vec<StagedFile>,
    ) -> Result<(), ConnectorError> {
        let mut open: BTreeMap<String, OpenPart> = BTreeMap::new();
        rows(&mut |epoch, chunk| {
            let batch = self.shape.read_rows(epoch, chunk)?;
            for (partition, places) in places_by_partition(self.shape.read_partitions(chunk)?) {
                if !wanted.contains(&partition) {
                    continue;
                }
                let rows = take_rows(&batch, places)?;
                if !open.contains_key(&partition) {
                    if staged.len() + open.len() >= MAX_FILES {
                        return Err(self.too_many_files());
                    }
                    let part = self.open_part(&partition, staged.len() + open.len())?;
                    open.insert(partition.clone(), part);
                }
                let Some(part) = open.get_mut(&partition) else { continue };
                part.file.write(&rows)?;
                // A copy of a large view is many files; a range of epochs is one for each partition.
                if self.shape.mode == ExportMode::Current
                    && part.file.size() >= self.target_bytes
                    && let Some(full) = open.remove(&partition)
                {
                    staged.push(self.finish_part(full)?);
                }
            }
            Ok(())
        })?;
        for part in open.into_values() {
            staged.push(self.finish_part(part)?);
        }
        Ok(())
    }

    /// Creates the file of a partition; `number` is that of the file within the step. Rows of small files that it
    /// replaces come first.
    fn open_part(&self, partition: &str, number: usize) -> Result<OpenPart, ConnectorError> {
        let staged = self.store.staging().join(format!("{number:05}.part"));
        let open = if self.shape.is_partitioned() { OPEN_FILES } else { 1 };
        let mut file = PartFile::create(staged, &self.shape.schema, GROUP_BYTES / open)?;
        if self.shape.mode == ExportMode::Current {
            let path = join_path(&copy_folder(self.last), partition, &format!("part-{number:05}.parquet"));
            return Ok(OpenPart { file, path, replaces: Vec::new() });
        }
        let folder = if self.shape.mode == ExportMode::Changes { "changes" } else { "data" };
        let small = if self.compact.is_some() { self.small_files(folder, partition)? } else { Vec::new() };
        let (mut first, mut replaces) = (self.first, Vec::new());
        for SmallFile { path, copy, readable } in small {
            for batch in read_part(&readable)? {
                let batch = batch.map_err(|error| ConnectorError::parquet(&readable, error.into()))?;
                let batch = RecordBatch::try_new(self.shape.schema.clone(), batch.columns().to_vec());
                file.write(&batch.map_err(|error| ConnectorError::parquet(&readable, error.into()))?)?;
            }
            first = range_of(&path).map_or(first, |(begin, _)| begin.min(first));
            // A store without copies has none here.
            let _ = std::fs::remove_file(copy);
            replaces.push(path);
        }
        let path = join_path(folder, partition, &range_name(first, self.last));
        Ok(OpenPart { file, path, replaces })
    }

    /// The last files of a partition that together are smaller than a file should be, oldest first; none if they are
    /// few, since merging each time would write every row over and over. Files with other columns, of an earlier text of
    /// the topology, stay as they are, and so do those before them.
    fn small_files(&self, folder: &str, partition: &str) -> Result<Vec<SmallFile>, ConnectorError> {
        let Some(manifests) = self.compact else { return Ok(Vec::new()) };
        let folder = if partition.is_empty() { folder.to_owned() } else { format!("{folder}/{partition}") };
        let mut found = Vec::new();
        self.store.list(&folder, None, &mut |path, bytes| {
            // Without a manifest it is what another process left.
            let held = |(_, last): &(u64, u64)| *last < self.first && manifests.contains(last);
            if let Some((first, _)) = range_of(path).filter(held) {
                found.push((first, path.to_owned(), bytes));
            }
        })?;
        found.sort_unstable();
        let (mut wanted, mut sum) = (Vec::new(), 0);
        for (_, path, bytes) in found.into_iter().rev() {
            sum += bytes;
            if bytes > self.target_bytes / 2 || sum > self.target_bytes {
                break;
            }
            wanted.push(path);
        }
        let mut small = Vec::new();
        if wanted.len() < MERGED_FROM {
            return Ok(small);
        }
        for (path, number) in wanted.into_iter().zip(0..) {
            let copy = self.store.staging().join(format!("merged-{number}.part"));
            let readable = self.store.fetch(&path, &copy)?;
            match read_part(&readable) {
                Ok(part) if has_columns(&part.schema(), &self.shape.schema) => {}
                Ok(_) | Err(ConnectorError::Parquet { .. }) => {
                    let _ = std::fs::remove_file(&copy);
                    break;
                }
                Err(error) => return Err(error),
            }
            small.push(SmallFile { path, copy, readable });
        }
        if small.len() < MERGED_FROM {
            for SmallFile { copy, .. } in small.drain(..) {
                let _ = std::fs::remove_file(copy);
            }
        }
        small.reverse();
        Ok(small)
    }

    /// Ends a file.
    fn finish_part(&self, part: OpenPart) -> Result<StagedFile, ConnectorError> {
        let OpenPart { file, path, replaces } = part;
        let (staged, rows) = (file.path.clone(), file.rows);
        let bytes = file.finish()?;
        Ok(StagedFile { staged, named: NamedFile { path, rows, bytes }, replaces })
    }

    fn too_many_files(&self) -> ConnectorError {
        ConnectorError::TooManyFiles { place: self.place.to_owned(), most: MAX_FILES }
    }
}

/// A file that is to be merged.
struct SmallFile {
    /// Its path.
    path: String,
    /// The place of its copy, in a store that makes one.
    copy: PathBuf,
    /// The place where it can be read.
    readable: PathBuf,
}

/// Tells whether a file has the columns of the export, by names and types.
fn has_columns(file: &Schema, export: &Schema) -> bool {
    file.fields().len() == export.fields().len()
        && file
            .fields()
            .iter()
            .zip(export.fields())
            .all(|(file, export)| file.name() == export.name() && file.data_type() == export.data_type())
}

/// The places of the rows of each partition.
fn places_by_partition(partitions: Vec<String>) -> BTreeMap<String, Vec<u32>> {
    let mut places: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for (partition, at) in partitions.into_iter().zip(0..) {
        places.entry(partition).or_default().push(at);
    }
    places
}

/// The rows at some places, in order.
fn take_rows(batch: &RecordBatch, places: Vec<u32>) -> Result<RecordBatch, ConnectorError> {
    if places.len() == batch.num_rows() {
        return Ok(batch.clone());
    }
    let taken = take_record_batch(batch, &UInt32Array::from(places));
    taken.map_err(|error| ConnectorError::Outbox(schemas::SchemaError::BadRow(error.to_string())))
}
