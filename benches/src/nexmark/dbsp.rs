//! The queries that are circuits of dbsp: a program of its own, which is compiled once.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::events::Events;
use crate::paths::Paths;

/// The version of dbsp, as `benches/peers/dbsp/Cargo.toml` pins it.
pub const VERSION: &str = "0.375.0";

/// The program.
pub struct Dbsp {
    program: PathBuf,
    /// The queries that it has.
    queries: Vec<String>,
}

impl Dbsp {
    /// Compiles the program, once, and asks it for its queries.
    ///
    /// # Errors
    /// When it cannot be compiled.
    pub fn build(paths: &Paths) -> Result<Dbsp> {
        let program = PathBuf::from(said(&mut Command::new(paths.peers.join("dbsp.sh")))?);
        let queries = said(Command::new(&program).arg("--queries"))?;
        Ok(Dbsp { program, queries: queries.split(',').map(str::to_owned).collect() })
    }

    /// Tells whether it has a query.
    pub fn has(&self, query: &str) -> bool {
        self.queries.contains(&query.to_owned())
    }

    /// The command that runs a query over files.
    pub fn command(&self, query: &str, events: &Events) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(query).arg(&events.dir);
        command
    }
}

/// The line that a command prints.
fn said(command: &mut Command) -> Result<String> {
    let name = command.get_program().display().to_string();
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("{name} cannot be run"))?;
    ensure!(output.status.success(), "{name} failed");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_pinned_one() {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/dbsp/Cargo.toml");
        let manifest = std::fs::read_to_string(manifest).unwrap();
        assert!(manifest.contains(&format!("dbsp = \"={VERSION}\"")));
    }
}
