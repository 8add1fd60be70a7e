//! `herald plan`: tells what a run of an edited topology would do with the state of the text that ran before.
//!
//! The state is read beside a process that has it open. Nothing is changed, and a broker is asked only where records
//! are to be read again, whether it has them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use dataflows::plan::Plan;
use dataflows::runtime::edition::earlier::with_edition_facts;
use dataflows::runtime::edition::{Becomes, Edition, Obstacle, Part, PartKind, Sends, resumed};
use dataflows::runtime::state_tables::StateTables;
use serde_json::json;
use state::{Catalogue, Committed, Snapshot, StateError, Store};

use super::continued::{gone_obstacles, written_before};
use super::edition::fate_word;
use super::{Network, Variables, plan_topology, read_files, topology_name};
use crate::cli::{PlanArgs, StatusFormat};
use crate::driver::sources::again::SecondReaders;
use crate::query;

/// Exit code when something is rebuilt, removed or sent again.
const ATTENTION: i32 = 3;
/// Exit code when rows would be missing, or the run would be refused.
const OBSTACLE: i32 = 4;
/// Most rows of a table that are counted.
const COUNTED_ROWS: u64 = 1_000_000;
/// Columns of a line.
const WIDTH: usize = 80;
/// Columns of the word for a fate, with the space behind it.
const FATE_WIDTH: usize = 11;

/// `herald plan`.
pub fn command(args: &PlanArgs) -> Result<()> {
    let files = read_files(&args.files)?;
    let variables = Variables::read(args.env_file.as_deref())?;
    let name = topology_name(args.name.as_deref(), &args.files)?;
    let plan = plan_topology(&files, &variables, Network::Allowed)?;
    let dir = match &args.state {
        Some(dir) => dir.clone(),
        None => Path::new(query::STATES).join(&name),
    };
    let report = match &args.url {
        Some(url) => PlanReport::ask(&plan, &name, url),
        None => PlanReport::read(&plan, &name, &dir),
    };
    let report = match report {
        Err(error) if is_missing(&error) => {
            let text = format!(
                "There is no state in {}: a run makes it, and reads every source from its first record.\n",
                dir.display()
            );
            std::io::stdout().lock().write_all(wrapped(&text, 0).as_bytes())?;
            return Ok(());
        }
        report => report?,
    };
    let text = match args.format {
        StatusFormat::Text => report.text(),
        StatusFormat::Json => format!("{:#}\n", report.json()),
    };
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    match report.code() {
        0 => Ok(()),
        code => std::process::exit(code),
    }
}

/// Returns true if there is no state.
fn is_missing(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(StateError::Missing { .. }))
}

/// Size of what is read of a state table.
#[derive(Clone, Copy, Debug, Default)]
struct ReadSize {
    rows: u64,
    bytes: u64,
    /// False if there are more rows than are counted.
    exact: bool,
}

/// A state as a running topology tells it.
#[derive(serde::Deserialize)]
struct HeldState {
    catalogue: Option<Catalogue>,
    committed: Committed,
}

/// The comparison of a topology with a state.
struct PlanReport {
    /// The directory of the state, or the address of the process that has it.
    place: String,
    topology: String,
    epoch: u64,
    /// Words for the kinds of sources.
    tables: Vec<String>,
    parts: Vec<Part>,
    obstacles: Vec<Obstacle>,
    /// Sizes of the state tables that are read.
    sizes: BTreeMap<u32, ReadSize>,
    /// True if something is filled piece by piece.
    in_pieces: bool,
    /// The reason for which it is not known whether records that are to be read again are still there.
    unknown: Option<String>,
}

impl PlanReport {
    /// Compares a plan with the state in a directory.
    fn read(plan: &Plan, name: &str, dir: &Path) -> Result<PlanReport> {
        let scratch = tempfile::Builder::new().prefix("herald-plan-").tempdir();
        let scratch = scratch.context("cannot create a temporary directory")?;
        let reader = Store::open_secondary(dir, scratch.path())?;
        let snapshot = reader.snapshot();
        let catalogue = snapshot.catalogue()?.map(|held| with_edition_facts(plan, &held));
        let held = HeldState { catalogue, committed: snapshot.committed().clone() };
        let mut report = PlanReport::compare(plan, (name, &dir.display().to_string()), &held)?;
        // Files are looked for where the state is, not where another process may run.
        report.obstacles.extend(written_before(plan, &held.catalogue.clone().unwrap_or_default()));
        for table_id in report.parts.iter().flat_map(|part| part.filled_from.keys()) {
            if !report.sizes.contains_key(table_id) {
                report.sizes.insert(*table_id, measure(&snapshot, *table_id)?);
            }
        }
        Ok(report)
    }

    /// Compares a plan with the state of a running topology.
    fn ask(plan: &Plan, name: &str, url: &str) -> Result<PlanReport> {
        let text = query::send_get(&query::base_url(url), "/v1/state", query::read_token()?)?;
        let mut held: HeldState = serde_json::from_str(&text).context("the answer is none of Herald's")?;
        held.catalogue = held.catalogue.map(|held| with_edition_facts(plan, &held));
        PlanReport::compare(plan, (name, url), &held)
    }

    /// Compares a plan with a state; no table is measured yet.
    fn compare(plan: &Plan, (name, place): (&str, &str), state: &HeldState) -> Result<PlanReport> {
        let held = state.catalogue.clone().unwrap_or_default();
        if !held.topology.is_empty() && held.topology != name {
            let (dir, held, wanted) = (PathBuf::from(place), held.topology, name.to_owned());
            return Err(StateError::Foreign { dir, held, wanted }.into());
        }
        let (again, edition) = Edition::read_again(plan, (&held, &state.committed.progress), false)?;
        let progress = edition.progress(&state.committed.progress);
        let Edition { mut parts, mut refusals, tables, .. } = edition;
        let mut unknown = None;
        let is_same = StateTables::of(plan, Some(&held)).is_ok() || resumed(plan, &held).is_some();
        if again.again.is_some() && refusals.is_empty() && !is_same {
            match SecondReaders::open(name, &again, &progress) {
                Ok(seconds) => refusals.extend(gone_obstacles(&again, &seconds.gone(&again))),
                Err(error) => unknown = Some(format!("{error:#}")),
            }
        }
        let in_pieces = tables.pieces.is_some();
        // A state of an earlier release does not say all that an edit goes by, and needs not for the same text.
        if is_same && (held.is_filling() || !refusals.is_empty()) {
            refusals.clear();
            parts.retain(|part| part.fate != Becomes::Removed);
            for part in &mut parts {
                *part = Part::unchanged(part.kind, &part.name);
            }
        }
        let keyed = plan.sources.iter().filter(|source| source.keyed.is_some());
        Ok(PlanReport {
            place: place.to_owned(),
            topology: name.to_owned(),
            epoch: state.committed.epoch,
            tables: keyed.map(|source| source.name.clone()).collect(),
            parts,
            obstacles: refusals,
            sizes: BTreeMap::new(),
            in_pieces,
            unknown,
        })
    }

    /// The exit code.
    fn code(&self) -> i32 {
        match () {
            () if !self.obstacles.is_empty() => OBSTACLE,
            () if self.parts.iter().any(Part::needs_attention) => ATTENTION,
            () => 0,
        }
    }

    /// The report for people.
    fn text(&self) -> String {
        let mut out = format!("Topology {}, epoch {} of {}\n\n", self.topology, self.epoch, self.place);
        for part in &self.parts {
            let line = format!(
                "{:<FATE_WIDTH$}{} {}{}",
                fate_word(part),
                self.kind(part),
                part.name,
                self.detail(part)
            );
            out.push_str(&wrapped(&line, FATE_WIDTH));
        }
        out.push('\n');
        for obstacle in &self.obstacles {
            out.push_str(&wrapped(&format!("- {}: {}.", obstacle.message, obstacle.hint), 2));
        }
        if !self.obstacles.is_empty() {
            out.push('\n');
        }
        if !self.sizes.is_empty() {
            let size = size_text(self.total());
            let sentence = match self.in_pieces {
                true => format!("{size} are read, piece by piece while the rest goes on."),
                false => format!("The first epoch reads {size}."),
            };
            out.push_str(&wrapped(&sentence, 0));
        }
        let again: BTreeSet<&str> =
            self.parts.iter().flat_map(|part| &part.read_again).map(String::as_str).collect();
        if !again.is_empty() {
            let again = again.into_iter().collect::<Vec<_>>().join(" and ");
            out.push_str(&wrapped(&format!("{again} are read again while the rest goes on."), 0));
        }
        if let Some(why) = &self.unknown {
            let text =
                format!("Whether all records are there that are to be read again is not known: {why}.");
            out.push_str(&wrapped(&text, 0));
        }
        out.push_str(&wrapped(self.verdict(), 0));
        out
    }

    /// The last sentence.
    fn verdict(&self) -> &'static str {
        match self.code() {
            OBSTACLE if self.obstacles.iter().all(|obstacle| obstacle.is_gap) => {
                "A run is refused, unless it may begin without those rows: --allow-gap."
            }
            OBSTACLE => "A run is refused.",
            ATTENTION => "A run does this. Look at all that is changed or removed first.",
            _ if self.parts.iter().all(|part| part.fate == Becomes::Unchanged) => "There is nothing to do.",
            _ => "A run does this. It is safe: nothing is rebuilt, removed or sent again.",
        }
    }

    /// The word for a part's kind.
    fn kind(&self, part: &Part) -> &'static str {
        match part.kind {
            PartKind::Source if self.tables.contains(&part.name) => "table",
            kind => kind.word(),
        }
    }

    /// The rest of a part's line.
    fn detail(&self, part: &Part) -> String {
        let mut details = Vec::new();
        if let Becomes::Renamed { was } = &part.fate {
            details.push(format!("was {was}"));
        }
        if !part.because.is_empty() {
            details.push(format!("rebuilt because of {}", part.because.join(", ")));
        }
        match (part.kind, &part.fate) {
            (PartKind::Source, Becomes::New | Becomes::Changed) if part.gap.is_none() => {
                details.push("read from its first record".to_owned());
            }
            (PartKind::Sink, Becomes::Removed) => details.push("its topic or file stays".to_owned()),
            (_, Becomes::Removed) => details.push("its rows are deleted".to_owned()),
            _ => {}
        }
        details.extend(part.sends.as_ref().map(sends_text));
        if !part.filled_from.is_empty() {
            let mut from = Vec::with_capacity(part.filled_from.len());
            for (table_id, name) in &part.filled_from {
                from.push(match self.sizes.get(table_id) {
                    Some(size) => format!("{name} ({})", size_text(*size)),
                    None => name.clone(),
                });
            }
            details.push(format!("filled from {}", from.join(" and ")));
        }
        if !part.read_again.is_empty() {
            details.push(format!("filled from {}, read again", part.read_again.join(" and ")));
        }
        details.extend(part.gap.as_ref().map(|gap| format!("not whole: {gap}")));
        if details.is_empty() { String::new() } else { format!(": {}", details.join("; ")) }
    }

    /// All that is read.
    fn total(&self) -> ReadSize {
        let mut total = ReadSize { exact: true, ..ReadSize::default() };
        for size in self.sizes.values() {
            total.rows += size.rows;
            total.bytes += size.bytes;
            total.exact &= size.exact;
        }
        total
    }

    /// The report for programs.
    fn json(&self) -> serde_json::Value {
        let mut parts = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let was = match &part.fate {
                Becomes::Renamed { was } => Some(was),
                _ => None,
            };
            parts.push(json!({
                "kind": self.kind(part),
                "name": part.name,
                "fate": fate_word(part),
                "was": was,
                "because": part.because,
                "filled_from": part.filled_from.values().collect::<Vec<_>>(),
                "read_again": part.read_again,
                "sends": part.sends.as_ref().map(sends_word),
                "gap": part.gap,
            }));
        }
        let mut obstacles = Vec::with_capacity(self.obstacles.len());
        for Obstacle { part, message, hint, is_gap } in &self.obstacles {
            obstacles.push(json!({ "part": part, "message": message, "hint": hint, "is_gap": is_gap }));
        }
        let total = self.total();
        json!({
            "topology": self.topology,
            "epoch": self.epoch,
            "exit_code": self.code(),
            "parts": parts,
            "obstacles": obstacles,
            "in_pieces": self.in_pieces,
            "records_unknown": self.unknown,
            "rows_read": total.rows,
            "bytes_read": total.bytes,
        })
    }
}

/// Counts the rows of a state table, up to a limit.
fn measure(snapshot: &Snapshot<'_>, table_id: u32) -> Result<ReadSize> {
    let (mut size, mut scan) =
        (ReadSize { exact: true, ..ReadSize::default() }, snapshot.iter(table_id, &[])?);
    while let Some((key, value)) = scan.next_entry()? {
        if size.rows == COUNTED_ROWS {
            size.exact = false;
            size.bytes = size.bytes.max(snapshot.estimated_bytes(table_id)?);
            break;
        }
        size.rows += 1;
        size.bytes += (key.len() + value.len()) as u64;
    }
    Ok(size)
}

/// Rows and bytes, in words.
fn size_text(size: ReadSize) -> String {
    let more = if size.exact { "" } else { "more than " };
    let rows = if size.rows == 1 { "row" } else { "rows" };
    let bytes = match size.bytes {
        0..10_240 => format!("{} bytes", size.bytes),
        10_240..10_485_760 => format!("{} KiB", size.bytes >> 10),
        _ => format!("{} MiB", size.bytes >> 20),
    };
    format!("{more}{} {rows}, {bytes}", size.rows)
}

/// The output of a sink, in words.
fn sends_text(sends: &Sends) -> String {
    match sends {
        Sends::Nothing => "sends nothing".to_owned(),
        Sends::Difference => "sends the difference".to_owned(),
        Sends::All { reason: None } => "sends all rows".to_owned(),
        Sends::All { reason: Some(reason) } => format!("sends all rows, as {reason}"),
        Sends::Refused => "can send nothing right".to_owned(),
    }
}

/// The same in a word, for programs.
fn sends_word(sends: &Sends) -> &'static str {
    match sends {
        Sends::Nothing => "nothing",
        Sends::Difference => "difference",
        Sends::All { .. } => "all",
        Sends::Refused => "refused",
    }
}

/// A text in lines of at most [`WIDTH`] columns; those behind the first are indented. Its first spaces stay.
pub fn wrapped(text: &str, indent: usize) -> String {
    let words = text.trim();
    let (mut out, mut line) = (String::new(), " ".repeat(text.trim_end().len() - words.len()));
    for word in words.split(' ') {
        let begun = !line.trim().is_empty();
        if begun && line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(line.trim_end());
            out.push('\n');
            line = " ".repeat(indent);
        } else if begun {
            line.push(' ');
        }
        line.push_str(word);
    }
    out.push_str(line.trim_end());
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_wrapped_behind_the_word_for_the_fate() {
        let text = format!("{:<FATE_WIDTH$}view {}", "new", "totals: ".repeat(12));
        let lines = wrapped(&text, FATE_WIDTH);
        assert!(lines.lines().all(|line| line.chars().count() <= WIDTH), "{lines}");
        assert!(lines.starts_with("new        view totals: "), "{lines}");
        assert!(lines.lines().skip(1).all(|line| line.starts_with("           totals:")), "{lines}");
        assert_eq!(wrapped("one word\n", 0), "one word\n");
    }

    #[test]
    fn sizes_read_as_words() {
        let size = |rows, bytes, exact| size_text(ReadSize { rows, bytes, exact });
        assert_eq!(size(1, 20, true), "1 row, 20 bytes");
        assert_eq!(size(1_000_000, 20 << 20, false), "more than 1000000 rows, 20 MiB");
    }
}
