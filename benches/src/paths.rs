//! Paths of a run: the scripts, the shipped topology, the binary under test, and a working directory.
//!
//! The topology is measured as it is shipped. For a run without Kafka only its `WITH` clauses are
//! rewritten: sources become files, sinks become blackholes; tables, views and keys stay as they are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The shipped topology of matches.
pub const SHIPPED_TOPOLOGY: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../dataflows/topologies/match_analytics.sql");

/// Paths of a run.
pub struct Paths {
    /// The binary under test, beside this one.
    pub herald: PathBuf,
    /// The bench's own binary, which runs itself as a child for the limit.
    pub bench: PathBuf,
    /// `scripts/kafka.sh`.
    pub kafka_script: PathBuf,
    /// `benches/peers`: the jobs of the peers, and the script that gets them.
    pub peers: PathBuf,
    /// `benches/nexmark`: Herald's texts of NEXMark's queries.
    pub nexmark: PathBuf,
    /// The page that holds the table of queries.
    pub queries_page: PathBuf,
    topology: PathBuf,
    work_dir: tempfile::TempDir,
}

impl Paths {
    /// Finds all paths. The working directory is beside the build: on a disk, unlike a `/tmp` in memory.
    ///
    /// # Errors
    /// When the binary was not built.
    pub fn find() -> Result<Paths> {
        let bench = std::env::current_exe().context("cannot tell where this binary is")?;
        let beside = bench.parent().context("this binary is nowhere")?;
        let herald = beside.join("herald");
        ensure!(herald.exists(), "there is no herald beside herald-benches; build it: make build");
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let work_dir = tempfile::Builder::new().prefix("herald-bench-").tempdir_in(beside)?;
        Ok(Paths {
            kafka_script: project.join("scripts/kafka.sh"),
            peers: project.join("benches/peers"),
            nexmark: project.join("benches/nexmark"),
            queries_page: project.join("docs/queries.md"),
            topology: PathBuf::from(SHIPPED_TOPOLOGY),
            herald,
            bench,
            work_dir,
        })
    }

    /// A path in the working directory.
    pub fn work_path(&self, name: &str) -> PathBuf {
        self.work_dir.path().join(name)
    }

    /// Writes the topology as shipped, but with another topic of matches and with output topics of the run's
    /// own, which no other topology wrote, and returns its path.
    ///
    /// # Errors
    /// When the shipped topology cannot be read.
    pub fn topology_over(&self, topic: &str, run: &str) -> Result<PathBuf> {
        let shipped = std::fs::read_to_string(&self.topology).context("cannot read the topology")?;
        let path = self.work_path(&format!("{run}.sql"));
        let of_run = shipped
            .replace("'match.completed'", &format!("'{topic}'"))
            .replace("'analytics.computed.", &format!("'{run}.computed."));
        std::fs::write(&path, of_run)?;
        Ok(path)
    }

    /// Writes the topology without Kafka and returns its path. It reads `${MATCHES}` and
    /// `${CHAMPIONS}`, and waits for more matches with `FOLLOW=true`.
    ///
    /// # Errors
    /// When the shipped topology cannot be read.
    pub fn topology_without_kafka(&self) -> Result<PathBuf> {
        let shipped = std::fs::read_to_string(&self.topology).context("cannot read the topology")?;
        let path = self.work_path("match_analytics.sql");
        std::fs::write(&path, without_kafka(&shipped)?)?;
        Ok(path)
    }
}

/// The topology's text with every `WITH` of a Kafka connector replaced.
fn without_kafka(shipped: &str) -> Result<String> {
    let mut blocks = shipped.split("WITH (\n");
    let mut text = blocks.next().unwrap_or_default().to_owned();
    for block in blocks {
        let (options, rest) = block.split_once("\n)").context("a WITH clause does not end")?;
        let topic = quoted_value(options, "topic").context("a WITH clause names no topic")?;
        let mut replaced = match topic {
            "match.completed" => {
                "  connector = 'file', path = '${MATCHES}', follow = '${FOLLOW:-false}'".to_owned()
            }
            "champion" => "  connector = 'file', path = '${CHAMPIONS}'".to_owned(),
            _ => "  connector = 'blackhole'".to_owned(),
        };
        if let Some(key) = quoted_value(options, "primary_key") {
            replaced.push_str(&format!(", primary_key = '{key}'"));
        }
        text.push_str(&format!("WITH (\n{replaced}\n){rest}"));
    }
    ensure!(!text.contains("'kafka'"), "the topology reads Kafka in a way this bench does not know");
    Ok(text)
}

/// The value of ` name = 'value'`.
fn quoted_value<'a>(options: &'a str, name: &str) -> Option<&'a str> {
    let (_, after) = options.split_once(&format!(" {name} = '"))?;
    after.split_once('\'').map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_connectors_are_rewritten() {
        let shipped = "CREATE TABLE m (\n  a INT\n) WITH (\n  connector = 'kafka', topic = 'champion',\n  x = 'y'\n) FORMAT PLAIN;\n\
             CREATE SINK s FROM v WITH (\n  connector = 'kafka', topic = 'out',\n  primary_key = 'a'\n) FORMAT UPSERT;";
        let wanted = "CREATE TABLE m (\n  a INT\n) WITH (\n  connector = 'file', path = '${CHAMPIONS}'\n) FORMAT PLAIN;\n\
             CREATE SINK s FROM v WITH (\n  connector = 'blackhole', primary_key = 'a'\n) FORMAT UPSERT;";
        assert_eq!(without_kafka(shipped).ok().as_deref(), Some(wanted));
    }
}
