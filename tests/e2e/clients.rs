//! Clients of PostgreSQL that run unchanged: drivers, libraries and tools (`tests/clients`), whose answers are those that
//! DuckDB gives over the content of the sinks.

use std::process::Command;

use crate::servers;

#[test]
fn unchanged_clients_read_views() {
    let output = Command::new(servers::root().join("scripts/clients.sh"))
        .args(["try", env!("CARGO_BIN_EXE_herald"), "--allow-missing"])
        .output()
        .expect("the script runs");
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{errors}");
    // Node is not installed for it: make clients runs it where it is.
    let missing = said.lines().filter(|line| line.contains(" MISSING "));
    let others: Vec<&str> = missing.filter(|line| !line.starts_with("node ")).collect();
    assert_eq!(others, Vec::<&str>::new(), "{said}\n{errors}");
}
