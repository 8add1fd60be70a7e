//! Questions, an expression in a place each, put to Herald and PostgreSQL; and what is left of one that differs
//! when it is made smaller.

use std::sync::Arc;

use crate::engine::{Given, answers};
use crate::expression::Expr;
use crate::forms::FORMS;
use crate::history::History;
use crate::judge::{Judged, judged};
use crate::kind::Kind;
use crate::place::{PLACES, Place};
use crate::postgres::{Postgres, Texts};
use crate::value;

/// An expression in a place.
#[derive(Clone)]
pub struct Question {
    /// Text.
    pub sql: String,
    /// Kind of it.
    pub kind: Kind,
    /// Where it stands.
    pub place: &'static Place,
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Both say the same.
    Same,
    /// PostgreSQL does not know it.
    Unjudged(String),
    /// `check` refuses it.
    Refused(String),
    /// They differ.
    Differs(String),
}

impl Verdict {
    /// As `known.txt` calls it.
    pub fn status(&self) -> &'static str {
        match self {
            Verdict::Same => "same",
            Verdict::Unjudged(_) => "unjudged",
            Verdict::Refused(_) => "refused",
            Verdict::Differs(_) => "differs",
        }
    }

    /// What was said.
    pub fn told(&self) -> &str {
        match self {
            Verdict::Same => "",
            Verdict::Unjudged(told) | Verdict::Refused(told) | Verdict::Differs(told) => told,
        }
    }
}

/// What both say to each question.
pub fn ask(postgres: &mut Postgres, history: &Arc<History>, questions: &[Question]) -> Vec<Verdict> {
    let asked: Vec<(String, &Place)> = questions.iter().map(|q| (q.sql.clone(), q.place)).collect();
    let judged = judged(postgres, history, &asked);
    let herald: Vec<_> = questions
        .iter()
        .enumerate()
        .map(|(at, q)| q.place.herald(&q.sql, q.kind, &format!("s{at}")))
        .collect();
    let given = answers(history, &herald);
    questions
        .iter()
        .zip(judged.iter().zip(&given))
        .map(|(q, (judged, given))| verdict(q, judged, given))
        .collect()
}

fn verdict(question: &Question, judged: &Judged, given: &Given) -> Verdict {
    if let Some(words) = judged.refused.as_ref().or(judged.failed.as_ref()) {
        return match given {
            Given::Failed(why) => Verdict::Differs(format!("PostgreSQL: {words}; Herald: {why}")),
            _ => Verdict::Unjudged(words.clone()),
        };
    }
    let (rows, errors, fields) = match given {
        Given::Refused(words) => return Verdict::Refused(words.clone()),
        Given::Failed(why) => return Verdict::Differs(why.clone()),
        Given::Rows { rows, errors, fields } => (rows, *errors, fields),
    };
    let select = question.place.name == PLACES[0].name;
    if select && !judged.kind.is_empty() && !value::same_class(&judged.kind, &fields[1]) {
        let herald = schemas::sql_type(&fields[1]);
        return Verdict::Differs(format!("the type is {herald}, PostgreSQL's {}", judged.kind));
    }
    let near = question.place.approximate;
    let text = |row: &Texts, postgres: bool| -> String {
        let cells = row.iter().zip(fields).map(|(cell, field)| match cell {
            None => "NULL".to_owned(),
            Some(text) => {
                let text = if postgres { value::postgres(text, field) } else { text.clone() };
                if near { nearly(&text) } else { text }
            }
        });
        cells.collect::<Vec<_>>().join(" · ")
    };
    let mut found: Vec<String> = rows.iter().map(|row| text(row, false)).collect();
    let mut wanted: Vec<String> = judged.rows.iter().map(|row| text(row, true)).collect();
    found.sort_unstable();
    wanted.sort_unstable();
    if found != wanted {
        let lacking = |of: &[String], from: &[String]| {
            let mut left = from.to_vec();
            let missing = of.iter().filter(|row| match left.iter().position(|other| other == *row) {
                Some(at) => {
                    left.swap_remove(at);
                    false
                }
                None => true,
            });
            missing.take(3).cloned().collect::<Vec<_>>()
        };
        let bad = if judged.bad.is_empty() {
            String::new()
        } else {
            format!("; it fails on rows {}", judged.bad.join(" "))
        };
        return Verdict::Differs(format!(
            "Herald has {:?}, PostgreSQL has {:?}{bad}",
            lacking(&found, &wanted),
            lacking(&wanted, &found)
        ));
    }
    if select && errors != judged.bad.len() {
        return Verdict::Differs(format!(
            "{errors} rows in herald.errors, PostgreSQL fails on {}",
            judged.bad.len()
        ));
    }
    Verdict::Same
}

/// A number without its last digits.
fn nearly(text: &str) -> String {
    match text.parse::<f64>() {
        Ok(x) if text.contains(['.', 'e']) && x.is_finite() => format!("{x:.8e}"),
        _ => text.to_owned(),
    }
}

/// A question that differs, made smaller: the smallest call in it that differs by itself, or the whole.
pub fn shrunk(
    postgres: &mut Postgres,
    history: &Arc<History>,
    expr: &Expr,
    place: &'static Place,
) -> Option<(String, Question, Verdict)> {
    let calls = expr.calls();
    let question = |call: &Expr, place| -> Option<(String, Question)> {
        let form = call.form()?;
        Some((form.name(), Question { sql: call.sql(), kind: form.result, place }))
    };
    let mut asked: Vec<(String, Question)> = calls
        .iter()
        .filter(|call| call.form().is_some_and(|f| f.result.0 != "span"))
        .filter_map(|call| question(call, &PLACES[0]))
        .collect();
    if place.name != PLACES[0].name {
        let (name, whole) = question(expr, place)?;
        asked.push((format!("{name} @ {}", place.name), whole));
    }
    let questions: Vec<Question> = asked.iter().map(|(_, q)| q.clone()).collect();
    let verdicts = ask(postgres, history, &questions);
    let found = asked.into_iter().zip(verdicts).find(|(_, verdict)| matches!(verdict, Verdict::Differs(_)));
    found.map(|((name, question), verdict)| (name, question, verdict))
}

/// The area of a form by its name.
pub fn area(name: &str) -> &'static str {
    let form = name.split(" @ ").next().unwrap_or(name);
    FORMS.iter().find(|known| known.name() == form).map_or("me", |known| known.area)
}
