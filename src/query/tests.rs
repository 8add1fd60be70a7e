//! Tests of queries over a state written by hand: views, system tables and mistakes.

mod bounds;
mod epochs;

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use connectors::DeadLetter;
use connectors::dead_letter::KeptHeaders;
use schemas::{Blobs, Outcome, RowCodec, Rows, schema_to_json, timestamptz};
use state::{
    Catalogue, CatalogueEntry, Commit, Counts, EarlierPhase, EntryFacts, Measured, OutboxChunk,
    PartitionProgress, Progress, SourceProgress, StateTableKind, StoreOptions, TimedPhase, ViewProgress,
    Writes,
};

use super::process::remote::lend_to_test;
use super::*;
use crate::exit::code;

fn entry(id: u32, name: &str, schema: &Schema, key: Option<Vec<usize>>) -> CatalogueEntry {
    CatalogueEntry {
        id,
        kind: StateTableKind::View,
        name: name.to_owned(),
        fingerprint: "f".to_owned(),
        schema: Some(schema_to_json(schema)),
        key,
        retention: None,
        index: None,
        facts: EntryFacts { definition: Some(format!("SELECT * FROM {name}s")), ..EntryFacts::default() },
    }
}

fn keyed_schema() -> Schema {
    Schema::new(vec![
        Field::new("champion", DataType::Utf8, false),
        Field::new("games", DataType::Int64, false),
        Field::new("win_rate", DataType::Float64, true),
        Field::new("gold", DataType::Decimal128(10, 2), true),
        Field::new("seen", timestamptz(), true),
    ])
}

fn grouped(key: &[u8]) -> Vec<u8> {
    schemas::stored_key(key)
}

/// `champions(champion, games, win_rate, gold, seen)` with two rows, keyed.
fn keyed_writes() -> Result<Writes> {
    let micros = arrow::array::TimestampMicrosecondArray::from(vec![Some(1_500_000), None]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec!["Ahri", "Zed, the \"shadow\""])),
        Arc::new(Int64Array::from(vec![3, 5])),
        Arc::new(Float64Array::from(vec![Some(0.5), None])),
        Arc::new(Decimal128Array::from(vec![Some(1250), None]).with_precision_and_scale(10, 2)?),
        Arc::new(micros.with_timezone("UTC")),
    ];
    let rows = RowCodec::of(&keyed_schema())?.encode(&columns)?;
    let keys = RowCodec::new(&[DataType::Utf8])?.encode(&columns[..1])?;
    let (mut stored, mut values) = (Rows::new(), Blobs::default());
    for (key, row) in keys.iter().zip(rows.iter()) {
        stored.push(&grouped(key));
        values.push(Some(row));
    }
    Ok(Writes { table_id: 1, keys: stored, values })
}

/// `flags(on)` with true once and false three times, unkeyed.
fn counted_rows(schema: &Schema) -> Result<Counts> {
    let column: ArrayRef = Arc::new(BooleanArray::from(vec![true, false]));
    let mut rows = Rows::new();
    for row in RowCodec::of(schema)?.encode(&[column])?.iter() {
        rows.push(&grouped(row));
    }
    Ok(Counts { table_id: 2, rows, diffs: vec![1, 3] })
}

/// A row of the error table, once.
fn failed_row(schema: &Schema) -> Result<Counts> {
    let mut columns: Vec<ArrayRef> = Vec::new();
    for text in ["flags", "12 / CAST(n@1 AS Int64)", "Arrow error: Divide by zero error", "n=0"] {
        columns.push(Arc::new(StringArray::from(vec![text])));
    }
    let mut rows = Rows::new();
    rows.push(&grouped(RowCodec::of(schema)?.encode(&columns)?.get(0)));
    Ok(Counts { table_id: 3, rows, diffs: vec![1] })
}

fn dead_letter() -> DeadLetter {
    DeadLetter {
        topic: "in".to_owned(),
        partition: 2,
        offset: 7,
        timestamp: Some(1000),
        source: "s".to_owned(),
        outcome: Outcome::Decode,
        constraint: None,
        message: "field \"n\": not a number".to_owned(),
        schema_id: None,
        key: None,
        value: Some(b"{".to_vec()),
        headers: KeptHeaders {
            list: vec![
                ("trace".to_owned(), Some(b"7".to_vec())),
                ("sum".to_owned(), Some(vec![255])),
                ("none".to_owned(), None),
            ],
            left_out: 2,
        },
    }
}

/// A state at epoch 4, with its directory.
fn state() -> Result<(tempfile::TempDir, Store)> {
    let dir = tempfile::tempdir()?;
    let options = StoreOptions { create: true, ..StoreOptions::default() };
    let store = Store::open(&dir.path().join("state"), &options)?;
    let flags = Schema::new(vec![Field::new("on", DataType::Boolean, false)]);
    let errors = dataflows::runtime::state_tables::error_columns();
    store.put_catalogue(&Catalogue {
        topology: "t".to_owned(),
        entries: vec![
            entry(1, "champions", &keyed_schema(), Some(vec![0])),
            entry(2, "flags", &flags, None),
            entry(3, "herald.errors", &errors, None),
            of_kind(StateTableKind::Sink, 4, "source clicks", facts(Some("kafka"), None, None)),
            of_kind(StateTableKind::Sink, 5, "champions_out", facts(Some("file"), Some("champions"), None)),
            of_kind(StateTableKind::Sink, 6, "flags_out", facts(Some("kafka"), Some("flags"), None)),
            of_kind(
                StateTableKind::Arrangement,
                7,
                "champions/3/groups",
                facts(None, None, Some("Aggregate")),
            ),
        ],
        ..Catalogue::default()
    })?;
    let view =
        ViewProgress { epoch: 4, commit_ms: 2_000, watermark_us: Some(i64::MAX), final_us: Some(1_500_000) };
    let earlier = vec![EarlierPhase { phase: TimedPhase::Commit, first: 3, last: 3, us: 70 }];
    let measured = Measured { input_rows: 9, output_rows: 2, decode_us: 1_500, step_us: 2_250, earlier };
    store.commit(Commit {
        epoch: 4,
        commit_ms: 2_000,
        writes: vec![keyed_writes()?],
        counts: vec![counted_rows(&flags)?, failed_row(&errors)?],
        changes: vec![],
        progress: Progress {
            views: [("champions".to_owned(), view)].into(),
            sources: [("clicks".to_owned(), clicks())].into(),
            ..Progress::default()
        },
        outbox: vec![OutboxChunk { cluster: 1, part: 0, bytes: b"out".to_vec() }],
        dead_letters: vec![dead_letter().to_bytes()],
        bounded: None,
        measured: Some(measured),
        edited: None,
        erasures: Default::default(),
        erase_paths: Default::default(),
        replaced_dead_letters: Default::default(),
    })?;
    Ok((dir, store))
}

/// Facts of an entry: its connector, the relation that it sends, its operator.
fn facts(connector: Option<&str>, shows: Option<&str>, operator: Option<&str>) -> EntryFacts {
    let [connector, shows, operator] = [connector, shows, operator].map(|fact| fact.map(str::to_owned));
    EntryFacts { connector, shows, operator, ..EntryFacts::default() }
}

/// An entry without columns.
fn of_kind(kind: StateTableKind, id: u32, name: &str, facts: EntryFacts) -> CatalogueEntry {
    CatalogueEntry { kind, schema: None, facts, ..entry(id, name, &Schema::empty(), None) }
}

/// The progress of a source with two partitions, one of which has brought nothing.
fn clicks() -> SourceProgress {
    let first = PartitionProgress {
        next_offset: 8,
        last_ms: Some(1_000),
        max_event_us: Some(1_600_000),
        ..PartitionProgress::default()
    };
    SourceProgress {
        partitions: [(0, first), (1, PartitionProgress::default())].into(),
        watermark_us: Some(1_500_000),
        outcomes: [4, 1, 1, 1, 1, 1, 0],
        read: 9,
        ..SourceProgress::default()
    }
}

/// The answer to a query of the state.
pub(super) fn ask(sql: &str, wanted: OutputFormat) -> Result<String> {
    // The store stays open, as in a running process.
    let (dir, store) = state()?;
    let answer = answer_here(&OpenedState::open(&dir.path().join("state"))?.reader.snapshot(), sql);
    let lent = answer_here(&lend_to_test(&Arc::new(store))?.hold_epoch()?, sql);
    let texts = [answer, lent].map(|answer| format::answer_text(&answer?, wanted));
    let [text, lent] = texts;
    let told = |text: &Result<String>| match text {
        Ok(text) => text.clone(),
        Err(error) => format!("{error:#}"),
    };
    assert_eq!(told(&text), told(&lent), "{sql}");
    text
}

#[test]
fn jsonb_is_json_with_all_of_its_digits() -> Result<()> {
    let sql = r#"SELECT CAST('{"b": 1.10, "a": [12345678901234567890123, "x"]}' AS JSONB) AS j, CAST('"x"' AS JSONB) AS t"#;
    let json = r#"{"j":{"a": [12345678901234567890123, "x"], "b": 1.10},"t":"x"}"#;
    assert_eq!(ask(sql, OutputFormat::Json)?, format!("[\n{json}\n]\n"));
    let csv = r#""{""a"": [12345678901234567890123, ""x""], ""b"": 1.10}","""x""""#;
    assert_eq!(ask(sql, OutputFormat::Csv)?, format!("j,t\n{csv}\n"));
    Ok(())
}

#[test]
fn a_keyed_view_is_its_rows() -> Result<()> {
    let json = ask("SELECT * FROM champions ORDER BY games", OutputFormat::Json)?;
    assert_eq!(
        json,
        concat!(
            "[\n",
            r#"{"champion":"Ahri","games":3,"win_rate":0.5,"gold":"12.50","seen":"1970-01-01T00:00:01.500000Z"},"#,
            "\n",
            r#"{"champion":"Zed, the \"shadow\"","games":5,"win_rate":null,"gold":null,"seen":null}"#,
            "\n]\n"
        )
    );
    let csv = ask("SELECT champion, games, gold FROM champions ORDER BY games", OutputFormat::Csv)?;
    assert_eq!(csv, "champion,games,gold\nAhri,3,12.50\n\"Zed, the \"\"shadow\"\"\",5,\n");
    Ok(())
}

#[test]
fn an_unkeyed_view_repeats_rows_as_often_as_they_occur() -> Result<()> {
    let csv = ask("SELECT \"on\", count(*) AS n FROM flags GROUP BY 1 ORDER BY 1", OutputFormat::Csv)?;
    assert_eq!(csv, "on,n\nfalse,3\ntrue,1\n");
    Ok(())
}

#[test]
fn a_table_tells_its_epoch() -> Result<()> {
    let table = ask("SELECT champion FROM champions WHERE games = 3", OutputFormat::Table)?;
    assert!(table.ends_with("| Ahri     |\n+----------+\n1 row at epoch 4\n"), "{table}");
    let none = ask("SELECT champion FROM champions WHERE games = 4", OutputFormat::Table)?;
    assert!(none.ends_with("0 rows at epoch 4\n"), "{none}");
    Ok(())
}

#[test]
fn nested_values_and_engine_types_are_json() -> Result<()> {
    let sql = "SELECT row_number() OVER (ORDER BY games) AS n, array_agg(games) OVER () AS all_games, \
               named_struct('a', 1, 'b', 'x') AS s, 'NaN'::double AS d FROM champions ORDER BY n LIMIT 1";
    let json = ask(sql, OutputFormat::Json)?;
    assert_eq!(json, "[\n{\"n\":1,\"all_games\":[3,5],\"s\":{\"a\":1,\"b\":\"x\"},\"d\":\"NaN\"}\n]\n");
    Ok(())
}

#[test]
fn a_view_has_the_definition_that_the_state_keeps() -> Result<()> {
    let sql = "SELECT definition FROM pg_matviews WHERE matviewname = 'champions'";
    assert_eq!(ask(sql, OutputFormat::Csv)?, "definition\nSELECT * FROM championss;\n");
    Ok(())
}

#[test]
fn system_tables_are_tables() -> Result<()> {
    let sql = "SELECT view, epoch, committed_at, watermark, final_until, key, estimated_rows, \
               estimated_bytes > 0 AS has_bytes, is_whole FROM herald.views";
    let views = ask(sql, OutputFormat::Csv)?;
    assert_eq!(
        views,
        "view,epoch,committed_at,watermark,final_until,key,estimated_rows,has_bytes,is_whole\n\
         champions,4,1970-01-01T00:00:02.000000Z,9999-12-31T23:59:59.999999Z,1970-01-01T00:00:01.500000Z,\
         \"[\"\"champion\"\"]\",2,true,true\n"
    );
    let dead_letters =
        ask("SELECT source, outcome, \"offset\", message, value FROM herald.dead_letter", OutputFormat::Csv)?;
    assert_eq!(
        dead_letters,
        "source,outcome,offset,message,value\ns,decode,7,\"field \"\"n\"\": not a number\",ew==\n"
    );
    assert_eq!(
        ask("SELECT headers, headers_cut AS n FROM herald.dead_letter", OutputFormat::Json)?,
        "[\n{\"headers\":[{\"name\":\"trace\",\"value\":\"7\",\"bytes\":null},\
         {\"name\":\"sum\",\"value\":null,\"bytes\":\"/w==\"},\
         {\"name\":\"none\",\"value\":null,\"bytes\":null}],\"n\":2}\n]\n"
    );
    assert_eq!(ask("SELECT count(*) AS n FROM herald.errors", OutputFormat::Csv)?, "n\n1\n");
    Ok(())
}

#[test]
fn what_failed_is_shown_and_asked_for_as_sql() -> Result<()> {
    let shown = "expression,message,row\n12 / CAST(n AS BIGINT),division by zero,n=0\n";
    for condition in [
        "true",
        "view = 'flags'",
        "view = 'flags' AND expression = '12 / CAST(n AS BIGINT)' AND message = 'division by zero' AND \"row\" = 'n=0'",
        "view = 'flags' AND expression > '12' AND message LIKE 'division%'",
    ] {
        let sql = format!("SELECT expression, message, \"row\" FROM herald.errors WHERE {condition}");
        assert_eq!(ask(&sql, OutputFormat::Csv)?, shown, "{condition}");
    }
    let stored =
        "SELECT view FROM herald.errors WHERE view = 'flags' AND expression = '12 / CAST(n@1 AS Int64)'";
    assert_eq!(ask(stored, OutputFormat::Csv)?, "view\n");
    Ok(())
}

#[test]
fn system_tables_tell_the_progress_and_the_sizes() -> Result<()> {
    let sources = "SELECT name, connector, \"partition\", next_offset, last_record_at, max_event_time, watermark, has_ended, \
                   read, accepted, duplicate, superseded, \"constraint\", decode, late FROM herald.sources ORDER BY 3";
    assert_eq!(
        ask(sources, OutputFormat::Csv)?,
        "name,connector,partition,next_offset,last_record_at,max_event_time,watermark,has_ended,\
         read,accepted,duplicate,superseded,constraint,decode,late\n\
         clicks,kafka,0,8,1970-01-01T00:00:01.000000Z,1970-01-01T00:00:01.600000Z,1970-01-01T00:00:01.500000Z,false,\
         9,4,1,1,1,1,1\n\
         clicks,kafka,1,0,,,1970-01-01T00:00:01.500000Z,false,9,4,1,1,1,1,1\n"
    );
    assert_eq!(
        ask("SELECT * FROM herald.sinks ORDER BY name", OutputFormat::Csv)?,
        "name,view,connector,published_epoch\nchampions_out,champions,file,3\nflags_out,flags,kafka,4\n"
    );
    assert_eq!(
        ask(
            "SELECT name, kind, operator, estimated_rows FROM herald.arrangements ORDER BY 1",
            OutputFormat::Csv
        )?,
        "name,kind,operator,estimated_rows\nchampions,view,,2\nchampions/3/groups,arrangement,Aggregate,0\n\
         flags,view,,2\nherald.errors,view,,1\n"
    );
    Ok(())
}

#[test]
fn the_history_has_times_that_became_known_later() -> Result<()> {
    let (_dir, store) = state()?;
    let times = |phase, us| EarlierPhase { phase, first: 4, last: 5, us };
    let earlier = vec![times(TimedPhase::Commit, 3_000), times(TimedPhase::Publish, 12_500)];
    let measured = Some(Measured { input_rows: 1, earlier, ..Measured::default() });
    let progress = store.meta().progress;
    store.commit(Commit { epoch: 6, commit_ms: 4_000, progress, measured, ..Commit::default() })?;
    let answer = answer_here(&store.snapshot()?, "SELECT * FROM herald.epochs")?;
    assert_eq!(
        format::answer_text(&answer, OutputFormat::Csv)?,
        "epoch,committed_at,input_rows,output_rows,decode_ms,step_ms,commit_ms,publish_ms\n\
         4,1970-01-01T00:00:02.000000Z,9,2,1.5,2.25,3.0,12.5\n\
         6,1970-01-01T00:00:04.000000Z,1,0,0.0,0.0,,\n"
    );
    Ok(())
}

#[test]
fn a_query_asks_which_windows_are_final() -> Result<()> {
    let sql = "SELECT champion, is_final(seen) AS f FROM champions ORDER BY games";
    assert_eq!(ask(sql, OutputFormat::Csv)?, "champion,f\nAhri,true\n\"Zed, the \"\"shadow\"\"\",\n");
    // The least end counts, and flags has none.
    let both = "SELECT count(*) AS n FROM champions, flags WHERE is_final(seen)";
    assert_eq!(ask(both, OutputFormat::Csv)?, "n\n0\n");
    Ok(())
}

#[test]
fn tables_that_are_not_read_are_known() -> Result<()> {
    let shown = ask(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1",
        OutputFormat::Csv,
    )?;
    assert_eq!(shown, "table_name\nchampions\nflags\n");
    Ok(())
}

#[test]
fn names_and_types_are_those_of_sql() -> Result<()> {
    assert_eq!(
        ask("DESCRIBE champions", OutputFormat::Csv)?,
        "column_name,data_type,is_nullable\nchampion,VARCHAR,NO\ngames,BIGINT,NO\nwin_rate,DOUBLE,YES\n\
         gold,\"DECIMAL(10, 2)\",YES\nseen,TIMESTAMPTZ,YES\n"
    );
    assert_eq!(
        ask("SHOW TABLES", OutputFormat::Csv)?,
        "table_catalog,table_schema,table_name,table_type\n\
         herald,public,champions,MATERIALIZED VIEW\nherald,public,flags,MATERIALIZED VIEW\n\
         herald,herald,arrangements,SYSTEM TABLE\nherald,herald,dead_letter,SYSTEM TABLE\n\
         herald,herald,epochs,SYSTEM TABLE\nherald,herald,erasures,SYSTEM TABLE\n\
         herald,herald,errors,SYSTEM TABLE\nherald,herald,indexes,SYSTEM TABLE\n\
         herald,herald,sessions,SYSTEM TABLE\nherald,herald,sinks,SYSTEM TABLE\n\
         herald,herald,sources,SYSTEM TABLE\nherald,herald,views,SYSTEM TABLE\n"
    );
    assert_eq!(
        ask("SHOW COLUMNS FROM flags", OutputFormat::Csv)?,
        "column_name,data_type,is_nullable\non,BOOLEAN,NO\n"
    );
    let columns = "SELECT ordinal_position AS n, column_name, data_type FROM information_schema.columns \
                   WHERE table_schema = 'herald' AND table_name = 'views' ORDER BY ordinal_position LIMIT 2";
    assert_eq!(ask(columns, OutputFormat::Csv)?, "n,column_name,data_type\n1,view,text\n2,epoch,bigint\n");
    let plan = ask("EXPLAIN SELECT champion FROM champions WHERE games > 3", OutputFormat::Json)?;
    assert!(plan.contains("BIGINT(3)") && !plan.contains("Int64"), "{plan}");
    Ok(())
}

/// PostgreSQL's own tables list the views, and are read as they are there, beside views too.
#[test]
fn the_catalogue_of_postgresql_is_asked_like_a_view() -> Result<()> {
    for (sql, shown) in [
        (
            "SELECT relname, relkind, relnatts FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1",
            "relname,relkind,relnatts\nchampions,m,5\nchampions_pkey,i,1\nflags,m,1\n",
        ),
        (
            "SELECT column_name, data_type, numeric_scale FROM information_schema.columns \
             WHERE table_name = 'champions' ORDER BY ordinal_position",
            "column_name,data_type,numeric_scale\nchampion,text,\ngames,bigint,0\nwin_rate,double precision,\n\
             gold,numeric,2\nseen,timestamp with time zone,\n",
        ),
        (
            "SELECT table_schema, table_type FROM information_schema.tables WHERE table_name = 'views' ORDER BY 1",
            "table_schema,table_type\nherald,BASE TABLE\ninformation_schema,VIEW\n",
        ),
        (
            "SELECT current_database(), current_schema AS schema, current_user, version() LIKE 'PostgreSQL 16.%'",
            "current_database,schema,current_user,?column?\nherald,public,herald,true\n",
        ),
        (
            "SELECT i.indexrelid::regclass AS key, v.games FROM champions AS v, pg_catalog.pg_index AS i \
             WHERE i.indrelid = 'champions'::regclass ORDER BY 2",
            "key,games\nchampions_pkey,3\nchampions_pkey,5\n",
        ),
        (
            "DESCRIBE information_schema.information_schema_catalog_name",
            "column_name,data_type,is_nullable\ncatalog_name,VARCHAR,YES\n",
        ),
    ] {
        assert_eq!(ask(sql, OutputFormat::Csv)?, shown, "{sql}");
    }
    let every = ask("SELECT * FROM pg_catalog.pg_class", OutputFormat::Json)?;
    assert!(every.contains("\"relname\":\"flags\"") && every.contains("\"relname\":\"pg_class\""), "{every}");
    let plan = ask("EXPLAIN SELECT count(*) FROM pg_class, flags", OutputFormat::Csv)?;
    assert!(plan.contains("ViewScan: view=flags") && plan.contains("physical_plan"), "{plan}");
    Ok(())
}

#[test]
fn an_expanded_answer_has_a_line_for_each_column() -> Result<()> {
    let sql = "SELECT champion, games, gold FROM champions ORDER BY games";
    assert_eq!(
        ask(sql, OutputFormat::Expanded)?,
        "-[ RECORD 1 ]-\nchampion | Ahri\ngames    | 3\ngold     | 12.50\n\
         -[ RECORD 2 ]-\nchampion | Zed, the \"shadow\"\ngames    | 5\ngold     | NULL\n2 rows at epoch 4\n"
    );
    let lines = "SELECT 'a' || chr(10) || 'b' AS two, true AS t FROM champions WHERE games = 3";
    let lines = ask(lines, OutputFormat::Expanded)?;
    assert_eq!(lines, "-[ RECORD 1 ]-\ntwo | a\n    | b\nt   | true\n1 row at epoch 4\n");
    Ok(())
}

#[test]
fn a_comment_before_a_query_changes_nothing() -> Result<()> {
    let sql = "-- of all\n/* champions */ SELECT {'x': max(games)} AS s FROM champions";
    assert_eq!(ask(sql, OutputFormat::Json)?.replace('\n', ""), "[{\"s\":{\"x\":5}}]");
    Ok(())
}

#[test]
fn what_a_view_may_say_a_question_may_too() -> Result<()> {
    for (sql, answer) in [
        ("SELECT array_filter(array_agg(games), x -> x > 3) AS a FROM champions", "[{\"a\":[5]}]"),
        ("SELECT {'x': max(games)} AS s FROM champions", "[{\"s\":{\"x\":5}}]"),
        ("SELECT u FROM champions, UNNEST(ARRAY[games]) AS u WHERE u = 3", "[{\"u\":3}]"),
        ("SELECT unnest(ARRAY[games]) AS u FROM champions WHERE games = 5", "[{\"u\":5}]"),
        (
            "SELECT q.n FROM champions AS c, LATERAL (SELECT c.games + 1 AS n) AS q WHERE c.games = 3",
            "[{\"n\":4}]",
        ),
    ] {
        assert_eq!(ask(sql, OutputFormat::Json)?.replace('\n', ""), answer, "{sql}");
    }
    Ok(())
}

#[test]
fn mistakes_are_told_as_such() {
    for (sql, told) in [
        (
            "SELECT * FROM champion",
            "there is no view champion\n  did you mean champions? The state has champions, flags, ",
        ),
        ("SELECT * FROM matches", "there is no view matches. The state has champions, flags, "),
        ("SELECT * FROM clicks", "only materialized views are kept"),
        ("SELECT 1 FROM pg_class, champion", "there is no view champion\n  did you mean champions?"),
        ("SELECT nothing FROM pg_class", "No field named nothing"),
        ("SELECT * FROM pg_catalog.nothing", "there is no source, table or view called pg_catalog.nothing"),
        ("SELECT now() FROM champions", "now()"),
        ("SELECT kils FROM champions", "kils"),
        ("SELEC 1", "the query cannot be run"),
        ("DROP TABLE champions", "queries only read"),
        ("delete from clicks", "queries only read"),
        ("INSERT INTO champions VALUES (1)", "queries only read"),
        ("SET a = 1", "the query cannot be run"),
        ("COPY champions TO 'x.csv'", "the query cannot be run"),
        ("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION 'x.csv'", "the query cannot be run"),
        ("SELECT * FROM 'x.csv'", "there is no view x.csv"),
        ("SHOW ALL", "write SHOW TABLES, SHOW COLUMNS FROM view or DESCRIBE view"),
        ("SHOW FUNCTIONS", "write SHOW TABLES, SHOW COLUMNS FROM view or DESCRIBE view"),
        ("DESCRIBE champion", "did you mean champions? The state has champions, flags, "),
        ("SELECT 1 / 0", "the query cannot be run"),
        (
            "SELECT champion, games FROM champions ORDER BY games, 7",
            "query:1:55: ORDER BY 7: the SELECT list has 2 columns\n  write the expression, or its place in",
        ),
        ("SELECT champion FROM champions ORDER BY 2 DESC", "ORDER BY 2: the SELECT list has 1 column\n"),
        (
            "SELECT games FROM champions ORDER BY 0",
            "query:1:38: ORDER BY 0: the SELECT list begins with column 1",
        ),
        ("SELECT sum(9223372036854775807 - games) AS s FROM champions", "bigint out of range"),
        ("SELECT sum(9223372036854775807 - games) OVER () AS s FROM champions", "bigint out of range"),
        ("SELECT sum(DISTINCT 9223372036854775807 - games) AS s FROM champions", "bigint out of range"),
        ("", "the query cannot be run"),
        (
            &format!("SELECT {}1{}", "array_any_match(ARRAY[1], x -> ".repeat(300), ")".repeat(300)),
            "nested too deeply",
        ),
    ] {
        let error = match ask(sql, OutputFormat::Json) {
            Err(error) => error,
            Ok(answer) => panic!("{sql} gave {answer}"),
        };
        assert_eq!(code(&error), 2, "{sql}: {error:#}");
        assert!(error.to_string().contains(told), "{sql}: {error}");
    }
}

#[test]
fn the_only_state_is_found_and_several_are_named() -> Result<()> {
    let dir = tempfile::tempdir()?;
    assert_eq!(code(&only_state(dir.path()).unwrap_err()), 2);
    std::fs::create_dir(dir.path().join("one"))?;
    assert_eq!(only_state(dir.path())?, dir.path().join("one"));
    std::fs::create_dir(dir.path().join("two"))?;
    let error = only_state(dir.path()).unwrap_err().to_string();
    assert!(error.contains("one") && error.contains("two"), "{error}");
    assert_eq!(named_state(dir.path(), "two")?, dir.path().join("two"));
    let error = named_state(dir.path(), "tow").unwrap_err();
    assert_eq!(code(&error), 2);
    assert!(
        error.to_string().ends_with("has no state of this name\n  did you mean two? There are one, two"),
        "{error}"
    );
    Ok(())
}

#[test]
fn the_sources_of_a_topology_are_read_from_its_answer() -> Result<()> {
    assert_eq!(served_sources(r#"{"sources":[{"name":"a","keyed":true},{"name":"b"}]}"#)?, ["a", "b"]);
    assert!(served_sources("{}").is_err());
    Ok(())
}

#[test]
fn the_sources_of_a_state_are_known_before_its_first_commit() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let options = StoreOptions { create: true, ..StoreOptions::default() };
    let store = Store::open(&dir.path().join("state"), &options)?;
    let flags = Schema::new(vec![Field::new("on", DataType::Boolean, false)]);
    let of = |kind, id, name| CatalogueEntry { kind, ..entry(id, name, &flags, None) };
    store.put_catalogue(&Catalogue {
        topology: "t".to_owned(),
        entries: vec![
            of(StateTableKind::Table, 1, "users"),
            of(StateTableKind::Sink, 2, "source clicks"),
            of(StateTableKind::View, 3, "flags"),
            of(StateTableKind::Sink, 4, "flags_out"),
        ],
        ..Catalogue::default()
    })?;
    let queries = OpenedState::open(&dir.path().join("state"))?;
    assert_eq!(stored_sources(&queries.reader.snapshot())?, ["clicks", "users"]);
    Ok(())
}

#[test]
fn a_missing_state_is_a_mistake() {
    let error = OpenedState::open(Path::new("no/such/state")).err().map(|error| code(&error));
    assert_eq!(error, Some(2));
}
