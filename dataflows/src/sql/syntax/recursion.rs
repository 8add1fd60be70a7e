//! WITH RECURSIVE: the two terms of a recursive common table, each planned as a query of its own.
//!
//! A common table that reads itself is taken out of the query before it is planned. Its first term is planned
//! alone and gives the columns. The second is planned where the table's name stands for the rows of the round
//! before, which are a table of the catalogue meanwhile. In the query itself a table stands for the whole, and
//! [`crate::sql::lower`] makes it one relation. So every pass sees plain queries over plain tables, and no type is
//! changed unseen: where the terms differ in one, the query is refused, as it is by PostgreSQL.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_expr::logical_plan::LogicalPlan;
use datafusion_sql::sqlparser::ast::{
    Cte, Ident, ObjectName, Query, SelectItem, SetExpr, SetOperator, SetQuantifier, Spanned, Visit, Visitor,
    With,
};
use datafusion_sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::{Span, Tokenizer};

use crate::functions::types::herald_type;
use crate::sql::ast::Pos;
use crate::sql::catalog::Catalog;
use crate::sql::diagnostics::error::Mistake;
use crate::sql::diagnostics::site::Site;
use crate::sql::diagnostics::site::place;
use crate::sql::parse::cursor::fold;
use crate::sql::query;

/// A recursive common table, planned.
#[derive(Debug)]
pub(crate) struct Recursion {
    /// Its name.
    pub name: String,
    /// Its columns.
    pub schema: SchemaRef,
    /// The rows it begins with.
    pub base: LogicalPlan,
    /// Plan of the rows that follow from those of a round.
    pub step: LogicalPlan,
    /// The table that stands for those rows in `step`.
    pub round: String,
    /// UNION, not UNION ALL.
    pub distinct: bool,
    /// Where the second term reads it.
    pub pos: Pos,
}

/// Form of a recursive table, as a remedy.
const FORM: &str = "write the rows it begins with, then UNION or UNION ALL, then a SELECT that reads it once";

/// The query with its recursive common tables planned and replaced by tables of the catalogue.
///
/// # Errors
/// What is wrong with one of them, at its place.
pub(crate) fn planned(catalog: &Catalog, query: &Query, site: Site) -> Result<Query, Vec<Mistake>> {
    let mut query = query.clone();
    let Some(with) = query.with.as_mut().filter(|with| with.recursive) else { return Ok(query) };
    with.recursive = false;
    for at in 0..with.cte_tables.len() {
        let name = name_of(&with.cte_tables[at]);
        if reads(&with.cte_tables[at].query, &name).is_empty() {
            continue;
        }
        let visible = With { cte_tables: with.cte_tables[..at].to_vec(), ..with.clone() };
        let whole = Arc::new(recursion(catalog, (visible, &with.cte_tables[at]), site)?);
        let schema = Arc::clone(&whole.schema);
        let table = catalog.add_recursion(&name, schema, Some(whole));
        with.cte_tables[at] = stands_for(&with.cte_tables[at], &table, site)?;
    }
    Ok(query)
}

/// Refuses recursion in a question, which is answered by another engine.
pub(crate) fn refused(query: &Query, site: Site) -> Vec<Mistake> {
    struct Find(Vec<Span>);
    impl Visitor for Find {
        type Break = ();

        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            self.0.extend(of(query));
            ControlFlow::Continue(())
        }
    }
    let mut find = Find(vec![]);
    let _ = query.visit(&mut find);
    let hint = "CREATE MATERIALIZED VIEW name AS WITH RECURSIVE ... in the topology, and query that";
    let mistakes = find.0.into_iter().map(|span| {
        Mistake::new(place(span, site.file, site.pos), "WITH RECURSIVE stands in views, not in a question")
            .hint(hint)
    });
    mistakes.collect()
}

/// Where the first common table of a query's own WITH RECURSIVE that reads itself is named.
pub(crate) fn of(query: &Query) -> Option<Span> {
    let with = query.with.as_ref().filter(|with| with.recursive)?;
    let recursive = with.cte_tables.iter().find(|cte| !reads(&cte.query, &name_of(cte)).is_empty())?;
    Some(recursive.alias.name.span)
}

fn name_of(cte: &Cte) -> String {
    fold(&cte.alias.name.value, cte.alias.name.quote_style)
}

/// Where a relation of that name is read.
fn reads(node: &impl Visit, name: &str) -> Vec<Span> {
    struct Find<'a>(&'a str, Vec<Span>);
    impl Visitor for Find<'_> {
        type Break = ();

        fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
            if let [part] = relation.0.as_slice()
                && part.as_ident().is_some_and(|i| fold(&i.value, i.quote_style) == self.0)
            {
                self.1.push(relation.span());
            }
            ControlFlow::Continue(())
        }
    }
    let mut find = Find(name, vec![]);
    let _ = node.visit(&mut find);
    find.1
}

/// A common table that is a table of the catalogue.
fn stands_for(cte: &Cte, table: &str, site: Site) -> Result<Cte, Vec<Mistake>> {
    let text = format!("SELECT * FROM \"{}\"", table.replace('"', "\"\""));
    let dialect = PostgreSqlDialect {};
    // Tokens without places: the user wrote none of them.
    let tokens = Tokenizer::new(&dialect, &text).tokenize();
    let parsed = tokens.map_err(|e| e.to_string()).and_then(|tokens| {
        Parser::new(&dialect).with_tokens(tokens).parse_query().map_err(|e| e.to_string())
    });
    let mut cte = cte.clone();
    cte.query = parsed.map_err(|message| vec![Mistake::new(site.pos, message)])?;
    cte.alias.columns.clear();
    Ok(cte)
}

/// The terms of a recursive table's UNION.
struct Terms<'a> {
    base: &'a SetExpr,
    step: &'a SetExpr,
    distinct: bool,
    /// Where the second reads the table.
    pos: Pos,
}

fn terms<'a>(cte: &'a Cte, name: &str, site: Site) -> Result<Terms<'a>, Mistake> {
    let at = |span: Span| place(span, site.file, site.pos);
    let query = &cte.query;
    let union = match query.body.as_ref() {
        SetExpr::SetOperation { op: SetOperator::Union, set_quantifier, left, right } => {
            Some((set_quantifier, left.as_ref(), right.as_ref()))
        }
        _ => None,
    };
    let Some((quantifier, base, step)) = union else {
        let pos = reads(query, name).first().map_or(site.pos, |span| at(*span));
        return Err(Mistake::new(pos, format!("{name} reads itself, but is no UNION")).hint(FORM));
    };
    if let Some(span) = reads(base, name).first() {
        let message = format!("{name} is read where its rows begin: in the first term of its UNION");
        return Err(Mistake::new(at(*span), message).hint(FORM));
    }
    if query.order_by.is_some() || query.limit_clause.is_some() || query.fetch.is_some() {
        let message = format!("{name} is recursive, and has an ORDER BY, LIMIT or OFFSET of its own");
        let hint = format!("put it behind the query that reads {name}");
        return Err(Mistake::new(at(cte.alias.name.span), message).hint(hint));
    }
    let reads = reads(step, name);
    if let Some(second) = reads.get(1) {
        let message = format!("{name} reads itself twice");
        let hint = format!("a round may read the one before once: join {name} with itself where it is done");
        return Err(Mistake::new(at(*second), message).hint(hint));
    }
    let pos = reads.first().map_or(site.pos, |span| at(*span));
    let distinct = matches!(quantifier, SetQuantifier::None | SetQuantifier::Distinct);
    Ok(Terms { base, step, distinct, pos })
}

fn recursion(catalog: &Catalog, (visible, cte): (With, &Cte), site: Site) -> Result<Recursion, Vec<Mistake>> {
    let name = name_of(cte);
    let terms = terms(cte, &name, site).map_err(|mistake| vec![mistake])?;
    let term = |body: &SetExpr, with: With, names: &[String]| {
        let mut inner = cte.query.as_ref().clone();
        *inner.body = body.clone();
        call(&mut inner.body, names);
        if with.cte_tables.is_empty() {
            return inner;
        }
        // What the table's own WITH names stands within what is named before it.
        let inner = match inner.with {
            Some(_) => Box::new(SetExpr::Query(Box::new(inner))),
            None => inner.body,
        };
        Query { with: Some(with), body: inner, ..cte.query.as_ref().clone() }
    };
    let own: Vec<String> =
        cte.alias.columns.iter().map(|c| fold(&c.name.value, c.name.quote_style)).collect();
    let base = query::part(catalog, &term(terms.base, visible.clone(), &own), site)?;
    let mut schema = columns(cte, &base, site).map_err(|mistake| vec![mistake])?;
    if terms.distinct {
        comparable(&name, &schema, terms.pos).map_err(|mistake| vec![mistake])?;
    }
    let own: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    // A column has a NULL only where a term gives one, be it because the round before has one.
    loop {
        let round = catalog.add_recursion(&name, Arc::clone(&schema), None);
        let mut with = visible.clone();
        with.cte_tables.push(stands_for(cte, &round, site)?);
        let step = query::part(catalog, &term(terms.step, with, &own), site)?;
        alike((&name, &schema), (&step, terms.step), site).map_err(|mistake| vec![mistake])?;
        let own = schema.fields().iter().zip(step.schema().fields());
        let own = own.map(|(field, other)| {
            field.as_ref().clone().with_nullable(field.is_nullable() || other.is_nullable())
        });
        let wider = Arc::new(Schema::new(own.collect::<Vec<_>>()));
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

/// Calls what a term selects without a name as the table does, so that no two columns have one name.
fn call(term: &mut SetExpr, names: &[String]) {
    match term {
        SetExpr::Select(select) if !select.projection.iter().any(is_wild) => {
            let given = |item: &SelectItem| match item {
                SelectItem::ExprWithAlias { alias, .. } => Some(fold(&alias.value, alias.quote_style)),
                _ => None,
            };
            let given: Vec<String> = select.projection.iter().filter_map(given).collect();
            for (item, name) in select.projection.iter_mut().zip(names) {
                if let SelectItem::UnnamedExpr(expr) = item
                    && !given.contains(name)
                {
                    let alias = Ident::with_quote('"', name);
                    *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
                }
            }
        }
        SetExpr::Query(query) => call(&mut query.body, names),
        SetExpr::SetOperation { left, right, .. } => {
            call(left, names);
            call(right, names);
        }
        _ => {}
    }
}

fn is_wild(item: &SelectItem) -> bool {
    matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..))
}

/// The columns of a recursive table: those of its first term, under the names it gives them.
fn columns(cte: &Cte, base: &LogicalPlan, site: Site) -> Result<SchemaRef, Mistake> {
    let (own, given) = (&cte.alias.columns, base.schema().fields());
    let pos = place(cte.alias.name.span, site.file, site.pos);
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
        let named = own.get(at).map(|column| fold(&column.name.value, column.name.quote_style));
        let name = named.unwrap_or_else(|| field.name().clone());
        if fields.iter().any(|known| *known.name() == name) {
            let message = format!("there are two columns called {name}");
            return Err(Mistake::new(pos, message).hint("name the columns: WITH RECURSIVE r (a, b) AS (...)"));
        }
        let of = herald_type(field.data_type()).unwrap_or_else(|| field.data_type().clone());
        let kept = field.metadata().iter().filter(|(key, _)| key.starts_with("herald."));
        let kept = kept.map(|(key, value)| (key.clone(), value.clone())).collect();
        fields.push(Field::new(name, of, field.is_nullable()).with_metadata(kept));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// Refuses rows that are equal without having equal bytes.
fn comparable(name: &str, schema: &Schema, pos: Pos) -> Result<(), Mistake> {
    let spelt = |field: &&Arc<Field>| {
        let of = schemas::sql_type(field);
        of.contains("JSONB") || of.contains("INTERVAL")
    };
    match schema.fields().iter().find(spelt) {
        None => Ok(()),
        Some(field) => {
            let of = schemas::sql_type(field);
            let message = format!("the UNION of {name} would compare {}, which is {of}", field.name());
            let hint = format!("use UNION ALL, or CAST({} AS VARCHAR) in both terms", field.name());
            Err(Mistake::new(pos, message).hint(hint))
        }
    }
}

/// Refuses a second term whose columns are not those of the first.
fn alike(
    (name, schema): (&str, &Schema),
    (step, term): (&LogicalPlan, &SetExpr),
    site: Site,
) -> Result<(), Mistake> {
    let (first, second) = (schema.fields(), step.schema().fields());
    let at = |span: Span| place(span, site.file, site.pos);
    if first.len() != second.len() {
        let message = format!("the terms of {name} have {} and {} columns", first.len(), second.len());
        return Err(Mistake::new(at(term.span()), message).hint("select the same columns in both"));
    }
    for (column, (one, other)) in first.iter().zip(second).enumerate() {
        let of = herald_type(other.data_type()).unwrap_or_else(|| other.data_type().clone());
        let (a, b) = (schemas::sql_type(one), schemas::sql_type(&other.as_ref().clone().with_data_type(of)));
        if a != b {
            let message =
                format!("the column {} of {name} is {a} in the first term and {b} in the second", one.name());
            let hint = format!("write CAST(... AS {b}) in the first, or CAST(... AS {a}) in the second");
            return Err(Mistake::new(at(item(term, column).unwrap_or(term.span())), message).hint(hint));
        }
    }
    Ok(())
}

/// Where a term selects a column, when it lists its columns.
fn item(term: &SetExpr, column: usize) -> Option<Span> {
    let select = match term {
        SetExpr::Select(select) => select,
        SetExpr::Query(query) => return item(&query.body, column),
        SetExpr::SetOperation { left, .. } => return item(left, column),
        _ => return None,
    };
    let items = &select.projection;
    (!items.iter().any(is_wild)).then(|| items.get(column).map(Spanned::span)).flatten()
}
