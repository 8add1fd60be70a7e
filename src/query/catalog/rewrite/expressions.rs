//! Expressions in PostgreSQL's forms: casts to its types, its operators, arrays as text, and calls of its
//! functions.

use datafusion::sql::sqlparser::ast::{
    AccessExpr, ArrayElemTypeDef, BinaryOperator, CharacterLength, DataType, ExactNumberInfo, Expr, Function,
    FunctionArguments, Ident, ObjectName, Subscript, TimezoneInfo, UnaryOperator, Value,
};

use super::build::{
    array, array_type, call, call_arguments, called_name, cast, column_name, folded, last_part, literal_text,
    number_literal, peeled, text_literal,
};
use super::scopes::{Scopes, is_hidden};
use crate::query::catalog::call::{EXPAND, SUBSCRIPTS};
use crate::query::catalog::functions::is_known;
use crate::query::catalog::lookups::{CAST, REFERENCE_NAME, REFERENCE_NAMES};
use crate::query::catalog::relations::column_type;
use crate::query::catalog::types::{is_reference, pg_name};

/// Rewrites an expression whose parts are rewritten.
pub(super) fn rewrite_expr(expr: &mut Expr) {
    let taken = std::mem::replace(expr, Expr::value(Value::Null));
    *expr = match taken {
        Expr::Collate { expr, .. } => *expr,
        Expr::Identifier(ident) if is_bare_function(&ident) => call(&folded(&ident), Vec::new()),
        Expr::Cast { expr: inner, data_type, kind, array, format } => rewrite_cast(&inner, &data_type)
            .unwrap_or(Expr::Cast { kind, expr: inner, data_type, array, format }),
        Expr::TypedString(typed) if reference_name(&typed.data_type).is_some() => {
            rewrite_cast(&Expr::Value(typed.value.clone()), &typed.data_type)
                .unwrap_or(Expr::TypedString(typed))
        }
        Expr::BinaryOp { left, op, right } => rewrite_operation(*left, op, *right),
        Expr::AnyOp { left, compare_op, right, .. } => {
            let right = array_operand(*right, &left);
            rewrite_any(left, plain_operator(compare_op), right)
        }
        Expr::AllOp { left, compare_op, right } => {
            let right = Box::new(array_operand(*right, &left));
            Expr::AllOp { left, compare_op: plain_operator(compare_op), right }
        }
        Expr::Like { negated, any, expr, pattern, escape_char: Some(escape) } => {
            match escape_text(&escape.value) {
                Some(text) if text != "\\" => {
                    let like = call("pg_like", vec![*expr, *pattern, text_literal(text)]);
                    negate(like, negated)
                }
                _ => Expr::Like { negated, any, expr, pattern, escape_char: Some(escape) },
            }
        }
        Expr::CompoundFieldAccess { root, access_chain } => rewrite_access(*root, access_chain),
        Expr::Function(function) => rewrite_call(function),
        other => other,
    };
}

/// The value of a column that every table of the catalogue has, as `xmin`, if an expression is one.
pub(super) fn hidden_column(expr: &Expr, scopes: &Scopes) -> Option<Expr> {
    let name = match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => {
            column_name(expr).filter(|name| is_hidden(name))?
        }
        _ => return None,
    };
    let found = scopes.relation_of(expr)?;
    Some(match name.as_str() {
        "ctid" => text_literal("(0,1)"),
        "tableoid" => call("pg_as_oid", vec![number_literal(i64::from(found.oid))]),
        _ => call("pg_as_xid", vec![number_literal(1)]),
    })
}

/// Rewrites an expression of a query over views: what is PostgreSQL's syntax alone goes.
pub(super) fn simplify_expr(expr: &mut Expr) {
    let taken = std::mem::replace(expr, Expr::value(Value::Null));
    *expr = match taken {
        Expr::Collate { expr, .. } => *expr,
        Expr::BinaryOp { left, op, right } if is_qualified(&op) => {
            let (left, right) = (nested(*left), nested(*right));
            Expr::Nested(Box::new(Expr::BinaryOp { left, op: plain_operator(op), right }))
        }
        Expr::AnyOp { left, compare_op, right, is_some } => {
            let right = Box::new(array_operand(*right, &left));
            Expr::AnyOp { left, compare_op: plain_operator(compare_op), right, is_some }
        }
        Expr::AllOp { left, compare_op, right } => {
            let right = Box::new(array_operand(*right, &left));
            Expr::AllOp { left, compare_op: plain_operator(compare_op), right }
        }
        Expr::Cast { expr, data_type: DataType::Array(item), .. }
            if literal_text(&expr).and_then(array_items).is_some() =>
        {
            simplify_array(&expr, item)
        }
        Expr::Cast { kind, expr, data_type, array, format } => {
            let data_type = match &data_type {
                DataType::Custom(name, _) if name.0.len() > 1 => {
                    builtin_name(&data_type).and_then(|name| engine_type(&name)).unwrap_or(data_type)
                }
                _ => data_type,
            };
            Expr::Cast { kind, expr, data_type, array, format }
        }
        Expr::Function(mut function) => {
            if function.name.0.len() > 1
                && let Some(name) = last_part(&function.name)
            {
                function.name = ObjectName::from(Ident::new(name));
            }
            Expr::Function(function)
        }
        other => other,
    };
}

/// An array that is written as text, as an array of items that are cast to their type.
fn simplify_array(text: &Expr, item: ArrayElemTypeDef) -> Expr {
    let items = literal_text(text).and_then(array_items).unwrap_or_default();
    let (ArrayElemTypeDef::SquareBracket(data_type, _) | ArrayElemTypeDef::AngleBracket(data_type)) = item
    else {
        return cast(text.clone(), DataType::Array(item));
    };
    let plain = match data_type.as_ref() {
        DataType::Custom(..) => builtin_name(&data_type).and_then(|name| engine_type(&name)),
        _ => None,
    };
    let data_type = plain.unwrap_or(*data_type);
    if items.is_empty() {
        return cast(array(Vec::new()), array_type(data_type));
    }
    array(items.iter().map(|item| cast(item_literal(item), data_type.clone())).collect())
}

/// Tells whether an operator is written with its schema: it binds in another way than the plain one.
fn is_qualified(op: &BinaryOperator) -> bool {
    matches!(op, BinaryOperator::PGCustomBinaryOperator(_))
}

/// An operand in parentheses, unless it is one word, a call or in parentheses already.
fn nested(operand: Expr) -> Box<Expr> {
    Box::new(match operand {
        Expr::Identifier(_)
        | Expr::CompoundIdentifier(_)
        | Expr::Value(_)
        | Expr::Function(_)
        | Expr::Nested(_)
        | Expr::Array(_)
        | Expr::Subquery(_) => operand,
        other => Expr::Nested(Box::new(other)),
    })
}

/// Tells whether a type is one that only the catalogue has.
pub(super) fn is_catalogue_type(data_type: &DataType) -> bool {
    builtin_name(data_type).is_some_and(|name| {
        is_reference(&name) || matches!(name.as_str(), "oid" | "xid" | "name" | "char" | "tid")
    })
}

fn negate(expr: Expr, negated: bool) -> Expr {
    if negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(expr) } } else { expr }
}

fn escape_text(value: &Value) -> Option<&str> {
    match value {
        Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text),
        _ => None,
    }
}

/// Name in `pg_type` of a type as it is written; None for a type that PostgreSQL does not have.
pub(super) fn builtin_name(data_type: &DataType) -> Option<String> {
    let name = match data_type {
        DataType::Custom(name, _) => {
            let unquoted = last_part(name)?;
            let is_quoted = name.0.last()?.as_ident()?.quote_style.is_some();
            return Some(if is_quoted { unquoted } else { pg_name(&unquoted).to_owned() });
        }
        DataType::Array(ArrayElemTypeDef::SquareBracket(item, _) | ArrayElemTypeDef::AngleBracket(item)) => {
            return builtin_name(item);
        }
        DataType::Boolean | DataType::Bool => "bool",
        DataType::SmallInt(_) | DataType::Int2(_) => "int2",
        DataType::Int(_) | DataType::Integer(_) | DataType::Int4(_) => "int4",
        DataType::BigInt(_) | DataType::Int8(_) => "int8",
        DataType::Real | DataType::Float4 => "float4",
        DataType::Float(_) | DataType::Float8 | DataType::Double(_) | DataType::DoublePrecision => "float8",
        DataType::Numeric(_) | DataType::Decimal(_) | DataType::Dec(_) => "numeric",
        DataType::Text => "text",
        DataType::Varchar(_) | DataType::CharacterVarying(_) | DataType::CharVarying(_) => "varchar",
        DataType::String(_) | DataType::Nvarchar(_) => "varchar",
        DataType::Char(_) | DataType::Character(_) => "bpchar",
        DataType::Bytea => "bytea",
        DataType::Date => "date",
        DataType::Time(_, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => "timetz",
        DataType::Time(..) => "time",
        DataType::Timestamp(_, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => "timestamptz",
        DataType::Timestamp(..) => "timestamp",
        DataType::Interval { .. } => "interval",
        DataType::Uuid => "uuid",
        DataType::JSON => "json",
        DataType::JSONB => "jsonb",
        DataType::Regclass => "regclass",
        DataType::Bit(_) => "bit",
        DataType::BitVarying(_) | DataType::VarBit(_) => "varbit",
        _ => return None,
    };
    Some(name.to_owned())
}

/// Name of a type whose values are OIDs that are shown as names.
fn reference_name(data_type: &DataType) -> Option<String> {
    builtin_name(data_type).filter(|name| is_reference(name))
}

/// The type of the engine for a builtin type's values; None for one that needs none of these.
pub(super) fn engine_type(name: &str) -> Option<DataType> {
    Some(match name {
        "bool" => DataType::Boolean,
        "int2" => DataType::SmallInt(None),
        "int4" | "cardinal_number" => DataType::Integer(None),
        "int8" | "cid" | "xid8" => DataType::BigInt(None),
        "float4" => DataType::Real,
        "float8" => DataType::DoublePrecision,
        "text" | "tid" | "xml" | "inet" | "cidr" | "macaddr" | "pg_lsn" | "aclitem" | "pg_node_tree" => {
            DataType::Text
        }
        "json" | "jsonb" | "uuid" | "cstring" | "int2vector" | "oidvector" | "unknown" | "bpchar" => {
            DataType::Text
        }
        "sql_identifier" | "character_data" | "yes_or_no" | "refcursor" => DataType::Text,
        "varchar" => DataType::Varchar(None),
        "numeric" => DataType::Numeric(ExactNumberInfo::None),
        "timestamp" => DataType::Timestamp(None, TimezoneInfo::None),
        "timestamptz" | "time_stamp" => DataType::Timestamp(None, TimezoneInfo::WithTimeZone),
        _ => return None,
    })
}

/// Tells whether values of a type are text.
fn is_text(name: &str) -> bool {
    matches!(name, "text" | "varchar" | "bpchar" | "name")
}

/// A cast in the engine's types; None if the cast can stay as it is.
fn rewrite_cast(inner: &Expr, data_type: &DataType) -> Option<Expr> {
    if let DataType::Array(ArrayElemTypeDef::SquareBracket(item, _)) = data_type {
        return rewrite_array_cast(inner, item);
    }
    let name = builtin_name(data_type)?;
    if is_text(&name) {
        if let Some(kind) = shown_as_name(inner) {
            return Some(call(REFERENCE_NAME, vec![text_literal(&kind), inner.clone()]));
        }
        let column = column_name(inner).and_then(|column| column_type(&column));
        if matches!(column, Some("int2vector" | "oidvector")) {
            return Some(call("pg_vector_text", vec![inner.clone()]));
        }
    }
    match (name.as_str(), data_type) {
        (
            "regclass" | "regtype" | "regproc" | "regprocedure" | "regnamespace" | "regrole" | "oid" | "xid"
            | "name" | "char",
            _,
        ) => Some(call(&format!("{CAST}{name}"), vec![inner.clone()])),
        ("regoper" | "regoperator" | "regconfig" | "regdictionary" | "regcollation", _) => {
            Some(call("pg_as_oid", vec![inner.clone()]))
        }
        (
            _,
            DataType::Varchar(Some(length))
            | DataType::CharacterVarying(Some(length))
            | DataType::CharVarying(Some(length)),
        ) => Some(shortened(inner.clone(), length)),
        (_, DataType::Numeric(_) | DataType::Decimal(_) | DataType::Dec(_)) => None,
        (name, _) => engine_type(name).map(|engine| cast(inner.clone(), engine)),
    }
}

/// Text cut to a length.
fn shortened(inner: Expr, length: &CharacterLength) -> Expr {
    let text = cast(inner, DataType::Text);
    match length {
        CharacterLength::IntegerLength { length, .. } => {
            let length = i64::try_from(*length).unwrap_or(i64::MAX);
            call("left", vec![text, number_literal(length)])
        }
        CharacterLength::Max => text,
    }
}

/// A cast to an array; None if it can stay as it is.
fn rewrite_array_cast(inner: &Expr, item: &DataType) -> Option<Expr> {
    let name = builtin_name(item)?;
    if is_reference(&name) {
        return Some(call(REFERENCE_NAMES, vec![text_literal(&name), inner.clone()]));
    }
    let engine = match name.as_str() {
        "oid" | "xid" => DataType::BigInt(None),
        "name" | "char" => DataType::Text,
        name => engine_type(name).unwrap_or_else(|| item.clone()),
    };
    let items = literal_text(inner).and_then(array_items);
    let value = items.map_or_else(|| inner.clone(), |items| array(items.iter().map(item_literal).collect()));
    Some(cast(value, array_type(engine)))
}

/// An item of an array as a literal.
fn item_literal(item: &Option<String>) -> Expr {
    item.as_deref().map_or_else(|| Expr::value(Value::Null), text_literal)
}

/// The kind of an OID that is shown as a name: by a cast, a function or a column of the catalogue.
fn shown_as_name(expr: &Expr) -> Option<String> {
    if let Some(column) = column_name(expr) {
        return column_type(&column).filter(|name| is_reference(name)).map(str::to_owned);
    }
    let name = called_name(expr)?;
    let kind = name.strip_prefix(CAST).or_else(|| name.strip_prefix("to_"))?;
    is_reference(kind).then(|| kind.to_owned())
}

/// The items of an array that is written as text, `{a,"b c",NULL}`; None if it is of several dimensions or no
/// array.
pub(super) fn array_items(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut items = Vec::new();
    let mut chars = inner.chars().peekable();
    if inner.trim().is_empty() {
        return Some(items);
    }
    loop {
        let mut item = String::new();
        let mut is_quoted = false;
        let mut within = false;
        loop {
            match chars.next() {
                Some('"') => (within, is_quoted) = (!within, true),
                Some('\\') => item.push(chars.next()?),
                Some(',') if !within => break,
                Some('{' | '}') if !within => return None,
                Some(c) if !within && c.is_whitespace() && (is_quoted || item.is_empty()) => {}
                Some(c) => item.push(c),
                None if within => return None,
                None => {
                    items.push(array_item(item, is_quoted));
                    return Some(items);
                }
            }
        }
        items.push(array_item(item, is_quoted));
    }
}

fn array_item(item: String, is_quoted: bool) -> Option<String> {
    if is_quoted {
        return Some(item);
    }
    let item = item.trim();
    (!item.eq_ignore_ascii_case("null")).then(|| item.to_owned())
}

/// The right side of ANY or ALL: an array where it is written as text, with the type of the left side.
fn array_operand(right: Expr, left: &Expr) -> Expr {
    let Some(items) = literal_text(&right).and_then(array_items) else { return right };
    let column = column_name(left).and_then(|column| column_type(&column));
    array_of_items(&items, !column.is_some_and(|name| matches!(name, "text" | "name" | "char" | "varchar")))
}

/// A comparison with any item of an array. Where an item may be NULL it is written as the opposite of one with all
/// items, which is the same: the query engine takes a NULL into account with ALL, but not with ANY.
fn rewrite_any(left: Box<Expr>, op: BinaryOperator, right: Expr) -> Expr {
    let opposite = match op {
        BinaryOperator::Eq => Some(BinaryOperator::NotEq),
        BinaryOperator::NotEq => Some(BinaryOperator::Eq),
        BinaryOperator::Lt => Some(BinaryOperator::GtEq),
        BinaryOperator::LtEq => Some(BinaryOperator::Gt),
        BinaryOperator::Gt => Some(BinaryOperator::LtEq),
        BinaryOperator::GtEq => Some(BinaryOperator::Lt),
        _ => None,
    };
    let holds_null = may_hold_null(&right);
    let right = Box::new(right);
    match opposite {
        Some(compare_op) if holds_null => {
            negate(Expr::Nested(Box::new(Expr::AllOp { left, compare_op, right })), true)
        }
        _ => Expr::AnyOp { left, compare_op: op, right, is_some: false },
    }
}

/// Tells whether an array has items that may be NULL. Those of the catalogue's columns never are.
fn may_hold_null(array: &Expr) -> bool {
    match peeled(array) {
        Expr::Cast { expr, .. } => may_hold_null(expr),
        Expr::Array(array) => !array.elem.iter().all(is_no_null),
        _ => false,
    }
}

/// Tells whether an expression is a literal other than NULL.
fn is_no_null(expr: &Expr) -> bool {
    match peeled(expr) {
        Expr::Cast { expr, .. } => is_no_null(expr),
        Expr::Value(value) => value.value != Value::Null,
        _ => false,
    }
}

/// An array of literals: of numbers, if all are and `may_be_numbers`.
fn array_of_items(items: &[Option<String>], may_be_numbers: bool) -> Expr {
    let numbers: Option<Vec<i64>> =
        items.iter().map(|item| item.as_deref().and_then(|item| item.parse().ok())).collect();
    match numbers {
        Some(numbers) if may_be_numbers && !numbers.is_empty() => {
            array(numbers.into_iter().map(number_literal).collect())
        }
        _ => cast(array(items.iter().map(item_literal).collect()), array_type(DataType::Text)),
    }
}

/// An operator in the engine's form, without its schema.
fn plain_operator(op: BinaryOperator) -> BinaryOperator {
    let BinaryOperator::PGCustomBinaryOperator(parts) = &op else { return op };
    match parts.last().map(String::as_str) {
        Some("~") => BinaryOperator::PGRegexMatch,
        Some("~*") => BinaryOperator::PGRegexIMatch,
        Some("!~") => BinaryOperator::PGRegexNotMatch,
        Some("!~*") => BinaryOperator::PGRegexNotIMatch,
        Some("~~") => BinaryOperator::PGLikeMatch,
        Some("!~~") => BinaryOperator::PGNotLikeMatch,
        Some("=") => BinaryOperator::Eq,
        Some("<>") => BinaryOperator::NotEq,
        Some("<") => BinaryOperator::Lt,
        Some("<=") => BinaryOperator::LtEq,
        Some(">") => BinaryOperator::Gt,
        Some(">=") => BinaryOperator::GtEq,
        Some("+") => BinaryOperator::Plus,
        Some("-") => BinaryOperator::Minus,
        Some("*") => BinaryOperator::Multiply,
        Some("/") => BinaryOperator::Divide,
        Some("||") => BinaryOperator::StringConcat,
        Some("@>") => BinaryOperator::AtArrow,
        Some("<@") => BinaryOperator::ArrowAt,
        Some("&&") => BinaryOperator::PGOverlap,
        _ => op,
    }
}

/// An operation; an array column is compared with an array, and a reference with that of a name.
fn rewrite_operation(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    let op = plain_operator(op);
    let right = operand_for(&left, right);
    let left = operand_for(&right, left);
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

/// A literal in the type of the column on the other side of an operator.
fn operand_for(column: &Expr, operand: Expr) -> Expr {
    let Some(type_name) = column_name(column).and_then(|name| column_type(&name)) else { return operand };
    let Some(text) = literal_text(&operand) else { return operand };
    let is_array = type_name.starts_with('_') || type_name.ends_with("vector");
    if is_array {
        let is_numbers = matches!(type_name, "int2vector" | "oidvector" | "_int2" | "_oid" | "_int4");
        return array_items(text).map_or_else(|| operand.clone(), |items| array_of_items(&items, is_numbers));
    }
    match type_name {
        "regclass" | "regtype" | "regproc" | "regnamespace" | "regrole" => {
            call(&format!("{CAST}{type_name}"), vec![operand])
        }
        _ => operand,
    }
}

/// Access to a field or an item. An `int2vector` counts its items from zero.
fn rewrite_access(root: Expr, mut chain: Vec<AccessExpr>) -> Expr {
    if let [AccessExpr::Dot(Expr::Identifier(field))] = chain.as_slice() {
        return rewrite_field(root, field);
    }
    let column = column_name(&root).and_then(|column| column_type(&column));
    if matches!(column, Some("int2vector" | "oidvector")) {
        for access in &mut chain {
            if let AccessExpr::Subscript(Subscript::Index { index }) = access {
                let one = Box::new(number_literal(1));
                let zero_based = std::mem::replace(index, Expr::value(Value::Null));
                let left = Box::new(Expr::Nested(Box::new(zero_based)));
                *index = Expr::BinaryOp { left, op: BinaryOperator::Plus, right: one };
            }
        }
    }
    Expr::CompoundFieldAccess { root: Box::new(root), access_chain: chain }
}

/// A field of a composite value. Those of `_pg_expandarray` are an item and its subscript.
fn rewrite_field(root: Expr, field: &Ident) -> Expr {
    if let Some(expanded) = expanded_array(&root) {
        match field.value.as_str() {
            "n" => return call("unnest", vec![call(SUBSCRIPTS, vec![expanded])]),
            "x" => return call("unnest", vec![expanded]),
            _ => {}
        }
    }
    call("get_field", vec![root, text_literal(&field.value)])
}

/// The array of `unnest(pg_expand(array))`.
fn expanded_array(expr: &Expr) -> Option<Expr> {
    let Expr::Function(outer) = peeled(expr) else { return None };
    let [Expr::Function(inner)] = call_arguments(outer)[..] else { return None };
    if last_part(&inner.name)? != EXPAND {
        return None;
    }
    call_arguments(inner).first().map(|array| (*array).clone())
}

/// Makes the table and the column of an access one name: `t.c[1]` is parsed as a field of `t`.
pub(super) fn join_names(expr: &mut Expr) {
    let Expr::CompoundFieldAccess { root, access_chain } = expr else { return };
    let Expr::Identifier(first) = root.as_ref() else { return };
    let mut names = vec![first.clone()];
    while let Some(AccessExpr::Dot(Expr::Identifier(name))) = access_chain.first() {
        names.push(name.clone());
        access_chain.remove(0);
    }
    if names.len() > 1 {
        **root = Expr::CompoundIdentifier(names);
    }
}

/// Names of functions that are called without parentheses.
const BARE: [&str; 6] =
    ["current_catalog", "current_role", "current_schema", "current_user", "session_user", "user"];

/// Tells whether a name that is no column is a function: the parser does not know all of them.
pub(super) fn is_bare_function(ident: &Ident) -> bool {
    ident.quote_style.is_none()
        && matches!(folded(ident).as_str(), "current_catalog" | "current_role" | "current_schema")
}

/// Functions that tell the time, which the query engine has as `now`: one query has one time.
const CLOCKS: [&str; 5] =
    ["clock_timestamp", "current_timestamp", "now", "statement_timestamp", "transaction_timestamp"];

/// Tells whether a function tells the time or the day.
pub(super) fn is_clock(name: &str) -> bool {
    CLOCKS.contains(&name) || name == "current_date"
}

/// A call without the schema of its function, and set-returning functions as `unnest` of an array.
fn rewrite_call(mut function: Function) -> Expr {
    let Some(name) = last_part(&function.name) else { return Expr::Function(function) };
    let is_qualified = function.name.0.len() > 1;
    if is_qualified || is_known(&name) {
        function.name = ObjectName::from(Ident::new(&name));
    }
    if BARE.contains(&name.as_str()) && matches!(function.args, FunctionArguments::None) {
        return call(&name, Vec::new());
    }
    let arguments: Vec<Expr> = call_arguments(&function).into_iter().cloned().collect();
    match name.as_str() {
        "_pg_expandarray" => call("unnest", vec![call(EXPAND, arguments)]),
        "generate_subscripts" => {
            call("unnest", vec![call(SUBSCRIPTS, arguments.into_iter().take(2).collect())])
        }
        "generate_series" => call("unnest", vec![Expr::Function(function)]),
        name if CLOCKS.contains(&name) => call("now", Vec::new()),
        _ => Expr::Function(function),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_read_from_text() {
        for (text, items) in [
            ("{r,v,\"\"}", Some(vec![Some("r"), Some("v"), Some("")])),
            (
                "{a, \"b, c\" ,NULL,\"null\",\\\"}",
                Some(vec![Some("a"), Some("b, c"), None, Some("null"), Some("\"")]),
            ),
            ("{}", Some(vec![])),
            ("{{1},{2}}", None),
            ("{\"a}", None),
            ("a", None),
        ] {
            let items = items.map(|items| {
                items.into_iter().map(|item| item.map(str::to_owned)).collect::<Vec<Option<String>>>()
            });
            assert_eq!(array_items(text), items, "{text}");
        }
    }
}
