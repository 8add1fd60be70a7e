//! Parameters of statements: the types that a statement gives them, and values in their place.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use dataflows::sql::walk_query;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, Expr, LimitClause, Query, Value, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::build::{called_name, column_name, peeled};
use super::expressions::builtin_name;
use crate::query::catalog::relations::column_type;
use crate::query::catalog::types::{TEXT, is_reference, type_named, type_of};

/// Most parameters of a query.
pub const MAX_PARAMETERS: usize = 32_767;
/// OID of BIGINT, which LIMIT takes.
const INT8: u32 = 20;

/// OIDs of the types that a query gives to its parameters, `$1` first; 0 for one that the query does not
/// tell. Beyond [`MAX_PARAMETERS`] there is one more at most, so that the query can be refused.
pub fn parameter_types(query: &Query) -> Vec<u32> {
    let mut find = FindTypes { types: BTreeMap::new() };
    let _ = walk_query(&mut query.clone(), &mut find);
    let count = find.types.keys().next_back().copied().unwrap_or_default();
    (1..=count.min(MAX_PARAMETERS + 1))
        .map(|number| find.types.get(&number).copied().unwrap_or_default())
        .collect()
}

/// Puts SQL of values in the places of a query's parameters. A parameter without a value stays.
///
/// # Errors
/// When a value is no SQL.
pub fn bind(query: &mut Query, values: &[Option<String>]) -> Result<(), DataFusionError> {
    let mut exprs = Vec::with_capacity(values.len());
    for (value, number) in values.iter().zip(1..) {
        exprs.push(value.as_deref().map(|sql| value_expr(sql, number)).transpose()?);
    }
    let _ = walk_query(query, &mut Bind { values: exprs });
    Ok(())
}

/// A value as an expression.
fn value_expr(sql: &str, number: usize) -> Result<Expr, DataFusionError> {
    let parsed =
        Parser::new(&PostgreSqlDialect {}).try_with_sql(sql).and_then(|mut parser| parser.parse_expr());
    parsed.map_err(|error| DataFusionError::Plan(format!("the value of ${number} cannot be read: {error}")))
}

/// The number of a parameter.
fn number_of(expr: &Expr) -> Option<usize> {
    let Expr::Value(value) = peeled(expr) else { return None };
    let Value::Placeholder(name) = &value.value else { return None };
    name.strip_prefix('$')?.parse().ok()
}

/// Search for types of parameters.
struct FindTypes {
    types: BTreeMap<usize, u32>,
}

impl FindTypes {
    /// Notes the type of a parameter; the first that is known wins.
    fn note(&mut self, expr: &Expr, type_oid: Option<u32>) {
        if let Some(number) = number_of(expr) {
            let known = self.types.entry(number).or_default();
            if *known == 0 {
                *known = type_oid.unwrap_or_default();
            }
        }
    }

    fn note_operand(&mut self, operand: &Expr, other: &Expr) {
        self.note(operand, compared_type(other));
    }
}

/// Type that a cast names. A parameter that stands for a name, as of `regclass`, is text: its value may be
/// the name.
fn cast_type(data_type: &DataType) -> Option<u32> {
    let found = type_named(&builtin_name(data_type)?)?;
    let found = if is_reference(found.name) { type_of(TEXT)? } else { found };
    Some(if matches!(data_type, DataType::Array(_)) { found.array } else { found.oid })
}

/// Type of a parameter that is compared with an expression: that of a column of the catalogue.
fn compared_type(other: &Expr) -> Option<u32> {
    if let Expr::Cast { data_type, .. } = peeled(other) {
        return cast_type(data_type);
    }
    let name = column_name(other)?;
    match column_type(&name)? {
        "oid" => type_named("oid").map(|found| found.oid),
        "int2" | "int4" | "int8" | "bool" => type_named(column_type(&name)?).map(|found| found.oid),
        _ => Some(TEXT),
    }
}

impl VisitorMut for FindTypes {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let Some(LimitClause::LimitOffset { limit, offset, .. }) = &query.limit_clause {
            for expr in limit.iter().chain(offset.iter().map(|offset| &offset.value)) {
                self.note(expr, Some(INT8));
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Cast { expr: inner, data_type, .. } => self.note(inner, cast_type(data_type)),
            Expr::AnyOp { left, right, .. } | Expr::AllOp { left, right, .. } => {
                let item = compared_type(left).and_then(type_of);
                self.note(right, item.map(|item| item.array));
            }
            Expr::BinaryOp { left, op: BinaryOperator::StringConcat, right } => {
                self.note(left, Some(TEXT));
                self.note(right, Some(TEXT));
            }
            Expr::BinaryOp { left, right, .. } => {
                self.note_operand(left, right);
                self.note_operand(right, left);
            }
            Expr::InList { expr, list, .. } => {
                for item in list {
                    self.note_operand(item, expr);
                }
            }
            Expr::Like { pattern, .. } | Expr::ILike { pattern, .. } => self.note(pattern, Some(TEXT)),
            Expr::Function(function)
                if called_name(&Expr::Function(function.clone()))
                    .is_some_and(|name| name.starts_with("to_reg") || name.ends_with("_setting")) =>
            {
                for argument in super::build::call_arguments(function) {
                    self.note(argument, Some(TEXT));
                }
            }
            other => self.note(&other.clone(), None),
        }
        ControlFlow::Continue(())
    }
}

/// Replacement of parameters by values.
struct Bind {
    values: Vec<Option<Expr>>,
}

impl VisitorMut for Bind {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let number = number_of(expr).and_then(|number| number.checked_sub(1));
        if let Some(Some(value)) = number.and_then(|at| self.values.get(at)) {
            *expr = value.clone();
        }
        ControlFlow::Continue(())
    }
}
