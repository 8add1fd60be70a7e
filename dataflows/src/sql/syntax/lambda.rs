//! Functions that evaluate an expression over the items of an array: `array_filter(a, x -> x > n)`.
//!
//! Such a call becomes the call of a function of its own, which holds the expression and takes the array and
//! the columns of the row that the expression reads. To all that plans and optimises it is a function
//! like any other. The expression is planned as one over a relation of the item and those columns, with
//! the same rules as everywhere; it is evaluated over the items of a batch laid end to end, a bounded number
//! of them at a time.

mod each;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion_expr::ScalarUDF;
use datafusion_sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Query, Spanned, Visit, VisitMut,
    Visitor, VisitorMut,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::grammar;
use super::sugar;
use crate::functions::FUNCTIONS;
use crate::sql::catalog::Catalog;
use crate::sql::diagnostics::error::Mistake;
use crate::sql::diagnostics::site::Site;
use crate::sql::diagnostics::unsupported;
use crate::sql::parse::cursor::fold;
use crate::sql::parse::query::lambda::LAMBDA;
use each::{Each, What};

/// Puts a function of its own in place of every call in `node` that has a lambda.
///
/// # Errors
/// A lambda that is not to be had, at its place.
pub(crate) fn extract(catalog: &Catalog, node: &mut impl VisitMut, site: Site) -> Result<(), Vec<Mistake>> {
    catalog.clear_lambdas();
    let mut calls = Calls { catalog, site, mistakes: vec![] };
    let _ = node.visit(&mut calls);
    if calls.mistakes.is_empty() { Ok(()) } else { Err(calls.mistakes) }
}

struct Calls<'a> {
    catalog: &'a Catalog,
    site: Site,
    mistakes: Vec<Mistake>,
}

impl VisitorMut for Calls<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        // A column is named by what was written.
        sugar::name_columns(&mut query.body);
        ControlFlow::Continue(())
    }

    /// The whole before its parts: a lambda within a lambda is one of its expression.
    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Expr::Function(f) = expr else { return ControlFlow::Continue(()) };
        let Some((list, names, body)) = parts(f) else { return ControlFlow::Continue(()) };
        let (called, span) = (f.name.to_string().to_lowercase(), f.name.span());
        match self.function(&called, &names, body, span) {
            Ok((name, columns)) => {
                *expr = grammar::call(&name, span, std::iter::once(list).chain(columns).collect());
            }
            Err(mistake) => self.mistakes.push(mistake),
        }
        ControlFlow::Continue(())
    }
}

impl Calls<'_> {
    /// Registers the function of a call; gives its name, and the columns that its expression reads.
    fn function(
        &self,
        called: &str,
        names: &[Ident],
        mut body: Expr,
        span: Span,
    ) -> Result<(String, Vec<Expr>), Mistake> {
        let place = |span: Span| crate::sql::diagnostics::site::place(span, self.site.file, self.site.pos);
        let Some(what) = What::of(called) else {
            let message = format!("{called} does not take a lambda");
            return Err(
                Mistake::new(place(span), message).hint("use array_agg(x ORDER BY y) over UNNEST(a) in FROM")
            );
        };
        let [name] = names else {
            let at = names.get(1).map_or(span, |name| name.span);
            return Err(Mistake::new(place(at), format!("a lambda of {called} has one parameter"))
                .hint("number the items with FROM t, UNNEST(t.items) WITH ORDINALITY AS i(x, n)"));
        };
        let mut unfit = Unfit(None);
        let _ = Visit::visit(&body, &mut unfit);
        if let Some((span, what)) = unfit.0 {
            return Err(Mistake::new(place(span), format!("{what} cannot stand in a lambda"))
                .hint("compute it in a view first, and take its column"));
        }
        let text = body.to_string();
        let param = fold(&name.value, name.quote_style);
        let mut read = Columns { params: vec![param.clone()], columns: vec![] };
        let _ = VisitMut::visit(&mut body, &mut read);
        let each = Each::new((what, called), param, (body, text), read.columns.len());
        Ok((self.catalog.add_lambda(Arc::new(ScalarUDF::from(each))), read.columns))
    }
}

/// The array, the parameters and the expression of a call with a lambda.
fn parts(f: &Function) -> Option<(Expr, Vec<Ident>, Expr)> {
    let [list, lambda]: [Expr; 2] = arguments(f)?.try_into().ok()?;
    let Expr::Function(lambda) = lambda else { return None };
    if lambda.name.to_string() != LAMBDA {
        return None;
    }
    let mut parts = arguments(&lambda)?;
    let body = parts.pop()?;
    let name = |expr: Expr| if let Expr::Identifier(name) = expr { Some(name) } else { None };
    Some((list, parts.into_iter().map(name).collect::<Option<_>>()?, body))
}

fn arguments(f: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &f.args else { return None };
    let one = |arg: &FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    list.args.iter().map(one).collect()
}

/// Finds the columns that an expression reads besides the parameter, and calls them `herald_0` and so on.
struct Columns {
    /// The parameters of the lambda and of those within it.
    params: Vec<String>,
    columns: Vec<Expr>,
}

/// The parameters of the lambda that a call stands for.
fn parameters(expr: &Expr) -> Vec<String> {
    let Expr::Function(f) = expr else { return vec![] };
    let mut parts = if f.name.to_string() == LAMBDA { arguments(f).unwrap_or_default() } else { vec![] };
    parts.pop();
    let name = |expr: Expr| match expr {
        Expr::Identifier(name) => Some(fold(&name.value, name.quote_style)),
        _ => None,
    };
    parts.into_iter().filter_map(name).collect()
}

/// The name of a column that an expression reads.
fn column(at: usize) -> String {
    format!("herald_{at}")
}

impl VisitorMut for Columns {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        self.params.extend(parameters(expr));
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let first = match &*expr {
            Expr::Identifier(name) => name,
            Expr::CompoundIdentifier(names) => match names.first() {
                Some(first) => first,
                None => return ControlFlow::Continue(()),
            },
            other => {
                let open = self.params.len() - parameters(other).len();
                self.params.truncate(open);
                return ControlFlow::Continue(());
            }
        };
        if self.params.contains(&fold(&first.value, first.quote_style)) {
            return ControlFlow::Continue(());
        }
        let at = self.columns.iter().position(|known| known == expr).unwrap_or_else(|| {
            self.columns.push(expr.clone());
            self.columns.len() - 1
        });
        *expr = Expr::Identifier(Ident::with_quote('"', column(at)));
        ControlFlow::Continue(())
    }
}

/// An expression that items cannot have, and its place.
struct Unfit(Option<(Span, &'static str)>);

impl Visitor for Unfit {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let what = match expr {
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => "a subquery",
            Expr::Function(f) if f.over.is_some() => "a window function",
            Expr::Function(f) => {
                let name = f.name.to_string().to_lowercase();
                match FUNCTIONS.aggregate(&name).is_some() && FUNCTIONS.scalar(&name).is_none() {
                    true => "an aggregate",
                    false => return ControlFlow::Continue(()),
                }
            }
            _ => return ControlFlow::Continue(()),
        };
        self.0 = Some((expr.span(), what));
        ControlFlow::Break(())
    }
}
