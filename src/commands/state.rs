//! `herald state`: inspects, verifies, repairs, backs up and restores a state.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};

use anyhow::{Context, Result, anyhow, bail};
use dataflows::maintenance::repair;
use dataflows::maintenance::verify::{self, Derived, Finding, Subject};
use dataflows::plan::Plan;
use dataflows::render::Start;
use dataflows::runtime::state_tables::StateTables;
use dataflows::runtime::worker::Setup;
use schemas::Outcome;
use state::{Reader, StateTableKind, Store, StoreOptions};

use crate::cli::{StateCommand, StatusFormat};
use crate::exit::mistake;
use crate::serve::access;
use crate::{driver, query, topology};

/// `herald state`.
pub fn command(command: &StateCommand) -> Result<()> {
    let text = match command {
        StateCommand::Inspect { dir, format: StatusFormat::Text } => inspect_text(dir)?,
        StateCommand::Inspect { dir, format: StatusFormat::Json } => inspect_json(dir)?,
        StateCommand::Verify { dir, files, env_file } => {
            return verify_state(dir, files, env_file.as_deref());
        }
        StateCommand::Repair { dir, files, env_file } => repair_state(dir, files, env_file.as_deref())?,
        StateCommand::Backup { dir: Some(dir), to, .. } => {
            let store = open_state(dir).context("with --url the process that runs it can be asked")?;
            store.checkpoint(to)?;
            format!("Epoch {} was copied to {}.\n", epoch_of(to)?, to.display())
        }
        StateCommand::Backup { dir: None, to, url } => {
            request_backup(url.as_deref().unwrap_or_default(), to)?
        }
        StateCommand::Restore { backup, to, topology } => restore_backup(backup, to, topology.as_deref())?,
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

/// Opens an existing state for this process alone.
fn open_state(dir: &Path) -> Result<Store> {
    Ok(Store::open(dir, &StoreOptions::default())?)
}

/// Reads the committed epoch of a state, which may be in use.
pub fn epoch_of(dir: &Path) -> Result<u64> {
    read_unlocked(dir, |reader| Ok(reader.snapshot().epoch()))
}

/// Reads a state as a secondary, without its lock.
fn read_unlocked<T>(dir: &Path, read: impl FnOnce(&Reader) -> Result<T>) -> Result<T> {
    let scratch = tempfile::Builder::new().prefix("herald-state-").tempdir();
    let scratch = scratch.context("cannot create a temporary directory")?;
    let reader = Store::open_secondary(dir, scratch.path())?;
    read(&reader)
}

/// Asks a running topology for a backup.
fn request_backup(url: &str, to: &Path) -> Result<String> {
    let token = access::read_token("HERALD_ADMIN_TOKEN", None)?;
    let to = to.to_str().ok_or_else(|| mistake("the directory's name is not text"))?;
    let base = query::base_url(url);
    let asked = reqwest::Url::parse_with_params(&format!("{base}/v1/backup"), [("to", to)])
        .map_err(|error| mistake(format!("{url} is no address: {error}")))?;
    let path = format!("/v1/backup?{}", asked.query().unwrap_or_default());
    let answer = query::send_post(&base, &path, "", token)?;
    let answer: serde_json::Value = serde_json::from_str(&answer).context("the answer is no JSON")?;
    Ok(format!("Epoch {} was copied to {to}.\n", answer["epoch"]))
}

/// Restores a backup after checking it.
fn restore_backup(backup: &Path, to: &Path, topology: Option<&str>) -> Result<String> {
    let damaged = read_unlocked(backup, |reader| Ok(reader.snapshot().verify()?))?;
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

/// The content of a state as text.
fn inspect_text(dir: &Path) -> Result<String> {
    read_unlocked(dir, |reader| {
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
                StateTableKind::Table => "table",
                StateTableKind::Arrangement => "arrangement",
                StateTableKind::View => "view",
                StateTableKind::Sink => continue,
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

/// The content of a state as JSON.
fn inspect_json(dir: &Path) -> Result<String> {
    read_unlocked(dir, |reader| {
        let snapshot = reader.snapshot();
        let committed = snapshot.committed();
        let catalogue = snapshot.catalogue()?.unwrap_or_default();
        let mut tables = Vec::new();
        for entry in &catalogue.entries {
            let mut keys = 0_u64;
            snapshot.scan(entry.id, &[], |_, _| -> Result<()> {
                keys += 1;
                Ok(())
            })?;
            let kind = format!("{:?}", entry.kind).to_lowercase();
            tables.push(serde_json::json!({"name": entry.name, "kind": kind, "keys": keys}));
        }
        let sources = committed.progress.sources.iter().map(|(name, source)| {
            let outcomes: serde_json::Map<String, serde_json::Value> = Outcome::ALL
                .iter()
                .map(|outcome| (outcome.name().to_owned(), source.outcomes[outcome.index()].into()))
                .collect();
            let offsets: BTreeMap<String, i64> =
                source.partitions.iter().map(|(partition, at)| (partition.to_string(), at.next_offset)).collect();
            serde_json::json!({"name": name, "read": source.read, "outcomes": outcomes, "next_offsets": offsets})
        });
        let answer = serde_json::json!({
            "topology": catalogue.topology,
            "epoch": committed.epoch,
            "committed_at": schemas::types::time::format_timestamp(committed.commit_ms.saturating_mul(1000), true),
            "published": snapshot.published(0)?.map_or(0, |p| p.epoch),
            "waiting": snapshot.outbox_after(0, 0)?.count(),
            "sources": sources.collect::<Vec<_>>(),
            "tables": tables,
        });
        Ok(format!("{answer}\n"))
    })
}

/// Checks a state's files before it is opened, and fails if any is damaged. Returns the report of the checked
/// files, including logs that end in an incomplete write.
fn check_files(dir: &Path) -> Result<String> {
    let checked = Store::check_files(dir)?;
    if !checked.damaged.is_empty() {
        return Err(damage_error(dir, &checked.damaged));
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

/// The error for a damaged state, which lists the damages.
fn damage_error(dir: &Path, wrong: &[String]) -> anyhow::Error {
    match wrong {
        [one] => anyhow!("the state in {} is damaged: {one}", dir.display()),
        all => anyhow!("the state in {} is damaged in {} ways: {}", dir.display(), all.len(), all.join("; ")),
    }
}

/// Verifies a state and prints the findings; fails if any is wrong.
fn verify_state(dir: &Path, files: &[PathBuf], env_file: Option<&Path>) -> Result<()> {
    let mut out = check_files(dir)?;
    let store = Arc::new(open_state(dir)?);
    let mut wrong = store.snapshot()?.verify()?;
    out.push_str(&format!("epoch {}: every block was read and fits its checksum\n", store.meta().epoch));
    if files.is_empty() {
        out.push_str("name the topology's files to have its views derived again\n");
    } else {
        let mut repairable = false;
        for finding in verify::findings(&derivation_setup(store, read_plan(files, env_file)?)?)? {
            let line = finding_text(&finding);
            out.push_str(&line);
            if !finding.fine() {
                repairable = true;
                wrong.push(line.trim_end().to_owned());
            }
        }
        if repairable {
            out.push_str("`herald state repair` makes what can be derived again what is derived\n");
        }
    }
    std::io::stdout().lock().write_all(out.as_bytes())?;
    if wrong.is_empty() { Ok(()) } else { Err(damage_error(dir, &wrong)) }
}

/// Plans the topology of a state.
fn read_plan(files: &[PathBuf], env_file: Option<&Path>) -> Result<Arc<Plan>> {
    let files = topology::read_files(files)?;
    let variables = topology::Variables::read(env_file)?;
    topology::plan_topology(&files, &variables, topology::Network::Allowed)
}

/// Repairs a state and reports the rest; fails if derivable content is still wrong afterwards.
fn repair_state(dir: &Path, files: &[PathBuf], env_file: Option<&Path>) -> Result<String> {
    let mut out = check_files(dir)?;
    let plan = read_plan(files, env_file)?;
    let store = Arc::new(open_state(dir)?);
    let setup = derivation_setup(store.clone(), plan.clone())?;
    let repaired = repair::repair(&setup, driver::now_ms())?;
    for finding in &repaired.findings {
        out.push_str(&match finding.derived {
            Derived::Nothing => {
                format!("{}: stays as it is; nothing keeps what it came from\n", finding_name(finding))
            }
            _ if finding.fine() => finding_text(finding),
            _ => format!(
                "{}: {} entries were wrong and {} missing, and are what is derived now\n",
                finding_name(finding),
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
            // The repaired state is verified again.
            let again = verify::findings(&derivation_setup(store.clone(), plan)?)?;
            let wrong: Vec<String> =
                again.iter().filter(|f| !f.fine()).map(|f| finding_text(f).trim_end().to_owned()).collect();
            if !wrong.is_empty() {
                return Err(damage_error(dir, &wrong));
            }
            store.flush()?;
            out.push_str(&format!("epoch {epoch} holds what was mended\n"));
        }
    }
    Ok(out)
}

/// The name of the view, arrangement or table of a finding.
fn finding_name(finding: &Finding) -> String {
    match finding.subject {
        Subject::View => format!("view {}", finding.name),
        Subject::Arrangement => format!("arrangement {}", finding.name),
        Subject::Errors => finding.name.clone(),
    }
}

/// The report line of a finding.
fn finding_text(finding: &Finding) -> String {
    let Finding { derived, held, wrong, missing, .. } = finding;
    let name = finding_name(finding);
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

/// The worker setup to derive a state's content again: a dataflow that emits all of its restored content.
fn derivation_setup(store: Arc<Store>, plan: Arc<Plan>) -> Result<Setup> {
    let committed = store.meta();
    let spaces = StateTables::of(&plan, store.catalogue()?.as_ref()).map_err(|changed| {
        mistake(format!("the state is of another edition; changed: {}", changed.join(", ")))
    })?;
    let abort = Arc::new(AtomicBool::new(false));
    let held: BTreeMap<&String, Option<i64>> =
        committed.progress.sources.iter().map(|(name, source)| (name, source.watermark_us)).collect();
    let watermark = |name: &String| held.get(name).copied().flatten().unwrap_or(i64::MIN);
    Ok(Setup {
        watermarks: plan.sources.iter().map(|s| Arc::new(AtomicI64::new(watermark(&s.name)))).collect(),
        start: Start { epoch: committed.epoch, whole: true, anew: true },
        committed: Arc::new(AtomicU64::new(committed.epoch)),
        progress: Arc::new(committed.progress.clone()),
        state_tables: Arc::new(spaces),
        decoder: driver::decoders(abort.clone()),
        abort,
        joined_bytes: u64::MAX,
        store,
        plan,
    })
}
