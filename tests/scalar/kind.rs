//! Kinds of values, the columns that hold them, and their values: ordinary ones and those at the edges.
//!
//! A value has two spellings, JSON for Herald's records and text for PostgreSQL's tables, which mean the same.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// What an expression is, as far as forms care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind(pub &'static str);

/// A column of the tables.
pub struct Column {
    /// Name.
    pub name: &'static str,
    /// Kind.
    pub kind: Kind,
    /// Type in Herald's declaration.
    pub herald: &'static str,
    /// Type in PostgreSQL's.
    pub postgres: &'static str,
    /// Values: JSON and PostgreSQL's text.
    values: &'static [&'static str],
    /// Declared NOT NULL.
    pub not_null: bool,
}

const BOOL: &[&str] = &["true", "false"];
const I16: &[&str] = &["0", "1", "-1", "2", "7", "-7", "100", "32767", "-32768", "255"];
const I32: &[&str] =
    &["0", "1", "-1", "2", "3", "5", "7", "-7", "12", "97", "2147483647", "-2147483648", "1000000", "-100"];
const I64: &[&str] = &[
    "0",
    "1",
    "-1",
    "2",
    "3",
    "10",
    "-10",
    "9223372036854775807",
    "-9223372036854775808",
    "4294967296",
    "9007199254740993",
    "1700000000",
];
const F64: &[&str] = &[
    "0",
    "-0.0",
    "1",
    "-1",
    "0.5",
    "-0.5",
    "1.5",
    "2.5",
    "-2.5",
    "0.1",
    "3.141592653589793",
    "100",
    "1e300",
    "-1e300",
    "5e-324",
    "1e15",
    "123456.789",
    "0.4",
    "-0.4",
    "\"NaN\"",
    "\"Infinity\"",
    "\"-Infinity\"",
];
const F32: &[&str] = &[
    "0",
    "-0.0",
    "1",
    "-1",
    "0.5",
    "1.5",
    "-2.5",
    "0.1",
    "16777217",
    "3.4e38",
    "1e-45",
    "\"NaN\"",
    "\"Infinity\"",
    "\"-Infinity\"",
];
const DEC: &[&str] = &[
    "\"0\"",
    "\"0.01\"",
    "\"-0.01\"",
    "\"1.50\"",
    "\"2.50\"",
    "\"-2.50\"",
    "\"5.40\"",
    "\"4.99\"",
    "\"99.99\"",
    "\"-100\"",
    "\"9999999999.99\"",
    "\"-9999999999.99\"",
    "\"3\"",
    "\"0.49\"",
];
const DEC10: &[&str] =
    &["\"0\"", "\"0.0000000001\"", "\"1.5\"", "\"-1234.5678901234\"", "\"10\"", "\"0.3333333333\""];
const TEXT: &[&str] = &[
    "\"\"",
    "\"a\"",
    "\"b\"",
    "\"abc\"",
    "\"ABC\"",
    "\"aBc dEf\"",
    "\" x \"",
    "\"a,b,c\"",
    "\"%\"",
    "\"a_b\"",
    "\"C:\\\\temp\"",
    "\"é\"",
    "\"e\u{301}\"",
    "\"Straße\"",
    "\"İstanbul\"",
    "\"ΑΣ\"",
    "\"😀x\"",
    "\"中文字\"",
    "\"line\\nfeed\"",
    "\"tab\\t\"",
    "\"1\"",
    "\"'q'\"",
    "\"abcabc\"",
    "\"x\\\"y\"",
    "\"null\"",
    "\"A-1 b2.c3\"",
];
const DATE: &[&str] = &[
    "\"1970-01-01\"",
    "\"2024-02-29\"",
    "\"2026-03-05\"",
    "\"2023-12-31\"",
    "\"2021-01-03\"",
    "\"0001-01-01\"",
    "\"9999-12-31\"",
    "\"1500-06-15\"",
    "\"1969-12-31\"",
    "\"2000-10-31\"",
];
const TIME: &[&str] =
    &["\"00:00:00\"", "\"12:34:56.789\"", "\"23:59:59.999999\"", "\"06:00:00\"", "\"00:00:00.000001\""];
const TS: &[&str] = &[
    "\"1970-01-01T00:00:00\"",
    "\"2024-02-29T12:30:45.123456\"",
    "\"2026-03-05T00:00:00\"",
    "\"2023-12-31T23:59:59.999999\"",
    "\"0001-01-01T00:00:00\"",
    "\"9999-12-31T23:59:59\"",
    "\"1500-06-15T12:30:00\"",
    "\"1969-12-31T23:59:59.5\"",
    "\"2024-03-31T02:30:00\"",
    "\"2024-10-27T02:30:00\"",
    "\"2021-01-03T05:06:07\"",
];
const TZ: &[&str] = &[
    "\"1970-01-01T00:00:00Z\"",
    "\"2024-02-29T12:30:45.123456Z\"",
    "\"2026-01-31T23:30:00Z\"",
    "\"2023-12-31T23:59:59.999999Z\"",
    "\"0001-01-01T00:00:00Z\"",
    "\"9999-12-31T23:59:59Z\"",
    "\"1500-06-15T12:30:00Z\"",
    "\"2024-03-31T01:30:00Z\"",
    "\"2024-10-27T00:30:00Z\"",
    "\"2024-07-01T22:00:00+02:00\"",
];
const JSON: &[&str] = &[
    "{\"a\":1,\"b\":2}",
    "{\"b\":2,\"a\":1}",
    "[1,\"two\",{\"k\":3},null]",
    "[]",
    "{}",
    "\"text\"",
    "1.50",
    "true",
    "null",
    "{\"a\":{\"b\":[1,2]}}",
    "{\"a\":null}",
    "{\"a\":\"x y\"}",
    "12345678901234567890.123",
    "1e3",
    "[[1],[2,3]]",
    "7",
    "-0.5",
    "{\"a\":[{\"b\":true}],\"é\":\"ü\"}",
];
const BYTES: &[&str] = &["\"\"", "\"MTI=\"", "\"AP8=\"", "\"YWJj\"", "\"XA==\""];
const I32S: &[&str] = &["[]", "[1]", "[1,2,3]", "[3,null,1]", "[null]", "[7,7]", "[2147483647,-1]"];
const TEXTS: &[&str] = &[
    "[]",
    "[\"a\"]",
    "[\"a\",\"b\"]",
    "[null,\"\"]",
    "[\"x y\",\"b\",\"a\"]",
    "[\"NULL\",\"q,\"]",
    "[\"é\",\"\\\"\"]",
];
const F64S: &[&str] = &["[]", "[0.5]", "[1.5,-0.0,null]", "[\"NaN\",1]", "[2.5,2.5]"];
const SMALL: &[&str] = &["0", "1", "-1", "2", "3", "-3", "5", "9"];
const NATURAL: &[&str] = &["0", "1", "2", "3", "4", "6"];
const DIGITS: &[&str] = &[
    "\"0\"",
    "\"12\"",
    "\"-7\"",
    "\"1.5\"",
    "\" 42 \"",
    "\"+3\"",
    "\"1e3\"",
    "\"NaN\"",
    "\"abc\"",
    "\"\"",
    "\"99999999999\"",
    "\"2147483648\"",
    "\"t\"",
    "\"yes\"",
    "\"off\"",
    "\"1\"",
    "\"-Infinity\"",
    "\"0.005\"",
    "\"12.345\"",
    "\"0x1F\"",
    "\"1_000\"",
];
const DATES: &[&str] = &[
    "\"2024-02-29\"",
    "\"2024-02-30\"",
    "\"2026-01-01 10:00\"",
    "\"2026-01-01T10:00:00Z\"",
    "\"2026-01-01 10:00:00.5+02\"",
    "\"1999-12-31 23:59:59.999999\"",
    "\"0001-01-01\"",
    "\"nope\"",
    "\"\"",
    "\"10:20:30\"",
    "\"9999-12-31\"",
    "\"20240305\"",
];
const HEXES: &[&str] = &["\"\"", "\"3132\"", "\"00ff\"", "\"abc\"", "\"zz\"", "\"FF\""];
const JSONS: &[&str] = &[
    "\"{\\\"a\\\": 1}\"",
    "\"[1, 2]\"",
    "\"nope\"",
    "\"\\\"x\\\"\"",
    "\"1.50\"",
    "\"{\\\"b\\\":1,\\\"a\\\":2,\\\"b\\\":3}\"",
];
const SECONDS: &[&str] = &["0", "1700000000", "-1.5", "86399.999999", "1e9", "253402300799"];

macro_rules! columns {
    ($($name:literal $kind:literal $herald:literal $postgres:literal $values:ident $not_null:literal;)*) => {
        &[$(Column { name: $name, kind: Kind($kind), herald: $herald, postgres: $postgres, values: $values, not_null: $not_null }),*]
    };
}

/// The columns beside the key.
pub const COLUMNS: &[Column] = columns! {
    "b1" "bool" "BOOLEAN" "boolean" BOOL false;
    "b2" "bool" "BOOLEAN" "boolean" BOOL false;
    "s1" "i16" "SMALLINT" "smallint" I16 false;
    "s2" "i16" "SMALLINT" "smallint" I16 false;
    "i1" "i32" "INT" "int" I32 false;
    "i2" "i32" "INT" "int" I32 false;
    "im" "i32" "INT" "int" I32 true;
    "n1" "i64" "BIGINT" "bigint" I64 false;
    "n2" "i64" "BIGINT" "bigint" I64 false;
    "r1" "f32" "REAL" "real" F32 false;
    "r2" "f32" "REAL" "real" F32 false;
    "x1" "f64" "DOUBLE" "double precision" F64 false;
    "x2" "f64" "DOUBLE" "double precision" F64 false;
    "xm" "f64" "DOUBLE" "double precision" F64 true;
    "d1" "dec" "DECIMAL(12,2)" "numeric(12,2)" DEC false;
    "d2" "num" "DECIMAL(14,10)" "numeric(14,10)" DEC10 false;
    "dm" "dec" "DECIMAL(12,2)" "numeric(12,2)" DEC true;
    "v1" "text" "VARCHAR" "varchar" TEXT false;
    "v2" "text" "VARCHAR" "varchar" TEXT false;
    "vm" "text" "VARCHAR" "varchar" TEXT true;
    "day1" "date" "DATE" "date" DATE false;
    "day2" "date" "DATE" "date" DATE false;
    "at1" "time" "TIME" "time" TIME false;
    "at2" "time" "TIME" "time" TIME false;
    "ts1" "ts" "TIMESTAMP" "timestamp" TS false;
    "ts2" "ts" "TIMESTAMP" "timestamp" TS false;
    "tz1" "tz" "TIMESTAMPTZ" "timestamptz" TZ false;
    "tz2" "tz" "TIMESTAMPTZ" "timestamptz" TZ false;
    "j1" "json" "JSONB" "jsonb" JSON false;
    "j2" "json" "JSONB" "jsonb" JSON false;
    "y1" "bytes" "BYTEA" "bytea" BYTES false;
    "y2" "bytes" "BYTEA" "bytea" BYTES false;
    "li1" "i32[]" "INT[]" "int[]" I32S false;
    "li2" "i32[]" "INT[]" "int[]" I32S false;
    "lv1" "text[]" "VARCHAR[]" "text[]" TEXTS false;
    "lv2" "text[]" "VARCHAR[]" "text[]" TEXTS false;
    "lx1" "f64[]" "DOUBLE[]" "double precision[]" F64S false;
    "kk" "k" "INT" "int" SMALL false;
    "nn" "n" "INT" "int" NATURAL false;
    "digits" "digits" "VARCHAR" "varchar" DIGITS false;
    "dates" "dates" "VARCHAR" "varchar" DATES false;
    "hexes" "hexes" "VARCHAR" "varchar" HEXES false;
    "jsons" "jsons" "VARCHAR" "varchar" JSONS false;
    "secs" "seconds" "DOUBLE" "double precision" SECONDS false;
};

/// A value in both spellings; `None` for NULL in PostgreSQL's.
#[derive(Clone, Debug)]
pub struct Value {
    /// JSON.
    pub json: String,
    /// Text that PostgreSQL reads as the column's type.
    pub text: Option<String>,
}

impl Column {
    /// A random value.
    pub fn value(&self, rng: &mut ChaCha8Rng) -> Value {
        if !self.not_null && rng.random_range(0..7) == 0 {
            return Value { json: "null".to_owned(), text: None };
        }
        self.of(self.values[rng.random_range(0..self.values.len())])
    }

    fn of(&self, json: &str) -> Value {
        let value: serde_json::Value = serde_json::from_str(json).expect("JSON");
        let text = match (self.kind.0, &value) {
            // JSON null is a value of JSONB to PostgreSQL, and NULL to Herald: records cannot tell them apart.
            ("json", serde_json::Value::Null) => None,
            ("json", _) => Some(json.to_owned()),
            ("bytes", serde_json::Value::String(text)) => Some(hex(text)),
            (_, serde_json::Value::String(text)) => Some(text.clone()),
            (_, serde_json::Value::Array(items)) => Some(array(items)),
            // There is one zero.
            ("f32" | "f64", _) if json == "-0.0" => Some("0".to_owned()),
            _ => Some(json.to_owned()),
        };
        Value { json: json.to_owned(), text }
    }
}

fn hex(base64: &str) -> String {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD.decode(base64).expect("base64");
    let digits: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    format!("\\x{digits}")
}

fn array(items: &[serde_json::Value]) -> String {
    let item = |item: &serde_json::Value| match item {
        serde_json::Value::Null => "NULL".to_owned(),
        serde_json::Value::String(text) => {
            format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
        }
        serde_json::Value::Number(n) if n.as_f64() == Some(0.0) => "0".to_owned(),
        other => other.to_string(),
    };
    format!("{{{}}}", items.iter().map(item).collect::<Vec<_>>().join(","))
}

/// A random constant of a kind, as both read it; None where there are columns alone.
pub fn literal(kind: Kind, rng: &mut ChaCha8Rng) -> Option<String> {
    let mut one = |of: &[&str]| of[rng.random_range(0..of.len())].to_owned();
    Some(match kind.0 {
        "bool" => one(&["true", "false", "NULL::BOOLEAN"]),
        "i16" => format!("CAST({} AS SMALLINT)", one(&["0", "1", "-1", "7", "32767"])),
        // A constant is BIGINT.
        "i32" => one(&[
            "«0¦0::bigint»",
            "«(-1)¦(-1)::bigint»",
            "«7¦7::bigint»",
            "CAST(0 AS INT)",
            "CAST(1 AS INT)",
            "CAST(-1 AS INT)",
            "CAST(2 AS INT)",
            "CAST(3 AS INT)",
            "CAST(2147483647 AS INT)",
            "CAST(100 AS INT)",
            "NULL::INT",
        ]),
        "i64" => {
            format!("CAST({} AS BIGINT)", one(&["0", "1", "-1", "10", "9223372036854775807", "1000000007"]))
        }
        "f32" => format!("CAST('{}' AS REAL)", one(&["0", "1.5", "-2", "0.1", "NaN", "Infinity"])),
        "f64" => format!(
            "CAST('{}' AS DOUBLE PRECISION)",
            one(&["0", "«-0¦0»", "1.5", "-2", "0.1", "NaN", "Infinity", "-Infinity", "1e10"])
        ),
        "dec" => format!("CAST('{}' AS DECIMAL(12,2))", one(&["0", "1.50", "-2.5", "100", "0.01", "7"])),
        "num" => format!("CAST('{}' AS DECIMAL(14,10))", one(&["0", "0.3333333333", "-1.5", "100", "0.01"])),
        "text" => {
            one(&["'a'", "'abc'", "''", "'B'", "' '", "'é'", "'%'", "','", "NULL::VARCHAR", "'x\\y'", "'😀'"])
        }
        "date" => format!("DATE '{}'", one(&["2024-02-29", "1970-01-01", "9999-12-31", "2026-03-05"])),
        "time" => format!("TIME '{}'", one(&["00:00:00", "12:34:56.789", "23:59:59.999999"])),
        "ts" => format!(
            "TIMESTAMP '{}'",
            one(&["2024-02-29 12:30:45.123456", "1970-01-01 00:00:00", "2026-03-05 23:59:59"])
        ),
        "tz" => format!(
            "TIMESTAMPTZ '{}'",
            one(&["2024-02-29 12:30:45Z", "1970-01-01 00:00:00Z", "2026-03-05 23:59:59+02"])
        ),
        "span" => format!(
            "INTERVAL '{}'",
            one(&[
                "1 day",
                "24 hours",
                "90 minutes",
                "1 month",
                "-3 days",
                "0.5 seconds",
                "1 year 2 months",
                "59 days",
                "0 seconds",
                "1 day 02:03:04.5",
            ])
        ),
        "days" => {
            format!("INTERVAL '{}'", one(&["1 day", "1 month", "1 hour", "-3 days", "90 minutes", "1 year"]))
        }
        "width" => {
            format!("INTERVAL '{}'", one(&["1 hour", "1 day", "15 minutes", "7 days", "0.25 seconds"]))
        }
        "json" => format!(
            "CAST('{}' AS JSONB)",
            one(&["{\"a\": 1}", "[1, 2]", "null", "\"a\"", "{\"a\": {\"b\": 2}}", "1.0", "[]"])
        ),
        "bytes" => return None,
        "i32[]" => one(&[
            "CAST(ARRAY[1, 2] AS INT[])",
            "ARRAY[CAST(3 AS INT), NULL, CAST(1 AS INT)]",
            "ARRAY[CAST(7 AS INT)]",
        ]),
        "text[]" => one(&["ARRAY['a', 'b']", "ARRAY['x y', NULL]"]),
        "k" => one(&["0", "1", "2", "3", "(-1)", "(-2)", "5", "10"]),
        "n" => one(&["0", "1", "2", "3", "5", "10"]),
        "re" => one(&[
            "'a'",
            "'^a'",
            "'b$'",
            "'.*'",
            "'[a-c]+'",
            "'C:\\\\temp'",
            "'\\\\'",
            "'(a)(x)?'",
            "'a|b'",
            "'\\d+'",
            "'^$'",
            "'\\s'",
            "'(b)(c)'",
            "'é'",
            "'^A_B$'",
            "'.'",
            "'\\w+'",
            "'b{1,2}'",
            "'[^a]'",
            "'(?i)ABC'",
        ]),
        "like" => one(&[
            "'%'", "'a%'", "'%b'", "'_'", "'a_c'", "'%\\_%'", "''", "'abc'", "'A%'", "'%é%'", "'!%'",
            "'a!_b'", "'%e%'",
        ]),
        "zone" => one(&["'UTC'", "'Europe/Berlin'", "'America/New_York'", "'Asia/Kolkata'", "'+02:00'"]),
        _ => return None,
    })
}
