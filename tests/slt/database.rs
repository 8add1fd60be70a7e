//! A script's topology as a database: statements declare and feed, queries are answered.
//!
//! Queries that stand together are answered together, by one topology with a view for each, because
//! starting one takes longer than running it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::DataType;
use dataflows::plan::Plan;
use schemas::is_jsonb;
use serde_json::Value;
use sqllogictest::{DB, DBOutput, DefaultColumnType, Record};

use crate::answer::{Answer, answer, duck_type};
use crate::beside;
use crate::duck::Duck;
use crate::engine::compiled;
use crate::insert::{self, Insert};
use crate::postgres::Postgres;
use crate::rows::Row;

/// What went wrong, in words.
#[derive(Debug)]
pub struct Wrong(pub String);

impl std::fmt::Display for Wrong {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

/// Views by name, each with what another engine is asked; None where it is not.
type Views = Vec<(String, Option<String>)>;

/// Rows that one INSERT gives to a source, by the source's place in the plan.
#[derive(Clone)]
pub struct Fed {
    /// The source's name.
    pub source: String,
    /// In column order.
    pub rows: Vec<Row>,
}

/// The database of one script.
pub struct Database {
    declared: String,
    /// Views, for DuckDB and for PostgreSQL.
    views: (Vec<(String, String)>, Views),
    fed: Vec<Fed>,
    duck: Duck,
    postgres: Postgres,
    /// Statements so far, and the queries that stand after so many of them.
    statements: usize,
    queries: BTreeMap<usize, Vec<String>>,
    answers: BTreeMap<String, Result<Answer, String>>,
}

impl Database {
    /// An empty one for a script.
    pub fn of(script: &Path) -> Database {
        let mut queries: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        let mut statements = 0;
        for record in sqllogictest::parse_file::<DefaultColumnType>(script).unwrap() {
            match record {
                Record::Statement { .. } => statements += 1,
                Record::Query { sql, .. } => queries.entry(statements).or_default().push(sql),
                _ => {}
            }
        }
        Database {
            declared: String::new(),
            views: Default::default(),
            fed: Vec::new(),
            duck: Duck::new(&[]),
            postgres: Postgres::new(),
            statements: 0,
            queries,
            answers: BTreeMap::new(),
        }
    }

    fn plan(&self) -> Result<Plan, String> {
        compiled(&self.declared)
    }

    fn create(&mut self, sql: &str) -> Result<(), String> {
        let all = format!("{}{};\n", self.declared, sql.trim_end_matches(';'));
        compiled(&all)?;
        self.declared = all;
        let words: Vec<&str> =
            sql.split_whitespace().filter(|w| !w.eq_ignore_ascii_case("materialized")).collect();
        if let ["CREATE", "VIEW", name, ..] = words[..] {
            let own = sql.split_once(" AS").map_or(sql, |(_, query)| query);
            self.views.0.push((name.to_owned(), of(own, "duckdb").unwrap_or_default()));
            self.views.1.push((name.to_owned(), of(own, "postgres")));
        }
        Ok(())
    }

    fn insert(&mut self, sql: &str) -> Result<u64, String> {
        let fed = fed_rows(&self.plan()?, sql)?;
        let count = fed.rows.len() as u64;
        self.fed.push(fed);
        Ok(count)
    }

    /// Answers all queries that stand here.
    fn answer_all(&mut self) -> Result<(), String> {
        let queries = self.queries.get(&self.statements).cloned().unwrap_or_default();
        let mut planned = Vec::new();
        self.answers.clear();
        for query in queries {
            let view = format!("{}CREATE MATERIALIZED VIEW answer AS\n{query};\n", self.declared);
            match compiled(&view) {
                Ok(_) => planned.push(query),
                Err(mistakes) => drop(self.answers.insert(query, Err(mistakes))),
            }
        }
        // One that is known to fail must not take the others with it.
        let (alone, together): (Vec<String>, Vec<String>) =
            planned.into_iter().partition(|sql| crate::not_yet(sql));
        let groups = alone.into_iter().map(|query| vec![query]).chain([together]);
        for group in groups.filter(|group| !group.is_empty()) {
            if let Err(why) = self.answer_group(&group) {
                if !crate::not_yet(&group[0]) {
                    return Err(why);
                }
                self.answers.insert(group[0].clone(), Err(why));
            }
        }
        Ok(())
    }

    /// Answers queries by one topology.
    fn answer_group(&mut self, queries: &[String]) -> Result<(), String> {
        let mut text = self.declared.clone();
        for (at, query) in queries.iter().enumerate() {
            text.push_str(&format!("CREATE MATERIALIZED VIEW answer_{at} AS\n{query};\n"));
        }
        let plan = Arc::new(compiled(&text)?);
        let found = answer(&plan, &self.fed, queries.len())?;
        let tables = duck_tables(&plan, &self.fed)?;
        beside::fill(&mut self.postgres, &plan, &tables, &self.views.1)
            .map_err(|e| format!("PostgreSQL: {e}"))?;
        for (query, found) in queries.iter().zip(found) {
            let checked = self.beside(query, &tables, &found);
            self.answers.insert(query.clone(), checked.map(|()| found));
        }
        Ok(())
    }

    /// Compares with PostgreSQL and DuckDB.
    fn beside(&mut self, query: &str, tables: &Value, found: &Answer) -> Result<(), String> {
        if let Some(own) = of(query, "postgres") {
            let rows = beside::asked(&mut self.postgres, &own, &found.fields)
                .map_err(|e| format!("PostgreSQL: {e}"))?;
            if let Some(difference) = crate::rows::difference(&found.rows, &rows) {
                return Err(format!("Herald beside PostgreSQL: {difference}"));
            }
        }
        let Some(own) = of(query, "duckdb") else { return Ok(()) };
        let mut queries: serde_json::Map<String, Value> =
            self.views.0.iter().map(|(name, sql)| (name.clone(), sql.as_str().into())).collect();
        queries.insert("answer".to_owned(), own.into());
        let question = serde_json::json!({"tables": tables, "queries": queries});
        let rows = self.duck.ask(&question).map_err(|error| format!("DuckDB: {error}"))?;
        match crate::rows::difference(&found.rows, &rows["answer"]) {
            None => Ok(()),
            Some(difference) => Err(format!("Herald beside DuckDB: {difference}")),
        }
    }
}

/// The rows that an INSERT gives to a source of a plan.
pub fn fed_rows(plan: &Plan, sql: &str) -> Result<Fed, String> {
    let Insert { source, columns, rows } = insert::parse(sql)?;
    let found = plan.sources.iter().find(|s| s.name == source);
    let fields = found.ok_or_else(|| format!("there is no source {source}"))?.decoded.fields().clone();
    let place = |name: &str| columns.iter().position(|column| column == name);
    let mut out = Vec::new();
    for row in rows {
        let width = if columns.is_empty() { fields.len() } else { columns.len() };
        if row.len() != width {
            return Err(format!("{} values for {width} columns of {source}", row.len()));
        }
        let value = |(at, field): (usize, &Arc<arrow::datatypes::Field>)| {
            let at = if columns.is_empty() { Some(at) } else { place(field.name()) };
            let value = at.map_or(Value::Null, |at| row[at].clone());
            let nested = matches!(field.data_type(), DataType::List(_) | DataType::Struct(_));
            match value.as_str().filter(|_| nested || is_jsonb(field)) {
                Some(text) => serde_json::from_str(text).map_err(|e| format!("{text}: {e}")),
                None => Ok(value),
            }
        };
        out.push(fields.iter().enumerate().map(value).collect::<Result<Row, String>>()?);
    }
    Ok(Fed { source, rows: out })
}

/// What another engine is asked; None for nothing.
fn of(sql: &str, engine: &str) -> Option<String> {
    let (instead, not) = (format!("-- {engine}: "), format!("-- not in {engine}"));
    let other = sql.lines().find_map(|line| line.trim().strip_prefix(&instead));
    if sql.lines().any(|line| line.trim() == not) {
        return None;
    }
    Some(other.unwrap_or(sql).trim().to_owned())
}

/// The rows that views are over. A key's later row takes the place of an earlier one.
fn duck_tables(plan: &Plan, fed: &[Fed]) -> Result<Value, String> {
    let mut tables = serde_json::Map::new();
    for source in &plan.sources {
        let rows = fed.iter().filter(|fed| fed.source == source.name).flat_map(|fed| &fed.rows);
        let mut held: Vec<&Row> = Vec::new();
        for row in rows {
            if let Some(keyed) = &source.keyed {
                held.retain(|other| keyed.key.iter().any(|column| other[*column] != row[*column]));
            }
            held.push(row);
        }
        let fields = source.decoded.fields().iter();
        let columns: Vec<(&str, String)> = fields.map(|f| (f.name().as_str(), duck_type(f))).collect();
        tables.insert(source.name.clone(), serde_json::json!({"columns": columns, "rows": held}));
    }
    Ok(Value::Object(tables))
}

impl DB for Database {
    type Error = Wrong;
    type ColumnType = DefaultColumnType;

    fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Wrong> {
        let first = sql.split_whitespace().next().unwrap_or_default();
        if first == "CREATE" || first == "INSERT" {
            self.statements += 1;
            self.answers.clear();
            let done = if first == "CREATE" { self.create(sql).map(|()| 0) } else { self.insert(sql) };
            return done.map(DBOutput::StatementComplete).map_err(Wrong);
        }
        if !self.answers.contains_key(sql) {
            self.answer_all().map_err(Wrong)?;
        }
        match self.answers.get(sql) {
            Some(Ok(answer)) => Ok(answer.output()),
            Some(Err(error)) => Err(Wrong(error.clone())),
            None => Err(Wrong(format!("this is neither CREATE, INSERT nor a query: {sql}"))),
        }
    }

    fn engine_name(&self) -> &str {
        "herald"
    }
}
