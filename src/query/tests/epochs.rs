//! Tests of reading a held epoch.

use super::super::tables::{Bounds, KeyRange};
use super::*;

/// Rows that are equal have one rank. The numbers are PostgreSQL's.
#[test]
fn rows_are_numbered_as_postgresql_numbers_them() -> Result<()> {
    let sql = "SELECT x, row_number() OVER (ORDER BY x) AS n, rank() OVER (ORDER BY x) AS r, \
               dense_rank() OVER (ORDER BY x) AS d, percent_rank() OVER (ORDER BY x) AS p, \
               cume_dist() OVER (ORDER BY x) AS c, ntile(2) OVER (ORDER BY x) AS h, \
               rank() OVER (PARTITION BY x % 2 ORDER BY x DESC) AS q \
               FROM (VALUES (1), (1), (2), (3), (3)) AS v(x) ORDER BY x, n";
    assert_eq!(
        ask(sql, OutputFormat::Csv)?,
        "x,n,r,d,p,c,h,q\n1,1,1,1,0.0,0.4,1,3\n1,2,1,1,0.0,0.4,1,3\n2,3,3,2,0.5,0.6,1,1\n\
         3,4,4,3,0.75,1.0,2,1\n3,5,4,3,0.75,1.0,2,1\n"
    );
    Ok(())
}

/// A scan that lets its place go goes on behind the last entry.
#[test]
fn a_suspended_scan_goes_on_where_it_was() -> Result<()> {
    use super::super::tables::epoch::{BoundedScan, EntryScan as _};
    let (_dir, store) = state()?;
    let codec = RowCodec::new(&[DataType::Utf8])?;
    let (mut keys, mut values) = (Rows::new(), Blobs::default());
    for name in 0..300 {
        let key = codec.encode(&[Arc::new(StringArray::from(vec![format!("{name:03}")]))])?;
        keys.push(&grouped(key.get(0)));
        values.push(Some(b"row"));
    }
    let writes = vec![Writes { table_id: 1, keys, values }];
    let progress = store.meta().progress;
    store.commit(Commit { epoch: 5, commit_ms: 3_000, writes, progress, ..Commit::default() })?;
    let snapshot = store.snapshot()?;
    let scan_all = |bounds: &Arc<Bounds>, pause: usize| -> Result<Vec<Vec<u8>>> {
        let mut scan = BoundedScan::open(&snapshot, 1, bounds)?;
        let mut found = Vec::new();
        scan.suspend();
        while scan.advance()? {
            found.push(scan.entry().context("an entry")?.0.to_vec());
            if found.len() % pause == 0 {
                scan.suspend();
            }
        }
        Ok(found)
    };
    let some = scan_all(&Arc::new(Bounds::All), usize::MAX)?;
    assert_eq!(some.len(), 302);
    let (from, to) = (some[40].clone(), some[200].clone());
    let ranges = Bounds::Ranges(vec![
        KeyRange { from: some[3].clone(), to: some[9].clone() },
        KeyRange { from: from.clone(), to: to.clone() },
    ]);
    let packed = |of: usize| schemas::without_group(&some[of]).to_vec();
    let mut ends = [packed(40), packed(200)];
    ends.sort();
    let [least, end] = ends;
    for bounds in
        [Bounds::All, Bounds::Points(some[5..9].to_vec()), ranges, Bounds::Range { from: least, to: end }]
    {
        let bounds = Arc::new(bounds);
        let whole = scan_all(&bounds, usize::MAX)?;
        assert!(whole.len() > 1, "{bounds:?}");
        for pause in [1, 2, 7] {
            assert_eq!(scan_all(&bounds, pause)?, whole, "{bounds:?}");
        }
    }
    Ok(())
}

#[test]
fn a_held_epoch_stays_while_the_topology_goes_on() -> Result<()> {
    let (_dir, store) = state()?;
    let store = Arc::new(store);
    let lent = lend_to_test(&store)?;
    let count = "SELECT count(*) AS n FROM champions";
    let held = lent.hold_epoch()?;
    assert!(lent.hold_epoch().is_err(), "one epoch at a time");
    let mut keys = Rows::new();
    let key = RowCodec::new(&[DataType::Utf8])?.encode(&[Arc::new(StringArray::from(vec!["Ahri"]))])?;
    keys.push(&grouped(key.get(0)));
    let mut values = Blobs::default();
    values.push(None);
    store.commit(Commit {
        epoch: 5,
        commit_ms: 3_000,
        writes: vec![Writes { table_id: 1, keys, values }],
        progress: store.meta().progress,
        ..Commit::default()
    })?;
    let told =
        |answer: &Answer| format::answer_text(answer, OutputFormat::Csv).map(|text| (answer.epoch, text));
    assert_eq!(told(&answer_here(&held, count)?)?, (4, "n\n2\n".to_owned()));
    drop(held);
    assert_eq!(told(&answer_here(&lent.hold_epoch()?, count)?)?, (5, "n\n1\n".to_owned()));
    Ok(())
}
