//! Parts of syntax trees: names, calls, literals and lambdas, built and taken apart.

use std::ops::ControlFlow;

use dataflows::sql::{walk_expr, walk_query};
use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    Array, ArrayElemTypeDef, BinaryOperator, CaseWhen, CastKind, DataType, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList, FunctionArguments, Ident, LambdaFunction,
    LambdaFunctionParameter, LambdaSyntax, ObjectName, ObjectNamePart, OneOrManyWithParens, OrderByExpr,
    Query, Select, SelectItem, SetExpr, Value, VisitorMut,
};

/// A name in double quotes, so that its case stays.
pub(super) fn quoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}

/// A name as the catalogue knows it: in lower case unless it is in quotes.
pub(super) fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// The parts of a name; None if one of them is no identifier.
pub(super) fn name_parts(name: &ObjectName) -> Option<Vec<String>> {
    name.0.iter().map(|part| part.as_ident().map(folded)).collect()
}

/// The last part of a name.
pub(super) fn last_part(name: &ObjectName) -> Option<String> {
    name.0.last().and_then(ObjectNamePart::as_ident).map(folded)
}

/// The name of a column, without what stands before it.
pub(super) fn column_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident) => Some(folded(ident)),
        Expr::CompoundIdentifier(parts) => parts.last().map(folded),
        Expr::Nested(inner) => column_name(inner),
        _ => None,
    }
}

/// The expression within parentheses.
pub(super) fn peeled(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => peeled(inner),
        other => other,
    }
}

/// Visits an expression and its parts, each after its own parts, but not those of queries within it.
pub(super) fn visit_outside_queries(expr: &mut Expr, visit: impl FnMut(&mut Expr)) {
    let _ = walk_expr(expr, &mut OutsideQueries { depth: 0, visit });
}

/// Visits the expressions of a query, each after its parts, but not those of queries within it.
pub(super) fn visit_own_expressions(query: &mut Query, visit: impl FnMut(&mut Expr)) {
    let _ = walk_query(query, &mut OutsideQueries { depth: -1, visit });
}

/// Walk that leaves queries aside.
struct OutsideQueries<F> {
    /// Depth of queries within what is visited.
    depth: i32,
    visit: F,
}

impl<F: FnMut(&mut Expr)> VisitorMut for OutsideQueries<F> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.depth == 0 {
            (self.visit)(expr);
        }
        ControlFlow::Continue(())
    }
}

/// The text of a literal, which may be cast to text, as values of parameters are.
pub(super) fn literal_text(expr: &Expr) -> Option<&str> {
    match peeled(expr) {
        Expr::Cast { expr, data_type: DataType::Varchar(None) | DataType::Text, .. } => literal_text(expr),
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// A literal of text.
pub(super) fn text_literal(text: &str) -> Expr {
    Expr::value(Value::SingleQuotedString(text.to_owned()))
}

/// A literal of a number.
pub(super) fn number_literal(number: i64) -> Expr {
    Expr::value(Value::Number(number.to_string(), false))
}

/// TRUE or FALSE.
pub(super) fn boolean_literal(value: bool) -> Expr {
    Expr::value(Value::Boolean(value))
}

/// A CASE of conditions with their results, and the result without any.
pub(super) fn case(branches: Vec<(Expr, Expr)>, otherwise: Expr) -> Expr {
    let conditions = branches.into_iter().map(|(condition, result)| CaseWhen { condition, result });
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: conditions.collect(),
        else_result: Some(Box::new(otherwise)),
    }
}

/// A column of a table.
pub(super) fn column_of(table: &str, column: &str) -> Expr {
    Expr::CompoundIdentifier(vec![quoted(table), quoted(column)])
}

/// Arguments of a call.
fn arguments(exprs: Vec<Expr>, clauses: Vec<FunctionArgumentClause>) -> FunctionArguments {
    let args = exprs.into_iter().map(|expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))).collect();
    FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses })
}

/// A call of a function.
pub(super) fn call(name: &str, exprs: Vec<Expr>) -> Expr {
    call_with(name, exprs, Vec::new())
}

/// A call of an aggregate over rows in an order.
pub(super) fn call_ordered(name: &str, expr: Expr, order: Vec<OrderByExpr>) -> Expr {
    let clauses = if order.is_empty() { Vec::new() } else { vec![FunctionArgumentClause::OrderBy(order)] };
    call_with(name, vec![expr], clauses)
}

fn call_with(name: &str, exprs: Vec<Expr>, clauses: Vec<FunctionArgumentClause>) -> Expr {
    Expr::Function(Function {
        name: ObjectName::from(Ident::new(name)),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: arguments(exprs, clauses),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// The rows of a query as an array, `ARRAY(SELECT ..)`.
pub(super) fn array_of(query: Query) -> Expr {
    let mut expr = call("array", Vec::new());
    if let Expr::Function(function) = &mut expr {
        function.args = FunctionArguments::Subquery(Box::new(query));
    }
    expr
}

/// The name of a function that an expression calls, without its schema.
pub(super) fn called_name(expr: &Expr) -> Option<String> {
    match peeled(expr) {
        Expr::Function(function) => last_part(&function.name),
        _ => None,
    }
}

/// The arguments of a call that are plain expressions.
pub(super) fn call_arguments(function: &Function) -> Vec<&Expr> {
    let FunctionArguments::List(list) = &function.args else { return Vec::new() };
    list.args.iter().filter_map(plain_argument).collect()
}

fn plain_argument(argument: &FunctionArg) -> Option<&Expr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    }
}

/// A cast to a type.
pub(super) fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None }
}

/// An array type of PostgreSQL.
pub(super) fn array_type(item: DataType) -> DataType {
    DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(item), None))
}

/// An array of expressions.
pub(super) fn array(elem: Vec<Expr>) -> Expr {
    Expr::Array(Array { elem, named: true })
}

/// NULL of a type.
pub(super) fn null_of(data_type: DataType) -> Expr {
    cast(Expr::value(Value::Null), data_type)
}

/// A function of one argument for the items of an array.
pub(super) fn lambda(parameter: &str, body: Expr) -> Expr {
    let parameter = LambdaFunctionParameter { name: quoted(parameter), data_type: None };
    let params = OneOrManyWithParens::One(parameter);
    Expr::Lambda(LambdaFunction { params, body: Box::new(body), syntax: LambdaSyntax::Arrow })
}

/// The parts of a conjunction, in their order.
pub(super) fn split_conjunction(expr: Expr, parts: &mut Vec<Expr>) {
    match expr {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            split_conjunction(*left, parts);
            split_conjunction(*right, parts);
        }
        Expr::Nested(inner) if matches!(inner.as_ref(), Expr::BinaryOp { op: BinaryOperator::And, .. }) => {
            split_conjunction(*inner, parts);
        }
        other => parts.push(other),
    }
}

/// The conjunction of parts; None of no parts.
pub(super) fn conjunction(parts: Vec<Expr>) -> Option<Expr> {
    parts.into_iter().map(|part| Expr::Nested(Box::new(part))).reduce(|left, right| Expr::BinaryOp {
        left: Box::new(left),
        op: BinaryOperator::And,
        right: Box::new(right),
    })
}

/// The SELECT of a query that is nothing else.
pub(super) fn plain_select(query: &Query) -> Option<&Select> {
    match query.body.as_ref() {
        SetExpr::Select(select) if query.with.is_none() => Some(select),
        _ => None,
    }
}

/// The SELECT of a query that is nothing else, to be changed.
pub(super) fn plain_select_mut(query: &mut Query) -> Option<&mut Select> {
    match query.body.as_mut() {
        SetExpr::Select(select) if query.with.is_none() => Some(select),
        _ => None,
    }
}

/// The expression of an output column.
pub(super) fn item_expr(item: &SelectItem) -> Option<&Expr> {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    }
}
