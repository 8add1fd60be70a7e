//! Functions that evaluate an expression over the items of an array: `array_filter(a, x -> x > n)`.
//!
//! Each such call becomes the call of a new function, which contains the expression and takes the array and
//! the columns of the row that the expression reads. Planner and optimiser see an ordinary scalar function.
//! The expression is planned over a relation of the item and those columns, by the same rules as any other;
//! it is evaluated over the concatenated items of a batch, a bounded number of them at a time.

mod each;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion_expr::ScalarUDF;
use datafusion_sql::sqlparser::ast::{
    Expr, Function, Ident, Query, Spanned, Visit, VisitMut, Visitor, VisitorMut,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::grammar::{self, plain_arguments};
use super::sugar;
use crate::functions::FUNCTIONS;
use crate::mistake::Mistake;
use crate::sql::catalog::Catalog;
use crate::sql::diagnostics::site::Site;
use crate::sql::parse::query::lambda::LAMBDA;
use crate::sql::parse::tokens::fold_ident;
use crate::sql::parse::walk::WalkMut;
pub(in crate::sql) use each::ABOUT;
use each::{LambdaFunction, LambdaUse};

/// Replaces every call in `node` that has a lambda with the call of a new function.
///
/// # Errors
/// A mistake for each unsupported lambda, at its place.
pub(crate) fn extract(catalog: &Catalog, node: &mut impl VisitMut, site: Site) -> Result<(), Vec<Mistake>> {
    catalog.clear_lambdas();
    let mut calls = LambdaCalls { catalog, site, mistakes: vec![] };
    let _ = node.walk_mut(&mut calls);
    if calls.mistakes.is_empty() { Ok(()) } else { Err(calls.mistakes) }
}

struct LambdaCalls<'a> {
    catalog: &'a Catalog,
    site: Site,
    mistakes: Vec<Mistake>,
}

impl VisitorMut for LambdaCalls<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        // Columns are named from the calls as written, so before these are replaced.
        sugar::name_columns(&mut query.body);
        ControlFlow::Continue(())
    }

    /// Visits the whole before its parts: a lambda within a lambda belongs to the outer one's expression.
    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Expr::Function(f) = expr else { return ControlFlow::Continue(()) };
        let Some((list, names, body)) = lambda_call_parts(f) else { return ControlFlow::Continue(()) };
        let (called, span) = (f.name.to_string().to_lowercase(), f.name.span());
        match self.register_function(&called, &names, body, span) {
            Ok((name, columns)) => {
                *expr = grammar::call(&name, span, std::iter::once(list).chain(columns).collect());
            }
            Err(mistake) => self.mistakes.push(mistake),
        }
        ControlFlow::Continue(())
    }
}

impl LambdaCalls<'_> {
    /// Registers the function of a call; returns its name, and the columns that its expression reads.
    fn register_function(
        &self,
        called: &str,
        names: &[Ident],
        mut body: Expr,
        span: Span,
    ) -> Result<(String, Vec<Expr>), Mistake> {
        let Some(what) = LambdaUse::of(called) else {
            let message = format!("{called} does not take a lambda");
            return Err(Mistake::new(self.site.place(span), message)
                .hint("use array_agg(x ORDER BY y) over UNNEST(a) in FROM"));
        };
        let [name] = names else {
            let at = match names.get(1) {
                Some(second) => second.span,
                None => span,
            };
            return Err(Mistake::new(self.site.place(at), format!("a lambda of {called} has one parameter"))
                .hint("number the items with FROM t, UNNEST(t.items) WITH ORDINALITY AS i(x, n)"));
        };
        let mut unfit = UnfitExpr(None);
        let _ = Visit::visit(&body, &mut unfit);
        if let Some((span, what)) = unfit.0 {
            return Err(Mistake::new(self.site.place(span), format!("{what} cannot stand in a lambda"))
                .hint("compute it in a view first, and take its column"));
        }
        let text = body.to_string();
        let param = fold_ident(name);
        let mut read = OuterColumns { params: vec![param.clone()], columns: vec![] };
        let _ = VisitMut::visit(&mut body, &mut read);
        let each = LambdaFunction::new((what, called), param, (body, text), read.columns.len());
        Ok((self.catalog.add_lambda(Arc::new(ScalarUDF::from(each))), read.columns))
    }
}

/// Array, parameters and expression of a call with a lambda.
fn lambda_call_parts(f: &Function) -> Option<(Expr, Vec<Ident>, Expr)> {
    let [list, lambda]: [Expr; 2] = plain_arguments(f)?.try_into().ok()?;
    let Expr::Function(lambda) = lambda else { return None };
    if lambda.name.to_string() != LAMBDA {
        return None;
    }
    let mut parts = plain_arguments(&lambda)?;
    let body = parts.pop()?;
    let names: Option<Vec<Ident>> = parts.into_iter().map(plain_name).collect();
    Some((list, names?, body))
}

fn plain_name(expr: Expr) -> Option<Ident> {
    match expr {
        Expr::Identifier(name) => Some(name),
        _ => None,
    }
}

/// Visitor that collects the columns an expression reads besides its parameters, and renames them `herald_0`
/// and so on.
struct OuterColumns {
    /// Parameters of the lambda, and of the lambdas within it that are being visited.
    params: Vec<String>,
    columns: Vec<Expr>,
}

/// Parameters of the lambda that an expression is; none if it is no lambda.
fn lambda_parameters(expr: &Expr) -> Vec<String> {
    let Expr::Function(f) = expr else { return vec![] };
    let mut parts =
        if f.name.to_string() == LAMBDA { plain_arguments(f).unwrap_or_default() } else { vec![] };
    parts.pop();
    parts.into_iter().filter_map(plain_name).map(|name| fold_ident(&name)).collect()
}

/// Name of column `at` that an expression reads.
fn column_name(at: usize) -> String {
    format!("herald_{at}")
}

impl VisitorMut for OuterColumns {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        self.params.extend(lambda_parameters(expr));
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
                let open = self.params.len() - lambda_parameters(other).len();
                self.params.truncate(open);
                return ControlFlow::Continue(());
            }
        };
        if self.params.contains(&fold_ident(first)) {
            return ControlFlow::Continue(());
        }
        let known = self.columns.iter().position(|known| known == expr);
        let at = known.unwrap_or(self.columns.len());
        if known.is_none() {
            self.columns.push(expr.clone());
        }
        *expr = Expr::Identifier(Ident::with_quote('"', column_name(at)));
        ControlFlow::Continue(())
    }
}

/// Visitor that finds an expression that a lambda cannot contain, and its place.
struct UnfitExpr(Option<(Span, &'static str)>);

impl Visitor for UnfitExpr {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let what = match expr {
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => "a subquery",
            Expr::Function(f) if f.over.is_some() => "a window function",
            Expr::Function(f) => {
                let name = f.name.to_string().to_lowercase();
                if FUNCTIONS.aggregate(&name).is_some() && FUNCTIONS.scalar(&name).is_none() {
                    "an aggregate"
                } else {
                    return ControlFlow::Continue(());
                }
            }
            _ => return ControlFlow::Continue(()),
        };
        self.0 = Some((expr.span(), what));
        ControlFlow::Break(())
    }
}
