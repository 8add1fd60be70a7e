//! EXPLAIN of a SELECT: the plan by which the query would be answered, with ANALYZE also what its parts did.
//!
//! The query engine would plan the SELECT by its own rules; here it is planned as it is when it is asked, so that the
//! plan is the one that runs. EXPLAIN VERBOSE, EXPLAIN FORMAT and EXPLAIN of other statements are left to the engine.

use std::borrow::Cow;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::display::DisplayableExecutionPlan;

use super::{information_schema, is_select, statements};

/// Use that is made of a statement's plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// It runs, and its rows are the answer.
    Rows,
    /// It is the answer.
    Plan,
    /// It runs, and the plan with what its parts did is the answer.
    Measured,
}

/// A statement.
#[derive(Debug)]
pub(crate) struct Statement<'a> {
    /// The statement without the EXPLAIN before a SELECT; blanks stand for it, so that places stay.
    pub text: Cow<'a, str>,
    /// The use of its plan.
    pub wanted: Wanted,
}

impl<'a> Statement<'a> {
    /// The statement of a text.
    pub(crate) fn of(sql: &'a str) -> Statement<'a> {
        let asked = Statement { text: Cow::Borrowed(sql), wanted: Wanted::Rows };
        let Some(rest) = behind_word(statements::skip_blank(sql), "explain") else { return asked };
        let (rest, wanted) = match behind_word(rest, "analyze") {
            Some(rest) => (rest, Wanted::Measured),
            None => (rest, Wanted::Plan),
        };
        if !is_select(rest) {
            return asked;
        }
        let before = &sql[..sql.len() - rest.len()];
        let mut text = String::with_capacity(sql.len());
        for letter in before.chars() {
            text.push(if letter == '\n' { '\n' } else { ' ' });
        }
        text.push_str(rest);
        Statement { text: Cow::Owned(text), wanted }
    }
}

/// The text behind a word and the blanks after it; None if the text does not begin with the word.
fn behind_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    if !statements::begins(text, word) {
        return None;
    }
    let behind = &text[word.len()..];
    let rest = statements::skip_blank(behind);
    if rest.len() < behind.len() || behind.starts_with('(') { Some(rest) } else { None }
}

/// The answer to EXPLAIN: the logical and the physical plan.
pub(crate) fn plan_rows(logical: &LogicalPlan, physical: &dyn ExecutionPlan) -> Result<RecordBatch> {
    let physical = DisplayableExecutionPlan::new(physical).indent(false).to_string();
    answer_rows(&["logical_plan", "physical_plan"], vec![logical.display_indent().to_string(), physical])
}

/// The answer to EXPLAIN ANALYZE: the physical plan, after it ran.
pub(crate) fn measured_rows(physical: &dyn ExecutionPlan) -> Result<RecordBatch> {
    let text = DisplayableExecutionPlan::with_metrics(physical).indent(false).to_string();
    answer_rows(&["Plan with Metrics"], vec![text])
}

/// Plans with their kinds as rows, in the columns that the query engine has for them.
fn answer_rows(kinds: &[&str], plans: Vec<String>) -> Result<RecordBatch> {
    let schema = Schema::new(vec![
        Field::new("plan_type", DataType::Utf8, false),
        Field::new("plan", DataType::Utf8, false),
    ]);
    let columns: Vec<ArrayRef> =
        vec![Arc::new(StringArray::from_iter_values(kinds)), Arc::new(StringArray::from(plans))];
    information_schema::spell_plan(&RecordBatch::try_new(Arc::new(schema), columns)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explain_of_a_select_is_told_from_other_statements() {
        for (sql, text, wanted) in [
            ("SELECT 1", "SELECT 1", Wanted::Rows),
            ("EXPLAIN SELECT 1", "        SELECT 1", Wanted::Plan),
            ("explain\n/* é */ analyze\nWITH t AS (SELECT 1) SELECT * FROM t", "", Wanted::Measured),
            ("EXPLAIN(SELECT 1)", "       (SELECT 1)", Wanted::Plan),
            ("EXPLAIN VERBOSE SELECT 1", "EXPLAIN VERBOSE SELECT 1", Wanted::Rows),
            ("EXPLAIN DROP TABLE t", "EXPLAIN DROP TABLE t", Wanted::Rows),
            ("EXPLAIN", "EXPLAIN", Wanted::Rows),
            ("explained", "explained", Wanted::Rows),
        ] {
            let statement = Statement::of(sql);
            assert_eq!(statement.wanted, wanted, "{sql}");
            assert_eq!(statement.text.chars().count(), sql.chars().count(), "{sql}");
            assert!(text.is_empty() || statement.text == text, "{sql}: {}", statement.text);
        }
    }
}
