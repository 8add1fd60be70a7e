//! Questions, an expression in a place each, put to Herald and PostgreSQL; and what is left of one that differs
//! when it is made smaller.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::Field;

use crate::engine::{Given, answers};
use crate::expression::Expr;
use crate::forms::{FORMS, For, spelled, words};
use crate::history::History;
use crate::judge::{self, Judged};
use crate::kind::Kind;
use crate::place::{Asked, PLACES, Place};
use crate::postgres::{Postgres, Texts};
use crate::{spent, value};

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

/// Expressions in SELECT that one view of Herald's holds, of those that fail on no row, and of others.
const IN_A_VIEW: [usize; 2] = [16, 3];

/// What both say to each question.
pub fn ask(postgres: &mut Postgres, history: &Arc<History>, questions: &[Question]) -> Vec<Verdict> {
    let judged = spent(0, || judge::judged(postgres, history, questions, For::Postgres));
    let (mut verdicts, mut given) = (vec![None; questions.len()], vec![None; questions.len()]);
    let views = views(questions, &judged);
    let asked: Vec<Asked> = views.iter().map(|view| together(questions, view)).collect();
    for (view, found) in views.iter().zip(answers(history, &asked)) {
        let failing: BTreeSet<&String> = view.iter().flat_map(|at| &judged[*at].bad).collect();
        for (column, at) in view.iter().enumerate().filter(|_| view.len() > 1) {
            let Some(found) = found.column(column) else { continue };
            let said = verdict(&questions[*at], &judged[*at].beside(&failing), &found);
            verdicts[*at] = Some(said).filter(|said| *said == Verdict::Same);
        }
        if let [at] = view.as_slice() {
            given[*at] = Some(found);
        }
    }
    // A view of several that differs, or is refused, tells nothing of each: they are asked again.
    let open = |at: &usize| verdicts[*at].is_none() && given[*at].is_none();
    let alone: Vec<usize> = (0..questions.len()).filter(open).collect();
    let asked: Vec<Asked> = alone.iter().map(|at| together(questions, &[*at])).collect();
    for (at, found) in alone.iter().zip(answers(history, &asked)) {
        given[*at] = Some(found);
    }
    // Where they differ, what either did with constants may be why: SQL leaves open what is evaluated beside them.
    let said = |at: usize, judged: &Judged| given[at].as_ref().map(|g| verdict(&questions[at], judged, g));
    let doubtful: Vec<usize> = (0..questions.len())
        .filter(|at| !matches!(said(*at, &judged[*at]), None | Some(Verdict::Same | Verdict::Refused(_))))
        .collect();
    let again: Vec<Question> = doubtful.iter().map(|at| questions[*at].clone()).collect();
    let blind = if again.is_empty() {
        vec![]
    } else {
        spent(0, || judge::judged(postgres, history, &again, For::BlindPostgres))
    };
    for (at, judged) in doubtful.iter().zip(&blind) {
        let same = |said: &Verdict| *said == Verdict::Same;
        verdicts[*at] = said(*at, judged).filter(same).or_else(|| {
            let asked = alone_as(questions, *at, For::BlindHerald);
            let given = answers(history, &[asked]).into_iter().next()?;
            Some(verdict(&questions[*at], judged, &given)).filter(same)
        });
    }
    let first = |at: usize| said(at, &judged[at]).unwrap_or(Verdict::Same);
    verdicts.iter().enumerate().map(|(at, settled)| settled.clone().unwrap_or_else(|| first(at))).collect()
}

/// Which questions one view of Herald's answers.
fn views(questions: &[Question], judged: &[Judged]) -> Vec<Vec<usize>> {
    let select = |at: &usize| {
        let known = judged[*at].refused.is_none() && judged[*at].failed.is_none();
        questions[*at].place.name == PLACES[0].name && known
    };
    let (select, others): (Vec<usize>, Vec<usize>) = (0..questions.len()).partition(select);
    let (quiet, failing): (Vec<usize>, Vec<usize>) =
        select.into_iter().partition(|at| judged[*at].bad.is_empty());
    let chunks = quiet.chunks(IN_A_VIEW[0]).chain(failing.chunks(IN_A_VIEW[1])).chain(others.chunks(1));
    chunks.map(<[usize]>::to_vec).collect()
}

/// Question to Herald as a view of its own.
fn alone_as(questions: &[Question], at: usize, reader: For) -> Asked {
    let question = &questions[at];
    question.place.herald(&question.sql, question.kind, &format!("s{at}"), reader)
}

/// Questions to Herald in one view.
fn together(questions: &[Question], view: &[usize]) -> Asked {
    if let [at] = view {
        return alone_as(questions, *at, For::Herald);
    }
    let column =
        |(column, at): (usize, &usize)| format!("{} AS b{column}", spelled(&questions[*at].sql, For::Herald));
    let columns: Vec<String> = view.iter().enumerate().map(column).collect();
    Asked { source: None, query: format!("SELECT id AS a, {} FROM t", columns.join(", ")) }
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
    let near = question.place.approximate || question.kind.0 == "near";
    let keys = ["GROUP BY", "DISTINCT", "UNION"].contains(&question.place.name);
    let text = |row: &Texts, postgres: bool| -> String {
        let cells = row.iter().zip(fields).map(|(cell, field)| match cell {
            None => "NULL".to_owned(),
            Some(text) => {
                let text = if postgres { value::postgres(text, field) } else { text.clone() };
                match () {
                    () if near => nearly(&text, field),
                    // Keys lose the zeros that end their numbers.
                    () if keys && schemas::is_jsonb(field) => value::without_zeros(&text),
                    () => text,
                }
            }
        });
        cells.collect::<Vec<_>>().join(" · ")
    };
    let mut found: Vec<String> = rows.iter().map(|row| text(row, false)).collect();
    // Sums of whole numbers beyond BIGINT, and DECIMALs of more than 38 digits, fail.
    let beyond = |row: &Texts| row.iter().zip(fields).any(|(cell, f)| value::is_beyond(cell.as_deref(), f));
    let (left_out, rows): (Vec<&Texts>, Vec<&Texts>) = judged.rows.iter().partition(|row| beyond(row));
    let mut wanted: Vec<String> = rows.into_iter().map(|row| text(row, true)).collect();
    let rounds = words(&question.sql).iter().any(|word| ROUNDED.contains(word));
    for rows in [&mut found, &mut wanted] {
        rows.iter_mut().filter(|_| rounds).for_each(|row| *row = value::roughly(row));
        rows.sort_unstable();
    }
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
    let failing = judged.bad.len() + left_out.len();
    if select && errors != failing {
        return Verdict::Differs(format!("{errors} rows in herald.errors, PostgreSQL fails on {failing}"));
    }
    Verdict::Same
}

/// Functions whose last digit is that of the platform's library.
const ROUNDED: &[&str] = &[
    "^", "power", "pow", "exp", "ln", "log", "log10", "sin", "cos", "tan", "cot", "asin", "acos", "atan",
    "atan2", "sinh", "cosh", "tanh", "sind", "cosd", "tand", "cotd", "asind", "acosd", "atand", "atan2d",
];

/// A number without its last digits.
fn nearly(text: &str, field: &Field) -> String {
    match text.parse::<f64>() {
        Ok(x) if !field.data_type().is_integer() && x.is_finite() => format!("{x:.8e}"),
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
    let mut asked: Vec<(String, Question)> =
        calls.iter().filter_map(|call| question(call, &PLACES[0])).collect();
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
