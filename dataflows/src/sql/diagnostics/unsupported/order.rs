//! Refusal of unsupported ORDER BY, LIMIT and OVER.
//!
//! A view is a set of rows: an order has an effect only where it selects rows (with LIMIT or DISTINCT ON)
//! or numbers them (in OVER).

use datafusion_sql::sqlparser::ast::{
    Distinct, DuplicateTreatment, Expr, Function, FunctionArguments, LimitClause, OrderByKind, Query,
    SetExpr, Spanned, Value,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use crate::functions::FUNCTIONS;
use crate::functions::windows::slide::SLIDES;
use crate::plan::AggFunc;

/// Refusal: its place, message and hint.
pub(super) type Refusal = (Span, String, String);

/// Refusal of what stands at `span`.
pub(super) fn refusal(span: Span, message: impl Into<String>, hint: impl Into<String>) -> Option<Refusal> {
    Some((span, message.into(), hint.into()))
}

/// Checks the order and limit of a query; `condition` is true for a subquery that is a condition.
pub(super) fn refuse_order(query: &Query, condition: bool) -> Option<Refusal> {
    let limit = query.limit_clause.as_ref();
    if let Some(order) = &query.order_by
        && matches!(order.kind, OrderByKind::All(_))
    {
        return refusal(order.span(), "ORDER BY ALL is not supported", "list the columns");
    }
    if query.fetch.is_some() {
        return refusal(
            query.span(),
            "FETCH FIRST takes a number of rows, without PERCENT and WITH TIES",
            "write LIMIT n, or rank() OVER (...) <= n in an outer query",
        );
    }
    let limit = limit?;
    if condition {
        return refusal(
            limit.span(),
            "LIMIT is not supported in a subquery that is a condition",
            "put the subquery into a view of its own and join it",
        );
    }
    let numbers: Vec<&Expr> = match limit {
        LimitClause::LimitOffset { limit_by, .. } if !limit_by.is_empty() => {
            return refusal(
                limit.span(),
                "LIMIT BY is not supported",
                "use row_number() OVER (PARTITION BY ...) <= n in an outer query",
            );
        }
        LimitClause::LimitOffset { limit, offset, .. } => {
            limit.iter().chain(offset.as_ref().map(|o| &o.value)).collect()
        }
        LimitClause::OffsetCommaLimit { offset, limit } => vec![offset, limit],
    };
    let other = numbers.into_iter().find(|number| !is_whole_number(number))?;
    refusal(other.span(), "LIMIT and OFFSET take whole numbers", "write LIMIT 10")
}

/// Tells whether an expression is a whole number as written.
fn is_whole_number(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.parse::<u32>().is_ok(),
            _ => false,
        },
        _ => false,
    }
}

/// Tells whether a query has an ORDER BY that selects no rows. It is left out, since a view is a set.
pub(crate) fn is_idle(query: &Query) -> bool {
    query.order_by.is_some() && query.limit_clause.is_none() && query.fetch.is_none() && !distinct_on(query)
}

fn distinct_on(query: &Query) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else { return false };
    matches!(select.distinct, Some(Distinct::On(_)))
}

/// Checks a call with OVER; calls made by rewrites have no place and pass.
pub(super) fn refuse_over(f: &Function, name: &str) -> Option<Refusal> {
    let span = f.name.span();
    if span.start.line == 0 {
        return None;
    }
    let aggregate = FUNCTIONS.aggregate(name).is_some_and(|f| takes_over(f.name()));
    let window = FUNCTIONS.window(name).is_some() && !name.starts_with("herald_");
    if !window && !aggregate {
        return refusal(
            span,
            format!("{name}(...) OVER is not supported"),
            "use row_number, rank, dense_rank, percent_rank, cume_dist, ntile, lag, lead, first_value, \
             last_value, nth_value, or an aggregate such as count, sum, avg, min or max",
        );
    }
    if let FunctionArguments::List(list) = &f.args {
        let distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
        if distinct && (!aggregate || list.args.len() > 1) {
            return refusal(
                span,
                format!("{name}(DISTINCT ...) OVER is not supported"),
                "take DISTINCT rows in a subquery first",
            );
        }
        if !list.clauses.is_empty() {
            return refusal(
                span,
                format!("clauses inside {name}(...) OVER are not supported"),
                "put ORDER BY into OVER (...), and IGNORE NULLS behind the parentheses",
            );
        }
    }
    None
}

/// Tells whether the aggregate with this first name may have OVER.
fn takes_over(name: &str) -> bool {
    AggFunc::from_name(name).is_some() || SLIDES.contains(&name)
}

/// Refuses a window function without OVER.
pub(super) fn refuse_not_over(f: &Function, name: &str) -> Option<Refusal> {
    let windowed = FUNCTIONS.window(name).is_some() && FUNCTIONS.aggregate(name).is_none();
    if f.over.is_some() || !windowed {
        return None;
    }
    refusal(
        f.name.span(),
        format!("{name}() is a window function"),
        format!("write {name}(...) OVER (PARTITION BY ... ORDER BY ...)"),
    )
}
