//! Tests of scans by an index of a view.

use super::*;

#[test]
fn an_index_is_read_where_conditions_bound_it_more_tightly() -> Result<()> {
    let view = hours()?.indexed(&[vec![2], vec![1]])?;
    for (filter, parts, remains) in [
        ("n = 3", ["index=i0, key=(n = 3)", "ranges=1\n"], false),
        ("n = 3 OR n = 4", ["index=i0, key=(", "ranges=2\n"], false),
        ("n BETWEEN 3 AND 5", ["index=i0, key=(", "ranges=1\n"], false),
        ("hour IN (1, 2, 2)", ["index=i1, key=(", "ranges=2\n"], false),
        ("hour > 97", ["index=i1, key=(hour > 97)", "ranges=1\n"], false),
        // Behind its own columns an index has those of the key.
        ("platform = 'KR' AND n = 3", ["index=i0, key=(n = 3, platform = 'KR')", "ranges=1\n"], false),
        ("n = 3 AND platform > 'EUW1'", ["index=i0, key=(n = 3, platform > 'EUW1')", "ranges=1\n"], false),
        ("hour = 3 AND platform <> 'KR'", ["index=i1, key=(hour = 3)", "ranges=1\n"], true),
        // The first of two that are bounded alike; an index goes before key groups.
        ("n = 4 AND hour = 5", ["index=i0, key=(n = 4)", "ranges=1\n"], true),
        ("platform = 'KR' AND n > 3", ["], key=(platform = 'KR')", "groups=4096\n"], true),
        ("hour < 5 AND platform > 'KR'", ["index=i1, key=(hour < 5)", "ranges=1\n"], true),
        ("lower(platform) = 'kr' AND n = 3", ["index=i0, key=(n = 3)", "ranges=1\n"], true),
        ("platform = 'KR'", ["], key=(platform = 'KR')", "groups=4096\n"], false),
        (
            "platform = 'KR' AND hour = 3 AND n = 3",
            ["], key=(platform = 'KR', hour = 3)", "points=1, "],
            true,
        ),
        ("n = 1 OR hour = 3", ["ViewScan", "columns=[platform, hour, n]\n"], true),
        ("n IS NULL", ["ViewScan", "columns=[platform, hour, n]\n"], true),
    ] {
        let plan = view.plan_of(&format!("EXPLAIN SELECT * FROM v WHERE {filter}"))?;
        assert!(parts.iter().all(|part| plan.contains(part)), "{filter}: {plan}");
        assert_eq!(plan.contains("FilterExec"), remains, "{filter}: {plan}");
    }
    for (filter, entries, seeks) in [
        ("n = 3", 3, 1),
        ("n = 3 AND platform = 'KR'", 1, 1),
        ("hour >= 10 AND hour < 12", 6, 1),
        ("hour IN (3, 4, 500)", 6, 3),
        ("hour = 3 LIMIT 2", 2, 1),
    ] {
        let sql = format!("SELECT n FROM v WHERE {filter}");
        let read = (view.measured(&sql, "entries_read")?, view.measured(&sql, "seeks")?);
        assert_eq!(read, (entries, seeks), "{filter}");
    }
    // The query engine's own planner offers conditions in parts, and is left to the key.
    let verbose = view.plan_of("EXPLAIN VERBOSE SELECT n FROM v WHERE platform = 'KR' AND n = 3")?;
    assert!(verbose.contains("ViewScan") && !verbose.contains("index="), "{verbose}");
    Ok(())
}

/// PostgreSQL's catalogue lists the indexes of a view beside its key.
#[test]
fn indexes_are_listed_as_in_postgresql() -> Result<()> {
    let view = hours()?.indexed(&[vec![2], vec![1, 0]])?;
    let sql = "SELECT c.relname, i.indisprimary AS key, pg_get_indexdef(i.indexrelid) AS def \
               FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = 'v'::regclass ORDER BY 1";
    assert_eq!(
        format::answer_text(&view.ask(sql)?, OutputFormat::Csv)?,
        "relname,key,def\n\
         i0,false,CREATE INDEX i0 ON public.v USING btree (n)\n\
         i1,false,\"CREATE INDEX i1 ON public.v USING btree (hour, platform)\"\n\
         v_pkey,true,\"CREATE UNIQUE INDEX v_pkey ON public.v USING btree (platform, hour)\"\n"
    );
    Ok(())
}

/// Of a column that an index and the key have both, only a single value is in one place twice.
#[test]
fn a_column_of_the_index_may_come_again_in_the_key() -> Result<()> {
    let view = hours()?.indexed(&[vec![0]])?;
    for (filter, part, remains, entries) in [
        ("platform = 'KR' AND hour < 5", "index=i0, key=(platform = 'KR', hour < 5), ranges=1\n", false, 5),
        ("platform IN ('KR', 'NA1') AND hour < 5", "ranges=2\n", true, 200),
    ] {
        let sql = format!("SELECT n FROM v WHERE {filter}");
        let plan = view.plan_of(&format!("EXPLAIN {sql}"))?;
        assert!(plan.contains(part) && plan.contains("index=i0"), "{filter}: {plan}");
        assert_eq!(plan.contains("FilterExec"), remains, "{filter}: {plan}");
        assert_eq!(view.measured(&sql, "entries_read")?, entries, "{filter}");
    }
    Ok(())
}

/// A view without a key has the copies of a row in its indexes, too.
#[test]
fn an_index_of_a_view_without_a_key_counts_copies() -> Result<()> {
    let schema = Schema::new(vec![
        Field::new("platform", DataType::Utf8, true),
        Field::new("n", DataType::Int64, true),
    ]);
    let platforms: ArrayRef = Arc::new(StringArray::from(vec![Some("KR"), Some("KR"), None, Some("NA1")]));
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![7, 7, 7, 8]));
    let rows = RecordBatch::try_new(Arc::new(schema), vec![platforms, numbers])?;
    let view = View::counted(&rows)?.0.indexed(&[vec![1]])?;
    let sql = "SELECT platform, n FROM v WHERE n = 7";
    assert!(view.plan_of(&format!("EXPLAIN {sql}"))?.contains("index=i0, key=(n = 7), ranges=1\n"));
    assert_eq!(outcome(view.ask(sql)), Ok([",7", "KR,7", "KR,7", "platform,n"].map(str::to_owned).to_vec()));
    assert_eq!((view.measured(sql, "entries_read")?, view.measured(sql, "output_rows")?), (2, 3));
    Ok(())
}

#[test]
fn indexes_are_listed_with_their_columns() -> Result<()> {
    let view = hours()?;
    let sql = "SELECT view, name, columns, estimated_rows > 200 AS counted, estimated_bytes > 0 AS sized \
               FROM herald.indexes ORDER BY 2";
    let json = |view: &View| format::answer_text(&view.ask(sql)?, OutputFormat::Json);
    assert_eq!(json(&view)?, "[]\n");
    let view = view.indexed(&[vec![2], vec![1, 0]])?;
    let first = r#"{"view":"v","name":"i0","columns":["n"],"counted":true,"sized":true}"#;
    let second = r#"{"view":"v","name":"i1","columns":["hour","platform"],"counted":true,"sized":true}"#;
    assert_eq!(json(&view)?, format!("[\n{first},\n{second}\n]\n"));
    Ok(())
}

/// `v(n, team, player, note)` with 20,000 rows, keyed by `n`, and with indexes by team and by player: two teams, and a
/// player for each ten rows.
fn players() -> Result<View> {
    let (mut teams, mut players, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..20_000_u64 {
        teams.push(format!("t{}", n % 2));
        players.push(n as i64 / 10);
        // Nothing that compresses well.
        notes.push((0..8).map(|part| format!("{:x}", (n * 8 + part) * 2_654_435_761)).collect::<String>());
    }
    let schema = Schema::new(vec![
        Field::new("n", DataType::Int64, false),
        Field::new("team", DataType::Utf8, false),
        Field::new("player", DataType::Int64, false),
        Field::new("note", DataType::Utf8, false),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(0..20_000)),
        Arc::new(StringArray::from(teams)),
        Arc::new(Int64Array::from(players)),
        Arc::new(StringArray::from(notes)),
    ];
    let rows = RecordBatch::try_new(Arc::new(schema), columns)?;
    View::keyed(&rows, &[0])?.0.indexed(&[vec![1], vec![2]])
}

#[test]
fn sizes_are_estimated_of_rows_in_files_and_of_rows_that_are_in_none_yet() -> Result<()> {
    let near =
        "estimated_rows BETWEEN 16000 AND 24000 AND estimated_bytes / estimated_rows BETWEEN 10 AND 200";
    let sql = format!(
        "SELECT name FROM (SELECT name, estimated_rows, estimated_bytes FROM herald.indexes UNION ALL \
         SELECT kind, estimated_rows, estimated_bytes FROM herald.arrangements) AS s WHERE {near} ORDER BY 1"
    );
    let mut view = players()?;
    let all = ["i0", "i1", "index", "index", "name", "view"].map(str::to_owned).to_vec();
    assert_eq!(outcome(view.ask(&sql)), Ok(all.clone()), "in memory");
    view.store.flush()?;
    view.reader.refresh()?;
    assert_eq!(outcome(view.ask(&sql)), Ok(all), "in files");
    Ok(())
}

/// Of ways that conditions bound alike the one with the fewest bytes is taken, and never one that leaves a condition out
/// which it was to stand for.
#[test]
fn of_ways_that_are_bounded_alike_the_one_with_the_fewest_bytes_is_read() -> Result<()> {
    let mut view = players()?;
    // Files tell what a range of them holds.
    view.store.flush()?;
    view.reader.refresh()?;
    for (filter, part, entries) in [
        ("team = 't1' AND player = 77", "index=i1, key=(player = 77)", 10),
        ("player = 77 AND team = 't1'", "index=i1, key=(player = 77)", 10),
        ("team IN ('t0', 't1') AND player IN (7, 8)", "index=i1, key=(", 20),
        ("team > 't0' AND player < 2", "index=i1, key=(player < 2)", 20),
        // The whole key goes before fewer bytes, and so does a column with a given value.
        ("team = 't1' AND n = 9 AND player = 0", "key=(n = 9), points=1", 1),
        ("team = 't1' AND n < 20 AND player < 1", "index=i0, key=(team = 't1', n < 20)", 10),
    ] {
        let sql = format!("SELECT n FROM v WHERE {filter}");
        let plan = view.plan_of(&format!("EXPLAIN {sql}"))?;
        assert!(plan.contains(part), "{filter}: {plan}");
        assert_eq!(view.measured(&sql, "entries_read")?, entries, "{filter}");
    }
    Ok(())
}
