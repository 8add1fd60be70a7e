//! Tests of views that are read while a query runs: their answers beside those of the same rows in memory, the entries
//! that are read, and the end of a scan that nobody needs.

mod finality;
mod lookups;

use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::physical_plan::metrics::Count;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemas::{RowCodec, schema_to_json, stored_key, timestamptz};
use state::{Catalogue, Commit, Counts, EntryFacts, IndexOf, Reader, Store, StoreOptions, Writes};

use super::conditions::Bounds;
use super::scans::{
    BATCH_ROWS, BATCHES_AHEAD, Counters, MAX_SCANS, ScanRequest, ScanServer, StoredView, ViewSize,
};
use super::*;
use crate::cli::OutputFormat;
use crate::exit::code;
use crate::query::explain::Statement;
use crate::query::process::remote::{Connection, lend_to_test};
use crate::query::{Allowance, Answer, answer_over, execute_query, format};

mod ends;
mod indexes;

/// Bytes of memory of a query.
const MEMORY: usize = 1 << 28;
/// The id of the view.
const VIEW: u32 = 1;

/// A state with the view `v`.
struct View {
    reader: Reader,
    entry: CatalogueEntry,
    schema: SchemaRef,
    store: Arc<Store>,
    /// Connection over which the state is lent to a query's process.
    lent: Connection,
    _dir: tempfile::TempDir,
}

impl View {
    /// Creates it at epoch 1.
    fn create(schema: &SchemaRef, key: Option<&[usize]>, commit: Commit) -> Result<View> {
        let entry = CatalogueEntry {
            id: VIEW,
            kind: StateTableKind::View,
            name: "v".to_owned(),
            fingerprint: "f".to_owned(),
            schema: Some(schema_to_json(schema)),
            key: key.map(<[usize]>::to_vec),
            retention: None,
            index: None,
            facts: EntryFacts::default(),
        };
        View::stored(entry, schema.clone(), commit)
    }

    /// Creates it from its entry.
    fn stored(entry: CatalogueEntry, schema: SchemaRef, commit: Commit) -> Result<View> {
        let dir = tempfile::tempdir()?;
        let options = StoreOptions { create: true, ..StoreOptions::default() };
        let store = Store::open(&dir.path().join("state"), &options)?;
        store.put_catalogue(&Catalogue {
            topology: "t".to_owned(),
            entries: vec![entry.clone()],
            ..Catalogue::default()
        })?;
        store.commit(Commit { epoch: 1, commit_ms: 1, ..commit })?;
        let reader = Store::open_secondary(&dir.path().join("state"), &dir.path().join("scratch"))?;
        let store = Arc::new(store);
        let lent = lend_to_test(&store)?;
        Ok(View { reader, entry, schema, store, lent, _dir: dir })
    }

    /// The view with indexes over these columns, called `i0` and so on, which are filled from it.
    fn indexed(mut self, indexes: &[Vec<usize>]) -> Result<View> {
        let mut catalogue = self.store.catalogue()?.context("a catalogue")?;
        for (at, columns) in indexes.iter().enumerate() {
            let of = IndexOf { view: "v".to_owned(), columns: columns.clone() };
            catalogue.entries.push(CatalogueEntry {
                id: VIEW + 1 + at as u32,
                kind: StateTableKind::Index,
                name: format!("i{at}"),
                index: Some(of),
                ..self.entry.clone()
            });
        }
        self.store.put_catalogue(&catalogue)?;
        self.reader.refresh()?;
        Ok(self)
    }

    /// Creates it from rows, keyed by some of their columns. Of the rows of a key the last one stays. Returns the rows
    /// in the order of their entries, too.
    fn keyed(rows: &RecordBatch, key: &[usize]) -> Result<(View, RecordBatch)> {
        let (schema, codec) = (rows.schema(), RowCodec::of(&rows.schema())?);
        let keys = rows.project(key)?;
        let packed = RowCodec::of(&keys.schema())?.encode(keys.columns())?;
        let mut entries: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for (key, row) in packed.iter().zip(codec.encode(rows.columns())?.iter()) {
            entries.insert(stored_key(key), row.to_vec());
        }
        let mut writes = Writes { table_id: VIEW, ..Writes::default() };
        for (key, row) in &entries {
            writes.keys.push(key);
            writes.values.push(Some(row.as_slice()));
        }
        let held = codec.decode(entries.values().map(Vec::as_slice))?;
        let commit = Commit { writes: vec![writes], ..Commit::default() };
        Ok((View::create(&schema, Some(key), commit)?, RecordBatch::try_new(schema, held)?))
    }

    /// The entry and the commit of such a view.
    fn entry_of(rows: &RecordBatch, key: &[usize]) -> Result<(CatalogueEntry, Commit)> {
        let keys = rows.project(key)?;
        let packed = RowCodec::of(&keys.schema())?.encode(keys.columns())?;
        let mut writes = Writes { table_id: VIEW, ..Writes::default() };
        for (key, row) in packed.iter().zip(RowCodec::of(&rows.schema())?.encode(rows.columns())?.iter()) {
            writes.keys.push(&stored_key(key));
            writes.values.push(Some(row));
        }
        let view = View::create(&rows.schema(), Some(key), Commit::default())?;
        Ok((view.entry, Commit { writes: vec![writes], ..Commit::default() }))
    }

    /// Creates it from rows without a key. Returns the rows in the order of their entries, too.
    fn counted(rows: &RecordBatch) -> Result<(View, RecordBatch)> {
        let (schema, codec) = (rows.schema(), RowCodec::of(&rows.schema())?);
        let mut entries: BTreeMap<Vec<u8>, (Vec<u8>, i64)> = BTreeMap::new();
        for row in codec.encode(rows.columns())?.iter() {
            entries.entry(stored_key(row)).or_insert_with(|| (row.to_vec(), 0)).1 += 1;
        }
        let mut counts = Counts { table_id: VIEW, ..Counts::default() };
        let mut held: Vec<&[u8]> = Vec::new();
        for (key, (row, copies)) in &entries {
            counts.rows.push(key);
            counts.diffs.push(*copies);
            for _ in 0..*copies {
                held.push(row);
            }
        }
        let held = codec.decode(held.into_iter())?;
        let commit = Commit { counts: vec![counts], ..Commit::default() };
        Ok((View::create(&schema, None, commit)?, RecordBatch::try_new(schema, held)?))
    }

    /// The answer to a query of it, which is the same where a topology lends its state. Only what was read differs: the
    /// topology reads a little ahead.
    fn ask(&self, sql: &str) -> Result<Answer> {
        let allowed = Allowance::in_memory(MEMORY, Duration::from_secs(60));
        let answer = answer_over(&self.reader.snapshot(), sql, &allowed);
        let lent = answer_over(&self.lent.hold_epoch()?, sql, &allowed);
        match (&answer, &lent) {
            (Ok(_), Ok(_)) if sql.starts_with("EXPLAIN ANALYZE") => {}
            (Ok(answer), Ok(lent)) => assert_eq!(answer.batches, lent.batches, "{sql}"),
            (Err(error), Err(lent)) => assert_eq!(error.to_string(), lent.to_string(), "{sql}"),
            (_, _) => panic!("{sql}: {:?} and {:?}", answer.is_ok(), lent.is_ok()),
        }
        answer
    }

    /// The plans that EXPLAIN tells.
    fn plan_of(&self, sql: &str) -> Result<String> {
        let mut text = String::new();
        for batch in self.ask(sql)?.batches {
            for plan in batch.column(1).as_string::<i32>().iter().flatten() {
                text.push_str(plan);
                text.push('\n');
            }
        }
        Ok(text)
    }

    /// A metric of the scan, after the query ran.
    fn measured(&self, sql: &str, metric: &str) -> Result<usize> {
        let plan = self.plan_of(&format!("EXPLAIN ANALYZE {sql}"))?;
        let (_, scan) = plan.split_once("ViewScan").with_context(|| format!("no scan: {plan}"))?;
        let (_, rest) =
            scan.split_once(&format!("{metric}=")).with_context(|| format!("{metric}: {plan}"))?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Ok(digits.parse()?)
    }

    /// A request for its rows.
    fn request(&self, bounds: Bounds, rows: &Count, receiver: ScanSender) -> ScanRequest {
        let view =
            StoredView { entry: self.entry.clone(), schema: self.schema.clone(), size: ViewSize::default() };
        ScanRequest {
            view: Arc::new(view),
            index: None,
            columns: vec![0],
            schema: self.schema.clone(),
            bounds: Arc::new(bounds),
            limit: None,
            counters: Counters { entries: Count::new(), seeks: Count::new(), rows: rows.clone() },
            rows: receiver,
        }
    }
}

/// The sender of a scan's batches.
type ScanSender = tokio::sync::mpsc::Sender<datafusion::error::Result<RecordBatch>>;

/// The answer to a query of the table `v` with these rows in memory.
fn ask_held(rows: &RecordBatch, sql: &str) -> Result<Answer> {
    let (name, held) = ("v".to_owned(), TableRows::Held(rows.clone()));
    let (key, indexes) = (None, Vec::new());
    let (schema_name, schema, definition) = (None, rows.schema(), None);
    let table = QueryTable { schema_name, name, schema, key, indexes, definition, rows: held };
    let finality = Finality::Never;
    let tables = Tables { epoch: 1, unknown: vec![], sources: vec![], finality, tables: vec![table] };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(execute_query(
        tables,
        &Statement::of(sql),
        &Allowance::in_memory(MEMORY, Duration::from_secs(60)),
    ))
}

/// The lines of an answer in any order, or its error.
fn outcome(answer: Result<Answer>) -> Result<Vec<String>, String> {
    let text = answer.and_then(|answer| format::answer_text(&answer, OutputFormat::Csv));
    let text = text.map_err(|error| error.to_string())?;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    Ok(lines)
}

/// A type of key columns, with values as text and literals as SQL, some of which no column of the type holds.
struct Kind {
    data_type: DataType,
    values: &'static [&'static str],
    literals: &'static [&'static str],
}

fn kind(data_type: DataType, values: &'static [&'static str], literals: &'static [&'static str]) -> Kind {
    Kind { data_type, values, literals }
}

fn kinds() -> Vec<Kind> {
    vec![
        kind(
            DataType::Int64,
            &["-9223372036854775808", "-2", "-1", "0", "1", "2", "300", "9223372036854775807"],
            &["-2", "0", "1", "2", "300", "70000", "2.5", "1.0", "'1'", "9223372036854775807", "NULL"],
        ),
        kind(
            DataType::Int32,
            &["-2147483648", "-1", "0", "1", "2", "2147483647"],
            &["-1", "0", "1", "2", "2147483647", "2147483648", "-9000000000", "1.5", "'2'", "NULL"],
        ),
        kind(
            DataType::Int16,
            &["-32768", "-1", "0", "1", "2", "32767"],
            &["-1", "0", "1", "2", "32767", "32768", "1.0", "2::SMALLINT", "NULL"],
        ),
        kind(
            DataType::Utf8,
            &["", "a", "ab", "b", "it's", "é", "B", "a\u{0}b"],
            &["''", "'a'", "'ab'", "'it''s'", "'é'", "'zz'", "NULL"],
        ),
        kind(
            DataType::Decimal128(10, 2),
            &["-1.50", "-0.01", "0.00", "0.10", "1.00", "12.50"],
            &["0.1", "0.10", "0.105", "1", "12.5", "-1.5", "99999999999999", "NULL"],
        ),
        kind(DataType::Boolean, &["true", "false"], &["true", "false", "NULL"]),
        kind(
            DataType::Date32,
            &["1969-12-31", "1970-01-01", "2024-02-29"],
            &["DATE '1970-01-01'", "'2024-02-29'", "DATE '2024-03-01'", "NULL"],
        ),
        kind(
            timestamptz(),
            &["1969-12-31T23:59:59.999999Z", "1970-01-01T00:00:00Z", "2024-02-29T12:00:00.000001Z"],
            &["'1970-01-01T00:00:00Z'", "'2024-02-29 12:00:00.000001+00'", "'2024-02-29 00:00:00Z'", "NULL"],
        ),
        kind(
            DataType::Float64,
            &["-1.5", "-0.0", "0.0", "1.0", "NaN", "inf"],
            &["0.0", "-0.0", "1", "1.0", "'NaN'::DOUBLE", "NULL"],
        ),
    ]
}

/// A column of random values and NULLs.
fn random_column(random: &mut ChaCha8Rng, kind: &Kind, rows: usize) -> Result<ArrayRef> {
    let mut texts: Vec<Option<&str>> = Vec::with_capacity(rows);
    for _ in 0..rows {
        texts.push(kind.values.get(random.random_range(0..=kind.values.len())).copied());
    }
    let texts: ArrayRef = Arc::new(StringArray::from(texts));
    Ok(arrow::compute::cast(&texts, &kind.data_type)?)
}

/// Random conditions on the columns `k0`, `k1` and so on of these types.
struct Conditions<'a> {
    random: &'a mut ChaCha8Rng,
    all: &'a [Kind],
    columns: &'a [&'a Kind],
}

impl Conditions<'_> {
    fn below(&mut self, end: usize) -> usize {
        self.random.random_range(0..end)
    }

    /// A literal for a column; now and then one of any type.
    fn literal(&mut self, column: usize) -> &'static str {
        let any = self.below(self.all.len());
        let of = if self.below(20) == 0 { &self.all[any] } else { self.columns[column] };
        let literals = of.literals;
        literals[self.below(literals.len())]
    }

    fn comparison(&mut self) -> String {
        let at = self.below(self.columns.len());
        let (a, b, c) = (self.literal(at), self.literal(at), self.literal(at));
        let op = ["=", "<>", "<", "<=", ">", ">="][self.below(6)];
        match self.below(9) {
            0..3 => format!("k{at} {op} {a}"),
            3 => format!("{a} {op} k{at}"),
            4 => format!("k{at} IN ({a}, {b}, {c})"),
            5 => format!("k{at} NOT IN ({a}, {b})"),
            6 => format!("k{at} BETWEEN {a} AND {b}"),
            7 => format!("k{at} NOT BETWEEN {a} AND {b}"),
            _ => format!("k{at} IS {}NULL", ["", "NOT "][self.below(2)]),
        }
    }

    fn condition(&mut self, depth: usize) -> String {
        let form = if depth == 0 { 9 } else { self.below(10) };
        match form {
            0 => format!("NOT ({})", self.condition(depth - 1)),
            1 | 2 => format!("({} OR {})", self.condition(depth - 1), self.condition(depth - 1)),
            3 => format!("({} AND {})", self.condition(depth - 1), self.condition(depth - 1)),
            _ => self.comparison(),
        }
    }

    /// Equalities of some leading columns, and other conditions.
    fn filter(&mut self) -> String {
        let mut parts = Vec::new();
        for at in 0..self.below(self.columns.len() + 1) {
            parts.push(format!("k{at} = {}", self.literal(at)));
        }
        for _ in 0..self.below(3) {
            parts.push(self.condition(2));
        }
        if parts.is_empty() { "true".to_owned() } else { parts.join(" AND ") }
    }
}

/// Random rows with key columns `k0` and so on, and a number `n`.
fn random_rows(random: &mut ChaCha8Rng, columns: &[&Kind], rows: usize) -> Result<RecordBatch> {
    let (mut fields, mut arrays) = (Vec::new(), Vec::new());
    for (at, kind) in columns.iter().enumerate() {
        fields.push(Field::new(format!("k{at}"), kind.data_type.clone(), true));
        arrays.push(random_column(random, kind, rows)?);
    }
    fields.push(Field::new("n", DataType::Int64, true));
    let numbers: Vec<i64> = (0..rows as i64).map(|n| n % 50).collect();
    arrays.push(Arc::new(Int64Array::from(numbers)));
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}

/// Random indexes over key columns of these types, and sometimes the number behind them: none, one or two.
fn random_indexes(random: &mut ChaCha8Rng, columns: &[&Kind]) -> Vec<Vec<usize>> {
    let mut indexes = Vec::new();
    for _ in 0..random.random_range(0..3) {
        let mut index: Vec<usize> = (0..=columns.len()).collect();
        index.retain(|at| columns.get(*at).is_none_or(|kind| kind.data_type != DataType::Float64));
        index.shuffle(random);
        index.truncate(random.random_range(1..=index.len()));
        indexes.push(index);
    }
    indexes
}

/// Conditions of all kinds select the same rows of a view, whose key or index they bound, as of the same rows in
/// memory, which are filtered. A scan that stands for all conditions reads the rows of the answer and no others.
#[test]
fn a_view_that_is_streamed_answers_as_its_rows_in_memory_do() -> Result<()> {
    let seed = std::env::var("HERALD_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let all = kinds();
    let (mut asked, mut pushed, mut indexed, mut exact, mut answered) = (0, 0, 0, 0, 0);
    for round in 0..24 {
        let mut columns = Vec::new();
        for _ in 0..random.random_range(1..4) {
            columns.push(&all[random.random_range(0..all.len())]);
        }
        let rows = random_rows(&mut random, &columns, 200)?;
        let mut key: Vec<usize> = (0..columns.len()).collect();
        if round % 4 == 2 {
            key.reverse();
        }
        let (view, held) = if round % 4 == 3 { View::counted(&rows)? } else { View::keyed(&rows, &key)? };
        let view = view.indexed(&random_indexes(&mut random, &columns))?;
        for _ in 0..40 {
            let mut conditions = Conditions { random: &mut random, all: &all, columns: &columns };
            let filter = conditions.filter();
            let sql = match conditions.below(4) {
                0 => format!("SELECT count(*) AS c FROM v WHERE {filter}"),
                1 => format!("SELECT n, k0 FROM v WHERE {filter}"),
                2 => format!("SELECT count(*) AS c FROM (SELECT k0 FROM v WHERE {filter} LIMIT 3) AS t"),
                _ => format!("SELECT * FROM v WHERE {filter}"),
            };
            let (streamed, expected) = (outcome(view.ask(&sql)), outcome(ask_held(&held, &sql)));
            assert_eq!(streamed, expected, "HERALD_SEED={seed}: {sql}\n{:?}", rows.schema());
            asked += 1;
            if streamed.is_ok_and(|lines| lines.len() > 1) {
                answered += 1;
                let plan = view.plan_of(&format!("EXPLAIN {sql}"))?;
                pushed += usize::from(plan.contains("key=("));
                indexed += usize::from(plan.contains("index=i"));
                if plan.contains("ranges=") && !plan.contains("FilterExec") && !sql.contains("LIMIT") {
                    let (read, sent) =
                        (view.measured(&sql, "entries_read")?, view.measured(&sql, "output_rows")?);
                    assert!(read <= sent, "HERALD_SEED={seed}: {sql}: {read} entries read, {sent} rows");
                    exact += 1;
                }
            }
        }
    }
    let told =
        format!("{asked} asked, {answered} answered, {pushed} pushed, {indexed} indexed, {exact} exact");
    println!("{told}");
    assert!(answered > asked / 5 && pushed > answered / 10, "{told}");
    assert!(indexed > answered / 20 && exact > answered / 50, "{told}");
    Ok(())
}

/// `v(platform, hour, n)` with three platforms of 100 hours, keyed by both.
fn hours() -> Result<View> {
    let (mut platforms, mut hours) = (Vec::new(), Vec::new());
    for platform in ["EUW1", "KR", "NA1"] {
        for hour in 0..100 {
            platforms.push(platform);
            hours.push(hour);
        }
    }
    let schema = Schema::new(vec![
        Field::new("platform", DataType::Utf8, false),
        Field::new("hour", DataType::Int32, false),
        Field::new("n", DataType::Int64, true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(platforms)),
        Arc::new(Int32Array::from(hours.clone())),
        Arc::new(Int64Array::from_iter_values(hours.into_iter().map(i64::from))),
    ];
    Ok(View::keyed(&RecordBatch::try_new(Arc::new(schema), columns)?, &[0, 1])?.0)
}

#[test]
fn a_plan_tells_which_conditions_bound_its_scan() -> Result<()> {
    let view = hours()?;
    for (filter, key, remains) in [
        ("platform = 'KR' AND hour = 3", "(platform = 'KR', hour = 3), points=1, groups=1", false),
        ("3 = hour AND 'KR' = platform", "('KR' = platform, 3 = hour), points=1, groups=1", false),
        ("platform = 'KR'", "(platform = 'KR'), groups=4096", false),
        ("platform = 'KR' AND hour < 5", "(platform = 'KR', hour < 5), groups=4096", false),
        ("platform > 'KR'", "(platform > 'KR'), groups=4096", false),
        ("platform IN ('KR', 'NA1') AND hour IN (1, 2, 2)", "points=4, ", false),
        ("(platform = 'KR' OR platform = 'NA1') AND hour = 1", "points=2, ", false),
        ("platform = 'KR' AND hour = 1.5", "(platform = 'KR'), groups=4096", true),
        ("platform = 'KR' AND hour = 3000000000", "(platform = 'KR'), groups=4096", true),
        ("platform = 'KR' AND n = 3", "(platform = 'KR'), groups=4096", true),
        ("platform = 'KR' AND hour <> 3", "(platform = 'KR'), groups=4096", true),
        ("platform IN ('KR', 'NA1')", "", true),
        ("hour = 3", "", true),
        ("platform = 'KR' OR hour = 3", "", true),
        ("lower(platform) = 'kr'", "", true),
    ] {
        let plan = view.plan_of(&format!("EXPLAIN SELECT n FROM v WHERE {filter}"))?;
        let (_, physical) = plan.split_once("ViewScan: view=v, ").with_context(|| plan.clone())?;
        assert_eq!(physical.contains("key="), !key.is_empty(), "{filter}: {plan}");
        assert!(physical.contains(key), "{filter}: {plan}");
        assert_eq!(plan.contains("FilterExec"), remains, "{filter}: {plan}");
    }
    Ok(())
}

#[test]
fn a_scan_reads_the_columns_and_rows_that_the_query_needs() -> Result<()> {
    let view = hours()?;
    for (sql, scan) in [
        ("SELECT n FROM v", "ViewScan: view=v, columns=[n]\n"),
        ("SELECT count(*) AS c FROM v", "ViewScan: view=v, columns=[]\n"),
        ("SELECT n FROM v LIMIT 10", "ViewScan: view=v, columns=[n], limit=10\n"),
        ("SELECT n FROM v LIMIT 10 OFFSET 5", "ViewScan: view=v, columns=[n], limit=15\n"),
        ("SELECT sum(n) AS s FROM v GROUP BY hour", "ViewScan: view=v, columns=[hour, n]\n"),
        (
            "SELECT n FROM v WHERE platform = 'KR' LIMIT 1",
            "columns=[n], key=(platform = 'KR'), groups=4096, limit=1\n",
        ),
    ] {
        let plan = view.plan_of(&format!("EXPLAIN {sql}"))?;
        assert!(plan.contains(scan), "{sql}: {plan}");
    }
    Ok(())
}

#[test]
fn a_scan_reads_no_more_entries_than_its_bounds_have() -> Result<()> {
    let view = hours()?;
    let entries = |sql: &str| view.measured(sql, "entries_read");
    let seeks = |sql: &str| view.measured(sql, "seeks");
    let point = "SELECT n FROM v WHERE platform = 'KR' AND hour = 3";
    assert_eq!((entries(point)?, seeks(point)?), (1, 1));
    let missing = "SELECT n FROM v WHERE platform = 'KR' AND hour = 300";
    assert_eq!((entries(missing)?, seeks(missing)?), (0, 1));
    let list = "SELECT n FROM v WHERE platform = 'KR' AND hour IN (3, 4, 500)";
    assert_eq!((entries(list)?, seeks(list)?), (2, 3));
    // 300 entries are in 300 groups at most; each is found by one seek from the group before it, or two.
    let prefix = "SELECT n FROM v WHERE platform = 'KR'";
    assert_eq!(entries(prefix)?, 100);
    assert!((1..=601).contains(&seeks(prefix)?));
    let range = "SELECT n FROM v WHERE platform = 'KR' AND hour >= 10 AND hour < 20";
    assert_eq!(entries(range)?, 10);
    assert_eq!(entries("SELECT n FROM v WHERE platform < 'KR'")?, 100);
    assert_eq!(entries("SELECT n FROM v")?, 300);
    assert_eq!(entries("SELECT n FROM v LIMIT 10")?, 10);
    assert_eq!(entries("SELECT n FROM v WHERE platform = 'KR' LIMIT 10")?, 10);
    assert_eq!(view.measured("SELECT n FROM v LIMIT 10", "output_rows")?, 10);
    Ok(())
}

/// A view whose entries are no rows of it: the query fails, and not as a mistake of who asked.
#[test]
fn a_failed_scan_fails_the_query() -> Result<()> {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
    let mut writes = Writes { table_id: VIEW, ..Writes::default() };
    writes.keys.push(&stored_key(b"k"));
    writes.values.push(Some(&b"no row"[..]));
    let view = View::create(&schema, Some(&[0]), Commit { writes: vec![writes], ..Commit::default() })?;
    let error = view.ask("SELECT n FROM v").err().context("it fails")?;
    assert!(error.to_string().contains("the rows of view v cannot be read"), "{error:#}");
    assert_ne!(code(&error), 2, "{error:#}");
    Ok(())
}

#[test]
fn a_mistake_in_an_explained_query_has_its_place() -> Result<()> {
    let error = hours()?.ask("EXPLAIN ANALYZE SELECT nn FROM v").err().context("it fails")?;
    assert!(error.to_string().contains("query:1:24: "), "{error}");
    Ok(())
}
