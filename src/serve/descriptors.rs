//! File descriptors of this process: their limit and their number.
//!
//! A run raises its limit to the maximum that the system allows. Setting it takes a system call that safe
//! Rust does not have, so the program `prlimit` of util-linux does it. Without that program the limit stays
//! as it is.

use std::process::{Command, Stdio};

/// Limit that is enough for any topology; it is not raised further.
const ENOUGH_DESCRIPTORS: u64 = 65_536;
/// Limit below which a topology is likely to run out of descriptors.
const FEW_DESCRIPTORS: u64 = 4096;

/// The soft and the hard limit of this process.
fn read_limits() -> Option<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/self/limits").ok()?;
    parse_limits(&text)
}

fn parse_limits(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let mut numbers = line.split_whitespace();
    let mut next = || match numbers.next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    };
    Some((next()?, next()?))
}

/// Raises the soft limit of this process to the hard limit, or to [`ENOUGH_DESCRIPTORS`].
pub fn raise_limit() {
    let Some((now, most)) = read_limits() else { return };
    let wanted = most.min(ENOUGH_DESCRIPTORS);
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
    if !raised && now < FEW_DESCRIPTORS {
        tracing::warn!(
            "this process may have {now} open files only, and prlimit could not raise it to {wanted}"
        );
    }
}

/// The soft limit of this process.
pub fn soft_limit() -> u64 {
    read_limits().map_or(0, |(now, _)| now)
}

/// The number of open descriptors of this process.
pub fn count_open() -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_are_read() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max open files            1024                 unlimited            files     \n";
        assert_eq!(parse_limits(text), Some((1024, u64::MAX)));
        assert_eq!(parse_limits("nothing"), None);
    }

    #[test]
    fn the_limit_is_raised_to_what_may_be() {
        raise_limit();
        let Some((now, most)) = read_limits() else { panic!("no limits") };
        assert_eq!(now, most.min(ENOUGH_DESCRIPTORS).max(now));
        assert!(count_open() > 2);
    }
}
