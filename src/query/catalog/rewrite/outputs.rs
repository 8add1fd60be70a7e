//! Names of output columns by PostgreSQL's rule.
//!
//! A column has its own name, a call that of its function, a cast that of what is cast or of the type, CASE
//! that of its ELSE; anything else is `?column?`. The query engine names columns by the text of their
//! expression, and takes no two of one name, so that outputs without a name get theirs before a query is
//! planned.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::sql::sqlparser::ast::{
    AccessExpr, Array, DataType, Expr, Ident, Query, Select, SelectItem, SelectItemQualifiedWildcardKind,
    SetExpr, TableFactor, TableWithJoins, TrimWhereField, UnaryOperator, Value,
};

use super::build::{folded, last_part, name_parts, quoted};
use super::expressions::builtin_name;
use super::scopes::is_hidden;

/// Name of a column for which the rule has none.
const UNNAMED: &str = "?column?";

/// Name that an expression suggests, and how strongly: a weak one gives way to that around it.
struct Suggestion {
    name: String,
    is_strong: bool,
}

fn strong(name: &str) -> Option<Suggestion> {
    Some(Suggestion { name: name.to_owned(), is_strong: true })
}

fn weak(name: &str) -> Option<Suggestion> {
    Some(Suggestion { name: name.to_owned(), is_strong: false })
}

/// Names of the output columns of a query, given those of its plan: `planned` are taken for what `*` stands
/// for.
pub fn output_names(query: &Query, planned: &[String]) -> Vec<String> {
    let items = output_items(&query.body);
    let mut names = planned.to_vec();
    let before = items.iter().position(is_wildcard).unwrap_or(items.len());
    for (name, item) in names.iter_mut().zip(&items[..before]) {
        *name = item_name(item);
    }
    if before < items.len() {
        let last = items.iter().rposition(is_wildcard).unwrap_or(before);
        for (name, item) in names.iter_mut().rev().zip(items[last + 1..].iter().rev()) {
            *name = item_name(item);
        }
    }
    names
}

/// Table and column that an output column is, unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Name of the table: that of its schema and its own, or its own alone.
    pub table: Vec<String>,
    /// Name of the column.
    pub column: String,
}

/// Origins of the output columns of a query, given the names of its plan; None for one that is computed, and
/// for all of a query that is not one SELECT from tables.
pub fn output_origins(query: &Query, planned: &[String]) -> Vec<Option<Origin>> {
    let mut origins = vec![None; planned.len()];
    let SetExpr::Select(select) = query.body.as_ref() else { return origins };
    let tables: Vec<(String, Vec<String>)> = select.from.iter().flat_map(named_tables).collect();
    let items = &select.projection;
    let wildcards = items.iter().filter(|item| is_wildcard(item)).count();
    let Some(widened) = (planned.len() + wildcards).checked_sub(items.len()) else { return origins };
    if wildcards > 1 || (wildcards == 1 && tables.len() != 1) {
        return origins;
    }
    let mut places = origins.iter_mut().zip(planned);
    for item in items {
        let count = if is_wildcard(item) { widened } else { 1 };
        for (origin, name) in places.by_ref().take(count) {
            *origin = item_origin(item, &tables, name);
        }
    }
    origins
}

/// Aliases and names of the tables in a part of FROM.
fn named_tables(source: &TableWithJoins) -> Vec<(String, Vec<String>)> {
    let factors = std::iter::once(&source.relation).chain(source.joins.iter().map(|join| &join.relation));
    let tables = factors.filter_map(|factor| match factor {
        TableFactor::Table { name, alias, args: None, .. } => {
            let parts = name_parts(name)?;
            let shown = alias.as_ref().map(|alias| folded(&alias.name)).or_else(|| parts.last().cloned())?;
            Some((shown, parts))
        }
        _ => None,
    });
    tables.collect()
}

/// Origin of an output column, which the plan calls `planned`.
fn item_origin(item: &SelectItem, tables: &[(String, Vec<String>)], planned: &str) -> Option<Origin> {
    let (table, column) = match item {
        SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => (None, planned.to_owned()),
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => match expr {
            Expr::Identifier(ident) => (None, folded(ident)),
            Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                [.., table, column] => (Some(folded(table)), folded(column)),
                _ => return None,
            },
            _ => return None,
        },
        SelectItem::ExprWithAliases { .. } => return None,
    };
    let found = match (table, tables) {
        (Some(table), tables) => &tables.iter().find(|(alias, _)| *alias == table)?.1,
        (None, [(_, only)]) => only,
        (None, _) => return None,
    };
    Some(Origin { table: found.clone(), column })
}

/// The output columns of a query as written; of several SELECTs those of the first.
fn output_items(body: &SetExpr) -> &[SelectItem] {
    match body {
        SetExpr::Select(select) => &select.projection,
        SetExpr::Query(query) => output_items(&query.body),
        SetExpr::SetOperation { left, .. } => output_items(left),
        _ => &[],
    }
}

fn is_wildcard(item: &SelectItem) -> bool {
    matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..))
}

/// Name of an output column that is no wildcard.
fn item_name(item: &SelectItem) -> String {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => folded(alias),
        SelectItem::UnnamedExpr(expr) => expr_name(expr),
        _ => UNNAMED.to_owned(),
    }
}

/// Name of an output column without an alias.
fn expr_name(expr: &Expr) -> String {
    suggest(expr).map_or_else(|| UNNAMED.to_owned(), |suggestion| suggestion.name)
}

/// Gives the outputs of a SELECT names: those without one, and those whose name another has.
pub(super) fn name_outputs(select: &mut Select) {
    let mut taken = Taken::default();
    let wildcards: Vec<Option<String>> = select.projection.iter().filter_map(wildcard_table).collect();
    for item in &mut select.projection {
        match item {
            SelectItem::UnnamedExpr(expr) => {
                let name = expr_name(expr);
                if wildcards.iter().any(|table| stands_for(table.as_deref(), expr)) {
                    taken.names.insert(name.clone());
                }
                let free = taken.free_name(&name);
                let is_column =
                    matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) && !is_hidden(&name);
                if !is_column || free != name {
                    let expr = std::mem::replace(expr, Expr::value(Value::Null));
                    *item = SelectItem::ExprWithAlias { expr, alias: quoted(&free) };
                }
                taken.names.insert(free);
            }
            SelectItem::ExprWithAlias { alias, .. } => {
                let name = folded(alias);
                let free = taken.free_name(&name);
                if free != name {
                    *alias = quoted(&free);
                }
                taken.names.insert(free);
            }
            _ => {}
        }
    }
}

/// The table of a wildcard, None for `*` alone; nothing for an output that is no wildcard.
fn wildcard_table(item: &SelectItem) -> Option<Option<String>> {
    match item {
        SelectItem::Wildcard(_) => Some(None),
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
            Some(last_part(name))
        }
        _ => None,
    }
}

/// Tells whether the wildcard of a table, or of all, has a column that is asked for by its name, too.
fn stands_for(table: Option<&str>, expr: &Expr) -> bool {
    match (table, expr) {
        (None, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) => true,
        (Some(table), Expr::CompoundIdentifier(parts)) => match parts.as_slice() {
            [.., found, _] => folded(found) == table,
            _ => false,
        },
        _ => false,
    }
}

/// Names that outputs of a SELECT have.
#[derive(Default)]
struct Taken {
    names: BTreeSet<String>,
    /// Numbers that were last put behind names.
    numbers: BTreeMap<String, usize>,
}

impl Taken {
    /// A name that is not taken: with a number behind it if it is.
    fn free_name(&mut self, name: &str) -> String {
        if !self.names.contains(name) {
            return name.to_owned();
        }
        let number = self.numbers.entry(name.to_owned()).or_default();
        loop {
            *number += 1;
            let free = format!("{name}_{number}");
            if !self.names.contains(&free) {
                return free;
            }
        }
    }
}

/// Name that an expression suggests.
fn suggest(expr: &Expr) -> Option<Suggestion> {
    match expr {
        Expr::Identifier(ident) => strong(&folded(ident)),
        Expr::CompoundIdentifier(parts) => parts.last().and_then(|part| strong(&folded(part))),
        Expr::CompoundFieldAccess { root, access_chain } => {
            let field = access_chain.iter().rev().find_map(accessed_field);
            field.map_or_else(|| suggest(root), |field| strong(&folded(field)))
        }
        Expr::Nested(inner) => suggest(inner),
        Expr::Collate { expr, .. } => suggest(expr),
        Expr::Function(function) => last_part(&function.name).and_then(|name| strong(&name)),
        Expr::Cast { expr, data_type, .. } => match suggest(expr) {
            Some(found) if found.is_strong => Some(found),
            found => type_suggestion(data_type).or(found),
        },
        Expr::TypedString(typed) => type_suggestion(&typed.data_type),
        Expr::Case { else_result, .. } => match else_result.as_deref().and_then(suggest) {
            Some(found) if found.is_strong => Some(found),
            _ => weak("case"),
        },
        Expr::Subquery(query) => subquery_suggestion(query),
        Expr::UnaryOp { op: UnaryOperator::Plus, .. } => None,
        other => strong(keyword_name(other)?),
    }
}

/// Name by the keyword of an expression with a syntax of its own.
fn keyword_name(expr: &Expr) -> Option<&'static str> {
    Some(match expr {
        Expr::Array(Array { .. }) => "array",
        Expr::Exists { negated: false, .. } => "exists",
        Expr::Extract { .. } => "extract",
        Expr::Ceil { .. } => "ceil",
        Expr::Floor { .. } => "floor",
        Expr::Position { .. } => "position",
        Expr::Substring { .. } => "substring",
        Expr::Overlay { .. } => "overlay",
        Expr::Tuple(_) => "row",
        Expr::AtTimeZone { .. } => "timezone",
        Expr::Interval(_) => "interval",
        Expr::Trim { trim_where, .. } => match trim_where {
            Some(TrimWhereField::Leading) => "ltrim",
            Some(TrimWhereField::Trailing) => "rtrim",
            Some(TrimWhereField::Both) | None => "btrim",
        },
        _ => return None,
    })
}

/// The field of a composite value that is accessed.
fn accessed_field(access: &AccessExpr) -> Option<&Ident> {
    match access {
        AccessExpr::Dot(Expr::Identifier(field)) => Some(field),
        _ => None,
    }
}

fn type_suggestion(data_type: &DataType) -> Option<Suggestion> {
    weak(&builtin_name(data_type)?)
}

/// Name of a scalar subquery: that of its first output.
fn subquery_suggestion(query: &Query) -> Option<Suggestion> {
    match output_items(&query.body).first()? {
        SelectItem::ExprWithAlias { alias, .. } => strong(&folded(alias)),
        SelectItem::UnnamedExpr(expr) => strong(&expr_name(expr)),
        _ => None,
    }
}
