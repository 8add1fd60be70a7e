//! Exports in a directory and in an object store: steps, recovery from each place of one, partitions, merging.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use object_store::memory::InMemory;
use schemas::{OutChunk, OutRecord, RowCodec, timestamptz};

use super::bucket::Bucket;
use super::directory::Directory;
use super::layout::{copy_folder, manifest_path, range_name};
use super::parts::read_part;
use super::store::ExportStore;
use super::*;
use crate::ConnectorError;
use crate::kafka::Marker;

/// A row: platform, number, and day since 1970.
type Row = (Option<&'static str>, i64, i64);

/// The place that an export is written to, and what is needed to open it again.
enum Place {
    Directory(tempfile::TempDir),
    Bucket(Arc<InMemory>, tempfile::TempDir),
}

impl Place {
    fn both() -> [Place; 2] {
        let dir = || tempfile::tempdir().unwrap();
        [Place::Directory(dir()), Place::Bucket(Arc::new(InMemory::new()), dir())]
    }

    fn store(&self) -> Box<dyn ExportStore> {
        match self {
            Place::Directory(dir) => Box::new(Directory::new(&dir.path().join("out"))),
            Place::Bucket(store, dir) => {
                let bucket = Bucket::new(store.clone(), ("some/prefix", "s3://b/some/prefix"), dir.path());
                Box::new(bucket.unwrap())
            }
        }
    }

    /// Number of files that processes have staged and that are in no place yet.
    fn staged(&self) -> usize {
        let mut files = 0;
        for process in std::fs::read_dir(self.store().staging_root()).into_iter().flatten() {
            files += std::fs::read_dir(process.unwrap().path()).map_or(0, Iterator::count);
        }
        files
    }

    /// Paths and contents of all files.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let (store, mut paths) = (self.store(), Vec::new());
        for folder in ["data", "changes", "current", "_manifests"] {
            store.list(folder, None, &mut |path, _| paths.push(path.to_owned())).unwrap();
        }
        paths.push("latest.json".to_owned());
        let mut files = BTreeMap::new();
        for path in paths {
            if let Some(content) = store.read(&path).unwrap() {
                files.insert(path, content);
            }
        }
        files
    }

    /// The rows of a file, each as text.
    fn rows(&self, path: &str) -> Vec<String> {
        let copy = tempfile::tempdir().unwrap();
        let readable = self.store().fetch(path, &copy.path().join("copy")).unwrap();
        let mut rows = Vec::new();
        for batch in read_part(&readable).unwrap() {
            push_texts(&batch.unwrap(), &mut rows);
        }
        rows
    }

    /// The rows of all files below a folder, sorted.
    fn all_rows(&self, folder: &str) -> Vec<String> {
        let mut rows = Vec::new();
        for path in self.files().keys().filter(|path| path.starts_with(folder)) {
            rows.extend(self.rows(path));
        }
        rows.sort();
        rows
    }
}

/// Appends the texts and numbers of each row.
fn push_texts(batch: &RecordBatch, rows: &mut Vec<String>) {
    for at in 0..batch.num_rows() {
        let mut row = Vec::new();
        for column in batch.columns() {
            match column.data_type() {
                DataType::Utf8 if column.is_valid(at) => {
                    row.push(column.as_string::<i32>().value(at).to_owned())
                }
                DataType::Int64 => row.push(column.as_primitive::<Int64Type>().value(at).to_string()),
                _ => {}
            }
        }
        rows.push(row.join(" "));
    }
}

fn view() -> Schema {
    Schema::new(vec![
        Field::new("platform", DataType::Utf8, true),
        Field::new("n", DataType::Int64, false),
        Field::new("ended_at", timestamptz(), true),
    ])
}

fn chunk(mark: Option<&[u8]>, rows: &[Row]) -> Vec<u8> {
    let (mut platforms, mut numbers, mut times) = (Vec::new(), Vec::new(), Vec::new());
    for (platform, number, day) in rows {
        platforms.push(*platform);
        numbers.push(*number);
        times.push(day * 86_400_000_000 + 1);
    }
    let columns: [ArrayRef; 3] = [
        Arc::new(StringArray::from(platforms)),
        Arc::new(Int64Array::from(numbers)),
        Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")),
    ];
    let packed = RowCodec::of(&view()).unwrap().encode(&columns).unwrap();
    let mut chunk = OutChunk::new();
    for row in packed.iter() {
        chunk.push(&OutRecord { key: mark, value: Some(row), ..OutRecord::default() });
    }
    chunk.into_bytes()
}

fn sink(options: &[(&str, &str)]) -> ParquetSink {
    let mut values = BTreeMap::from([("path".to_owned(), "out".to_owned())]);
    for (name, value) in options {
        values.insert((*name).to_owned(), (*value).to_owned());
    }
    ParquetSink::from_options(&values).unwrap()
}

fn open(place: &Place, sink: &ParquetSink, mode: ExportMode) -> (ExportWriter, Option<Marker>) {
    let shape = ExportShape::new(&view(), mode, &sink.partition_by).unwrap();
    ExportWriter::with_store(sink, shape, place.store(), "me").unwrap()
}

fn step(epoch: u64) -> Step {
    let marker = Marker { state_id: "me".to_owned(), epoch, part: 0, parts: 0, digest: u128::from(epoch) };
    Step { last: epoch, marker }
}

/// Writes chunks as one step.
fn write(writer: &mut ExportWriter, last: u64, chunks: &[(u64, Vec<u8>)]) -> Result<Written, ConnectorError> {
    writer.write(step(last), &|visit: &mut VisitChunk<'_>| {
        for (epoch, chunk) in chunks {
            visit(*epoch, chunk)?;
        }
        Ok(())
    })
}

/// An export with two steps, the second one of epochs 3 and 4.
fn written(place: &Place, mode: ExportMode) -> ParquetSink {
    let sink = sink(&[]);
    let (mut writer, marker) = open(place, &sink, mode);
    assert_eq!(marker, None);
    writer.recover().unwrap();
    write(&mut writer, 2, &[(1, chunk(Some(b"i"), &[(Some("a"), 1, 0)]))]).unwrap();
    let more = [(3, chunk(Some(b"u"), &[(Some("a"), 2, 0)])), (4, chunk(Some(b"d"), &[(Some("a"), 2, 0)]))];
    let told = write(&mut writer, 4, &more).unwrap();
    assert_eq!((told.files, told.rows), (1, 2));
    sink
}

#[test]
fn steps_are_files_and_manifests() {
    for place in Place::both() {
        let sink = written(&place, ExportMode::Changes);
        let paths: Vec<String> = place.files().into_keys().collect();
        let (a, b) = (range_name(1, 2), range_name(3, 4));
        let mut expected = vec![format!("changes/{a}"), format!("changes/{b}")];
        expected.extend([0, 2, 4].map(manifest_path));
        expected.sort();
        assert_eq!(paths, expected);
        assert_eq!(place.rows(&format!("changes/{b}")), ["update 3 a 2", "delete 4 a 2"]);
        let (writer, marker) = open(&place, &sink, ExportMode::Changes);
        assert_eq!((writer.published(), marker.map(|marker| marker.digest)), (4, Some(4)));
    }
}

#[test]
fn copies_follow_each_other() {
    for place in Place::both() {
        let sink = sink(&[]);
        let (mut writer, _) = open(&place, &sink, ExportMode::Current);
        writer.recover().unwrap();
        for epoch in [3, 5, 9] {
            write(&mut writer, epoch, &[(epoch, chunk(None, &[(Some("a"), epoch as i64, 0)]))]).unwrap();
        }
        let part = |epoch| format!("{}/part-00000.parquet", copy_folder(epoch));
        let expected = [manifest_path(5), manifest_path(9), part(5), part(9), "latest.json".to_owned()];
        assert_eq!(place.files().into_keys().collect::<Vec<_>>(), expected);
        assert_eq!(place.rows(&part(9)), ["a 9"]);
        let latest: serde_json::Value = serde_json::from_slice(&place.files()["latest.json"]).unwrap();
        assert_eq!(latest, serde_json::json!({"epoch": 9, "path": "current/epoch=9", "rows": 1}));
        // A view that has become empty is a file without rows.
        write(&mut writer, 10, &[]).unwrap();
        assert_eq!(place.rows(&part(10)), Vec::<String>::new());
    }
}

/// Does to an export what a crash leaves behind.
type Crash = fn(&dyn ExportStore);

/// The first file of a folder.
fn any_file(store: &dyn ExportStore, folder: &str) -> Vec<u8> {
    let mut found = None;
    store.list(folder, None, &mut |path, _| found = Some(path.to_owned())).unwrap();
    store.read(&found.unwrap()).unwrap().unwrap()
}

fn stage_something(store: &dyn ExportStore) {
    std::fs::create_dir_all(store.staging()).unwrap();
    std::fs::write(store.staging().join("00000.part"), "half").unwrap();
}

fn place_a_file(store: &dyn ExportStore) {
    let content = any_file(store, "changes");
    store.replace(&format!("changes/{}", range_name(5, 7)), &content).unwrap();
}

fn place_a_merged_file(store: &dyn ExportStore) {
    let content = any_file(store, "changes");
    store.replace(&format!("changes/{}", range_name(1, 7)), &content).unwrap();
}

fn place_half_a_copy(store: &dyn ExportStore) {
    let content = any_file(store, "current");
    store.replace(&format!("{}/part-00000.parquet", copy_folder(7)), &content).unwrap();
}

fn forget_latest(store: &dyn ExportStore) {
    store.remove("latest.json").unwrap();
}

fn name_the_copy_before(store: &dyn ExportStore) {
    store.replace("latest.json", b"{\"epoch\": 2}").unwrap();
}

fn keep_an_old_copy(store: &dyn ExportStore) {
    let content = any_file(store, "current");
    store.replace(&format!("{}/part-00000.parquet", copy_folder(1)), &content).unwrap();
}

#[test]
fn a_start_completes_or_takes_back_what_a_crash_left() {
    let changes: [(&str, Crash); 4] = [
        ("nothing", |_| {}),
        ("while a file was staged", stage_something),
        ("between file and manifest", place_a_file),
        ("between a merged file and the manifest", place_a_merged_file),
    ];
    let copies: [(&str, Crash); 5] = [
        ("while a file was staged", stage_something),
        ("between copy and manifest", place_half_a_copy),
        ("between manifest and the first latest.json", forget_latest),
        ("between manifest and latest.json", name_the_copy_before),
        ("while old copies were removed", keep_an_old_copy),
    ];
    let cases = changes.map(|case| (ExportMode::Changes, case)).into_iter();
    for (mode, (name, crash)) in cases.chain(copies.map(|case| (ExportMode::Current, case))) {
        for place in Place::both() {
            let sink = written(&place, mode);
            let expected = place.files();
            crash(&*place.store());
            let (mut writer, marker) = open(&place, &sink, mode);
            assert_eq!(marker.map(|marker| marker.epoch), Some(4), "{name}");
            writer.recover().unwrap();
            assert_eq!(place.files(), expected, "{name}");
            assert_eq!(place.staged(), 0, "{name}");
            // The epochs that the step had are written again, and are there once.
            write(&mut writer, 8, &[(7, chunk(Some(b"i"), &[(Some("b"), 7, 0)]))]).unwrap();
            let (folder, expected) = match mode {
                ExportMode::Current => ("current/epoch=8", vec!["b 7"]),
                _ => ("changes", vec!["delete 4 a 2", "insert 1 a 1", "insert 7 b 7", "update 3 a 2"]),
            };
            assert_eq!(place.all_rows(folder), expected, "{name}");
        }
    }
}

#[test]
fn only_one_process_goes_on() {
    for place in Place::both() {
        let sink = written(&place, ExportMode::Changes);
        let (mut old, _) = open(&place, &sink, ExportMode::Changes);
        let (mut new, _) = open(&place, &sink, ExportMode::Changes);
        let row = chunk(Some(b"i"), &[(None, 5, 0)]);
        write(&mut new, 5, &[(5, row.clone())]).unwrap();
        // The same epoch, and a later one.
        for epoch in [5, 6] {
            let error = write(&mut old, epoch, &[(epoch, row.clone())]).unwrap_err();
            assert!(error.to_string().contains("is written by another process"), "{error}");
        }
        let before = place.files();
        new.recover().unwrap();
        assert_eq!(place.files(), before, "the old one has put nothing in place");
        // One that starts over ends those that go on.
        open(&place, &sink, ExportMode::Changes).0.claim().unwrap();
        assert!(write(&mut new, 6, &[(6, row)]).is_err());
        assert_eq!(place.files().into_keys().collect::<Vec<_>>(), [manifest_path(0)]);
    }
}

#[test]
fn a_failed_answer_is_looked_after() {
    for place in Place::both() {
        let sink = written(&place, ExportMode::Changes);
        let (mut writer, _) = open(&place, &sink, ExportMode::Changes);
        // The step was written, and its answer lost: another writer of the same state stands for the request.
        let (mut request, _) = open(&place, &sink, ExportMode::Changes);
        write(&mut request, 6, &[(5, chunk(Some(b"i"), &[(None, 5, 0)]))]).unwrap();
        let expected = place.files();
        writer.resume().unwrap();
        assert_eq!((writer.published(), place.files()), (6, expected));
    }
}

#[test]
fn files_of_others_are_left_alone() {
    for place in Place::both() {
        let (store, path) = (place.store(), format!("data/{}", range_name(1, 2)));
        store.replace(&path, b"mine").unwrap();
        store.replace("data/notes.txt", b"mine, too").unwrap();
        let sink = sink(&[]);
        let error = open(&place, &sink, ExportMode::Append).0.recover().unwrap_err().to_string();
        assert!(error.contains("and no manifest"), "{error}");
        store.remove(&path).unwrap();
        let (mut writer, _) = open(&place, &sink, ExportMode::Append);
        writer.recover().unwrap();
        writer.claim().unwrap();
        assert!(place.files().contains_key("data/notes.txt"));
        // Another form is refused.
        let (mut other, _) = open(&place, &sink, ExportMode::Changes);
        let error = other.recover().unwrap_err().to_string();
        assert!(error.contains("was begun as append, and is changes now"), "{error}");
    }
}

#[test]
fn partitions_are_folders() {
    for place in Place::both() {
        let sink = sink(&[("partition_by", "platform, ended_at")]);
        let (mut writer, _) = open(&place, &sink, ExportMode::Append);
        writer.recover().unwrap();
        let rows = [(Some("a/b"), 1, 0), (None, 2, -1), (Some("a/b"), 3, 0)];
        write(&mut writer, 2, &[(1, chunk(None, &rows)), (2, chunk(None, &[(None, 4, -1)]))]).unwrap();
        let (name, none) = (range_name(1, 2), "platform=__HIVE_DEFAULT_PARTITION__/date=1969-12-31");
        // The platform is in the path alone; the time of the date is in the file.
        assert_eq!(place.rows(&format!("data/platform=a%2Fb/date=1970-01-01/{name}")), ["1", "3"]);
        assert_eq!(place.rows(&format!("data/{none}/{name}")), ["2", "4"]);
        let (mut again, _) = open(&place, &sink, ExportMode::Append);
        let before = place.files();
        again.recover().unwrap();
        assert_eq!(place.files(), before);
    }
}

#[test]
fn any_number_of_partitions_is_written() {
    let names: Vec<&'static str> = (0..50).map(|at| &*format!("p{at}").leak()).collect();
    for place in Place::both() {
        let sink = sink(&[("partition_by", "platform")]);
        let (mut writer, _) = open(&place, &sink, ExportMode::Append);
        writer.recover().unwrap();
        let rows: Vec<Row> = (0..200).map(|at| (Some(names[at % 50]), at as i64, 0)).collect();
        let told = write(&mut writer, 1, &[(1, chunk(None, &rows))]).unwrap();
        assert_eq!((told.files, told.rows), (50, 200));
        assert_eq!(place.all_rows("data").len(), 200);
        assert_eq!(place.rows(&format!("data/platform=p7/{}", range_name(1, 1))), ["7", "57", "107", "157"]);
    }
}

#[test]
fn small_files_are_merged() {
    for place in Place::both() {
        let sink = sink(&[("compaction", "on")]);
        let (mut writer, _) = open(&place, &sink, ExportMode::Append);
        writer.recover().unwrap();
        let mut expected = Vec::new();
        for epoch in 1..=17 {
            write(&mut writer, epoch, &[(epoch, chunk(None, &[(Some("a"), epoch as i64, 0)]))]).unwrap();
            expected.push(format!("a {epoch}"));
            expected.sort();
            assert_eq!(place.all_rows("data"), expected, "every row is there once");
        }
        // The ninth epoch came into a file with the eight before it, and that one is the first of eight again.
        let merged = format!("data/{}", range_name(1, 17));
        let files = place.files();
        let data: Vec<&String> = files.keys().filter(|path| path.starts_with("data/")).collect();
        assert_eq!(data, [&merged]);
        assert_eq!(
            place.rows(&merged).first().map(String::as_str),
            Some("a 1"),
            "in the order of the epochs"
        );
        // A crash before the replaced files were removed.
        place.store().replace(&format!("data/{}", range_name(10, 10)), &files[&merged]).unwrap();
        let (mut writer, _) = open(&place, &sink, ExportMode::Append);
        writer.recover().unwrap();
        assert_eq!(place.all_rows("data"), expected);
    }
}

#[test]
fn a_large_copy_is_many_files() {
    for place in Place::both() {
        let sink = sink(&[("target_size", "1KiB")]);
        let (mut writer, _) = open(&place, &sink, ExportMode::Current);
        writer.recover().unwrap();
        let mut chunks = Vec::new();
        for at in 0..10 {
            let rows: Vec<Row> = (0..1000).map(|row| (None, at * 7_919_317 + row * 104_729, row)).collect();
            chunks.push((5, chunk(None, &rows)));
        }
        let told = write(&mut writer, 5, &chunks).unwrap();
        assert!(told.files > 1, "{told:?}");
        assert_eq!(place.all_rows("current/epoch=5").len(), 10_000);
    }
}

#[test]
fn a_staged_note_is_never_a_manifest() {
    let dir = tempfile::tempdir().unwrap();
    let root: PathBuf = dir.path().join("out");
    let store = Directory::new(&root);
    assert!(store.create("_manifests/a.json", b"first").unwrap());
    // The crash: the manifest was linked, and the note was not removed.
    let note: &Path = &store.staging().join("note");
    std::fs::hard_link(root.join("_manifests/a.json"), note).unwrap();
    assert!(store.create("_manifests/b.json", b"second").unwrap());
    assert!(!store.create("_manifests/b.json", b"third").unwrap());
    assert_eq!(store.read("_manifests/a.json").unwrap().as_deref(), Some(&b"first"[..]));
    assert_eq!(store.read("_manifests/b.json").unwrap().as_deref(), Some(&b"second"[..]));
}

#[test]
fn two_processes_stage_in_folders_of_their_own() {
    for place in Place::both() {
        let (one, other) = (place.store(), place.store());
        assert_ne!(one.staging(), other.staging());
        assert_eq!(one.staging().parent(), Some(one.staging_root()));
        assert_eq!(one.staging_root(), other.staging_root());
        stage_something(&*one);
        assert_eq!(place.staged(), 1, "whoever has staged it");
    }
}

#[test]
fn a_file_of_another_process_is_no_part() {
    for place in Place::both() {
        let sink = sink(&[("compaction", "on")]);
        let (mut writer, _) = open(&place, &sink, ExportMode::Append);
        writer.recover().unwrap();
        let mut expected = Vec::new();
        for epoch in [1, 2, 4, 5, 6, 7, 8] {
            write(&mut writer, epoch, &[(epoch, chunk(None, &[(Some("a"), epoch as i64, 0)]))]).unwrap();
            expected.push(format!("a {epoch}"));
        }
        // A process that wrote epoch 3 ended before its manifest. With it there would be eight small files.
        let orphan = format!("data/{}", range_name(3, 3));
        let content = any_file(&*place.store(), "data");
        place.store().replace(&orphan, &content).unwrap();
        write(&mut writer, 9, &[(9, chunk(None, &[(Some("a"), 9, 0)]))]).unwrap();
        expected.push("a 9".to_owned());
        assert!(place.files().contains_key(&orphan), "it is not merged");
        writer.recover().unwrap();
        assert_eq!(place.all_rows("data"), expected);
    }
}

#[test]
fn files_with_other_columns_are_not_merged() {
    for place in Place::both() {
        let sink = sink(&[("compaction", "on")]);
        let (mut writer, _) = open(&place, &sink, ExportMode::Append);
        writer.recover().unwrap();
        for epoch in 1..=8 {
            write(&mut writer, epoch, &[(epoch, chunk(None, &[(Some("a"), epoch as i64, 0)]))]).unwrap();
        }
        drop(writer);
        // The first two columns have changed places by name: their types alone would not tell.
        let mut fields: Vec<Field> = view().fields().iter().map(|field| field.as_ref().clone()).collect();
        fields[0] = fields[0].clone().with_name("region");
        let shape = ExportShape::new(&Schema::new(fields), ExportMode::Append, &[]).unwrap();
        let (mut writer, _) = ExportWriter::with_store(&sink, shape, place.store(), "me").unwrap();
        writer.recover().unwrap();
        for epoch in 9..=17 {
            write(&mut writer, epoch, &[(epoch, chunk(None, &[(Some("a"), epoch as i64, 0)]))]).unwrap();
        }
        let files = place.files();
        let mut expected: Vec<String> =
            (1..=8).map(|epoch| format!("data/{}", range_name(epoch, epoch))).collect();
        expected.push(format!("data/{}", range_name(9, 17)));
        let data: Vec<&String> = files.keys().filter(|path| path.starts_with("data/")).collect();
        assert_eq!(data, expected.iter().collect::<Vec<_>>());
        assert_eq!(place.all_rows("data").len(), 17);
        assert_eq!(place.staged(), 0);
    }
}

#[test]
fn a_partitioned_copy_of_nothing_is_a_file() {
    for place in Place::both() {
        let sink = sink(&[("partition_by", "platform")]);
        let (mut writer, _) = open(&place, &sink, ExportMode::Current);
        writer.recover().unwrap();
        write(&mut writer, 1, &[(1, chunk(None, &[(Some("a"), 1, 0)]))]).unwrap();
        assert_eq!(write(&mut writer, 2, &[]).unwrap().files, 1);
        assert_eq!(place.rows("current/epoch=2/part-00000.parquet"), Vec::<String>::new());
    }
}

#[test]
fn other_days_are_another_form() {
    let mut fields: Vec<Field> = view().fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.push(Field::new("begun_at", timestamptz(), true));
    let schema = Schema::new(fields);
    let form = |columns: &[&str]| {
        let columns: Vec<String> = columns.iter().map(|column| (*column).to_owned()).collect();
        ExportShape::new(&schema, ExportMode::Append, &columns).unwrap().form()
    };
    assert_eq!(form(&["platform", "ended_at"]), "append by platform, date of ended_at");
    assert_ne!(form(&["ended_at"]), form(&["begun_at"]));
}

#[test]
fn too_many_files_are_told_before_any_is_written() {
    let names: Vec<&'static str> = (0..10_001).map(|at| &*format!("p{at}").leak()).collect();
    let place = Place::Directory(tempfile::tempdir().unwrap());
    let sink = sink(&[("partition_by", "platform")]);
    let (mut writer, _) = open(&place, &sink, ExportMode::Append);
    writer.recover().unwrap();
    let rows: Vec<Row> = names.iter().zip(0..).map(|(name, at)| (Some(*name), at, 0)).collect();
    let before = place.files();
    let error = write(&mut writer, 1, &[(1, chunk(None, &rows))]).unwrap_err();
    assert!(matches!(error, ConnectorError::TooManyFiles { most: 10_000, .. }), "{error}");
    assert_eq!((place.files(), place.staged()), (before, 0));
    // A shorter step is written.
    assert_eq!(write(&mut writer, 1, &[(1, chunk(None, &rows[..20]))]).unwrap().files, 20);
}
