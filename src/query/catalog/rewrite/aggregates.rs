//! Calls that make one row of several, or several of one: aggregates, window functions, and functions that
//! return sets.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use datafusion::functions_aggregate::all_default_aggregate_functions;
use datafusion::sql::sqlparser::ast::{Expr, Function, FunctionArguments, GroupByExpr, Query, Select};

use super::build::{item_expr, last_part, visit_outside_queries};

/// Aggregates of the engine, and of PostgreSQL what it has not.
static AGGREGATES: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let mut names: BTreeSet<String> =
        ["every", "json_agg", "json_object_agg", "jsonb_agg", "jsonb_object_agg", "mode", "xmlagg"]
            .map(str::to_owned)
            .into();
    for function in all_default_aggregate_functions() {
        names.insert(function.name().to_lowercase());
        names.extend(function.aliases().iter().map(|alias| alias.to_lowercase()));
    }
    names
});

/// Functions that return a set of rows.
const SETS: [&str; 6] = [
    "_pg_expandarray",
    "generate_series",
    "generate_subscripts",
    "regexp_matches",
    "regexp_split_to_table",
    "unnest",
];

/// Effects of the calls in an expression, those in subqueries left aside.
#[derive(Clone, Copy, Default)]
pub(super) struct Effects {
    /// An aggregate is called.
    pub aggregates: bool,
    /// A window function is called.
    pub windows: bool,
    /// A function that returns a set is called.
    pub sets: bool,
}

impl Effects {
    /// The effects of the calls in an expression.
    pub fn of(expr: &Expr) -> Effects {
        let mut found = Effects::default();
        visit_outside_queries(&mut expr.clone(), |part| found.note_call(part));
        found
    }

    /// Notes the effects of a call, not of its arguments.
    fn note_call(&mut self, expr: &Expr) {
        if let Expr::Function(Function { name, over, .. }) = expr
            && let Some(name) = last_part(name)
        {
            self.windows |= over.is_some();
            self.aggregates |= over.is_none() && AGGREGATES.contains(&name);
            self.sets |= SETS.contains(&name.as_str());
        }
    }

    /// Tells whether the expression has one value for each row.
    pub fn is_plain(self) -> bool {
        !(self.aggregates || self.windows || self.sets)
    }
}

/// Tells whether a SELECT has GROUP BY.
pub(super) fn is_grouped(select: &Select) -> bool {
    !matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty())
}

/// Tells whether the rows of a SELECT are groups, with or without GROUP BY.
pub(super) fn is_aggregated(select: &Select) -> bool {
    let mut outputs = select.projection.iter().filter_map(item_expr);
    is_grouped(select) || select.having.is_some() || outputs.any(|output| Effects::of(output).aggregates)
}

/// The subquery of `ARRAY(SELECT ..)`.
pub(super) fn array_subquery(expr: &Expr) -> Option<&Query> {
    let Expr::Function(Function { name, args: FunctionArguments::Subquery(query), .. }) = expr else {
        return None;
    };
    (last_part(name)? == "array").then_some(query)
}
