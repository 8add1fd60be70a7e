//! Walks over SQL syntax trees that are compiled once.
//!
//! The parser's `visit` is generic over the visitor, and its derived functions are some five hundred for each type
//! of visitor: with a visitor for each rewrite they were most of this crate's code and of its compile time. Here
//! one visitor of each kind calls the others through a trait object.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    Expr, ObjectName, Query, Select, Statement, TableFactor, ValueWithSpan, Visit, VisitMut, Visitor,
    VisitorMut,
};

/// Tree or part of one that a visitor reads.
pub trait Walk {
    /// Shows every node to the visitor, until it breaks.
    fn walk(&self, visitor: &mut dyn Visitor<Break = ()>) -> ControlFlow<()>;
}

impl<N: Visit> Walk for N {
    fn walk(&self, visitor: &mut dyn Visitor<Break = ()>) -> ControlFlow<()> {
        self.visit(&mut AnyVisitor(visitor))
    }
}

/// Tree or part of one that a visitor changes.
pub trait WalkMut {
    /// Hands every node to the visitor, until it breaks.
    fn walk_mut(&mut self, visitor: &mut dyn VisitorMut<Break = ()>) -> ControlFlow<()>;
}

impl<N: VisitMut> WalkMut for N {
    fn walk_mut(&mut self, visitor: &mut dyn VisitorMut<Break = ()>) -> ControlFlow<()> {
        self.visit(&mut AnyVisitorMut(visitor))
    }
}

/// Hands every node of a query to the visitor, until it breaks. It is compiled here, for other crates too.
pub fn walk_query(query: &mut Query, visitor: &mut dyn VisitorMut<Break = ()>) -> ControlFlow<()> {
    query.walk_mut(visitor)
}

/// Hands every node of an expression to the visitor, as [`walk_query`] does.
pub fn walk_expr(expr: &mut Expr, visitor: &mut dyn VisitorMut<Break = ()>) -> ControlFlow<()> {
    expr.walk_mut(visitor)
}

struct AnyVisitor<'a>(&'a mut dyn Visitor<Break = ()>);

struct AnyVisitorMut<'a>(&'a mut dyn VisitorMut<Break = ()>);

/// Forwards each method to the visitor behind the trait object.
macro_rules! forward {
    ($($method:ident($node:ty);)*) => {
        impl Visitor for AnyVisitor<'_> {
            type Break = ();
            $(fn $method(&mut self, node: &$node) -> ControlFlow<()> {
                self.0.$method(node)
            })*
        }

        impl VisitorMut for AnyVisitorMut<'_> {
            type Break = ();
            $(fn $method(&mut self, node: &mut $node) -> ControlFlow<()> {
                self.0.$method(node)
            })*
        }
    };
}

forward! {
    pre_visit_query(Query);
    post_visit_query(Query);
    pre_visit_select(Select);
    post_visit_select(Select);
    pre_visit_relation(ObjectName);
    post_visit_relation(ObjectName);
    pre_visit_table_factor(TableFactor);
    post_visit_table_factor(TableFactor);
    pre_visit_expr(Expr);
    post_visit_expr(Expr);
    pre_visit_statement(Statement);
    post_visit_statement(Statement);
    pre_visit_value(ValueWithSpan);
    post_visit_value(ValueWithSpan);
}
