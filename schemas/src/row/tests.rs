//! The packed row: its order compared with Arrow's row format, its bytes with a fixture, and its
//! decoder tried on bytes that are not rows.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float32Array,
    Float64Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray, NullArray,
    RecordBatch, StringArray, StructArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Int32Type, IntervalMonthDayNano};
use arrow::row::{RowConverter, SortField};
use rand::RngExt;

use super::groups::{KEY_GROUPS, Ownership, key_group, stored_group, stored_key, without_group};
use super::*;
use crate::types::sample;
use crate::types::span::Span;

fn codec_of(batch: &RecordBatch) -> RowCodec {
    RowCodec::of(&batch.schema()).unwrap()
}

#[test]
fn packed_rows_sort_as_sql_does_and_come_back() {
    let mut random = sample::seeded_random(7);
    for _ in 0..60 {
        let schema = sample::random_schema(&mut random);
        let batch = sample::random_batch(&mut random, &schema, 60);
        let codec = codec_of(&batch);
        let rows = codec.encode(batch.columns()).unwrap();

        let fields = schema.fields().iter().map(|f| SortField::new(f.data_type().clone())).collect();
        let converter = RowConverter::new(fields).unwrap();
        let oracle = converter.convert_columns(batch.columns()).unwrap();
        // Arrow orders intervals by their parts, SQL by their length.
        let ordered = if format!("{schema:?}").contains("Interval") { 0 } else { batch.num_rows() };
        for a in 0..ordered {
            for b in 0..batch.num_rows() {
                let (ours, theirs) = (rows.get(a).cmp(rows.get(b)), oracle.row(a).cmp(&oracle.row(b)));
                assert_eq!(ours, theirs, "{:?}\n{:?}", batch.slice(a, 1), batch.slice(b, 1));
            }
        }

        let back = codec.decode(rows.iter()).unwrap();
        assert_eq!(codec.encode(&back).unwrap(), rows);
        for (ours, theirs) in back.iter().zip(batch.columns()) {
            assert_eq!(ours.data_type(), theirs.data_type());
            // NaN is not equal to itself; for floats the comparison of bytes above must do.
            if !format!("{:?}", ours.data_type()).contains("Float") {
                assert_eq!(ours, theirs);
            }
        }
    }
}

#[test]
fn intervals_sort_by_their_length() {
    let texts =
        ["-1 mon", "-00:00:01", "00:00:00", "23:59:59", "1 day", "1 mon -1 us", "1 mon", "31 days", "1 year"];
    let spans = texts.map(|text| Span::parse(text).and_then(Span::to_arrow));
    let array: ArrayRef = Arc::new(IntervalMonthDayNanoArray::from(spans.to_vec()));
    let codec = RowCodec::new(&[crate::interval()]).unwrap();
    let rows = codec.encode(std::slice::from_ref(&array)).unwrap();
    assert!(rows.iter().is_sorted(), "{texts:?}");
    assert_eq!(&codec.decode(rows.iter()).unwrap()[0], &array);
    // Equal intervals have equal leading bytes, and keep their parts.
    let equal: ArrayRef = Arc::new(IntervalMonthDayNanoArray::from(
        ["1 mon", "30 days"].map(|t| Span::parse(t).unwrap().to_arrow()).to_vec(),
    ));
    let rows = codec.encode(&[equal]).unwrap();
    assert_eq!(rows.get(0)[..17], rows.get(1)[..17]);
    assert_ne!(rows.get(0), rows.get(1));
}

#[test]
fn a_row_is_its_columns_one_after_the_other() {
    let mut random = sample::seeded_random(8);
    for _ in 0..40 {
        let schema = sample::random_schema(&mut random);
        let batch = sample::random_batch(&mut random, &schema, 10);
        let codec = codec_of(&batch);
        let rows = codec.encode(batch.columns()).unwrap();
        let slices = codec.encode(batch.slice(3, 5).columns()).unwrap();
        for row in 0..batch.num_rows() {
            let mut joined = Vec::new();
            for (index, column) in batch.columns().iter().enumerate() {
                assert_eq!(codec.prefix_len(rows.get(row), index).unwrap(), joined.len());
                let one = RowCodec::new(&[column.data_type().clone()]).unwrap();
                joined.extend_from_slice(one.encode(std::slice::from_ref(column)).unwrap().get(row));
            }
            assert_eq!(joined, rows.get(row));
            if (3..8).contains(&row) {
                assert_eq!(slices.get(row - 3), rows.get(row));
            }
        }
    }
}

#[test]
fn some_columns_of_rows_are_unpacked_alone() {
    let mut random = sample::seeded_random(10);
    for _ in 0..40 {
        let schema = sample::random_schema(&mut random);
        let batch = sample::random_batch(&mut random, &schema, 12);
        let codec = codec_of(&batch);
        let rows = codec.encode(batch.columns()).unwrap();
        let all = codec.decode(rows.iter()).unwrap();
        for _ in 0..8 {
            let wanted: Vec<usize> =
                (0..random.random_range(0..4)).map(|_| random.random_range(0..codec.columns())).collect();
            let some = codec.decode_columns(rows.iter(), &wanted).unwrap();
            assert_eq!(some.len(), wanted.len());
            for (column, at) in some.iter().zip(&wanted) {
                // Columns may hold NaN, which is not equal to itself; its packed bytes are.
                let one = RowCodec::new(&[column.data_type().clone()]).unwrap();
                let packed = |column: &ArrayRef| one.encode(std::slice::from_ref(column)).unwrap();
                assert_eq!(packed(column), packed(&all[*at]), "{schema:?} {wanted:?}");
            }
            // Packed, they are copied from the row.
            let types: Vec<DataType> = some.iter().map(|column| column.data_type().clone()).collect();
            let packed = RowCodec::new(&types).unwrap().encode(&some).unwrap();
            for (row, expected) in rows.iter().zip(packed.iter()) {
                let mut copied = b"before".to_vec();
                codec.append_columns(row, &wanted, &mut copied).unwrap();
                assert_eq!(copied, [&b"before"[..], expected].concat(), "{schema:?} {wanted:?}");
            }
        }
        assert!(codec.decode_columns(rows.iter(), &[codec.columns()]).is_err());
        assert!(codec.append_columns(rows.get(0), &[codec.columns()], &mut Vec::new()).is_err());
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// These bytes are on users' disks. If this test fails, the format changed: raise the state's
/// format version and write a migration; do not touch the bytes here.
#[test]
fn fixture() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), Some(vec![])]);
    let fields = vec![Field::new("a", DataType::Int16, true), Field::new("b", DataType::Utf8, true)];
    let parts: Vec<ArrayRef> = vec![
        Arc::new(Int16Array::from(vec![Some(-2), None])),
        Arc::new(StringArray::from(vec![Some("x"), Some("")])),
    ];
    let decimals =
        Decimal128Array::from(vec![Some(12345), Some(-1)]).with_precision_and_scale(20, 2).unwrap();
    let columns: Vec<(&str, ArrayRef, [&str; 2])> = vec![
        ("bool", Arc::new(BooleanArray::from(vec![Some(true), None])), ["0101", "00"]),
        ("int", Arc::new(Int32Array::from(vec![1, -1])), ["0180000001", "017fffffff"]),
        ("bigint", Arc::new(Int64Array::from(vec![Some(-2), None])), ["017ffffffffffffffe", "00"]),
        (
            "unsigned",
            Arc::new(UInt64Array::from(vec![1, u64::MAX])),
            ["010000000000000001", "01ffffffffffffffff"],
        ),
        ("real", Arc::new(Float32Array::from(vec![1.0, -0.0])), ["01bf800000", "0180000000"]),
        (
            "double",
            Arc::new(Float64Array::from(vec![-1.0, -f64::NAN])),
            ["01400fffffffffffff", "01fff8000000000000"],
        ),
        (
            "decimal",
            Arc::new(decimals),
            ["0180000000000000000000000000003039", "017fffffffffffffffffffffffffffffff"],
        ),
        ("text", Arc::new(StringArray::from(vec!["a\0b", ""])), ["016100ff620000", "010000"]),
        ("bytes", Arc::new(BinaryArray::from(vec![Some(&b"\xff\x00"[..]), None])), ["01ff00ff0000", "00"]),
        (
            "uuid",
            Arc::new(FixedSizeBinaryArray::try_from(vec![Some(b"\x00\xff0123456789abcd"), None]).unwrap()),
            ["0100ff3031323334353637383961626364", "00"],
        ),
        ("date", Arc::new(Date32Array::from(vec![0, -1])), ["0180000000", "017fffffff"]),
        (
            "interval",
            Arc::new(IntervalMonthDayNanoArray::from(vec![Some(IntervalMonthDayNano::new(0, 1, 0)), None])),
            [
                "01800000000000000000000014\
              1dd760008000000080000001",
                "00",
            ],
        ),
        ("null", Arc::new(NullArray::new(2)), ["00", "00"]),
        ("list", Arc::new(list), ["010101800000010100" /* 1, NULL */, "0100"]),
        (
            "struct",
            Arc::new(StructArray::new(fields.into(), parts, None)),
            ["01017ffe01780000", "0100010000"],
        ),
    ];
    for (name, column, [first, second]) in columns {
        let codec = RowCodec::new(&[column.data_type().clone()]).unwrap();
        let rows = codec.encode(&[column]).unwrap();
        assert_eq!(
            (hex(rows.get(0)).as_str(), hex(rows.get(1)).as_str()),
            (expand(first).as_str(), second),
            "{name}"
        );
    }
    // The first is XXH3's own test vector.
    assert_eq!((hash(b""), hash(b"herald")), (0x2D06_8005_38D3_94C2, 0x397EFD289CAA5869));
}

/// Appends the end mark to the list fixture, where it is left out to keep the line readable.
fn expand(text: &str) -> String {
    if text == "010101800000010100" { format!("{text}00") } else { text.to_string() }
}

#[test]
fn bytes_that_are_not_rows_are_errors() {
    let mut random = sample::seeded_random(9);
    for _ in 0..200 {
        let schema = sample::random_schema(&mut random);
        let batch = sample::random_batch(&mut random, &schema, 4);
        let codec = codec_of(&batch);
        let rows = codec.encode(batch.columns()).unwrap();
        for row in rows.iter() {
            for end in 0..row.len() {
                assert!(codec.decode([&row[..end]].into_iter()).is_err(), "a cut row was accepted");
            }
            let mut longer = row.to_vec();
            longer.push(0);
            assert!(codec.decode([&longer[..]].into_iter()).is_err());
            for _ in 0..20 {
                let mut broken = row.to_vec();
                let at = random.random_range(0..broken.len());
                broken[at] = random.random();
                if let Ok(columns) = codec.decode([&broken[..]].into_iter()) {
                    assert_eq!(columns.len(), codec.columns());
                }
                let _ = codec.prefix_len(&broken, codec.columns());
            }
        }
        let garbage: Vec<u8> = (0..40).map(|_| random.random_range(0..4)).collect();
        let _ = codec.decode([&garbage[..]].into_iter());
    }
}

#[test]
fn columns_must_be_those_of_the_codec() {
    let codec = RowCodec::new(&[DataType::Int32, DataType::Utf8]).unwrap();
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    assert!(codec.encode(std::slice::from_ref(&numbers)).is_err());
    assert!(codec.encode(&[numbers.clone(), numbers.clone()]).is_err());
    let two: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    assert!(codec.encode(&[numbers, two]).is_err());
    assert!(codec.prefix_len(b"", 3).is_err());
    assert!(RowCodec::new(&[DataType::LargeUtf8]).is_err());
    let none = RowCodec::new(&[]).unwrap();
    assert!(none.decode([&b""[..], b""].into_iter()).unwrap().is_empty());
}

#[test]
fn key_groups_are_ranges_over_workers() {
    for workers in [1, 2, 3, 9, KEY_GROUPS] {
        let ownership = Ownership::even(workers);
        // Every group has one owner, in ascending order, and shares differ by one group at most.
        let ranges: Vec<_> = (0..workers).flat_map(|worker| ownership.ranges(worker)).collect();
        assert_eq!(ranges.len(), workers);
        assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert_eq!((ranges[0].start, usize::from(ranges[workers - 1].end)), (0, KEY_GROUPS));
        assert!(
            ranges
                .iter()
                .all(|range| range.len() == KEY_GROUPS / workers
                    || range.len() == KEY_GROUPS.div_ceil(workers))
        );
        for key in 0..1000u32 {
            let owner = ownership.owner_of(&key.to_be_bytes());
            assert!(ranges[owner].contains(&key_group(&key.to_be_bytes())));
        }
        assert!(ownership.ranges(workers).is_empty());
    }
}

/// The stored form of a key in format 2, byte by byte.
#[test]
fn stored_keys_are_frozen() {
    assert_eq!(usize::from(key_group(b"k")), (hash(b"k") % 4096) as usize);
    let stored = stored_key(b"k");
    assert_eq!(
        (stored.len(), stored_group(&stored), without_group(&stored)),
        (3, Some(key_group(b"k")), &b"k"[..])
    );
    assert_eq!((stored_group(b"k"), without_group(b"k")), (None, &b""[..]));
}
