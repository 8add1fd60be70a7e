//! `is_final` in queries: the end of final windows of the views that a query names, and the bounds of a scan
//! that follow from it.

use state::{Progress, ViewProgress};

use super::*;

/// A view of windows that end after each of 300 seconds, with its end of final windows.
fn windows(final_us: Option<i64>) -> Result<View> {
    let ends = (1..=300).map(|second| second * 1_000_000);
    let ends: ArrayRef =
        Arc::new(arrow::array::TimestampMicrosecondArray::from_iter_values(ends).with_timezone("UTC"));
    let games: ArrayRef = Arc::new(Int64Array::from_iter_values(1..=300));
    let rows = RecordBatch::try_from_iter([("window_end", ends), ("n", games)])?;
    let (entry, commit) = View::entry_of(&rows, &[0])?;
    let progress = ViewProgress { epoch: 1, commit_ms: 1, watermark_us: final_us, final_us };
    let progress = Progress { views: [("v".to_owned(), progress)].into(), ..Progress::default() };
    View::stored(entry, rows.schema(), Commit { progress, ..commit })
}

fn csv(view: &View, sql: &str) -> Result<String> {
    format::answer_text(&view.ask(sql)?, OutputFormat::Csv)
}

#[test]
fn windows_are_final_up_to_the_end_that_the_epoch_has() -> Result<()> {
    let view = windows(Some(100_500_000))?;
    assert_eq!(csv(&view, "SELECT count(*) AS c FROM v WHERE is_final(window_end)")?, "c\n100\n");
    assert_eq!(csv(&view, "SELECT count(*) AS c FROM v WHERE NOT is_final(window_end)")?, "c\n200\n");
    let literals = "SELECT is_final(TIMESTAMP '1970-01-01 00:01:40.5') AS a, \
                    is_final('1970-01-01 00:01:40.500001') AS b, is_final(NULL) AS c, is_final(DATE '1970-01-01') AS d FROM v LIMIT 1";
    assert_eq!(csv(&view, literals)?, "a,b,c,d\ntrue,false,,true\n");
    let later = "SELECT n, is_final(window_end + INTERVAL '1 second') AS f FROM v \
                 WHERE n BETWEEN 99 AND 100 ORDER BY n";
    assert_eq!(csv(&view, later)?, "n,f\n99,true\n100,false\n");
    let grouped = "SELECT is_final(max(window_end)) AS f, count(*) AS c FROM v GROUP BY n > 100 ORDER BY 2";
    assert_eq!(csv(&view, grouped)?, "f,c\ntrue,100\nfalse,200\n");
    Ok(())
}

#[test]
fn a_condition_on_final_windows_bounds_the_scan() -> Result<()> {
    let view = windows(Some(100_500_000))?;
    let sql = "SELECT n FROM v WHERE is_final(window_end)";
    let plan = view.plan_of(&format!("EXPLAIN {sql}"))?;
    assert!(plan.contains("key=(window_end <= '1970-01-01T00:01:40.5"), "{plan}");
    assert!(!plan.contains("FilterExec"), "{plan}");
    assert_eq!(view.measured(sql, "entries_read")?, 100);
    Ok(())
}

#[test]
fn without_final_windows_nothing_is_final() -> Result<()> {
    let view = windows(None)?;
    assert_eq!(csv(&view, "SELECT count(*) AS c FROM v WHERE is_final(window_end)")?, "c\n0\n");
    assert_eq!(
        csv(&view, "SELECT is_final(NULL) AS a, is_final('0001-01-01') AS b FROM v LIMIT 1")?,
        "a,b\n,false\n"
    );
    // An ended source's watermark is beyond all time.
    let ended = windows(Some(i64::MAX))?;
    assert_eq!(csv(&ended, "SELECT count(*) AS c FROM v WHERE is_final(window_end)")?, "c\n300\n");
    let error = view.ask("SELECT is_final(committed_at) AS f FROM herald.views").err().context("it fails")?;
    assert_eq!(code(&error), 2);
    assert!(error.to_string().contains("query:1:8: is_final() tells of the windows"), "{error}");
    Ok(())
}
