//! PostgreSQL beside Herald: the same tables, the same views, the same question.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use dataflows::plan::Plan;
use schemas::is_jsonb;
use serde_json::Value;

use crate::postgres::Postgres;
use crate::rows::{Row, sort};
use crate::texts::read;

/// PostgreSQL's name of a column's type; None where it has no such type without declaring it.
fn postgres_type(field: &Field) -> Option<String> {
    Some(match field.data_type() {
        DataType::Utf8 if is_jsonb(field) => "jsonb".to_owned(),
        DataType::Float64 => "double precision".to_owned(),
        DataType::List(item) => format!("{}[]", postgres_type(item)?),
        DataType::Struct(_) | DataType::Map(..) => return None,
        _ => schemas::sql_type(field),
    })
}

/// Makes the tables anew, with the rows that views are over, and the views, as far as PostgreSQL has them.
pub fn fill(
    postgres: &mut Postgres,
    plan: &Plan,
    rows: &Value,
    views: &[(String, Option<String>)],
) -> Result<(), String> {
    for (view, _) in views.iter().rev() {
        postgres.ask(&format!("DROP VIEW IF EXISTS {view} CASCADE"))?;
    }
    for source in &plan.sources {
        let name = &source.name;
        postgres.ask(&format!("DROP TABLE IF EXISTS {name} CASCADE"))?;
        let fields: Vec<(usize, &Arc<Field>, String)> = source
            .decoded
            .fields()
            .iter()
            .enumerate()
            .filter_map(|(at, field)| Some((at, field, postgres_type(field)?)))
            .collect();
        let columns: Vec<String> =
            fields.iter().map(|(_, f, kind)| format!("\"{}\" {kind}", f.name())).collect();
        postgres.ask(&format!("CREATE TABLE {name} ({})", columns.join(", ")))?;
        for row in rows[name]["rows"].as_array().into_iter().flatten() {
            let values: Vec<String> = fields.iter().map(|(at, field, _)| literal(&row[*at], field)).collect();
            postgres.ask(&format!("INSERT INTO {name} VALUES ({})", values.join(", ")))?;
        }
        // Columns that are computed from others are not among the rows.
        for (column, sql) in generated(plan, source) {
            postgres.ask(&format!("ALTER TABLE {name} ADD COLUMN {column} {sql}"))?;
        }
    }
    for (view, sql) in views {
        if let Some(sql) = sql {
            postgres.ask(&format!("CREATE VIEW {view} AS {sql}")).map_err(|e| format!("view {view}: {e}"))?;
        }
    }
    Ok(())
}

/// Columns that no record has: PostgreSQL gets them without values, and a question about them has a text of its own.
fn generated(_: &Plan, source: &dataflows::plan::Source) -> Vec<(String, String)> {
    let decoded = |name: &str| source.decoded.fields().iter().any(|field| field.name() == name);
    let more = source.schema.fields().iter().filter(|field| !decoded(field.name()));
    more.filter_map(|field| Some((format!("\"{}\"", field.name()), postgres_type(field)?))).collect()
}

fn literal(value: &Value, field: &Field) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    match (value, field.data_type()) {
        (Value::Null, _) => "NULL".to_owned(),
        _ if is_jsonb(field) => quoted(&value.to_string()),
        (Value::Array(items), DataType::List(item)) => {
            let items: Vec<String> = items.iter().map(|value| literal(value, item)).collect();
            let kind = postgres_type(field).unwrap_or_default();
            format!("ARRAY[{}]::{kind}", items.join(", "))
        }
        (Value::String(text), DataType::Binary) => format!("decode({}, 'base64')", quoted(text)),
        (Value::String(text), _) => quoted(text),
        _ => value.to_string(),
    }
}

/// The rows of a query, as `rows` compares them with those of columns `fields`.
pub fn asked(postgres: &mut Postgres, query: &str, fields: &[Arc<Field>]) -> Result<Vec<Row>, String> {
    // Herald's short name is not PostgreSQL's.
    let query = query.replace("AS DOUBLE)", "AS DOUBLE PRECISION)");
    let rows = postgres.ask(query.trim_end().trim_end_matches(';'))?;
    let mut out = Vec::new();
    for row in rows {
        if row.len() != fields.len() {
            return Err(format!("{} columns of {}", row.len(), fields.len()));
        }
        let values = row.iter().zip(fields).map(|(text, field)| read(text.as_deref(), field));
        out.push(values.collect::<Result<Row, String>>()?);
    }
    sort(&mut out);
    Ok(out)
}
