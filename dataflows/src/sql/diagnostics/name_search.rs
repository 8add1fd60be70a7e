//! Search for the place that an error is about: a name, or a placeholder for a form, in a query's syntax tree.

use std::ops::ControlFlow;

use datafusion_common::DataFusionError;
use datafusion_sql::sqlparser::ast::{
    Distinct, ExcludeSelectItem, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    GroupByExpr, JoinConstraint, JoinOperator, OrderBy, OrderByKind, Query, Select, SelectItem, SetExpr,
    Spanned, TableFactor, Visitor,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::site::Site;
use crate::functions::FUNCTIONS;
use crate::mistake::Pos;
use crate::sql::parse::walk::Walk;
use crate::sql::syntax::names::natural_name;

/// Placeholder for any aggregate, in a search for a name.
pub(super) const AGGREGATE: &str = "AGGREGATE";

/// Placeholder for the first expression of DISTINCT ON, in a search for a name.
pub(super) const DISTINCT_ON: &str = "DISTINCT ON";

/// Placeholder for the first subquery, in a search for a name.
pub(super) const SUBQUERY: &str = "SUBQUERY";

/// Placeholder for the right side of a UNION, INTERSECT or EXCEPT, in a search for a name.
pub(super) const UNION: &str = "UNION";

/// Placeholder for the first argument of a call, in a search for a name.
pub(super) fn argument_of(function: &str) -> String {
    format!("{function}(")
}

/// Placeholder for a name that stands without a table before it, in a search for a name.
pub(super) fn bare_name(name: &str) -> String {
    format!("{name} alone")
}

/// Placeholder for the expression that a SELECT list names `name`, in a search for a name.
fn named_by(name: &str) -> String {
    format!("AS {name}")
}

/// Placeholder for a position among the expressions of GROUP BY, in a search for a name.
pub(super) fn group_position(position: &str) -> String {
    format!("GROUP BY {position}")
}

/// Placeholder for a position among the expressions of ORDER BY, in a search for a name.
pub(super) fn order_position(position: &str) -> String {
    format!("ORDER BY {position}")
}

/// Placeholder for the time column of a window, in a search for a name.
pub(super) fn window_time(window: &str, column: &str) -> String {
    format!("{window} over {column}")
}

/// Places in a query or an expression that an error may be about.
pub(super) struct ErrorPlaces<'a> {
    tree: &'a dyn Walk,
    site: Site,
    /// Position that the error itself has, if any.
    own: Option<Pos>,
}

impl<'a> ErrorPlaces<'a> {
    /// Begins the search for the places of `error`, which came up in planning `tree`.
    pub(super) fn new(error: &DataFusionError, tree: &'a dyn Walk, site: Site) -> ErrorPlaces<'a> {
        ErrorPlaces { tree, site, own: own_position(error, site.file) }
    }

    /// Tells whether the error has a position of its own.
    pub(super) fn is_given(&self) -> bool {
        self.own.is_some()
    }

    /// Tells whether the text has `name` in quotes.
    pub(super) fn is_quoted(&self, name: &str) -> bool {
        !self.find_spans(&format!("\"{name}\"")).is_empty()
    }

    /// Tells whether a SELECT list names an expression `name`, other than the one that the error is in.
    pub(super) fn is_alias(&self, name: &str) -> bool {
        let at = self.of(&bare_name(name));
        self.find_spans(&named_by(name)).iter().any(|span| !surrounds(span, at))
    }

    /// Place of the statement.
    pub(super) fn of_statement(&self) -> Pos {
        self.site.pos
    }

    /// Place of the error without regard to a name.
    pub(super) fn of_error(&self) -> Pos {
        self.own.unwrap_or(self.site.pos)
    }

    /// Place of a name, or of one of the placeholders above.
    pub(super) fn of(&self, word: &str) -> Pos {
        let spans = self.find_spans(word);
        // Without a position of its own, the error is placed at the name it is about, else at the statement. With
        // one, an operator's error is placed at the operation around the position.
        let Some(own) = self.own else { return self.site.place_first(&spans) };
        match spans.iter().rfind(|span| surrounds(span, own)) {
            Some(around) => self.site.place(*around),
            None => own,
        }
    }

    /// Place of the first of `words` that is found in the text, else that of the error.
    pub(super) fn of_first<'w>(&self, words: impl IntoIterator<Item = &'w str>) -> Pos {
        let otherwise = self.of_error();
        for word in words {
            let place = self.of(word);
            if place != otherwise {
                return place;
            }
        }
        otherwise
    }

    fn find_spans(&self, word: &str) -> Vec<Span> {
        let mut search = NameSearch { word, found: Vec::new() };
        let _ = self.tree.walk(&mut search);
        search.found
    }
}

/// Position that an error itself has: its span's, else that of a note on it.
fn own_position(error: &DataFusionError, file: usize) -> Option<Pos> {
    let diagnostic = error.diagnostic()?;
    let noted = diagnostic.notes.iter().find_map(|note| note.span);
    let start = diagnostic.span.or(noted)?.start;
    Some(Pos { file, line: start.line, column: start.column })
}

/// Tells whether a position is within a span of its file.
fn surrounds(span: &Span, pos: Pos) -> bool {
    let at = (pos.line, pos.column);
    (span.start.line, span.start.column) <= at && at <= (span.end.line, span.end.column)
}

/// Visitor that finds the spans of a name: of columns, aliases, tables and functions.
struct NameSearch<'a> {
    word: &'a str,
    found: Vec<Span>,
}

impl NameSearch<'_> {
    fn record_match(&mut self, value: &str, span: Span) {
        if value.eq_ignore_ascii_case(self.word) && span.start.line > 0 {
            self.found.push(span);
        }
    }

    /// Records the names of EXCLUDE behind a `*`.
    fn record_excluded(&mut self, exclude: Option<&ExcludeSelectItem>) {
        let Some(ExcludeSelectItem::Multiple(names)) = exclude else { return };
        for name in names {
            self.record_match(name.to_string().trim_matches('"'), name.span());
        }
    }

    /// Records the names of a join's USING, which stand without a table.
    fn record_using(&mut self, join: &JoinOperator) {
        let (JoinOperator::Join(on)
        | JoinOperator::Inner(on)
        | JoinOperator::Left(on)
        | JoinOperator::LeftOuter(on)
        | JoinOperator::Right(on)
        | JoinOperator::RightOuter(on)
        | JoinOperator::FullOuter(on)) = join
        else {
            return;
        };
        let JoinConstraint::Using(names) = on else { return };
        for name in names {
            self.record_match(&bare_name(name.to_string().trim_matches('"')), name.span());
        }
    }

    /// Records the names of a call and the placeholders that stand for it.
    fn record_call(&mut self, f: &Function) {
        let name = f.name.to_string().to_lowercase();
        // An error names a function by its first name, the text possibly by an alias.
        let first = first_name(&name);
        self.record_match(first.as_deref().unwrap_or(&name), f.name.span());
        self.record_match(&name, f.name.span());
        if self.word == AGGREGATE && FUNCTIONS.aggregate(&name).is_some() {
            self.found.insert(0, f.name.span());
        }
        if let FunctionArguments::List(list) = &f.args
            && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(first))) = list.args.first()
        {
            self.record_match(&argument_of(&name), first.span());
            // The window functions of TUMBLE, HOP and SESSION have no spans; their time column has one.
            if name.starts_with("herald_")
                && let Some(window) = name.split('_').nth(1)
                && let Some(column) = natural_name(first)
            {
                self.record_match(&window_time(window, &column.value), first.span());
            }
        }
    }
}

/// First name of the function called `name`; None if there is no such function.
fn first_name(name: &str) -> Option<String> {
    if let Some(function) = FUNCTIONS.scalar(name) {
        return Some(function.name().to_owned());
    }
    Some(FUNCTIONS.aggregate(name)?.name().to_owned())
}

impl Visitor for NameSearch<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        if let (Some(Distinct::On(exprs)), DISTINCT_ON) = (&select.distinct, self.word) {
            self.found.extend(exprs.first().map(Spanned::span));
        }
        for item in &select.projection {
            match item {
                SelectItem::ExprWithAlias { expr, alias } => {
                    self.record_match(&alias.value, alias.span);
                    self.record_match(&named_by(&alias.value), expr.span());
                }
                SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options) => {
                    self.record_excluded(options.opt_exclude.as_ref());
                }
                _ => {}
            }
        }
        if let GroupByExpr::Expressions(exprs, _) = &select.group_by {
            for expr in exprs {
                self.record_match(&group_position(&expr.to_string()), expr.span());
            }
        }
        for join in select.from.iter().flat_map(|from| &from.joins) {
            self.record_using(&join.join_operator);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let alias = match factor {
            TableFactor::Table { name, alias, .. } => {
                self.record_match(&name.to_string(), name.span());
                alias
            }
            TableFactor::Derived { lateral, alias, .. } => {
                if *lateral && self.word == SUBQUERY {
                    self.found.push(factor.span());
                }
                alias
            }
            _ => return ControlFlow::Continue(()),
        };
        if let Some(alias) = alias {
            self.record_match(&alias.name.value, alias.name.span);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if let (SetExpr::SetOperation { right, .. }, UNION) = (query.body.as_ref(), self.word) {
            self.found.push(right.span());
        }
        if let Some(OrderBy { kind: OrderByKind::Expressions(keys), .. }) = &query.order_by {
            for key in keys {
                self.record_match(&order_position(&key.expr.to_string()), key.expr.span());
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(name) => {
                self.record_match(&name.value, name.span);
                self.record_match(&bare_name(&name.value), name.span);
                if name.quote_style.is_some() {
                    self.record_match(&name.to_string(), name.span);
                }
            }
            Expr::CompoundIdentifier(names) => {
                for name in names {
                    self.record_match(&name.value, name.span);
                }
            }
            Expr::Value(value) => self.record_match(&value.to_string(), value.span),
            Expr::TypedString(text) => self.record_match(&text.value.to_string(), text.value.span),
            Expr::BinaryOp { op, .. } => {
                self.record_match(&op.to_string(), expr.span());
                self.record_match(&format!("{op:?}"), expr.span());
            }
            Expr::InList { .. } => self.record_match("in", expr.span()),
            Expr::InSubquery { .. } if self.word != SUBQUERY => self.record_match("in", expr.span()),
            Expr::Between { .. } => self.record_match("between", expr.span()),
            Expr::Case { .. } => self.record_match("case", expr.span()),
            Expr::Like { .. } => self.record_match("like", expr.span()),
            Expr::ILike { .. } => self.record_match("ilike", expr.span()),
            Expr::SimilarTo { .. } => self.record_match("similar_to", expr.span()),
            Expr::Cast { data_type, .. } => self.record_match(&data_type.to_string(), expr.span()),
            Expr::Subquery(_) | Expr::InSubquery { .. } | Expr::Exists { .. } if self.word == SUBQUERY => {
                self.found.push(expr.span());
            }
            Expr::Function(f) => self.record_call(f),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
