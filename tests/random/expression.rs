//! Expressions: forms with a text for each engine, and what is made of them.
//!
//! A form is a row of a table: its name in the report, types, and text. To add a function or an operator,
//! add a row; where DuckDB writes it otherwise, say how. A form is inexact when engines may differ in the
//! last bits, or in the sign of zero; its results are shown and never compared within a query.

use std::collections::BTreeSet;

use crate::query::Query;
use crate::schema::Ty;

/// Whose SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Herald's.
    Herald,
    /// PostgreSQL's.
    Postgres,
    /// DuckDB's.
    Duck,
}

/// A type, or one that is chosen for the whole form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// This type.
    Of(Ty),
    /// One and the same type at all such places.
    Any,
}

/// A scalar function, an operator or an aggregate.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// Its name in the report.
    pub op: &'static str,
    /// What it gives.
    pub gives: Want,
    /// What it takes.
    pub takes: &'static [Want],
    /// Whether it keeps exact what is exact.
    pub exact: bool,
    herald: &'static str,
    postgres: &'static str,
    duck: &'static str,
}

/// A form that is spelled the same everywhere; `{0}` is the first argument.
pub const fn form(op: &'static str, gives: Want, takes: &'static [Want], text: &'static str) -> Form {
    Form { op, gives, takes, exact: true, herald: text, postgres: text, duck: text }
}

impl Form {
    /// DuckDB's text.
    pub const fn duck(mut self, text: &'static str) -> Form {
        self.duck = text;
        self
    }

    /// PostgreSQL's text.
    pub const fn postgres(mut self, text: &'static str) -> Form {
        self.postgres = text;
        self
    }

    /// Engines differ in the last bits.
    pub const fn inexact(mut self) -> Form {
        self.exact = false;
        self
    }

    /// Its text.
    pub fn text(&self, dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::Herald => self.herald,
            Dialect::Postgres => self.postgres,
            Dialect::Duck => self.duck,
        }
    }
}

/// An expression.
#[derive(Clone, Debug)]
pub enum Expr {
    /// A column, with the alias before it.
    Column(String),
    /// A constant: DuckDB's text, and the others'.
    Literal(String, String),
    /// A form over arguments.
    Call(&'static Form, Vec<Expr>),
    /// An aggregate: form, DISTINCT, arguments, FILTER.
    Aggregate(&'static Form, bool, Vec<Expr>, Option<Box<Expr>>),
    /// EXISTS, or NOT EXISTS; and whether it is correlated.
    Exists(bool, Box<Query>),
    /// IN, or NOT IN.
    In(bool, Box<Expr>, Box<Query>),
    /// A subquery as a value.
    Scalar(Box<Query>),
    /// A window function: its call, PARTITION BY, ORDER BY (and whether descending), frame.
    Over(Box<Expr>, Vec<Expr>, Vec<(Expr, bool)>, &'static str),
}

impl Expr {
    /// A constant that is spelled the same everywhere.
    pub fn plain(text: &str) -> Expr {
        Expr::Literal(text.to_string(), text.to_string())
    }

    /// Its text.
    pub fn sql(&self, dialect: Dialect) -> String {
        match self {
            Expr::Column(name) => name.clone(),
            Expr::Literal(duck, others) => if dialect == Dialect::Duck { duck } else { others }.clone(),
            Expr::Call(form, args) => fill(form.text(dialect), args, dialect),
            Expr::Aggregate(form, distinct, args, filter) => {
                let mut text = fill(form.text(dialect), args, dialect);
                if *distinct {
                    text = text.replacen('(', "(DISTINCT ", 1);
                }
                match filter {
                    Some(filter) => format!("{text} FILTER (WHERE {})", filter.sql(dialect)),
                    None => text,
                }
            }
            Expr::Exists(not, query) => {
                format!("{}EXISTS ({})", if *not { "NOT " } else { "" }, query.sql(dialect))
            }
            Expr::In(not, left, query) => {
                let word = if *not { "NOT IN" } else { "IN" };
                format!("{} {word} ({})", left.sql(dialect), query.sql(dialect))
            }
            Expr::Scalar(query) => format!("({})", query.sql(dialect)),
            Expr::Over(call, partition, order, frame) => {
                let keys: Vec<String> = partition.iter().map(|key| key.sql(dialect)).collect();
                let keys = if keys.is_empty() {
                    String::new()
                } else {
                    format!("PARTITION BY {} ", keys.join(", "))
                };
                format!("{} OVER ({keys}{}{frame})", call.sql(dialect), ordered(order, dialect))
            }
        }
    }

    /// Collects the names of what it is made of.
    pub fn ops(&self, out: &mut BTreeSet<String>) {
        match self {
            Expr::Column(_) => {}
            Expr::Literal(text, _) => {
                if text.contains("NULL") {
                    out.insert("NULL constant".into());
                }
            }
            Expr::Call(form, args) => {
                out.insert(form.op.into());
                args.iter().for_each(|arg| arg.ops(out));
            }
            Expr::Aggregate(form, distinct, args, filter) => {
                let word = if *distinct { " DISTINCT" } else { "" };
                out.insert(format!("{}{word}", form.op));
                args.iter().for_each(|arg| arg.ops(out));
                if let Some(filter) = filter {
                    out.insert("FILTER".into());
                    filter.ops(out);
                }
            }
            Expr::Exists(not, query) => {
                out.insert(if *not { "NOT EXISTS" } else { "EXISTS" }.into());
                query.ops(out);
            }
            Expr::In(not, left, query) => {
                out.insert(if *not { "NOT IN (SELECT)" } else { "IN (SELECT)" }.into());
                left.ops(out);
                query.ops(out);
            }
            Expr::Scalar(query) => {
                out.insert("scalar subquery".into());
                query.ops(out);
            }
            Expr::Over(call, partition, order, frame) => {
                let (Expr::Call(form, _) | Expr::Aggregate(form, ..)) = call.as_ref() else { return };
                out.insert(format!("{} OVER", form.op));
                if !frame.is_empty() {
                    out.insert("OVER ROWS".into());
                }
                if !partition.is_empty() {
                    out.insert("OVER PARTITION BY".into());
                }
                order.iter().for_each(|(e, _)| e.ops(out));
            }
        }
    }

    /// Whether it is a window function or a subquery, which do not go into ORDER BY.
    pub fn is_over(&self) -> bool {
        match self {
            Expr::Over(..) | Expr::Scalar(_) => true,
            Expr::Call(_, args) => args.iter().any(Expr::is_over),
            _ => false,
        }
    }

    /// Whether a column is in it, outside of subqueries.
    pub fn has_column(&self) -> bool {
        match self {
            Expr::Column(_) => true,
            Expr::Call(_, args) => args.iter().any(Expr::has_column),
            _ => false,
        }
    }
}

/// ORDER BY, with NULLs where all engines put them alike; nothing for no keys.
pub fn ordered(keys: &[(Expr, bool)], dialect: Dialect) -> String {
    let key = |(e, descending): &(Expr, bool)| {
        format!("{}{} NULLS LAST", e.sql(dialect), if *descending { " DESC" } else { "" })
    };
    let keys: Vec<String> = keys.iter().map(key).collect();
    if keys.is_empty() { String::new() } else { format!("ORDER BY {}", keys.join(", ")) }
}

fn fill(template: &str, args: &[Expr], dialect: Dialect) -> String {
    let mut text = template.to_string();
    for (at, arg) in args.iter().enumerate() {
        text = text.replace(&format!("{{{at}}}"), &arg.sql(dialect));
    }
    text
}
