//! Rewrite of `TUMBLE`, `HOP` and `SESSION` in FROM to derived tables over scalar functions.
//!
//! `TUMBLE(t, ts, size)` becomes `(SELECT *, herald_tumble_start(ts, us, us) ...)`: every column of `t`, then
//! `window_start` and `window_end`. `HOP(t, ts, slide, size)` unnests the starts of the windows a row is in;
//! `SESSION` becomes a pair of window functions. A row whose time is NULL is in no window and dropped by all
//! three. Without an alias the result keeps `t`'s name. Sizes are constants of fixed length. Table functions
//! and factors that Herald does not have are refused on the same walk, by name and place. The rewritten trees
//! have spans only for names that the user wrote.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    self as sql, Expr, FunctionArg, ObjectName, ObjectNamePart, Query, Select, Spanned, TableAlias,
    TableFactor, VisitorMut,
};
use datafusion_sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::{Location, Tokenizer};

use crate::functions::eval::about::{About, called};
use crate::mistake::{Mistake, Pos};
use crate::sql::diagnostics::did_you_mean::did_you_mean;
use crate::sql::parse::cursor::Read;
use crate::sql::parse::interval::interval_us;
use crate::sql::parse::tokens::is_named;
use crate::sql::parse::walk::WalkMut;
use crate::sql::syntax::grammar::plain_argument;

/// The window functions.
const WINDOWS: [&str; 3] = ["TUMBLE", "HOP", "SESSION"];

/// The lines of the reference pages about them.
pub(in crate::sql) const ABOUT: &[About] = &[
    called(
        "TUMBLE",
        &["TUMBLE(t, TIMESTAMPTZ, INTERVAL '1 hour') -> t.*, window_start, window_end"],
        "Each row with the window that its time is in, of windows of one length.",
    ),
    called(
        "HOP",
        &["HOP(t, TIMESTAMPTZ, INTERVAL '5 minutes', INTERVAL '1 hour') -> t.*, window_start, window_end"],
        "Each row once for every window that its time is in; one begins at every slide.",
    ),
    called(
        "SESSION",
        &["SESSION(t PARTITION BY any, TIMESTAMPTZ, INTERVAL '10 minutes') -> t.*, window_start, window_end"],
        "Each row with its session: rows that are each less than the gap after the one before.",
    ),
];

/// Most windows of a HOP that a row may be in.
const MAX_HOPS: i64 = 1_000;

/// Turns the windows of a query into derived tables; returns refusals.
pub fn rewrite(query: &mut Query, file: usize) -> Vec<Mistake> {
    let mut walk = WindowRewrite { file, mistakes: Vec::new() };
    let _: ControlFlow<()> = query.walk_mut(&mut walk);
    walk.mistakes
}

/// Visitor that rewrites the windows of a query.
struct WindowRewrite {
    file: usize,
    mistakes: Vec<Mistake>,
}

impl WindowRewrite {
    fn pos(&self, at: Location) -> Pos {
        Pos { file: self.file, line: at.line, column: at.column }
    }

    fn refuse(&mut self, at: Location, message: &str, hint: &str) {
        self.mistakes.push(Mistake::new(self.pos(at), message).hint(hint));
    }

    /// Derived table that replaces a window function; None for a plain table.
    fn window_table(&mut self, factor: &TableFactor) -> Read<Option<TableFactor>> {
        let TableFactor::Table { name, alias, args: Some(args), .. } = factor else {
            return Ok(None);
        };
        let function = name.to_string().to_lowercase();
        let call = WindowCall {
            file: self.file,
            function: function.to_uppercase(),
            at: self.pos(name.span().start),
        };
        let (template, table) = match function.as_str() {
            "tumble" => call.tumble(&args.args)?,
            "hop" => call.hop(&args.args)?,
            "session" => call.session(&args.args)?,
            other => {
                return Err(Mistake::new(call.at, format!("unknown table function {other}"))
                    .hint("the table functions are TUMBLE, HOP, SESSION and UNNEST")
                    .maybe_hint(did_you_mean(other, ["TUMBLE", "HOP", "SESSION", "UNNEST"])));
            }
        };
        let alias = alias.clone().or_else(|| own_alias(&table));
        let subquery = Box::new(template);
        Ok(Some(TableFactor::Derived { lateral: false, subquery, alias, sample: None }))
    }

    /// Refuses factors that are neither a table, a window, a subquery, UNNEST nor a join in parentheses.
    fn check_factor(&mut self, factor: &TableFactor) {
        let at = factor.span().start;
        match factor {
            TableFactor::Table { with_ordinality: true, .. } => {
                self.refuse(at, "WITH ORDINALITY is not supported", "leave it out");
            }
            TableFactor::Table { sample: Some(_), .. } | TableFactor::Derived { sample: Some(_), .. } => {
                self.refuse(at, "TABLESAMPLE is not supported", "filter by a column in WHERE");
            }
            TableFactor::Table { version: Some(_), .. } => {
                self.refuse(at, "a table has no versions to choose from", "leave FOR ... AS OF out");
            }
            TableFactor::Table { .. } | TableFactor::UNNEST { .. } | TableFactor::NestedJoin { .. } => {}
            TableFactor::Derived { .. } => {}
            TableFactor::Pivot { .. } | TableFactor::Unpivot { .. } => {
                self.refuse(
                    at,
                    "PIVOT and UNPIVOT are not supported",
                    "write aggregates with FILTER (WHERE ...)",
                );
            }
            _ => self.refuse(at, "this kind of table is not supported", "name a table, source or view"),
        }
    }
}

impl VisitorMut for WindowRewrite {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let at = query.span().start;
        if !query.locks.is_empty() {
            self.refuse(at, "FOR UPDATE and FOR SHARE lock nothing here", "leave them out");
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if let Some(into) = &select.into {
            let at = into.name.span().start;
            self.refuse(
                at,
                "SELECT INTO is not supported",
                "write CREATE MATERIALIZED VIEW name AS SELECT ...",
            );
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr {
            let name = function.name.to_string().to_uppercase();
            if WINDOWS.contains(&name.as_str()) {
                let message = format!("{name} is a table function and stands in FROM");
                let call = match name.as_str() {
                    "HOP" => "HOP(t, ts, INTERVAL '5 minutes', INTERVAL '1 hour')",
                    "SESSION" => "SESSION(t PARTITION BY k, ts, INTERVAL '10 minutes')",
                    _ => "TUMBLE(t, ts, INTERVAL '1 hour')",
                };
                let hint = format!("write FROM {call} GROUP BY window_start, window_end");
                self.refuse(function.name.span().start, &message, &hint);
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        self.check_factor(factor);
        match self.window_table(factor) {
            Ok(Some(derived)) => *factor = derived,
            Ok(None) => {}
            Err(mistake) => self.mistakes.push(mistake),
        }
        ControlFlow::Continue(())
    }
}

/// Call of a window function: its file, name and position.
struct WindowCall {
    file: usize,
    function: String,
    at: Pos,
}

impl WindowCall {
    fn tumble(&self, args: &[FunctionArg]) -> Read<(Query, ObjectName)> {
        let usage = "write TUMBLE(t, ts, INTERVAL '1 hour')";
        let [table, ts, size] = self.exact_arguments(args, usage)?;
        let (table, ts, size) = (
            self.table_argument(table, usage)?,
            self.column_argument(ts, usage)?,
            self.length_argument(size, "size")?,
        );
        let text = format!(
            "SELECT *, herald_tumble_start(__ts, {size}) AS window_start, \
             herald_tumble_end(__ts, {size}) AS window_end FROM __t WHERE __ts IS NOT NULL"
        );
        Ok((self.fill_template(&text, &table, ts)?, table))
    }

    fn hop(&self, args: &[FunctionArg]) -> Read<(Query, ObjectName)> {
        let usage =
            "write HOP(t, ts, slide, size), as in HOP(t, ts, INTERVAL '5 minutes', INTERVAL '1 hour')";
        let [table, ts, slide, size] = self.exact_arguments(args, usage)?;
        let (table, ts) = (self.table_argument(table, usage)?, self.column_argument(ts, usage)?);
        let at = self.pos(slide);
        let (slide, size) = (self.length_argument(slide, "slide")?, self.length_argument(size, "size")?);
        if slide > size {
            return Err(Mistake::new(at, "the slide of a HOP is longer than its size")
                .hint("rows between the windows would be lost; the slide comes before the size"));
        }
        if size / slide > MAX_HOPS {
            return Err(Mistake::new(at, format!("every row would be in {} windows", size / slide))
                .hint(format!("at most {MAX_HOPS} are allowed: choose a longer slide")));
        }
        let text = format!(
            "SELECT *, herald_hop_end(window_start, {size}) AS window_end FROM \
             (SELECT *, unnest(herald_hop_starts(__ts, {slide}, {size})) AS window_start FROM __t) AS herald_hops"
        );
        Ok((self.fill_template(&text, &table, ts)?, table))
    }

    fn session(&self, args: &[FunctionArg]) -> Read<(Query, ObjectName)> {
        let usage = "write SESSION(t PARTITION BY k, ts, INTERVAL '10 minutes')";
        let [table, keys @ .., ts, gap] = &self.positional_arguments(args, usage)?[..] else {
            let message = format!("SESSION takes a table, a time and a gap, found {} arguments", args.len());
            return Err(Mistake::new(self.at, message).hint(usage));
        };
        let (table, ts, gap) = (
            self.table_argument(table, usage)?,
            self.column_argument(ts, usage)?,
            self.length_argument(gap, "gap")?,
        );
        let mut partition = Vec::new();
        for key in keys {
            match key {
                Expr::Tuple(keys) => partition.extend(keys.iter().cloned()),
                Expr::Nested(key) => partition.push(key.as_ref().clone()),
                key => partition.push((*key).clone()),
            }
        }
        let by = if partition.is_empty() { "" } else { "PARTITION BY __keys " };
        let text = format!(
            "SELECT *, herald_session_start(__ts, {gap}) OVER ({by}ORDER BY __ts) AS window_start, \
             herald_session_end(__ts, {gap}) OVER ({by}ORDER BY __ts) AS window_end FROM __t \
             WHERE __ts IS NOT NULL"
        );
        let mut query = self.fill_template(&text, &table, ts)?;
        let _: ControlFlow<()> = query.walk_mut(&mut PartitionKeys { keys: &partition });
        Ok((query, table))
    }

    /// Exactly `N` positional arguments.
    fn exact_arguments<'a, const N: usize>(
        &self,
        args: &'a [FunctionArg],
        usage: &str,
    ) -> Read<[&'a Expr; N]> {
        let exprs = self.positional_arguments(args, usage)?;
        let found = exprs.len();
        exprs.try_into().map_err(|_| {
            Mistake::new(self.at, format!("{} takes {N} arguments, found {found}", self.function)).hint(usage)
        })
    }

    fn positional_arguments<'a>(&self, args: &'a [FunctionArg], usage: &str) -> Read<Vec<&'a Expr>> {
        let mut exprs = Vec::with_capacity(args.len());
        for arg in args {
            let Some(expr) = plain_argument(arg) else {
                let message = format!("{} takes positional arguments only", self.function);
                return Err(Mistake::new(self.at, message).hint(usage));
            };
            exprs.push(expr);
        }
        Ok(exprs)
    }

    fn pos(&self, expr: &Expr) -> Pos {
        let start = expr.span().start;
        match start.line {
            0 => self.at,
            _ => Pos { file: self.file, line: start.line, column: start.column },
        }
    }

    fn table_argument(&self, expr: &Expr, usage: &str) -> Read<ObjectName> {
        match expr {
            Expr::Identifier(name) => Ok(ObjectName::from(vec![name.clone()])),
            Expr::CompoundIdentifier(names) => Ok(ObjectName::from(names.clone())),
            other => {
                let message = format!(
                    "the first argument of {} is the name of a table or view, found `{other}`",
                    self.function
                );
                Err(Mistake::new(self.pos(other), message).hint(usage))
            }
        }
    }

    fn column_argument(&self, expr: &Expr, usage: &str) -> Read<Expr> {
        match expr {
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => Ok(expr.clone()),
            other => {
                let message =
                    format!("the second argument of {} is a time column, found `{other}`", self.function);
                Err(Mistake::new(self.pos(other), message).hint(usage))
            }
        }
    }

    fn length_argument(&self, expr: &Expr, what: &str) -> Read<i64> {
        let name = format!("{} {what}", self.function);
        match interval_us(expr) {
            Ok(us @ 1..) => Ok(us),
            Ok(_) => Err(Mistake::new(self.pos(expr), format!("{name} must be longer than nothing"))
                .hint("write INTERVAL '1 hour'")),
            Err(message) => Err(Mistake::new(self.pos(expr), format!("{name}: {message}"))
                .hint("write INTERVAL '1 hour', or another length in days or less")),
        }
    }

    /// Mistake of Herald's own, in a template.
    fn internal(&self, error: &dyn std::fmt::Display) -> Mistake {
        Mistake::new(self.at, format!("internal: {error}"))
    }

    /// Parses a template and fills in the user's table and column. The template's own tokens have no spans,
    /// so that no message points to text the user did not write.
    fn fill_template(&self, template: &str, table: &ObjectName, ts: Expr) -> Read<Query> {
        let dialect = PostgreSqlDialect {};
        let tokens = Tokenizer::new(&dialect, template).tokenize().map_err(|e| self.internal(&e))?;
        let mut query =
            Parser::new(&dialect).with_tokens(tokens).parse_query().map_err(|e| self.internal(&e))?;
        let _: ControlFlow<()> = query.walk_mut(&mut TemplateFill { table, ts: &ts });
        Ok(*query)
    }
}

/// Alias by which a table would be called without one.
fn own_alias(table: &ObjectName) -> Option<TableAlias> {
    let name = table.0.last().and_then(ObjectNamePart::as_ident)?.clone();
    Some(TableAlias { explicit: true, name, columns: Vec::new(), at: None })
}

/// Visitor that replaces the placeholders of a template.
struct TemplateFill<'a> {
    table: &'a ObjectName,
    ts: &'a Expr,
}

impl VisitorMut for TemplateFill<'_> {
    type Break = ();

    fn post_visit_relation(&mut self, name: &mut ObjectName) -> ControlFlow<()> {
        if is_named(name.0.last().and_then(ObjectNamePart::as_ident), "__t") {
            *name = self.table.clone();
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Identifier(name) = &*expr
            && is_named(Some(name), "__ts")
        {
            *expr = self.ts.clone();
        }
        ControlFlow::Continue(())
    }
}

/// Visitor that replaces PARTITION BY of a SESSION's template with its keys.
struct PartitionKeys<'a> {
    keys: &'a [Expr],
}

impl VisitorMut for PartitionKeys<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr
            && let Some(sql::WindowType::WindowSpec(over)) = &mut function.over
            && !over.partition_by.is_empty()
        {
            over.partition_by = self.keys.to_vec();
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion_sql::sqlparser::parser::Parser;

    use super::*;

    fn run(text: &str) -> Result<String, String> {
        let mut query = Parser::new(&PostgreSqlDialect {}).try_with_sql(text).unwrap().parse_query().unwrap();
        let mistakes = rewrite(&mut query, 0);
        match mistakes.first() {
            Some(m) => Err(format!("{}:{} {}", m.pos.line, m.pos.column, m.message)),
            None => Ok(query.to_string()),
        }
    }

    #[test]
    fn every_window_has_one_line() {
        let named: Vec<&str> = ABOUT.iter().map(|line| line.names).collect();
        assert_eq!(named, WINDOWS);
    }

    #[test]
    fn windows_become_derived_tables() {
        let tumble = "(SELECT *, herald_tumble_start(at, 60000000) AS window_start, herald_tumble_end(at, 60000000) AS window_end FROM m WHERE at IS NOT NULL)";
        assert_eq!(
            run("SELECT * FROM TUMBLE(m, at, INTERVAL '1 minute')").unwrap(),
            format!("SELECT * FROM {tumble} AS m")
        );
        assert_eq!(
            run("WITH c AS (SELECT 1) SELECT * FROM c JOIN tumble(m, at, INTERVAL '1' MINUTE) AS w ON true")
                .unwrap(),
            format!("WITH c AS (SELECT 1) SELECT * FROM c JOIN {tumble} AS w ON true")
        );
        assert_eq!(
            run("SELECT * FROM HOP(m, m.at, INTERVAL '10 s', INTERVAL '1 minute') w").unwrap(),
            "SELECT * FROM (SELECT *, herald_hop_end(window_start, 60000000) AS window_end FROM (SELECT *, \
             unnest(herald_hop_starts(m.at, 10000000, 60000000)) AS window_start FROM m) AS herald_hops) w"
        );
    }

    #[test]
    fn spans_point_to_the_users_names_only() {
        let mut query = Parser::new(&PostgreSqlDialect {})
            .try_with_sql("SELECT 1 FROM TUMBLE(m, at, INTERVAL '1 h')")
            .unwrap()
            .parse_query()
            .unwrap();
        assert!(rewrite(&mut query, 0).is_empty());
        let sql::SetExpr::Select(select) = query.body.as_ref() else { panic!("a select") };
        let TableFactor::Derived { subquery, .. } = &select.from[0].relation else {
            panic!("a derived table")
        };
        let sql::SetExpr::Select(inner) = subquery.body.as_ref() else { panic!("a select") };
        assert_eq!(inner.from[0].span().start, Location::new(1, 22));
    }

    #[test]
    fn bad_windows_are_refused_where_they_stand() {
        let bad = [
            ("SELECT * FROM TUMBLE(m, at)", "1:15 TUMBLE takes 3 arguments, found 2"),
            (
                "SELECT * FROM TUMBLE(1, at, INTERVAL '1 h')",
                "1:22 the first argument of TUMBLE is the name of a table or view, found `1`",
            ),
            (
                "SELECT * FROM TUMBLE(m, at + 1, INTERVAL '1 h')",
                "1:25 the second argument of TUMBLE is a time column, found `at + 1`",
            ),
            (
                "SELECT * FROM TUMBLE(m, at, INTERVAL '1 month')",
                "1:38 TUMBLE size: '1 month' has no fixed length: a month may be shorter or longer",
            ),
            ("SELECT * FROM TUMBLE(m, at, INTERVAL '0 s')", "1:38 TUMBLE size must be longer than nothing"),
            (
                "SELECT * FROM TUMBLE(m, at, '1 hour')",
                "1:29 TUMBLE size: expected a constant INTERVAL, found `'1 hour'`",
            ),
            (
                "SELECT * FROM HOP(m, at, INTERVAL '2 h', INTERVAL '1 h')",
                "1:35 the slide of a HOP is longer than its size",
            ),
            (
                "SELECT * FROM HOP(m, at, INTERVAL '1 ms', INTERVAL '1 h')",
                "1:35 every row would be in 3600000 windows",
            ),
            ("SELECT * FROM TUMBEL(m, at, INTERVAL '1 h')", "1:15 unknown table function tumbel"),
            (
                "SELECT a FROM m GROUP BY TUMBLE(at, INTERVAL '1 h')",
                "1:26 TUMBLE is a table function and stands in FROM",
            ),
        ];
        for (text, message) in bad {
            assert_eq!(run(text), Err(message.to_owned()), "{text}");
        }
    }
}
