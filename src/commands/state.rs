//! `herald state`: look into a state, check it, mend it, copy it, put a copy back.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};

use anyhow::{Context, Result, anyhow, bail};
use dataflows::plan::Plan;
use dataflows::render::Start;
use dataflows::repair;
use dataflows::state_tables::Spaces;
use dataflows::verify::{self, Derived, Finding, Of};
use dataflows::worker::Setup;
use schemas::Outcome;
use state::{Reader, SpaceKind, Store, StoreOptions};

use crate::cli::StateCommand;
use crate::exit::mistake;
use crate::serve::access;
use crate::{driver, query, topology};

/// `herald state`.
pub fn command(command: &StateCommand) -> Result<()> {
    let told = match command {
        StateCommand::Inspect { dir } => inspect(dir)?,
        StateCommand::Verify { dir, files, env_file } => return verify(dir, files, env_file.as_deref()),
        StateCommand::Repair { dir, files, env_file } => repair(dir, files, env_file.as_deref())?,
        StateCommand::Backup { dir: Some(dir), to, .. } => {
            let store = open(dir).context("with --url the process that runs it can be asked")?;
            store.checkpoint(to)?;
            format!("Epoch {} was copied to {}.\n", epoch_of(to)?, to.display())
        }
        StateCommand::Backup { dir: None, to, url } => ask(url.as_deref().unwrap_or_default(), to)?,
        StateCommand::Restore { backup, to, topology } => restore(backup, to, topology.as_deref())?,
    };
    std::io::stdout().lock().write_all(told.as_bytes())?;
    Ok(())
}

fn open(dir: &Path) -> Result<Store> {
    Ok(Store::open(dir, &StoreOptions::default())?)
}

/// The committed epoch of a state that may be in use.
pub fn epoch_of(dir: &Path) -> Result<u64> {
    beside(dir, |reader| Ok(reader.snapshot().epoch()))
}

/// Reads a state without its lock.
fn beside<T>(dir: &Path, read: impl FnOnce(&Reader) -> Result<T>) -> Result<T> {
    let scratch = tempfile::Builder::new().prefix("herald-state-").tempdir();
    let scratch = scratch.context("cannot create a temporary directory")?;
    let reader = Store::open_secondary(dir, scratch.path())?;
    read(&reader)
}

fn ask(url: &str, to: &Path) -> Result<String> {
    let token = access::token("HERALD_ADMIN_TOKEN", None)?;
    let to = to.to_str().ok_or_else(|| mistake("the directory's name is not text"))?;
    let base = query::base(url);
    let asked = reqwest::Url::parse_with_params(&format!("{base}/v1/backup"), [("to", to)])
        .map_err(|error| mistake(format!("{url} is no address: {error}")))?;
    let path = format!("/v1/backup?{}", asked.query().unwrap_or_default());
    let answer = query::post(&base, &path, "", token)?;
    let answer: serde_json::Value = serde_json::from_str(&answer).context("the answer is no JSON")?;
    Ok(format!("Epoch {} was copied to {to}.\n", answer["epoch"]))
}

fn restore(backup: &Path, to: &Path, topology: Option<&str>) -> Result<String> {
    let damaged = beside(backup, |reader| Ok(reader.snapshot().verify()?))?;
    if !damaged.is_empty() {
        bail!("the backup is damaged: {}", damaged.join("; "));
    }
    Store::restore(backup, to, topology)?;
    let epoch = epoch_of(to)?;
    Ok(match topology {
        None => format!(
            "Epoch {epoch} is in {}. If more than that was published, `herald run` refuses to go on: see docs/operations.md.\n",
            to.display()
        ),
        Some(name) => format!(
            "Epoch {epoch} is in {}, a state of its own. Run it with --name {name} and sinks to new topics: they get what its views hold.\n",
            to.display()
        ),
    })
}

fn inspect(dir: &Path) -> Result<String> {
    beside(dir, |reader| {
        let snapshot = reader.snapshot();
        let committed = snapshot.committed();
        let at = schemas::types::time::format_timestamp(committed.commit_ms.saturating_mul(1000), true);
        let mut out = format!("epoch       {}, committed at {at}\n", committed.epoch);
        let catalogue = snapshot.catalogue()?.unwrap_or_default();
        out.push_str(&format!("topology    {}\n", catalogue.topology));
        for (name, source) in &committed.progress.sources {
            let parts: Vec<String> =
                Outcome::ALL.iter().map(|o| format!("{} {}", source.outcomes[o.index()], o.name())).collect();
            out.push_str(&format!("source      {name}: {} read = {}\n", source.read, parts.join(" + ")));
            for (partition, at) in &source.partitions {
                out.push_str(&format!(
                    "            partition {partition} goes on at offset {}\n",
                    at.next_offset
                ));
            }
        }
        for entry in &catalogue.entries {
            let kind = match entry.kind {
                SpaceKind::Table => "table",
                SpaceKind::Arrangement => "arrangement",
                SpaceKind::View => "view",
                SpaceKind::Sink => continue,
            };
            let mut keys = 0_u64;
            snapshot.scan(entry.id, &[], |_, _| -> Result<()> {
                keys += 1;
                Ok(())
            })?;
            out.push_str(&format!("{kind:<11} {}: {keys} keys\n", entry.name));
        }
        let published = snapshot.published(0)?.map_or(0, |p| p.epoch);
        let waiting = snapshot.outbox_after(0, 0)?.count();
        out.push_str(&format!("published   up to epoch {published}; {waiting} epochs wait for Kafka\n"));
        Ok(out)
    })
}

/// Refuses a state whose files are damaged before it is opened; what was checked, and what a crash left.
fn files_fit(dir: &Path) -> Result<String> {
    let checked = Store::check_files(dir)?;
    if !checked.damaged.is_empty() {
        return Err(damaged(dir, &checked.damaged));
    }
    let mut out = format!(
        "files: {} tables and {} logs with {} records fit their checksums\n",
        checked.tables, checked.logs, checked.records
    );
    for torn in checked.torn {
        out.push_str(&format!(
            "{torn}: what was written when the machine stopped, and not committed; or the file was cut\n"
        ));
    }
    Ok(out)
}

fn damaged(dir: &Path, wrong: &[String]) -> anyhow::Error {
    match wrong {
        [one] => anyhow!("the state in {} is damaged: {one}", dir.display()),
        all => anyhow!("the state in {} is damaged in {} ways: {}", dir.display(), all.len(), all.join("; ")),
    }
}

/// Prints what was found; fails when anything is wrong.
fn verify(dir: &Path, files: &[PathBuf], env_file: Option<&Path>) -> Result<()> {
    let mut out = files_fit(dir)?;
    let store = Arc::new(open(dir)?);
    let mut wrong = store.snapshot()?.verify()?;
    out.push_str(&format!("epoch {}: every block was read and fits its checksum\n", store.meta().epoch));
    if files.is_empty() {
        out.push_str("name the topology's files to have its views derived again\n");
    } else {
        let mut mendable = false;
        for finding in verify::findings(&setup(store, plan(files, env_file)?)?)? {
            let line = told(&finding);
            out.push_str(&line);
            if !finding.fine() {
                mendable = true;
                wrong.push(line.trim_end().to_owned());
            }
        }
        if mendable {
            out.push_str("`herald state repair` makes what can be derived again what is derived\n");
        }
    }
    std::io::stdout().lock().write_all(out.as_bytes())?;
    if wrong.is_empty() { Ok(()) } else { Err(damaged(dir, &wrong)) }
}

fn plan(files: &[PathBuf], env_file: Option<&Path>) -> Result<Arc<Plan>> {
    let files = topology::read(files)?;
    let variables = topology::Variables::read(env_file)?;
    topology::plan(&files, &variables, topology::Network::Allowed)
}

/// Mends what can be mended and tells what cannot; fails when anything is wrong that could be derived.
fn repair(dir: &Path, files: &[PathBuf], env_file: Option<&Path>) -> Result<String> {
    let mut out = files_fit(dir)?;
    let plan = plan(files, env_file)?;
    let store = Arc::new(open(dir)?);
    let setup = setup(store.clone(), plan.clone())?;
    let repaired = repair::repair(&setup, driver::now_ms())?;
    for finding in &repaired.findings {
        out.push_str(&match finding.derived {
            Derived::Nothing => {
                format!("{}: stays as it is; nothing keeps what it came from\n", name(finding))
            }
            _ if finding.fine() => told(finding),
            _ => format!(
                "{}: {} entries were wrong and {} missing, and are what is derived now\n",
                name(finding),
                finding.wrong,
                finding.missing
            ),
        });
    }
    for (sink, keys) in &repaired.owed {
        out.push_str(&format!(
            "sink {sink}: {keys} keys or rows are sent as they are now, at the next start\n"
        ));
    }
    for (sink, rows) in &repaired.too_many {
        out.push_str(&format!(
            "sink {sink}: {rows} rows were sent too many, and PLAIN cannot take them back: send it again to a new topic\n"
        ));
    }
    for sink in &repaired.unknown {
        out.push_str(&format!("sink {sink}: no view tells what it was sent; it gets nothing\n"));
    }
    match repaired.epoch {
        None => out.push_str("nothing was to be mended\n"),
        Some(epoch) => {
            // What was mended is derived once more: it must be fine now.
            let again = verify::findings(&self::setup(store.clone(), plan)?)?;
            let wrong: Vec<String> =
                again.iter().filter(|f| !f.fine()).map(|f| told(f).trim_end().to_owned()).collect();
            if !wrong.is_empty() {
                return Err(damaged(dir, &wrong));
            }
            store.flush()?;
            out.push_str(&format!("epoch {epoch} holds what was mended\n"));
        }
    }
    Ok(out)
}

fn name(finding: &Finding) -> String {
    match finding.of {
        Of::View => format!("view {}", finding.name),
        Of::Arrangement => format!("arrangement {}", finding.name),
        Of::Errors => finding.name.clone(),
    }
}

fn told(finding: &Finding) -> String {
    let Finding { derived, held, wrong, missing, .. } = finding;
    let name = name(finding);
    match (derived, finding.fine()) {
        (Derived::All, true) => format!("{name}: {held} rows, derived again and equal\n"),
        (Derived::Part, true) => {
            format!("{name}: {held} rows; all that can still be derived is among them\n")
        }
        (Derived::Nothing, _) => format!("{name}: {held} rows; nothing keeps what they came from\n"),
        _ => {
            format!("{name}: {held} rows, of which {wrong} are not what is derived; {missing} are missing\n")
        }
    }
}

fn setup(store: Arc<Store>, plan: Arc<Plan>) -> Result<Setup> {
    let committed = store.meta();
    let spaces = Spaces::of(&plan, store.catalogue()?.as_ref()).map_err(|changed| {
        mistake(format!("the state is of another edition; changed: {}", changed.join(", ")))
    })?;
    let abort = Arc::new(AtomicBool::new(false));
    let held: BTreeMap<&String, Option<i64>> =
        committed.progress.sources.iter().map(|(name, source)| (name, source.watermark_us)).collect();
    let mark = |name: &String| held.get(name).copied().flatten().unwrap_or(i64::MIN);
    Ok(Setup {
        watermarks: plan.sources.iter().map(|s| Arc::new(AtomicI64::new(mark(&s.name)))).collect(),
        start: Start { epoch: committed.epoch, whole: true, anew: true },
        committed: Arc::new(AtomicU64::new(committed.epoch)),
        progress: Arc::new(committed.progress.clone()),
        spaces: Arc::new(spaces),
        decoder: driver::decoders(abort.clone()),
        abort,
        joined_bytes: u64::MAX,
        store,
        plan,
    })
}
