//! Kernels of operators: the close of an epoch of a small topology, in one worker on this thread.
//!
//! Records are decoded as they are fed, which is not counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};

use anyhow::{Context, Result, anyhow};
use dataflows::plan::Plan;
use dataflows::render::Start;
use dataflows::runtime::state_tables::StateTables;
use dataflows::runtime::worker::{Setup, Topology};
use dataflows::source::decoder;
use dataflows::sql::{self, SqlFile};
use schemas::Records;
use state::{Progress, Store, StoreOptions};

use super::measured_region;

/// Rows of an epoch.
pub const ROWS: usize = 20_000;

/// Plans a topology.
///
/// # Errors
/// When it is refused.
pub fn plan_of(text: &str) -> Result<Plan> {
    let files = [SqlFile { name: "kernel.sql".to_owned(), text: text.to_owned() }];
    let plan = sql::compile(&files, &|_| None, &|path| std::fs::read_to_string(path), &|_| Ok(None));
    plan.map_err(|errors| match errors.into_iter().next() {
        Some(error) => anyhow::Error::new(error),
        None => anyhow!("the topology is refused"),
    })
}

/// Records with so many different keys `k`, in no order.
pub fn records(keys: u64) -> Records {
    let mut records = Records::new(0);
    for row in 0..ROWS as u64 {
        let (k, share) = (row * 7919 % keys, row % 1000);
        let text = format!(
            "{{\"k\":{k},\"n\":{row},\"name\":\"player {k}\",\"share\":0.{share:03},\"won\":{}}}",
            row % 3 == 0
        );
        records.push(row as i64, Some(row as i64), None, Some(text.as_bytes()));
    }
    records
}

const COLUMNS: &str = "(k INT NOT NULL, n BIGINT NOT NULL, name VARCHAR, share DOUBLE, won BOOLEAN";
const OF_FILES: &str = "WITH (connector = 'file', path = 'a') FORMAT PLAIN ENCODE JSON";

pub fn table() -> Result<()> {
    let text = format!(
        "CREATE TABLE a {COLUMNS}, PRIMARY KEY (k)) ON CONFLICT OVERWRITE WITH VERSION COLUMN (n) {OF_FILES};
CREATE MATERIALIZED VIEW v AS SELECT k, n FROM a;"
    );
    count_epoch(&text, &[], &[(0, 15_000)])
}

pub fn aggregate() -> Result<()> {
    let text = format!(
        "CREATE SOURCE a {COLUMNS}) {OF_FILES};
CREATE TABLE b {COLUMNS}, PRIMARY KEY (k)) {OF_FILES};
CREATE MATERIALIZED VIEW v AS SELECT name, count(*) AS games, sum(n) AS n, avg(share) AS share, max(n) AS last
FROM (SELECT name, n, share FROM a UNION ALL SELECT name, n, share FROM b) GROUP BY name;"
    );
    // Rows of the table, of which none comes, could be retracted: so the values of max are kept in their order.
    count_epoch(&text, &[(0, 5_000)], &[(0, 5_000)])
}

pub fn totals() -> Result<()> {
    let text = format!(
        "CREATE SOURCE a {COLUMNS}) {OF_FILES};
CREATE MATERIALIZED VIEW v AS SELECT name, count(*) AS games, sum(n) AS n, avg(share) AS share, max(n) AS last
FROM a GROUP BY name;"
    );
    count_epoch(&text, &[(0, 5_000)], &[(0, 5_000)])
}

const JOIN: &str = "CREATE MATERIALIZED VIEW v AS SELECT a.k, a.n, b.name FROM a JOIN b ON a.k = b.k;";

pub fn arrange() -> Result<()> {
    let text =
        format!("CREATE SOURCE a {COLUMNS}) {OF_FILES};\nCREATE SOURCE b {COLUMNS}) {OF_FILES};\n{JOIN}");
    count_epoch(&text, &[], &[(0, 5_000)])
}

pub fn join() -> Result<()> {
    let text =
        format!("CREATE SOURCE a {COLUMNS}) {OF_FILES};\nCREATE SOURCE b {COLUMNS}) {OF_FILES};\n{JOIN}");
    count_epoch(&text, &[(1, ROWS as u64)], &[(0, 5_000)])
}

/// Counts the close of an epoch, behind one that is not counted. Both are given by sources and numbers of keys.
fn count_epoch(text: &str, before: &[(usize, u64)], counted: &[(usize, u64)]) -> Result<()> {
    let plan = Arc::new(plan_of(text)?);
    let dir = tempfile::tempdir()?;
    let options = StoreOptions { create: true, ..StoreOptions::default() };
    let store = Arc::new(Store::open(&dir.path().join("state"), &options)?);
    let tables = StateTables::of(&plan, None).map_err(|changed| anyhow!(changed.join(", ")))?;
    store.put_catalogue(&tables.catalogue("kernel"))?;
    let setup = Setup {
        watermarks: plan.sources.iter().map(|_| Arc::new(AtomicI64::new(i64::MIN))).collect(),
        plan: plan.clone(),
        state_tables: Arc::new(tables),
        store,
        start: Start { epoch: 0, whole: false, anew: false },
        progress: Arc::new(Progress::default()),
        committed: Arc::new(AtomicU64::new(0)),
        abort: Arc::new(AtomicBool::new(false)),
        decoder: Arc::new(|source| decoder::of(source, &Default::default())),
        joined_bytes: u64::MAX,
        totals: Arc::default(),
    };
    let epochs = [before.to_vec(), counted.to_vec()];
    timely::execute_directly(move |worker| -> Result<()> {
        let mut topology = Topology::build(worker, &setup)?;
        let partitions = vec![[0].into(); plan.sources.len()];
        for (at, feeds) in epochs.iter().enumerate() {
            for (source, keys) in feeds {
                let rejected = topology.feed(*source, &records(*keys))?;
                anyhow::ensure!(rejected.is_empty(), "records were refused");
            }
            let epoch = at as u64 + 1;
            let mut close = || -> Result<()> {
                topology.close(worker, epoch, &partitions).map(|_| ()).context("the epoch failed")
            };
            if at == 0 { close()? } else { measured_region(&mut close)? }
        }
        Ok(())
    })
}
