//! Two directories of a pair: in `edited` the old edition runs and then the new one over its state, in `fresh` the
//! new one alone. Each has the files of its sources in `in` and those of its sinks in `out`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::feed::Feed;
use super::held::Held;
use super::topology::Topology;
use crate::child::{self, Ended, Herald};

/// Longest time of a command.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The file of the old edition. The names of both files are one, for it is that of the topology.
pub const OLD: &str = "old/pair.sql";
/// The file of the new edition.
pub const NEW: &str = "new/pair.sql";

/// The directories of a pair.
pub struct Scene {
    /// The directory above both.
    pub dir: PathBuf,
    /// Where the old edition runs, and then the new one.
    pub edited: PathBuf,
    /// Where the new edition alone runs.
    pub fresh: PathBuf,
}

impl Scene {
    /// Makes the directories, with all records in one and the first part of them in the other.
    pub fn new(old: &Topology, new: &Topology, feeds: &[Feed]) -> Scene {
        let dir = tempfile::Builder::new().prefix("herald-edit-").tempdir().expect("a directory").keep();
        let scene = Scene { edited: dir.join("edited"), fresh: dir.join("fresh"), dir };
        for side in [&scene.edited, &scene.fresh] {
            for folder in ["in", "out", "old", "new"] {
                fs::create_dir_all(side.join(folder)).expect("a directory");
            }
            fs::write(side.join(NEW), new.sql()).expect("a file");
        }
        fs::write(scene.edited.join(OLD), old.sql()).expect("a file");
        for feed in feeds {
            let name = format!("in/{}.jsonl", feed.table.name());
            fs::write(scene.edited.join(&name), &feed.before).expect("a file");
            fs::write(scene.fresh.join(&name), [feed.before.as_str(), &feed.after].concat()).expect("a file");
        }
        scene
    }

    /// Appends the second part of the records.
    pub fn append(&self, feeds: &[Feed]) {
        for feed in feeds {
            let path = self.edited.join(format!("in/{}.jsonl", feed.table.name()));
            let mut file = fs::File::options().append(true).open(path).expect("a file");
            file.write_all(feed.after.as_bytes()).expect("records");
        }
    }

    /// Starts the run of an edition to the end of the records.
    pub fn start(dir: &Path, file: &str, (workers, failpoints): (usize, &str)) -> Herald {
        let workers = workers.to_string();
        let args = ["run", file, "--state", "state", "--listen", "off", "--once"];
        let args = [&args[..], &["--workers", &workers, "--memory", "256MiB"]].concat();
        Herald::start(dir, &args, &[("HERALD_FAILPOINTS", failpoints)])
    }

    /// Runs an edition over the state to the end of the records.
    pub fn run(&self, file: &str, workers: usize, failpoints: &str) -> Ended {
        Scene::start(&self.edited, file, (workers, failpoints)).wait(PATIENCE)
    }

    /// Waits for a run to end well.
    ///
    /// # Errors
    /// Its output, if it did not.
    pub fn ended_well(what: &str, ended: Ended) -> Result<Ended, String> {
        match ended.code {
            Some(0) => Ok(ended),
            code => Err(format!("{what} ended with {code:?}:\n{}\n{}", ended.stdout, ended.stderr)),
        }
    }

    /// Waits for the fresh run.
    ///
    /// # Errors
    /// Its output, if it did not end well.
    pub fn wait_for_fresh(herald: Herald) -> Result<(), String> {
        Scene::ended_well("the fresh run", herald.wait(PATIENCE)).map(|_| ())
    }

    /// The output of `herald plan` for the new edition.
    pub fn plan(&self) -> Ended {
        let args = ["plan", NEW, "--state", "state", "--format", "json"];
        child::herald(&self.edited, &args, &[], PATIENCE)
    }

    /// The content of the edited run's state, which no run has open.
    ///
    /// # Errors
    /// The failed read.
    pub fn held(&self) -> Result<Held, String> {
        Held::read(&self.edited.join("state"))
    }

    /// Derives every view again from the state and compares.
    ///
    /// # Errors
    /// The output of `state verify`, if a view differs.
    pub fn verify(&self, text: &str) -> Result<(), String> {
        let args = ["state", "verify", "state", text];
        let ended = child::herald(&self.edited, &args, &[], PATIENCE);
        Scene::ended_well("state verify", ended).map(|_| ())
    }

    /// The rows of all materialized views of a state, sorted, each with its view's name in front.
    ///
    /// # Errors
    /// The output of `herald query`, if it failed.
    pub fn rows(dir: &Path, topology: &Topology) -> Result<Vec<String>, String> {
        let question = topology.question();
        let args = ["query", question.as_str(), "--state", "state", "--format", "csv"];
        let ended = Scene::ended_well("the query", child::herald(dir, &args, &[], PATIENCE))?;
        let mut rows: Vec<String> = ended.stdout.lines().skip(1).map(str::to_owned).collect();
        rows.sort();
        Ok(rows)
    }

    /// The paths of the files in `out` with their content, without those of some paths.
    pub fn outputs(&self, without: &BTreeSet<String>) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(self.edited.join("out")).expect("a directory").flatten() {
            let path = format!("out/{}", entry.file_name().to_string_lossy());
            if path.ends_with(".jsonl") && !without.contains(&path) {
                found.insert(path, fs::read_to_string(entry.path()).expect("text"));
            }
        }
        found
    }

    /// Removes the directories.
    pub fn remove(self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}
