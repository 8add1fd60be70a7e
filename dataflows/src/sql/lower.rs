//! Lowering of DataFusion's optimised logical plan to Herald's [`Plan`].
//!
//! Every node becomes one relation (or none) whose columns have the positions that the node's
//! schema gives them; expressions become [`Scalar`]s over those positions, with integer arithmetic
//! checked. A node without a counterpart is an error that names it: this is the last check, behind
//! [`super::diagnostics::unsupported`].

mod aggregate;
mod call;
pub(crate) mod frame;
mod grouping_sets;
pub(crate) mod join;
mod lookup;
mod recursive;
mod values;
pub(crate) mod window;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion_common::tree_node::{Transformed, TreeNode};

use datafusion_common::{DFSchema, DataFusionError, NullHandling, Result, ScalarValue, plan_err};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::logical_plan::{self as logical, Distinct, LogicalPlan};
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::utils::split_conjunction;
use datafusion_expr::{Expr, Operator};
use datafusion_physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, InListExpr, Literal, NegativeExpr,
};
use datafusion_physical_expr::utils::collect_columns;
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};

use super::catalog::{Recursion, RelSource};
use super::logical::fence_node::OptimizationFence;
use super::logical::joins::temporal::Temporal;
use super::logical::now;
use crate::functions::types::herald_type;
use crate::plan::analysis::fallible::fallible;
use crate::plan::{Edge, Op, Plan, Rel, RelId, Scalar, canonical};
use grouping_sets::Lowered;

/// Adds the relations of `logical` to `plan`, as part of the view `owner`.
pub(crate) fn lower(plan: &mut Plan, owner: &str, logical: &LogicalPlan) -> Result<RelId> {
    Lower { plan, owner, recursions: vec![], rounds: BTreeMap::new() }.lower_node(logical)
}

/// A physical expression over the columns of `schema`, integer arithmetic checked.
pub(crate) fn lower_scalar(expr: &Expr, schema: &DFSchema) -> Result<Scalar> {
    let planning = PhysicalPlanningContext::default();
    let physical = create_physical_expr(expr, schema, &ExecutionProps::new(), &planning)?;
    let checked = physical.transform_up(|e| adapt_physical(e, schema))?;
    Ok(Scalar::new(canonical::with_canonical_inputs(checked.data, schema.as_arrow())?))
}

/// Rewrites one physical expression so that its evaluation agrees with PostgreSQL's.
fn adapt_physical(e: Arc<dyn PhysicalExpr>, schema: &DFSchema) -> Result<Transformed<Arc<dyn PhysicalExpr>>> {
    if let Some(b) = e.downcast_ref::<BinaryExpr>() {
        let checked =
            BinaryExpr::new(Arc::clone(b.left()), *b.op(), Arc::clone(b.right())).with_fail_on_overflow(true);
        return Ok(Transformed::yes(Arc::new(checked) as Arc<dyn PhysicalExpr>));
    }
    if let Some(case) = e.downcast_ref::<CaseExpr>()
        && let Some(base) = case.expr()
    {
        return Ok(Transformed::yes(case_as_conditions(base, case)?));
    }
    if let Some(list) = e.downcast_ref::<InListExpr>()
        && list.list().iter().any(reads_columns)
    {
        return Ok(Transformed::yes(list_as_comparisons(list)));
    }
    if let Some(n) = e.downcast_ref::<NegativeExpr>() {
        let of = n.arg().data_type(schema.as_arrow())?;
        if of.is_integer() {
            // Negation wraps at the smallest integer; subtraction from zero is checked.
            let zero = Arc::new(Literal::new(ScalarValue::new_zero(&of)?));
            let checked =
                BinaryExpr::new(zero, Operator::Minus, Arc::clone(n.arg())).with_fail_on_overflow(true);
            return Ok(Transformed::yes(Arc::new(checked) as Arc<dyn PhysicalExpr>));
        }
    }
    Ok(Transformed::no(e))
}

/// Rewrites `CASE value WHEN ...` to a CASE of equality conditions. DataFusion does not evaluate the WHEN of
/// a NULL value; PostgreSQL does, and fails where it fails.
fn case_as_conditions(base: &Arc<dyn PhysicalExpr>, case: &CaseExpr) -> Result<Arc<dyn PhysicalExpr>> {
    let mut whens = Vec::with_capacity(case.when_then_expr().len());
    for (when, then) in case.when_then_expr() {
        let is = BinaryExpr::new(Arc::clone(base), Operator::Eq, Arc::clone(when));
        whens.push((Arc::new(is) as Arc<dyn PhysicalExpr>, Arc::clone(then)));
    }
    Ok(Arc::new(CaseExpr::try_new(None, whens, case.else_expr().cloned())?))
}

/// Rewrites an IN list to comparisons. DataFusion 55 evaluates the items over no row to find constants; a
/// CASE gives NULL there and then counts as a constant NULL.
fn list_as_comparisons(list: &InListExpr) -> Arc<dyn PhysicalExpr> {
    let (op, and) =
        if list.negated() { (Operator::NotEq, Operator::And) } else { (Operator::Eq, Operator::Or) };
    // PostgreSQL compares with constants first if there are at least two.
    let (moving, fixed): (Vec<_>, Vec<_>) = list.list().iter().partition(|item| reads_columns(item));
    let items: Vec<_> = if fixed.len() > 1 { [fixed, moving].concat() } else { list.list().iter().collect() };
    let mut all: Option<Arc<dyn PhysicalExpr>> = None;
    for item in items {
        let one = BinaryExpr::new(Arc::clone(list.expr()), op, Arc::clone(item));
        let one = Arc::new(one) as Arc<dyn PhysicalExpr>;
        all = Some(match all {
            None => one,
            Some(before) => Arc::new(BinaryExpr::new(before, and, one)) as Arc<dyn PhysicalExpr>,
        });
    }
    match all {
        Some(all) => all,
        None => Arc::new(Literal::new(ScalarValue::Boolean(Some(list.negated())))),
    }
}

/// Tells whether an expression reads columns.
fn reads_columns(expr: &Arc<dyn PhysicalExpr>) -> bool {
    !collect_columns(expr).is_empty()
}

/// A condition over the columns of `schema`. The cast gives BOOLEAN to one that was simplified to an untyped
/// NULL.
fn lower_condition(expr: &Expr, schema: &DFSchema) -> Result<Scalar> {
    cast(lower_scalar(expr, schema)?, &DataType::Boolean, schema.as_arrow())
}

/// `scalar` over `input`, cast to `target`.
pub(crate) fn cast(scalar: Scalar, target: &DataType, input: &Schema) -> Result<Scalar> {
    if scalar.data_type(input)? == *target {
        return Ok(scalar);
    }
    Ok(Scalar::new(Arc::new(CastExpr::new(Arc::clone(scalar.expr()), target.clone(), None))))
}

/// Expressions over the columns of `schema`, lowered.
fn lower_scalars(exprs: &[Expr], schema: &DFSchema) -> Result<Vec<Scalar>> {
    exprs.iter().map(|expr| lower_scalar(expr, schema)).collect()
}

/// The column of `schema` at the position `at`.
fn column_at(schema: &Schema, at: usize) -> Scalar {
    Scalar::column(schema.field(at).name(), at)
}

/// All columns of `schema`.
fn all_columns(schema: &Schema) -> Vec<Scalar> {
    (0..schema.fields().len()).map(|at| column_at(schema, at)).collect()
}

/// All columns of `own`, cast to the types of `target`.
fn cast_columns(own: &Schema, target: &Schema) -> Result<Vec<Scalar>> {
    let mut columns = Vec::with_capacity(target.fields().len());
    for (at, (_, to)) in own.fields().iter().zip(target.fields()).enumerate() {
        columns.push(cast(column_at(own, at), to.data_type(), own)?);
    }
    Ok(columns)
}

/// Copies of the fields of `schema`.
fn owned_fields(schema: &Schema) -> Vec<Field> {
    schema.fields().iter().map(|field| field.as_ref().clone()).collect()
}

/// Type of a column that holds values of type `of`.
fn column_type(name: &str, of: &DataType) -> Result<DataType> {
    herald_type(of).ok_or_else(|| not_a_column(name, of))
}

/// State of the lowering of one query.
struct Lower<'a> {
    plan: &'a mut Plan,
    owner: &'a str,
    /// Recursive tables that have been lowered, with their relations.
    recursions: Vec<(Arc<Recursion>, RelId)>,
    /// Relations that stand for the rows of a recursion's previous round, by the name of their table.
    rounds: BTreeMap<String, RelId>,
}

impl Lower<'_> {
    fn push(&mut self, op: Op, schema: SchemaRef) -> RelId {
        self.plan.rels.push(Rel::new(op, schema, self.owner));
        self.plan.rels.len() - 1
    }

    fn schema_of(&self, rel: RelId) -> SchemaRef {
        Arc::clone(&self.plan.rels[rel].schema)
    }

    fn lower_node(&mut self, node: &LogicalPlan) -> Result<RelId> {
        match node {
            LogicalPlan::TableScan(scan) => self.lower_scan(scan),
            LogicalPlan::SubqueryAlias(alias) => self.lower_node(&alias.input),
            LogicalPlan::Filter(filter) => {
                let input = self.lower_node(&filter.input)?;
                self.push_filter(input, &filter.predicate, filter.input.schema())
            }
            LogicalPlan::Projection(p) => {
                let input = self.lower_node(&p.input)?;
                let exprs = lower_scalars(&p.expr, p.input.schema())?;
                self.push_project(input, exprs, &p.schema)
            }
            LogicalPlan::Extension(extension) => {
                let node = extension.node.as_any();
                if let Some(fence) = node.downcast_ref::<OptimizationFence>() {
                    self.lower_fence(fence)
                } else if let Some(lowered) = node.downcast_ref::<Lowered>() {
                    Ok(lowered.rel)
                } else if let Some(join) = node.downcast_ref::<Temporal>() {
                    self.lower_temporal_join(join)
                } else {
                    plan_err!("{} is not supported", extension.node.name())
                }
            }
            LogicalPlan::Unnest(unnest) => self.lower_unnest(unnest),
            LogicalPlan::Union(union) => self.lower_union(union),
            LogicalPlan::Distinct(Distinct::All(input)) => {
                let input = self.lower_node(input)?;
                let schema = self.schema_of(input);
                Ok(self.push(Op::Distinct { input }, schema))
            }
            LogicalPlan::Aggregate(aggregate) => self.lower_aggregate(aggregate),
            LogicalPlan::Join(join) => self.lower_join(join),
            LogicalPlan::EmptyRelation(empty) => self.lower_empty(empty),
            LogicalPlan::Values(values) => self.lower_values(values),
            LogicalPlan::Subquery(_) => plan_err!("subqueries as values are not supported"),
            LogicalPlan::Window(window) => self.lower_window(window),
            LogicalPlan::Limit(limit) => self.lower_limit(limit),
            LogicalPlan::Distinct(Distinct::On(on)) => self.lower_distinct_on(on, None),
            LogicalPlan::Sort(_) => plan_err!("ORDER BY without LIMIT is not supported"),
            other => plan_err!("{} is not supported", other.display()),
        }
    }

    fn lower_scan(&mut self, scan: &logical::TableScan) -> Result<RelId> {
        let rel = match scan.source.downcast_ref::<RelSource>() {
            Some(RelSource { recursion: Some(recursion), .. }) => self.lower_recursion(recursion)?,
            Some(RelSource { rel: Some(rel), .. }) => *rel,
            _ => match self.rounds.get(scan.table_name.table()) {
                Some(rel) => *rel,
                None => return plan_err!("UNNEST needs a table to the left of it that holds the array"),
            },
        };
        let mut id = rel;
        // Conditions that were pushed into the scan name columns that its projection may drop: filter first.
        let full = DFSchema::try_from_qualified_schema(scan.table_name.clone(), &self.schema_of(rel))?;
        for predicate in &scan.filters {
            id = self.push_filter(id, predicate, &full)?;
        }
        if let Some(columns) = &scan.projection {
            let schema = self.schema_of(rel);
            let exprs = columns.iter().map(|at| column_at(&schema, *at)).collect();
            id = self.push_project(id, exprs, &scan.projected_schema)?;
        }
        Ok(id)
    }

    fn lower_fence(&mut self, fence: &OptimizationFence) -> Result<RelId> {
        let input = self.lower_node(&fence.input)?;
        match &fence.predicate {
            Some(predicate) => self.push_filter(input, predicate, fence.input.schema()),
            None => Ok(input),
        }
    }

    /// Splits a condition into one filter of the parts that cannot fail, above it one of the parts that can,
    /// and above both a temporal filter for each set of sources whose watermarks are its now().
    fn push_filter(&mut self, input: RelId, predicate: &Expr, schema: &DFSchema) -> Result<RelId> {
        let below = self.schema_of(input);
        let (mut first, mut second): (Option<Scalar>, Option<Scalar>) = (None, None);
        let mut timed: BTreeMap<Vec<usize>, (Vec<Edge>, Vec<Edge>)> = BTreeMap::new();
        for part in split_conjunction(predicate) {
            if matches!(part, Expr::Literal(ScalarValue::Boolean(Some(true)), _)) {
                continue;
            }
            if let Some(now::NowCondition { time, until, us, clock }) = now::now_condition(part)? {
                let edge = Edge { time: lower_scalar(time, schema)?, us };
                let (since, ends) = timed.entry(clock).or_default();
                if until {
                    ends.push(edge)
                } else {
                    since.push(edge)
                }
                continue;
            }
            let part = lower_scalar(part, schema)?;
            let place = if fallible(part.expr(), &below) { &mut second } else { &mut first };
            *place = Some(match place.take() {
                None => part,
                Some(left) => Scalar::new(Arc::new(BinaryExpr::new(
                    Arc::clone(left.expr()),
                    Operator::And,
                    Arc::clone(part.expr()),
                ))),
            });
        }
        let mut id = input;
        for predicate in first.into_iter().chain(second) {
            id = self.push(Op::Filter { input: id, predicate }, Arc::clone(&below));
        }
        for (clock, (since, until)) in timed {
            id = self.push(Op::TemporalFilter { input: id, since, until, clock }, Arc::clone(&below));
        }
        Ok(id)
    }

    /// Adds a projection. Columns have the names in `named` and the types of the expressions.
    fn push_project(&mut self, input: RelId, exprs: Vec<Scalar>, named: &DFSchema) -> Result<RelId> {
        let fields = scalar_fields(named.fields(), &exprs, &self.schema_of(input))?;
        Ok(self.push(Op::Project { input, exprs }, Arc::new(Schema::new(fields))))
    }

    fn lower_unnest(&mut self, unnest: &logical::Unnest) -> Result<RelId> {
        let input = self.lower_node(&unnest.input)?;
        let ([(column, _)], true) =
            (unnest.list_type_columns.as_slice(), unnest.struct_type_columns.is_empty())
        else {
            return plan_err!("only one array can be unnested at a time");
        };
        let schema = self.schema_of(input);
        let DataType::List(item) = schema.field(*column).data_type() else {
            return plan_err!("UNNEST needs an array, not {}", schemas::sql_type(schema.field(*column)));
        };
        let mut fields = owned_fields(&schema);
        fields[*column] = item.as_ref().clone().with_name(schema.field(*column).name()).with_nullable(true);
        let outer = unnest.options.null_handling != NullHandling::Drop;
        Ok(self.push(Op::Unnest { input, column: *column, outer }, Arc::new(Schema::new(fields))))
    }

    fn lower_union(&mut self, union: &logical::Union) -> Result<RelId> {
        let mut inputs = Vec::with_capacity(union.inputs.len());
        let mut schemas = Vec::with_capacity(union.inputs.len());
        for input in &union.inputs {
            let rel = self.lower_node(input)?;
            inputs.push(rel);
            schemas.push(self.schema_of(rel));
        }
        let mut fields = Vec::with_capacity(union.schema.fields().len());
        for (at, field) in union.schema.fields().iter().enumerate() {
            // The first input's own type is kept: it may differ from `field` in nested nullability.
            let first = schemas[0].field(at);
            let nullable = schemas.iter().any(|schema| schema.field(at).is_nullable());
            fields.push(plain_field(field, first.data_type().clone(), nullable));
        }
        let schema = Arc::new(Schema::new(fields));
        let mut aligned = Vec::with_capacity(inputs.len());
        for (input, own) in inputs.into_iter().zip(schemas) {
            let same = own.fields().iter().zip(schema.fields()).all(|(a, b)| a.data_type() == b.data_type());
            if same {
                aligned.push(input);
                continue;
            }
            let exprs = cast_columns(&own, &schema)?;
            aligned.push(self.push(Op::Project { input, exprs }, Arc::clone(&schema)));
        }
        Ok(self.push(Op::Union { inputs: aligned }, schema))
    }
}

/// Error for a value of a type that no column can have.
pub(crate) fn not_a_column(name: &str, of: &DataType) -> DataFusionError {
    DataFusionError::Plan(format!("{name} is of type {of}, which a column cannot have"))
}

/// Field of a column that holds `scalar`, with the name in `named`.
fn scalar_field(named: &Field, scalar: &Scalar, input: &Schema) -> Result<Field> {
    let nullable = named.is_nullable() || scalar.nullable(input)?;
    let field = plain_field(named, scalar.data_type(input)?, nullable);
    // A column is what it was below: DataFusion's UNNEST in a SELECT list forgets that items are JSONB.
    if let Some(at) = scalar.as_column()
        && schemas::is_jsonb(input.field(at))
    {
        return Ok(input.field(at).clone().with_name(named.name()).with_nullable(nullable));
    }
    Ok(field)
}

/// Fields of the columns that hold `scalars`, with the names in `named`.
fn scalar_fields(named: &Fields, scalars: &[Scalar], input: &Schema) -> Result<Vec<Field>> {
    let mut fields = Vec::with_capacity(scalars.len());
    for (scalar, named) in scalars.iter().zip(named) {
        fields.push(scalar_field(named, scalar, input)?);
    }
    Ok(fields)
}

/// Item field of an array whose values are like `of`.
pub(crate) fn item_field(of: &Field) -> Field {
    plain_field(of, of.data_type().clone(), true).with_name("item")
}

/// A field with the name in `named`, and only Herald's own metadata of it.
fn plain_field(named: &Field, data_type: DataType, nullable: bool) -> Field {
    let mut kept = named.metadata().clone();
    kept.retain(|key, _| key.starts_with("herald."));
    Field::new(named.name(), data_type, nullable).with_metadata(kept)
}
