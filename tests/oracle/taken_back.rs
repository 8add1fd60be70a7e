//! What is put in is what is taken back: rows with values of several spellings (signed zeros, NaNs with sign
//! and payload, arrays, structs, what is below NULL) are replaced and deleted, over every way in and through
//! expressions that tell the spellings apart.
//!
//! The judge is the engine itself without history: a fresh one that is fed only the rows that are left must
//! hold the same, byte for byte, in every view and in `herald.errors`, and nothing once all rows are deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use apache_avro::Schema as Avro;
use apache_avro::types::Value;
use dataflows::plan::{Plan, Source};
use dataflows::render::aggregates::cache::CacheRoom;
use dataflows::runtime::engine::{Engine, Opening};
use dataflows::runtime::worker::MakeDecoder;
use dataflows::source::decoder;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemas::{Decoder, Form, JsonOptions, Records, Registry, UpsertDecoder};

use crate::engine::plan;

/// One table a way in: `j` upserts in JSON, `a` upserts in Avro, `d` changes in Debezium's JSON.
const TABLES: [&str; 3] = ["j", "a", "d"];

const COLUMNS: &str = "id INT, b VARCHAR, x DOUBLE, r REAL, l DOUBLE[], s STRUCT<y DOUBLE, z REAL>, \
    g DOUBLE AS (x * -1.0), PRIMARY KEY (id), CHECK (CAST(x AS VARCHAR) <> '77.5')";

/// Views over each table; what of them fails on a row is in `herald.errors`.
const VIEWS: &[&str] = &[
    "SELECT id, CAST(x AS VARCHAR) AS v, CAST(r AS VARCHAR) AS w, CAST(g AS VARCHAR) AS u FROM T",
    "SELECT id, 1.0 / x AS v, 1.0 / r AS w, 1.0 / g AS u FROM T",
    "SELECT id, atan2(x, -1.0) AS v, atan2(g, -1.0) AS u, signum(r) AS w FROM T",
    "SELECT CAST(x * -1.0 AS VARCHAR) AS v, count(*) AS n, min(r) AS lo FROM T GROUP BY 1",
    "SELECT x - x AS v, count(*) AS n, max(r * -1.0) AS hi FROM T GROUP BY 1",
    "SELECT DISTINCT CAST(l[1] AS VARCHAR) AS v, CAST(s['y'] AS VARCHAR) AS w, CAST(s['z'] AS VARCHAR) AS u FROM T",
    "SELECT T.id, CAST(q AS VARCHAR) AS v, 1.0 / q AS w FROM T, UNNEST(T.l) AS q",
    "SELECT id, CAST(x AS BIGINT) AS n FROM T",
    "SELECT id, CAST(CAST(g AS VARCHAR) AS DECIMAL(10, 2)) AS n FROM T",
    "SELECT b, CAST(max(x) AS VARCHAR) AS v, CAST(min(g) AS VARCHAR) AS w, sum(x) AS s, avg(r) AS a FROM T GROUP BY b",
    "SELECT b, array_agg(g ORDER BY id) AS v, array_agg(l ORDER BY id) AS w FROM T GROUP BY b",
    "SELECT p.id, q.id AS other, CAST(q.g AS VARCHAR) AS v FROM T AS p JOIN T AS q ON p.x = q.g",
    "SELECT id, CAST(lag(g) OVER (PARTITION BY b ORDER BY id) AS VARCHAR) AS v FROM T",
    "SELECT id, rank() OVER (PARTITION BY x ORDER BY g, r) AS v FROM T",
    "SELECT id, CAST(c['y'] AS VARCHAR) AS v, c, w FROM \
       (SELECT id, CASE WHEN r > 1.0 THEN s END AS c, CASE WHEN x > 1.0 THEN l END AS w FROM T) AS q",
    "SELECT v, count(*) AS n FROM (SELECT CAST(x AS VARCHAR) AS v FROM T UNION ALL SELECT CAST(g AS VARCHAR) FROM T) AS q GROUP BY v",
];

const WRITER: &str = r#"{"type":"record","name":"R","fields":[
  {"name":"b","type":["null","string"]},{"name":"x","type":["null","double"]},{"name":"r","type":["null","float"]},
  {"name":"l","type":["null",{"type":"array","items":["null","double"]}]},
  {"name":"s","type":["null",{"type":"record","name":"S","fields":[
    {"name":"y","type":["null","double"]},{"name":"z","type":["null","float"]}]}]}]}"#;

fn topology() -> Arc<Plan> {
    let mut text = String::new();
    for table in TABLES {
        let format = if table == "d" { "DEBEZIUM" } else { "UPSERT" };
        text.push_str(&format!(
            "CREATE TABLE {table} ({COLUMNS}) WITH (connector = 'file', path = '{table}') FORMAT {format} ENCODE JSON;\n"
        ));
        for (at, view) in VIEWS.iter().enumerate() {
            let view = view
                .replace("FROM T", &format!("FROM {table}"))
                .replace("JOIN T ", &format!("JOIN {table} "));
            let view = view.replace("T.", &format!("{table}."));
            text.push_str(&format!("CREATE MATERIALIZED VIEW {table}{at} AS {view};\n"));
        }
    }
    plan(&text)
}

/// Decoders of the tables; that of `a` reads Avro by a registry in this process.
fn decoders(registry: Registry) -> Arc<MakeDecoder> {
    Arc::new(move |source: &Source| {
        if source.name != "a" {
            return decoder::of(source, &Arc::default());
        }
        let values = Form::Avro(registry.clone(), Arc::default());
        let keys = Form::Json(JsonOptions::default());
        let decoder = UpsertDecoder::new(source.decoded.clone(), vec![0], values, keys)?;
        Ok(Decoder::Upsert(Box::new(decoder)))
    })
}

/// A row of one table: floats as what JSON and Avro both can say.
#[derive(Clone, Debug)]
struct Row {
    b: &'static str,
    x: Option<f64>,
    r: Option<f64>,
    l: Option<Vec<Option<f64>>>,
    s: Option<[Option<f64>; 2]>,
}

fn float(random: &mut ChaCha8Rng) -> Option<f64> {
    let odd = f64::from_bits(0xFFF8_0000_0000_0001);
    let all = [0.0, -0.0, f64::NAN, -f64::NAN, odd, 2.0, -2.0, f64::INFINITY, f64::NEG_INFINITY, 77.5, -77.5];
    if random.random_bool(0.1) { None } else { Some(all[random.random_range(0..all.len())]) }
}

impl Row {
    fn random(random: &mut ChaCha8Rng) -> Row {
        Row {
            b: ["p", "q"][random.random_range(0..2)],
            x: float(random),
            r: float(random),
            l: random
                .random_bool(0.8)
                .then(|| (0..random.random_range(0..3)).map(|_| float(random)).collect()),
            s: random.random_bool(0.8).then(|| [float(random), float(random)]),
        }
    }

    fn json(&self) -> String {
        let one = |value: &Option<f64>| match value {
            None => "null".to_owned(),
            Some(v) if v.is_finite() => format!("{v:?}"),
            Some(v) if v.is_nan() => "\"NaN\"".to_owned(),
            Some(v) => format!("\"{}Infinity\"", if *v < 0.0 { "-" } else { "" }),
        };
        let list = |l: &Vec<Option<f64>>| format!("[{}]", l.iter().map(one).collect::<Vec<_>>().join(","));
        let inner = |s: &[Option<f64>; 2]| format!("{{\"y\":{},\"z\":{}}}", one(&s[0]), one(&s[1]));
        format!(
            "{{\"b\":\"{}\",\"x\":{},\"r\":{},\"l\":{},\"s\":{}}}",
            self.b,
            one(&self.x),
            one(&self.r),
            self.l.as_ref().map_or("null".to_owned(), list),
            self.s.as_ref().map_or("null".to_owned(), inner)
        )
    }

    fn avro(&self, id: u32) -> Vec<u8> {
        let of = |value: Option<Value>| match value {
            None => Value::Union(0, Box::new(Value::Null)),
            Some(value) => Value::Union(1, Box::new(value)),
        };
        let double = |v: &Option<f64>| of(v.map(Value::Double));
        let real = |v: &Option<f64>| of(v.map(|v| Value::Float(v as f32)));
        let list = self.l.as_ref().map(|l| Value::Array(l.iter().map(double).collect()));
        let inner = |s: &[Option<f64>; 2]| {
            Value::Record(vec![("y".into(), double(&s[0])), ("z".into(), real(&s[1]))])
        };
        let row = Value::Record(vec![
            ("b".into(), of(Some(Value::String(self.b.into())))),
            ("x".into(), double(&self.x)),
            ("r".into(), real(&self.r)),
            ("l".into(), of(list)),
            ("s".into(), of(self.s.as_ref().map(inner))),
        ]);
        #[allow(deprecated)]
        let datum = apache_avro::to_avro_datum(&Avro::parse_str(WRITER).unwrap(), row).unwrap();
        [&[0], &id.to_be_bytes()[..], &datum].concat()
    }
}

/// What happens to a key: a row, or its end.
type Change = (usize, i64, Option<Row>);

struct Run {
    engine: Engine,
    offsets: [i64; 3],
    schema: u32,
}

impl Run {
    fn open(plan: &Arc<Plan>, dir: &Path, workers: usize) -> Run {
        let registry = Registry::in_memory();
        let schema = registry.register("a-value", WRITER).unwrap();
        let partitions = plan.sources.iter().map(|_| BTreeSet::from([0])).collect();
        let totals_bytes = if workers == 2 { 1 } else { CacheRoom::DEFAULT_BYTES };
        let opening = Opening { plan, dir, partitions, workers, totals_bytes, decoder: decoders(registry) };
        let engine = Engine::open(opening).unwrap();
        let at = |table: &&str| engine.progress().sources.get(*table).map_or(0, |s| s.read as i64);
        let offsets = [at(&TABLES[0]), at(&TABLES[1]), at(&TABLES[2])];
        Run { engine, offsets, schema }
    }

    fn feed(&mut self, changes: &[Change]) {
        for (table, id, row) in changes {
            let mut records = Records::new(0);
            let key = format!("{{\"id\":{id}}}");
            let value = match (TABLES[*table], row) {
                ("a", row) => row.as_ref().map(|row| row.avro(self.schema)),
                ("d", Some(row)) => {
                    let row = row.json().replacen('{', &format!("{{\"id\":{id},"), 1);
                    Some(format!("{{\"op\":\"u\",\"before\":null,\"after\":{row}}}").into_bytes())
                }
                ("d", None) => Some(format!("{{\"op\":\"d\",\"before\":{key},\"after\":null}}").into_bytes()),
                (_, row) => row.as_ref().map(|row| row.json().into_bytes()),
            };
            records.push(self.offsets[*table], None, Some(key.as_bytes()), value.as_deref());
            self.offsets[*table] += 1;
            self.engine.feed(*table, records).unwrap();
        }
    }

    fn close(&mut self) {
        self.engine.close().unwrap();
        while self.engine.commit(0).unwrap().is_some() {}
    }

    /// Rows of every view and of the error table, sorted.
    fn held(&self, plan: &Plan) -> Vec<(String, Vec<Vec<u8>>)> {
        let sorted = |rows: schemas::Rows| {
            let mut rows: Vec<Vec<u8>> = rows.iter().map(<[u8]>::to_vec).collect();
            rows.sort();
            rows
        };
        let views = plan.views.iter().enumerate();
        let mut held: Vec<_> =
            views.map(|(at, view)| (view.name.clone(), sorted(self.engine.view_rows(at).unwrap()))).collect();
        held.push(("herald.errors".to_owned(), sorted(self.engine.error_rows().unwrap())));
        held
    }
}

fn same(found: &[(String, Vec<Vec<u8>>)], wanted: &[(String, Vec<Vec<u8>>)], place: &str) -> usize {
    let mut rows = 0;
    for ((view, found), (_, wanted)) in found.iter().zip(wanted) {
        let ghosts: Vec<_> = found.iter().filter(|row| !wanted.contains(row)).collect();
        assert!(
            found == wanted,
            "{view}; {place}: {} rows, not {}; {ghosts:02x?}",
            found.len(),
            wanted.len()
        );
        rows += found.len();
    }
    rows
}

/// A history, cut into epochs of `size` changes, and now and then restarted.
fn history(plan: &Arc<Plan>, seed: u64, (size, workers): (usize, usize)) -> usize {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut run = Run::open(plan, dir.path(), workers);
    let mut left: BTreeMap<(usize, i64), Row> = BTreeMap::new();
    let mut compared = 0;
    for step in 0..4 {
        let mut changes: Vec<Change> = Vec::new();
        for _ in 0..48 {
            let (table, id) = (random.random_range(0..3), random.random_range(0..6));
            let row = random.random_bool(0.75).then(|| Row::random(&mut random));
            // A refused row changes nothing.
            match &row {
                Some(row) if row.x == Some(77.5) => {}
                Some(row) => drop(left.insert((table, id), row.clone())),
                None => drop(left.remove(&(table, id))),
            }
            changes.push((table, id, row));
        }
        if step == 3 {
            changes.extend(left.keys().map(|(table, id)| (*table, *id, None)));
            left.clear();
        }
        for epoch in changes.chunks(size) {
            run.feed(epoch);
            run.close();
        }
        if step == 1 {
            drop(run);
            run = Run::open(plan, dir.path(), 3 - workers.min(2));
        }
        let fresh = tempfile::tempdir().unwrap();
        let mut judge = Run::open(plan, fresh.path(), 1);
        let rows: Vec<Change> =
            left.iter().map(|((table, id), row)| (*table, *id, Some(row.clone()))).collect();
        judge.feed(&rows);
        judge.close();
        compared +=
            same(&run.held(plan), &judge.held(plan), &format!("seed {seed}, step {step}, epochs of {size}"));
    }
    assert!(run.held(plan).iter().all(|(_, rows)| rows.is_empty()), "everything was deleted");
    compared
}

#[test]
fn what_is_put_in_is_taken_back() {
    let plan = topology();
    assert!(plan.sources.iter().map(|source| source.name.as_str()).eq(TABLES));
    let mut compared = 0;
    for (seed, way) in [(1, (1, 1)), (2, (7, 2)), (3, (200, 1)), (4, (3, 2))] {
        compared += history(&plan, seed, way);
    }
    assert!(compared > 500, "only {compared} rows were compared");
}
