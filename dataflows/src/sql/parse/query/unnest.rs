//! Extraction of `UNNEST(list) AS item` in FROM.
//!
//! DataFusion cannot plan an UNNEST whose argument names the tables before it, so each is replaced
//! by a table `__unnest_N` under the same alias and returned as an [`UnnestUse`]. The planner takes
//! the list's type from [`UnnestUse::probe`], registers the table, and later recognises the cross
//! join with it. Uses are ordered so that each probe names only tables of earlier uses. UNNEST
//! may follow a comma, CROSS JOIN, JOIN ... ON TRUE (these drop rows without items) or LEFT JOIN ...
//! ON TRUE (which keeps them); other places are refused.

use datafusion_sql::sqlparser::ast::{
    Cte, Expr, Ident, JoinConstraint, JoinOperator, ObjectName, Query, Select, SelectItem, SetExpr, Spanned,
    TableAlias, TableFactor, TableWithJoins, Value, Visit, VisitMut, Visitor, VisitorMut, With,
};
use datafusion_sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::{Location, Tokenizer};
use std::ops::ControlFlow;

use crate::mistake::{Mistake, Pos};

/// Prefix of the names of the tables that replace UNNESTs.
pub const TABLE: &str = "__unnest_";

/// One UNNEST taken out of a query.
#[derive(Clone, Debug)]
pub struct UnnestUse {
    /// Table that replaces it.
    pub table: String,
    /// Alias of its rows.
    pub alias: Ident,
    /// The list.
    pub arg: Expr,
    /// True if each item comes with its number (WITH ORDINALITY).
    pub numbered: bool,
    /// True if a row without items is kept (LEFT JOIN).
    pub outer: bool,
    /// True if it stands in a subquery of an expression.
    pub nested: bool,
    /// Position of the list.
    pub pos: Pos,
    /// Query `[WITH ctes] SELECT arg FROM preceding`, whose plan gives the list's type. `preceding` are the items before it
    /// in the same FROM, with earlier UNNESTs replaced.
    pub probe: Query,
}

/// Takes every UNNEST out of `query`, numbering from `first`.
///
/// # Errors
/// A mistake for each UNNEST at a place where it cannot be planned.
pub fn extract(query: &mut Query, file: usize, first: usize) -> Result<Vec<UnnestUse>, Vec<Mistake>> {
    let mut extract =
        UnnestExtractor { file, next: first, scope: Vec::new(), uses: Vec::new(), mistakes: Vec::new() };
    extract.extract_query(query);
    if extract.mistakes.is_empty() {
        let _ = Visit::visit(query, &mut RemainingUnnests(&mut extract));
    }
    if extract.mistakes.is_empty() { Ok(extract.uses) } else { Err(extract.mistakes) }
}

struct UnnestExtractor {
    file: usize,
    next: usize,
    /// Visible common table expressions, innermost last.
    scope: Vec<Cte>,
    uses: Vec<UnnestUse>,
    mistakes: Vec<Mistake>,
}

impl UnnestExtractor {
    fn extract_query(&mut self, query: &mut Query) {
        // CTEs of this query are visible to later ones and to its body, and not outside.
        let depth = self.scope.len();
        for cte in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            self.extract_query(&mut cte.query);
            self.scope.push(cte.clone());
        }
        self.extract_body(&mut query.body);
        self.scope.truncate(depth);
    }

    fn extract_body(&mut self, body: &mut SetExpr) {
        match body {
            SetExpr::Select(select) => self.extract_select(select),
            SetExpr::Query(query) => self.extract_query(query),
            SetExpr::SetOperation { left, right, .. } => {
                self.extract_body(left);
                self.extract_body(right);
            }
            _ => {}
        }
    }

    fn extract_select(&mut self, select: &mut Select) {
        let mut done: Vec<TableWithJoins> = Vec::with_capacity(select.from.len());
        for mut item in std::mem::take(&mut select.from) {
            self.extract_chain(&mut item, &done);
            done.push(item);
        }
        select.from = done;
        let mut within = ExpressionSubqueries(self);
        let _ = VisitMut::visit(&mut select.projection, &mut within);
        let _ = VisitMut::visit(&mut select.selection, &mut within);
        let _ = VisitMut::visit(&mut select.having, &mut within);
    }

    /// Handles one item of FROM with its joins; `before` are the items before it.
    fn extract_chain(&mut self, item: &mut TableWithJoins, before: &[TableWithJoins]) {
        self.extract_factor(&mut item.relation, before, false);
        for i in 0..item.joins.len() {
            // An UNNEST sees the items before this one, and the joins to the left of it.
            let mut preceding = before.to_vec();
            preceding
                .push(TableWithJoins { relation: item.relation.clone(), joins: item.joins[..i].to_vec() });
            let join = &mut item.joins[i];
            let at = join.relation.span().start;
            let outer = match (&join.relation, keeps_empty(&join.join_operator)) {
                (TableFactor::UNNEST { .. }, None) => {
                    let message =
                        "UNNEST can only be joined by a comma, CROSS JOIN, or LEFT JOIN ... ON TRUE";
                    self.refuse(at, message, "write the condition in WHERE");
                    continue;
                }
                (_, outer) => outer.unwrap_or(false),
            };
            self.extract_factor(&mut join.relation, &preceding, outer);
        }
    }

    fn extract_factor(&mut self, factor: &mut TableFactor, preceding: &[TableWithJoins], outer: bool) {
        match factor {
            TableFactor::Derived { subquery, .. } => self.extract_query(subquery),
            TableFactor::NestedJoin { table_with_joins, .. } => {
                self.extract_chain(table_with_joins, preceding)
            }
            TableFactor::UNNEST { .. } => {
                let at = factor.span().start;
                if preceding.is_empty() {
                    self.refuse(
                        at,
                        "UNNEST stands before the table whose list it takes",
                        "write FROM t, UNNEST(t.list) AS item",
                    );
                } else if let Some(table) = self.record_use(factor, preceding, outer) {
                    *factor = table;
                }
            }
            _ => {}
        }
    }

    /// Records one UNNEST and yields the table that takes its place.
    fn record_use(
        &mut self,
        factor: &TableFactor,
        preceding: &[TableWithJoins],
        outer: bool,
    ) -> Option<TableFactor> {
        let TableFactor::UNNEST { alias, array_exprs, with_offset, with_ordinality, .. } = factor else {
            return None;
        };
        let at = factor.span().start;
        if *with_offset {
            self.refuse(at, "UNNEST ... WITH OFFSET is not supported", "write WITH ORDINALITY, from 1");
            return None;
        }
        let [arg] = array_exprs.as_slice() else {
            self.refuse(at, "UNNEST takes one list", "write one UNNEST for each list");
            return None;
        };
        let table = format!("{TABLE}{}", self.next);
        let alias = alias.clone().unwrap_or_else(|| TableAlias {
            explicit: true,
            name: Ident::with_span(arg.span(), "unnest"),
            columns: Vec::new(),
            at: None,
        });
        let probe = match self.probe_query(arg, preceding) {
            Ok(probe) => probe,
            Err(error) => {
                self.refuse(at, &format!("internal: {error}"), "write the list as a column first");
                return None;
            }
        };
        self.uses.push(UnnestUse {
            table: table.clone(),
            alias: alias.name.clone(),
            arg: arg.clone(),
            numbered: *with_ordinality,
            outer,
            nested: false,
            pos: Pos { file: self.file, line: at.line, column: at.column },
            probe,
        });
        self.next += 1;
        Some(TableFactor::Table {
            name: ObjectName::from(vec![Ident::with_span(alias.name.span, table)]),
            alias: Some(alias),
            args: None,
            with_hints: Vec::new(),
            version: None,
            with_ordinality: false,
            partitions: Vec::new(),
            json_path: None,
            sample: None,
            index_hints: Vec::new(),
        })
    }

    /// Builds `[WITH ctes] SELECT arg FROM preceding`.
    fn probe_query(&self, arg: &Expr, preceding: &[TableWithJoins]) -> Result<Query, String> {
        let mut query = parse_constant("SELECT 1")?;
        if let SetExpr::Select(select) = query.body.as_mut() {
            select.projection = vec![SelectItem::UnnamedExpr(arg.clone())];
            select.from = preceding.to_vec();
        }
        let visible = self.visible_ctes();
        if !visible.is_empty()
            && let Some(with) = parse_constant("WITH a AS (SELECT 1) SELECT 1")?.with
        {
            query.with = Some(With { cte_tables: visible, ..with });
        }
        Ok(*query)
    }

    /// Common table expressions that a query may read here.
    fn visible_ctes(&self) -> Vec<Cte> {
        let mut visible = Vec::new();
        for (i, cte) in self.scope.iter().enumerate() {
            // An inner CTE hides an outer one of the same name; one WITH cannot have both.
            if !self.scope[i + 1..].iter().any(|later| later.alias.name == cte.alias.name) {
                visible.push(cte.clone());
            }
        }
        visible
    }

    fn refuse(&mut self, at: Location, message: &str, hint: &str) {
        let pos = Pos { file: self.file, line: at.line, column: at.column };
        self.mistakes.push(Mistake::new(pos, message).hint(hint));
    }
}

/// Returns true if a join keeps rows without items; None for joins in which UNNEST cannot stand.
fn keeps_empty(operator: &JoinOperator) -> Option<bool> {
    match operator {
        JoinOperator::CrossJoin(_) => Some(false),
        JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) if is_on_true(constraint) => {
            Some(false)
        }
        JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) if is_on_true(constraint) => {
            Some(true)
        }
        _ => None,
    }
}

fn is_on_true(constraint: &JoinConstraint) -> bool {
    match constraint {
        JoinConstraint::On(Expr::Value(value)) => value.value == Value::Boolean(true),
        _ => false,
    }
}

/// Parses a constant query; its tokens have no spans, because they do not stand in the file.
pub(crate) fn parse_constant(text: &str) -> Result<Box<Query>, String> {
    let dialect = PostgreSqlDialect {};
    let tokens = Tokenizer::new(&dialect, text).tokenize().map_err(|error| error.to_string())?;
    Parser::new(&dialect).with_tokens(tokens).parse_query().map_err(|error| error.to_string())
}

/// Visitor of the subqueries in expressions.
struct ExpressionSubqueries<'a>(&'a mut UnnestExtractor);

impl VisitorMut for ExpressionSubqueries<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Subquery(subquery) | Expr::InSubquery { subquery, .. } | Expr::Exists { subquery, .. } =
            expr
        {
            let before = self.0.uses.len();
            self.0.extract_query(subquery);
            for found in &mut self.0.uses[before..] {
                found.nested = true;
            }
        }
        ControlFlow::Continue(())
    }
}

/// Visitor that refuses the UNNESTs that extraction did not reach: in other places of an expression.
struct RemainingUnnests<'a>(&'a mut UnnestExtractor);

impl Visitor for RemainingUnnests<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::UNNEST { .. } = factor {
            self.0.refuse(
                factor.span().start,
                "UNNEST in a subquery of an expression is not supported",
                "write it in the FROM of a view",
            );
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<Vec<String>, String> {
        let mut query = Parser::new(&PostgreSqlDialect {}).try_with_sql(text).unwrap().parse_query().unwrap();
        let uses = extract(&mut query, 0, 0)
            .map_err(|m| format!("{}:{} {}", m[0].pos.line, m[0].pos.column, m[0].message))?;
        let mut out = vec![query.to_string()];
        out.extend(uses.iter().map(|u| {
            format!("{} {} {}: {}", u.table, u.alias, if u.outer { "outer" } else { "inner" }, u.probe)
        }));
        Ok(out)
    }

    #[test]
    fn every_unnest_is_taken_out() {
        assert_eq!(
            run("SELECT m.id, p.* FROM m, UNNEST(m.ps) AS p, UNNEST(p.items) AS i").unwrap(),
            [
                "SELECT m.id, p.* FROM m, __unnest_0 AS p, __unnest_1 AS i",
                "__unnest_0 p inner: SELECT m.ps FROM m",
                "__unnest_1 i inner: SELECT p.items FROM m, __unnest_0 AS p",
            ]
        );
        assert_eq!(
            run("WITH c AS (SELECT * FROM m CROSS JOIN UNNEST(ps) p) \
                 SELECT * FROM c JOIN d ON c.a = d.a LEFT JOIN UNNEST(d.xs) AS x ON TRUE")
            .unwrap(),
            [
                "WITH c AS (SELECT * FROM m CROSS JOIN __unnest_0 p) \
                 SELECT * FROM c JOIN d ON c.a = d.a LEFT JOIN __unnest_1 AS x ON true",
                "__unnest_0 p inner: SELECT ps FROM m",
                "__unnest_1 x outer: WITH c AS (SELECT * FROM m CROSS JOIN __unnest_0 p) SELECT d.xs FROM c JOIN d ON c.a = d.a",
            ]
        );
        assert_eq!(
            run("SELECT 1 FROM (SELECT * FROM m, UNNEST(a) AS x) s UNION ALL SELECT 2 FROM n, UNNEST(b)")
                .unwrap()[0],
            "SELECT 1 FROM (SELECT * FROM m, __unnest_0 AS x) s UNION ALL SELECT 2 FROM n, __unnest_1 AS unnest"
        );
        assert_eq!(
            run("SELECT 1 FROM m WHERE EXISTS (SELECT 1 FROM n, UNNEST(n.a) AS x)").unwrap(),
            [
                "SELECT 1 FROM m WHERE EXISTS (SELECT 1 FROM n, __unnest_0 AS x)",
                "__unnest_0 x inner: SELECT n.a FROM n",
            ]
        );
        assert_eq!(run("SELECT unnest(a) FROM m").unwrap(), ["SELECT unnest(a) FROM m"]);
    }

    #[test]
    fn unnest_elsewhere_is_refused() {
        let bad = [
            ("SELECT 1 FROM UNNEST(a) AS x", "1:22 UNNEST stands before the table whose list it takes"),
            ("SELECT 1 FROM m, UNNEST(a, b) AS x", "1:25 UNNEST takes one list"),
            (
                "SELECT 1 FROM m LEFT JOIN UNNEST(a) AS x ON x.b = 1",
                "1:34 UNNEST can only be joined by a comma, CROSS JOIN, or LEFT JOIN ... ON TRUE",
            ),
        ];
        for (text, message) in bad {
            assert_eq!(run(text), Err(message.to_owned()), "{text}");
        }
    }
}
