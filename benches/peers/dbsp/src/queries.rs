//! The queries, each a circuit with what feeds it. They say what the SQL texts beside them say.

mod bids;
mod joins;
mod ranks;
mod reports;
mod windows;

use std::path::Path;

use anyhow::Result;

use crate::job::Job;

/// Builds a query over the files of a directory.
pub type Build = fn(&Path) -> Result<Job>;

/// All queries.
const QUERIES: [(&str, Build); 20] = [
    ("q0", bids::q0),
    ("q1", bids::q1),
    ("q2", bids::q2),
    ("q3", joins::q3),
    ("q4", joins::q4),
    ("q5", windows::q5),
    ("q7", windows::q7),
    ("q8", windows::q8),
    ("q9", ranks::q9),
    ("q10", bids::q10),
    ("q12", windows::q12),
    ("q14", bids::q14),
    ("q15", reports::q15),
    ("q16", reports::q16),
    ("q17", reports::q17),
    ("q18", ranks::q18),
    ("q19", ranks::q19),
    ("q20", joins::q20),
    ("q22", bids::q22),
    ("q23", joins::q23),
];

/// The query of that name.
pub fn find(name: &str) -> Option<Build> {
    QUERIES.iter().find(|(query, _)| *query == name).map(|(_, build)| *build)
}

/// The names of all queries.
pub fn names() -> Vec<&'static str> {
    QUERIES.iter().map(|(query, _)| *query).collect()
}
