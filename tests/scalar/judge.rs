//! PostgreSQL's answers: what an expression gives in a place, over the rows that it does not fail on.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::forms::For;
use crate::history::History;
use crate::postgres::{Postgres, Texts};
use crate::question::Question;

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

impl Judged {
    /// Its answers beside expressions that fail on these rows, which are left out.
    pub fn beside(&self, failing: &BTreeSet<&String>) -> Judged {
        let stays = |row: &&Texts| row[0].as_ref().is_none_or(|id| !failing.contains(id));
        Judged {
            bad: failing.iter().map(ToString::to_string).collect(),
            rows: self.rows.iter().filter(stays).cloned().collect(),
            ..self.clone()
        }
    }
}

/// A connection with what judging needs.
pub fn judge() -> Postgres {
    let mut postgres = Postgres::new();
    let sql = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scalar/judge.sql");
    let sql = std::fs::read_to_string(sql).expect("tests/scalar/judge.sql");
    for statement in sql.split("\n\n") {
        postgres.told(statement.trim_end().trim_end_matches(';'));
    }
    History::declare(&mut postgres);
    postgres
}

/// Judges expressions over a history.
pub fn judged(postgres: &mut Postgres, history: &History, asked: &[Question], reader: For) -> Vec<Judged> {
    history.tell(postgres);
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let row = |(at, question): (usize, &Question)| {
        let (expression, query) = question.place.postgres(&question.sql, question.kind, reader);
        format!("({at}, {}, '{}', {})", quoted(&expression), question.place.table(), quoted(&query))
    };
    let values: Vec<String> = asked.iter().enumerate().map(row).collect();
    let mut judged = vec![Judged::default(); asked.len()];
    if values.is_empty() {
        return judged;
    }
    let rows = postgres.told(&format!(
        "SELECT q.n, j.kind, array_to_json(j.cells) FROM (VALUES {}) AS q (n, e, t, s), LATERAL judge(q.e, q.t, q.s) AS j",
        values.join(", ")
    ));
    for row in rows {
        let [Some(at), Some(kind), cells] = row.as_slice() else { panic!("PostgreSQL said {row:?}") };
        let to = &mut judged[at.parse::<usize>().unwrap()];
        // JSON, since a text may have any character in it.
        let cells: Texts = serde_json::from_str(cells.as_deref().unwrap_or("[]")).expect("an array");
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
