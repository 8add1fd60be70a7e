//! Set-returning functions in the SELECT list: `SELECT id, unnest(tags) AS tag FROM t`.
//!
//! The planner has `unnest` there, with PostgreSQL's meaning: rows are made after WHERE, GROUP BY and
//! window functions, and before DISTINCT and LIMIT. The other functions become the `unnest` of an array.
//! Several in one list advance together, the shorter ones padded with NULL: they become one `unnest` of an
//! array of structs ([`ABREAST`]). Functions that the query groups by are moved to FROM, because the groups
//! are made of their items.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    Distinct, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident, Query,
    Select, SelectItem, Spanned, TableAlias, TableAliasColumnDef, TableFactor, TableWithJoins, Value,
    ValueWithSpan, VisitorMut,
};
use datafusion_sql::sqlparser::tokenizer::Location;

use super::jsonb;
use crate::functions::FUNCTIONS;
use crate::functions::sets::abreast::{ABREAST, field};
use crate::mistake::{Mistake, Pos};
use crate::sql::parse::tokens::fold_ident;
use crate::sql::parse::walk::WalkMut;
use crate::sql::syntax::grammar::text_value;
use crate::sql::syntax::sugar::call;

/// Alias of the UNNEST in FROM whose items a query groups by.
const ITEMS: &str = "__items";

/// Rewrites the functions in the SELECT lists of `query` to `unnest`; returns refusals of misplaced ones.
pub fn rewrite(query: &mut Query, file: usize) -> Vec<Mistake> {
    let mut rows = SelectListRewrite { file, mistakes: vec![] };
    let _ = query.walk_mut(&mut rows);
    rows.mistakes
}

/// Visitor that rewrites the SELECT lists.
struct SelectListRewrite {
    file: usize,
    mistakes: Vec<Mistake>,
}

impl VisitorMut for SelectListRewrite {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let mut found = CallExtractor::default();
        let mut items = Vec::new();
        for (at, item) in select.projection.iter_mut().enumerate() {
            let before = found.calls.len();
            if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                let name = crate::sql::syntax::names::natural_name(expr);
                let _ = expr.walk_mut(&mut found);
                if found.calls.len() > before {
                    items.push((at, name));
                }
            }
        }
        // Misplaced calls are reported all together, and nothing is rewritten.
        for at in &found.misplaced {
            self.refuse(*at, "a function that gives rows cannot stand inside CASE, coalesce or an aggregate");
        }
        if found.calls.is_empty() || !found.misplaced.is_empty() {
            return ControlFlow::Continue(());
        }
        if let Some(Distinct::On(_)) = select.distinct {
            self.refuse(found.calls[0].at, "a function that gives rows cannot stand beside DISTINCT ON");
            return ControlFlow::Continue(());
        }
        name_items(select, items);
        let grouped = find_grouped(select, &found.calls);
        if grouped.contains(&true) && grouped.contains(&false) {
            self.refuse(found.calls[0].at, "only some of the functions that give rows are grouped by");
        }
        let lists: Vec<Expr> = found.calls.iter().map(|call| call.list.clone()).collect();
        let mut put = MarkReplacer { values: vec![] };
        if grouped.first() == Some(&true) {
            put.values = (0..lists.len()).map(item_column).collect();
            select.from.push(in_from(lists));
        } else {
            put.values = in_list(lists);
        }
        let _ = select.projection.walk_mut(&mut put);
        let _ = select.group_by.walk_mut(&mut put);
        ControlFlow::Continue(())
    }
}

impl SelectListRewrite {
    fn refuse(&mut self, at: Location, message: &str) {
        let pos = Pos { file: self.file, line: at.line, column: at.column };
        self.mistakes.push(Mistake::new(pos, message).hint("put it in FROM: FROM t, UNNEST(t.items) AS i"));
    }
}

/// Call of a set-returning function.
struct RowCall {
    written: Expr,
    /// Array whose items are its rows.
    list: Expr,
    at: Location,
}

/// Visitor that takes the calls out of an expression and leaves a numbered mark for each.
#[derive(Default)]
struct CallExtractor {
    calls: Vec<RowCall>,
    misplaced: Vec<Location>,
    /// Number of enclosing subqueries.
    queries: usize,
    /// Number of enclosing expressions in which no such call may stand.
    closed: usize,
}

impl VisitorMut for CallExtractor {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.queries += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.queries -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.queries > 0 {
            return ControlFlow::Continue(());
        }
        if let Some((list, at)) = array_of_call(expr) {
            if self.closed > 0 {
                self.misplaced.push(at);
            }
            let marked = mark_expr(self.calls.len());
            let written = std::mem::replace(expr, marked);
            self.calls.push(RowCall { written, list, at });
        } else if is_closed(expr) {
            self.closed += 1;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.queries == 0 && is_closed(expr) {
            self.closed -= 1;
        }
        ControlFlow::Continue(())
    }
}

/// Tells whether no set-returning function may stand in an expression.
fn is_closed(expr: &Expr) -> bool {
    match expr {
        Expr::Case { .. } => true,
        Expr::Function(f) => {
            let name = f.name.to_string().to_lowercase();
            name == "coalesce" || f.over.is_some() || FUNCTIONS.aggregate(&name).is_some()
        }
        _ => false,
    }
}

/// Array whose items a set-returning call returns as rows, and the location of the call.
fn array_of_call(expr: &Expr) -> Option<(Expr, Location)> {
    let Expr::Function(f) = expr else { return None };
    let at = f.name.span().start;
    if f.over.is_some() || at.line == 0 {
        return None;
    }
    let list = match f.name.to_string().to_lowercase().as_str() {
        "unnest" => one_argument(f)?.clone(),
        "generate_series" => expr.clone(),
        name => jsonb::as_array(name, f)?,
    };
    Some((list, at))
}

fn one_argument(f: &Function) -> Option<&Expr> {
    let FunctionArguments::List(list) = &f.args else { return None };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))] => Some(arg),
        _ => None,
    }
}

/// Names items of the list as they would be named without the rewrite.
fn name_items(select: &mut Select, items: Vec<(usize, Option<Ident>)>) {
    for (at, name) in items {
        let item = &mut select.projection[at];
        if let (SelectItem::UnnamedExpr(expr), Some(alias)) = (&*item, name) {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
}

/// Tells for each call whether GROUP BY refers to it: by the number or the name of its item, or by the same
/// expression. Calls in GROUP BY become marks, too.
fn find_grouped(select: &mut Select, calls: &[RowCall]) -> Vec<bool> {
    let GroupByExpr::Expressions(by, _) = &mut select.group_by else { return vec![false; calls.len()] };
    let mut referred = vec![false; calls.len()];
    for expr in by.iter_mut() {
        let item = find_item(&select.projection, expr);
        // The item is searched in a copy: it has its marks already, and only the record of them matters.
        let mut marks = MarkFinder { calls, referred: &mut referred };
        if let Some(SelectItem::UnnamedExpr(e) | SelectItem::ExprWithAlias { expr: e, .. }) = item {
            let _ = e.clone().walk_mut(&mut marks);
        }
        let _ = expr.walk_mut(&mut marks);
    }
    referred
}

/// Item of the list that an expression of GROUP BY refers to by its number or its name.
fn find_item<'s>(items: &'s [SelectItem], by: &Expr) -> Option<&'s SelectItem> {
    match by {
        Expr::Value(ValueWithSpan { value: Value::Number(number, _), .. }) => {
            let number = number.parse::<usize>().ok()?;
            items.get(number.checked_sub(1)?)
        }
        Expr::Identifier(name) => {
            let name = fold_ident(name);
            items.iter().find(|item| is_called(item, &name))
        }
        _ => None,
    }
}

fn is_called(item: &SelectItem, name: &str) -> bool {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => fold_ident(alias) == name,
        _ => false,
    }
}

/// Visitor that records the marks in an expression, and marks the calls in it.
struct MarkFinder<'a> {
    calls: &'a [RowCall],
    referred: &'a mut Vec<bool>,
}

impl VisitorMut for MarkFinder<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let call = self.calls.iter().position(|call| call.written == *expr);
        if let Some(at) = mark_index(expr).or(call) {
            self.referred[at] = true;
            *expr = mark_expr(at);
        }
        ControlFlow::Continue(())
    }
}

fn mark_expr(at: usize) -> Expr {
    Expr::Identifier(Ident::with_quote('"', format!("{ITEMS}:{at}")))
}

fn mark_index(expr: &Expr) -> Option<usize> {
    let Expr::Identifier(name) = expr else { return None };
    name.value.strip_prefix(ITEMS)?.strip_prefix(':')?.parse().ok()
}

/// Visitor that replaces marks with values.
struct MarkReplacer {
    values: Vec<Expr>,
}

impl VisitorMut for MarkReplacer {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Some(at) = mark_index(expr)
            && let Some(value) = self.values.get(at)
        {
            *expr = value.clone();
        }
        ControlFlow::Continue(())
    }
}

/// Values of the calls as `unnest` in the list.
fn in_list(lists: Vec<Expr>) -> Vec<Expr> {
    let count = lists.len();
    if count == 1 {
        return lists.into_iter().map(unnest_call).collect();
    }
    let rows = unnest_call(call(ABREAST, lists));
    let mut values = Vec::with_capacity(count);
    for at in 0..count {
        values.push(call("get_field", vec![rows.clone(), text_value(field(at))]));
    }
    values
}

fn unnest_call(list: Expr) -> Expr {
    call("unnest", vec![list])
}

/// Item of FROM that unnests the arrays of the calls.
fn in_from(lists: Vec<Expr>) -> TableWithJoins {
    let columns = (0..lists.len()).map(field).map(TableAliasColumnDef::from_name).collect();
    let list = match lists.len() {
        1 => lists,
        _ => vec![call(ABREAST, lists)],
    };
    let alias = TableAlias { explicit: true, name: Ident::new(ITEMS), columns, at: None };
    let relation = TableFactor::UNNEST {
        alias: Some(alias),
        array_exprs: list,
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: false,
    };
    TableWithJoins { relation, joins: vec![] }
}

fn item_column(at: usize) -> Expr {
    Expr::CompoundIdentifier(vec![Ident::new(ITEMS), Ident::new(field(at))])
}

#[cfg(test)]
mod tests {
    use datafusion_sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion_sql::sqlparser::parser::Parser;

    use super::*;

    fn run(text: &str) -> Result<String, String> {
        let mut query = Parser::new(&PostgreSqlDialect {}).try_with_sql(text).unwrap().parse_query().unwrap();
        match rewrite(&mut query, 0).first() {
            None => Ok(query.to_string()),
            Some(m) => Err(format!("{}:{} {}", m.pos.line, m.pos.column, m.message)),
        }
    }

    #[test]
    fn calls_in_the_list_are_unnest() {
        let cases = [
            ("SELECT id, unnest(a) FROM t", "SELECT id, unnest(a) AS \"unnest\" FROM t"),
            (
                "SELECT generate_series(1, n) + 1 AS g FROM t",
                "SELECT unnest(generate_series(1, n)) + 1 AS g FROM t",
            ),
            (
                "SELECT unnest(a) AS x, unnest(b) AS y FROM t",
                "SELECT get_field(unnest(herald_abreast(a, b)), 'item0') AS x, \
                 get_field(unnest(herald_abreast(a, b)), 'item1') AS y FROM t",
            ),
            (
                "SELECT unnest(a) AS x, count(*) FROM t GROUP BY 1",
                "SELECT __items.item0 AS x, count(*) FROM t, UNNEST(a) AS __items (item0) GROUP BY 1",
            ),
            (
                "SELECT lower(unnest(a)) AS x, count(*) FROM t GROUP BY lower(unnest(a))",
                "SELECT lower(__items.item0) AS x, count(*) FROM t, UNNEST(a) AS __items (item0) \
                 GROUP BY lower(__items.item0)",
            ),
            (
                "SELECT k, unnest(array_agg(n)) AS n FROM t GROUP BY k",
                "SELECT k, unnest(array_agg(n)) AS n FROM t GROUP BY k",
            ),
            ("SELECT (SELECT max(x) FROM u)", "SELECT (SELECT max(x) FROM u)"),
        ];
        for (text, expected) in cases {
            assert_eq!(run(text).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn calls_elsewhere_are_refused() {
        let inside = "a function that gives rows cannot stand inside CASE, coalesce or an aggregate";
        assert_eq!(run("SELECT sum(unnest(a)) FROM t"), Err(format!("1:12 {inside}")));
        assert_eq!(run("SELECT CASE WHEN b THEN unnest(a) END FROM t"), Err(format!("1:25 {inside}")));
    }
}
