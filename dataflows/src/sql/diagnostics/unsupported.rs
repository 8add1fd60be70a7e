//! Refusal of unsupported constructs in a query's syntax tree, before planning.
//!
//! Each refusal names the construct, its place and a replacement; all of a query's refusals are
//! reported together. `lower` can express every query that passes here, except for faults that only
//! types or equalities show (a join without an equality, an aggregate over an interval).

mod arguments;
pub(crate) mod order;

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArgumentClause, FunctionArguments, GroupByExpr, Join,
    JoinOperator, ObjectName, ObjectNamePart, Query, Select, SetExpr, SetOperator, SetQuantifier, Spanned,
    TableFactor, Visitor,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::site::Site;
use crate::functions::planning::is_final::IS_FINAL;
use crate::functions::{FUNCTIONS, aggregates};
use crate::mistake::Mistake;
use crate::sql::logical::joins::{subquery, using};
use crate::sql::logical::now;
use crate::sql::parse::walk::Walk;
use crate::sql::syntax::recursion;

/// Refuses everything in `query` that Herald does not support; `view` is true if watermarks advance below it,
/// so that conditions on now() are possible.
pub(crate) fn refuse_query(query: &Query, site: Site, view: bool) -> Vec<Mistake> {
    let top: *const Query = query;
    let mut refuse = UnsupportedCheck { site, view, top, placed: vec![], conditions: vec![], out: vec![] };
    let _ = query.walk(&mut refuse);
    refuse.out
}

/// Refuses everything in the expression of a generated column or a constraint that Herald does not support
/// there.
pub(crate) fn refuse_expr(expr: &Expr, site: Site) -> Vec<Mistake> {
    let top = std::ptr::null();
    let mut refuse =
        UnsupportedCheck { site, view: true, top, placed: vec![], conditions: vec![], out: vec![] };
    let _ = expr.walk(&mut refuse);
    refuse.out
}

/// Warns of clauses of `query` without effect: ORDER BY without LIMIT.
pub(crate) fn idle_orders(query: &Query, site: Site) -> Vec<Mistake> {
    let mut orders = IdleOrders(vec![]);
    let _ = query.walk(&mut orders);
    let mut idle = Vec::with_capacity(orders.0.len());
    for span in orders.0 {
        let message = "ORDER BY without LIMIT is left out: a view is a set of rows";
        let hint = "add LIMIT n, or sort where it is read: herald query \"SELECT ... ORDER BY ...\"";
        idle.push(Mistake::new(site.place(span), message).hint(hint));
    }
    idle
}

/// Visitor that collects the spans of ORDER BYs without effect.
struct IdleOrders(Vec<Span>);

impl Visitor for IdleOrders {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if let Some(order) = &query.order_by
            && order::is_idle(query)
        {
            self.0.push(order.span());
        }
        ControlFlow::Continue(())
    }
}

struct UnsupportedCheck {
    site: Site,
    /// True if the query is a view's, which changes with the watermark.
    view: bool,
    /// Whole query; null for an expression.
    top: *const Query,
    /// Subqueries that become joins, and calls of now() that become temporal filters.
    placed: Vec<*const Expr>,
    /// Queries that are conditions: operands of IN and EXISTS.
    conditions: Vec<*const Query>,
    out: Vec<Mistake>,
}

const CLOCK: &str = "use a column of the record, such as its event time or INCLUDE timestamp; the watermark is compared as in \
                     WHERE ts > now() - INTERVAL '1 hour', by <, <=, >, >= or BETWEEN, joined with others by AND";
const FINAL: &str = "end the view's query with EMIT ON WINDOW CLOSE, which holds a row back until it is final, or ask \
                     herald query";
const VALUE: &str = "put it in SELECT, WHERE or HAVING, or join a view that has the value";
const CONDITION: &str = "make it a condition of WHERE or HAVING, joined with others by AND or OR";
const NOT_IN: &str = "join it with AND only, or write NOT EXISTS, which takes a NULL for no match";

impl UnsupportedCheck {
    /// Reports a refusal, unless its position has one already.
    fn refuse(&mut self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        let pos = self.site.place(span);
        // A part and its whole may begin at the same place; the first refusal is enough.
        if !self.out.iter().any(|m| m.pos == pos) {
            self.out.push(Mistake::new(pos, message).hint(hint));
        }
    }

    fn is_placed(&self, expr: &Expr) -> bool {
        self.placed.iter().any(|placed| std::ptr::eq(*placed, expr))
    }

    fn set_operation(&mut self, body: &SetExpr) {
        match body {
            SetExpr::Select(_) | SetExpr::Query(_) => {}
            SetExpr::SetOperation { op, set_quantifier, left, right } => {
                self.set_operation(left);
                self.set_operation(right);
                match op {
                    SetOperator::Union => {}
                    SetOperator::Minus => {
                        self.refuse(right.span(), "MINUS is not supported", "write EXCEPT");
                    }
                    SetOperator::Intersect | SetOperator::Except => {}
                }
                if !matches!(
                    set_quantifier,
                    SetQuantifier::All | SetQuantifier::None | SetQuantifier::Distinct
                ) {
                    self.refuse(
                        right.span(),
                        format!("{op} {set_quantifier} is not supported"),
                        format!("list the columns in the same order and use {op}"),
                    );
                }
            }
            SetExpr::Values(_) => {}
            _ => self.refuse(body.span(), "only SELECT is allowed here", "write SELECT ... FROM ..."),
        }
    }

    fn check_join(&mut self, join: &Join) {
        let span = join.relation.span();
        let unnest = matches!(join.relation, TableFactor::UNNEST { .. });
        let lateral = matches!(join.relation, TableFactor::Derived { lateral: true, .. });
        let what = match &join.join_operator {
            JoinOperator::Join(_)
            | JoinOperator::Inner(_)
            | JoinOperator::Left(_)
            | JoinOperator::LeftOuter(_)
            | JoinOperator::CrossJoin(_) => return,
            JoinOperator::Right(_)
            | JoinOperator::RightOuter(_)
            | JoinOperator::FullOuter(_)
            | JoinOperator::LeftSemi(_)
            | JoinOperator::RightSemi(_)
            | JoinOperator::LeftAnti(_)
            | JoinOperator::RightAnti(_)
                if !unnest && !lateral =>
            {
                return;
            }
            JoinOperator::Right(_)
            | JoinOperator::RightOuter(_)
            | JoinOperator::FullOuter(_)
            | JoinOperator::LeftSemi(_)
            | JoinOperator::RightSemi(_)
            | JoinOperator::LeftAnti(_)
            | JoinOperator::RightAnti(_)
                if lateral =>
            {
                (
                    "LATERAL in this kind of join",
                    "use a comma, JOIN LATERAL or LEFT JOIN LATERAL (...) ON TRUE",
                )
            }
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) => {
                ("RIGHT JOIN UNNEST", "use a comma, or LEFT JOIN UNNEST(...) ON TRUE")
            }
            JoinOperator::FullOuter(_) => {
                ("FULL JOIN UNNEST", "use a comma, or LEFT JOIN UNNEST(...) ON TRUE")
            }
            JoinOperator::Semi(_) => ("SEMI JOIN", "write LEFT SEMI JOIN, or WHERE EXISTS (SELECT ...)"),
            JoinOperator::Anti(_) => ("ANTI JOIN", "write LEFT ANTI JOIN, or WHERE NOT EXISTS (SELECT ...)"),
            JoinOperator::AsOf { .. } => ("ASOF JOIN", "use an equi-join with a condition on the times"),
            _ => ("this kind of join", "use JOIN or LEFT JOIN ... ON"),
        };
        self.refuse(span, format!("{} is not supported", what.0), what.1);
    }

    fn check_function(&mut self, f: &Function) {
        let name = f.name.to_string().to_lowercase();
        let span = f.name.span();
        if FUNCTIONS.is_volatile(&name) {
            let hint = match (now::is_clock(&name), self.view) {
                (false, _) => "use a column of the record, such as its event time or INCLUDE timestamp",
                (true, true) => CLOCK,
                (true, false) => "write the time, as in ts > TIMESTAMPTZ '2026-01-31 12:00:00+00'",
            };
            return self.refuse(span, format!("{name}() is refused: its result depends on when or where it runs, so it could not be recomputed"), hint);
        }
        if name == IS_FINAL && self.view {
            return self.refuse(
                span,
                "is_final() is for queries: in a topology its result would change with the watermark alone",
                FINAL,
            );
        }
        if name == "map" {
            return self.refuse(
                span,
                "MAP is not supported",
                "write jsonb_build_object('a', x), and take parts with ->>",
            );
        }
        if let Some((span, message, hint)) = order::refuse_not_over(f, &name) {
            return self.refuse(span, message, hint);
        }
        if let Some((span, message, hint)) = arguments::refuse_arguments(f, &name) {
            return self.refuse(span, message, hint);
        }
        if f.over.is_some() {
            if let Some((span, message, hint)) = order::refuse_over(f, &name) {
                self.refuse(span, message, hint);
            }
            return;
        }
        if name == "unnest" && span.start.line == 0 {
            return; // Made by a rewrite: a HOP, or an unnest in the SELECT list.
        }
        if name == "unnest" {
            return self.refuse(
                span,
                "unnest stands in the SELECT list or in FROM, and takes one array",
                "put it in FROM: FROM t, UNNEST(t.items) AS i",
            );
        }
        if FUNCTIONS.aggregate(&name).is_none() || FUNCTIONS.scalar(&name).is_some() {
            return;
        }
        self.check_aggregate(f, &name, span);
    }

    fn check_aggregate(&mut self, f: &Function, name: &str, span: Span) {
        // An aggregate has several names; the checks know its first.
        let first = match FUNCTIONS.aggregate(name) {
            Some(function) => function.name().to_owned(),
            None => String::new(),
        };
        if !aggregates::is_kept(&first) && first != "grouping" {
            let hint = match first.as_str() {
                "approx_percentile_cont_with_weight" => {
                    "use percentile_cont(p) WITHIN GROUP (ORDER BY x), which is exact"
                }
                "nth_value" => "use array_agg(x ORDER BY y)[n]",
                _ => "use count, sum, avg, min or max",
            };
            return self.refuse(span, format!("the aggregate {name} is not supported"), hint);
        }
        let ordered = aggregates::is_ordered(&first);
        if let FunctionArguments::List(list) = &f.args {
            let distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
            if distinct && list.args.len() > 1 && first != "string_agg" {
                return self.refuse(
                    span,
                    format!("{name}(DISTINCT ...) over more than one value is not supported"),
                    format!(
                        "use {name}({}) over a subquery: FROM (SELECT DISTINCT k, x, y FROM t)",
                        if first == "count" { "*" } else { "x, y" }
                    ),
                );
            }
            if list.clauses.iter().any(|clause| !ordered || !fits_ordered(clause)) {
                let hint = if ordered {
                    "ORDER BY and IGNORE NULLS are what can stand there"
                } else {
                    "remove ORDER BY and the like: the result does not depend on order"
                };
                return self.refuse(span, format!("clauses inside {name}(...) are not supported"), hint);
            }
        }
        if !f.within_group.is_empty() && !aggregates::is_within_group(&first) {
            let hint = if ordered {
                format!("write {name}(x ORDER BY y)")
            } else {
                "remove it: the result does not depend on order".to_owned()
            };
            self.refuse(span, format!("{name} takes no WITHIN GROUP"), hint);
        }
        if f.null_treatment.is_some() && !ordered {
            self.refuse(
                span,
                format!("{name} leaves NULLs out anyway"),
                "remove IGNORE NULLS or RESPECT NULLS",
            );
        }
    }
}

/// Tells whether a clause may stand in an aggregate whose result depends on the order of its rows.
fn fits_ordered(clause: &FunctionArgumentClause) -> bool {
    matches!(clause, FunctionArgumentClause::OrderBy(_) | FunctionArgumentClause::IgnoreOrRespectNulls(_))
}

/// Tells whether a collation is the order of bytes, which text has anyway.
fn is_bytewise(collation: &ObjectName) -> bool {
    let Some(name) = collation.0.last().and_then(ObjectNamePart::as_ident) else { return false };
    ["C", "POSIX", "ucs_basic"].iter().any(|known| name.value.eq_ignore_ascii_case(known))
}

impl Visitor for UnsupportedCheck {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if let Some(span) = recursion::recursive_name(query)
            && !std::ptr::eq(self.top, query)
        {
            let hint = "write it at the beginning of the view, or make a view of it";
            self.refuse(span, "WITH RECURSIVE in a subquery is not supported", hint);
        }
        let condition = self.conditions.iter().any(|inner| std::ptr::eq(*inner, query));
        if let Some((span, message, hint)) = order::refuse_order(query, condition) {
            self.refuse(span, message, hint);
        }
        if !query.locks.is_empty() || query.for_clause.is_some() || !query.pipe_operators.is_empty() {
            self.refuse(
                query.span(),
                "FOR UPDATE, FOR XML and pipe operators are not supported",
                "write a plain SELECT",
            );
        }
        self.set_operation(&query.body);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.placed.extend(subquery::joinable_subqueries(select));
        if self.view {
            let (placed, wrong) = now::placed_calls(select);
            self.placed.extend(placed);
            for (span, message, hint) in wrong {
                self.refuse(span, message, hint);
            }
        }
        match &select.group_by {
            GroupByExpr::All(_) => {
                self.refuse(select.span(), "GROUP BY ALL is not supported", "list the grouping columns")
            }
            GroupByExpr::Expressions(_, modifiers) if !modifiers.is_empty() => {
                self.refuse(
                    select.span(),
                    "GROUP BY modifiers are not supported",
                    "write GROUP BY ROLLUP (a, b)",
                );
            }
            GroupByExpr::Expressions(..) => {}
        }
        if select.top.is_some() {
            self.refuse(select.span(), "TOP is not supported", "write ORDER BY x LIMIT n");
        }
        let odd = select.into.is_some()
            || !select.lateral_views.is_empty()
            || select.prewhere.is_some()
            || !select.connect_by.is_empty()
            || !select.cluster_by.is_empty()
            || !select.distribute_by.is_empty()
            || !select.sort_by.is_empty();
        if odd {
            self.refuse(
                select.span(),
                "this SELECT has a clause that is not supported",
                "use SELECT, FROM, WHERE, GROUP BY, HAVING, QUALIFY and WINDOW only",
            );
        }
        for join in select.from.iter().flat_map(|f| &f.joins) {
            self.check_join(join);
        }
        for span in using::left_keys(select) {
            self.refuse(
                span,
                "the left side's own column is not to be had where USING merges it in a RIGHT or FULL join",
                "write the column without its table, or ON a.k = b.k instead of USING",
            );
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table { name, version, sample, with_ordinality, args, .. } => {
                let span = name.span();
                if version.is_some() {
                    self.refuse(
                        span,
                        "FOR SYSTEM_TIME AS OF is not supported yet",
                        "use LEFT JOIN: results are then revised when the dimension changes",
                    );
                } else if sample.is_some() || *with_ordinality {
                    self.refuse(
                        span,
                        "TABLESAMPLE and WITH ORDINALITY are not supported",
                        "remove the clause",
                    );
                } else if args.is_some() {
                    let called = name.to_string().to_lowercase();
                    match called.as_str() {
                        "tumble" | "hop" => {}
                        "cumulate" => {
                            self.refuse(span, "CUMULATE windows are not supported", "use TUMBLE or HOP")
                        }
                        _ => self.refuse(
                            span,
                            format!("there is no table function called {called}"),
                            "TUMBLE, HOP, SESSION and UNNEST are the table functions",
                        ),
                    }
                }
            }
            TableFactor::Derived { sample, .. } => {
                if sample.is_some() {
                    self.refuse(factor.span(), "TABLESAMPLE is not supported", "filter by a column in WHERE");
                }
            }
            TableFactor::UNNEST { .. } | TableFactor::NestedJoin { .. } => {}
            _ => self.refuse(
                factor.span(),
                "this kind of table expression is not supported",
                "use a name, a subquery, TUMBLE, HOP or UNNEST",
            ),
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::InSubquery { subquery: query, .. } | Expr::Exists { subquery: query, .. } = expr {
            self.conditions.push(query.as_ref());
        }
        match expr {
            Expr::Function(_) if self.is_placed(expr) => {}
            Expr::Function(f) => self.check_function(f),
            Expr::Subquery(_) | Expr::InSubquery { .. } | Expr::Exists { .. } if self.is_placed(expr) => {}
            Expr::Subquery(_) => {
                self.refuse(expr.span(), "a subquery as a value is not supported here", VALUE)
            }
            Expr::InSubquery { negated: true, .. } => {
                self.refuse(expr.span(), "NOT IN (SELECT ...) is not supported here", NOT_IN);
            }
            Expr::InSubquery { .. } => {
                self.refuse(expr.span(), "IN (SELECT ...) is not supported here", CONDITION);
            }
            Expr::Exists { .. } => self.refuse(expr.span(), "EXISTS is not supported here", CONDITION),
            Expr::Collate { collation, .. } if !is_bytewise(collation) => self.refuse(
                collation.span(),
                format!("COLLATE {collation} is not supported: text compares by its bytes"),
                "leave it out, or write COLLATE \"C\"",
            ),
            Expr::AnyOp { right, .. } | Expr::AllOp { right, .. }
                if matches!(right.as_ref(), Expr::Subquery(_)) =>
            {
                self.refuse(
                    expr.span(),
                    "ANY and ALL of a subquery are supported as = ANY and <> ALL only",
                    "compare with min(x) or max(x) of the subquery, and say what NULL and no row are to mean",
                );
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
