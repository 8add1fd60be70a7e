//! Random records of the tables: updates, deletes, versions, disorder, and a few that are refused.

use super::draw::Draw;
use super::query::Table;

/// The lines of a table's file, in the two parts that stand before and after the edit.
pub struct Feed {
    /// The table.
    pub table: Table,
    /// The lines that the old edition reads.
    pub before: String,
    /// The lines that come once the edit is made.
    pub after: String,
}

const NAMES: [&str; 6] = ["ann", "ben", "cleo", "dov", "eva", "finn"];
const TEAMS: [&str; 4] = ["red", "blue", "green", "gold"];
const ARENAS: [&str; 3] = ["canyon", "abyss", "bridge"];
const PAGES: [&str; 4] = ["home", "store", "rank", "help"];

impl Feed {
    /// Draws the records of a table.
    pub fn new(draw: &mut Draw, table: Table) -> Feed {
        let mut clock = 0;
        let mut part = || {
            let mut text = String::new();
            for _ in 0..draw.int(50..130) {
                clock += draw.int(0..40);
                text.push_str(&record(draw, table, clock));
                text.push('\n');
            }
            text
        };
        let (before, after) = (part(), part());
        Feed { table, before, after }
    }
}

/// A record at a time, in seconds from the first.
fn record(draw: &mut Draw, table: Table, clock: i64) -> String {
    match table {
        Table::Users => {
            let (id, value) = (draw.int(0..18), draw.chance(0.85));
            let (name, team, score) = (word(draw, &NAMES), word(draw, &TEAMS), draw.int(0..50));
            let row = format!(r#"{{"name":"{name}","team":"{team}","score":{score}}}"#);
            keyed(id, value.then_some(row))
        }
        Table::Games => {
            let (id, user, arena, at) =
                (draw.int(0..60), draw.int(0..20), word(draw, &ARENAS), time(draw, clock));
            let points = if draw.chance(0.02) { 5000 } else { draw.int(0..50) };
            let rev = draw.int(0..8);
            format!(
                r#"{{"id":{id},"user_id":{user},"arena":"{arena}","points":{points},"at":"{at}","rev":{rev}}}"#
            )
        }
        Table::Clicks => {
            let (user, page, n, at) =
                (draw.int(0..20), word(draw, &PAGES), draw.int(0..50), time(draw, clock));
            format!(r#"{{"user_id":{user},"page":"{page}","n":{n},"at":"{at}"}}"#)
        }
        Table::Prizes => {
            let (id, value) = (draw.int(0..20), draw.chance(0.9));
            let (team, worth) = (word(draw, &TEAMS), draw.int(0..50));
            keyed(id, value.then_some(format!(r#"{{"team":"{team}","worth":{worth}}}"#)))
        }
    }
}

/// A line of FORMAT UPSERT.
fn keyed(id: i64, value: Option<String>) -> String {
    let value = value.unwrap_or_else(|| "null".to_owned());
    format!(r#"{{"key":{{"id":{id}}},"value":{value}}}"#)
}

fn word(draw: &mut Draw, words: &[&'static str]) -> &'static str {
    draw.one(words).unwrap_or_default()
}

/// A time near the clock's: some are minutes behind it, and some of these late.
fn time(draw: &mut Draw, clock: i64) -> String {
    let behind = if draw.chance(0.2) { draw.int(0..500) } else { 0 };
    let seconds = 10 * 3600 + (clock - behind).max(0);
    format!("2026-01-05T{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
