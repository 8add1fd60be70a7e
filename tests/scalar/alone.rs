//! What a function gives for a row is what it gives for the row alone: over a whole batch, over parts of it, and
//! row by row. Else a row would be taken back as another than was put in.
//!
//! The physical expressions of each view are evaluated as the dataflow does. Also: every function that may be called
//! stands in the table of forms, or in a list of those that do not, with the reason.

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::{concat, filter_record_batch};
use dataflows::plan::{Op, Plan, Scalar};
use dataflows::source::decoder;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::engine::views;
use crate::expression::Generator;
use crate::forms::{FORMS, For, spelled, words};
use crate::history::History;
use crate::place::{Asked, PLACES};

/// Functions that no form calls, with the reason.
const APART: &[(&str, &str)] = &[("row", "another name of struct, which PostgreSQL reads as a row value")];

/// Aggregates that no place calls, with the reason.
const APART_AGGREGATES: &[(&str, &str)] = &[
    (
        "approx_distinct mean var var_population var_sample covar quantile_cont",
        "PostgreSQL does not have them: tests/random holds them against DuckDB",
    ),
    ("last_value", "PostgreSQL has it as a window function alone"),
];

#[test]
fn a_row_gives_what_it_gives_alone() {
    let history = History::new(11);
    let mut asked = Vec::new();
    for (at, form) in FORMS.iter().enumerate() {
        let mut rng = ChaCha8Rng::seed_from_u64(schemas::hash(form.name().as_bytes()) ^ 1);
        for depth in [0, 0, 1] {
            let inner: Vec<usize> = (0..FORMS.len()).filter(|f| FORMS[*f].area != "own").collect();
            let expr = Generator { rng: &mut rng, inner: &inner }.of_form(at, depth);
            let query = format!("SELECT id AS a, {} AS b FROM t", spelled(&expr.sql(), For::Herald));
            asked.push(Asked { source: None, query });
        }
    }
    let (mut told, mut evaluated) = (Vec::new(), 0);
    for asked in asked.chunks(200) {
        let (plan, left) = views(asked);
        let batch = decoded(&plan, &history);
        for (at, view) in plan.views.iter().enumerate() {
            if let Err(why) = checked(&plan, view.rel, &batch, &mut evaluated) {
                told.push(format!("{}: {why}", left[at].query));
            }
        }
    }
    assert!(evaluated > FORMS.len(), "{evaluated} expressions evaluated");
    assert!(told.is_empty(), "{} of {evaluated}:\n{}", told.len(), told.join("\n"));
}

/// Every row of the history in one batch.
fn decoded(plan: &Plan, history: &History) -> RecordBatch {
    let source = plan.sources.iter().find(|source| source.name == "t").expect("the table");
    let mut decoder = decoder::of(source, &Default::default()).unwrap();
    let decoded = decoder.decode(&history.keyed(0..history.records.len())).unwrap();
    assert!(decoded.rejects.is_empty(), "{:?}", decoded.rejects);
    // A deletion has its key alone.
    let kept: Vec<bool> = if decoded.deletes.is_empty() {
        vec![true; decoded.batch.num_rows()]
    } else {
        decoded.deletes.iter().map(|deletes| !deletes).collect()
    };
    let batch = filter_record_batch(&decoded.batch, &kept.into()).unwrap();
    RecordBatch::try_new(batch.schema(), batch.columns().to_vec()).unwrap()
}

/// What a relation gives, while each of its expressions is checked; None where something else than expressions is
/// below, or where one fails.
fn checked(
    plan: &Plan,
    rel: usize,
    source: &RecordBatch,
    evaluated: &mut usize,
) -> Result<Option<RecordBatch>, String> {
    match &plan.rels[rel].op {
        Op::Source(_) => Ok(Some(source.clone())),
        Op::Project { input, exprs } => {
            let Some(batch) = checked(plan, *input, source, evaluated)? else { return Ok(None) };
            let columns: Result<Vec<Option<ArrayRef>>, String> =
                exprs.iter().map(|expr| alone(expr, &batch, evaluated)).collect();
            let Some(columns) = columns?.into_iter().collect::<Option<Vec<_>>>() else { return Ok(None) };
            RecordBatch::try_new(plan.rels[rel].schema.clone(), columns).map(Some).map_err(|e| e.to_string())
        }
        Op::Filter { input, predicate } => {
            let Some(batch) = checked(plan, *input, source, evaluated)? else { return Ok(None) };
            alone(predicate, &batch, evaluated)?;
            let Ok(kept) = predicate.evaluate_bool(&batch) else { return Ok(None) };
            filter_record_batch(&batch, &kept).map(Some).map_err(|e| e.to_string())
        }
        _ => Ok(None),
    }
}

/// Evaluates over the whole batch, row by row and over parts: all must say the same where they do not fail.
fn alone(expr: &Scalar, batch: &RecordBatch, evaluated: &mut usize) -> Result<Option<ArrayRef>, String> {
    *evaluated += 1;
    let rows = batch.num_rows();
    let single: Vec<Option<ArrayRef>> =
        (0..rows).map(|row| expr.evaluate(&batch.slice(row, 1)).ok()).collect();
    let hold = |from: usize, array: &ArrayRef| -> Result<(), String> {
        for at in 0..array.len() {
            let Some(single) = &single[from + at] else {
                return Err(format!("row {} fails alone and not beside others", from + at));
            };
            let (one, beside) = (shown(single), shown(&array.slice(at, 1)));
            if one != beside {
                return Err(format!("row {} gives {one} alone and {beside} beside others", from + at));
            }
        }
        Ok(())
    };
    for cut in [0, 1, rows / 3, rows / 2] {
        let cut = cut.min(rows);
        for (from, length) in [(0, cut), (cut, rows - cut)] {
            // A batch that fails is evaluated row by row.
            if let Ok(array) = expr.evaluate(&batch.slice(from, length)) {
                if array.len() != length {
                    return Err(format!("{} rows of {length}", array.len()));
                }
                hold(from, &array)?;
            }
        }
    }
    if rows == 0 {
        return Ok(expr.evaluate(batch).ok());
    }
    let Some(single) = single.into_iter().collect::<Option<Vec<ArrayRef>>>() else { return Ok(None) };
    let single: Vec<&dyn Array> = single.iter().map(AsRef::as_ref).collect();
    concat(&single).map(Some).map_err(|e| e.to_string())
}

fn shown(array: &ArrayRef) -> String {
    // The digits of a DECIMAL's type may be those of the branch that gave the value; the value is what counts.
    let class = format!("{:?}", array.data_type());
    let class = class.split('(').next().unwrap_or_default().to_owned();
    format!("{class} {}", arrow::util::display::array_value_to_string(array, 0).unwrap_or_default())
}

#[test]
fn every_function_has_a_form_or_a_reason() {
    let mut called: Vec<String> = Vec::new();
    for form in FORMS.iter() {
        let text = form.text.replace(['{', '}', '|'], " ");
        called.extend(words(&text).into_iter().map(str::to_owned));
        // Choices within a name, as in quote_{ident|literal}.
        if let Some((before, after)) = form.text.split_once("_{")
            && let Some((inside, _)) = after.split_once('}')
        {
            called.extend(inside.split('|').map(|choice| format!("{before}_{choice}")));
        }
    }
    let apart: Vec<&str> = APART.iter().flat_map(|(names, _)| names.split(' ')).collect();
    let known = dataflows::sql::scalar_functions();
    let without: Vec<&String> =
        known.iter().filter(|name| !called.contains(name) && !apart.contains(&name.as_str())).collect();
    assert!(without.is_empty(), "no form of tests/scalar/forms.txt calls {without:?}");
    let gone: Vec<&&str> = apart.iter().filter(|name| !known.iter().any(|k| k == *name)).collect();
    assert!(gone.is_empty(), "said to be apart, and not there: {gone:?}");
    let both: Vec<&&str> = apart.iter().filter(|name| called.iter().any(|c| c == *name)).collect();
    assert!(both.is_empty(), "called by a form, and said to be apart: {both:?}");
}

#[test]
fn every_aggregate_has_a_place_or_a_reason() {
    let called: Vec<&str> = PLACES.iter().flat_map(|place| words(place.query())).collect();
    let apart: Vec<&str> = APART_AGGREGATES.iter().flat_map(|(names, _)| names.split(' ')).collect();
    let known = dataflows::sql::aggregate_functions();
    let without: Vec<&String> = known
        .iter()
        .filter(|name| !called.contains(&name.as_str()) && !apart.contains(&name.as_str()))
        .collect();
    assert!(without.is_empty(), "no place of tests/scalar/place.rs calls {without:?}");
    let gone: Vec<&&str> = apart.iter().filter(|name| !known.iter().any(|k| k == *name)).collect();
    assert!(gone.is_empty(), "said to be apart, and not there: {gone:?}");
}
