//! Instruction counts of the kernels stay within a tenth of the committed baseline.

use std::process::Command;

#[test]
fn no_kernel_takes_a_tenth_more_instructions_than_its_baseline() {
    let compared =
        Command::new(env!("CARGO_BIN_EXE_herald-benches")).arg("kernels").output().expect("it runs");
    let table = String::from_utf8_lossy(&compared.stdout);
    println!("{table}");
    assert!(compared.status.success(), "{table}\n{}", String::from_utf8_lossy(&compared.stderr));
}
