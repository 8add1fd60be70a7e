//! Random schemas: a few keyed tables and append-only sources of columns of all types.
//!
//! Names are short and shared (`k` is the key of a table and a column of a source), so that joins
//! between relations hit. Pools of values are small, and NULL is in every pool that may hold it.
//! Doubles are eighths, so that sums of them are exact in any order.

use std::collections::BTreeMap;

use rand::RngExt;
use serde_json::Value;

use crate::history::{Draw, SECOND_US, START_US};
use crate::model::{Keyed, Spec};

/// Types as expressions see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ty {
    /// Any integer.
    Big,
    /// DOUBLE.
    Double,
    /// DECIMAL.
    Decimal,
    /// VARCHAR.
    Text,
    /// BOOLEAN.
    Bool,
    /// DATE.
    Date,
    /// TIMESTAMPTZ.
    Time,
}

/// A column of a relation or a query.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: Ty,
    /// Whether all engines give the very same value: only such columns are compared, grouped or joined by.
    pub exact: bool,
}

/// Something to select from.
#[derive(Clone, Debug)]
pub struct Relation {
    /// Its name.
    pub name: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// About how many rows it has, so that products stay small.
    pub rows: usize,
    /// Whether there is a list `l` of integers beside its columns.
    pub list: bool,
}

/// What a topology reads.
pub struct Schema {
    /// For the model.
    pub specs: Vec<Spec>,
    /// For Herald.
    pub ddl: Vec<String>,
    /// For queries.
    pub relations: Vec<Relation>,
    /// What each source's records are.
    pub formats: Vec<Format>,
    /// What is to be reported of views over each relation.
    pub kinds: BTreeMap<String, Vec<&'static str>>,
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A row.
    Plain,
    /// A row that replaces the one of the record's key, or nothing, which deletes it.
    Upsert,
    /// A change, with its row before and after.
    Debezium,
}

/// Declared types: the model's (and DuckDB's) name, Herald's, and what expressions see.
const KINDS: [(&str, &str, Ty); 9] = [
    ("BIGINT", "BIGINT", Ty::Big),
    ("VARCHAR", "VARCHAR", Ty::Text),
    ("DOUBLE", "DOUBLE", Ty::Double),
    ("INTEGER", "INT", Ty::Big),
    ("DECIMAL(10,2)", "DECIMAL(10,2)", Ty::Decimal),
    ("BOOLEAN", "BOOLEAN", Ty::Bool),
    ("DATE", "DATE", Ty::Date),
    ("TIMESTAMP", "TIMESTAMPTZ", Ty::Time),
    ("SMALLINT", "SMALLINT", Ty::Big),
];
const TABLES: [&str; 2] = ["t0", "t1"];
const SOURCES: [&str; 2] = ["s0", "s1"];
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const VERSION: &str = "v";

/// Draws a schema.
pub fn schema(draw: &mut Draw) -> Schema {
    let mut out =
        Schema { specs: vec![], ddl: vec![], relations: vec![], formats: vec![], kinds: BTreeMap::new() };
    let key = if draw.rng.random_bool(0.7) { KINDS[0] } else { KINDS[1] };
    let tables = if draw.rng.random_bool(0.8) { 2 } else { 1 };
    for name in &TABLES[..tables] {
        out.relation(draw, name, key, true);
    }
    for name in &SOURCES[..3 - tables] {
        out.relation(draw, name, key, false);
    }
    out
}

impl Schema {
    fn relation(&mut self, draw: &mut Draw, name: &'static str, key: (&'static str, &str, Ty), keyed: bool) {
        let mut kinds = vec![("k", key), ("ts", KINDS[7])];
        kinds.extend(NAMES.iter().zip(&KINDS[..2]).map(|(name, kind)| (*name, *kind)));
        let more = draw.int(1..4) as usize;
        kinds.extend(NAMES[2..].iter().take(more).map(|name| (*name, draw.one(&KINDS))));
        let list = draw.rng.random_bool(0.5);
        if list {
            kinds.push(("l", ("BIGINT[]", "BIGINT[]", Ty::Big)));
        }
        let versioned = keyed && draw.rng.random_bool(0.5);
        if versioned {
            kinds.push((VERSION, KINDS[0]));
        }
        let mut not_null: Vec<usize> = if keyed { vec![0] } else { vec![] };
        not_null.extend((1..kinds.len()).filter(|_| draw.rng.random_bool(0.2)));
        let delay = 15;
        let watermark = draw.rng.random_bool(0.4).then_some((1, delay * SECOND_US));
        let first_wins = keyed && !versioned && draw.rng.random_bool(0.25);
        let version = versioned.then(|| kinds.len() - 1);
        let format = match keyed && !first_wins {
            true => draw.one(&[Format::Plain, Format::Upsert, Format::Upsert, Format::Debezium]),
            false => Format::Plain,
        };
        let retention = (keyed && watermark.is_some() && draw.rng.random_bool(0.4)).then_some(20);
        let rule = Keyed {
            key: vec![0],
            first_wins,
            version,
            retention: retention.map(|seconds| seconds * SECOND_US),
        };

        let word = |at: usize| if not_null.contains(&at) { " NOT NULL" } else { "" };
        let columns = kinds.iter().enumerate();
        let mut parts: Vec<String> =
            columns.map(|(at, (name, kind))| format!("{name} {}{}", kind.1, word(at))).collect();
        if keyed {
            parts.push("PRIMARY KEY (k)".into());
        }
        if watermark.is_some() {
            parts.push(format!("WATERMARK FOR ts AS ts - INTERVAL '{delay} seconds'"));
        }
        let conflict = match (keyed, first_wins, versioned) {
            (false, ..) => "",
            (true, false, false) if format != Format::Plain => "",
            (true, true, _) => " ON CONFLICT DO NOTHING",
            (true, false, true) => " ON CONFLICT OVERWRITE WITH VERSION COLUMN (v)",
            (true, false, false) => " ON CONFLICT OVERWRITE",
        };
        let what = if keyed { "TABLE" } else { "SOURCE" };
        // Nothing is opened: the connector only has to fit the format.
        let keeps = retention.map(|seconds| format!(", retention = '{seconds} seconds'")).unwrap_or_default();
        let from = match format {
            Format::Plain => {
                format!("WITH (connector = 'file', path = '{name}'{keeps}) FORMAT PLAIN ENCODE JSON")
            }
            Format::Upsert => {
                format!("WITH (connector = 'kafka', topic = '{name}'{keeps}) FORMAT UPSERT ENCODE JSON")
            }
            Format::Debezium => {
                format!("WITH (connector = 'kafka', topic = '{name}'{keeps}) FORMAT DEBEZIUM ENCODE JSON")
            }
        };
        let rule_named = match (first_wins, version) {
            (true, _) => "DO NOTHING",
            (false, Some(_)) => "OVERWRITE by version",
            (false, None) => "OVERWRITE",
        };
        let mut told = match format {
            Format::Upsert => vec!["FORMAT UPSERT"],
            Format::Debezium => vec!["FORMAT DEBEZIUM"],
            Format::Plain => vec![],
        };
        told.push(if keyed { rule_named } else { "append-only" });
        told.extend(retention.map(|_| "retention"));
        self.kinds.insert(name.to_string(), told);
        self.ddl.push(format!("CREATE {what} {name} ({}){conflict} {from};", parts.join(", ")));
        self.formats.push(format);
        let column = |(name, kind): &(&str, (&str, &str, Ty))| Column {
            name: (*name).to_string(),
            ty: kind.2,
            exact: true,
        };
        self.relations.push(Relation {
            name: name.to_string(),
            columns: kinds.iter().filter(|(name, _)| *name != "l").map(column).collect(),
            rows: if keyed { 6 } else { 14 },
            list,
        });
        self.specs.push(Spec {
            name,
            columns: kinds.iter().map(|(name, kind)| (*name, kind.0)).collect(),
            generated: vec![],
            included: vec![],
            not_null,
            checks: vec![],
            watermark,
            keyed: keyed.then_some(rule),
            partitions: 2,
        });
    }
}

/// A value of a column, NULL with `share`.
pub fn value(draw: &mut Draw, kind: &str, share: f64) -> Value {
    if share > 0.0 && draw.rng.random_bool(share) {
        return Value::Null;
    }
    match kind {
        "VARCHAR" => draw.one(&["a", "b", "ab", "B", "", "aXb", " a", "b%"]).into(),
        "DOUBLE" => draw.one(&[-1.5, 0.0, 0.5, 1.0, 2.25, 3.0, 10.125]).into(),
        "DECIMAL(10,2)" => draw.one(&["-1.50", "0.00", "0.25", "2.00", "10.10", "99999.99"]).into(),
        "BOOLEAN" => draw.rng.random_bool(0.5).into(),
        "DATE" => draw.date().into(),
        "TIMESTAMP" => (START_US + draw.int(0..12) * 5 * SECOND_US + draw.one(&[0, 0, 0, 500_000])).into(),
        "BIGINT[]" => {
            let item = |draw: &mut Draw| {
                let item = draw.int(0..4);
                draw.or_null(0.1, item)
            };
            (0..draw.int(0..4)).map(|_| item(draw)).collect::<Vec<_>>().into()
        }
        "INTEGER" | "SMALLINT" => draw.int(-2..4).into(),
        _ => draw.int(0..6).into(),
    }
}
