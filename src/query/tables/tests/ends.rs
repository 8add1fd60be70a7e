//! Tests of the end of scans: limits, and receivers that are gone.

use super::*;

/// A view with one row, many times over: its scan goes on as long as somebody receives.
pub(super) fn one_row(copies: i64) -> Result<View> {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
    let column: ArrayRef = Arc::new(Int64Array::from(vec![7]));
    let rows = RowCodec::of(&schema)?.encode(&[column])?;
    let mut counts = Counts { table_id: VIEW, ..Counts::default() };
    counts.rows.push(&stored_key(rows.get(0)));
    counts.diffs.push(copies);
    View::create(&schema, None, Commit { counts: vec![counts], ..Commit::default() })
}

#[test]
fn copies_of_a_row_are_limited_and_counted_without_their_columns() -> Result<()> {
    let view = one_row(20_000)?;
    let csv = |sql: &str| format::answer_text(&view.ask(sql)?, OutputFormat::Csv);
    assert_eq!(csv("SELECT count(*) AS c FROM v")?, "c\n20000\n");
    assert_eq!(csv("SELECT count(*) AS c FROM v WHERE n = 7")?, "c\n20000\n");
    assert_eq!(csv("SELECT n FROM v LIMIT 2")?, "n\n7\n7\n");
    assert_eq!(csv("SELECT n FROM v LIMIT 0")?, "n\n");
    assert_eq!(view.measured("SELECT n FROM v LIMIT 2", "output_rows")?, 2);
    Ok(())
}

#[test]
fn a_scan_ends_when_nobody_receives() -> Result<()> {
    let view = one_row(1_000_000)?;
    let (snapshot, count) = (view.reader.snapshot(), Count::new());
    let server = &ScanServer::new(&snapshot);
    let (scans, requests) = crossbeam_channel::unbounded();
    // The scope waits for the scan: it would wait for ever if the scan went on.
    std::thread::scope(|scope| {
        scope.spawn(move || server.serve(scope, requests));
        let (sender, mut receiver) = tokio::sync::mpsc::channel(BATCHES_AHEAD);
        assert!(scans.send(EpochRequest::Rows(view.request(Bounds::All, &count, sender))).is_ok());
        drop(scans);
        let first = receiver.blocking_recv();
        assert!(first.is_some_and(|batch| batch.is_ok_and(|batch| batch.num_rows() == BATCH_ROWS)));
    });
    // The one received, those in the channel, and the one that could not be sent.
    assert!(count.value() <= (BATCHES_AHEAD + 3) * BATCH_ROWS, "{} rows", count.value());
    assert!(server.take_failure().is_none());
    Ok(())
}

#[test]
fn scans_at_a_time_are_bounded() -> Result<()> {
    let view = one_row(1_000_000)?;
    let (snapshot, count) = (view.reader.snapshot(), Count::new());
    let server = &ScanServer::new(&snapshot);
    let (scans, requests) = crossbeam_channel::unbounded();
    std::thread::scope(|scope| {
        scope.spawn(move || server.serve(scope, requests));
        let mut receivers = Vec::new();
        for _ in 0..=MAX_SCANS {
            let (sender, receiver) = tokio::sync::mpsc::channel(BATCHES_AHEAD);
            assert!(scans.send(EpochRequest::Rows(view.request(Bounds::All, &count, sender))).is_ok());
            receivers.push(receiver);
        }
        drop(scans);
        let refused = receivers.pop().and_then(|mut receiver| receiver.blocking_recv());
        assert!(refused.is_some_and(|batch| batch.is_err()));
    });
    let failure = server.take_failure().context("the scan was refused")?;
    assert_eq!(code(&failure), 2);
    assert!(failure.to_string().contains("more than 64 places"), "{failure}");
    Ok(())
}
