//! PostgreSQL's answers: what an expression gives in a place, over the rows that it does not fail on.

use crate::history::History;
use crate::place::Place;
use crate::postgres::{Postgres, Texts, array_items};

/// What PostgreSQL says.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// It does not know the expression.
    pub refused: Option<String>,
    /// The query itself fails.
    pub failed: Option<String>,
    /// Type of the expression; empty where there is no row to tell it by.
    pub kind: String,
    /// Ids of the rows that the expression fails on.
    pub bad: Vec<String>,
    /// Rows.
    pub rows: Vec<Texts>,
}

/// A connection with what judging needs.
pub fn judge() -> Postgres {
    let mut postgres = Postgres::new();
    postgres.told(include_str!("judge.sql"));
    postgres
}

/// Judges expressions over a history.
pub fn judged(postgres: &mut Postgres, history: &History, asked: &[(String, &Place)]) -> Vec<Judged> {
    history.tell(postgres);
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let row = |(at, (expression, place)): (usize, &(String, &Place))| {
        let query = place.postgres(expression);
        format!("({at}, {}, '{}', {})", quoted(expression), place.table(), quoted(&query))
    };
    let values: Vec<String> = asked.iter().enumerate().map(row).collect();
    let mut judged = vec![Judged::default(); asked.len()];
    if values.is_empty() {
        return judged;
    }
    let rows = postgres.told(&format!(
        "SELECT q.n, j.kind, j.cells FROM (VALUES {}) AS q (n, e, t, s), LATERAL judge(q.e, q.t, q.s) AS j",
        values.join(", ")
    ));
    for row in rows {
        let [Some(at), Some(kind), cells] = row.as_slice() else { panic!("PostgreSQL said {row:?}") };
        let to = &mut judged[at.parse::<usize>().unwrap()];
        let cells = array_items(cells.as_deref().unwrap_or("{}")).expect("an array");
        let first = || cells.first().cloned().flatten().unwrap_or_default();
        match kind.as_str() {
            "refused" => to.refused = Some(first()),
            "failed" => to.failed = Some(first()),
            "type" => to.kind = first(),
            "bad" => to.bad = cells.into_iter().flatten().collect(),
            _ => to.rows.push(cells),
        }
    }
    judged
}
