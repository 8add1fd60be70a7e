//! Planners of operators, of field access and of types, which DataFusion asks while it plans a query.

pub(crate) mod json;
pub(crate) mod operators;

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion_common::{DFSchema, Result};
use datafusion_expr::planner::{ExprPlanner, PlannerResult, RawAggregateExpr, RawBinaryExpr, TypePlanner};
use datafusion_functions::core::planner::CoreFunctionPlanner;
use datafusion_functions::datetime::planner::DatetimeFunctionPlanner;
use datafusion_functions::unicode::planner::UnicodeFunctionPlanner;
use datafusion_functions_aggregate::planner::AggregateFunctionPlanner;
use datafusion_functions_nested::planner::{FieldAccessPlanner, NestedFunctionPlanner};
use datafusion_functions_window::planner::WindowFunctionPlanner;
use datafusion_sql::sqlparser::ast as sql;

use crate::functions::json::aggregate;
use crate::functions::time::TimeOperators;

/// Planners of operators and of field access; ours go first.
static PLANNERS: LazyLock<Vec<Arc<dyn ExprPlanner>>> = LazyLock::new(|| {
    vec![
        // The first planner that accepts an operator plans it: Herald's own stand before
        // DataFusion's.
        Arc::new(TimeOperators),
        Arc::new(JsonOperators),
        Arc::new(operators::TypedOperators),
        Arc::new(CoreFunctionPlanner::default()),
        Arc::new(DatetimeFunctionPlanner),
        Arc::new(UnicodeFunctionPlanner),
        Arc::new(NestedFunctionPlanner),
        Arc::new(FieldAccessPlanner),
        Arc::new(AggregateFunctionPlanner),
        Arc::new(WindowFunctionPlanner),
    ]
});

/// Returns the planners of operators and of field access.
pub(crate) fn expr_planners() -> &'static [Arc<dyn ExprPlanner>] {
    &PLANNERS
}

/// Returns the planner of types in casts and literals.
pub(crate) fn type_planner() -> Arc<dyn TypePlanner> {
    Arc::new(HeraldTypes)
}

/// Planner of the operators and aggregates over JSONB.
#[derive(Debug)]
struct JsonOperators;

impl ExprPlanner for JsonOperators {
    fn plan_binary_op(&self, raw: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        json::plan_operator(raw, schema)
    }

    fn plan_aggregate(&self, call: RawAggregateExpr) -> Result<PlannerResult<RawAggregateExpr>> {
        aggregate::plan_aggregate(call).map(PlannerResult::Original)
    }
}

/// Planner of types in casts and literals: timestamps count microseconds, text is Utf8.
#[derive(Debug)]
struct HeraldTypes;

impl TypePlanner for HeraldTypes {
    fn plan_type_field(&self, sql_type: &sql::DataType) -> Result<Option<FieldRef>> {
        let data_type = match sql_type {
            sql::DataType::Timestamp(_, zone) => match zone {
                sql::TimezoneInfo::Tz | sql::TimezoneInfo::WithTimeZone => schemas::timestamptz(),
                _ => schemas::timestamp(),
            },
            sql::DataType::Datetime(_) => schemas::timestamp(),
            sql::DataType::CharacterVarying(_) | sql::DataType::CharVarying(_) => DataType::Utf8,
            sql::DataType::Uuid => schemas::uuid_type(),
            sql::DataType::Time(_, _) => DataType::Time64(TimeUnit::Microsecond),
            sql::DataType::JSONB | sql::DataType::JSON => {
                return Ok(Some(Arc::new(schemas::jsonb_field("jsonb", true))));
            }
            _ => return Ok(None),
        };
        Ok(Some(Arc::new(Field::new("", data_type, true))))
    }
}
