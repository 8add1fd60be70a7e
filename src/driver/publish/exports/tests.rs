//! Tests of exports over a state written by hand.

use std::collections::BTreeMap;
use std::ops::Range;

use arrow::array::{ArrayRef, Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema};
use schemas::{Blobs, EXPORT_TARGETS, RowCodec, Rows, timestamptz};
use state::{Catalogue, Commit, EntryFacts, OutboxChunk, Retention, StateTableKind, StoreOptions, Writes};

use super::*;
use crate::driver::publish::{EPOCH_BYTES, unpublished_output};

#[test]
fn paths_are_compared_by_their_place() {
    let lies = |path: &str, above: &str| lies_in(&whole_path(path), &whole_path(above));
    assert!(lies("out/a", "./out//a/") && lies("./out/a/", "out/a"));
    assert!(lies("out/a/b", "out/a") && !lies("out/a", "out/a/b"));
    assert!(!lies("out/ab", "out/a") && lies("out", "/"));
    assert!(lies("s3://b/x/y", "s3://b/x/") && lies("s3://b/x", "s3://b") && !lies("s3://bc", "s3://b"));
}

fn view() -> Schema {
    Schema::new(vec![Field::new("k", DataType::Int64, false), Field::new("at", timestamptz(), false)])
}

/// Rows whose time is their number, packed.
fn packed(numbers: Range<i64>) -> Rows {
    let columns: [ArrayRef; 2] = [
        Arc::new(Int64Array::from_iter_values(numbers.clone())),
        Arc::new(TimestampMicrosecondArray::from_iter_values(numbers).with_timezone("UTC")),
    ];
    let (mut rows, encoded) = (Rows::new(), RowCodec::of(&view()).unwrap().encode(&columns).unwrap());
    encoded.iter().for_each(|row| rows.push(row));
    rows
}

fn open_state(dir: &Path) -> Store {
    let options = StoreOptions { create: true, topology: Some("t".to_owned()), ..StoreOptions::default() };
    Store::open(&dir.join("state"), &options).unwrap()
}

/// Commits an epoch whose rows an export is to get.
fn commit(store: &Store, epoch: u64, numbers: Range<i64>) {
    let mut chunk = OutChunk::new();
    for row in packed(numbers).iter() {
        chunk.push(&OutRecord { value: Some(row), ..OutRecord::default() });
    }
    let outbox = vec![OutboxChunk { cluster: EXPORT_TARGETS, part: 0, bytes: chunk.into_bytes() }];
    store.commit(Commit { epoch, outbox, ..Commit::default() }).unwrap();
}

/// An export with a partition for each number, in the folder `out`.
fn open_export(dir: &Path, store: &Store) -> Export {
    let path = dir.join("out").to_string_lossy().into_owned();
    let options = [("path", path), ("partition_by", "k".to_owned())];
    let options = BTreeMap::from(options.map(|(name, value)| (name.to_owned(), value)));
    let parquet = ParquetSink::from_options(&options).unwrap();
    let shape = ExportShape::new(&view(), ExportMode::Append, &parquet.partition_by).unwrap();
    let scratch = store.export_dir();
    let (mut writer, _) = ExportWriter::open(&parquet, shape, (store.state_id(), &scratch)).unwrap();
    writer.recover().unwrap();
    Export {
        sink: "s".to_owned(),
        number: EXPORT_TARGETS,
        writer,
        view: None,
        pseudonyms: None,
        since: None,
        ratio: 1.0,
        broken: false,
        backoff: Backoff::new(PAUSES.0, PAUSES.1),
        retry_at: None,
    }
}

#[test]
fn epochs_with_too_many_partitions_are_written_in_several_steps() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), Metrics::new("t").unwrap());
    let store = open_state(dir.path());
    let mut export = open_export(dir.path(), &store);
    commit(&store, 1, 0..20);
    commit(&store, 2, 20..23);
    // No step has so many files.
    commit(&store, 3, 100..10_101);
    let held = store.outbox_depth()[&EXPORT_TARGETS].clone();
    let error = export.write(&store, &metrics, &held).unwrap_err();
    assert!(has_too_many_files(&error), "{error:#}");
    assert_eq!(export.writer.published(), 2);
    assert_eq!(store.waiting_epochs(EXPORT_TARGETS, 0, 9), [3]);
}

#[test]
fn epochs_without_rows_fill_the_outbox_too() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), Metrics::new("t").unwrap());
    let store = open_state(dir.path());
    (1..=5).for_each(|epoch| commit(&store, epoch, 0..0));
    let rows = store.outbox_depth()[&EXPORT_TARGETS].bytes;
    let [sinks, exports] = unpublished_output(&store, &metrics);
    assert_eq!((sinks.bytes, exports.epochs, exports.bytes), (0, 5, rows + 5 * EPOCH_BYTES));
}

#[test]
fn a_broken_disk_is_waited_for() {
    let (dir, metrics) = (tempfile::tempdir().unwrap(), Metrics::new("t").unwrap());
    let store = open_state(dir.path());
    let mut export = open_export(dir.path(), &store);
    commit(&store, 1, 0..3);
    let held = store.outbox_depth()[&EXPORT_TARGETS].clone();
    let staging = dir.path().join("out/_staging");
    std::fs::remove_dir_all(&staging).unwrap();
    std::fs::write(&staging, "no folder").unwrap();
    for _ in 0..2 {
        export.try_write(&store, &metrics, &held).unwrap();
        assert!(export.retry_at.is_some());
        assert_eq!(store.waiting_epochs(EXPORT_TARGETS, 0, 9), [1]);
    }
    std::fs::remove_file(&staging).unwrap();
    export.try_write(&store, &metrics, &held).unwrap();
    assert_eq!((export.retry_at, export.writer.published()), (None, 1));
    assert!(store.waiting_epochs(EXPORT_TARGETS, 0, 9).is_empty());
}

#[test]
fn a_copy_has_the_rows_within_the_retention() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_state(dir.path());
    let entry = CatalogueEntry {
        id: 1,
        kind: StateTableKind::View,
        name: "v".to_owned(),
        fingerprint: String::new(),
        schema: Some(schemas::schema_to_json(&view())),
        key: Some(vec![0]),
        retention: Some(Retention { column: 1, marks: vec![("t".to_owned(), 3)] }),
        index: None,
        facts: EntryFacts::default(),
    };
    store
        .put_catalogue(&Catalogue {
            topology: "t".to_owned(),
            entries: vec![entry.clone()],
            ..Catalogue::default()
        })
        .unwrap();
    let (mut keys, mut values) = (Rows::new(), Blobs::new());
    for row in packed(0..10).iter() {
        keys.push(row);
        values.push(Some(row));
    }
    let mut commit = Commit { epoch: 1, ..Commit::default() };
    commit.writes.push(Writes { table_id: 1, keys, values });
    commit.progress.sources.entry("t".to_owned()).or_default().watermark_us = Some(9);
    store.commit(commit).unwrap();
    let mut read = Vec::new();
    read_view(&store.snapshot().unwrap(), &entry, &mut |_, chunk| {
        for record in OutChunk::read(chunk)? {
            read.push(record?.value.unwrap_or_default().to_vec());
        }
        Ok(())
    })
    .unwrap();
    read.sort();
    let mut expected: Vec<Vec<u8>> = packed(6..10).iter().map(<[u8]>::to_vec).collect();
    expected.sort();
    assert_eq!(read, expected);
}
