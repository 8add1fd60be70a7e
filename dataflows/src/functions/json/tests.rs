//! Tests of functions over JSONB: no row depends on another, failures have PostgreSQL's messages, constants
//! are arrays of texts. The results are tested by `tests/slt/jsonb.slt`, whose values are PostgreSQL's.

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListBuilder, StringArray, StringBuilder,
};
use arrow::compute::concat;
use arrow::datatypes::Field;
use datafusion_common::config::ConfigOptions;

use super::*;

/// Returns a column of values of a kind, with some NULLs.
fn column(takes: Takes, step: usize) -> (ArrayRef, FieldRef) {
    const JSON: [&str; 8] = [
        "{\"a\": 1, \"b\": [1, null]}",
        "[1.0, \"a\", {\"b\": 2}]",
        "1",
        "\"a\"",
        "null",
        "true",
        "{}",
        "[]",
    ];
    let rows = 0..16usize;
    let every = |row: usize| (row * step + step) % 9;
    let plain = |of: DataType| Arc::new(Field::new("x", of, true));
    match takes {
        Takes::Json => {
            let texts: StringArray = rows.map(|row| JSON.get(every(row)).copied()).collect();
            (Arc::new(texts), Arc::new(schemas::jsonb_field("x", true)))
        }
        Takes::Name | Takes::Text | Takes::Step | Takes::Bytes => {
            let names: [&str; 8] = ["a", "b", "", "1", "null", "[1]", "{\"b\": 1}", "x"];
            let texts: StringArray = rows.map(|row| names.get(every(row)).copied()).collect();
            (Arc::new(texts), plain(DataType::Utf8))
        }
        Takes::Number => {
            let numbers: Int64Array =
                rows.map(|row| (every(row) < 8).then(|| every(row) as i64 - 4)).collect();
            (Arc::new(numbers), plain(DataType::Int64))
        }
        Takes::Flag => {
            let flags: BooleanArray = rows.map(|row| (every(row) < 8).then(|| every(row) % 2 == 0)).collect();
            (Arc::new(flags), plain(DataType::Boolean))
        }
        Takes::Names => {
            let mut lists = ListBuilder::new(StringBuilder::new());
            for row in rows {
                for at in 0..every(row) % 4 {
                    lists.values().append_option(["a", "0", "b"].get((at + row) % 4));
                }
                lists.append(every(row) < 8);
            }
            let lists = lists.finish();
            let of = lists.data_type().clone();
            (Arc::new(lists), plain(of))
        }
    }
}

fn called(
    function: &ScalarUDF,
    columns: &[(ArrayRef, FieldRef)],
    (from, rows): (usize, usize),
) -> std::result::Result<ArrayRef, String> {
    let fields: Vec<FieldRef> = columns.iter().map(|(_, field)| Arc::clone(field)).collect();
    let constants = vec![None; fields.len()];
    let given = ReturnFieldArgs { arg_fields: &fields, scalar_arguments: &constants };
    let return_field = function.return_field_from_args(given).unwrap();
    let args = columns.iter().map(|(array, _)| ColumnarValue::Array(array.slice(from, rows))).collect();
    let args = ScalarFunctionArgs {
        args,
        arg_fields: fields,
        number_rows: rows,
        return_field,
        config_options: Arc::new(ConfigOptions::new()),
    };
    let value = function.invoke_with_args(args).map_err(|error| error.strip_backtrace())?;
    value.into_array(rows).map_err(|error| error.to_string())
}

#[test]
fn every_row_stands_for_itself() {
    let tables = [access::FUNCTIONS, search::FUNCTIONS, change::FUNCTIONS, cast::FUNCTIONS];
    for def in tables.into_iter().flatten() {
        let function = ScalarUDF::from(JsonUdf::new(def));
        let columns: Vec<_> =
            def.takes.iter().enumerate().map(|(at, takes)| column(*takes, at * 2 + 1)).collect();
        let alone: Vec<_> = (0..16).map(|row| called(&function, &columns, (row, 1))).collect();
        assert!(alone.iter().any(Result::is_ok), "{def:?} gives nothing");
        // A row with a result has the same result next to any other such row.
        let good: Vec<usize> = (0..16).filter(|row| alone[*row].is_ok()).collect();
        for pair in good.windows(2).filter(|pair| pair[1] == pair[0] + 1) {
            let both = called(&function, &columns, (pair[0], 2)).unwrap();
            let (a, b) = (alone[pair[0]].as_ref().unwrap(), alone[pair[1]].as_ref().unwrap());
            assert_eq!(*both, *concat(&[a, b]).unwrap(), "{def:?} rows {pair:?}");
        }
    }
}

#[test]
fn bytes_that_are_no_json_are_null() {
    let function =
        ScalarUDF::from(JsonUdf::new(cast::FUNCTIONS.iter().find(|def| def.name == "try_jsonb").unwrap()));
    let bytes: [Option<&[u8]>; 6] =
        [Some(b"{\"a\": 1}"), Some(b"{\"a\": "), Some(b"\xff"), Some(b""), None, Some("\"é\"".as_bytes())];
    let array: ArrayRef = Arc::new(arrow::array::BinaryArray::from_iter(bytes));
    let columns = [(array, Arc::new(Field::new("x", DataType::Binary, true)))];
    let found = called(&function, &columns, (0, 6)).unwrap();
    let expected = StringArray::from(vec![Some("{\"a\": 1}"), None, None, None, None, Some("\"é\"")]);
    assert_eq!(found.as_string::<i32>(), &expected);
}

#[test]
fn failures_have_the_words_of_postgresql() {
    let def = |name: &str| {
        let tables = [access::FUNCTIONS, search::FUNCTIONS, change::FUNCTIONS, cast::FUNCTIONS];
        tables.into_iter().flatten().find(|def| def.name == name).unwrap()
    };
    let names = |list: &[&str]| Arg::Names(list.iter().map(|name| Some((*name).to_owned())).collect());
    let cases: [(&str, Vec<Arg<'_>>, &str); 12] = [
        ("jsonb_delete", vec![Arg::Json("1"), Arg::Name("a")], "cannot delete from scalar"),
        (
            "jsonb_delete",
            vec![Arg::Json("{}"), Arg::Number(0)],
            "cannot delete from object using integer index",
        ),
        ("jsonb_delete_path", vec![Arg::Json("1"), names(&["a"])], "cannot delete path in scalar"),
        ("jsonb_set", vec![Arg::Json("1"), names(&["a"]), Arg::Json("2")], "cannot set path in scalar"),
        ("jsonb_array_length", vec![Arg::Json("1")], "cannot get array length of a scalar"),
        ("jsonb_array_length", vec![Arg::Json("{}")], "cannot get array length of a non-array"),
        ("herald_jsonb_elements", vec![Arg::Json("{}")], "cannot extract elements from an object"),
        ("herald_jsonb_elements_text", vec![Arg::Json("1")], "cannot extract elements from a scalar"),
        ("herald_jsonb_keys", vec![Arg::Json("[]")], "cannot call jsonb_object_keys on an array"),
        ("herald_jsonb_each", vec![Arg::Json("[]")], "cannot call jsonb_each on a non-object"),
        (
            "herald_jsonb_number",
            vec![Arg::Json("null"), Arg::Name("integer"), Arg::Number(0)],
            "cannot cast jsonb null to type integer",
        ),
        ("herald_jsonb_bool", vec![Arg::Json("1")], "cannot cast jsonb numeric to type boolean"),
    ];
    for (name, args, expected) in cases {
        assert_eq!((def(name).body)(&args).unwrap_err(), expected, "{name}");
    }
}

#[test]
fn constants_are_arrays_of_texts_as_in_postgresql() {
    let read = |text: &str| names_of(text).map(|names| names.join_shown());
    let good = [
        ("{}", ""),
        (" { } ", ""),
        ("{a,b}", "a|b"),
        ("{ a b , \"c,d\" ,NULL,\"NULL\"}", "a b|c,d|-|NULL"),
        ("{\"\",\"a\\\"b\",x\\,y,\" s \"}", "|a\"b|x,y| s "),
    ];
    for (text, expected) in good {
        assert_eq!(read(text).as_deref(), Ok(expected), "{text}");
    }
    for text in ["", "a", "{a", "a}", "{a,}", "{,a}", "{\"a}", "{a{b}", "{{a}}", "{\"a\"b}", "{a\\"] {
        assert!(read(text).is_err(), "{text}: {:?}", read(text));
    }
}

trait Shown {
    fn join_shown(&self) -> String;
}

impl Shown for Vec<Option<String>> {
    fn join_shown(&self) -> String {
        let names: Vec<&str> = self.iter().map(|name| name.as_deref().unwrap_or("-")).collect();
        names.join("|")
    }
}
