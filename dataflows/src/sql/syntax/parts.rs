//! Parts of a query that are planned alone, to find the mistakes behind the first.
//!
//! Planning ends at the first mistake of a query. Once a query has failed, each item of its SELECT list and each condition
//! of its WHERE is made a query of its own over the same FROM and GROUP BY. Left out is what could fail alone and not in
//! the whole query: parts with subqueries, `*`, and the items of a query that groups by positions or by names of its
//! items. A mistake in FROM or GROUP BY is found by every part, and is the same in each.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    BinaryOperator, Expr, GroupByExpr, Query, Select, SelectItem, SetExpr, Value, Visit, Visitor,
};

use crate::sql::parse::walk::Walk;

/// Most parts of a query.
const MAX_PARTS: usize = 32;
/// Most bytes of a query that is taken apart: each part is planned with the whole FROM.
const MAX_BYTES: usize = 16 << 10;

/// The parts of `query`, each as a query; none where it cannot be taken apart.
pub(crate) fn independent_parts(query: &Query) -> Vec<Query> {
    if query.with.as_ref().is_some_and(|with| with.recursive) || query.to_string().len() > MAX_BYTES {
        return vec![];
    }
    let mut selects = Vec::new();
    collect_selects(&query.body, &mut selects);
    let parts = selects.into_iter().flat_map(|select| items_alone(select).chain(conditions_alone(select)));
    parts.take(MAX_PARTS).map(|select| query_of(query, select)).collect()
}

/// The query with another body, without its order and limit.
fn query_of(query: &Query, select: Select) -> Query {
    Query {
        body: Box::new(SetExpr::Select(Box::new(select))),
        order_by: None,
        limit_clause: None,
        fetch: None,
        ..query.clone()
    }
}

/// Collects the SELECTs of a query's body, those of UNION, INTERSECT and EXCEPT among them.
fn collect_selects<'q>(body: &'q SetExpr, selects: &mut Vec<&'q Select>) {
    match body {
        SetExpr::Select(select) => selects.push(select),
        SetExpr::SetOperation { left, right, .. } => {
            collect_selects(left, selects);
            collect_selects(right, selects);
        }
        _ => {}
    }
}

/// A SELECT for each item of the list.
fn items_alone(select: &Select) -> impl Iterator<Item = Select> {
    let grouped = groups_by_expressions(select);
    let items = select.projection.iter().filter(move |item| grouped && is_plain_expression(item));
    items.map(move |item| Select {
        distinct: None,
        projection: vec![item.clone()],
        selection: None,
        having: None,
        qualify: None,
        ..select.clone()
    })
}

/// Tells whether an item of the list is an expression without a subquery.
fn is_plain_expression(item: &SelectItem) -> bool {
    let expression = matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. });
    expression && !has_subquery(item)
}

/// A SELECT for each of the conditions that AND joins in WHERE.
fn conditions_alone(select: &Select) -> impl Iterator<Item = Select> {
    let mut conditions = Vec::new();
    if let Some(condition) = &select.selection {
        split_conditions(condition, &mut conditions);
    }
    let conditions = conditions.into_iter().filter(|condition| !has_subquery(*condition));
    conditions.map(move |condition| Select {
        distinct: None,
        projection: vec![SelectItem::UnnamedExpr(Expr::Value(Value::Boolean(true).into()))],
        selection: Some(condition.clone()),
        group_by: GroupByExpr::Expressions(vec![], vec![]),
        having: None,
        qualify: None,
        ..select.clone()
    })
}

/// Collects the operands of nested ANDs.
fn split_conditions<'q>(condition: &'q Expr, conditions: &mut Vec<&'q Expr>) {
    match condition {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            split_conditions(left, conditions);
            split_conditions(right, conditions);
        }
        Expr::Nested(inner) => split_conditions(inner, conditions),
        other => conditions.push(other),
    }
}

/// Tells whether GROUP BY has neither positions nor names of the list's items.
fn groups_by_expressions(select: &Select) -> bool {
    let GroupByExpr::Expressions(keys, _) = &select.group_by else { return false };
    keys.iter().all(|key| match key {
        Expr::Value(_) => false,
        Expr::Identifier(name) => !has_alias(select, &name.value),
        _ => true,
    })
}

/// Tells whether an item of the list is called `name` with AS.
fn has_alias(select: &Select, name: &str) -> bool {
    select.projection.iter().any(|item| match item {
        SelectItem::ExprWithAlias { alias, .. } => alias.value.eq_ignore_ascii_case(name),
        _ => false,
    })
}

/// Tells whether a part of a query has a query within.
fn has_subquery(part: &impl Visit) -> bool {
    part.walk(&mut FindQuery).is_break()
}

/// Visitor that stops at a query.
struct FindQuery;

impl Visitor for FindQuery {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        ControlFlow::Break(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion_sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion_sql::sqlparser::parser::Parser;

    use super::*;

    fn parts(text: &str) -> Vec<String> {
        let parser = Parser::new(&PostgreSqlDialect {}).try_with_sql(text);
        let query = parser.and_then(|mut parser| parser.parse_query()).unwrap();
        independent_parts(&query).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn items_and_conditions_stand_alone() {
        assert_eq!(
            parts("SELECT a, b + 1 AS c FROM t WHERE a > 1 AND (b < 2 AND c = 3) ORDER BY a LIMIT 5"),
            [
                "SELECT a FROM t",
                "SELECT b + 1 AS c FROM t",
                "SELECT true FROM t WHERE a > 1",
                "SELECT true FROM t WHERE b < 2",
                "SELECT true FROM t WHERE c = 3",
            ]
        );
        assert_eq!(
            parts("SELECT a FROM t GROUP BY a HAVING count(*) > 1 UNION ALL SELECT b FROM u"),
            ["SELECT a FROM t GROUP BY a", "SELECT b FROM u"]
        );
    }

    #[test]
    fn a_part_that_depends_on_another_is_left_out() {
        for text in [
            "SELECT a, b FROM t GROUP BY 1, 2",
            "SELECT a + 1 AS k FROM t GROUP BY k",
            "SELECT *, (SELECT max(x) FROM u) AS m FROM t WHERE a IN (SELECT x FROM u)",
            "WITH RECURSIVE r AS (SELECT 1 AS n) SELECT n FROM r",
        ] {
            assert!(parts(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn there_are_not_many_parts() {
        let items = vec!["a"; 100].join(", ");
        assert_eq!(parts(&format!("SELECT {items} FROM t")).len(), MAX_PARTS);
        assert!(parts(&format!("SELECT a FROM t WHERE b = '{}'", "x".repeat(MAX_BYTES))).is_empty());
    }
}
