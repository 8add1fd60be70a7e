//! Values of views as metrics: the columns that the option `metrics` of a view names, read when `/metrics` is.
//!
//! A row is a series for each such column, labelled by its other columns. Series are bounded: of a view at most
//! [`MOST_SERIES`] are exported, and the others are counted.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use dataflows::plan::View;

use super::Served;
use super::lookup::views_of;
use crate::query::format;

/// Most series of a view.
pub const MOST_SERIES: usize = 1_000;
/// Names of the metrics, their kinds, and their meaning.
pub const METRICS: [(&str, &[&str], &str); 2] = [
    (
        "herald_view_value",
        &["view", "column"],
        "A number in a row of a view with the option `metrics`; the other columns of the row are labels, too. At most \
         1,000 series a view.",
    ),
    (
        "herald_view_left_out_rows",
        &["view"],
        "Rows of such a view that are beyond its 1,000 series and not exported, counted up to 100,000.",
    ),
];

/// The metrics of all views in Prometheus' text format; nothing before the topology has started, or without such views.
///
/// # Errors
/// When the state cannot be read.
pub(super) fn text(served: &Served) -> Result<String> {
    let mut exported = served.plan.views.iter().filter(|view| !view.metrics.is_empty()).peekable();
    if exported.peek().is_none() || !served.handle.status().started {
        return Ok(String::new());
    }
    let store = served.handle.store().context("the topology is ending")?;
    let snapshot = store.snapshot()?;
    let lookups = views_of(served, &snapshot)?;
    let (mut values, mut left_out) = (String::new(), String::new());
    for view in exported {
        // A view that is being filled has no rows to show yet.
        let Some(found) = lookups.view(&view.name).filter(|found| found.refuse_filling(&snapshot).is_ok())
        else {
            continue;
        };
        let (batch, beyond) = found.first_rows(&snapshot, (MOST_SERIES / view.metrics.len()).max(1))?;
        write_rows(&mut values, &served.name, view, &batch)?;
        let own = own_labels(&served.name, &view.name);
        let _ = writeln!(left_out, "herald_view_left_out_rows{{{own}}} {beyond}");
    }
    let [(value, _, value_help), (rows, _, rows_help)] = METRICS;
    Ok(format!(
        "# HELP {value} {value_help}\n# TYPE {value} gauge\n{values}# HELP {rows} {rows_help}\n# TYPE {rows} gauge\n{left_out}"
    ))
}

/// The labels of every series of a view.
fn own_labels(topology: &str, view: &str) -> String {
    format!("topology=\"{}\",view=\"{}\"", escaped(topology), escaped(view))
}

/// Writes a line for each number of the rows; NULL is no series.
fn write_rows(out: &mut String, topology: &str, view: &View, batch: &RecordBatch) -> Result<()> {
    let schema = batch.schema();
    let places: Vec<usize> = (0..batch.num_columns()).filter(|at| !view.metrics.contains(at)).collect();
    let labels = batch.project(&places)?;
    let mut numbers = Vec::with_capacity(view.metrics.len());
    for at in &view.metrics {
        numbers.push((schema.field(*at).name(), cast(batch.column(*at), &DataType::Float64)?));
    }
    let own = own_labels(topology, &view.name);
    for row in 0..batch.num_rows() {
        let mut named = String::new();
        for (field, column) in labels.schema_ref().fields().iter().zip(labels.columns()) {
            // NULL is no text.
            let value = format::text_of(field, column.as_ref(), row)?.unwrap_or_default();
            let _ = write!(named, ",{}=\"{}\"", field.name(), escaped(&value));
        }
        for (name, column) in &numbers {
            let column = column.as_primitive::<Float64Type>();
            if column.is_valid(row) {
                let number = number_text(column.value(row));
                let column = escaped(name);
                let _ = writeln!(out, "herald_view_value{{{own},column=\"{column}\"{named}}} {number}");
            }
        }
    }
    Ok(())
}

/// A number as Prometheus reads it.
fn number_text(number: f64) -> String {
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    number.to_string()
}

/// A label's value between its quotes.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};

    use super::*;

    #[test]
    fn a_row_is_a_series_for_each_number() -> Result<()> {
        let sql =
            "CREATE SOURCE s (source VARCHAR, n BIGINT, share DOUBLE) WITH (connector = 'file', path = 's')
            FORMAT PLAIN ENCODE JSON;
            CREATE MATERIALIZED VIEW v WITH (metrics = 'n, share') AS
            SELECT source, sum(n) AS n, max(share) AS share FROM s GROUP BY source;";
        let file = dataflows::sql::SqlFile { name: "t.sql".to_owned(), text: sql.to_owned() };
        let variables = crate::topology::Variables::only(&[]);
        let plan = crate::topology::plan_topology(&[file], &variables, crate::topology::Network::Refused)?;
        let columns: [(&str, ArrayRef); 3] = [
            ("source", Arc::new(StringArray::from(vec![Some("a\"b"), None]))),
            ("n", Arc::new(Int64Array::from(vec![7, 8]))),
            ("share", Arc::new(Float64Array::from(vec![None, Some(f64::INFINITY)]))),
        ];
        let mut out = String::new();
        write_rows(&mut out, "t", &plan.views[0], &RecordBatch::try_from_iter(columns)?)?;
        let expected = [
            r#"herald_view_value{topology="t",view="v",column="n",source="a\"b"} 7"#,
            r#"herald_view_value{topology="t",view="v",column="n",source=""} 8"#,
            r#"herald_view_value{topology="t",view="v",column="share",source=""} +Inf"#,
        ];
        assert_eq!(out.lines().collect::<Vec<_>>(), expected);
        Ok(())
    }
}
