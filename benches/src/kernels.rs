//! Instruction counts of the engine's kernels beside a committed baseline.
//!
//! Times on a shared machine differ by a third from run to run; the instructions of the same binary on the same input
//! by less than a hundredth. Each kernel runs in a process of its own under valgrind's callgrind, which counts only while
//! [`measured_region`] runs. CI fails where one takes a tenth more than `benches/kernels.tsv` says. The baseline is of the
//! build that tests use (own crates at opt-level 1): it finds work that was added, not speed, which `make bench` shows.
//!
//! ```text
//! herald-benches kernels        compares, and exits 1 where a kernel takes more; HERALD_UPDATE=1 writes the baseline
//! ```

mod bytes;
mod topology;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

pub use topology::plan_of;

/// Share of the baseline by which a kernel may grow.
const TOLERANCE: f64 = 0.10;

/// A kernel: its name, its work, and a function that prepares its input, which is not counted, and runs it.
struct Kernel {
    name: &'static str,
    about: &'static str,
    run: fn() -> Result<()>,
}

const KERNELS: [Kernel; 10] = [
    Kernel { name: "decode", about: "JSON of 500 matches of 3 kB to columns", run: bytes::decode },
    Kernel { name: "pack", about: "columns of 20,000 rows to packed rows", run: bytes::pack },
    Kernel { name: "encode", about: "columns of 20,000 rows to JSON", run: bytes::encode },
    Kernel { name: "sort", about: "20,000 updates of four messages by key", run: bytes::sort },
    Kernel { name: "commit", about: "20,000 totals into the state, without its threads", run: bytes::commit },
    Kernel { name: "table", about: "an epoch of 20,000 rows into a keyed table", run: topology::table },
    Kernel {
        name: "aggregate",
        about: "an epoch of 20,000 rows into 5,000 groups in memory",
        run: topology::aggregate,
    },
    Kernel {
        name: "totals",
        about: "an epoch of 20,000 rows into 5,000 groups in the state",
        run: topology::totals,
    },
    Kernel {
        name: "arrange",
        about: "an epoch of 20,000 rows into a side of a join",
        run: topology::arrange,
    },
    Kernel { name: "join", about: "an epoch of 20,000 rows that find one row each", run: topology::join },
];

/// Runs the work that callgrind counts. Not inlined: callgrind knows it by its name.
#[inline(never)]
pub fn measured_region(work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
    work()
}

/// Runs one kernel in this process, as callgrind's child.
///
/// # Errors
/// When there is no such kernel, or it fails.
pub fn run_child(arguments: &[String]) -> Result<()> {
    let name = arguments.first().map(String::as_str).unwrap_or_default();
    let kernel = KERNELS.iter().find(|kernel| kernel.name == name);
    (kernel.with_context(|| format!("there is no kernel {name}"))?.run)()
}

/// Counts all kernels and prints them beside the baseline; returns true if none takes more than it may.
///
/// # Errors
/// When valgrind is not there, or a kernel fails.
pub fn compare() -> Result<bool> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels.tsv");
    let update = std::env::var_os("HERALD_UPDATE").is_some();
    let baseline = if update { BTreeMap::new() } else { read_baseline(&path)? };
    let (mut lines, mut passed) = (String::new(), true);
    println!("| kernel | instructions | baseline | change | |\n| --- | ---: | ---: | ---: | --- |");
    for kernel in &KERNELS {
        let counted = count_instructions(kernel.name)?;
        let _ = writeln!(lines, "{}\t{counted}\t{}", kernel.name, kernel.about);
        let Some(held) = baseline.get(kernel.name) else {
            println!(
                "| {} | {counted} | | | {} |",
                kernel.name,
                if update { "written" } else { "NO BASELINE" }
            );
            passed &= update;
            continue;
        };
        let change = counted as f64 / *held as f64 - 1.0;
        let fits = change <= TOLERANCE;
        let verdict = match fits {
            true if change < -TOLERANCE => "less: HERALD_UPDATE=1 writes a new baseline",
            true => "",
            false => "MORE",
        };
        println!("| {} | {counted} | {held} | {:+.1}% | {verdict} |", kernel.name, change * 100.0);
        passed &= fits;
    }
    if update {
        std::fs::write(&path, lines).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(passed)
}

/// Reads the baseline: kernel, instructions and a description in each line, apart by tabs.
fn read_baseline(path: &PathBuf) -> Result<BTreeMap<String, u64>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut baseline = BTreeMap::new();
    for (at, line) in text.lines().enumerate() {
        let mut fields = line.split('\t');
        let (name, counted) = (fields.next(), fields.next().and_then(|field| field.parse().ok()));
        let (Some(name), Some(counted)) = (name, counted) else {
            bail!("{}:{}: not a kernel and a number", path.display(), at + 1);
        };
        baseline.insert(name.to_owned(), counted);
    }
    Ok(baseline)
}

/// Counts the instructions of a kernel's work.
fn count_instructions(name: &str) -> Result<u64> {
    let bench = std::env::current_exe().context("cannot tell where this binary is")?;
    let counted = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*measured_region*"])
        .arg(bench)
        .args(["kernel", name])
        .output()
        .context("cannot run valgrind, which scripts/setup.sh installs")?;
    let said = String::from_utf8_lossy(&counted.stderr);
    ensure!(counted.status.success(), "the kernel {name} failed:\n{said}");
    let collected = said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    let collected = collected.filter(|instructions| *instructions > 0);
    collected.with_context(|| format!("valgrind did not count the kernel {name}:\n{said}"))
}
