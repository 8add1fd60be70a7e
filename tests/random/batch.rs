//! DataFusion's batch engine over the accepted rows, as they are held in memory.
//!
//! It shares its planner with Herald, and neither the way Herald lowers plans nor anything that runs them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int16Array, Int32Array, Int64Array,
    ListArray, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use datafusion::datasource::MemTable;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::duck::{Tables, Verdict};
use crate::rows::{Row, sort, value};

/// The engine.
pub struct Batch {
    runtime: Runtime,
}

impl Batch {
    /// Starts it.
    pub fn new() -> Batch {
        Batch { runtime: tokio::runtime::Builder::new_current_thread().build().unwrap() }
    }

    /// All queries over these tables; later ones may read earlier ones.
    pub fn answer(&self, tables: &Tables, queries: &[(String, String)]) -> Vec<Verdict> {
        let config = SessionConfig::new()
            .with_target_partitions(1)
            .set_bool("datafusion.sql_parser.map_string_types_to_utf8view", false)
            .set_str("datafusion.sql_parser.dialect", "postgres");
        let context = context(config);
        // It moves a condition without columns below a total, which then has its row although nothing passes.
        context.remove_optimizer_rule("push_down_filter");
        for (name, (columns, rows)) in tables {
            register(&context, name, vec![table(columns, rows)]);
        }
        queries
            .iter()
            .map(|(name, sql)| {
                let asked = catch_unwind(AssertUnwindSafe(|| self.runtime.block_on(ask(&context, sql))));
                let (schema, batches) = asked.unwrap_or_else(|_| Err("it panicked".into()))?;
                let batches: Vec<RecordBatch> = batches.into_iter().map(|b| plain(&b)).collect();
                let schema = batches.first().map_or(schema, RecordBatch::schema);
                let mut rows: Vec<Row> = batches
                    .iter()
                    .flat_map(|batch| {
                        let row = |at| batch.columns().iter().map(|c| value(c, at)).collect();
                        (0..batch.num_rows()).map(row).collect::<Vec<Row>>()
                    })
                    .collect();
                sort(&mut rows);
                let held = if batches.is_empty() { vec![RecordBatch::new_empty(schema)] } else { batches };
                register(&context, name, held);
                Ok(rows)
            })
            .collect()
    }
}

/// Without a rule that takes a condition's column for the other side's of the same name, where it meets a
/// filter above a join.
fn context(config: SessionConfig) -> SessionContext {
    let state = SessionStateBuilder::new().with_config(config.clone()).with_default_features().build();
    let rules = state.physical_optimizers().iter().filter(|rule| !rule.name().starts_with("FilterPushdown"));
    let rules = rules.cloned().collect();
    let state = SessionStateBuilder::new().with_config(config).with_default_features();
    SessionContext::new_with_state(state.with_physical_optimizer_rules(rules).build())
}

async fn ask(context: &SessionContext, sql: &str) -> Result<(SchemaRef, Vec<RecordBatch>), String> {
    let frame = context.sql(sql).await.map_err(|e| e.strip_backtrace())?;
    let schema = Arc::new(frame.schema().as_arrow().clone());
    Ok((schema, frame.collect().await.map_err(|e| e.strip_backtrace())?))
}

fn register(context: &SessionContext, name: &str, batches: Vec<RecordBatch>) {
    // What a query gives may be said to have no NULLs by the one batch and not by the other.
    let fields = batches[0].schema();
    let fields: Vec<Field> = fields.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let batches = batches
        .into_iter()
        .map(|b| RecordBatch::try_new(schema.clone(), b.columns().to_vec()).unwrap())
        .collect();
    context.register_table(name, Arc::new(MemTable::try_new(schema, vec![batches]).unwrap())).unwrap();
}

/// Types as the rest of the oracle has them.
fn plain(batch: &RecordBatch) -> RecordBatch {
    let of = |kind: &DataType| match kind {
        DataType::UInt64 | DataType::UInt32 | DataType::UInt16 | DataType::UInt8 | DataType::Int8 => {
            DataType::Int64
        }
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        other => other.clone(),
    };
    let columns: Vec<ArrayRef> =
        batch.columns().iter().map(|c| arrow::compute::cast(c, &of(c.data_type())).unwrap()).collect();
    let schema = batch.schema();
    let names = schema.fields().iter().map(|f| f.name());
    let fields: Vec<Field> =
        names.zip(&columns).map(|(n, c)| Field::new(n, c.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn table(columns: &[(String, String)], rows: &[Row]) -> RecordBatch {
    let arrays: Vec<(String, ArrayRef, bool)> = columns
        .iter()
        .enumerate()
        .map(|(at, (name, kind))| {
            let values: Vec<&Value> = rows.iter().map(|row| &row[at]).collect();
            (name.clone(), array(kind, &values), true)
        })
        .collect();
    RecordBatch::try_from_iter_with_nullable(arrays).unwrap()
}

fn array(kind: &str, values: &[&Value]) -> ArrayRef {
    let int = || values.iter().map(|v| v.as_i64());
    match kind {
        "BIGINT" => Arc::new(int().collect::<Int64Array>()),
        "INTEGER" => Arc::new(int().map(|v| v.map(|v| v as i32)).collect::<Int32Array>()),
        "SMALLINT" => Arc::new(int().map(|v| v.map(|v| v as i16)).collect::<Int16Array>()),
        "DATE" => Arc::new(int().map(|v| v.map(|v| v as i32)).collect::<Date32Array>()),
        "TIMESTAMP" => Arc::new(int().collect::<TimestampMicrosecondArray>().with_timezone("UTC")),
        "DOUBLE" => Arc::new(values.iter().map(|v| v.as_f64()).collect::<Float64Array>()),
        "BOOLEAN" => Arc::new(values.iter().map(|v| v.as_bool()).collect::<BooleanArray>()),
        "VARCHAR" => Arc::new(values.iter().map(|v| v.as_str()).collect::<StringArray>()),
        "BIGINT[]" => {
            let items =
                |v: &Value| v.as_array().map(|items| items.iter().map(Value::as_i64).collect::<Vec<_>>());
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(values.iter().map(|v| items(v))))
        }
        "DECIMAL(10,2)" => {
            // Two digits after the point, always.
            let digits = |v: &&Value| v.as_str().map(|t| t.replace('.', "").parse::<i128>().unwrap());
            let array: Decimal128Array = values.iter().map(digits).collect();
            Arc::new(array.with_precision_and_scale(10, 2).unwrap())
        }
        other => panic!("no array of {other}"),
    }
}
