//! Tests of the bounds of a query.

use super::*;

#[test]
fn an_answer_has_no_more_rows_than_are_allowed() -> Result<()> {
    let (_dir, store) = state()?;
    let most = |rows| Allowance { rows, ..Allowance::in_memory(1 << 28, Duration::from_secs(60)) };
    let asked = |sql, rows| answer_over(&store.snapshot()?, sql, &most(rows));
    for sql in [
        "SELECT * FROM champions",
        "SELECT champion FROM champions ORDER BY games",
        "SHOW TABLES",
        "EXPLAIN VERBOSE SELECT champion FROM champions",
    ] {
        let held = asked(sql, 100)?.batches.iter().map(RecordBatch::num_rows).sum::<usize>() as u64;
        assert!(asked(sql, held).is_ok(), "{sql}");
        let error = asked(sql, held - 1).err().context("too many rows")?;
        assert_eq!(error.to_string(), format!("the answer has more than {} rows", held - 1));
        assert_eq!(code(&error), 2);
    }
    Ok(())
}

/// Rows sorted beyond the memory go to the disk, as far as they may; a bound keeps its own words on the way to who asks.
#[test]
fn a_query_that_sorts_too_much_writes_files_within_their_bound() -> Result<()> {
    let (dir, store) = state()?;
    let sql = "SELECT x * 1000 + y AS n, repeat('x', 40) AS t \
               FROM generate_series(1, 1000) AS a(x), generate_series(1, 1000) AS b(y) \
               ORDER BY n % 997, n DESC, t";
    let spill = |bytes| Some(Spill { dir: dir.path().to_owned(), bytes });
    let asked = |spill| {
        let time = Duration::from_secs(60);
        answer_over(&store.snapshot()?, sql, &Allowance { memory: 32 << 20, time, rows: 1_000_000, spill })
    };
    for (spill, told) in [
        (None, "the query needs more memory than it may take"),
        (spill(1 << 20), "the query needs more temporary files than the 1 MiB it may write"),
    ] {
        let error = asked(spill).err().context("it fails")?;
        assert_eq!(error.to_string(), told);
        let relayed = crate::exit::RelayedFailure::of(&error).into_error();
        assert_eq!(crate::exit::sentences(&relayed), crate::exit::sentences(&error));
        assert!(relayed.is::<Stopped>());
    }
    let rows: usize = asked(spill(1 << 30))?.batches.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(rows, 1_000_000);
    Ok(())
}
