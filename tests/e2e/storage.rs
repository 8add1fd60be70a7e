//! Disk faults: a disk that is full or read-only, and lost or flipped bytes. Each ends the run with a clear
//! message. Either nothing is lost and the run continues once the cause is gone, or the state is refused for
//! good.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::child::{self, Ended, Herald};

const PATIENCE: Duration = Duration::from_secs(120);
const ROWS: u64 = 40_000;

/// A topology that keeps every row, with incompressible text, so that the state is as large as the input.
const KEPT: &str = "
CREATE TABLE rows (id BIGINT, noise VARCHAR, PRIMARY KEY (id)) ON CONFLICT OVERWRITE
WITH (connector = 'file', path = 'rows.jsonl') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW sums AS SELECT id % 10 AS d, count(*) AS n, sum(id) AS s FROM rows GROUP BY 1;
CREATE SINK sums_out FROM sums WITH (connector = 'file', path = 'out/sums.jsonl', primary_key = 'd')
FORMAT UPSERT ENCODE JSON;
";

fn scene(rows: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("kept.sql"), KEPT).expect("a file");
    fs::create_dir(dir.path().join("out")).expect("a directory");
    append(dir.path(), 0, rows);
    dir
}

fn append(dir: &Path, from: u64, rows: u64) {
    let line = |id: u64| {
        let noise: String =
            (0..16).map(|n| format!("{:016x}", schemas::hash(&(id * 16 + n).to_be_bytes()))).collect();
        format!("{{\"id\":{id},\"noise\":\"{noise}\"}}\n")
    };
    let text: String = (from..from + rows).map(line).collect();
    // Appended: a file that is written anew is shorter for a moment, which ends a run that follows it.
    let mut file =
        fs::File::options().create(true).append(true).open(dir.join("rows.jsonl")).expect("a file");
    file.write_all(text.as_bytes()).expect("rows");
}

/// Finds a key of the sink whose last value is not that of `rows` input rows.
fn wrong_sum(dir: &Path, rows: u64) -> Option<String> {
    let text = fs::read_to_string(dir.join("out/sums.jsonl")).unwrap_or_default();
    for d in 0..10 {
        let key = format!("{{\"key\":{{\"d\":{d}}}");
        let last = text.lines().rfind(|line| line.starts_with(&key)).unwrap_or_default();
        let (n, s) = (rows / 10, (0..rows).filter(|id| id % 10 == d).sum::<u64>());
        if !last.contains(&format!("\"n\":{n},\"s\":{s}")) {
            return Some(format!("of {key}: {last:?}"));
        }
    }
    None
}

/// Asserts that the last value of each key of the sink is that of `rows` input rows.
fn assert_sums(dir: &Path, rows: u64) {
    assert_eq!(wrong_sum(dir, rows), None);
}

fn herald() -> &'static str {
    env!("CARGO_BIN_EXE_herald")
}

/// Runs a script with the right to mount, in namespaces of its own; None if the system does not allow it.
fn in_namespace(dir: &Path, script: &str) -> Option<(Option<i32>, String)> {
    let allowed = Command::new("unshare").args(["-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).output();
    if !allowed.is_ok_and(|tried| tried.status.success()) {
        println!("this system lets nobody mount a small disk: the test says nothing");
        return None;
    }
    let ran = Command::new("unshare")
        .args(["-rm", "bash", "-c", script])
        .current_dir(dir)
        .output()
        .expect("bash runs");
    let said = format!("{}\n{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    Some((ran.status.code(), said))
}

#[test]
fn a_full_disk_ends_the_run_and_a_larger_one_goes_on() {
    let dir = scene(ROWS);
    let script = format!(
        "mkdir disk && mount -t tmpfs -o size=9m tmpfs disk || exit 90
         {h} run kept.sql --once --listen off --state disk/state --epoch-interval 1ms; echo first=$?
         mount -o remount,size=900m disk || exit 91
         {h} run kept.sql --once --listen off --state disk/state; echo second=$?
         mount -o remount,ro disk || exit 92
         {h} run kept.sql --once --listen off --state disk/state; echo third=$?
         mount -o remount,rw disk || exit 93
         {h} run kept.sql --once --listen off --state disk/state; echo fourth=$?
         {h} state verify disk/state kept.sql; echo verify=$?",
        h = herald()
    );
    let Some((code, said)) = in_namespace(dir.path(), &script) else { return };
    assert_eq!(code, Some(0), "{said}");
    for expected in [
        "first=1",
        "no space is left on the disk",
        "nothing that was committed is lost",
        "second=0",
        "third=1",
        "Read-only file system",
        "fourth=0",
        "verify=0",
        "derived again and equal",
    ] {
        assert!(said.contains(expected), "{expected:?} is not in\n{said}");
    }
    assert_sums(dir.path(), ROWS);
}

fn run(dir: &Path) -> Ended {
    child::herald(dir, &["run", "kept.sql", "--once", "--listen", "off", "--state", "state"], &[], PATIENCE)
}

/// The largest file of a kind in the database.
fn largest(dir: &Path, kind: &str) -> PathBuf {
    let files = fs::read_dir(dir.join("state/db")).expect("a folder").flatten().map(|entry| entry.path());
    let of_kind = files.filter(|path| path.extension().is_some_and(|e| e == kind));
    of_kind.max_by_key(|path| path.metadata().map_or(0, |m| m.len())).expect("a file of that kind")
}

#[test]
fn flipped_and_missing_bytes_of_a_table_are_told() {
    for damage in
        [|bytes: &mut Vec<u8>| bytes[100] ^= 1, |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2)]
    {
        let dir = scene(2_000);
        assert_eq!(run(dir.path()).code, Some(0));
        let table = largest(dir.path(), "sst");
        let whole = fs::read(&table).expect("a table");
        let mut bytes = whole.clone();
        damage(&mut bytes);
        fs::write(&table, bytes).expect("a table");
        append(dir.path(), 2_000, 2_000);
        let ended = run(dir.path());
        assert_eq!(ended.code, Some(1), "{}\n{}", ended.stdout, ended.stderr);
        assert!(ended.stderr.contains("is damaged"), "{}", ended.stderr);
        assert!(ended.stderr.contains("from a backup"), "{}", ended.stderr);
        // After the bytes are restored, nothing is lost.
        fs::write(&table, whole).expect("a table");
        let ended = run(dir.path());
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_sums(dir.path(), 4_000);
    }
}

/// Records lost from the end of a log look as if they were never committed; the sink's marker shows that they
/// were.
#[test]
fn a_log_cut_short_is_found_by_what_the_sink_holds() {
    let dir = scene(2_000);
    let follow = KEPT.replace("path = 'rows.jsonl'", "path = 'rows.jsonl', follow = 'true'");
    fs::write(dir.path().join("kept.sql"), follow).expect("a file");
    let args = ["run", "kept.sql", "--listen", "off", "--state", "state", "--epoch-interval", "5ms"];
    let running = Herald::start(dir.path(), &args, &[]);
    for round in 0..4 {
        let full =
            || fs::read_to_string(dir.path().join("out/sums.jsonl")).unwrap_or_default().lines().count();
        let before = full();
        append(dir.path(), 2_000 + round * 10, 10);
        let started = std::time::Instant::now();
        while full() == before {
            assert!(started.elapsed() < PATIENCE, "{}", running.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    running.kill();
    let copied = Command::new("cp").args(["-r", "state", "saved"]).current_dir(dir.path()).status();
    assert!(copied.expect("cp runs").success());
    let log = largest(dir.path(), "log");
    let bytes = fs::read(&log).expect("the log");
    fs::write(&log, &bytes[..bytes.len() * 3 / 4]).expect("the log");
    let ended = child::herald(dir.path(), &args, &[], PATIENCE);
    assert_ne!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    let told = ended.stderr.contains("older copy") || ended.stderr.contains("is damaged");
    assert!(told, "{}", ended.stderr);
    // The copy from before can still be run.
    fs::remove_dir_all(dir.path().join("state")).expect("it is nobody's");
    fs::rename(dir.path().join("saved"), dir.path().join("state")).expect("the copy");
    let again = Herald::start(dir.path(), &args, &[]);
    let started = std::time::Instant::now();
    // The sums may have been right before the kill: the run is on its way once it says so.
    while !again.said().contains("running epoch=") || wrong_sum(dir.path(), 2_040).is_some() {
        assert!(started.elapsed() < PATIENCE, "{:?}\n{}", wrong_sum(dir.path(), 2_040), again.said());
        std::thread::sleep(Duration::from_millis(20));
    }
    let ended = again.terminate(PATIENCE);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_sums(dir.path(), 2_040);
}
