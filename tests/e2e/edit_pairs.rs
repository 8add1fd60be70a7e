//! Random pairs of topologies: an edition runs over the first part of the records, the next one over its state and
//! the rest, and a third run, of the next one alone, over all. The second must end as the third does.
//!
//! - Every materialized view has the rows of the fresh run, and every sink folds to what the fresh run's folds to.
//! - Before new records come, a sink whose view is what it was gets no line, and one of FORMAT UPSERT over a changed
//!   view only lines that differ from what it last got, one a key. The files of dropped sinks stay as they are.
//! - `herald plan` calls unchanged, renamed, changed and new what is so. The views of which it says that they go on,
//!   and their operators, have the state tables that they had, with the same entries; all others have new ones. The
//!   epochs that fill them, some rows each, read no record and make no more for the sinks than these get, at the first
//!   and at the last of them.
//! - In most pairs the edited run is killed at one or two places first, some of them in the middle of a filling.
//!
//! ```console
//! $ cargo test --release --test e2e edit_pairs                                      # twelve pairs
//! $ make pairs                                                                     # two hundred, of a random seed
//! $ HERALD_SEED=17 HERALD_PAIRS=1 cargo test --release --test e2e edit_pairs         # one pair again
//! ```
//!
//! A pair that fails prints its seed, both topologies and the first difference, and leaves its directory.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `query`, `topology` | queries and topologies as values, and their SQL |
//! | `draw`, `edits`, `feed` | random topologies, edits of them, and records |
//! | `scene` | the directories of a pair, and the commands that run in them |
//! | `plan`, `held`, `output` | the answer of `herald plan`, the content of the state, and the files of sinks |
//! | `refusals` | edits that are refused |

mod draw;
mod edits;
mod feed;
mod held;
mod output;
mod plan;
mod query;
mod refusals;
mod scene;
mod topology;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Instant;

use draw::Draw;
use edits::{Edited, Fate};
use feed::Feed;
use held::Held;
use plan::{Plan, Planned};
use query::Table;
use scene::{NEW, OLD, Scene};
use topology::{Sink, Topology};

use crate::child::Ended;
use crate::kills;

/// Pairs of a run that nobody asked to be longer.
const PAIRS: u64 = 12;
/// Pairs from which on every kind of edit must have been met.
const LONG: u64 = 150;
/// Beginnings of the failpoints that a run over files passes, and that stand in no task beside it.
const PASSED: [&str; 10] = [
    "driver.close.",
    "worker.",
    "commit.",
    "store.commit.",
    "store.write.",
    "store.published.",
    "publish.before",
    "publish.after",
    "file.",
    "recover.restore.",
];

/// Makes a filling let through three rows with each epoch, and read as many records again at a time.
const PIECES: &str = "edition.pieces=return(3);edition.again=return(3)";

/// A pair of editions, and how they are run.
struct Pair {
    old: Topology,
    edited: Edited,
    feeds: Vec<Feed>,
    /// Failpoints at which the edited run is killed, one after the other, with the times that they are passed then.
    kills: Vec<(String, u64)>,
    /// Workers of the old, the edited and the fresh run.
    workers: [usize; 3],
    /// True if the old edition comes back after the kills, and then the new one again.
    turns_back: bool,
}

/// Counts over all pairs.
#[derive(Default)]
struct Tally {
    edits: BTreeMap<&'static str, usize>,
    kills: BTreeMap<String, usize>,
    killed: usize,
    refused: usize,
    read_again: usize,
    turned: usize,
    kept: usize,
    silent: usize,
    differing: usize,
}

impl Pair {
    fn new(seed: u64, points: &[String]) -> Pair {
        let mut draw = Draw::new(seed);
        let old = draw.topology();
        let edited = draw.edited(&old);
        let feeds = Table::ALL.map(|table| Feed::new(&mut draw, table)).into();
        let mut kills = Vec::new();
        for _ in 0..draw.int(0..3) {
            let point: Option<String> = draw.one(points);
            // Mostly the first time that it is passed, else in the middle of a filling.
            let nth = if draw.int(0..2) == 0 { 1 } else { draw.int(2..5) };
            kills.extend(point.map(|point| (point, nth as u64)));
        }
        let workers = [0; 3].map(|_| draw.int(1..4) as usize);
        let turns_back = draw.chance(0.3);
        Pair { old, edited, feeds, kills, workers, turns_back }
    }

    fn new_edition(&self) -> &Topology {
        &self.edited.new
    }

    /// Runs both sides and compares them.
    ///
    /// # Errors
    /// The first thing that is not as it must be.
    fn judge(&self, scene: &Scene, tally: &mut Tally) -> Result<(), String> {
        let [workers, edited_workers, fresh_workers] = self.workers;
        let fresh = Scene::start(&scene.fresh, NEW, (fresh_workers, ""));
        Scene::ended_well("the old edition", scene.run(OLD, workers, ""))?;
        let (planned, held, before) = (scene.plan(), scene.held()?, self.lines_of_sinks(scene));
        let dropped = scene.outputs(&self.paths());
        if !self.fill(scene, &planned, tally)? {
            return Scene::wait_for_fresh(fresh);
        }
        let plan = Plan::read(&planned)?;
        self.check_plan(&plan)?;
        let turned = self.turn_back(scene, tally)?;
        // Goes on where the last kill has ended it.
        let ended = scene.run(NEW, edited_workers, PIECES);
        if turned && ended.stderr.contains("a sink has written there before") {
            return Scene::wait_for_fresh(fresh);
        }
        Scene::ended_well("the edited run", ended)?;
        if !turned && !self.turns_back {
            let sent = self.check_added(&plan, (scene, &before), tally)?;
            self.check_held(&plan, (&held, &scene.held()?), (sent, tally))?;
        }
        scene.verify(NEW)?;
        if !self.turns_back {
            scene.append(&self.feeds);
        }
        Scene::ended_well("the edited run with new records", scene.run(NEW, workers, ""))?;
        Scene::wait_for_fresh(fresh)?;
        self.compare(scene)?;
        if scene.outputs(&self.paths()) != dropped {
            return Err("the file of a sink that is gone has changed".to_owned());
        }
        Ok(())
    }

    /// Kills the edited run at each of the failpoints. Returns false if it is refused, which it may be where records
    /// are gone, and then the old edition must go on.
    fn fill(&self, scene: &Scene, planned: &Ended, tally: &mut Tally) -> Result<bool, String> {
        let workers = self.workers[1];
        if self.edited.may_be_refused {
            // The plan says the same as the run, and neither changes anything.
            let refused = scene.run(NEW, workers, "store.write.before=kill");
            if refused.code == Some(2) {
                return self.check_refused(scene, (planned, &refused), tally).map(|()| false);
            }
        }
        for (point, nth) in &self.kills {
            let ended = scene.run(NEW, workers, &format!("{PIECES};{point}=kill@{nth}"));
            let is_killed = ended.code.is_none() && ended.stderr.contains(&format!("failpoint {point}: "));
            if !is_killed {
                // A place that this edit does not pass: the run has ended.
                Scene::ended_well("the edited run", ended)?;
                break;
            }
            tally.killed += 1;
            *tally.kills.entry(point.clone()).or_default() += 1;
        }
        Ok(true)
    }

    /// Runs the old edition over the state that the kills have left, perhaps a filling in the middle, if the pair does so. Returns
    /// false if it does not, or the sinks of the new edition stand in the way.
    fn turn_back(&self, scene: &Scene, tally: &mut Tally) -> Result<bool, String> {
        if !self.turns_back {
            return Ok(false);
        }
        scene.append(&self.feeds);
        scene.run(NEW, self.workers[1], &format!("{PIECES};fill.piece.closed=kill@3"));
        let ended = scene.run(OLD, self.workers[0], PIECES);
        if ended.code == Some(2)
            && ["sink ", "not published yet"].iter().any(|why| ended.stderr.contains(why))
        {
            return Ok(false);
        }
        Scene::ended_well("the old edition again", ended)?;
        scene.verify(OLD)?;
        tally.turned += 1;
        Ok(true)
    }

    /// Checks that a refused edit is refused in words, and leaves the state to the old edition.
    fn check_refused(
        &self,
        scene: &Scene,
        (planned, refused): (&Ended, &Ended),
        tally: &mut Tally,
    ) -> Result<(), String> {
        let said = &refused.stderr;
        if !["--allow-gap", "--fresh"].iter().any(|flag| said.contains(flag)) || !said.contains("clicks") {
            return Err(format!("the refusal does not name source and flag:\n{said}"));
        }
        if planned.code != Some(plan::OBSTACLE) {
            return Err(format!("the run is refused, and the plan is not:\n{}\n{said}", planned.stdout));
        }
        let before = scene.outputs(&BTreeSet::new());
        Scene::ended_well("the old edition after a refusal", scene.run(OLD, self.workers[1], ""))?;
        if scene.outputs(&BTreeSet::new()) != before {
            return Err("after a refused edit the old edition sends something".to_owned());
        }
        tally.refused += 1;
        Ok(())
    }

    /// The paths of the files of the new edition's sinks.
    fn paths(&self) -> BTreeSet<String> {
        self.new_edition().sinks.iter().map(Sink::path).collect()
    }

    /// The lines of the files of the new edition's sinks, by their numbers.
    fn lines_of_sinks(&self, scene: &Scene) -> BTreeMap<u32, Vec<String>> {
        let sinks = self.new_edition().sinks.iter();
        sinks.map(|sink| (sink.id, output::lines(&scene.edited, sink))).collect()
    }

    /// Checks what the plan says against what the edits did.
    fn check_plan(&self, plan: &Plan) -> Result<(), String> {
        let new = self.new_edition();
        for view in new.views.iter().filter(|view| view.materialized) {
            let Some(found) = plan.views.get(&view.name) else {
                return Err(format!("the plan has no view {}: {plan:?}", view.name));
            };
            let (fate, was) = match edits::fate_of_view(&self.old, new, view.id) {
                Fate::Unchanged => ("unchanged", None),
                Fate::Renamed(was) => ("renamed", Some(was)),
                Fate::Changed => ("changed", None),
                Fate::New => ("new", None),
                Fate::Any => continue,
            };
            // A query that says the same in other words as one that is gone may go on as it.
            let gone = |was: &String| plan.views.keys().all(|name| name != was);
            let goes_on = fate == "new" && found.was.as_ref().is_some_and(gone);
            if (found.fate != fate || found.was != was) && !goes_on {
                return Err(format!(
                    "the plan says of view {} {found:?}, and it is {fate} {was:?}",
                    view.name
                ));
            }
        }
        for sink in &new.sinks {
            let Some(found) = plan.sinks.get(&sink.name) else {
                return Err(format!("the plan has no sink {}: {plan:?}", sink.name));
            };
            // What shares a view that is not kept may be filled again, with the same rows.
            let shares = self.old.shares_steps(sink.view) || new.shares_steps(sink.view);
            if !shares && edits::is_silent(&self.old, new, sink.id) && !found.is_silent() {
                return Err(format!("the plan says of sink {} {found:?}, and it is what it was", sink.name));
            }
        }
        Ok(())
    }

    /// Checks the state before and after the edit, over which so many lines were sent.
    fn check_held(
        &self,
        plan: &Plan,
        (before, after): (&Held, &Held),
        (sent, tally): (usize, &mut Tally),
    ) -> Result<(), String> {
        let mut views = BTreeSet::new();
        for view in self.new_edition().views.iter().filter(|view| !self.reads_new_table(view.id)) {
            views.insert(view.name.clone());
        }
        tally.kept += after.check_kept(before, plan, &views)?;
        let has_new_table = self.new_edition().tables.iter().any(|table| !self.old.tables.contains(table));
        tally.read_again += usize::from(plan.reads_again);
        if has_new_table || plan.reads_again { Ok(()) } else { after.check_epochs(before, sent) }
    }

    /// Returns true if a view is over a table that the edit has added, whose records are new to the run.
    fn reads_new_table(&self, view: u32) -> bool {
        let meaning = self.new_edition().meaning(view);
        let mut added = self.new_edition().tables.iter().filter(|table| !self.old.tables.contains(table));
        added.any(|table| meaning.contains(table.name()))
    }

    /// Checks what the edit itself added to the sinks, before new records came. Returns the number of lines.
    fn check_added(
        &self,
        plan: &Plan,
        (scene, before): (&Scene, &BTreeMap<u32, Vec<String>>),
        tally: &mut Tally,
    ) -> Result<usize, String> {
        let mut sent = 0;
        for sink in &self.new_edition().sinks {
            let view = self.new_edition().view(sink.view).map_or("", |view| view.name.as_str());
            let was_there = self.old.sink(sink.id).is_some();
            let silent = plan.sinks.get(&sink.name).is_some_and(Planned::is_silent)
                || (was_there && plan.views.get(view).is_some_and(Planned::is_kept))
                || edits::is_silent(&self.old, self.new_edition(), sink.id);
            let before = before.get(&sink.id).map(Vec::as_slice).unwrap_or_default();
            let after = output::lines(&scene.edited, sink);
            // The records of a table that is added come in the same run, in epochs of their own.
            if !self.reads_new_table(sink.view) {
                output::check_added(sink, (before, &after), silent)
                    .map_err(|why| format!("sink {}, {}: {why}", sink.name, sink.path()))?;
            }
            tally.silent += usize::from(silent && !before.is_empty());
            tally.differing += usize::from(!silent && was_there && after.len() > before.len());
            sent += after.len() - before.len();
        }
        Ok(sent)
    }

    /// Compares views and sinks of the edited run with those of the fresh one.
    fn compare(&self, scene: &Scene) -> Result<(), String> {
        let new = self.new_edition();
        let (found, expected) = (Scene::rows(&scene.edited, new)?, Scene::rows(&scene.fresh, new)?);
        if let Some(at) = (0..found.len().max(expected.len())).find(|at| found.get(*at) != expected.get(*at))
        {
            let (found, expected) = (found.get(at), expected.get(at));
            return Err(format!("row {at} of the views is {found:?}, and {expected:?} in the fresh run"));
        }
        for sink in &new.sinks {
            let [found, expected] = [&scene.edited, &scene.fresh].map(|dir| {
                output::folded(sink, &output::lines(dir, sink))
                    .map_err(|why| format!("sink {}, {} in {}: {why}", sink.name, sink.path(), dir.display()))
            });
            if let Some(why) = output::difference(&found?, &expected?) {
                return Err(format!("sink {}, {}: {why}", sink.name, sink.path()));
            }
        }
        Ok(())
    }
}

/// The failpoints at which an edited run is killed: those that a run over files passes, and all whose name tells of
/// an edit or of filling.
fn failpoints() -> Vec<String> {
    let mut points = kills::named_failpoints(&["src", "state/src", "connectors/src", "dataflows/src"]);
    points.retain(|point| {
        // The size of pieces is no place.
        if PIECES.split(';').any(|size| size.starts_with(point.as_str())) {
            return false;
        }
        let is_of_edit = ["edit", "fill"].iter().any(|word| point.contains(word));
        is_of_edit || PASSED.iter().any(|start| point.starts_with(start))
    });
    points
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// The seeds of a run: those asked for; else half of them fixed and half of them random.
fn seeds() -> Vec<u64> {
    let (pairs, seed) = (number("HERALD_PAIRS").unwrap_or(PAIRS), number("HERALD_SEED"));
    if let Some(seed) = seed {
        return (seed..seed + pairs).collect();
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let random = 1000 + now.map_or(0, |now| u64::from(now.subsec_nanos()));
    println!("half of the seeds are from 1 on, half from {random} on");
    (1..=pairs / 2).chain(random..random + pairs - pairs / 2).collect()
}

/// The report of a pair that failed.
fn picture(seed: u64, pair: &Pair, (scene, why): (&Scene, &str)) -> String {
    let (edits, kills) = (&pair.edited.edits, &pair.kills);
    format!(
        "seed {seed}: {why}\nedits {edits:?}, kills {kills:?}, workers {:?}; the directory is {}\n\
         --- old\n{}--- new\n{}",
        pair.workers,
        scene.dir.display(),
        pair.old.sql(),
        pair.new_edition().sql()
    )
}

#[test]
fn edited_runs_end_as_fresh_ones() {
    let (seeds, points, begun) = (seeds(), failpoints(), Instant::now());
    let (mut tally, mut failures) = (Tally::default(), String::new());
    for seed in &seeds {
        let pair = Pair::new(*seed, &points);
        let scene = Scene::new(&pair.old, pair.new_edition(), &pair.feeds);
        for edit in &pair.edited.edits {
            *tally.edits.entry(*edit).or_default() += 1;
        }
        match pair.judge(&scene, &mut tally) {
            Ok(()) => scene.remove(),
            Err(why) => {
                let picture = picture(*seed, &pair, (&scene, &why));
                println!("{picture}");
                let _ = writeln!(failures, "{picture}");
            }
        }
    }
    println!(
        "{} pairs in {:?}, edits: {:#?}, kills: {:#?}",
        seeds.len(),
        begun.elapsed(),
        tally.edits,
        tally.kills
    );
    let Tally { killed, refused, read_again, turned, kept, silent, differing, .. } = tally;
    println!(
        "{killed} kills; {read_again} edits for which records were read again, {refused} refused; {turned} turned back; {silent} sinks that had nothing to send, \
         {differing} that sent a difference; {kept} views that were kept"
    );
    assert!(failures.is_empty(), "{failures}");
    if seeds.len() as u64 >= LONG {
        let never: Vec<&&str> =
            edits::EDITS.iter().filter(|edit| !tally.edits.contains_key(**edit)).collect();
        assert!(never.is_empty(), "edits that were never made: {never:?}");
        assert!(killed * 3 > seeds.len(), "{killed} kills of {} pairs", seeds.len());
        assert!(silent > 50 && differing > 10 && kept > 50, "{silent}, {differing}, {kept}");
        assert!(read_again > 10 && refused < read_again, "{read_again}, {refused}");
    }
}

/// The generator's topologies are accepted, both editions of a pair, and its edits change what they say.
#[test]
fn random_editions_pass_check() {
    let dir = tempfile::tempdir().expect("a directory");
    for folder in ["in", "out"] {
        std::fs::create_dir(dir.path().join(folder)).expect("a directory");
    }
    for seed in 1..=12 {
        let pair = Pair::new(seed, &[]);
        for topology in [&pair.old, pair.new_edition()] {
            std::fs::write(dir.path().join("pair.sql"), topology.sql()).expect("a file");
            let ended = crate::child::herald(dir.path(), &["check", "pair.sql"], &[], scene::PATIENCE);
            assert_eq!(
                ended.code,
                Some(0),
                "seed {seed}: {}\n{}\n{}",
                ended.stdout,
                ended.stderr,
                topology.sql()
            );
        }
        assert!(!pair.edited.edits.is_empty(), "seed {seed}");
    }
}
