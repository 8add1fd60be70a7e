//! `herald state`: inspects, verifies, repairs, backs up and restores a state.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};

use anyhow::{Context, Result, anyhow, bail};
use connectors::clock::now_ms;
use dataflows::maintenance::repair;
use dataflows::maintenance::verify::{self, Derived, Finding, Subject};
use dataflows::plan::Plan;
use dataflows::render::Start;
use dataflows::runtime::edition::earlier::plan_of_state;
use dataflows::runtime::state_tables::StateTables;
use dataflows::runtime::worker::Setup;
use schemas::Outcome;
use state::{Catalogue, FilesChecked, Reader, Snapshot, SourceProgress, StateTableKind, Store, StoreOptions};

use crate::cli::{StateCommand, StatusFormat};
use crate::exit::mistake;
use crate::query::process::scratch::Scratch;
use crate::serve::access;
use crate::{driver, query, topology};

/// `herald state`.
pub fn command(command: &StateCommand) -> Result<()> {
    let text = match command {
        StateCommand::Inspect { dir, name, format } => {
            let dir = query::state_dir(dir.as_deref(), name.as_deref())?;
            match format {
                StatusFormat::Text => inspect_text(&dir)?,
                StatusFormat::Json => inspect_json(&dir)?,
            }
        }
        StateCommand::Verify { dir, files, format, env_file } => {
            return verify_state(dir, files, env_file.as_deref(), *format);
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
    let scratch = Scratch::new()?;
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
    if topology.is_some() {
        let catalogue = read_unlocked(backup, |reader| Ok(reader.snapshot().catalogue()?))?;
        if catalogue.is_some_and(|catalogue| catalogue.is_filling()) {
            return Err(mistake(
                "the backup is of a state in which an edit of the topology was not filled yet: none of its own can begin from \
                 it, as its sinks would get a part\n  restore it without --as and run it until all views are whole \
                 (herald.views tells), then make another backup",
            ));
        }
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

/// A number of things as words.
fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// The time of a commit; None where nothing is committed.
fn commit_time(commit_ms: i64) -> Option<String> {
    let us = commit_ms.saturating_mul(1000);
    (commit_ms != 0).then(|| schemas::types::time::format_timestamp(us, true))
}

/// The content of a state as text.
fn inspect_text(dir: &Path) -> Result<String> {
    read_unlocked(dir, |reader| {
        let snapshot = reader.snapshot();
        let committed = snapshot.committed();
        let mut out = match commit_time(committed.commit_ms) {
            Some(at) => format!("epoch       {}, committed at {at}\n", committed.epoch),
            None => "epoch       0: nothing is committed yet\n".to_owned(),
        };
        let catalogue = snapshot.catalogue()?.unwrap_or_default();
        out.push_str(&format!("topology    {}\n", catalogue.topology));
        for (name, source) in &committed.progress.sources {
            let parts: Vec<String> = Outcome::told(&source.outcomes)
                .map(|o| format!("{} {}", source.outcomes[o.index()], o.name()))
                .collect();
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
                StateTableKind::Index => "index",
                StateTableKind::Sink => continue,
            };
            let keys = count_keys(&snapshot, entry.id)?;
            out.push_str(&format!("{kind:<11} {}: {}\n", entry.name, count(keys, "key", "keys")));
        }
        let published = published_epoch(&snapshot)?;
        let waiting = count(snapshot.outbox_after(0, 0)?.count() as u64, "epoch waits", "epochs wait");
        out.push_str(&format!("published   up to epoch {published}; {waiting} for Kafka\n"));
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
            let keys = count_keys(&snapshot, entry.id)?;
            let kind = format!("{:?}", entry.kind).to_lowercase();
            tables.push(serde_json::json!({"name": entry.name, "kind": kind, "keys": keys}));
        }
        let mut sources = Vec::new();
        for (name, source) in &committed.progress.sources {
            sources.push(source_json(name, source));
        }
        let answer = serde_json::json!({
            "topology": catalogue.topology,
            "epoch": committed.epoch,
            "committed_at": commit_time(committed.commit_ms),
            "published": published_epoch(&snapshot)?,
            "waiting": snapshot.outbox_after(0, 0)?.count(),
            "sources": sources,
            "tables": tables,
        });
        Ok(format!("{answer}\n"))
    })
}

/// The committed progress of a source as JSON.
fn source_json(name: &str, source: &SourceProgress) -> serde_json::Value {
    let mut outcomes = serde_json::Map::new();
    for outcome in Outcome::ALL {
        outcomes.insert(outcome.name().to_owned(), source.outcomes[outcome.index()].into());
    }
    let mut offsets = BTreeMap::new();
    for (partition, at) in &source.partitions {
        offsets.insert(partition.to_string(), at.next_offset);
    }
    serde_json::json!({"name": name, "read": source.read, "outcomes": outcomes, "next_offsets": offsets})
}

/// The number of keys of a table.
fn count_keys(snapshot: &Snapshot<'_>, table: u32) -> Result<u64> {
    let mut keys = 0;
    snapshot.scan(table, &[], |_, _| -> Result<()> {
        keys += 1;
        Ok(())
    })?;
    Ok(keys)
}

/// The last epoch that is published; 0 without one.
fn published_epoch(snapshot: &Snapshot<'_>) -> Result<u64> {
    Ok(snapshot.published(0)?.map_or(0, |published| published.epoch))
}

/// Checks a state's files before it is opened, and fails if any is damaged. Returns the report of the checked
/// files.
fn check_files(dir: &Path) -> Result<String> {
    let checked = Store::check_files(dir)?;
    if checked.damaged.is_empty() {
        Ok(files_text(&checked))
    } else {
        Err(damage_error(dir, &checked.damaged))
    }
}

/// The report of checked files, including logs that end in an incomplete write.
fn files_text(checked: &FilesChecked) -> String {
    let mut out = format!(
        "files: {} and {} with {} fit their checksums\n",
        count(checked.tables, "table", "tables"),
        count(checked.logs, "log", "logs"),
        count(checked.records, "record", "records")
    );
    for torn in &checked.torn {
        out.push_str(&format!(
            "{torn}: the last write when the machine stopped, which was not committed; or the file was cut\n"
        ));
    }
    out
}

/// The error for a damaged state, which lists the damages.
fn damage_error(dir: &Path, wrong: &[String]) -> anyhow::Error {
    match wrong {
        [one] => anyhow!("the state in {} is damaged: {one}", dir.display()),
        all => anyhow!("the state in {} is damaged in {} ways: {}", dir.display(), all.len(), all.join("; ")),
    }
}

/// Verifies a state and prints the findings; fails if any is wrong.
fn verify_state(dir: &Path, files: &[PathBuf], env_file: Option<&Path>, format: StatusFormat) -> Result<()> {
    let report = VerifyReport::read(dir, files, env_file)?;
    let out = match format {
        StatusFormat::Text => report.text(),
        StatusFormat::Json => format!("{}\n", report.json()),
    };
    std::io::stdout().lock().write_all(out.as_bytes())?;
    let wrong = report.damages();
    if wrong.is_empty() { Ok(()) } else { Err(damage_error(dir, &wrong)) }
}

/// Result of the verification of a state.
struct VerifyReport {
    files: FilesChecked,
    /// The committed epoch, and damages within its rows; None where the files are damaged, which are not opened.
    rows: Option<(u64, Vec<String>)>,
    /// The comparison with derived rows, if the topology's files were named.
    findings: Option<Vec<Finding>>,
}

impl VerifyReport {
    /// Verifies the state in `dir`, also against the topology in `files` if there are any.
    fn read(dir: &Path, files: &[PathBuf], env_file: Option<&Path>) -> Result<VerifyReport> {
        let checked = Store::check_files(dir)?;
        if !checked.damaged.is_empty() {
            return Ok(VerifyReport { files: checked, rows: None, findings: None });
        }
        let store = Arc::new(open_state(dir)?);
        let rows = Some((store.meta().epoch, store.snapshot()?.verify()?));
        let findings = match files {
            [] => None,
            files => Some(verify::findings(&derivation_setup(store, read_plan(files, env_file)?)?)?),
        };
        Ok(VerifyReport { files: checked, rows, findings })
    }

    /// All damages, a sentence each.
    fn damages(&self) -> Vec<String> {
        let mut damages = self.files.damaged.clone();
        if let Some((_, damaged)) = &self.rows {
            damages.extend_from_slice(damaged);
        }
        damages.extend(wrong_findings(self.findings.as_deref().unwrap_or_default()));
        damages
    }

    /// The report for people; nothing where the files are damaged, which the error tells.
    fn text(&self) -> String {
        let Some((epoch, damaged)) = &self.rows else { return String::new() };
        let mut out = files_text(&self.files);
        if damaged.is_empty() {
            out.push_str(&format!("epoch {epoch}: every block was read and fits its checksum\n"));
        }
        let Some(findings) = &self.findings else {
            out.push_str("name the topology's files to have its views derived again\n");
            return out;
        };
        for finding in findings {
            out.push_str(&finding_text(finding));
        }
        if findings.iter().any(|finding| !finding.fine()) {
            out.push_str("`herald state repair` replaces what can be derived again by the derived rows\n");
        }
        out
    }

    /// The report for programs.
    fn json(&self) -> serde_json::Value {
        let files = &self.files;
        let (epoch, damaged) = match &self.rows {
            Some((epoch, damaged)) => (Some(epoch), Some(damaged)),
            None => (None, None),
        };
        serde_json::json!({
            "files": {"tables": files.tables, "logs": files.logs, "records": files.records,
                "damaged": files.damaged, "torn": files.torn},
            "epoch": epoch,
            "damaged": damaged,
            "findings": self.findings.as_deref().map(findings_json),
            "sound": self.damages().is_empty(),
        })
    }
}

/// Findings as JSON.
fn findings_json(findings: &[Finding]) -> Vec<serde_json::Value> {
    let mut all = Vec::with_capacity(findings.len());
    for finding in findings {
        all.push(serde_json::json!({
            "kind": format!("{:?}", finding.subject).to_lowercase(), "name": finding.name,
            "derived": format!("{:?}", finding.derived).to_lowercase(),
            "rows": finding.held, "wrong": finding.wrong, "missing": finding.missing,
        }));
    }
    all
}

/// The lines of the findings that differ from the derived entries.
fn wrong_findings(findings: &[Finding]) -> Vec<String> {
    let wrong = findings.iter().filter(|finding| !finding.fine());
    wrong.map(|finding| finding_text(finding).trim_end().to_owned()).collect()
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
    let repaired = repair::repair(&setup, now_ms())?;
    for finding in &repaired.findings {
        out.push_str(&match finding.derived {
            Derived::Nothing => {
                format!("{}: unchanged; it cannot be derived again from the state\n", finding_name(finding))
            }
            _ if finding.fine() => finding_text(finding),
            _ => format!(
                "{}: {} replaced, {} added\n",
                finding_name(finding),
                count(finding.wrong, "wrong entry", "wrong entries"),
                count(finding.missing, "missing entry", "missing entries")
            ),
        });
    }
    for (sink, keys) in &repaired.owed {
        let keys = count(*keys, "key or row is", "keys or rows are");
        out.push_str(&format!("sink {sink}: {keys} sent again at the next start\n"));
    }
    for (sink, rows) in &repaired.too_many {
        let rows = count(*rows, "row", "rows");
        out.push_str(&format!(
            "sink {sink}: {rows} too many were sent, and PLAIN cannot retract them: send it again to a new topic\n"
        ));
    }
    for sink in &repaired.unknown {
        out.push_str(&format!("sink {sink}: no view shows what was sent to it; it gets nothing\n"));
    }
    match repaired.epoch {
        None => out.push_str("nothing had to be repaired\n"),
        Some(epoch) => {
            // The repaired state is verified again.
            let setup = derivation_setup(store.clone(), plan)?;
            let mut again = verify::findings(&setup)?;
            again.extend(verify::index_findings(&setup)?);
            let wrong = wrong_findings(&again);
            if !wrong.is_empty() {
                return Err(damage_error(dir, &wrong));
            }
            store.flush()?;
            out.push_str(&format!("epoch {epoch} holds the repaired content\n"));
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
        Subject::Index => format!("index {}", finding.name),
    }
}

/// The report line of a finding.
fn finding_text(finding: &Finding) -> String {
    let Finding { derived, held, wrong, missing, .. } = finding;
    let (name, rows) = (finding_name(finding), count(*held, "row", "rows"));
    match (derived, finding.fine()) {
        (Derived::All, true) => format!("{name}: {rows}, derived again and equal\n"),
        (Derived::Part, true) => format!("{name}: {rows}; all that can still be derived is among them\n"),
        (Derived::Nothing, _) => format!("{name}: {rows}, which cannot be derived again from the state\n"),
        _ => {
            let (wrong, missing) = (count(*wrong, "differs", "differ"), count(*missing, "is", "are"));
            format!("{name}: {rows}, of which {wrong} from the derived ones; {missing} missing\n")
        }
    }
}

/// The worker setup to derive a state's content again: a dataflow that emits all of its restored content.
fn derivation_setup(store: Arc<Store>, plan: Arc<Plan>) -> Result<Setup> {
    let committed = store.meta();
    let catalogue = store.catalogue()?;
    if catalogue.as_ref().is_some_and(Catalogue::is_filling) {
        return Err(mistake(
            "what an edit of the topology added is not filled yet: it cannot be derived again\n  run the topology until \
             all views are whole (herald.views tells)",
        ));
    }
    // Groups that an earlier release did not store are derived, as it did at each start.
    let plan = match &catalogue {
        Some(held) => Arc::new(plan_of_state(&plan, held)),
        None => plan,
    };
    let spaces = StateTables::of(&plan, catalogue.as_ref()).map_err(|changed| {
        mistake(format!("the state is of another edition; changed: {}", changed.join(", ")))
    })?;
    let abort = Arc::new(AtomicBool::new(false));
    let mut watermarks = Vec::with_capacity(plan.sources.len());
    for source in &plan.sources {
        let held = committed.progress.sources.get(&source.name);
        let watermark = held.and_then(|held| held.watermark_us).unwrap_or(i64::MIN);
        watermarks.push(Arc::new(AtomicI64::new(watermark)));
    }
    Ok(Setup {
        watermarks,
        start: Start { epoch: committed.epoch, whole: true, anew: true },
        committed: Arc::new(AtomicU64::new(committed.epoch)),
        progress: Arc::new(committed.progress.clone()),
        state_tables: Arc::new(spaces),
        decoder: driver::decoders(abort.clone()),
        abort,
        joined_bytes: u64::MAX,
        totals: Arc::default(),
        store,
        plan,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A report of a state with one view, of which `wrong` rows differ.
    fn report(wrong: u64) -> VerifyReport {
        let files = FilesChecked { tables: 1, logs: 2, records: 3, ..FilesChecked::default() };
        let finding = Finding {
            subject: Subject::View,
            name: "teams".to_owned(),
            derived: Derived::All,
            held: 1,
            wrong,
            missing: 0,
        };
        VerifyReport { files, rows: Some((7, vec![])), findings: Some(vec![finding]) }
    }

    #[test]
    fn a_verification_reads_the_same_for_people_and_programs() {
        assert_eq!(
            report(0).text(),
            "files: 1 table and 2 logs with 3 records fit their checksums\n\
             epoch 7: every block was read and fits its checksum\n\
             view teams: 1 row, derived again and equal\n"
        );
        let json = report(0).json();
        assert_eq!(
            (&json["sound"], &json["epoch"], &json["findings"][0]["rows"]),
            (&true.into(), &7.into(), &1.into())
        );
        let wrong = report(1);
        assert!(
            wrong
                .text()
                .contains("view teams: 1 row, of which 1 differs from the derived ones; 0 are missing\n")
        );
        assert_eq!(
            (&wrong.json()["sound"], &wrong.json()["findings"][0]["wrong"]),
            (&false.into(), &1.into())
        );
        assert_eq!(wrong.damages().len(), 1);
    }

    #[test]
    fn damaged_files_are_not_opened() {
        let files = FilesChecked { damaged: vec!["CURRENT is empty".to_owned()], ..FilesChecked::default() };
        let report = VerifyReport { files, rows: None, findings: None };
        assert_eq!((report.text(), report.damages()), (String::new(), vec!["CURRENT is empty".to_owned()]));
        assert_eq!(
            (&report.json()["sound"], &report.json()["epoch"]),
            (&false.into(), &serde_json::Value::Null)
        );
    }
}
