//! EXPLAIN, DESCRIBE and SHOW: plans, columns and names as answers, in SQL's words.
//!
//! EXPLAIN of a SELECT tells the plan by which the query would be answered, with ANALYZE also what its parts
//! did. The query engine would plan the SELECT by its own rules; here it is planned as it is when it is asked, so
//! that the plan is the one that runs. EXPLAIN VERBOSE, EXPLAIN FORMAT and EXPLAIN of other statements are left to
//! the engine. DESCRIBE has the types of Herald's SQL, where `information_schema.columns` has PostgreSQL's names
//! of them.

use std::borrow::Cow;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::display::DisplayableExecutionPlan;

use super::{is_select, statements};

/// The query that SHOW TABLES stands for.
const LIST_TABLES: &str = "SELECT table_catalog, table_schema, table_name, \
    CASE table_schema WHEN 'herald' THEN 'SYSTEM TABLE' ELSE table_type END AS table_type \
    FROM information_schema.tables WHERE table_schema IN ('public', 'herald') \
    ORDER BY table_schema DESC, table_name";

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
    /// The statement without the EXPLAIN before a SELECT; blanks stand for it, so that places stay. Of SHOW TABLES
    /// and SHOW COLUMNS the statement that they stand for.
    pub text: Cow<'a, str>,
    /// The use of its plan.
    pub wanted: Wanted,
}

impl<'a> Statement<'a> {
    /// The statement of a text.
    pub(crate) fn of(sql: &'a str) -> Statement<'a> {
        if let Some(text) = listing(sql) {
            return Statement { text, wanted: Wanted::Rows };
        }
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

/// The statement that SHOW TABLES or SHOW COLUMNS stands for; None for another statement.
fn listing(sql: &str) -> Option<Cow<'static, str>> {
    let rest = behind_word(statements::skip_blank(sql), "show")?;
    if statements::begins(rest, "tables") {
        let end = statements::skip_blank(&rest["tables".len()..]).trim_end().trim_end_matches(';');
        return end.is_empty().then_some(Cow::Borrowed(LIST_TABLES));
    }
    let rest = behind_word(rest, "columns")?;
    let name = behind_word(rest, "from").or_else(|| behind_word(rest, "in"))?;
    Some(Cow::Owned(format!("DESCRIBE {name}")))
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
    spell_plan(&RecordBatch::try_new(Arc::new(schema), columns)?)
}

/// The answer to DESCRIBE.
pub(crate) fn describe(schema: &Schema) -> Result<RecordBatch> {
    let (mut names, mut types, mut nullable) = (Vec::new(), Vec::new(), Vec::new());
    for field in schema.fields() {
        names.push(field.name());
        types.push(type_name(field));
        nullable.push(yes_or_no(field));
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(names)),
        Arc::new(StringArray::from_iter_values(types)),
        Arc::new(StringArray::from_iter_values(nullable)),
    ];
    Ok(RecordBatch::try_new(Arc::new(LogicalPlan::describe_schema()), columns)?)
}

fn yes_or_no(field: &Field) -> &'static str {
    if field.is_nullable() { "YES" } else { "NO" }
}

/// SQL's name of a column's type. A type that only the query engine has is named as the nearest in SQL.
fn type_name(field: &Field) -> String {
    let nearest = match field.data_type() {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Int8 | DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        _ => return schemas::sql_type(field),
    };
    schemas::sql_type(&Field::new(field.name(), nearest, true))
}

/// The answer to EXPLAIN with SQL's names of types.
pub(crate) fn spell_plan(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(spell_column).collect();
    Ok(RecordBatch::try_new(batch.schema(), columns)?)
}

fn spell_column(column: &ArrayRef) -> ArrayRef {
    match column.as_string_opt::<i32>() {
        Some(texts) => Arc::new(texts.iter().map(|text| text.map(spell_types)).collect::<StringArray>()),
        None => Arc::clone(column),
    }
}

/// Types in the query engine's plans, and SQL's names of them: those of several words first.
const TYPES: [(&str, &str); 4] = [
    ("Timestamp(µs, \"UTC\")", "TIMESTAMPTZ"),
    ("Timestamp(µs)", "TIMESTAMP"),
    ("Time64(µs)", "TIME"),
    ("Interval(MonthDayNano)", "INTERVAL"),
];
/// Types of one word, which also stand before literals.
const TYPE_WORDS: [(&str, &str); 19] = [
    ("Boolean", "BOOLEAN"),
    ("Int8", "SMALLINT"),
    ("Int16", "SMALLINT"),
    ("Int32", "INT"),
    ("Int64", "BIGINT"),
    ("UInt32", "BIGINT"),
    ("UInt64", "BIGINT"),
    ("Float32", "REAL"),
    ("Float64", "DOUBLE"),
    ("Decimal128", "DECIMAL"),
    ("Utf8", "VARCHAR"),
    ("LargeUtf8", "VARCHAR"),
    ("Utf8View", "VARCHAR"),
    ("Binary", "BYTEA"),
    ("BinaryView", "BYTEA"),
    ("Date32", "DATE"),
    ("Time64Microsecond", "TIME"),
    ("TimestampMicrosecond", "TIMESTAMP"),
    ("IntervalMonthDayNano", "INTERVAL"),
];

/// A plan's text with SQL's names of types. Literals, between double quotes, stay as they are.
fn spell_types(plan: &str) -> String {
    let mut text = plan.to_owned();
    for (engine, sql) in TYPES {
        text = text.replace(engine, sql);
    }
    let mut parts = Vec::new();
    for (at, part) in text.split('"').enumerate() {
        parts.push(if at % 2 == 0 { spell_words(part) } else { part.to_owned() });
    }
    parts.join("\"")
}

fn is_end(c: char) -> bool {
    !c.is_alphanumeric() && c != '_'
}

fn spell_words(text: &str) -> String {
    let mut spelt = String::with_capacity(text.len());
    for piece in text.split_inclusive(is_end) {
        let word = piece.trim_end_matches(is_end);
        spelt.push_str(match TYPE_WORDS.iter().find(|(engine, _)| *engine == word) {
            Some((_, sql)) => sql,
            None => word,
        });
        spelt.push_str(&piece[word.len()..]);
    }
    spelt
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

    #[test]
    fn a_list_is_asked_of_the_catalogue() {
        for sql in ["SHOW TABLES", " show\n/* all */ tables ; "] {
            assert_eq!(Statement::of(sql).text, LIST_TABLES, "{sql}");
        }
        for (sql, text) in [
            ("SHOW COLUMNS FROM v", "DESCRIBE v"),
            ("show columns in herald.\"views\";", "DESCRIBE herald.\"views\";"),
            ("SHOW TABLES LIKE 'v'", "SHOW TABLES LIKE 'v'"),
            ("SHOW TABLESPACE", "SHOW TABLESPACE"),
            ("SHOW COLUMNS", "SHOW COLUMNS"),
            ("SHOW timezone", "SHOW timezone"),
        ] {
            assert_eq!(Statement::of(sql).text, text, "{sql}");
        }
    }

    #[test]
    fn a_plan_names_types_as_sql_does() {
        for (engine, sql) in [
            ("Filter: v.games > Int64(3)", "Filter: v.games > BIGINT(3)"),
            (
                "CAST(a AS Utf8View), CAST(b AS Timestamp(µs, \"UTC\"))",
                "CAST(a AS VARCHAR), CAST(b AS TIMESTAMPTZ)",
            ),
            ("name = Utf8(\"Int64 or Utf8\")", "name = VARCHAR(\"Int64 or Utf8\")"),
            ("Int64_total, MyUtf8", "Int64_total, MyUtf8"),
            ("", ""),
        ] {
            assert_eq!(spell_types(engine), sql);
        }
    }

    #[test]
    fn types_of_the_engine_alone_are_named_as_the_nearest() {
        for (engine, sql) in [
            (DataType::Utf8View, "VARCHAR"),
            (DataType::UInt64, "BIGINT"),
            (DataType::BinaryView, "BYTEA"),
            (schemas::timestamptz(), "TIMESTAMPTZ"),
            (DataType::Decimal128(10, 2), "DECIMAL(10, 2)"),
        ] {
            assert_eq!(type_name(&Field::new("c", engine, true)), sql);
        }
    }
}
