//! Planner of one query, from its syntax tree to an optimised logical plan.
//!
//! DataFusion's planner resolves names and types. It cannot correlate UNNESTs, so they are planned as
//! joins with a table of items and replaced by `Unnest` nodes before any rule moves a node.
//! Subqueries become joins next. The optimiser runs only rules whose results `lower` can express,
//! and none that uses statistics. Every column of every projection gets one of Herald's types.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion_common::config::ConfigOptions;
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};

use datafusion_common::metadata::FieldMetadata;
use datafusion_common::{
    Column, DFSchema, DataFusionError, ExprSchema, NullHandling, Result, TableReference, UnnestOptions,
    plan_err,
};
use datafusion_expr::logical_plan::{Join, LogicalPlan, LogicalPlanBuilder, TableScan, Unnest};
use datafusion_expr::{Expr, lit};
use datafusion_optimizer::common_subexpr_eliminate::CommonSubexprEliminate;
use datafusion_optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion_optimizer::eliminate_duplicated_expr::EliminateDuplicatedExpr;
use datafusion_optimizer::eliminate_outer_join::EliminateOuterJoin;
use datafusion_optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion_optimizer::optimize_unions::OptimizeUnions;
use datafusion_optimizer::push_down_filter::PushDownFilter;
use datafusion_optimizer::{Analyzer, Optimizer, OptimizerContext, OptimizerRule};
use datafusion_sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use datafusion_sql::sqlparser::ast as sql;

use super::catalog::{self, Catalog, RelSource};
use super::diagnostics::site::Site;
use super::diagnostics::{explain_error, unsupported};
use super::logical::constant_folding::FoldConstants;
use super::logical::joins::{firsts, subquery, temporal, using};
use super::logical::rewrite::recompute_all_schemas;
use super::logical::types::{coerce, intervals, jsonb, meaning};
use super::logical::{dependents, fence, filtered, global_aggregate, multiset, now, repeated};
use super::parse::query::unnest::{self, UnnestUse};
use super::parse::tokens::fold_ident;
use super::syntax::{constants, lambda, recursion, sugar, times};
use super::{lower, trial};
use crate::functions::sets::ordinality;
use crate::functions::types::herald_type;
use crate::mistake::{Mistake, Pos};
use crate::plan::{RelId, Scalar};

/// Optimiser rule in a list of rules.
type SharedRule = Arc<dyn OptimizerRule + Send + Sync>;

/// Plans and optimises a query.
///
/// # Errors
/// Every refusal, or the first planning error, with its position.
pub(crate) fn plan(
    catalog: &Catalog,
    query: &sql::Query,
    site: Site,
) -> std::result::Result<LogicalPlan, Vec<Mistake>> {
    plan_query(catalog, query, site, QueryKind::View)
}

/// Plans and optimises a query that is answered once; unlike a view's, it may have an ORDER BY.
///
/// # Errors
/// As [`plan`].
pub(crate) fn plan_answer(
    catalog: &Catalog,
    query: &sql::Query,
    site: Site,
) -> std::result::Result<LogicalPlan, Vec<Mistake>> {
    let refused = recursion::refuse_recursion(query, site);
    if !refused.is_empty() {
        return Err(refused);
    }
    plan_query(catalog, query, site, QueryKind::Answer)
}

/// Plans and optimises a part of a query. Its columns may share a name: the whole query names them.
///
/// # Errors
/// As [`plan`].
pub(crate) fn plan_part(
    catalog: &Catalog,
    query: &sql::Query,
    site: Site,
) -> std::result::Result<LogicalPlan, Vec<Mistake>> {
    plan_query(catalog, query, site, QueryKind::Part)
}

/// Plans and optimises the query of an INSERT, whose columns are known by their places.
///
/// # Errors
/// As [`plan`].
pub(crate) fn plan_insert(
    catalog: &Catalog,
    query: &sql::Query,
    site: Site,
) -> std::result::Result<LogicalPlan, Vec<Mistake>> {
    plan_query(catalog, query, site, QueryKind::Insert)
}

/// Relation that a scan reads, by its number in the catalogue.
///
/// # Errors
/// If the scan reads the items of an UNNEST.
pub(crate) fn scanned_relation(scan: &TableScan) -> Result<RelId> {
    match scan.source.downcast_ref::<RelSource>().and_then(|source| source.rel) {
        Some(rel) => Ok(rel),
        None => plan_err!("UNNEST needs a table to the left of it that holds the array"),
    }
}

/// Kind of a query that is planned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum QueryKind {
    /// The query of a view, whose columns must have distinct names.
    View,
    /// The query of an INSERT, whose columns may share a name.
    Insert,
    /// A part of a view's query.
    Part,
    /// A query that is answered once, in its order.
    Answer,
}

impl QueryKind {
    /// Rewrites the syntax sugar of a query of this kind.
    fn rewrite_sugar(self, query: &mut sql::Query) {
        let order = match self {
            QueryKind::Answer => query.order_by.take(),
            _ => None,
        };
        sugar::to_plain_calls(query);
        if let Some(mut order) = order {
            sugar::to_plain_calls(&mut order);
            query.order_by = Some(order);
        }
    }
}

/// Plans and optimises a query.
fn plan_query(
    catalog: &Catalog,
    query: &sql::Query,
    site: Site,
    kind: QueryKind,
) -> std::result::Result<LogicalPlan, Vec<Mistake>> {
    if catalog::reads_broken(catalog, query) {
        return Err(vec![]);
    }
    let view = matches!(kind, QueryKind::View | QueryKind::Insert);
    let refused = unsupported::refuse_query(query, site, view);
    if !refused.is_empty() {
        return Err(refused);
    }
    let query = recursion::plan_recursions(catalog, query, site, plan_part)?;
    let mut query = times::rewrite_times(&query, site)?;
    now::rewrite_conditions(&mut query);
    let query = &query;
    let failing = constants::failing_constants(catalog, query, site, constant_error);
    if !failing.is_empty() {
        return Err(failing);
    }
    // Item tables belong to one query: drop those of the query before.
    catalog.clear_items();
    let mut rewritten = query.clone();
    lambda::extract(catalog, &mut rewritten, site)?;
    let uses = unnest::extract(&mut rewritten, site.file, 0)?;
    kind.rewrite_sugar(&mut rewritten);
    register_uses(catalog, &uses, query, site)?;
    let tidy = |error: DataFusionError| vec![explain_error::explain_query(&error, catalog, query, site)];
    let (planned, names) = plan_as_written(catalog, rewritten, &uses).map_err(tidy)?;
    if kind == QueryKind::View {
        check_names(&names, query, site)?;
    }
    decorrelate_and_optimise(planned).map_err(tidy)
}

/// Plans a query as it is written: no type is coerced yet, and nothing optimised. Its parameters have no types.
///
/// # Errors
/// As [`plan`].
pub(crate) fn plan_uncoerced(
    catalog: &Catalog,
    query: &sql::Query,
    site: Site,
) -> std::result::Result<LogicalPlan, Vec<Mistake>> {
    let mut rewritten = times::rewrite_times(query, site)?;
    catalog.clear_items();
    lambda::extract(catalog, &mut rewritten, site)?;
    let uses = unnest::extract(&mut rewritten, site.file, 0)?;
    QueryKind::Answer.rewrite_sugar(&mut rewritten);
    register_uses(catalog, &uses, query, site)?;
    dependents::plan_with_dependents(catalog, rewritten, |query| plan_statement(catalog, query))
        .map_err(|error| vec![explain_error::explain_query(&error, catalog, query, site)])
}

/// Registers the table of items of each of the `uses` of UNNEST in `query`.
fn register_uses(
    catalog: &Catalog,
    uses: &[UnnestUse],
    query: &sql::Query,
    site: Site,
) -> std::result::Result<(), Vec<Mistake>> {
    for item in uses {
        let Err(error) = register_items(catalog, item, uses) else { continue };
        let here = Site { pos: item.pos, ..site };
        let mistake = explain_error::explain_query(&error, catalog, query, here);
        if item.nested && mistake.message.starts_with("nothing in sight") {
            let message = "UNNEST in a subquery of an expression takes an array of the subquery's own tables";
            let hint = "write it in FROM: FROM t, UNNEST(t.items) AS i";
            return Err(vec![Mistake::new(item.pos, message).hint(hint)]);
        }
        return Err(vec![mistake]);
    }
    Ok(())
}

/// Plans a query with its UNNESTs and with PostgreSQL's types; returns the names of its columns, too.
fn plan_as_written(
    catalog: &Catalog,
    query: sql::Query,
    uses: &[UnnestUse],
) -> Result<(LogicalPlan, Vec<String>)> {
    let planned = dependents::plan_with_dependents(catalog, query, |query| plan_statement(catalog, query))?;
    let names = repeated::written_names(&planned)?;
    // Types are coerced by PostgreSQL's rules before DataFusion's analyser, whose rules are wider, sees them.
    let planned = put_back(catalog, planned, uses)
        .and_then(using::merge_columns)
        .and_then(multiset::number_rows)
        .and_then(jsonb::plan)
        .and_then(coerce::plan)?;
    Ok((planned, names))
}

/// Makes the subqueries of a plan joins, settles its types and optimises it.
///
/// # Errors
/// If a rule fails.
pub(crate) fn decorrelate_and_optimise(planned: LogicalPlan) -> Result<LogicalPlan> {
    let analyzed = firsts::admit_correlated(planned).and_then(analyze).and_then(now::assign_clocks)?;
    let joined = subquery::decorrelate(analyzed)?;
    // Fences and guards go in last, right before the rules that they restrain.
    let fenced = settle_types(joined)
        .and_then(intervals::by_value)
        .and_then(jsonb::canonical_keys)
        .and_then(temporal::extract_joins)
        .and_then(filtered::guard_arguments)
        .and_then(fence::add_fences)?;
    global_aggregate::optimise_apart(fenced, &optimise_by_rules)
}

/// Plans an expression over the columns of one relation, and casts it to `target` if given.
///
/// # Errors
/// As [`plan`].
pub(crate) fn plan_expression(
    catalog: &Catalog,
    expr: &sql::Expr,
    over: (&str, &Schema),
    target: Option<&DataType>,
    site: Site,
) -> std::result::Result<Scalar, Vec<Mistake>> {
    let refused = unsupported::refuse_expr(expr, site);
    if !refused.is_empty() {
        return Err(refused);
    }
    let expr = &times::rewrite_times(expr, site)?;
    let failing = constants::failing_constants(catalog, expr, site, constant_error);
    if !failing.is_empty() {
        return Err(failing);
    }
    let mut plain = expr.clone();
    lambda::extract(catalog, &mut plain, site)?;
    plan_column(catalog, plain, over, target)
        .map_err(|e| vec![explain_error::explain_expr(&e, expr, over.1, site)])
}

/// Plans an expression as a column over those of a relation, of type `target` if given.
fn plan_column(
    catalog: &Catalog,
    plain: sql::Expr,
    over: (&str, &Schema),
    target: Option<&DataType>,
) -> Result<Scalar> {
    let schema = over.1;
    let (scalar, _) = planned_over(catalog, plain, over)?;
    trial::evaluate_column(&scalar, schema)?;
    let Some(target) = target else { return Ok(scalar) };
    let found = scalar.data_type(schema)?;
    if !arrow::compute::can_cast_types(&found, target) {
        let (f, t) = (Field::new("", found, true), Field::new("", target.clone(), true));
        return plan_err!(
            "the expression is of type {}, not {}",
            schemas::sql_type(&f),
            schemas::sql_type(&t)
        );
    }
    lower::cast(scalar, target, schema)
}

/// Plans the expression of a lambda over the columns of `schema`; returns its item field in an array, too.
///
/// # Errors
/// If it cannot be planned.
pub(crate) fn plan_lambda_body(expr: &sql::Expr, schema: &Schema) -> Result<(Scalar, Field)> {
    let (catalog, mut expr) = (Catalog::default(), expr.clone());
    extract_lambdas(&catalog, &mut expr)?;
    planned_over(&catalog, expr, ("herald_item", schema))
}

/// Registers the lambdas of an expression without a position.
fn extract_lambdas(catalog: &Catalog, expr: &mut sql::Expr) -> Result<()> {
    let nowhere = Site { file: 0, pos: Pos { file: 0, line: 0, column: 0 } };
    let Err(mistakes) = lambda::extract(catalog, expr, nowhere) else { return Ok(()) };
    let message = match mistakes.into_iter().next() {
        Some(mistake) => mistake.message,
        None => String::new(),
    };
    plan_err!("{message}")
}

/// Plans an expression over the columns of a relation called `name`; returns its item field in an array, too.
fn planned_over(
    catalog: &Catalog,
    mut plain: sql::Expr,
    (name, schema): (&str, &Schema),
) -> Result<(Scalar, Field)> {
    let schema = Arc::new(schema.clone());
    let source = Arc::new(RelSource::of(Some(0), Arc::clone(&schema)));
    let named = DFSchema::try_from_qualified_schema(name, &schema)?;
    sugar::to_plain_calls(&mut plain);
    let planned = SqlToRel::new_with_options(catalog, parser_options()).sql_to_expr(
        plain,
        &named,
        &mut PlannerContext::new(),
    )?;
    let planned = coerce::expression(jsonb::expression(planned, &named)?, &named)?;
    let scan = LogicalPlanBuilder::scan(name, source, None)?.project([planned.alias("value")])?.build()?;
    let LogicalPlan::Projection(p) =
        optimise(settle_types(scan).and_then(intervals::by_value)?, vec![Arc::new(FoldConstants)])?
    else {
        return plan_err!("the expression could not be planned");
    };
    let field = lower::item_field(p.schema.field(0));
    Ok((lower::lower_scalar(&p.expr[0], p.input.schema())?, field))
}

/// Value of a constant expression, as an array of one row.
///
/// # Errors
/// The reason why it has none, as a message.
pub(crate) fn constant_value(expr: &sql::Expr) -> std::result::Result<ArrayRef, String> {
    value(&Catalog::default(), expr).map_err(evaluation_message)
}

/// Reason why a constant cannot be evaluated, in a sentence.
pub(crate) fn evaluation_message(error: DataFusionError) -> String {
    let message = super::diagnostics::text::clean_message(&error.strip_backtrace());
    message.trim_start_matches("Execution error: ").to_owned()
}

/// Error of evaluating a constant. None if it cannot be planned: planning its query reports that.
pub(crate) fn constant_error(catalog: &Catalog, expr: &sql::Expr) -> Option<DataFusionError> {
    let scalar = constant_scalar(catalog, expr).ok()?;
    one_value(&scalar).err()
}

/// Value of a constant expression.
///
/// # Errors
/// If it cannot be planned or has none.
pub(crate) fn value(catalog: &Catalog, expr: &sql::Expr) -> Result<ArrayRef> {
    one_value(&constant_scalar(catalog, expr)?)
}

/// Plans a constant expression.
fn constant_scalar(catalog: &Catalog, expr: &sql::Expr) -> Result<Scalar> {
    let schema = DFSchema::empty();
    let mut plain = expr.clone();
    extract_lambdas(catalog, &mut plain)?;
    sugar::to_plain_calls(&mut plain);
    let value = SqlToRel::new_with_options(catalog, parser_options()).sql_to_expr(
        plain,
        &schema,
        &mut PlannerContext::new(),
    )?;
    let value = coerce::expression(jsonb::expression(value, &schema)?, &schema)?;
    let planned = LogicalPlanBuilder::empty(true).project([value])?.build()?;
    match settle_types(planned)? {
        LogicalPlan::Projection(p) if !p.expr.is_empty() => lower::lower_scalar(&p.expr[0], &schema),
        _ => plan_err!("the expression could not be planned"),
    }
}

/// Evaluates a scalar over one row without columns.
fn one_value(scalar: &Scalar) -> Result<ArrayRef> {
    let row = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &row)?;
    scalar.evaluate(&row)
}

fn parser_options() -> ParserOptions {
    ParserOptions::new().with_collect_spans(true).with_map_string_types_to_utf8view(false)
}

fn plan_statement(catalog: &Catalog, query: sql::Query) -> Result<LogicalPlan> {
    SqlToRel::new_with_options(catalog, parser_options())
        .sql_statement_to_plan(sql::Statement::Query(Box::new(query)))
}

/// Finds the type of an UNNEST's list and registers the table of its items.
fn register_items(catalog: &Catalog, item: &UnnestUse, uses: &[UnnestUse]) -> Result<()> {
    let mut probe = item.probe.clone();
    sugar::to_plain_calls(&mut probe);
    let probe = coerce::plan(jsonb::plan(put_back(catalog, plan_statement(catalog, probe)?, uses)?)?)?;
    let field = settle_types(probe)?.schema().field(0).clone();
    let alias = alias_of(item);
    let item_field = match herald_type(field.data_type()) {
        Some(DataType::List(item)) => item,
        _ => return plan_err!("UNNEST needs an array, and {} is {}", item.arg, schemas::sql_type(&field)),
    };
    let mut fields: Vec<Field> = match item_field.data_type() {
        DataType::Struct(fields) => fields.iter().map(|f| f.as_ref().clone().with_nullable(true)).collect(),
        _ => vec![item_field.as_ref().clone().with_name(&alias).with_nullable(true)],
    };
    if item.numbered {
        fields.push(Field::new(ordinality::ORDINALITY, DataType::Int64, true));
    }
    catalog.add_items(&item.table, Arc::new(Schema::new(fields)));
    Ok(())
}

fn alias_of(item: &UnnestUse) -> String {
    fold_ident(&item.alias)
}

/// Replaces every join with an item table by an `Unnest` node over the list.
fn put_back(catalog: &Catalog, plan: LogicalPlan, uses: &[UnnestUse]) -> Result<LogicalPlan> {
    if uses.is_empty() {
        return Ok(plan);
    }
    // Subqueries are searched, too: each reader of a common table has its own copy of the table's plan.
    recompute_all_schemas(plan.transform_up_with_subqueries(|node| replace_join(catalog, node, uses))?)
}

/// Replaces a node by an `Unnest` node if it is a join with the item table of one of the `uses`.
fn replace_join(
    catalog: &Catalog,
    node: LogicalPlan,
    uses: &[UnnestUse],
) -> Result<Transformed<LogicalPlan>> {
    if let LogicalPlan::Join(join) = &node
        && let Some(table) = item_table(&join.right)
        && let Some(item) = uses.iter().find(|item| item.table == table)
    {
        return unnest_join(catalog, join, item).map(Transformed::yes);
    }
    Ok(Transformed::no(node))
}

/// Name of the item table that is a join's right side, if it is one.
fn item_table(plan: &LogicalPlan) -> Option<&str> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => item_table(&alias.input),
        // An alias with column names renames the items.
        LogicalPlan::Projection(p) => item_table(&p.input),
        LogicalPlan::TableScan(scan) => Some(scan.table_name.table()),
        _ => None,
    }
}

/// `Unnest` node in place of a join with an item table, with the columns of the join.
fn unnest_join(catalog: &Catalog, join: &Join, item: &UnnestUse) -> Result<LogicalPlan> {
    let left = join.left.schema();
    let planner = SqlToRel::new_with_options(catalog, parser_options());
    let mut arg = item.arg.clone();
    sugar::to_plain_calls(&mut arg);
    let mut list = planner.sql_to_expr(arg, left, &mut PlannerContext::new())?;
    if item.numbered {
        list = ordinality::function().call(vec![list]);
    }
    let mut columns: Vec<Expr> = left.columns().into_iter().map(Expr::Column).collect();
    let column = Column::from_name(&item.table);
    let with_list = columns.iter().cloned().chain([list.alias(&item.table)]);
    let input = LogicalPlanBuilder::from(join.left.as_ref().clone()).project(with_list)?.build()?;
    let null_handling = if item.outer { NullHandling::PreserveAndExpandEmpty } else { NullHandling::Drop };
    let options = UnnestOptions { null_handling, recursions: vec![] };
    let unnest = Unnest::try_new(Arc::new(input), vec![column.clone()], options)?;
    let of = unnest.schema.field_from_column(&column)?.data_type().clone();
    // The columns of the join's right side name the items' fields in their order, and tell which are JSONB:
    // an Unnest node keeps the items' type only.
    let values = item_values(Expr::Column(column), &of, item.numbered);
    for (value, (table, field)) in values.into_iter().zip(join.right.schema().iter()) {
        let table = match table {
            Some(table) => table.clone(),
            None => TableReference::bare(alias_of(item)),
        };
        let metadata = FieldMetadata::from(field.metadata());
        let metadata = (!metadata.is_empty()).then_some(metadata);
        columns.push(value.alias_qualified_with_metadata(Some(table), field.name(), metadata));
    }
    LogicalPlanBuilder::from(LogicalPlan::Unnest(unnest)).project(columns)?.build()
}

/// Values of an unnested item: its fields, or the item itself; then its number, if it is numbered.
fn item_values(item: Expr, of: &DataType, numbered: bool) -> Vec<Expr> {
    match of {
        DataType::Struct(pair) if numbered => {
            let mut values = item_values(field_of(&item, ordinality::ITEM), pair[0].data_type(), false);
            values.push(field_of(&item, ordinality::ORDINALITY));
            values
        }
        DataType::Struct(fields) => fields.iter().map(|field| field_of(&item, field.name())).collect(),
        _ => vec![item],
    }
}

/// Field of a struct.
fn field_of(of: &Expr, name: &str) -> Expr {
    datafusion_functions::core::get_field().call(vec![of.clone(), lit(name)])
}

/// Applies the optimiser rules for a view's query.
fn optimise_by_rules(plan: LogicalPlan) -> Result<LogicalPlan> {
    let rules: Vec<SharedRule> = vec![
        Arc::new(OptimizeUnions::new()),
        Arc::new(FoldConstants),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(EliminateDuplicatedExpr::new()),
        Arc::new(EliminateCrossJoin::new()),
        Arc::new(EliminateOuterJoin::new()),
        Arc::new(PushDownFilter::new()),
        Arc::new(CommonSubexprEliminate::new()),
    ];
    optimise(plan, rules)
}

/// Applies `rules` until the plan no longer changes, at most 8 times.
///
/// # Errors
/// If a rule fails.
pub(crate) fn optimise(plan: LogicalPlan, rules: Vec<SharedRule>) -> Result<LogicalPlan> {
    let context = OptimizerContext::new()
        .without_query_execution_start_time()
        .with_skip_failing_rules(false)
        .with_max_passes(8);
    Optimizer::with_rules(rules).optimize(plan, &context, |_, _| {})
}

fn analyze(plan: LogicalPlan) -> Result<LogicalPlan> {
    Analyzer::new().execute_and_check(plan, &ConfigOptions::new(), |_, _| {})
}

/// Coerces types and replaces casts by PostgreSQL's conversions until the plan no longer changes.
fn settle_types(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut plan = analyze(plan)?;
    // Each pass settles at least one level; unions and joins may then ask for another coercion.
    for _ in 0..8 {
        let meant = meaning::plan(plan)?;
        plan = meant.data;
        if !meant.transformed {
            columns_are_held(&plan)?;
            return Ok(plan);
        }
        plan = analyze(plan)?;
    }
    plan_err!("the types of the query do not settle")
}

/// Refuses a column of a type that Herald does not have.
fn columns_are_held(plan: &LogicalPlan) -> Result<()> {
    plan.apply(|node| {
        let LogicalPlan::Projection(p) = node else { return Ok(TreeNodeRecursion::Continue) };
        for (expr, field) in p.expr.iter().zip(p.schema.fields()) {
            if herald_type(field.data_type()).is_none() {
                return Err(lower::not_a_column(&expr.qualified_name().1, field.data_type()));
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// Refuses a result with two columns of the same name.
fn check_names(names: &[String], query: &sql::Query, site: Site) -> std::result::Result<(), Vec<Mistake>> {
    for (at, name) in names.iter().enumerate() {
        if names[..at].contains(name) {
            let pos = explain_error::second_column(query, name, site).unwrap_or(site.pos);
            let mistake = Mistake::new(pos, format!("there are two columns called {name}"));
            return Err(vec![mistake.hint("name one of them otherwise: expression AS name")]);
        }
    }
    Ok(())
}
