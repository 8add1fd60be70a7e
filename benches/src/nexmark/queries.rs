//! The queries, as texts of both engines over files of events.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::events::{Events, KINDS};
use crate::paths::Paths;

/// Queries that both engines state alike. `benches/peers/nexmark/README.md` says why the others are not among them.
pub const QUERIES: [&str; 22] = [
    "q0", "q1", "q2", "q3", "q4", "q5", "q7", "q8", "q9", "q10", "q11", "q12", "q14", "q15", "q16", "q17",
    "q18", "q19", "q20", "q21", "q22", "q23",
];

/// The window of q12 as it is shipped, over the timestamps of records, and over files, whose records have none: a
/// generated bid's timestamp is its time.
const ARRIVED: [&str; 2] = ["TUMBLE(bid, arrived_at,", "TUMBLE(bid, date_time,"];

/// Herald's text of a query: as it is shipped, but over files.
///
/// # Errors
/// When it cannot be read.
pub fn herald_text(paths: &Paths, query: &str, events: &Events) -> Result<String> {
    over_files(&read(&paths.nexmark.join(format!("{query}.sql")))?, events)
}

/// Flink's text of a query: its settings and sources, then the query.
///
/// # Errors
/// When it cannot be read.
pub fn flink_text(paths: &Paths, query: &str, events: &Events) -> Result<String> {
    let home = paths.peers.join("nexmark");
    let sources = read(&home.join("events.sql"))?;
    let text = format!("{sources}\n{}", read(&home.join(format!("{query}.sql")))?);
    Ok(text.replace("${EVENTS}", &events.dir.display().to_string()))
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// A topology's text with files in place of generators.
fn over_files(shipped: &str, events: &Events) -> Result<String> {
    let [arrived, at] = ARRIVED;
    let mut text = shipped.replace(arrived, at);
    for kind in KINDS {
        let generated = format!(
            "connector = 'nexmark', nexmark.table.type = '{kind}', nexmark.event.num = '${{NEXMARK_EVENTS:-1000000}}'"
        );
        let file = format!("connector = 'file', path = '{}'", events.path(kind).display());
        text = text.replace(&generated, &file);
    }
    ensure!(!text.contains("'nexmark'"), "a query reads events in a way this bench does not know");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn every_query_has_both_texts() {
        let home = Path::new(env!("CARGO_MANIFEST_DIR"));
        let events = Events { dir: PathBuf::from("/events"), bytes: 0 };
        for query in QUERIES {
            let shipped = read(&home.join(format!("nexmark/{query}.sql"))).unwrap();
            let text = over_files(&shipped, &events).unwrap();
            assert!(text.contains("connector = 'file', path = '/events/"), "{query}");
            assert!(!text.contains("TUMBLE(bid, arrived_at"), "{query}");
            let flink = read(&home.join(format!("peers/nexmark/{query}.sql"))).unwrap();
            assert!(flink.contains(&format!("INSERT INTO {query}_out\n")), "{query}");
        }
    }
}
