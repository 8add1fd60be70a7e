//! Statements of real clients over a catalogue of three views: all run, and some have exact answers.
//!
//! `recorded.txt` has the queries that clients sent to PostgreSQL 15, `psql.txt` those of the backslash commands
//! of psql 15 to 18 to PostgreSQL 16 that are not among these, `tools.txt` those of tools in the same forms.
//! `golden.txt` has queries with their answers, which are PostgreSQL's for tables of the same columns, keys and
//! indexes but for the OIDs, the kind of relation and the statistics; `HERALD_UPDATE=1` rewrites it.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::pretty::pretty_format_batches;
use dataflows::sql::question::{self, Finality};
use datafusion::catalog::MemorySchemaProvider;
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::provider_as_source;
use datafusion::prelude::SessionConfig;
use datafusion::sql::sqlparser::ast::Query;
use schemas::{jsonb_field, timestamptz};

use super::query::parse_query;
use super::rewrite::{output_names, output_origins, parameter_types, reads_catalogue, simplify};
use super::session::DEFAULT_SETTINGS;
use super::types::{format_type, type_of};
use super::*;

mod views;

/// Recorded statements that do not run, by their beginning, with the reason.
const FAILING: &[(&str, &str)] = &[];

fn columns(fields: Vec<Field>) -> SchemaRef {
    Arc::new(Schema::new(fields))
}

fn champions() -> SchemaRef {
    columns(vec![
        Field::new("window_start", timestamptz(), false),
        Field::new("window_end", timestamptz(), false),
        Field::new("platform", DataType::Utf8, false),
        Field::new("champion_id", DataType::Int32, false),
        Field::new("games", DataType::Int64, false),
        Field::new("win_rate", DataType::Float64, true),
        Field::new("share", DataType::Decimal128(10, 4), true),
        Field::new("tags", DataType::new_list(DataType::Utf8, true), true),
        Field::new("ok", DataType::Boolean, true),
        jsonb_field("payload", true),
    ])
}

fn object(schema: &str, name: &str, columns: SchemaRef) -> CatalogObject {
    let (schema, name) = (schema.to_owned(), name.to_owned());
    let is_materialized = schema == "public";
    CatalogObject {
        schema,
        name,
        columns,
        key: None,
        indexes: Vec::new(),
        comment: None,
        is_materialized,
        definition: None,
    }
}

fn objects() -> Vec<CatalogObject> {
    let counts = columns(vec![
        Field::new("platform", DataType::Utf8, true),
        Field::new("matches", DataType::Int64, false),
    ]);
    let odd = columns(vec![Field::new("Player Id", DataType::Int64, false)]);
    vec![
        CatalogObject {
            key: Some(vec![0, 2, 3]),
            indexes: vec![CatalogIndex {
                name: "champion_hourly_by_champion".to_owned(),
                columns: vec![3, 0],
            }],
            comment: Some("Games of each champion per hour.".to_owned()),
            definition: Some("SELECT * FROM matches".to_owned()),
            ..object("public", "champion_hourly", champions())
        },
        object("public", "match_counts", counts),
        CatalogObject { key: Some(vec![0]), ..object("public", "Odd Name", odd) },
        object("herald", "views", columns(vec![Field::new("view", DataType::Utf8, false)])),
    ]
}

fn session() -> SessionValues {
    SessionValues {
        database: "herald".to_owned(),
        user: "ann".to_owned(),
        process_id: 7,
        application_name: "psql".to_owned(),
        client_address: Some("127.0.0.1".to_owned()),
        started_us: 1_767_225_600_000_000,
        settings: [("timezone".to_owned(), "Europe/Paris".to_owned())].into(),
    }
}

fn catalogue() -> Catalogue {
    Catalogue::new(objects(), session())
}

/// A session with the catalogue, and with views of one row of NULLs.
fn context(catalogue: &Catalogue) -> SessionContext {
    let config = SessionConfig::new()
        .with_target_partitions(1)
        .with_default_catalog_and_schema(CATALOG, "public")
        .set_str("datafusion.sql_parser.dialect", "postgres");
    let context = SessionContext::new_with_config(config);
    catalogue.register(&context).expect("the catalogue");
    let own = context.catalog(CATALOG).expect("a catalog");
    own.register_schema("herald", Arc::new(MemorySchemaProvider::new())).expect("a schema");
    for object in objects() {
        let fields = object.columns.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
        let schema = columns(fields.collect());
        let nulls: Vec<ArrayRef> =
            schema.fields().iter().map(|field| new_null_array(field.data_type(), 1)).collect();
        let batch = RecordBatch::try_new(schema.clone(), nulls).expect("a row");
        let table = MemTable::try_new(schema, vec![vec![batch]]).expect("a table");
        let provider = own.schema(&object.schema).expect("a schema");
        provider.register_table(object.name, Arc::new(table)).expect("registered");
    }
    context
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// A statement with SQL of the values of its parameters.
struct Recorded {
    client: String,
    sql: String,
    values: Vec<Option<String>>,
}

impl Recorded {
    fn of(sql: &str) -> Recorded {
        Recorded { client: String::new(), sql: sql.to_owned(), values: Vec::new() }
    }
}

/// The statements of a file: lines `## client`, `$1 oid value` and statements, with the OIDs of a view and of
/// its index.
fn recorded(text: &str, catalogue: &Catalogue) -> Vec<Recorded> {
    let oid_of = |name: &str| catalogue.facts.class_named(name).expect("an OID").to_string();
    let text = text.replace("{oid}", &oid_of("champion_hourly"));
    let text = text.replace("{index}", &oid_of("champion_hourly_by_champion"));
    let (mut client, mut values, mut found) = (String::new(), Vec::new(), Vec::new());
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            client = name.to_owned();
        } else if line.starts_with('$') {
            let mut words = line.splitn(3, ' ').skip(1);
            let type_oid = words.next().and_then(|word| word.parse().ok()).expect("an OID");
            values.push(Some(value_sql(type_oid, words.next())));
        } else {
            let values = std::mem::take(&mut values);
            found.push(Recorded { client: client.clone(), sql: line.to_owned(), values });
        }
    }
    found
}

/// SQL of a parameter's value, as sessions write it: text, and the items of an array, cast to the type.
fn value_sql(type_oid: u32, text: Option<&str>) -> String {
    let found = type_of(type_oid).expect("a type");
    let Some(text) = text else { return format!("CAST(NULL AS {})", type_sql(type_oid)) };
    if !found.is_array() {
        return format!("CAST('{}' AS {})", text.replace('\'', "''"), type_sql(type_oid));
    }
    let items = text.trim_matches(['{', '}']).split(',').map(|item| value_sql(found.element, Some(item)));
    format!("ARRAY[{}]", items.collect::<Vec<_>>().join(", "))
}

/// Name in Herald's SQL of a type; of one that is not known, that of text.
fn type_sql(oid: u32) -> String {
    let name = format_type(if oid == 0 { 25 } else { oid }, None);
    let (item, array) = name.strip_suffix("[]").map_or((name.as_str(), ""), |item| (item, "[]"));
    let item = match item {
        "oid" | "xid" => "BIGINT",
        "name" | "\"char\"" | "text" | "character varying" => "VARCHAR",
        other => other,
    };
    format!("{item}{array}")
}

fn query_of(sql: &str) -> Query {
    *parse_query(sql).unwrap_or_else(|| panic!("{sql} is no query"))
}

/// Runs a query of the catalogue to its end, as a session would, and returns its names and rows.
async fn answer(
    catalogue: &Catalogue,
    context: &SessionContext,
    statement: &Recorded,
) -> Result<(Vec<String>, SchemaRef, Vec<RecordBatch>)> {
    let query = SessionQuery::read(&statement.sql, &catalogue.facts.session);
    let plan = catalogue.plan(context, &query, &statement.values).await?;
    let schema = Arc::new(plan.schema().as_arrow().clone());
    let names = catalogue.outputs(&query, schema.fields()).into_iter().map(|column| column.name);
    let batches = context.execute_logical_plan(plan).await?.collect().await?;
    Ok((names.collect(), schema, batches))
}

/// Plans a query over views by Herald's own planner. One with parameters is only read: a session puts their
/// values there.
fn plan_views(query: &SessionQuery<'_>) -> Result<(), String> {
    let told =
        |found: Vec<dataflows::sql::SqlError>| found.iter().map(ToString::to_string).collect::<String>();
    if query.text().contains('$') {
        return question::references(query.text()).map(drop).map_err(told);
    }
    let mut tables = std::collections::BTreeMap::new();
    for object in objects() {
        let name = if object.schema == "public" {
            object.name
        } else {
            format!("{}.{}", object.schema, object.name)
        };
        tables.insert(name, object.columns);
    }
    let rows = |name: &str| Some(provider_as_source(Arc::new(EmptyTable::new(tables.get(name)?.clone()))));
    question::plan(query.text(), &tables, &rows, Finality::NoView).map(drop).map_err(told)
}

#[test]
fn every_statement_of_the_clients_runs() {
    let catalogue = catalogue();
    let context = context(&catalogue);
    let runtime = runtime();
    let mut broken = Vec::new();
    let files =
        [include_str!("tests/recorded.txt"), include_str!("tests/psql.txt"), include_str!("tests/tools.txt")];
    for statement in files.iter().flat_map(|text| recorded(text, &catalogue)) {
        let excused = FAILING.iter().any(|(beginning, _)| statement.sql.starts_with(beginning));
        let query = SessionQuery::read(&statement.sql, &catalogue.facts.session);
        let ran = if query.reads_catalogue() {
            let answered = runtime.block_on(answer(&catalogue, &context, &statement));
            answered.map(drop).map_err(|error| format!("{error:#}"))
        } else {
            plan_views(&query)
        };
        match (ran, excused) {
            (Err(error), false) => {
                broken.push(format!("{}: {}\n    {error}\n", statement.client, statement.sql));
            }
            (Ok(()), true) => broken.push(format!("{}: runs after all", statement.sql)),
            (Ok(()), false) | (Err(_), true) => {}
        }
    }
    assert!(broken.is_empty(), "{} statements:\n{}", broken.len(), broken.join("\n"));
}

/// A statement that the session describes before its parameters have values is planned with NULLs.
#[test]
fn every_statement_is_planned_without_values() {
    let catalogue = catalogue();
    let context = context(&catalogue);
    let runtime = runtime();
    let mut broken = Vec::new();
    for mut statement in recorded(include_str!("tests/recorded.txt"), &catalogue) {
        let sql = statement.sql.clone();
        let query = SessionQuery::read(&sql, &catalogue.facts.session);
        if statement.values.is_empty() || !query.reads_catalogue() {
            continue;
        }
        let types = query.parameter_types();
        assert_eq!(types.len(), statement.values.len(), "{sql}");
        for (value, type_oid) in statement.values.iter_mut().zip(types) {
            *value = Some(format!("CAST(NULL AS {})", type_sql(type_oid)));
        }
        if let Err(error) = runtime.block_on(answer(&catalogue, &context, &statement)) {
            broken.push(format!("{}: {sql}\n    {error:#}\n", statement.client));
        }
    }
    assert!(broken.is_empty(), "{} statements:\n{}", broken.len(), broken.join("\n"));
}

/// The answer as text.
fn shown((names, schema, batches): (Vec<String>, SchemaRef, Vec<RecordBatch>)) -> String {
    let schema = batches.first().map_or(schema, RecordBatch::schema);
    let fields =
        schema.fields().iter().zip(&names).map(|(field, name)| field.as_ref().clone().with_name(name));
    let renamed = columns(fields.map(|field| field.with_nullable(true)).collect());
    let mut shown = vec![RecordBatch::new_empty(Arc::clone(&renamed))];
    for batch in batches {
        shown.push(RecordBatch::try_new(Arc::clone(&renamed), batch.columns().to_vec()).expect("a batch"));
    }
    pretty_format_batches(&shown).expect("text").to_string()
}

#[test]
fn answers_are_those_of_postgresql() {
    let catalogue = catalogue();
    let context = context(&catalogue);
    let runtime = runtime();
    let golden = include_str!("tests/golden.txt");
    let mut made = String::new();
    for part in golden.split("\n\n").filter(|part| !part.trim().is_empty()) {
        let (title, rest) = part.trim().split_once('\n').expect("a title");
        let sql = rest.lines().next().expect("a statement");
        let statement = recorded(sql, &catalogue).pop().expect("a statement");
        let answer = runtime.block_on(answer(&catalogue, &context, &statement));
        let text = answer.map_or_else(|error| format!("ERROR: {error:#}"), shown);
        made.push_str(&format!("{title}\n{sql}\n{text}\n\n"));
    }
    if std::env::var_os("HERALD_UPDATE").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/query/catalog/tests/golden.txt");
        std::fs::write(path, &made).expect("the file is written");
    }
    similar(golden.trim(), made.trim());
}

/// Fails with the first line in which two texts differ.
fn similar(expected: &str, found: &str) {
    for (expected, found) in expected.lines().zip(found.lines()) {
        assert_eq!(expected, found);
    }
    assert_eq!(expected.lines().count(), found.lines().count());
}

/// Names of `names.txt`: a query, then PostgreSQL's names of its columns.
#[test]
fn outputs_have_the_names_of_postgresql() {
    let lines: Vec<&str> = include_str!("tests/names.txt").lines().collect();
    for pair in lines.chunks(2) {
        let expected: Vec<String> = pair[1].trim().split(" | ").map(str::to_owned).collect();
        let query = query_of(pair[0]);
        // The planner knows the columns of a wildcard and of VALUES.
        let is_known = pair[0].contains("*,") || pair[0].starts_with("VALUES");
        let planned: Vec<String> = if is_known {
            expected.iter().map(|name| name.replace("?column?", "planned")).collect()
        } else {
            vec!["planned".to_owned(); expected.len()]
        };
        assert_eq!(output_names(&query, &planned), expected, "{}", pair[0]);
    }
}

/// Each name is looked for once: with a search from the start for each of them, this takes minutes.
#[test]
fn many_outputs_have_names_of_their_own() {
    let started = std::time::Instant::now();
    let mut query = query_of(&format!("SELECT {} FROM pg_class", vec!["1"; 30_000].join(", ")));
    super::rewrite::rewrite(&mut query, "herald");
    assert!(query.to_string().contains("AS \"?column?_29999\""));
    assert!(started.elapsed() < std::time::Duration::from_secs(60), "{:?}", started.elapsed());
}

#[test]
fn an_output_column_is_known_by_its_table_and_number() {
    let catalogue = catalogue();
    let oid_of = |name: &str| catalogue.facts.object("public", name).expect("a view").oid;
    let (oid, counts) = (oid_of("champion_hourly"), oid_of("match_counts"));
    for (sql, planned, expected) in [
        (
            "SELECT games, 1, platform AS p FROM champion_hourly",
            3,
            vec![Some((oid, 5)), None, Some((oid, 3))],
        ),
        ("SELECT * FROM public.match_counts", 2, vec![Some((counts, 1)), Some((counts, 2))]),
        (
            "SELECT c.games, m.matches, games FROM champion_hourly c JOIN match_counts m USING (platform)",
            3,
            vec![Some((oid, 5)), Some((counts, 2)), None],
        ),
        ("SELECT games FROM champion_hourly UNION SELECT 1", 1, vec![None]),
        ("SELECT oid FROM pg_class", 1, vec![None]),
    ] {
        let names = ["platform", "matches", "c"].map(str::to_owned);
        let origins = output_origins(&query_of(sql), &names[..planned]);
        let places: Vec<_> = origins.iter().map(|origin| catalogue.column_place(origin.as_ref()?)).collect();
        assert_eq!(places, expected, "{sql}");
    }
    let fields = Fields::from(vec![
        Field::new("platform", DataType::Utf8, true),
        Field::new("n", DataType::Int64, true),
    ]);
    let query = SessionQuery::read("SELECT platform, count(*) FROM match_counts", &catalogue.facts.session);
    let outputs = catalogue.outputs(&query, &fields);
    let places: Vec<_> =
        outputs.iter().map(|column| (column.name.as_str(), column.wire.oid, column.place)).collect();
    assert_eq!(places, [("platform", 25, Some((counts, 1))), ("count", 20, None)]);
}

#[test]
fn a_query_goes_to_the_catalogue_or_to_the_views() {
    for (sql, expected) in [
        ("SELECT * FROM champion_hourly", false),
        (
            "SELECT games FROM \"herald\".\"public\".\"champion_hourly\" WHERE platform = 'a' COLLATE \"C\"",
            false,
        ),
        ("SELECT 1", false),
        ("SELECT upper(platform) FROM champion_hourly", false),
        ("SELECT quote_ident(platform) FROM champion_hourly", false),
        ("SELECT platform::text FROM champion_hourly", false),
        ("SELECT * FROM herald.views", false),
        ("SELECT version()", true),
        ("SELECT current_user", true),
        ("SELECT current_schema", true),
        ("SELECT \"current_schema\" FROM champion_hourly", false),
        ("SELECT oid FROM pg_class", true),
        ("SELECT * FROM information_schema.tables", true),
        ("SELECT 1 FROM champion_hourly WHERE EXISTS (SELECT 1 FROM pg_catalog.pg_type)", true),
        ("SELECT 'champion_hourly'::regclass", true),
        ("SELECT word FROM pg_get_keywords()", true),
        ("WITH a AS (SELECT * FROM pg_namespace) SELECT * FROM a", true),
    ] {
        for has_clock in [false, true] {
            assert_eq!(reads_catalogue(&query_of(sql), has_clock), expected, "{sql}");
        }
    }
    for sql in ["SELECT now()", "SELECT 1 FROM champion_hourly WHERE window_end < current_date"] {
        assert!(!reads_catalogue(&query_of(sql), false) && reads_catalogue(&query_of(sql), true), "{sql}");
    }
}

#[test]
fn a_query_over_views_loses_what_is_postgresql_s_alone() {
    for (sql, expected) in [
        (
            "SELECT \"platform\" FROM \"herald\".\"public\".\"v\" WHERE \"platform\" = 'EUW1' COLLATE \"C\"",
            "SELECT \"platform\" FROM \"public\".\"v\" WHERE \"platform\" = 'EUW1'",
        ),
        (
            "SELECT a FROM v ORDER BY a ASC NULLS LAST LIMIT 2::bigint",
            "SELECT a FROM v ORDER BY a ASC NULLS LAST LIMIT 2",
        ),
        ("SELECT a FROM v WHERE a OPERATOR(pg_catalog.=) 1", "SELECT a FROM v WHERE (a = 1)"),
        // It binds less than + and *, and more than =.
        (
            "SELECT a + b OPERATOR(pg_catalog.*) c, a OPERATOR(pg_catalog.-) (b - c) = 1 FROM v",
            "SELECT ((a + b) * c), (a - (b - c)) = 1 FROM v",
        ),
        ("SELECT pg_catalog.lower(a)::pg_catalog.int4 FROM v", "SELECT lower(a)::INTEGER FROM v"),
        ("SELECT a FROM v WHERE a = ANY('{1,2}')", "SELECT a FROM v WHERE a = ANY(ARRAY[1, 2])"),
        (
            "SELECT a FROM v WHERE a = ANY ('{1,NULL}'::integer[]) OR b = ANY('{}'::pg_catalog.text[])",
            "SELECT a FROM v WHERE a = ANY(ARRAY[CAST('1' AS INTEGER), CAST(NULL AS INTEGER)]) \
             OR b = ANY(CAST(ARRAY[] AS TEXT[]))",
        ),
    ] {
        let mut query = query_of(sql);
        simplify(&mut query, "herald");
        assert_eq!(query.to_string(), expected);
    }
}

#[test]
fn parameters_have_the_types_that_a_statement_tells() {
    for (sql, expected) in [
        ("SELECT $1::int4, $2::text[], CAST($3 AS regclass), $4::oid[]", vec![23, 1009, 25, 1028]),
        (
            "SELECT 1 FROM pg_class c WHERE c.oid = $1 AND relkind = ANY($2) AND relname LIKE $3",
            vec![26, 1009, 25],
        ),
        ("SELECT * FROM v WHERE a = $2 LIMIT $1", vec![20, 0]),
        ("SELECT to_regtype($1), set_config('jit', $2, false)", vec![25, 0]),
    ] {
        assert_eq!(parameter_types(&query_of(sql)), expected, "{sql}");
    }
    // One more than a query may have.
    assert_eq!(parameter_types(&query_of("SELECT $4000000000 FROM pg_class")).len(), MAX_PARAMETERS + 1);
}

/// Types as a session sends them, and text for what stands for a name.
#[test]
fn outputs_have_the_types_of_postgresql() {
    let catalogue = catalogue();
    let context = context(&catalogue);
    let sql = "SELECT oid, relname, relkind, relnatts, oid::regclass, reloptions, relhasindex, oid::text, \
               oid + 1, (SELECT proallargtypes FROM pg_proc LIMIT 0), \
               CASE WHEN relkind = 'r' THEN NULL ELSE relnatts END, \
               (SELECT CASE WHEN typtype = 'c' THEN (SELECT array_agg(atttypid) FROM pg_attribute) END \
                FROM pg_type LIMIT 1), \
               (SELECT CASE WHEN typtype = 'd' THEN (SELECT b.typbasetype FROM pg_type b) END FROM pg_type LIMIT 1) \
               FROM pg_class WHERE relname = 'pg_class'";
    let query = SessionQuery::read(sql, &catalogue.facts.session);
    let plan = runtime().block_on(catalogue.plan(&context, &query, &[])).expect("a plan");
    let types: Vec<WireType> = plan.schema().fields().iter().map(|field| wire_type(field)).collect();
    let oids: Vec<u32> = types.iter().map(|found| found.oid).collect();
    assert_eq!(oids, [26, 19, 18, 21, 25, 1009, 16, 25, 20, 1028, 21, 1028, 26]);
    assert_eq!(types[0].length, 4);
}

#[test]
fn the_version_is_one_that_clients_read() {
    let settings: std::collections::BTreeMap<_, _> = DEFAULT_SETTINGS.into_iter().collect();
    assert_eq!(settings["server_version"], SERVER_VERSION);
    assert_eq!(settings["server_version_num"], SERVER_VERSION_NUM);
    let (version, _) = SERVER_VERSION.split_once(" (Herald ").expect("a version");
    let numbers: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
    assert_eq!(SERVER_VERSION_NUM, (numbers[0] * 10_000 + numbers[1]).to_string());
    let catalogue = catalogue();
    let statement = Recorded::of("SELECT version()");
    let answer = runtime().block_on(answer(&catalogue, &context(&catalogue), &statement)).expect("an answer");
    assert!(shown(answer).contains(&format!("| PostgreSQL {SERVER_VERSION} |")));
}

#[test]
fn set_config_tells_the_session() {
    let catalogue = catalogue();
    let context = context(&catalogue);
    let statement =
        Recorded::of("SELECT current_setting('jit') AS cur, set_config('jit', 'on', true) AS new");
    runtime().block_on(answer(&catalogue, &context, &statement)).expect("an answer");
    let change = SettingChange { name: "jit".to_owned(), value: "on".to_owned(), is_local: true };
    assert_eq!(catalogue.take_changes(), [change]);
    assert!(catalogue.take_changes().is_empty());
}

#[test]
fn mistakes_are_told_in_the_words_of_postgresql() {
    let catalogue = catalogue();
    let context = context(&catalogue);
    for (sql, expected) in [
        ("SELECT 'nope'::regclass", "relation \"nope\" does not exist"),
        ("SELECT 'nope'::regtype", "type \"nope\" does not exist"),
        ("SELECT current_setting('nope')", "unrecognized configuration parameter \"nope\""),
        ("SELECT oid INTO t FROM pg_class", "DDL not supported"),
    ] {
        let answered = runtime().block_on(answer(&catalogue, &context, &Recorded::of(sql)));
        let error = answered.expect_err("a mistake");
        assert!(format!("{error:#}").contains(expected), "{error:#}");
    }
}
