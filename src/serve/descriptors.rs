//! File descriptors, a budget like memory: how many this process may have, and how many it has.
//!
//! A run raises its limit to what the system allows. The limit is the kernel's, and setting it takes a system
//! call that safe Rust does not have: `prlimit` of util-linux does it. Without it the limit stays as it is.

use std::process::{Command, Stdio};

/// More than this nothing here makes use of.
const ENOUGH: u64 = 65_536;
/// With fewer a topology is likely to run out of them.
const FEW: u64 = 4096;

/// Descriptors this process may have: now, and at most when it asks.
fn limits() -> Option<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/self/limits").ok()?;
    parse(&text)
}

fn parse(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let mut numbers = line.split_whitespace();
    let mut next = || match numbers.next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    };
    Some((next()?, next()?))
}

/// Raises the limit of this process to what it may have.
pub fn raise() {
    let Some((now, most)) = limits() else { return };
    let wanted = most.min(ENOUGH);
    if now >= wanted {
        return;
    }
    let (pid, limit) = (std::process::id().to_string(), format!("--nofile={wanted}:"));
    let raised = Command::new("prlimit")
        .args(["--pid", &pid, &limit])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let raised = raised.is_ok_and(|status| status.success());
    if !raised && now < FEW {
        tracing::warn!(
            "this process may have {now} open files only, and prlimit could not raise it to {wanted}"
        );
    }
}

/// Descriptors this process may have.
pub fn limit() -> u64 {
    limits().map_or(0, |(now, _)| now)
}

/// Descriptors this process has.
pub fn open() -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_are_read() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max open files            1024                 unlimited            files     \n";
        assert_eq!(parse(text), Some((1024, u64::MAX)));
        assert_eq!(parse("nothing"), None);
    }

    #[test]
    fn the_limit_is_raised_to_what_may_be() {
        raise();
        let Some((now, most)) = limits() else { panic!("no limits") };
        assert_eq!(now, most.min(ENOUGH).max(now));
        assert!(open() > 2);
    }
}
