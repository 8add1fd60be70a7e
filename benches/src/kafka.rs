//! A broker for the length of a bench, started and stopped by the project's script.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::paths::Paths;

/// A running broker; dropping it stops it.
pub struct Kafka {
    /// Address that clients connect to.
    pub bootstrap: String,
    script: PathBuf,
    dir: PathBuf,
}

impl Kafka {
    /// Starts one in the bench's directory. It ends with this process even when that is killed.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(paths: &Paths) -> Result<Kafka> {
        let (script, dir) = (paths.kafka_script.clone(), paths.work_path("kafka"));
        let mut command = Command::new(&script);
        command.arg("start").arg(&dir).arg("--watch").arg(std::process::id().to_string());
        command.stderr(std::process::Stdio::inherit());
        let output = command.output().context("scripts/kafka.sh cannot be run")?;
        ensure!(output.status.success(), "scripts/kafka.sh did not start a broker");
        let said = String::from_utf8_lossy(&output.stdout);
        let bootstrap = said.lines().find_map(|line| line.strip_prefix("bootstrap="));
        let bootstrap = bootstrap.context("scripts/kafka.sh did not say where the broker is")?.to_owned();
        Ok(Kafka { bootstrap, script, dir })
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        // The broker's data are deleted with the directory; --watch ends it should this fail.
        let _ = Command::new(&self.script).arg("stop").arg(&self.dir).arg("--now").status();
    }
}
