//! Cases of SQL's corners: each directory of `tests/fixtures/cases` is a topology and a script of `herald test`.
//!
//! What a script expects is PostgreSQL's answer. A directory with a file `MUST_REFUSE` holds a topology that
//! `herald check` has to refuse; one with `MAY_REFUSE` is right when it is refused, and when its script holds.
//! A case that does not hold yet stands in [`FAILING`], which is exact: a case of it that holds fails the test,
//! so that it is taken off the list.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Cases that do not hold yet.
const FAILING: &[&str] = &[
    "07-not-in-nullable-expression",
    "100a-group-by-date-bin-of-timestamptz",
    "100b-group-by-milliseconds",
    "100c-group-by-local-day",
    "100d-join-date-with-timestamp",
    "100e-group-by-md5",
    "100g-union-of-date-and-timestamp",
    "100h-group-by-a-span-not-shown",
    "104-computed-nan",
    "107-zero-divided-by-zero",
    "108-distinct-from-then-and",
    "108b-distinct-from-then-and-of-numbers",
    "109-rows-compared-with-nulls",
    "11-exists-over-rollup",
    "110-minus-of-bits",
    "111-array-has-any-of-null",
    "15-simplified-lists-and-null",
    "16-narrowing-casts-in-comparisons",
    "17-coalesce-number-and-text",
    "18-signed-zero",
    "19-time-zones",
    "20-decimal-division-and-average",
    "21-json-numbers-of-any-size",
    "51-signed-zero-through-expressions",
    "52-signed-zero-one-step",
    "60-regex-with-backslash",
    "62-jsonb-access",
    "77-jsonb-odd-texts",
    "83a-key-by-day-of-a-shifted-time",
    "83c-key-by-time-of-day",
    "84-times-far-away",
    "87-interval-comparison",
    "90-not-of-a-regex-that-matches-all",
    "94-avro-star-nested",
    "95a-two-parts-of-a-local-time",
    "95b-interval-in-two-conditions",
    "95d-epoch-seconds-twice",
    "95e-two-parts-of-a-span",
    "96-date-plus-hours",
    "97-remainder-of-a-decimal",
];

/// A script that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(120);

#[test]
fn cases_hold() {
    let cases = directories();
    assert!(!cases.is_empty());
    let (next, told) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from).min(4) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let name = case.file_name().unwrap().to_string_lossy().into_owned();
                    let failing = FAILING.contains(&name.as_str());
                    match judge(case) {
                        Ok(()) if failing => {
                            told.lock().unwrap().push(format!("{name} holds: take it off the list FAILING"));
                        }
                        Err(why) if !failing => told.lock().unwrap().push(format!("{name}: {why}")),
                        _ => {}
                    }
                }
            });
        }
    });
    let mut told = told.into_inner().unwrap();
    told.sort_unstable();
    assert!(told.is_empty(), "{}", told.join("\n\n"));
}

#[test]
fn cases_that_fail_are_there() {
    let cases = directories();
    let here = |name: &str| cases.iter().any(|case| case.file_name().unwrap().to_string_lossy() == name);
    let gone: Vec<_> = FAILING.iter().filter(|name| !here(name)).collect();
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
