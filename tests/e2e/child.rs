//! The `herald` binary as a child process, run as a user runs it.
//!
//! Its output goes to files, so that a full pipe cannot block it; a failing test shows the end of them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::servers;

/// A number from the environment, which makes a test longer or draws another one, or the one of CI.
pub fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The result of a command: exit code and output.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; None after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A running `herald`. Dropping it kills it.
pub struct Herald {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Herald {
    /// Starts `herald ARGS...` in a directory, with the servers' addresses in the environment.
    pub fn start(dir: &Path, args: &[&str], env: &[(&str, &str)]) -> Herald {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let (out, err) = (dir.join(format!("out-{n}")), dir.join(format!("err-{n}")));
        let child = Command::new(env!("CARGO_BIN_EXE_herald"))
            .args(args)
            .current_dir(dir)
            .env_remove("RUST_LOG")
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(File::create(&out).expect("a file"))
            .stderr(File::create(&err).expect("a file"))
            .spawn()
            .expect("herald starts");
        Herald { child, out, err }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells whether it is still running.
    pub fn running(&mut self) -> bool {
        self.child.try_wait().expect("a status").is_none()
    }

    /// Kills it (SIGKILL), as a crash would.
    pub fn kill(mut self) -> Ended {
        assert!(self.running(), "herald ended by itself:\n{}", self.said());
        self.child.kill().expect("SIGKILL");
        self.ended()
    }

    /// Asks it to stop (SIGTERM) and waits.
    pub fn terminate(self, patience: Duration) -> Ended {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(sent.success(), "SIGTERM");
        self.wait(patience)
    }

    /// Waits until it exits by itself.
    pub fn wait(mut self, patience: Duration) -> Ended {
        let until = Instant::now() + patience;
        while self.running() {
            assert!(Instant::now() < until, "herald still runs after {patience:?}:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
        self.ended()
    }

    /// The end of its output so far, for failing tests.
    pub fn said(&self) -> String {
        let tail = |path: &Path| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(40)..].join("\n")
        };
        format!("--- stdout\n{}\n--- stderr\n{}", tail(&self.out), tail(&self.err))
    }

    fn ended(mut self) -> Ended {
        let status = self.child.wait().expect("a status");
        let text = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        Ended { code: status.code(), stdout: text(&self.out), stderr: text(&self.err) }
    }
}

impl Drop for Herald {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end.
pub fn herald(dir: &Path, args: &[&str], env: &[(&str, &str)], patience: Duration) -> Ended {
    Herald::start(dir, args, env).wait(patience)
}

/// Runs a command that must succeed.
pub fn succeed(dir: &Path, args: &[&str], env: &[(&str, &str)], patience: Duration) -> Ended {
    let ended = herald(dir, args, env, patience);
    assert_eq!(ended.code, Some(0), "herald {args:?}:\n{}\n{}", ended.stdout, ended.stderr);
    ended
}

/// A topology of the project under another name: every topic gets a prefix.
pub fn topology(dir: &Path, file: &str, prefix: &str) -> PathBuf {
    let text = fs::read_to_string(servers::root().join(file)).expect("the topology");
    let text = text
        .replace("dead_letter.topic = '", &format!("dead_letter.topic = '{prefix}."))
        .replace(" topic = '", &format!(" topic = '{prefix}."));
    let path = dir.join(Path::new(file).file_name().expect("a name"));
    fs::write(&path, text).expect("a copy");
    path
}
