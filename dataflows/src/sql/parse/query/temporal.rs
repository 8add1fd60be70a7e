//! `[LEFT] ASOF JOIN t MATCH_CONDITION (a.ts >= b.ts) ON ...` and `JOIN t FOR SYSTEM_TIME AS OF PROCTIME()`
//! as plain joins whose condition carries a mark.
//!
//! The planner knows plain joins only, so the condition names the kind of join by a call of a reserved
//! function: [`ASOF`] around the match condition, [`LOOKUP`] around the whole condition. Syntax that
//! `sqlparser` cannot parse is changed on the tokens first, the tree after parsing. After planning, the
//! marks identify these joins ([`crate::sql::logical::joins::temporal`]).

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Join, JoinConstraint,
    JoinOperator, ObjectName, ObjectNamePart, Query, Select, Spanned, TableFactor, TableWithJoins,
    VisitorMut,
};
use datafusion_sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use crate::functions::planning::marks::{ASOF, LOOKUP};
use crate::mistake::{Mistake, Pos};
use crate::sql::parse::tokens::{begin_with, closing_paren, is_named, is_token_at, is_word_at, with_span_of};
use crate::sql::parse::walk::WalkMut;

/// Function that marks the match condition of a LEFT ASOF JOIN, from the tokens to the rewrite of the tree.
const OUTER: &str = "herald_outer";
/// Qualifier of a table that is read by its current rows, from the tokens to the rewrite of the tree.
const NOW: &str = "herald_now";

/// Rewrites the tokens of both joins: LEFT of LEFT ASOF JOIN becomes a call around its condition, FOR
/// SYSTEM_TIME AS OF PROCTIME() a qualifier of its table.
pub fn rewrite_tokens(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let (mut at, mut outer) = (0, false);
    while at < tokens.len() {
        let token = &tokens[at];
        if begin_with(&tokens[at..], &["left", "asof", "join"]) {
            outer = true;
        } else if outer && is_word_at(&tokens, at, "match_condition") {
            outer = false;
            out.push(token.clone());
            out.push(with_span_of(token, Token::LParen));
            out.push(with_span_of(token, name_token(OUTER)));
            // Its own parentheses become those of the call.
            let Some(end) = closing_paren(&tokens, at + 1) else { return tokens };
            out.extend_from_slice(&tokens[at + 1..=end]);
            out.push(with_span_of(token, Token::RParen));
            at = end;
        } else if let Some(length) = proctime_length(&tokens[at..]) {
            // The clause follows its table, which was written already.
            let Some(table) = out.pop() else { return tokens };
            out.push(with_span_of(token, name_token(NOW)));
            out.push(with_span_of(token, Token::Period));
            out.push(table);
            at += length - 1;
        } else {
            out.push(token.clone());
        }
        at += 1;
    }
    out
}

fn name_token(name: &str) -> Token {
    Token::Word(Word {
        value: name.to_owned(),
        quote_style: None,
        keyword: datafusion_sql::sqlparser::keywords::Keyword::NoKeyword,
    })
}

/// Number of tokens of `FOR SYSTEM_TIME AS OF PROCTIME()`, if it begins here.
fn proctime_length(rest: &[TokenWithSpan]) -> Option<usize> {
    let words = begin_with(rest, &["for", "system_time", "as", "of", "proctime"]);
    let call = is_token_at(rest, 5, &Token::LParen) && is_token_at(rest, 6, &Token::RParen);
    (words && call).then_some(7)
}

/// Turns these joins of a query into plain ones with a marked condition; returns refusals.
pub fn rewrite(query: &mut Query, file: usize) -> Vec<Mistake> {
    let mut walk = JoinRewrite { file, mistakes: Vec::new() };
    let _: ControlFlow<()> = query.walk_mut(&mut walk);
    walk.mistakes
}

struct JoinRewrite {
    file: usize,
    mistakes: Vec<Mistake>,
}

impl VisitorMut for JoinRewrite {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for item in &mut select.from {
            self.rewrite_chain(item);
        }
        ControlFlow::Continue(())
    }
}

impl JoinRewrite {
    fn rewrite_chain(&mut self, item: &mut TableWithJoins) {
        self.rewrite_first(&mut item.relation);
        for join in &mut item.joins {
            if let TableFactor::NestedJoin { .. } = join.relation {
                self.rewrite_first(&mut join.relation);
            }
            self.rewrite_join(join);
        }
    }

    /// Rewrites the first table of a chain of joins, which has no join operator.
    fn rewrite_first(&mut self, factor: &mut TableFactor) {
        let at = factor.span().start;
        if let TableFactor::NestedJoin { table_with_joins, .. } = factor {
            self.rewrite_chain(table_with_joins);
        } else if let TableFactor::Table { name, .. } = factor
            && take_now(name)
        {
            self.refuse(
                (at.line, at.column),
                "FOR SYSTEM_TIME AS OF PROCTIME() stands at the right of a join",
                "write FROM stream JOIN dim FOR SYSTEM_TIME AS OF PROCTIME() AS d ON ...",
            );
        }
    }

    fn rewrite_join(&mut self, join: &mut Join) {
        let at = join.relation.span().start;
        let at = (at.line, at.column);
        if let TableFactor::Table { name, .. } = &mut join.relation
            && take_now(name)
        {
            match &mut join.join_operator {
                JoinOperator::Join(JoinConstraint::On(on))
                | JoinOperator::Inner(JoinConstraint::On(on))
                | JoinOperator::Left(JoinConstraint::On(on))
                | JoinOperator::LeftOuter(JoinConstraint::On(on)) => self.mark_condition(LOOKUP, on, at),
                _ => self.refuse(
                    at,
                    "FOR SYSTEM_TIME AS OF PROCTIME() needs JOIN or LEFT JOIN with ON",
                    "write stream JOIN dim FOR SYSTEM_TIME AS OF PROCTIME() AS d ON stream.k = d.k",
                ),
            }
            return;
        }
        let JoinOperator::AsOf { match_condition, constraint } = &join.join_operator else { return };
        let (mut condition, outer) = match outer_of(match_condition) {
            Some(inner) => (inner, true),
            None => (match_condition.clone(), false),
        };
        self.mark_condition(ASOF, &mut condition, at);
        let on = match constraint {
            JoinConstraint::On(on) => JoinConstraint::On(Expr::BinaryOp {
                left: Box::new(Expr::Nested(Box::new(on.clone()))),
                op: BinaryOperator::And,
                right: Box::new(condition),
            }),
            JoinConstraint::None => JoinConstraint::On(condition),
            _ => return self.refuse(at, "ASOF JOIN takes its equalities in ON", "write ON a.k = b.k"),
        };
        join.join_operator = if outer { JoinOperator::Left(on) } else { JoinOperator::Inner(on) };
    }

    /// Puts a call of `mark` around an expression.
    fn mark_condition(&mut self, mark: &str, expr: &mut Expr, at: (u64, u64)) {
        // The tokens of the call have no spans, because they do not stand in the file.
        let tokens = vec![name_token(mark), Token::LParen, name_token("x"), Token::RParen];
        match Parser::new(&PostgreSqlDialect {}).with_tokens(tokens).parse_expr() {
            Ok(mut call) => {
                if let Some(argument) = first_argument(&mut call) {
                    std::mem::swap(argument, expr);
                    *expr = call;
                }
            }
            Err(error) => self.refuse(at, &format!("internal: {error}"), "write a plain JOIN"),
        }
    }

    fn refuse(&mut self, (line, column): (u64, u64), message: &str, hint: &str) {
        self.mistakes.push(Mistake::new(Pos { file: self.file, line, column }, message).hint(hint));
    }
}

/// First argument of a call.
fn first_argument(call: &mut Expr) -> Option<&mut Expr> {
    let Expr::Function(function) = call else { return None };
    let FunctionArguments::List(list) = &mut function.args else { return None };
    match list.args.first_mut() {
        Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))) => Some(argument),
        _ => None,
    }
}

/// Argument of a call of [`OUTER`]; None for another expression.
fn outer_of(condition: &Expr) -> Option<Expr> {
    let mut call = condition.clone();
    let outer = matches!(&call, Expr::Function(f) if f.name.to_string() == OUTER);
    if outer { first_argument(&mut call).cloned() } else { None }
}

/// Removes the qualifier [`NOW`] from a table's name; returns true if it was there.
fn take_now(name: &mut ObjectName) -> bool {
    let first = name.0.first().and_then(ObjectNamePart::as_ident);
    let now = name.0.len() == 2 && is_named(first, NOW);
    if now {
        name.0.remove(0);
    }
    now
}
