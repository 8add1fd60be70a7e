//! Planner of a query over existing tables.
//!
//! `herald query` reads the views of a committed epoch. Its text goes through the same parser, refusals, type
//! coercion and conversions as a view's query, so that the same text gives the same rows in both. The result
//! is a logical plan whose leaves scan the tables by name; the caller supplies their rows and runs it. Each
//! scan is offered the conditions right above it, and asked for the columns that the query reads. Unlike a
//! view, such a query may sort its rows, and call `is_final`.
//!
//! A [`condition`] is evaluated by the process of the topology itself, over rows of a view on their way to a
//! subscriber. It has the types and the refusals of a CHECK, and only forms whose time and memory its own
//! length and the row's bound: no function can make much of little, and no subquery reads another view.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchema, ExprSchema, Result, TableReference};
use datafusion_expr::logical_plan::{Extension, Filter, LogicalPlan, Projection, TableScan};
use datafusion_expr::utils::{conjunction, split_conjunction_owned};
use datafusion_expr::{Expr, TableProviderFilterPushDown, TableSource};
use datafusion_optimizer::optimize_projections::OptimizeProjections;
use datafusion_optimizer::push_down_filter::replace_cols_by_name;
use datafusion_optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion_sql::parser::Statement;
use datafusion_sql::resolve::resolve_table_references;
use datafusion_sql::sqlparser::ast::{self, Spanned, Visitor};

use super::catalog::{Catalog, CatalogEntry};
use super::diagnostics::explain_error;
use super::diagnostics::site::Site;
use super::logical::fence_node::OptimizationFence;
use super::logical::rewrite;
use super::logical::types::parameters;
use super::parse::ast::Name;
use super::parse::query::unnest;
use super::parse::walk::Walk;
use super::{parse, query};
use crate::functions::number::checked::checked;
pub use crate::functions::planning::is_final::Finality;
use crate::functions::planning::is_final::{self, IS_FINAL};
use crate::mistake::{Mistake, Pos, SqlError, SqlFile};
use crate::plan::Scalar;

/// Bytes of stack to plan on: enough for the deepest text that `parse`'s bounds allow.
const STACK_BYTES: usize = 256 << 20;

/// Most bytes of a condition.
const MAX_CONDITION_BYTES: usize = 4096;
/// Most operators of a condition, which bound its depth; columns and constants do not count.
const MAX_CONDITION_PARTS: usize = 200;

/// Source of a table's rows, by the name in [`plan`]'s `tables`.
pub type Tables<'a> = dyn Fn(&str) -> Option<Arc<dyn TableSource>> + 'a;

/// Query with parameters, `$1`, `$2`.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Its text.
    pub text: &'a str,
    /// Values of the parameters as SQL, as `CAST('5' AS BIGINT)`; None for one that is not known.
    pub values: &'a [Option<String>],
}

/// Plans `text` over `tables` (names, as `view` or `schema.view`, with their columns); `finality` tells which
/// windows of the views among them are final.
///
/// # Errors
/// Every mistake in the text, in the order of their positions.
pub fn plan(
    text: &str,
    tables: &BTreeMap<String, SchemaRef>,
    rows: &Tables<'_>,
    finality: Finality,
) -> std::result::Result<LogicalPlan, Vec<SqlError>> {
    plan_bound(Question { text, values: &[] }, tables, rows, finality)
}

/// Plans a query with the values of its parameters over `tables`.
///
/// # Errors
/// As [`plan`].
pub fn plan_bound(
    question: Question<'_>,
    tables: &BTreeMap<String, SchemaRef>,
    rows: &Tables<'_>,
    finality: Finality,
) -> std::result::Result<LogicalPlan, Vec<SqlError>> {
    stacker::grow(STACK_BYTES, || plan_question(question, tables, rows, finality))
        .map_err(|found| in_query(found, question.text))
}

/// Types of the parameters of a query whose values are not known, by number from 1. One that no expression gives a
/// type is left out.
///
/// # Errors
/// As [`plan`].
pub fn parameter_types(
    question: Question<'_>,
    tables: &BTreeMap<String, SchemaRef>,
) -> std::result::Result<BTreeMap<usize, Field>, Vec<SqlError>> {
    stacker::grow(STACK_BYTES, || find_types(question, tables))
        .map_err(|found| in_query(found, question.text))
}

/// Number of parameters of a query: the greatest one that it names.
///
/// # Errors
/// As [`plan`].
pub fn parameter_count(text: &str) -> std::result::Result<usize, Vec<SqlError>> {
    parse::count_parameters(text).map_err(|mistake| in_query(vec![mistake], text))
}

/// Does work that walks the syntax tree of a query, on a stack as deep as planning has.
pub fn on_deep_stack<T>(work: impl FnOnce() -> T) -> T {
    stacker::grow(STACK_BYTES, work)
}

/// Names the file of mistakes in the text of a query.
fn in_query(found: Vec<Mistake>, text: &str) -> Vec<SqlError> {
    let file = SqlFile { name: "query".to_owned(), text: text.to_owned() };
    parse::name_mistakes(found, &[file])
}

/// Plans a condition with the values of its parameters over the columns of a view.
///
/// # Errors
/// Every mistake in the text, in the order of their positions.
pub fn condition(
    asked: Question<'_>,
    (view, schema): (&str, &Schema),
) -> std::result::Result<Scalar, Vec<SqlError>> {
    let planned = stacker::grow(STACK_BYTES, || plan_condition(asked, (view, schema)));
    planned.map_err(|found| {
        let file = SqlFile { name: "where".to_owned(), text: asked.text.to_owned() };
        parse::name_mistakes(found, &[file])
    })
}

/// Plans a condition, with its mistakes not yet named by file.
fn plan_condition(
    Question { text, values }: Question<'_>,
    (view, schema): (&str, &Schema),
) -> std::result::Result<Scalar, Vec<Mistake>> {
    let pos = Pos { file: 0, line: 1, column: 1 };
    if text.len() > MAX_CONDITION_BYTES {
        let message = format!("the condition has {} bytes, and {MAX_CONDITION_BYTES} at most", text.len());
        return Err(vec![Mistake::new(pos, message).hint(OWN_VIEW)]);
    }
    let expr = parse::parse_condition(text, values)?;
    let mut forms = ConditionForms { site: Site { file: 0, pos }, parts: 0, found: vec![] };
    let _ = expr.walk(&mut forms);
    if !forms.found.is_empty() {
        return Err(forms.found);
    }
    let scalar = query::plan_expression(&Catalog::default(), &expr, (view, schema), None, forms.site)?;
    match scalar.data_type(schema) {
        Ok(DataType::Boolean) => Ok(scalar),
        _ => {
            Err(vec![Mistake::new(pos, "this is not a condition").hint("write a comparison, such as n > 0")])
        }
    }
}

/// Remedy for a condition of other forms.
const OWN_VIEW: &str =
    "keep a view for it, CREATE MATERIALIZED VIEW name AS SELECT ... WHERE ..., and follow that";

/// Visitor that refuses the forms that a condition does not take.
struct ConditionForms {
    site: Site,
    parts: usize,
    found: Vec<Mistake>,
}

impl ConditionForms {
    fn refuse(&mut self, expr: &ast::Expr, message: &str) -> ControlFlow<()> {
        self.found.push(Mistake::new(self.site.place(expr.span()), message).hint(OWN_VIEW));
        ControlFlow::Break(())
    }
}

impl Visitor for ConditionForms {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
        use ast::Expr;
        match expr {
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_) | Expr::TypedString(_) => {
                return ControlFlow::Continue(());
            }
            Expr::BinaryOp { op, .. } if is_bounded(op) => {}
            Expr::UnaryOp { op: ast::UnaryOperator::Not | ast::UnaryOperator::Minus, .. }
            | Expr::UnaryOp { op: ast::UnaryOperator::Plus, .. }
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsTrue(_)
            | Expr::IsNotTrue(_)
            | Expr::IsFalse(_)
            | Expr::IsNotFalse(_)
            | Expr::IsDistinctFrom(..)
            | Expr::IsNotDistinctFrom(..)
            | Expr::InList { .. }
            | Expr::Between { .. }
            | Expr::Like { .. }
            | Expr::ILike { .. }
            | Expr::Nested(_)
            | Expr::Cast { .. }
            | Expr::Case { .. }
            | Expr::Interval(_)
            | Expr::CompoundFieldAccess { .. } => {}
            Expr::Function(_) => {
                return self.refuse(expr, "the condition of a subscriber calls no function");
            }
            _ => {
                let message = "the condition of a subscriber has comparisons, arithmetic, AND, OR, NOT, IN, \
                               BETWEEN, LIKE, IS, CASE and CAST alone";
                return self.refuse(expr, message);
            }
        }
        self.parts += 1;
        if self.parts > MAX_CONDITION_PARTS {
            return self.refuse(expr, "the condition has more than 200 operators");
        }
        ControlFlow::Continue(())
    }
}

/// Returns true for an operator whose result is no larger than its operands together.
fn is_bounded(op: &ast::BinaryOperator) -> bool {
    use ast::BinaryOperator as Op;
    matches!(
        op,
        Op::Plus
            | Op::Minus
            | Op::Multiply
            | Op::Divide
            | Op::Modulo
            | Op::StringConcat
            | Op::Arrow
            | Op::LongArrow
    ) || matches!(op, Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq | Op::And | Op::Or)
}

/// Names of the tables that `text` reads, as `name` or `schema.name`.
///
/// # Errors
/// Every mistake in the text, in the order of their positions.
pub fn references(text: &str) -> std::result::Result<Vec<String>, Vec<SqlError>> {
    let found = stacker::grow(STACK_BYTES, || find_tables(text));
    let tables = found.map_err(|found| in_query(found, text))?;
    Ok(tables.iter().filter(|table| !table.table().starts_with(unnest::TABLE)).map(full_name).collect())
}

/// Finds the tables that a query reads, with its mistakes not yet named by file.
fn find_tables(text: &str) -> std::result::Result<Vec<TableReference>, Vec<Mistake>> {
    let statement = Statement::Statement(Box::new(ast::Statement::Query(parse::parse_question(text)?)));
    match resolve_table_references(&statement, true) {
        Ok((tables, _)) => Ok(tables),
        Err(error) => {
            let pos = Pos { file: 0, line: 1, column: 1 };
            Err(vec![Mistake::new(pos, error.to_string())])
        }
    }
}

/// Name of a table: `name` or `schema.name`.
fn full_name(table: &TableReference) -> String {
    match table.schema() {
        Some("public") | None => table.table().to_owned(),
        Some(schema) => format!("{schema}.{}", table.table()),
    }
}

/// Place of a query that stands alone.
const SITE: Site = Site { file: 0, pos: Pos { file: 0, line: 1, column: 1 } };

/// Catalogue of tables, each of the number that it has among them.
fn catalog_of(tables: &BTreeMap<String, SchemaRef>, finality: Finality) -> Catalog {
    let mut catalog = Catalog::default();
    catalog.set_finality(finality);
    for (at, (name, schema)) in tables.iter().enumerate() {
        let name = Name { text: name.clone(), pos: SITE.pos };
        let known = Some((at, Arc::clone(schema)));
        catalog.add(CatalogEntry { known, name, unique: vec![], clock: vec![] });
    }
    catalog
}

/// Finds the types of parameters, with mistakes not yet named by file.
fn find_types(
    question: Question<'_>,
    tables: &BTreeMap<String, SchemaRef>,
) -> std::result::Result<BTreeMap<usize, Field>, Vec<Mistake>> {
    let mut query = parse::parse_bound(question.text, question.values)?;
    let (counts, arrays) = parameters::without_forms(&mut query);
    // Types do not depend on which windows are final.
    let catalog = catalog_of(tables, Finality::Never);
    let planned = query::plan_uncoerced(&catalog, &query, SITE)?;
    let mut types = parameters::planned_types(&planned)
        .map_err(|error| vec![explain_error::explain_query(&error, &catalog, &query, SITE)])?;
    for n in arrays {
        if let Some(field) = types.get_mut(&n) {
            *field = parameters::array_of(field);
        }
    }
    types.extend(counts.into_iter().map(|n| (n, Field::new("", DataType::Int64, true))));
    Ok(types)
}

/// Parses and plans a query, with its mistakes not yet named by file.
fn plan_question(
    question: Question<'_>,
    tables: &BTreeMap<String, SchemaRef>,
    rows: &Tables<'_>,
    finality: Finality,
) -> std::result::Result<LogicalPlan, Vec<Mistake>> {
    let query = parse::parse_bound(question.text, question.values)?;
    if finality == Finality::NoView {
        refuse_finality(&query, SITE)?;
    }
    let (catalog, site) = (catalog_of(tables, finality), SITE);
    let planned = query::plan_answer(&catalog, &query, site)?;
    let names: Vec<&String> = tables.keys().collect();
    to_runnable(planned, &|at| rows(names.get(at)?))
        .map_err(|error| vec![explain_error::explain_query(&error, &catalog, &query, site)])
}

/// Refuses calls of `is_final` in a query that names no view.
fn refuse_finality(query: &ast::Query, site: Site) -> std::result::Result<(), Vec<Mistake>> {
    let mut calls = FinalityCalls { site, found: vec![] };
    let _ = query.walk(&mut calls);
    if calls.found.is_empty() { Ok(()) } else { Err(calls.found) }
}

/// Visitor that refuses calls of `is_final`.
struct FinalityCalls {
    site: Site,
    found: Vec<Mistake>,
}

impl Visitor for FinalityCalls {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
        if let ast::Expr::Function(call) = expr
            && call.name.to_string().eq_ignore_ascii_case(IS_FINAL)
        {
            let message = "is_final() tells of the windows of the query's views, and the query names no view";
            let mistake = Mistake::new(self.site.place(call.name.span()), message);
            self.found.push(mistake.hint("read a view: SELECT ... FROM view WHERE is_final(window_end)"));
        }
        ControlFlow::Continue(())
    }
}

/// Makes a plan runnable by DataFusion's engine: scans get rows, and conditions and columns that they can use; fences
/// become filters, and arithmetic is checked. The fences have done their work by then: no condition moves any more,
/// but for those that a scan takes from the filter above it.
fn to_runnable(
    plan: LogicalPlan,
    rows: &dyn Fn(usize) -> Option<Arc<dyn TableSource>>,
) -> Result<LogicalPlan> {
    let plan = query::optimise(plan, vec![Arc::new(ReplaceDistinctWithAggregate::new())])?;
    let done = plan.transform_up(|node| match node {
        LogicalPlan::TableScan(scan) => scan_rows(scan, rows).map(Transformed::yes),
        LogicalPlan::Filter(filter) => offer_conditions(filter).map(Transformed::yes),
        LogicalPlan::Extension(extension) => replace_fence(extension),
        other => Ok(Transformed::no(other)),
    })?;
    let checked = rewrite::expressions(done.data, &|expr, schema| {
        Ok(match checked(expr.clone(), schema) {
            Some(checked) => Transformed::yes(checked),
            None => Transformed::no(expr),
        })
    })?;
    query::optimise(checked.data, vec![Arc::new(OptimizeProjections::new())])
}

/// Replaces a fence by its input, below a filter if it has a condition.
fn replace_fence(extension: Extension) -> Result<Transformed<LogicalPlan>> {
    match extension.node.as_any().downcast_ref::<OptimizationFence>() {
        Some(OptimizationFence { input, predicate: Some(predicate), .. }) => {
            let filter = Filter::try_new(predicate.clone(), Arc::new(input.clone()))?;
            Ok(Transformed::yes(LogicalPlan::Filter(filter)))
        }
        Some(fence) => Ok(Transformed::yes(fence.input.clone())),
        None => Ok(Transformed::no(LogicalPlan::Extension(extension))),
    }
}

/// Scan of a table's rows, with the scan's conditions in a filter above it, as far as the table does not take them.
fn scan_rows(
    mut scan: TableScan,
    rows: &dyn Fn(usize) -> Option<Arc<dyn TableSource>>,
) -> Result<LogicalPlan> {
    let rel = query::scanned_relation(&scan)?;
    let Some(source) = rows(rel) else {
        return datafusion_common::plan_err!("there is no view {}", scan.table_name);
    };
    scan.source = source;
    let filters = std::mem::take(&mut scan.filters);
    filtered_scan(scan, filters)
}

/// Offers the conditions of a filter right above a scan to its table, `is_final` as the comparison that it is.
fn offer_conditions(filter: Filter) -> Result<LogicalPlan> {
    match filter.input.as_ref() {
        LogicalPlan::TableScan(scan) => {
            let columns = &scan.projected_schema;
            let offered = filter.predicate.transform_up(|part| is_final::as_comparison(part, columns))?.data;
            filtered_scan(scan.clone(), split_conjunction_owned(offered))
        }
        LogicalPlan::Projection(projection)
            if matches!(projection.input.as_ref(), LogicalPlan::TableScan(_))
                && projection.expr.iter().all(|expr| is_plain(expr, projection.input.schema())) =>
        {
            offer_below(filter.predicate, projection)
        }
        _ => Ok(LogicalPlan::Filter(filter)),
    }
}

/// Offers the condition of a filter above columns of a scan to the scan's table: the optimiser takes a cast that
/// several comparisons have out of them.
fn offer_below(predicate: Expr, projection: &Projection) -> Result<LogicalPlan> {
    let mut columns = HashMap::new();
    for (column, expr) in projection.schema.columns().iter().zip(&projection.expr) {
        columns.insert(column.flat_name(), Box::new(expr.clone().unalias()));
    }
    let below = Filter::try_new(replace_cols_by_name(predicate, &columns)?, projection.input.clone())?;
    let input = Arc::new(offer_conditions(below)?);
    Projection::try_new_with_schema(projection.expr.clone(), input, projection.schema.clone())
        .map(LogicalPlan::Projection)
}

/// Returns true for a column, also for a whole number cast to BIGINT: they fail on no row, so that a filter may come
/// first.
fn is_plain(expr: &Expr, schema: &DFSchema) -> bool {
    match expr {
        Expr::Column(_) => true,
        Expr::Alias(alias) => is_plain(&alias.expr, schema),
        Expr::Cast(cast) => match cast.expr.as_ref() {
            Expr::Column(column) => {
                let whole =
                    schema.field_from_column(column).is_ok_and(|field| field.data_type().is_signed_integer());
                whole && *cast.field.data_type() == DataType::Int64
            }
            _ => false,
        },
        _ => false,
    }
}

/// A scan with the conditions that its table takes, below a filter with the others. Conditions that it took before
/// are offered again: which of them a table takes depends on all together.
fn filtered_scan(mut scan: TableScan, mut conditions: Vec<Expr>) -> Result<LogicalPlan> {
    conditions.append(&mut scan.filters);
    let offered: Vec<&Expr> = conditions.iter().collect();
    let support = scan.source.supports_filters_pushdown(&offered)?;
    let mut above = Vec::new();
    for (condition, support) in conditions.into_iter().zip(support) {
        if support != TableProviderFilterPushDown::Exact {
            above.push(condition.clone());
        }
        if support != TableProviderFilterPushDown::Unsupported {
            scan.filters.push(condition);
        }
    }
    let scan = LogicalPlan::TableScan(scan);
    Ok(match conjunction(above) {
        Some(predicate) => LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(scan))?),
        None => scan,
    })
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch, StringArray};
    use arrow::datatypes::Field;

    use super::*;

    fn schema() -> Schema {
        let field = |name: &str, of| Field::new(name, of, true);
        Schema::new(vec![field("player", DataType::Utf8), field("points", DataType::Int64)])
    }

    /// The rows of three for which a condition is true, or its first mistake.
    fn chosen(text: &str) -> std::result::Result<Vec<usize>, String> {
        chosen_by(Question { text, values: &[] })
    }

    fn chosen_by(asked: Question<'_>) -> std::result::Result<Vec<usize>, String> {
        let scalar = condition(asked, ("scores", &schema()))
            .map_err(|found| found.first().map(ToString::to_string).unwrap_or_default())?;
        let players = StringArray::from(vec!["anna", "ben", "o'neil"]);
        let points = Int64Array::from(vec![Some(3), Some(5), None]);
        let batch = RecordBatch::try_new(Arc::new(schema()), vec![Arc::new(players), Arc::new(points)])
            .map_err(|error| error.to_string())?;
        let found = scalar.evaluate_bool(&batch).map_err(|error| error.to_string())?;
        Ok((0..3).filter(|row| found.iter().nth(*row).flatten() == Some(true)).collect())
    }

    #[test]
    fn a_condition_compares_the_columns_of_a_view() {
        for (text, rows) in [
            ("points > 3", vec![1]),
            ("points IS NULL OR player = 'ben'", vec![1, 2]),
            ("player LIKE '%n%' AND NOT points IN (5, 6)", vec![0]),
            ("scores.points + 1 BETWEEN 4 AND 5.5", vec![0]),
            ("player IN ('o''neil', 'ben')", vec![1, 2]),
            ("CASE WHEN points > 4 THEN false ELSE player || 'x' = 'annax' END", vec![0]),
            ("CAST(points AS VARCHAR) = '5'", vec![1]),
            ("points IS DISTINCT FROM 3", vec![1, 2]),
            ("points > -1 AND points < DECIMAL '4.5'", vec![0]),
        ] {
            assert_eq!(chosen(text), Ok(rows), "{text}");
        }
    }

    #[test]
    fn a_condition_takes_the_values_of_its_parameters() {
        let values = [Some("CAST('4' AS BIGINT)".to_owned()), Some("'anna'".to_owned())];
        let asked = |text| chosen_by(Question { text, values: &values });
        assert_eq!(asked("points > $1"), Ok(vec![1]));
        assert_eq!(asked("points < $1 AND player = $2"), Ok(vec![0]));
    }

    #[test]
    fn a_condition_that_could_take_long_is_refused_with_its_place() {
        let long = format!("player = '{}'", "x".repeat(MAX_CONDITION_BYTES));
        let deep = format!("points = {}1", "1 + ".repeat(MAX_CONDITION_PARTS));
        let nested = format!("{}points{} > 1", "(".repeat(1500), ")".repeat(1500));
        for (text, told) in [
            (
                "repeat(player, 1000000000) = 'x'",
                "where:1:1: the condition of a subscriber calls no function",
            ),
            ("points > (SELECT 1)", "where:1:11: the condition of a subscriber has comparisons, "),
            ("points IN (SELECT 1)", "where:1:"),
            ("EXISTS (SELECT 1)", "where:1:"),
            ("player ~ 'a.*'", "where:1:1: the condition of a subscriber has comparisons, "),
            ("points > now()", "where:1:10: the condition of a subscriber calls no function"),
            ("points", "where:1:1: this is not a condition"),
            ("pionts > 1", "where:1:1: "),
            ("points > ", "where:1:"),
            ("points > 1; SELECT 1", "where:1:11: "),
            ("", "where:1:1: "),
            ("points > 'x'", "where:1:"),
            (&long, "where:1:1: the condition has "),
            (&deep, "where:1:10: the condition has more than 200 operators"),
            (&nested, "where:1:"),
        ] {
            let found = chosen(text).expect_err(text);
            assert!(found.starts_with(told), "{text}: {found}");
        }
    }
}
