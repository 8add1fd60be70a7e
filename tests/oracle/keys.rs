//! Keys that the planner proves, held against data.
//!
//! Topologies are drawn from a seed: chains of views that project, cast, shift, bin, filter, unite, join,
//! group, number and deduplicate rows over columns of few values, so that a key which is none meets two
//! rows of it. Views are kept by whole rows here, so that nothing is lost of what a key would hide. At
//! several epochs, with rows corrected and deleted between, each proven key must tell all rows of its view
//! apart, without its constant columns as well, and each pair of columns must determine each other.
//!
//! ```text
//! $ HERALD_KEYS=500 HERALD_SEED=1 cargo test --release --test oracle keys
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use dataflows::plan::{Plan, Rel};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemas::{Records, RowCodec};

use crate::engine::{Engine, Options, compiled};

const SOURCES: &str = "
CREATE TABLE t (a INT NOT NULL, b BIGINT NOT NULL, ts TIMESTAMP, tz TIMESTAMPTZ, n INT, s VARCHAR, PRIMARY KEY (a, b))
WITH (connector = 'file', path = 't') FORMAT UPSERT ENCODE JSON;
CREATE TABLE u (id BIGINT, at TIMESTAMP, k INT, PRIMARY KEY (id))
WITH (connector = 'file', path = 'u') FORMAT UPSERT ENCODE JSON;
CREATE SOURCE r (ts TIMESTAMP, tz TIMESTAMPTZ, n INT, s VARCHAR) INCLUDE partition AS p INCLUDE offset AS o
WITH (connector = 'file', path = 'r') FORMAT PLAIN ENCODE JSON;
";
const VIEWS: usize = 14;
const TOPOLOGIES: usize = 40;

/// What kind of values a column has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Number,
    Local,
    Instant,
    Date,
    Time,
    Text,
}

/// A relation that views may read.
#[derive(Clone, Debug)]
struct Relation {
    name: String,
    columns: Vec<(String, Kind)>,
}

/// A view in the making: what it reads, and its columns.
struct Drawn {
    from: Relation,
    exprs: Vec<String>,
    columns: Vec<(String, Kind)>,
}

impl Drawn {
    fn add(&mut self, expr: String, kind: Kind) {
        self.exprs.push(expr);
        self.columns.push((format!("c{}", self.columns.len()), kind));
    }

    fn list(&self) -> String {
        listed(&self.exprs)
    }
}

/// Expressions under the names of a view's columns.
fn listed(exprs: &[String]) -> String {
    let named = exprs.iter().enumerate().map(|(at, e)| format!("{e} AS c{at}"));
    named.collect::<Vec<_>>().join(", ")
}

struct Draw {
    rng: ChaCha8Rng,
    relations: Vec<Relation>,
}

impl Draw {
    fn new(seed: u64) -> Draw {
        use Kind::{Instant, Local, Number, Text};
        let relation = |name: &str, columns: &[(&str, Kind)]| Relation {
            name: name.to_owned(),
            columns: columns.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect(),
        };
        let relations = vec![
            relation(
                "t",
                &[("a", Number), ("b", Number), ("ts", Local), ("tz", Instant), ("n", Number), ("s", Text)],
            ),
            relation("u", &[("id", Number), ("at", Local), ("k", Number)]),
            relation(
                "r",
                &[("ts", Local), ("tz", Instant), ("n", Number), ("s", Text), ("p", Number), ("o", Number)],
            ),
        ];
        Draw { rng: ChaCha8Rng::seed_from_u64(seed), relations }
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.rng.random_range(0..of.len())].clone()
    }

    /// An expression over a column, with the kind it gives.
    fn expression(&mut self, (column, kind): (&str, Kind)) -> (String, Kind) {
        use Kind::{Date, Instant, Local, Number, Text, Time};
        let choice = self.rng.random_range(0..10);
        let shift = self.one(&[
            "+ INTERVAL '1 hour'",
            "- INTERVAL '30 minutes'",
            "+ INTERVAL '1 day'",
            "+ INTERVAL '1 month'",
        ]);
        match (kind, choice) {
            (_, 0..=3) => (column.to_owned(), kind),
            (Number, 4) => (format!("CAST({column} AS BIGINT)"), Number),
            (Number, 5) => (format!("CAST({column} AS SMALLINT)"), Number),
            (Number, 6) => (format!("{column} % 2"), Number),
            (Number, 7) => (format!("CAST({column} AS VARCHAR)"), Text),
            (Number, 8) => (format!("{column} + 1"), Number),
            (Number, _) => (format!("CAST(CAST({column} AS DOUBLE) / 2 AS BIGINT)"), Number),
            (Local | Instant, 4) => (format!("{column} {shift}"), kind),
            (Local | Instant, 5) => (format!("CAST({column} {shift} AS DATE)"), Date),
            (Local, 6) => (format!("CAST({column} {shift} AS TIME)"), Time),
            (Local, 7) => (format!("CAST({column} {shift} AS TIMESTAMPTZ)"), Instant),
            (Local | Instant, 8) => (format!("date_trunc('hour', {column} {shift})"), kind),
            (Local | Instant, _) => (format!("date_bin(INTERVAL '1 hour', {column})"), kind),
            (Text, 4 | 5) => (format!("upper({column})"), Text),
            (Text, 6) => (format!("substr({column}, 1, 1)"), Text),
            (Text, 7) => (format!("{column} || 'x'"), Text),
            (_, _) => (column.to_owned(), kind),
        }
    }

    /// A list of columns of `from`, some computed, under new names; sometimes a column beside itself, moved.
    fn list(&mut self, from: &Relation) -> (Vec<String>, Vec<(String, Kind)>) {
        let mut picked: Vec<(String, Kind)> = from.columns.clone();
        picked.retain(|_| self.rng.random_range(0..3) > 0);
        if picked.is_empty() {
            picked.push(from.columns[0].clone());
        }
        if let Some(again) = (self.rng.random_range(0..2) == 0).then(|| self.one(&picked)) {
            picked.push(again);
        }
        let (mut exprs, mut columns) = (Vec::new(), Vec::new());
        for (at, (name, kind)) in picked.iter().enumerate() {
            let (expr, kind) = self.expression((name, *kind));
            exprs.push(expr);
            columns.push((format!("c{at}"), kind));
        }
        if self.rng.random_range(0..4) == 0 {
            let literal = self.one(&["'a'", "'x'"]);
            columns.push((format!("c{}", exprs.len()), Kind::Text));
            exprs.push(literal.to_owned());
        }
        (exprs, columns)
    }

    fn view(&mut self, name: &str) -> String {
        let from = self.one(&self.relations.clone());
        let (exprs, columns) = self.list(&from);
        let mut drawn = Drawn { from, exprs, columns };
        let body = match self.rng.random_range(0..13) {
            0 => {
                let (column, kind) = self.one(&drawn.from.columns);
                let condition = match kind {
                    Kind::Number => self.one(&["= 1", "= 2", "IS NOT NULL"]),
                    Kind::Text => self.one(&["= 'a'", "IS NOT NULL"]),
                    _ => "IS NOT NULL",
                };
                format!("SELECT {} FROM {} WHERE {column} {condition}", drawn.list(), drawn.from.name)
            }
            1 => format!("SELECT DISTINCT {} FROM {}", drawn.list(), drawn.from.name),
            2 | 3 => {
                let by = (1..=drawn.exprs.len()).map(|at| at.to_string()).collect::<Vec<_>>().join(", ");
                drawn.add("count(*)".into(), Kind::Number);
                format!("SELECT {} FROM {} GROUP BY {by}", drawn.list(), drawn.from.name)
            }
            4 | 5 => self.united(&mut drawn),
            6..=8 => self.joined(&mut drawn),
            9 => self.numbered(&mut drawn),
            10 => {
                let by = self.one(&drawn.from.columns).0;
                format!("SELECT DISTINCT ON ({by}) {} FROM {} ORDER BY {by}", drawn.list(), drawn.from.name)
            }
            11 => self.windowed(&mut drawn),
            _ => self.filtered(&drawn),
        };
        // What is read further is read under the view's names.
        self.relations.push(Relation { name: name.to_owned(), columns: drawn.columns });
        format!("CREATE MATERIALIZED VIEW {name} AS {body};\n")
    }

    /// The same kinds of columns twice, from two relations or from one in two ways. Often a literal tells the sides
    /// apart, or seems to.
    fn united(&mut self, drawn: &mut Drawn) -> String {
        let other = self.one(&self.relations.clone());
        let mut rights = Vec::new();
        for (_, kind) in &drawn.columns {
            let fit: Vec<_> = other.columns.iter().filter(|(_, k)| k == kind).cloned().collect();
            let Some(column) = (!fit.is_empty()).then(|| self.one(&fit)) else { break };
            let (expr, given) = self.expression((&column.0, column.1));
            rights.push(if given == *kind { expr } else { column.0 });
        }
        let fits = rights.len() == drawn.columns.len();
        let (mut rights, name) = match fits {
            true => (rights, other.name),
            false => (drawn.exprs.clone(), drawn.from.name.clone()),
        };
        if self.rng.random_range(0..2) == 0 {
            let (sides, kind) = self.one(&[
                (["'a'", "'b'", "'x'", "CAST(NULL AS VARCHAR)"], Kind::Text),
                (["1", "2", "CAST(1 AS BIGINT)", "CAST(2 AS INT)"], Kind::Number),
            ]);
            drawn.add(self.one(&sides).to_owned(), kind);
            rights.push(self.one(&sides).to_owned());
        }
        let right = listed(&rights);
        let all = self.one(&["UNION ALL", "UNION"]);
        format!("SELECT {} FROM {} {all} SELECT {right} FROM {name}", drawn.list(), drawn.from.name)
    }

    /// Columns of two relations that are of one kind.
    fn alike(&mut self, left: &Relation, right: &Relation) -> Vec<(String, String)> {
        let pairs = left.columns.iter().flat_map(|l| right.columns.iter().map(move |r| (l, r)));
        pairs.filter(|(l, r)| l.1 == r.1).map(|(l, r)| (l.0.clone(), r.0.clone())).collect()
    }

    fn joined(&mut self, drawn: &mut Drawn) -> String {
        let other = self.one(&self.relations.clone());
        let (lists, right) = self.list(&other);
        let keys = self.alike(&drawn.from, &other);
        if keys.is_empty() {
            return format!("SELECT {} FROM {}", drawn.list(), drawn.from.name);
        }
        let mut on = vec![self.one(&keys), self.one(&keys)];
        on.dedup();
        let on: Vec<String> = on.iter().map(|(l, r)| format!("x.{l} = y.{r}")).collect();
        let inside = |exprs: &[String], prefix: &str, name: &str| {
            let named = exprs.iter().enumerate().map(|(at, e)| format!("{e} AS {prefix}{at}"));
            format!("(SELECT *, {} FROM {name})", named.collect::<Vec<_>>().join(", "))
        };
        let text = format!(
            "{} AS x {} {} AS y ON {}",
            inside(&drawn.exprs, "l", &drawn.from.name),
            self.one(&["JOIN", "LEFT JOIN", "FULL JOIN"]),
            inside(&lists, "r", &other.name),
            on.join(" AND ")
        );
        drawn.exprs = (0..drawn.exprs.len()).map(|at| format!("x.l{at}")).collect();
        right.iter().enumerate().for_each(|(at, (_, kind))| drawn.add(format!("y.r{at}"), *kind));
        format!("SELECT {} FROM {text}", drawn.list())
    }

    fn numbered(&mut self, drawn: &mut Drawn) -> String {
        let (by, kind) = self.one(&drawn.from.columns);
        let order = self.one(&drawn.from.columns).0;
        let keep = self.one(&["= 1", "<= 2"]);
        drawn.add("rn".into(), Kind::Number);
        drawn.add(by.clone(), kind);
        let number = format!("row_number() OVER (PARTITION BY {by} ORDER BY {order})");
        let name = &drawn.from.name;
        format!("SELECT {} FROM (SELECT *, {number} AS rn FROM {name}) AS q WHERE rn {keep}", drawn.list())
    }

    fn windowed(&mut self, drawn: &mut Drawn) -> String {
        let times = drawn.from.columns.iter().filter(|(_, k)| matches!(k, Kind::Local | Kind::Instant));
        let times: Vec<_> = times.cloned().collect();
        if times.is_empty() {
            return format!("SELECT DISTINCT {} FROM {}", drawn.list(), drawn.from.name);
        }
        let (ts, kind) = self.one(&times);
        let name = &drawn.from.name;
        let window = self.one(&[
            format!("TUMBLE({name}, {ts}, INTERVAL '1 hour')"),
            format!("HOP({name}, {ts}, INTERVAL '1 hour', INTERVAL '2 hours')"),
        ]);
        drawn.add("window_start".into(), kind);
        drawn.add("window_end".into(), kind);
        let distinct = self.one(&["", "DISTINCT "]);
        format!("SELECT {distinct}{} FROM {window}", drawn.list())
    }

    fn filtered(&mut self, drawn: &Drawn) -> String {
        let other = self.one(&self.relations.clone());
        let keys = self.alike(&drawn.from, &other);
        let (list, name) = (drawn.list(), &drawn.from.name);
        if keys.is_empty() {
            return format!("SELECT {list} FROM {name}");
        }
        let ((l, r), which) = (self.one(&keys), self.one(&["IN", "NOT IN"]));
        format!(
            "SELECT {list} FROM {name} WHERE {l} {which} (SELECT {r} FROM {} WHERE {r} IS NOT NULL)",
            other.name
        )
    }

    /// A topology of views that the planner takes.
    fn topology(&mut self) -> Plan {
        let mut text = SOURCES.to_owned();
        let mut views = 0;
        for at in 0.. {
            if views == VIEWS || at > VIEWS * 20 {
                break;
            }
            let before = self.relations.len();
            let view = self.view(&format!("v{views}"));
            // What is refused (two types that do not go together) is drawn again.
            if compiled(&format!("{text}{view}")).is_ok_and(|plan| plan.rels.iter().all(held)) {
                text.push_str(&view);
                views += 1;
            } else {
                self.relations.truncate(before);
            }
        }
        assert_eq!(views, VIEWS, "too few views were accepted");
        compiled(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
    }

    fn time(&mut self) -> String {
        let minute = self.rng.random_range(0..8) * 30;
        let day = self.rng.random_range(1..4);
        match self.rng.random_range(0..8) {
            0 => "null".into(),
            _ => format!("\"2026-03-{day:02}T{:02}:{:02}:00\"", minute / 60, minute % 60),
        }
    }

    /// A record of a source: key and value.
    fn record(&mut self, source: usize) -> (Option<String>, Option<String>) {
        let number = |rng: &mut ChaCha8Rng| match rng.random_range(0..8) {
            0 => "null".to_owned(),
            n => (n % 4).to_string(),
        };
        let (ts, tz) = (self.time(), self.time());
        let tz = if tz == "null" { tz } else { format!("{}Z\"", &tz[..tz.len() - 1]) };
        let (n, k) = (number(&mut self.rng), number(&mut self.rng));
        let text = self.one(&["\"a\"", "\"A\"", "\"ab\"", "null"]);
        let rest = format!("\"ts\":{ts},\"tz\":{tz},\"n\":{n},\"s\":{text}");
        let gone = self.rng.random_range(0..5) == 0;
        match source {
            0 => {
                let (a, b) = (self.rng.random_range(0..5), self.rng.random_range(0..4));
                let value = format!("{{\"a\":{a},\"b\":{b},{rest}}}");
                (Some(format!("{{\"a\":{a},\"b\":{b}}}")), (!gone).then_some(value))
            }
            1 => {
                let id = self.rng.random_range(0..8);
                let value = format!("{{\"id\":{id},\"at\":{ts},\"k\":{k}}}");
                (Some(format!("{{\"id\":{id}}}")), (!gone).then_some(value))
            }
            _ => (None, Some(format!("{{{rest}}}"))),
        }
    }
}

/// Tells whether every column of a relation is of a type that can be kept.
fn held(rel: &Rel) -> bool {
    RowCodec::of(&rel.schema).is_ok()
}

/// The rows of a view, each as the packed values of its columns.
fn rows(engine: &Engine, view: usize, schema: &SchemaRef) -> Vec<Vec<Vec<u8>>> {
    let codec = RowCodec::of(schema).unwrap();
    let packed = engine.view_rows(view).unwrap();
    let split = |row: &[u8]| {
        let at = |column| codec.prefix_len(row, column).unwrap();
        (0..codec.columns()).map(|c| row[at(c)..at(c + 1)].to_vec()).collect()
    };
    packed.iter().map(split).collect()
}

/// Tells whether no two rows agree in all columns of `key`.
fn unique(rows: &[Vec<Vec<u8>>], key: &[usize]) -> bool {
    let mut seen = BTreeSet::new();
    rows.iter().all(|row| seen.insert(key.iter().map(|c| &row[*c]).collect::<Vec<_>>()))
}

/// Tells whether equal values of `a` stand beside equal values of `b`.
fn determines(rows: &[Vec<Vec<u8>>], (a, b): (usize, usize)) -> bool {
    let mut beside: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
    rows.iter().all(|row| *beside.entry(&row[a]).or_insert(&row[b]) == row[b].as_slice())
}

/// What was held against data.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    keys: usize,
    pairs: usize,
    constants: usize,
    /// Column sets that nobody claimed, and that are no keys indeed: the control.
    broken: usize,
}

fn hold(rel: &Rel, rows: &[Vec<Vec<u8>>], held: &mut Held) -> Result<(), String> {
    let name = |c: &usize| rel.schema.field(*c).name().clone();
    for key in &rel.unique {
        for key in [key.clone(), rel.telling_columns(key)] {
            held.keys += 1;
            if !unique(rows, &key) {
                return Err(format!("({}) is no key", key.iter().map(name).collect::<Vec<_>>().join(", ")));
            }
        }
    }
    for column in rel.constants.keys() {
        held.constants += 1;
        if rows.iter().any(|row| row[*column] != rows[0][*column]) {
            return Err(format!("{} is not constant", name(column)));
        }
    }
    for pair in &rel.paired {
        held.pairs += 1;
        let (a, b) = pair.columns;
        if !determines(rows, (a, b)) || !determines(rows, (b, a)) {
            return Err(format!("{} and {} do not determine each other", name(&a), name(&b)));
        }
    }
    held.broken += (0..rel.schema.fields().len()).filter(|c| !unique(rows, &[*c])).count();
    Ok(())
}

fn run(seed: u64, held: &mut Held) {
    let mut draw = Draw::new(seed);
    let mut plan = draw.topology();
    let mut text = String::new();
    for view in &mut plan.views {
        // Whole rows are kept: a key that is none would hide what it loses.
        view.key = None;
        let _ = writeln!(text, "{}: {:?}", view.name, plan.rels[view.rel].unique);
    }
    let plan = Arc::new(plan);
    let sources: Vec<usize> =
        plan.sources.iter().map(|s| ["t", "u", "r"].iter().position(|n| *n == s.name).unwrap()).collect();
    let dir = tempfile::tempdir().unwrap();
    let options = Options { workers: 1, in_flight: 1, cut: true };
    let mut engine = Engine::open(&plan, &dir.path().join("state"), &vec![1; plan.sources.len()], options);
    let mut offset = 0;
    for _ in 0..4 {
        for (at, source) in sources.iter().enumerate() {
            let mut records = Records::new(0);
            for _ in 0..[25, 10, 12][*source] {
                let (key, value) = draw.record(*source);
                let bytes = |text: &Option<String>| text.as_ref().map(|t| t.as_bytes().to_vec());
                records.push(offset, None, bytes(&key).as_deref(), bytes(&value).as_deref());
                offset += 1;
            }
            engine.feed(at, records);
        }
        engine.close(|_, _| {});
        for (at, view) in plan.views.iter().enumerate() {
            let rel = &plan.rels[view.rel];
            let rows = rows(&engine, at, &rel.schema);
            if let Err(wrong) = hold(rel, &rows, held) {
                let explained = dataflows::plan::explain::explain(
                    &plan,
                    Some(&view.name),
                    dataflows::plan::explain::Form::Text,
                );
                panic!("seed {seed}, view {}: {wrong}\n{}", view.name, explained.unwrap_or_default());
            }
        }
    }
    // Columns of types that nobody drew are a mistake of the draw.
    assert!(
        plan.rels.iter().all(|r| r.schema.fields().iter().all(|f| *f.data_type() != DataType::Null)),
        "{text}"
    );
}

#[test]
fn every_proven_key_tells_all_rows_apart() {
    let number = |name: &str, or: usize| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(or);
    let (first, topologies) = (number("HERALD_SEED", 1) as u64, number("HERALD_KEYS", TOPOLOGIES));
    let mut held = Held::default();
    for seed in first..first + topologies as u64 {
        run(seed, &mut held);
    }
    println!("keys: seeds {first}..{}, {held:?}", first + topologies as u64);
    // Keys, pairs and constants were claimed, and data met what is no key.
    assert!(held.keys > topologies * VIEWS && held.pairs > topologies && held.constants > topologies);
    assert!(held.broken > topologies * VIEWS);
}
