//! Corrections of parsed expressions that `sqlparser` groups or names otherwise than PostgreSQL.
//!
//! - `a IS DISTINCT FROM b AND c`: the parser takes `b AND c` for the right side. IS binds closer than
//!   AND and OR, so `c` is a condition of its own.
//! - `-2 ^ 2`: the parser negates the power. A sign binds closer than every operator but `::` and `[]`.
//! - `(a, b) = (1, 2)`: a row is compared column by column, also with NULLs: `a = 1 AND b = 2`.
//! - `(s).a` is `s['a']`.
//! - `FETCH FIRST n ROWS ONLY` is `LIMIT n`.
//! - `x = ANY (SELECT ...)` is `x IN (SELECT ...)`, `x <> ALL (SELECT ...)` its NOT IN.
//!
//! Parentheses are nodes of their own in the tree, so these corrections never undo written grouping.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    AccessExpr, BinaryOperator as Op, CaseWhen, Expr, Ident, LimitClause, Query, Subscript, UnaryOperator,
    Value, VisitMut, VisitorMut,
};

use crate::sql::parse::tokens::fold_ident;
use crate::sql::parse::walk::WalkMut;
use crate::sql::syntax::grammar::{binary_op, case, plain_arguments};

/// Corrects every expression in `node`.
pub fn correct(node: &mut impl VisitMut) {
    let _ = node.walk_mut(&mut ReadingCorrection);
}

struct ReadingCorrection;

impl VisitorMut for ReadingCorrection {
    type Break = ();

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let Some(fetch) = query.fetch.take_if(|fetch| !fetch.percent && !fetch.with_ties) {
            let one = Expr::Value(Value::Number("1".to_owned(), false).into());
            let first = fetch.quantity.unwrap_or(one);
            query.limit_clause = match query.limit_clause.take() {
                Some(LimitClause::LimitOffset { limit: None, offset, limit_by }) => {
                    Some(LimitClause::LimitOffset { limit: Some(first), offset, limit_by })
                }
                None => Some(LimitClause::LimitOffset { limit: Some(first), offset: None, limit_by: vec![] }),
                both => both,
            };
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let taken = std::mem::replace(expr, Expr::Value(Value::Null.into()));
        *expr = correct_expr(taken);
        ControlFlow::Continue(())
    }
}

fn correct_expr(expr: Expr) -> Expr {
    match expr {
        Expr::IsDistinctFrom(left, right) => distinct_below(&left, *right, false),
        Expr::IsNotDistinctFrom(left, right) => distinct_below(&left, *right, true),
        Expr::UnaryOp { op: op @ (UnaryOperator::Minus | UnaryOperator::Plus), expr } => {
            unary_below(op, *expr, is_power)
        }
        // The parser put the AND or OR behind IS DISTINCT FROM under NOT, too.
        Expr::UnaryOp { op: UnaryOperator::Not, expr } => {
            unary_below(UnaryOperator::Not, *expr, is_conjunction)
        }
        Expr::BinaryOp { left, op, right } => match (row_columns(&left), row_columns(&right)) {
            (Some(l), Some(r)) if l.len() == r.len() && is_comparison(&op) => {
                parenthesise(compare_rows(l, &op, r))
            }
            _ => Expr::BinaryOp { left, op, right },
        },
        Expr::InList { expr, list, negated } => in_list(*expr, list, negated),
        Expr::IsNull(of) => match row_columns(&of) {
            Some(parts) => {
                parenthesise(join_conditions(parts.into_iter().map(Box::new).map(Expr::IsNull), &Op::And))
            }
            None => Expr::IsNull(of),
        },
        Expr::IsNotNull(of) => match row_columns(&of) {
            Some(parts) => {
                parenthesise(join_conditions(parts.into_iter().map(Box::new).map(Expr::IsNotNull), &Op::And))
            }
            None => Expr::IsNotNull(of),
        },
        Expr::AnyOp { left, compare_op: Op::Eq, right, is_some } => match *right {
            Expr::Subquery(subquery) => Expr::InSubquery { expr: left, subquery, negated: false },
            other => Expr::AnyOp { left, compare_op: Op::Eq, right: Box::new(other), is_some },
        },
        Expr::AllOp { left, compare_op: Op::NotEq, right } => match *right {
            Expr::Subquery(subquery) => Expr::InSubquery { expr: left, subquery, negated: true },
            other => Expr::AllOp { left, compare_op: Op::NotEq, right: Box::new(other) },
        },
        Expr::CompoundFieldAccess { root, access_chain } => correct_access(*root, access_chain),
        other => other,
    }
}

/// Corrects an access like `t.s[1].a`: the parts before the first bracket are one compound name.
fn correct_access(root: Expr, chain: Vec<AccessExpr>) -> Expr {
    let mut chain = chain.into_iter().peekable();
    let root = match root {
        Expr::Identifier(first) => {
            let mut names = vec![first];
            while let Some(AccessExpr::Dot(Expr::Identifier(next))) = chain.next_if(is_name) {
                names.push(next);
            }
            match <[Ident; 1]>::try_from(names) {
                Ok([only]) => Expr::Identifier(only),
                Err(names) => Expr::CompoundIdentifier(names),
            }
        }
        other => other,
    };
    let access_chain: Vec<AccessExpr> = chain.map(field_by_name).collect();
    if access_chain.is_empty() {
        root
    } else {
        Expr::CompoundFieldAccess { root: Box::new(root), access_chain }
    }
}

fn is_name(access: &AccessExpr) -> bool {
    matches!(access, AccessExpr::Dot(Expr::Identifier(_)))
}

/// Turns `.field` into `['field']`.
fn field_by_name(access: AccessExpr) -> AccessExpr {
    match access {
        AccessExpr::Dot(Expr::Identifier(name)) => {
            let text = Value::SingleQuotedString(fold_ident(&name));
            AccessExpr::Subscript(Subscript::Index { index: Expr::Value(text.with_span(name.span)) })
        }
        other => other,
    }
}

/// Applies IS [NOT] DISTINCT FROM between `left` and the operand of `right` that belongs to it.
fn distinct_below(left: &Expr, right: Expr, not: bool) -> Expr {
    apply_below(right, looser_than_is, &|right| distinct_from(left.clone(), right, not))
}

/// Applies a sign or NOT to the operand of `expr` that belongs to it, below the operators that `passes` names.
fn unary_below(op: UnaryOperator, expr: Expr, passes: fn(&Expr) -> bool) -> Expr {
    apply_below(expr, passes, &|of| Expr::UnaryOp { op, expr: Box::new(of) })
}

/// Applies `make` to the leftmost operand of `expr` below all operators for which `passes` holds.
fn apply_below(expr: Expr, passes: fn(&Expr) -> bool, make: &dyn Fn(Expr) -> Expr) -> Expr {
    if !passes(&expr) {
        return make(expr);
    }
    let down = |of: Box<Expr>| Box::new(apply_below(*of, passes, make));
    match expr {
        Expr::BinaryOp { left, op, right } => Expr::BinaryOp { left: down(left), op, right },
        Expr::IsNull(of) => Expr::IsNull(down(of)),
        Expr::IsNotNull(of) => Expr::IsNotNull(down(of)),
        Expr::IsTrue(of) => Expr::IsTrue(down(of)),
        Expr::IsNotTrue(of) => Expr::IsNotTrue(down(of)),
        Expr::IsFalse(of) => Expr::IsFalse(down(of)),
        Expr::IsNotFalse(of) => Expr::IsNotFalse(down(of)),
        Expr::IsUnknown(of) => Expr::IsUnknown(down(of)),
        Expr::IsNotUnknown(of) => Expr::IsNotUnknown(down(of)),
        Expr::IsDistinctFrom(left, right) => Expr::IsDistinctFrom(down(left), right),
        Expr::IsNotDistinctFrom(left, right) => Expr::IsNotDistinctFrom(down(left), right),
        other => make(other),
    }
}

/// Tells whether an operator binds looser than, or as close as, IS.
fn looser_than_is(expr: &Expr) -> bool {
    match expr {
        Expr::BinaryOp { op, .. } => matches!(op, Op::And | Op::Or | Op::Xor),
        Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::IsTrue(_)
        | Expr::IsNotTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsNotFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotUnknown(_)
        | Expr::IsDistinctFrom(..)
        | Expr::IsNotDistinctFrom(..) => true,
        _ => false,
    }
}

fn is_conjunction(expr: &Expr) -> bool {
    matches!(expr, Expr::BinaryOp { op: Op::And | Op::Or, .. })
}

fn is_power(expr: &Expr) -> bool {
    matches!(expr, Expr::BinaryOp { op: Op::PGExp, .. })
}

fn is_comparison(op: &Op) -> bool {
    matches!(op, Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq)
}

/// Columns of a row value of two or more.
fn row_columns(expr: &Expr) -> Option<Vec<Expr>> {
    match expr {
        Expr::Tuple(parts) if parts.len() > 1 => Some(parts.clone()),
        Expr::Nested(inner) => row_columns(inner),
        Expr::Function(f) if f.name.to_string().eq_ignore_ascii_case("row") && f.over.is_none() => {
            let parts = plain_arguments(f)?;
            (parts.len() > 1).then_some(parts)
        }
        _ => None,
    }
}

fn parenthesise(expr: Expr) -> Expr {
    Expr::Nested(Box::new(expr))
}

/// Joins conditions by AND or OR, each in parentheses; TRUE if there are none.
fn join_conditions(parts: impl Iterator<Item = Expr>, op: &Op) -> Expr {
    let whole = parts.map(parenthesise).reduce(|left, right| binary_op(left, op.clone(), right));
    whole.unwrap_or(Expr::Value(Value::Boolean(true).into()))
}

/// Compares two rows of equal length. The first columns that differ decide an order.
fn compare_rows(left: Vec<Expr>, op: &Op, right: Vec<Expr>) -> Expr {
    let mut pairs = left.into_iter().zip(right);
    match op {
        Op::Eq => join_conditions(pairs.map(|(l, r)| binary_op(l, Op::Eq, r)), &Op::And),
        Op::NotEq => join_conditions(pairs.map(|(l, r)| binary_op(l, Op::NotEq, r)), &Op::Or),
        _ => {
            let Some((left, right)) = pairs.next_back() else {
                return join_conditions(std::iter::empty(), &Op::And);
            };
            let strict = match op {
                Op::LtEq => Op::Lt,
                Op::GtEq => Op::Gt,
                other => other.clone(),
            };
            let mut whole = binary_op(left, op.clone(), right);
            // From the last pair outwards: a pair decides only where all before it are equal.
            for (left, right) in pairs.rev() {
                let condition = binary_op(left.clone(), Op::Eq, right.clone());
                let equal = CaseWhen { condition, result: whole };
                whole = case(vec![equal], binary_op(left, strict.clone(), right));
            }
            whole
        }
    }
}

/// Rewrites IN of a list of rows to comparisons, if all rows have as many columns as the left side.
fn in_list(expr: Expr, list: Vec<Expr>, negated: bool) -> Expr {
    let items: Option<Vec<Vec<Expr>>> = list.iter().map(row_columns).collect();
    let (Some(left), Some(items)) = (row_columns(&expr), items) else {
        return Expr::InList { expr: Box::new(expr), list, negated };
    };
    if items.iter().any(|item| item.len() != left.len()) {
        return Expr::InList { expr: Box::new(expr), list, negated };
    }
    let any = parenthesise(join_conditions(
        items.into_iter().map(|item| compare_rows(left.clone(), &Op::Eq, item)),
        &Op::Or,
    ));
    if negated { parenthesise(Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(any) }) } else { any }
}

/// Builds `left IS [NOT] DISTINCT FROM right`, for rows column by column.
fn distinct_from(left: Expr, right: Expr, not: bool) -> Expr {
    if let (Some(l), Some(r)) = (row_columns(&left), row_columns(&right))
        && l.len() == r.len()
    {
        let op = if not { Op::And } else { Op::Or };
        return parenthesise(join_conditions(
            l.into_iter().zip(r).map(|(l, r)| distinct_from(l, r, not)),
            &op,
        ));
    }
    let (left, right) = (Box::new(left), Box::new(right));
    if not { Expr::IsNotDistinctFrom(left, right) } else { Expr::IsDistinctFrom(left, right) }
}

#[cfg(test)]
mod tests {
    use datafusion_sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion_sql::sqlparser::parser::Parser;

    use super::*;

    #[track_caller]
    fn reads(text: &str, as_text: &str) {
        let parse = |text: &str| {
            let parser = Parser::new(&PostgreSqlDialect {}).try_with_sql(text);
            parser.and_then(|mut p| p.parse_expr()).expect("an expression")
        };
        let mut expr = parse(text);
        correct(&mut expr);
        assert_eq!(expr.to_string(), parse(as_text).to_string(), "{text}");
    }

    #[test]
    fn is_binds_closer_than_and_or() {
        let mut expr = Parser::new(&PostgreSqlDialect {})
            .try_with_sql("NOT a IS DISTINCT FROM b + 1 OR c AND d")
            .and_then(|mut p| p.parse_expr())
            .expect("an expression");
        correct(&mut expr);
        assert!(matches!(expr, Expr::BinaryOp { op: Op::Or, .. }), "{expr:?}");
    }

    #[test]
    fn a_sign_binds_closer_than_a_power() {
        let mut expr = Parser::new(&PostgreSqlDialect {})
            .try_with_sql("-2 ^ 2 ^ 3")
            .and_then(|mut p| p.parse_expr())
            .expect("an expression");
        correct(&mut expr);
        assert!(matches!(expr, Expr::BinaryOp { op: Op::PGExp, .. }), "{expr:?}");
    }

    #[test]
    fn rows_are_compared_column_by_column() {
        reads("(a, b) = (1, 2)", "((a = 1) AND (b = 2))");
        reads("(a, b) <> (1, 2)", "((a <> 1) OR (b <> 2))");
        reads("(a, b) < (1, 2)", "(CASE WHEN a = 1 THEN b < 2 ELSE a < 1 END)");
        reads("(a, b) >= (1, 2)", "(CASE WHEN a = 1 THEN b >= 2 ELSE a > 1 END)");
        reads("(a, b) IN ((1, 2), (3, 4))", "(((a = 1) AND (b = 2)) OR ((a = 3) AND (b = 4)))");
        reads("(a, b) NOT IN ((1, 2))", "(NOT (((a = 1) AND (b = 2))))");
        reads("(a, b) IS NULL", "((a IS NULL) AND (b IS NULL))");
        reads("ROW(a, b) = ROW(1, 2)", "((a = 1) AND (b = 2))");
    }

    #[test]
    fn quantified_subqueries_are_in() {
        reads("x = ANY (SELECT y FROM t)", "x IN (SELECT y FROM t)");
        reads("x <> ALL (SELECT y FROM t)", "x NOT IN (SELECT y FROM t)");
    }
}
