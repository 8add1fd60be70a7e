//! JSONB compared with PostgreSQL: texts, refusals and results of operators; and properties of random values.
//!
//! The expected texts are the output of PostgreSQL 15. Random values are written with odd spaces,
//! escapes, exponents and repeated names, to test their canonical text.

use std::cmp::Ordering;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::change::{Change, at_path, concat, strip_nulls, without, without_element};
use super::*;

fn text(json: &str) -> String {
    canonical(json).unwrap()
}

#[test]
fn texts_are_those_of_postgresql() {
    let cases = [
        ("-0", "0"),
        ("-0.0", "0.0"),
        ("1e5", "100000"),
        ("1.50e1", "15.0"),
        ("0e5", "0"),
        ("0e-5", "0.00000"),
        ("1E+2", "100"),
        ("-1e-3", "-0.001"),
        ("0.10e5", "10000"),
        ("0.001e2", "0.1"),
        ("123.456e1", "1234.56"),
        ("0e999999999", "0"),
        ("12345678901234567890123.10", "12345678901234567890123.10"),
        (
            r#""\ud83d\ude00 \u007f \u0001 \u0080 \/ \b\f\n\r\t""#,
            "\"😀 \u{7f} \\u0001 \u{80} / \\b\\f\\n\\r\\t\"",
        ),
        (r#"{"aa":1,"b":2,"a":3,"b":4, "":5, "é":6}"#, r#"{"": 5, "a": 3, "b": 4, "aa": 1, "é": 6}"#),
        (" [ ] ", "[]"),
        ("{ }", "{}"),
        (" [ 1 , {\"a\" : [ ] } ]", r#"[1, {"a": []}]"#),
    ];
    for (given, expected) in cases {
        assert_eq!(text(given), expected, "{given}");
        assert_eq!(text(expected), expected, "{expected} again");
    }
    assert_eq!(text("1e131071").len(), 131_072);
    assert_eq!(text("0.0001e131075").len(), 131_072);
    assert_eq!(text("1e-16383").len(), 16_385);
}

#[test]
fn what_postgresql_refuses_is_refused() {
    let numbers = [
        "1e131072",
        "12e131071",
        "1e-16384",
        "0e-16384",
        "10e-16384",
        "1.0e-16383",
        "0e9999999999",
        "1e99999999999999999999",
    ];
    for number in numbers {
        assert_eq!(canonical(number), Err(JsonbError::Number), "{number}");
    }
    let others = [
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\u0041\"",
        "\"\\ud800x\"",
        "\"\\u0000\"",
        "\"\\u12\"",
        "\"\\u12\u{e9}\"",
        "\"\\x\"",
        "\"a\tb\"",
        "\"a",
        "\"\\",
        "",
        " ",
        "nul",
        "1 2",
        "01",
        "-01",
        "1.",
        ".5",
        "-",
        "+1",
        "1e",
        "1e+",
        "[1,]",
        "[,]",
        "[1 2]",
        "[",
        "{",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{1:1}",
        "NaN",
        "Infinity",
        "'a'",
        "[1]]",
    ];
    for other in others {
        assert!(
            matches!(canonical(other), Err(JsonbError::Syntax { .. })),
            "{other}: {:?}",
            canonical(other)
        );
    }
}

#[test]
fn depth_and_what_exponents_add_are_bounded() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(text(&nested(DEPTH_MAX)), nested(DEPTH_MAX));
    assert_eq!(canonical(&nested(DEPTH_MAX + 1)), Err(JsonbError::Depth));
    assert_eq!(canonical(&nested(1_000_000)), Err(JsonbError::Depth));
    let deep = text(&nested(DEPTH_MAX));
    assert_eq!(Json::Array(vec![parse(&deep).unwrap()]).text(), Err(JsonbError::Depth));
    let many = format!("[{}1]", "1e131071,".repeat(1000));
    assert_eq!(canonical(&many), Err(JsonbError::Length));
}

#[test]
fn parts_are_those_of_postgresql() {
    let get = |json: &str, name: &str| member(&text(json), name).map(str::to_owned);
    assert_eq!(get(r#"{"a":1,"b":{"c":"}\""}}"#, "b").as_deref(), Some(r#"{"c": "}\""}"#));
    assert_eq!(get(r#"{"a\"\n":1}"#, "a\"\n").as_deref(), Some("1"));
    assert_eq!(
        (get(r#"{"a":1}"#, "x"), get("{}", "x"), get("[1]", "x"), get("1", "x")),
        (None, None, None, None)
    );
    let nth = |json: &str, at: i64| element(&text(json), at).map(str::to_owned);
    let list = r#"[1, "a,]", [2], {"k": 3}]"#;
    let found: Vec<_> = (-5..5).map(|at| nth(list, at)).collect();
    let expected = [None, Some("1"), Some("\"a,]\""), Some("[2]"), Some("{\"k\": 3}")];
    let expected: Vec<_> =
        expected.iter().chain(&expected[1..]).chain([&None]).map(|t| t.map(str::to_owned)).collect();
    assert_eq!(found, expected);
    // A top-level scalar counts as an array of one.
    assert_eq!(
        (nth("1", 0), nth("1", -1), nth("1", 1), nth("{}", 0)),
        (Some("1".into()), Some("1".into()), None, None)
    );
    assert_eq!(path::at("[1, 2]", &["1"]), Some("2"));
    assert_eq!(path::at("[1, 2]", &[" +1"]), Some("2"));
    assert_eq!(
        (path::at("[1, 2]", &["-3"]), path::at("1", &["0"]), path::at("[1]", &["x"])),
        (None, None, None)
    );
    assert_eq!(path::at(r#"{"a": ["x"]}"#, &["a", "0"]), Some("\"x\""));
    assert_eq!(path::unquoted(r#""q\"uo\u00e9""#).as_deref(), Some("q\"uoé"));
    assert_eq!(path::unquoted("null"), None);
}

#[test]
fn containment_is_that_of_postgresql() {
    let cases = [
        ("[1,2]", "1", true),
        ("1", "[1]", false),
        ("1", "1.0", true),
        ("[1,2]", "[2,2]", true),
        (r#"{"a":[1,{"b":2}]}"#, r#"{"a":[{"b":2.0}]}"#, true),
        ("{}", "[]", false),
        ("[[1]]", "[1]", false),
        (r#"["a"]"#, r#""a""#, true),
        (r#"[["a"]]"#, r#""a""#, false),
        (r#"{"a":["x"]}"#, r#"{"a":"x"}"#, false),
        ("[]", "[]", true),
        ("[[]]", "[]", true),
        ("null", "null", true),
    ];
    for (value, part, expected) in cases {
        assert_eq!(contains(&parse(value).unwrap(), &parse(part).unwrap()), expected, "{value} @> {part}");
    }
    let has = |json: &str, name: &str| exists(&parse(json).unwrap(), name);
    assert!(has(r#""a""#, "a") && has(r#"["a"]"#, "a") && has(r#"{"a":1}"#, "a"));
    assert!(!has(r#"[["a"]]"#, "a") && !has(r#"{"b":"a"}"#, "a") && !has("1", "1"));
}

#[test]
fn the_order_is_that_of_postgresql() {
    let rising = [
        "[]",
        "null",
        "\"\"",
        "\"a\"",
        "\"b\"",
        "-1.5",
        "0",
        "1",
        "2",
        "10",
        "false",
        "true",
        "[1]",
        "[[]]",
        "[1, 1]",
        "{}",
        r#"{"a": 1}"#,
        r#"{"a": 2}"#,
        r#"{"b": 0}"#,
        r#"{"a": 1, "b": 1}"#,
    ];
    for (a, one) in rising.iter().enumerate() {
        for (b, other) in rising.iter().enumerate() {
            assert_eq!(compare(&parse(one).unwrap(), &parse(other).unwrap()), a.cmp(&b), "{one} and {other}");
        }
    }
}

#[test]
fn changes_are_those_of_postgresql() {
    let both = |a: &str, b: &str| concat(parse(a).unwrap(), parse(b).unwrap()).text().unwrap();
    let concats = [
        (r#"{"a":1}"#, "1", r#"[{"a": 1}, 1]"#),
        (r#"{"a":1}"#, "[]", r#"[{"a": 1}]"#),
        ("[]", r#"{"a":1}"#, r#"[{"a": 1}]"#),
        ("1", "2", "[1, 2]"),
        ("1", "{}", "[1, {}]"),
        (r#"{"a":1,"b":2}"#, r#"{"b":3}"#, r#"{"a": 1, "b": 3}"#),
        ("[[]]", "[[]]", "[[], []]"),
    ];
    for (a, b, expected) in concats {
        assert_eq!(both(a, b), expected, "{a} || {b}");
    }
    let at = |json: &str, steps: &[Option<&str>], change: Change| {
        let changed = at_path(parse(json).unwrap(), steps, &Json::Number("9".into()), change);
        changed.map(|value| value.text().unwrap())
    };
    use Change::{After, Before, Create, Delete, Replace};
    let cases: [(&str, &[&str], Change, &str); 20] = [
        (r#"{"a":1}"#, &["b"], Create, r#"{"a": 1, "b": 9}"#),
        (r#"{"a":1}"#, &["b"], Replace, r#"{"a": 1}"#),
        (r#"{"a":1}"#, &["b", "c"], Create, r#"{"a": 1}"#),
        (r#"{"a":1}"#, &["a", "b"], Create, r#"{"a": 1}"#),
        ("[1,2]", &["-5"], Create, "[9, 1, 2]"),
        ("[1,2]", &["5"], Create, "[1, 2, 9]"),
        ("[]", &["5"], Create, "[9]"),
        ("[]", &["x"], Replace, "[]"),
        ("[1,2]", &["0"], Before, "[9, 1, 2]"),
        ("[1,2]", &["0"], After, "[1, 9, 2]"),
        ("[1,2]", &["-1"], After, "[1, 2, 9]"),
        ("[1,2]", &["9"], Before, "[1, 2, 9]"),
        ("[1,2]", &["-9"], Before, "[9, 1, 2]"),
        (r#"{"a":1}"#, &["b"], Before, r#"{"a": 1, "b": 9}"#),
        ("[]", &["x"], Delete, "[]"),
        (r#"{"a":{"b":1}}"#, &["a", "b"], Delete, r#"{"a": {}}"#),
        (r#"{"a":[1,2]}"#, &["a", "-1"], Delete, r#"{"a": [1]}"#),
        (r#"{"a":1}"#, &["a", "b"], Delete, r#"{"a": 1}"#),
        (r#"{"a":1}"#, &[], Create, r#"{"a": 1}"#),
        (r#"[{"a":1}]"#, &["0", "a"], Create, r#"[{"a": 9}]"#),
    ];
    for (json, steps, change, expected) in cases {
        let steps: Vec<_> = steps.iter().copied().map(Some).collect();
        assert_eq!(at(json, &steps, change).as_deref(), Ok(expected), "{json} {steps:?} {change:?}");
    }
    let failing = [
        ("1", vec![Some("a")], Create, "cannot set path in scalar"),
        ("1", vec![Some("a")], Delete, "cannot delete path in scalar"),
        ("[1]", vec![Some("x")], Create, "path element at position 1 is not an integer: \"x\""),
        (r#"{"a":[1]}"#, vec![Some("a"), None], Delete, "path element at position 2 is null"),
        (r#"{"a":1}"#, vec![Some("a")], After, "cannot replace existing key: use jsonb_set to replace it"),
    ];
    for (json, steps, change, expected) in failing {
        assert_eq!(at(json, &steps, change).unwrap_err(), expected, "{json} {steps:?}");
    }
    let drop = |json: &str, names: &[&str]| without(parse(json).unwrap(), names).map(|v| v.text().unwrap());
    assert_eq!(drop(r#"["a",1,"a"]"#, &["a"]).unwrap(), "[1]");
    assert_eq!(drop(r#"{"a":1,"b":2}"#, &["a", "c"]).unwrap(), r#"{"b": 2}"#);
    assert!(drop("1", &["a"]).is_err());
    let nth = |json: &str, at: i64| without_element(parse(json).unwrap(), at).map(|v| v.text().unwrap());
    assert_eq!((nth("[1,2,3]", -1).unwrap(), nth("[1,2]", -5).unwrap()), ("[1, 2]".into(), "[1, 2]".into()));
    assert!(nth("{}", 0).is_err() && nth("1", 0).is_err());
    let mut nulls = parse(r#"{"a":null,"b":[null,{"c":null}]}"#).unwrap();
    strip_nulls(&mut nulls);
    assert_eq!(nulls.text().unwrap(), r#"{"b": [null, {}]}"#);
    let lines = pretty(&parse(r#"{"a":[1,{"b":2}],"c":{},"d":[]}"#).unwrap()).unwrap();
    let expected = "{\n    \"a\": [\n        1,\n        {\n            \"b\": 2\n        }\n    ],\n    \"c\": {\n    },\n    \"d\": [\n    ]\n}";
    assert_eq!(lines, expected);
}

#[test]
fn numbers_are_rounded_as_numeric_is() {
    let cases = [
        ("1.5", 0, "2"),
        ("2.5", 0, "3"),
        ("-2.5", 0, "-3"),
        ("0.4", 0, "0"),
        ("-0.4", 0, "0"),
        ("999.995", 2, "1000.00"),
        ("1", 2, "1.00"),
        ("1.2345", 2, "1.23"),
        ("-0.005", 2, "-0.01"),
        ("0.1234567890123456789", 10, "0.1234567890"),
    ];
    for (given, scale, expected) in cases {
        assert_eq!(number::rounded(given, scale), expected, "{given} to {scale}");
    }
}

/// A random value: as text in an odd form, and as a tree.
fn random(rng: &mut ChaCha8Rng, depth: usize) -> String {
    let blank = |rng: &mut ChaCha8Rng| ["", " ", "\n\t"][rng.random_range(0..3)].to_owned();
    let inner = match rng.random_range(0..if depth < 4 { 8 } else { 6 }) {
        0 => "null".to_owned(),
        1 => ["true", "false"][rng.random_range(0..2)].to_owned(),
        2 | 3 => {
            let sign = ["", "-"][rng.random_range(0..2)];
            let fraction =
                ["", ".0", ".10", ".05", ".123456789012345678901234567890"][rng.random_range(0..5)];
            let exponent = ["", "", "e0", "E2", "e-3", "e+30"][rng.random_range(0..6)];
            let whole = [0u64, 1, 10, 99, u64::MAX][rng.random_range(0..5)];
            format!("{sign}{whole}{fraction}{exponent}")
        }
        4 | 5 => random_text(rng),
        6 => {
            let items: Vec<String> = (0..rng.random_range(0..4)).map(|_| random(rng, depth + 1)).collect();
            format!("[{}{}]", blank(rng), items.join(","))
        }
        _ => {
            let member = |rng: &mut ChaCha8Rng| {
                format!("{}{}:{}", random_text(rng), blank(rng), random(rng, depth + 1))
            };
            let members: Vec<String> = (0..rng.random_range(0..4)).map(|_| member(rng)).collect();
            format!("{{{}{}}}", members.join(","), blank(rng))
        }
    };
    format!("{}{inner}{}", blank(rng), blank(rng))
}

fn random_text(rng: &mut ChaCha8Rng) -> String {
    let parts = [
        "a",
        "b",
        "\\u0061",
        "é",
        "\\u00e9",
        "\\\"",
        "\\\\",
        "\\n",
        "😀",
        "\\ud83d\\ude00",
        "]",
        "}",
        ",",
        ": ",
    ];
    let text: String = (0..rng.random_range(0..3)).map(|_| parts[rng.random_range(0..parts.len())]).collect();
    format!("\"{text}\"")
}

#[test]
fn any_values_hold_together() {
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    let mut texts: Vec<String> = Vec::new();
    for _ in 0..3000 {
        let given = random(&mut rng, 0);
        let one = text(&given);
        assert_eq!(text(&one), one, "{given}");
        let value = parse(&one).unwrap();
        // Access by text and access by tree agree.
        match &value {
            Json::Array(items) => {
                let found: Vec<&str> = path::elements(&one).unwrap().collect();
                let expected: Vec<String> = items.iter().map(|item| item.text().unwrap()).collect();
                assert_eq!(found, expected, "{one}");
                for (at, item) in (0i64..).zip(&expected) {
                    assert_eq!(element(&one, at), Some(item.as_str()));
                    assert_eq!(element(&one, at - items.len() as i64), Some(item.as_str()));
                }
            }
            Json::Object(members) => {
                for (name, member_value) in members {
                    assert_eq!(
                        member(&one, name).map(str::to_owned),
                        Some(member_value.text().unwrap()),
                        "{one}"
                    );
                    assert_eq!(value.get(name), Some(member_value));
                }
            }
            _ => {}
        }
        assert!(contains(&value, &value), "{one}");
        texts.push(one);
    }
    for pair in texts.windows(2).chain(texts.chunks(2)) {
        let [a, b] = pair else { continue };
        let (left, right) = (parse(a).unwrap(), parse(b).unwrap());
        let order = compare(&left, &right);
        assert_eq!(order.reverse(), compare(&right, &left), "{a} and {b}");
        assert_eq!(order == Ordering::Equal, key(a).unwrap() == key(b).unwrap(), "{a} and {b}");
        assert_eq!(compare(&left, &parse(&key(a).unwrap()).unwrap()), Ordering::Equal, "{a}");
    }
}
