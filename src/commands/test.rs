//! `herald test`: golden tests of topologies, in process and without a broker.
//!
//! | file | content |
//! | --- | --- |
//! | `script`, `record` | the text: directives, steps, records, rows, each with its place |
//! | `case` | a script bound to its topology: names become indexes into the plan |
//! | `way` | one run of a case: epochs, workers, stops |
//! | `picture`, `table` | everything visible at a step's end; rows and their differences |
//! | `judge` | comparison of expectations with the first way, and of the other ways with the first |
//! | `update` | rewriting of expectations |
//!
//! All scripts are read before the first is run: a mistake in any of them ends the command with 2,
//! a failed expectation with 1.

mod case;
mod judge;
mod picture;
mod record;
mod script;
mod table;
mod update;
mod way;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Error, Result, anyhow};

use crate::cli::TestArgs;
use crate::exit::{self, mistake};
use crate::topology::Variables;
use case::Case;
use judge::Verdict;

/// Extension of a script's name.
const EXTENSION: &str = ".test.sql";

/// Writes what is found into the expectations of one script, without a word.
///
/// # Errors
/// When the script cannot be read or run, or its ways differ.
pub fn fill_expectations(path: &Path) -> Result<()> {
    let case = case::read_case(path, &Variables::read(None)?.with_stand_ins())?;
    let verdict = judge::run_case(&case);
    if !verdict.ways_agree() {
        return Err(anyhow!("its ways do not agree"));
    }
    update::write_script(&case.path, &update::rewrite_expectations(&case.text, &verdict.rewrites))
}

/// `herald test`.
pub fn command(args: &TestArgs) -> Result<()> {
    let variables = Variables::read(args.env_file.as_deref())?.with_stand_ins();
    let cases = read_cases(&find_scripts(&args.paths)?, &variables)?;
    let mut out = std::io::stdout().lock();
    let mut failed = 0;
    for case in &cases {
        let verdict = judge::run_case(case);
        let rewritten = args.update && verdict.ways_agree() && !verdict.rewrites.is_empty();
        let good = if rewritten {
            update::write_script(&case.path, &update::rewrite_expectations(&case.text, &verdict.rewrites))?;
            writeln!(out, "new  {}: {}", case.path.display(), rewrites_text(&verdict))?;
            true
        } else {
            print_result(&mut out, case, &verdict)?
        };
        failed += usize::from(!good);
        out.flush()?;
    }
    match (failed, cases.len()) {
        (0, 1) => Ok(()),
        (0, all) => Ok(writeln!(out, "{all} scripts passed")?),
        (_, 1) => Err(anyhow!("the script failed")),
        (failed, all) => Err(anyhow!("{failed} of {all} scripts failed")),
    }
}

fn rewrites_text(verdict: &Verdict<'_>) -> String {
    match verdict.rewrites.len() {
        1 => "1 expectation rewritten".to_owned(),
        n => format!("{n} expectations rewritten"),
    }
}

/// Prints the result of a script. Returns true if it passed.
fn print_result(out: &mut impl Write, case: &Case, verdict: &Verdict<'_>) -> Result<bool> {
    let path = case.path.display();
    let good = verdict.findings.is_empty();
    let steps = case.steps.len();
    let plural = if steps == 1 { "" } else { "s" };
    let word = if good { "ok  " } else { "FAIL" };
    writeln!(out, "{word} {path} ({steps} step{plural}, {} ways)", way::WAYS.len())?;
    for finding in &verdict.findings {
        writeln!(out, "\n{path}:{}: {}", finding.line, finding.text.trim_end())?;
    }
    if !good {
        writeln!(out)?;
    }
    Ok(good)
}

/// Reads all scripts. Mistakes in several of them are all reported, the last one as the error.
fn read_cases(paths: &[PathBuf], variables: &Variables) -> Result<Vec<Case>> {
    let (mut cases, mut mistakes): (Vec<Case>, Vec<Error>) = (vec![], vec![]);
    for path in paths {
        match case::read_case(path, variables) {
            Ok(case) => cases.push(case),
            Err(error) => mistakes.push(error),
        }
    }
    let Some(last) = mistakes.pop() else { return Ok(cases) };
    for mistake in &mistakes {
        eprintln!("{}", exit::sentences(mistake));
    }
    Err(last)
}

/// The scripts that the arguments name. Directories are searched.
fn find_scripts(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths {
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        let mut below = Vec::new();
        search_directory(path, &mut below)
            .map_err(|error| mistake(format!("cannot search {}: {error}", path.display())))?;
        if below.is_empty() {
            return Err(mistake(format!(
                "the directory {} has no script: a script's name ends with {EXTENSION}",
                path.display()
            )));
        }
        below.sort();
        found.extend(below);
    }
    Ok(found)
}

/// Collects the scripts in and below a directory.
fn search_directory(dir: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        // Links are not followed, because they may form a cycle. Hidden directories belong to other tools.
        if entry.file_type()?.is_dir() {
            if !name.starts_with('.') {
                search_directory(&path, found)?;
            }
        } else if name.ends_with(EXTENSION) {
            found.push(path);
        }
    }
    Ok(())
}
