//! The table of queries of a view, as `docs/queries.md` holds it.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::table::spread::quantile_ms;
use crate::table::{machine, short};

/// Lines of the page around the table.
const BEGIN: &str = "<!-- Figures of `make bench-view`, written with HERALD_UPDATE=1. -->";
const END: &str = "<!-- End of the figures. -->";

/// A kind of query, asked in one way.
pub struct Line {
    what: String,
    by: String,
    /// In ascending order.
    times: Vec<Duration>,
    reads: String,
    memory: String,
    /// Set to false if a bound of the line is exceeded.
    within: Option<bool>,
}

impl Line {
    /// A line with its times.
    pub fn new(what: &str, by: &str, mut times: Vec<Duration>) -> Line {
        times.sort_unstable();
        let (what, by) = (what.to_owned(), by.to_owned());
        Line { what, by, times, reads: String::new(), memory: String::new(), within: None }
    }

    /// Adds what the query read of the state.
    pub fn reading(mut self, reads: &str) -> Line {
        self.reads = reads.to_owned();
        self
    }

    /// Adds the memory of its process.
    pub fn holding(mut self, memory: &str) -> Line {
        self.memory = memory.to_owned();
        self
    }

    /// Adds whether it kept its bound.
    pub fn within(mut self, kept: bool) -> Line {
        self.within = Some(kept);
        self
    }

    /// The time in milliseconds within which a share of the answers came.
    fn quantile_ms(&self, share: f64) -> f64 {
        quantile_ms(&self.times, share)
    }
}

/// The table.
pub struct Report {
    rows: u64,
    query_mib: u64,
    lines: Vec<Line>,
}

impl Report {
    /// The table of a view of so many rows, whose queries may take so much memory.
    pub fn new(rows: u64, query_mib: u64, lines: Vec<Line>) -> Report {
        Report { rows, query_mib, lines }
    }

    /// Returns true if every line with a bound kept it.
    pub fn passed(&self) -> bool {
        self.lines.iter().all(|line| line.within.unwrap_or(true))
    }

    /// Writes the table into a page, in place of the one that is there.
    ///
    /// # Errors
    /// When the page has no place for it.
    pub fn write_into(&self, page: &Path) -> Result<()> {
        let text = std::fs::read_to_string(page)?;
        let written = replaced(&text, &self.to_string());
        let written = written.with_context(|| format!("{} has no place for the table", page.display()))?;
        Ok(std::fs::write(page, written)?)
    }
}

/// A page with another table; None if it has no place for one.
fn replaced(page: &str, table: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", table.trim()))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "A view of {} rows; {}; a query may take {} MiB.\n",
            short(self.rows),
            machine(),
            self.query_mib
        )?;
        writeln!(
            f,
            "| query | asked by | times | half within | 99% within | read | memory of its process | |"
        )?;
        writeln!(f, "| --- | --- | ---: | ---: | ---: | --- | --- | --- |")?;
        for line in &self.lines {
            let verdict = line.within.map_or("", |kept| if kept { "PASS" } else { "FAIL" });
            writeln!(
                f,
                "| {} | {} | {} | {:.1} ms | {:.1} ms | {} | {} | {verdict} |",
                line.what,
                line.by,
                line.times.len(),
                line.quantile_ms(0.5),
                line.quantile_ms(0.99),
                line.reads,
                line.memory
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_times_of_half_and_of_99_in_100() {
        let of = |count: u64| Line::new("q", "w", (1..=count).rev().map(Duration::from_millis).collect());
        let quantiles = |line: &Line| (line.quantile_ms(0.5), line.quantile_ms(0.99));
        assert_eq!(quantiles(&of(400)), (200.0, 396.0));
        assert_eq!(quantiles(&of(3)), (2.0, 3.0));
        assert_eq!((quantiles(&of(1)), quantiles(&of(0))), ((1.0, 1.0), (0.0, 0.0)));
    }

    #[test]
    fn the_table_of_a_page_is_replaced() {
        let line =
            |kept: bool| Line::new("q", "w", vec![Duration::from_millis(3)]).reading("1 entry").within(kept);
        let report = Report::new(5_000_000, 256, vec![line(true), line(false)]);
        assert!(!report.passed() && Report::new(1, 1, vec![line(true)]).passed());
        let table = report.to_string();
        assert!(table.starts_with("A view of 5 M rows; "), "{table}");
        assert!(table.ends_with("| q | w | 1 | 3.0 ms | 3.0 ms | 1 entry |  | FAIL |\n"), "{table}");
        let page = format!("# Page\n\n{BEGIN}\n\nold\n\n{END}\n\nmore\n");
        let expected = format!("# Page\n\n{BEGIN}\n\n{}\n\n{END}\n\nmore\n", table.trim());
        assert_eq!(replaced(&page, &table), Some(expected));
        assert_eq!(replaced("# Page\n", &table), None);
    }

    /// The page of queries has the place to which the table is written.
    #[test]
    fn the_page_has_a_place() -> Result<()> {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/queries.md");
        assert!(replaced(&std::fs::read_to_string(page)?, "x").is_some());
        Ok(())
    }
}
