//! `INSERT INTO source VALUES (...)`: rows as JSON values, in the source's column order.

use datafusion::sql::sqlparser::ast::{Expr, SetExpr, Statement, TableObject, UnaryOperator, Value as Sql};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use serde_json::Value;

use crate::rows::Row;

/// Rows for a source: its name, and the columns that are given; none for all.
pub struct Insert {
    /// The source.
    pub source: String,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Values; text stays text, whatever it holds.
    pub rows: Vec<Row>,
}

/// Reads an INSERT.
pub fn parse(sql: &str) -> Result<Insert, String> {
    let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).map_err(|e| e.to_string())?;
    let Some(Statement::Insert(insert)) = statements.pop() else {
        return Err("write INSERT INTO source VALUES (...)".to_owned());
    };
    let TableObject::TableName(name) = &insert.table else {
        return Err("INSERT INTO needs the name of a source".to_owned());
    };
    let Some(SetExpr::Values(values)) = insert.source.map(|query| *query.body) else {
        return Err("INSERT INTO source needs VALUES (...)".to_owned());
    };
    let rows = values.rows.iter().map(|row| row.content.iter().map(value).collect());
    Ok(Insert {
        source: name.to_string(),
        columns: insert.columns.iter().map(ToString::to_string).collect(),
        rows: rows.collect::<Result<_, _>>()?,
    })
}

fn value(expr: &Expr) -> Result<Value, String> {
    let odd = || format!("{expr} is not a constant");
    let number = |text: &str| serde_json::from_str(text).map_err(|_| odd());
    match expr {
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match value(expr)? {
            Value::Number(n) => number(&format!("-{n}")),
            _ => Err(odd()),
        },
        Expr::Value(value) => match &value.value {
            Sql::Number(text, _) => number(text),
            Sql::SingleQuotedString(text) => Ok(text.as_str().into()),
            Sql::Boolean(is) => Ok((*is).into()),
            Sql::Null => Ok(Value::Null),
            _ => Err(odd()),
        },
        _ => Err(odd()),
    }
}
