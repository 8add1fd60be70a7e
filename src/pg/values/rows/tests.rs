//! Golden values: text and bytes are those that PostgreSQL sends.

use std::sync::Arc;

use arrow::array::{
    Array, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float32Array,
    Float64Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray, NullArray,
    StringArray, StringViewArray, StructArray, Time64MicrosecondArray, TimestampMicrosecondArray,
    TimestampSecondArray, UInt64Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, IntervalMonthDayNano, Schema};
use chrono_tz::Tz;

use super::*;

/// The first value of a column in both forms.
fn written(column: ArrayRef, field: &Field) -> (String, String) {
    let fields = Fields::from(vec![field.clone()]);
    let schema = Arc::new(Schema::new(vec![field.clone().with_data_type(column.data_type().clone())]));
    let batch = RecordBatch::try_new(schema, vec![column]).expect("a batch");
    let columns = held_columns(&batch, &fields).expect("types of Herald");
    let views = views(&columns).expect("views");
    let mut both = Vec::new();
    for binary in [false, true] {
        let form = Form { kind: Kind::of(field), binary };
        let mut out = Vec::new();
        write_field(&mut out, &form, Zone::Utc, (&views[0], 0)).expect("a value");
        let length = i32::from_be_bytes([out[0], out[1], out[2], out[3]]);
        assert_eq!(usize::try_from(length), Ok(out.len() - 4));
        both.push(out.split_off(4));
    }
    let bytes = both.pop().unwrap_or_default();
    let text = both.pop().unwrap_or_default();
    let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    (String::from_utf8(text).expect("text"), hex)
}

/// Asserts the text and the bytes of the first value of a column.
fn assert_sent(column: ArrayRef, text: &str, hex: &str) {
    let field = Field::new("c", column.data_type().clone(), true);
    assert_eq!(written(column, &field), (text.to_owned(), hex.to_owned()));
}

fn decimal(value: i128, precision: u8, scale: i8) -> ArrayRef {
    let array = Decimal128Array::from(vec![value]).with_precision_and_scale(precision, scale);
    Arc::new(array.expect("a decimal"))
}

fn timestamptz(us: i64) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(vec![us]).with_timezone("UTC"))
}

#[test]
fn numbers_are_those_of_postgresql() {
    assert_sent(Arc::new(BooleanArray::from(vec![true])), "t", "01");
    assert_sent(Arc::new(Int16Array::from(vec![-2])), "-2", "fffe");
    assert_sent(Arc::new(Int32Array::from(vec![123_456])), "123456", "0001e240");
    assert_sent(Arc::new(Int64Array::from(vec![i64::MIN])), "-9223372036854775808", "8000000000000000");
    assert_sent(Arc::new(Float32Array::from(vec![1.5])), "1.5", "3fc00000");
    assert_sent(Arc::new(Float64Array::from(vec![1e20])), "1e+20", "4415af1d78b58c40");
    assert_sent(Arc::new(Float64Array::from(vec![0.1])), "0.1", "3fb999999999999a");
    assert_sent(Arc::new(Float64Array::from(vec![f64::NAN])), "NaN", "7ff8000000000000");
    for (value, precision, scale, text, hex) in [
        (1_234_500, 10, 4, "123.4500", "0002000000000004007b1194"),
        (-5, 5, 2, "-0.05", "0001ffff4000000201f4"),
        (0, 10, 2, "0.00", "0000000000000002"),
        (
            12_345_678_901_234_567_890_123_456_789,
            38,
            9,
            "12345678901234567890.123456789",
            "000800040000000904d2162e23340d801ed204d2162e2328",
        ),
        (100_000_000, 38, 0, "100000000", "00010002000000000001"),
        (1000, 12, 10, "0.0000001000", "0001fffe0000000a000a"),
    ] {
        assert_sent(decimal(value, precision, scale), text, hex);
    }
    assert_sent(Arc::new(UInt64Array::from(vec![100_000_000])), "100000000", "00010002000000000001");
}

#[test]
fn times_are_those_of_postgresql() {
    let date = |days: i32| -> ArrayRef { Arc::new(Date32Array::from(vec![days])) };
    assert_sent(date(19_782), "2024-02-29", "00002279");
    assert_sent(date(-735_160), "0044-03-15 BC", "fff49d7b");
    assert_sent(date(3_672_879), "12026-01-01", "0037e062");
    let clock = Time64MicrosecondArray::from(vec![86_399_500_000]);
    assert_sent(Arc::new(clock), "23:59:59.5", "000000141dcfbee0");
    let plain = |us: i64| -> ArrayRef { Arc::new(TimestampMicrosecondArray::from(vec![us])) };
    assert_sent(plain(946_684_799_999_999), "1999-12-31 23:59:59.999999", "ffffffffffffffff");
    assert_sent(timestamptz(1_709_210_096_120_000), "2024-02-29 12:34:56.12+00", "0002b583416850c0");
    assert_sent(plain(-62_167_219_200_000_000), "0001-01-01 00:00:00 BC", "ff1fc63d1bb12000");
    let seconds = TimestampSecondArray::from(vec![946_684_800]);
    assert_sent(Arc::new(seconds), "2000-01-01 00:00:00", "0000000000000000");
    let span = IntervalMonthDayNano { months: 14, days: -3, nanoseconds: 14_706_700_000_000 };
    assert_sent(
        Arc::new(IntervalMonthDayNanoArray::from(vec![span])),
        "1 year 2 mons -3 days +04:05:06.7",
        "000000036c966ee0fffffffd0000000e",
    );
}

#[test]
fn texts_and_bytes_are_those_of_postgresql() {
    assert_sent(Arc::new(StringArray::from(vec!["é"])), "é", "c3a9");
    assert_sent(Arc::new(StringViewArray::from(vec!["é"])), "é", "c3a9");
    assert_sent(Arc::new(BinaryArray::from_vec(vec![&[0, 255, 65]])), "\\x00ff41", "00ff41");
    let uuid =
        [0xa0_u8, 0xee, 0xbc, 0x99, 0x9c, 0x0b, 0x4e, 0xf8, 0xbb, 0x6d, 0x6b, 0xb9, 0xbd, 0x38, 0x0a, 0x11];
    let uuids = FixedSizeBinaryArray::try_from_iter(std::iter::once(uuid)).expect("a UUID");
    assert_sent(Arc::new(uuids), "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc999c0b4ef8bb6d6bb9bd380a11");
    let json = "{\"b\": 1, \"aa\": [1.50, null]}";
    let (text, hex) = written(Arc::new(StringArray::from(vec![json])), &schemas::jsonb_field("j", true));
    assert_eq!(text, json);
    assert_eq!(hex, "017b2262223a20312c20226161223a205b312e35302c206e756c6c5d7d");
}

#[test]
fn arrays_are_those_of_postgresql() {
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(1), None, Some(3)])]);
    assert_sent(
        Arc::new(list),
        "{1,NULL,3}",
        "0000000100000001000000140000000300000001000000080000000000000001ffffffff000000080000000000000003",
    );
    let empty = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(Vec::<Option<i32>>::new())]);
    assert_sent(Arc::new(empty), "{}", "000000000000000000000017");
    let texts = StringArray::from(vec![Some("a b"), Some(""), Some("NULL"), Some("x,\"y\\"), None]);
    let item = Arc::new(Field::new("item", DataType::Utf8, true));
    let texts = ListArray::new(item, OffsetBuffer::from_lengths([5]), Arc::new(texts), None);
    assert_sent(
        Arc::new(texts),
        "{\"a b\",\"\",\"NULL\",\"x,\\\"y\\\\\",NULL}",
        "00000001000000010000001900000005000000010000000361206200000000000000044e554c4c00000005782c22795cffffffff",
    );
    let rows = vec![Some(vec![Some(1), Some(2)]), Some(vec![Some(3), Some(4)]), Some(vec![Some(5)])];
    let inner = ListArray::from_iter_primitive::<Int32Type, _, _>(rows);
    let item = Arc::new(Field::new("item", inner.data_type().clone(), true));
    let outer = |lengths: [usize; 2]| {
        ListArray::new(item.clone(), OffsetBuffer::from_lengths(lengths), Arc::new(inner.clone()), None)
    };
    assert_sent(
        Arc::new(outer([2, 1])),
        "{{1,2},{3,4}}",
        "000000020000000000000017000000020000000100000002000000010000000400000001000000040000000200000004000000030000000400000004",
    );
    // PostgreSQL has no array of arrays of several lengths.
    let ragged: ArrayRef = Arc::new(outer([3, 0]));
    let views = views(std::slice::from_ref(&ragged)).expect("views");
    let form = Form { kind: Kind::Array(Box::new(Kind::Int4)), binary: true };
    let told = write_field(&mut Vec::new(), &form, Zone::Utc, (&views[0], 0)).map_err(|error| error.code);
    assert_eq!(told, Err("2202E"));
}

/// A struct is PostgreSQL's `to_jsonb` of a row of these columns.
#[test]
fn structs_are_jsonb() {
    let small: ArrayRef = Arc::new(Float64Array::from(vec![1.5e-7]));
    let xs = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), Some(2)])]);
    let span = IntervalMonthDayNano { months: 0, days: 1, nanoseconds: 0 };
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("name", Arc::new(Float64Array::from(vec![1.5]))),
        ("id", Arc::new(Float64Array::from(vec![1e20]))),
        ("at", timestamptz(1_709_210_096_120_000)),
        ("b", Arc::new(BinaryArray::from_vec(vec![&[255]]))),
        ("xs", Arc::new(xs)),
        ("n", Arc::new(NullArray::new(1))),
        ("iv", Arc::new(IntervalMonthDayNanoArray::from(vec![span]))),
        ("day", Arc::new(Date32Array::from(vec![19_782]))),
        ("clock", Arc::new(Time64MicrosecondArray::from(vec![3_723_500_000]))),
        ("price", decimal(150, 5, 2)),
        ("txt", Arc::new(StringArray::from(vec!["a\\\"b\\\\é"]))),
        ("small", small),
        ("nan", Arc::new(Float64Array::from(vec![f64::NAN]))),
        ("ts", Arc::new(TimestampMicrosecondArray::from(vec![1_704_067_200_000_000]))),
    ];
    let fields: Vec<(Arc<Field>, ArrayRef)> = columns
        .into_iter()
        .map(|(name, array)| (Arc::new(Field::new(name, array.data_type().clone(), true)), array))
        .collect();
    let text = "{\"b\": \"\\\\xff\", \"n\": null, \"at\": \"2024-02-29T12:34:56.12+00:00\", \
                \"id\": 100000000000000000000, \"iv\": \"1 day\", \"ts\": \"2024-01-01T00:00:00\", \"xs\": [1, 2], \
                \"day\": \"2024-02-29\", \"nan\": \"NaN\", \"txt\": \"a\\\\\\\"b\\\\\\\\é\", \"name\": 1.5, \
                \"clock\": \"01:02:03.5\", \"price\": 1.50, \"small\": 0.00000015}";
    let object: ArrayRef = Arc::new(StructArray::from(fields));
    let field = Field::new("c", object.data_type().clone(), true);
    let (sent, hex) = written(object, &field);
    assert_eq!(sent, text);
    let bytes: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, format!("01{bytes}"));
}

#[test]
fn a_point_in_time_is_shown_in_the_zone_of_the_session() {
    let columns = [timestamptz(1_709_210_096_120_000)];
    let views = views(&columns).expect("views");
    let form = Form { kind: Kind::Timestamptz, binary: false };
    for (zone, text) in [
        (Zone::Named(Tz::Europe__Berlin), "2024-02-29 13:34:56.12+01"),
        (Zone::Named(Tz::Asia__Kolkata), "2024-02-29 18:04:56.12+05:30"),
        (Zone::Fixed(-7200), "2024-02-29 10:34:56.12-02"),
    ] {
        let mut out = Vec::new();
        assert!(write_field(&mut out, &form, zone, (&views[0], 0)).is_ok());
        assert_eq!(String::from_utf8_lossy(&out[4..]), text);
    }
}

#[test]
fn rows_are_messages_up_to_a_size() {
    let columns: [ArrayRef; 2] = [
        Arc::new(Int32Array::from(vec![Some(1), None, Some(3)])),
        Arc::new(StringArray::from(vec!["a", "bb", "ccc"])),
    ];
    let views = views(&columns).expect("views");
    let forms = [Form { kind: Kind::Int4, binary: true }, Form { kind: Kind::Text, binary: false }];
    let mut out = Vec::new();
    assert_eq!(write_rows(&mut out, (&views, &forms), Zone::Utc, 0..3, 30), Ok(2));
    assert_eq!(
        out,
        b"D\0\0\0\x13\0\x02\0\0\0\x04\0\0\0\x01\0\0\0\x01aD\0\0\0\x10\0\x02\xff\xff\xff\xff\0\0\0\x02bb"
    );
    assert_eq!(write_rows(&mut out, (&views, &forms), Zone::Utc, 2..3, 1 << 16), Ok(3));
    assert_eq!(out.len(), 37 + 22);
}

#[test]
fn a_result_is_described() {
    let fields = Fields::from(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("price", DataType::Decimal128(10, 2), true),
    ]);
    let columns = Columns::new(&fields, vec!["id".into(), "price".into()]).expect("columns");
    let forms = columns.forms(&[1]).expect("forms");
    let described = columns.description(&forms).fields;
    let told: Vec<_> =
        described.iter().map(|f| (f.type_id, f.type_size, f.type_modifier, f.format_code)).collect();
    assert_eq!(told, [(20, 8, -1, 1), (1700, -1, (10 << 16 | 2) + 4, 1)]);
    assert_eq!(columns.forms(&[0, 1, 0]).map_err(|error| error.code), Err("08P01"));
    assert_eq!(columns.forms(&[7]).map_err(|error| error.code), Err("22023"));
}
