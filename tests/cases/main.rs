//! Cases of SQL's corners: each directory of `tests/fixtures/cases` is a topology and a script of `herald test`.
//!
//! What a script expects is PostgreSQL's answer. A directory with a file `MUST_REFUSE` holds a topology that
//! `herald check` has to refuse; one with `MAY_REFUSE` is right when it is refused, and when its script holds.
//! A case that does not hold yet stands in `failing.txt`, which is exact: a case of it that holds fails the test,
//! so that it is taken off the list. `HERALD_UPDATE=1` writes the list.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Cases that do not hold yet, one a line.
const FAILING: &str = include_str!("failing.txt");

/// A script that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(120);

#[test]
fn cases_hold() {
    let cases = directories();
    assert!(!cases.is_empty());
    let (next, told) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let found = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from).min(4) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let name = case.file_name().unwrap().to_string_lossy().into_owned();
                    let failing = FAILING.lines().any(|line| line == name);
                    let judged = judge(case);
                    if judged.is_err() {
                        found.lock().unwrap().push(format!("{name}\n"));
                    }
                    match judged {
                        Ok(()) if failing => {
                            told.lock()
                                .unwrap()
                                .push(format!("{name} holds: take it off tests/cases/failing.txt"));
                        }
                        Err(why) if !failing => told.lock().unwrap().push(format!("{name}: {why}")),
                        _ => {}
                    }
                }
            });
        }
    });
    if std::env::var_os("HERALD_UPDATE").is_some() {
        let mut found = found.into_inner().unwrap();
        found.sort_unstable();
        let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/failing.txt");
        std::fs::write(list, found.concat()).unwrap();
        return;
    }
    let mut told = told.into_inner().unwrap();
    told.sort_unstable();
    assert!(told.is_empty(), "{}", told.join("\n\n"));
}

#[test]
fn cases_that_fail_are_there() {
    let cases = directories();
    let here = |name: &str| cases.iter().any(|case| case.file_name().unwrap().to_string_lossy() == name);
    let gone: Vec<&str> = FAILING.lines().filter(|name| !here(name)).collect();
    assert!(gone.is_empty(), "not in tests/fixtures/cases: {gone:?}");
}

fn directories() -> Vec<PathBuf> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cases");
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(home).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort_unstable();
    found
}

/// Says how a case does not hold.
fn judge(case: &Path) -> Result<(), String> {
    let (must, may) = (case.join("MUST_REFUSE").exists(), case.join("MAY_REFUSE").exists());
    if must || may {
        let (code, said) = herald(&["check", "topology.sql"], case)?;
        match code {
            Some(2) => return Ok(()),
            Some(0) if may => {}
            Some(0) => return Err("check accepts it".to_owned()),
            _ => return Err(format!("check ended with {code:?}\n{said}")),
        }
    }
    match herald(&["test", "case.test.sql"], case)? {
        (Some(0), _) => Ok(()),
        (code, said) => Err(format!("herald test ended with {code:?}\n{said}")),
    }
}

/// Runs the binary in a case's directory: how it ended, and what it said.
fn herald(arguments: &[&str], case: &Path) -> Result<(Option<i32>, String), String> {
    // What it says goes to a file: nobody reads a pipe while the time is watched.
    let said = tempfile::NamedTempFile::new().map_err(|e| e.to_string())?;
    let file = || said.reopen().map_err(|e| e.to_string());
    let mut child = Command::new(env!("CARGO_BIN_EXE_herald"))
        .args(arguments)
        .current_dir(case)
        .env("HERALD_LOG_LEVEL", "error")
        .stdin(Stdio::null())
        .stdout(file()?)
        .stderr(file()?)
        .spawn()
        .map_err(|e| e.to_string())?;
    let code = ended(&mut child)?;
    Ok((code, std::fs::read_to_string(said.path()).unwrap_or_default()))
}

fn ended(child: &mut Child) -> Result<Option<i32>, String> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
            return Ok(status.code());
        }
        if begun.elapsed() > LONGEST {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("it did not end within {LONGEST:?}"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
