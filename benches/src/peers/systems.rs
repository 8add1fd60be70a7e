//! The systems that are compared, each as a command whose process does all of its work.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::games::{CHAMPIONS, Shape};
use crate::paths::Paths;

/// Packages that Flink reaches into, as its own start script opens them.
const FLINK_OPENS: [&str; 10] = [
    "java.base/java.lang",
    "java.base/java.lang.invoke",
    "java.base/java.lang.reflect",
    "java.base/java.math",
    "java.base/java.net",
    "java.base/java.nio",
    "java.base/java.text",
    "java.base/java.time",
    "java.base/java.util",
    "java.base/java.util.concurrent",
];

/// A system under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// Herald, as it comes.
    Herald,
    /// Kafka Streams as it comes, exactly once.
    Streams,
    /// Kafka Streams with settings for throughput.
    StreamsTuned,
    /// Flink SQL with the settings of its file.
    Flink,
}

impl System {
    /// All of them.
    pub const ALL: [System; 4] = [System::Herald, System::Streams, System::StreamsTuned, System::Flink];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            System::Herald => "herald",
            System::Streams => "streams",
            System::StreamsTuned => "streams-tuned",
            System::Flink => "flink",
        }
    }

    /// Its name in tables, with the version of a peer.
    pub fn title(self) -> &'static str {
        match self {
            System::Herald => "Herald",
            System::Streams => "Kafka Streams 4.4.0",
            System::StreamsTuned => "Kafka Streams 4.4.0, tuned",
            System::Flink => "Flink SQL 2.2.1",
        }
    }

    /// The system of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn parse(name: &str) -> Result<System> {
        match System::ALL.into_iter().find(|system| system.name() == name) {
            Some(system) => Ok(system),
            None => bail!("{name} is not known; there are herald, streams, streams-tuned and flink"),
        }
    }

    /// The command that runs the job of `place`.
    ///
    /// # Errors
    /// When its SQL cannot be written.
    pub fn command(self, paths: &Paths, jars: &Path, place: &Place) -> Result<Command> {
        match self {
            System::Herald => {
                let mut command = herald(paths, place)?;
                command.args(["--listen", "off"]);
                Ok(command)
            }
            System::Streams => Ok(streams(jars, place, &[], &[])),
            System::StreamsTuned => {
                let settings = ["num.stream.threads=2", "commit.interval.ms=2000"];
                Ok(streams(jars, place, &["-XX:+UseParallelGC"], &settings))
            }
            System::Flink => {
                let sql = place.write_sql(&paths.peers.join(place.shape.flink_sql()))?;
                let mut command = flink(jars);
                command.arg(sql);
                Ok(command)
            }
        }
    }
}

/// Herald's job, without a server's address.
///
/// # Errors
/// When its SQL cannot be written.
pub fn herald(paths: &Paths, place: &Place) -> Result<Command> {
    let sql = place.write_sql(&paths.peers.join(place.shape.herald_sql()))?;
    let mut command = Command::new(&paths.herald);
    command.arg("run").arg(sql).args(["--name", &place.name, "--state"]).arg(&place.state);
    Ok(command)
}

/// Kafka Streams' job with options of the JVM and settings of its own.
pub fn streams(jars: &Path, place: &Place, jvm: &[&str], settings: &[&str]) -> Command {
    let mut command = java(jars, "streams");
    command.args(jvm).arg("Streams").args(settings);
    command.args(place.values().map(|(name, value)| format!("{name}={value}")));
    command
}

/// Flink in a local cluster; the file of its SQL is yet to be named.
pub fn flink(jars: &Path) -> Command {
    let mut command = java(jars, "flink");
    command.args(FLINK_OPENS.map(|package| format!("--add-opens={package}=ALL-UNNAMED")));
    command.arg("Flink");
    command
}

/// A JVM with a peer's classes and jars.
fn java(jars: &Path, peer: &str) -> Command {
    let mut command = Command::new("java");
    let (classes, jars) = (jars.join("classes").join(peer), jars.join(peer));
    command.arg("-cp").arg(format!("{}:{}/*", classes.display(), jars.display()));
    command.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn");
    command
}

/// Places that one run reads and writes.
pub struct Place {
    /// The broker.
    pub bootstrap: String,
    /// Name of the run; its topics begin with it.
    pub name: String,
    /// Shape of the records.
    pub shape: Shape,
    /// Topic of the records.
    pub input: String,
    /// Topics of answers: champions by the hour, players.
    pub answers: [String; 2],
    /// Directory of the system's state.
    pub state: PathBuf,
}

impl Place {
    /// Places of the run of that name.
    pub fn new(bootstrap: &str, paths: &Paths, shape: Shape, name: &str) -> Place {
        let answers = ["hours", "players"].map(|topic| format!("{name}-{topic}"));
        Place {
            bootstrap: bootstrap.to_owned(),
            name: name.to_owned(),
            shape,
            input: shape.topic().to_owned(),
            answers,
            state: paths.work_path(name),
        }
    }

    /// Names and values, as the jobs of the systems know them.
    fn values(&self) -> [(&'static str, String); 7] {
        let [hours, players] = self.answers.clone();
        [
            ("KAFKA_BOOTSTRAP", self.bootstrap.clone()),
            ("NAME", self.name.clone()),
            ("INPUT", self.input.clone()),
            ("CHAMPIONS", CHAMPIONS.to_owned()),
            ("HOURS", hours),
            ("PLAYERS", players),
            ("STATE", self.state.display().to_string()),
        ]
    }

    /// Writes a file of SQL with the run's values beside the run's state and returns its path.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn write_sql(&self, shipped: &Path) -> Result<PathBuf> {
        let text = std::fs::read_to_string(shipped);
        let mut text = text.with_context(|| format!("cannot read {}", shipped.display()))?;
        for (name, value) in self.values() {
            text = text.replace(&format!("${{{name}}}"), &value);
        }
        let path = self.state.with_extension("sql");
        std::fs::write(&path, text)?;
        Ok(path)
    }
}
