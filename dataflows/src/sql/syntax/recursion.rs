//! WITH RECURSIVE: planning of the two terms of a recursive common table, each as a separate query.
//!
//! A common table that reads itself is taken out of the query before planning. Its first term is planned
//! alone and gives the columns. For the second term, the table's name refers to the rows of the previous
//! round, a temporary table of the catalogue. In the query itself another table stands for the whole result,
//! and [`crate::sql::lower`] makes it one relation. So every pass sees plain queries over plain tables, and
//! no type changes silently: where the terms differ in a type, the query is refused, as by PostgreSQL.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_expr::logical_plan::LogicalPlan;
use datafusion_sql::sqlparser::ast::{
    Cte, Ident, ObjectName, Query, SelectItem, SetExpr, SetOperator, SetQuantifier, Spanned, Visit, Visitor,
    With,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use crate::functions::types::herald_type;
use crate::mistake::{Mistake, Pos};
use crate::sql::catalog::{Catalog, Recursion};
use crate::sql::diagnostics::site::Site;
use crate::sql::parse::query::unnest::parse_constant;
use crate::sql::parse::tokens::{fold_ident, is_named};
use crate::sql::parse::walk::Walk;

/// Hint that describes the form of a recursive table.
const FORM: &str = "write the rows it begins with, then UNION or UNION ALL, then a SELECT that reads it once";

/// Plans one term of a recursive table as a query of its own.
pub(crate) type TermPlanner = fn(&Catalog, &Query, Site) -> Result<LogicalPlan, Vec<Mistake>>;

/// Plans the recursive common tables of a query and replaces them with tables of the catalogue.
///
/// # Errors
/// The mistakes of the first faulty one, at their places.
pub(crate) fn plan_recursions(
    catalog: &Catalog,
    query: &Query,
    site: Site,
    plan_term: TermPlanner,
) -> Result<Query, Vec<Mistake>> {
    let mut query = query.clone();
    let Some(with) = query.with.as_mut().filter(|with| with.recursive) else { return Ok(query) };
    // Every recursive table is replaced below, so the planner sees a plain WITH.
    with.recursive = false;
    for at in 0..with.cte_tables.len() {
        let name = name_of(&with.cte_tables[at]);
        if find_reads(&with.cte_tables[at].query, &name).is_empty() {
            continue;
        }
        // A recursive table can read the ones before it, which are replaced already.
        let visible = With { cte_tables: with.cte_tables[..at].to_vec(), ..with.clone() };
        let whole = Arc::new(plan_recursion(catalog, (visible, &with.cte_tables[at]), site, plan_term)?);
        let schema = Arc::clone(&whole.schema);
        let table = catalog.add_recursion(&name, schema, Some(whole));
        with.cte_tables[at] = stands_for(&with.cte_tables[at], &table, site)?;
    }
    Ok(query)
}

/// Refuses recursion in an ad-hoc query, which another engine runs.
pub(crate) fn refuse_recursion(query: &Query, site: Site) -> Vec<Mistake> {
    struct Find(Vec<Span>);
    impl Visitor for Find {
        type Break = ();

        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            self.0.extend(recursive_name(query));
            ControlFlow::Continue(())
        }
    }
    let mut find = Find(vec![]);
    let _ = query.walk(&mut find);
    let mut refused = Vec::with_capacity(find.0.len());
    for span in find.0 {
        let message = "WITH RECURSIVE stands in views, not in a question";
        let hint = "CREATE MATERIALIZED VIEW name AS WITH RECURSIVE ... in the topology, and query that";
        refused.push(Mistake::new(site.place(span), message).hint(hint));
    }
    refused
}

/// Span of the name of the first common table in a query's own WITH RECURSIVE that reads itself.
pub(crate) fn recursive_name(query: &Query) -> Option<Span> {
    let with = query.with.as_ref().filter(|with| with.recursive)?;
    let recursive = with.cte_tables.iter().find(|cte| !find_reads(&cte.query, &name_of(cte)).is_empty())?;
    Some(recursive.alias.name.span)
}

fn name_of(cte: &Cte) -> String {
    fold_ident(&cte.alias.name)
}

/// Spans at which a relation of that name is read.
fn find_reads(node: &impl Visit, name: &str) -> Vec<Span> {
    struct Find<'a>(&'a str, Vec<Span>);
    impl Visitor for Find<'_> {
        type Break = ();

        fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
            if let [part] = relation.0.as_slice()
                && is_named(part.as_ident(), self.0)
            {
                self.1.push(relation.span());
            }
            ControlFlow::Continue(())
        }
    }
    let mut find = Find(name, vec![]);
    let _ = node.walk(&mut find);
    find.1
}

/// Replaces the query of a common table with a read of a table of the catalogue.
fn stands_for(cte: &Cte, table: &str, site: Site) -> Result<Cte, Vec<Mistake>> {
    let text = format!("SELECT * FROM \"{}\"", table.replace('"', "\"\""));
    let mut cte = cte.clone();
    cte.query = parse_constant(&text).map_err(|message| vec![Mistake::new(site.pos, message)])?;
    cte.alias.columns.clear();
    Ok(cte)
}

/// Terms of a recursive table's UNION.
struct Terms<'a> {
    base: &'a SetExpr,
    step: &'a SetExpr,
    distinct: bool,
    /// Position at which the second term reads the table.
    pos: Pos,
}

/// Splits the UNION of a recursive table into its terms, and refuses forms that Herald does not support.
fn split_terms<'a>(cte: &'a Cte, name: &str, site: Site) -> Result<Terms<'a>, Mistake> {
    let query = &cte.query;
    let union = match query.body.as_ref() {
        SetExpr::SetOperation { op: SetOperator::Union, set_quantifier, left, right } => {
            Some((set_quantifier, left.as_ref(), right.as_ref()))
        }
        _ => None,
    };
    let Some((quantifier, base, step)) = union else {
        let pos = site.place_first(&find_reads(query, name));
        return Err(Mistake::new(pos, format!("{name} reads itself, but is no UNION")).hint(FORM));
    };
    if let Some(span) = find_reads(base, name).first() {
        let message = format!("{name} is read where its rows begin: in the first term of its UNION");
        return Err(Mistake::new(site.place(*span), message).hint(FORM));
    }
    if query.order_by.is_some() || query.limit_clause.is_some() || query.fetch.is_some() {
        let message = format!("{name} is recursive, and has an ORDER BY, LIMIT or OFFSET of its own");
        let hint = format!("put it behind the query that reads {name}");
        return Err(Mistake::new(site.place(cte.alias.name.span), message).hint(hint));
    }
    let reads = find_reads(step, name);
    if let Some(second) = reads.get(1) {
        let message = format!("{name} reads itself twice");
        let hint = format!("a round may read the one before once: join {name} with itself where it is done");
        return Err(Mistake::new(site.place(*second), message).hint(hint));
    }
    let distinct = matches!(quantifier, SetQuantifier::None | SetQuantifier::Distinct);
    Ok(Terms { base, step, distinct, pos: site.place_first(&reads) })
}

/// A mistake that is the only one.
fn only(mistake: Mistake) -> Vec<Mistake> {
    vec![mistake]
}

/// Plans both terms of a recursive table; `visible` are the common tables before it.
fn plan_recursion(
    catalog: &Catalog,
    (visible, cte): (With, &Cte),
    site: Site,
    plan_term: TermPlanner,
) -> Result<Recursion, Vec<Mistake>> {
    let name = name_of(cte);
    let terms = split_terms(cte, &name, site).map_err(only)?;
    let own: Vec<String> = cte.alias.columns.iter().map(|column| fold_ident(&column.name)).collect();
    let base = plan_term(catalog, &term_query(cte, terms.base, visible.clone(), &own), site)?;
    let mut schema = table_columns(cte, &base, site).map_err(only)?;
    if terms.distinct {
        check_comparable(&name, &schema, terms.pos).map_err(only)?;
    }
    let own: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    // Fixpoint of nullability: a column is nullable if either term yields NULL, which for the second term may
    // depend on the previous round. Each pass only adds nullable columns, so it ends.
    loop {
        let round = catalog.add_recursion(&name, Arc::clone(&schema), None);
        let mut with = visible.clone();
        with.cte_tables.push(stands_for(cte, &round, site)?);
        let step = plan_term(catalog, &term_query(cte, terms.step, with, &own), site)?;
        check_columns((&name, &schema), (&step, terms.step), site).map_err(only)?;
        let mut fields = Vec::with_capacity(own.len());
        for (field, other) in schema.fields().iter().zip(step.schema().fields()) {
            let nullable = field.is_nullable() || other.is_nullable();
            fields.push(field.as_ref().clone().with_nullable(nullable));
        }
        let wider = Arc::new(Schema::new(fields));
        if wider == schema {
            return Ok(Recursion {
                name,
                schema,
                base,
                step,
                round,
                distinct: terms.distinct,
                pos: terms.pos,
            });
        }
        schema = wider;
    }
}

/// A term of a recursive table as a query of its own, which sees the tables of `with`.
fn term_query(cte: &Cte, body: &SetExpr, with: With, names: &[String]) -> Query {
    let mut inner = cte.query.as_ref().clone();
    *inner.body = body.clone();
    name_columns(&mut inner.body, names);
    if with.cte_tables.is_empty() {
        return inner;
    }
    // The table's own WITH is nested inside the one of the tables before it.
    let inner = match inner.with {
        Some(_) => Box::new(SetExpr::Query(Box::new(inner))),
        None => inner.body,
    };
    Query { with: Some(with), body: inner, ..cte.query.as_ref().clone() }
}

/// Names the unnamed columns of a term like those of the table, so that no two have the same name.
fn name_columns(term: &mut SetExpr, names: &[String]) {
    match term {
        SetExpr::Select(select) if !select.projection.iter().any(is_wild) => {
            let given: Vec<String> = select.projection.iter().filter_map(given_name).collect();
            for (item, name) in select.projection.iter_mut().zip(names) {
                if let SelectItem::UnnamedExpr(expr) = item
                    && !given.contains(name)
                {
                    let alias = Ident::with_quote('"', name);
                    *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
                }
            }
        }
        SetExpr::Query(query) => name_columns(&mut query.body, names),
        SetExpr::SetOperation { left, right, .. } => {
            name_columns(left, names);
            name_columns(right, names);
        }
        _ => {}
    }
}

/// Name that an item of a SELECT list is given with AS.
fn given_name(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(fold_ident(alias)),
        _ => None,
    }
}

fn is_wild(item: &SelectItem) -> bool {
    matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..))
}

/// Columns of a recursive table: those of its first term, renamed by its column list.
fn table_columns(cte: &Cte, base: &LogicalPlan, site: Site) -> Result<SchemaRef, Mistake> {
    let (own, given) = (&cte.alias.columns, base.schema().fields());
    let pos = site.place(cte.alias.name.span);
    if own.len() > given.len() {
        let message = format!(
            "{} names {} columns, and its first term gives {}",
            cte.alias.name,
            own.len(),
            given.len()
        );
        return Err(Mistake::new(pos, message).hint("name each column once"));
    }
    let mut fields: Vec<Field> = Vec::with_capacity(given.len());
    for (at, field) in given.iter().enumerate() {
        let name = match own.get(at) {
            Some(column) => fold_ident(&column.name),
            None => field.name().clone(),
        };
        if fields.iter().any(|known| *known.name() == name) {
            let message = format!("there are two columns called {name}");
            return Err(Mistake::new(pos, message).hint("name the columns: WITH RECURSIVE r (a, b) AS (...)"));
        }
        let mut kept = field.metadata().clone();
        kept.retain(|key, _| key.starts_with("herald."));
        let of = held_type(field.data_type());
        fields.push(Field::new(name, of, field.is_nullable()).with_metadata(kept));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// Herald's type for a column of a type, or that type if there is none.
fn held_type(of: &DataType) -> DataType {
    herald_type(of).unwrap_or_else(|| of.clone())
}

/// Refuses UNION over types whose equal values may have different bytes: JSONB and INTERVAL.
fn check_comparable(name: &str, schema: &Schema, pos: Pos) -> Result<(), Mistake> {
    for field in schema.fields() {
        let of = schemas::sql_type(field);
        if of.contains("JSONB") || of.contains("INTERVAL") {
            let message = format!("the UNION of {name} would compare {}, which is {of}", field.name());
            let hint = format!("use UNION ALL, or CAST({} AS VARCHAR) in both terms", field.name());
            return Err(Mistake::new(pos, message).hint(hint));
        }
    }
    Ok(())
}

/// Refuses a second term whose columns differ from the first in number or type.
fn check_columns(
    (name, schema): (&str, &Schema),
    (step, term): (&LogicalPlan, &SetExpr),
    site: Site,
) -> Result<(), Mistake> {
    let (first, second) = (schema.fields(), step.schema().fields());
    if first.len() != second.len() {
        let message = format!("the terms of {name} have {} and {} columns", first.len(), second.len());
        return Err(Mistake::new(site.place(term.span()), message).hint("select the same columns in both"));
    }
    for (column, (one, other)) in first.iter().zip(second).enumerate() {
        let of = held_type(other.data_type());
        let (a, b) = (schemas::sql_type(one), schemas::sql_type(&other.as_ref().clone().with_data_type(of)));
        if a != b {
            let message =
                format!("the column {} of {name} is {a} in the first term and {b} in the second", one.name());
            let hint = format!("write CAST(... AS {b}) in the first, or CAST(... AS {a}) in the second");
            let span = item_span(term, column).unwrap_or(term.span());
            return Err(Mistake::new(site.place(span), message).hint(hint));
        }
    }
    Ok(())
}

/// Span of a column in the SELECT list of a term; None if the list has a wildcard.
fn item_span(term: &SetExpr, column: usize) -> Option<Span> {
    let select = match term {
        SetExpr::Select(select) => select,
        SetExpr::Query(query) => return item_span(&query.body, column),
        SetExpr::SetOperation { left, .. } => return item_span(left, column),
        _ => return None,
    };
    if select.projection.iter().any(is_wild) {
        return None;
    }
    select.projection.get(column).map(Spanned::span)
}
