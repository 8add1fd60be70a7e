//! The table of docs/sql.md: every test it names is there.

use std::path::Path;

/// Where a named test may stand: a script, or a function of a Rust file.
fn missing(root: &Path, named: &str) -> Option<String> {
    let (file, function) = named.split_once("::").unwrap_or((named, ""));
    let Ok(text) = std::fs::read_to_string(root.join(file)) else {
        return Some(format!("{named}: there is no file {file}"));
    };
    let found = function.is_empty()
        || text.contains(&format!("fn {function}("))
        || text.contains(&format!("\"{function}\""));
    (!found).then(|| format!("{named}: {file} has no {function}"))
}

#[test]
fn every_test_of_the_table_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = std::fs::read_to_string(root.join("docs/sql.md")).unwrap();
    let rows = table.lines().filter(|line| line.starts_with('|')).skip_while(|line| !line.contains("---"));
    let (mut wrong, mut named) = (Vec::new(), 0);
    for row in rows.filter(|line| !line.contains("---") && !line.contains("| shown by |")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let state = cells.get(2).copied().unwrap_or_default();
        if !["supported", "refused"].contains(&state) {
            wrong.push(format!("{row}: is it supported or refused?"));
        }
        let tests: Vec<&str> = cells[cells.len() - 2].split('`').skip(1).step_by(2).collect();
        if tests.is_empty() {
            wrong.push(format!("{row}: no test shows it"));
        }
        named += tests.len();
        wrong.extend(tests.into_iter().filter_map(|test| missing(root, test)));
    }
    assert!(wrong.is_empty() && named > 0, "{}", wrong.join("\n"));
}
