//! PostgreSQL over the accepted rows: what every view must hold.
//!
//! Each query becomes a table, so that later ones may read it. Values come back as text, and are read as Herald's
//! columns have them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::Field;
use serde_json::Value;

use crate::duck::{Tables, Verdict};
use crate::postgres::Postgres;
use crate::rows::{Row, sort};
use crate::texts::{column_type, read};

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
            let kinds: Vec<String> =
                columns.iter().map(|(column, kind)| format!("{column} {}", column_type(kind))).collect();
            self.postgres.told(&format!("CREATE TABLE {name} ({})", kinds.join(", ")));
            let row = |row: &Row| {
                let values = row.iter().zip(columns).map(|(value, (_, kind))| literal(value, kind));
                format!("({})", values.collect::<Vec<_>>().join(", "))
            };
            if !rows.is_empty() {
                let rows: Vec<String> = rows.iter().map(row).collect();
                self.postgres.told(&format!("INSERT INTO {name} VALUES {}", rows.join(", ")));
            }
        }
        let verdicts = queries.iter().map(|(name, sql)| self.ask(name, sql, columns.get(name))).collect();
        self.postgres.told("ROLLBACK");
        verdicts
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
        let rows = self.postgres.told(&format!("SELECT * FROM {name}"));
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

/// A value of a table: times are microseconds, dates days.
fn literal(value: &Value, kind: &str) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    match (value, kind) {
        (Value::Null, _) => "NULL".into(),
        (Value::Number(us), "TIMESTAMP") => {
            quoted(&schemas::time::format_timestamp(us.as_i64().expect("microseconds"), true))
        }
        (Value::Number(days), "DATE") => format!("DATE '1970-01-01' + {days}"),
        (Value::Array(items), _) => {
            let items: Vec<String> = items.iter().map(|item| literal(item, "")).collect();
            format!("ARRAY[{}]::{}", items.join(", "), column_type(kind))
        }
        (Value::String(text), _) => quoted(text),
        _ => value.to_string(),
    }
}
