//! PostgreSQL over the accepted rows: what every view must hold.
//!
//! Each query becomes a table, so that later ones may read it. Values come back as text, and are read as Herald's
//! columns have them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use serde_json::Value;

use crate::duck::Tables;
use crate::postgres::Postgres;
use crate::rows::{Row, sort};
use crate::texts::{column_type, read};

/// Verdict of a judge on a query: its sorted rows, or why it has none.
pub type Verdict = Result<Vec<Row>, String>;
/// The columns of views by name, as Herald has them.
pub type Columns = BTreeMap<String, Vec<Arc<Field>>>;

/// The judge.
pub struct Judge {
    postgres: Postgres,
}

impl Judge {
    /// Starts it.
    pub fn new() -> Judge {
        Judge { postgres: Postgres::new() }
    }

    /// All queries over these tables; later ones may read earlier ones.
    pub fn answer(
        &mut self,
        tables: &Tables,
        queries: &[(String, String)],
        columns: &Columns,
    ) -> Vec<Verdict> {
        self.postgres.told("BEGIN");
        for (name, (columns, rows)) in tables {
            self.fill(name, columns, rows);
        }
        let verdicts = queries.iter().map(|(name, sql)| self.ask(name, sql, columns.get(name))).collect();
        self.postgres.told("ROLLBACK");
        verdicts
    }

    fn fill(&mut self, table: &str, columns: &[(String, String)], rows: &[Row]) {
        let types: Vec<String> = columns
            .iter()
            .map(|(column, kind)| {
                match kind.strip_prefix("STRUCT").and_then(|fields| fields.strip_suffix("[]")) {
                    Some(fields) => {
                        self.postgres.told(&format!("CREATE TYPE {table}_{column} AS {fields}"));
                        format!("{table}_{column}[]")
                    }
                    None => column_type(kind),
                }
            })
            .collect();
        let spelled: Vec<String> =
            columns.iter().zip(&types).map(|((column, _), of)| format!("{column} {of}")).collect();
        self.postgres.told(&format!("CREATE TABLE {table} ({})", spelled.join(", ")));
        let row = |row: &Row| {
            let values = row.iter().zip(columns).zip(&types);
            let values: Vec<String> =
                values.map(|((value, (_, kind)), of)| literal(value, kind, of)).collect();
            format!("({})", values.join(", "))
        };
        if !rows.is_empty() {
            let rows: Vec<String> = rows.iter().map(row).collect();
            self.postgres.told(&format!("INSERT INTO {table} VALUES {}", rows.join(", ")));
        }
    }

    fn ask(&mut self, name: &str, sql: &str, columns: Option<&Vec<Arc<Field>>>) -> Verdict {
        self.postgres.told("SAVEPOINT before");
        // Herald's short name is not PostgreSQL's.
        let sql = sql.replace("AS DOUBLE)", "AS DOUBLE PRECISION)");
        if let Err(error) = self.postgres.ask(&format!("CREATE TABLE {name} AS {sql}")) {
            self.postgres.told("ROLLBACK TO before");
            return Err(error);
        }
        let Some(columns) = columns else { return Err("nobody reads it".into()) };
        let columns_shown: Vec<String> = columns.iter().map(|field| shown(field)).collect();
        let rows = self.postgres.told(&format!("SELECT {} FROM {name}", columns_shown.join(", ")));
        let row = |row: Vec<Option<String>>| -> Result<Row, String> {
            if row.len() != columns.len() {
                return Err(format!("{} columns of {}", row.len(), columns.len()));
            }
            row.iter().zip(columns).map(|(text, field)| read(text.as_deref(), field)).collect()
        };
        let mut rows: Vec<Row> = rows.into_iter().map(row).collect::<Result<_, _>>()?;
        sort(&mut rows);
        Ok(rows)
    }
}

/// A column as it is asked for: what holds structs as JSON.
fn shown(field: &Field) -> String {
    let quoted = format!("\"{}\"", field.name());
    match field.data_type() {
        DataType::List(item) if matches!(item.data_type(), DataType::Struct(_)) => {
            format!("to_jsonb({quoted})")
        }
        _ => quoted,
    }
}

/// A value of a column that DuckDB calls `kind` and PostgreSQL `of`: times are microseconds, dates days.
fn literal(value: &Value, kind: &str, of: &str) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let all = |values: &mut dyn Iterator<Item = &Value>| {
        values.map(|value| literal(value, "", "")).collect::<Vec<_>>().join(", ")
    };
    match (value, kind) {
        (Value::Null, _) => "NULL".into(),
        (Value::Number(us), "TIMESTAMP") => {
            quoted(&schemas::types::time::format_timestamp(us.as_i64().expect("microseconds"), true))
        }
        (Value::Number(days), "DATE") => format!("DATE '1970-01-01' + {days}"),
        (Value::Array(items), _) => format!("ARRAY[{}]::{of}", all(&mut items.iter())),
        (Value::Object(fields), _) => format!("ROW({})", all(&mut fields.values())),
        (Value::String(text), _) => quoted(text),
        _ => value.to_string(),
    }
}
