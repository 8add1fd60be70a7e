//! Views as tables of the query engine: nothing is read before the query runs, and then only what it needs.
//!
//! A table takes conditions on its key or on that of an index ([`ViewKey`]), wanted columns and a limit, and plans a
//! [`ViewScan`], which asks the [server of scans](super::scans) for the rows. EXPLAIN shows what it took, EXPLAIN
//! ANALYZE what it read.
//!
//! Each way to the rows, the view's own entries and every index, has a measure of how tightly conditions bound it
//! ([`Tightness`]). A way with more conditions is never measured lower, and one that took its conditions is measured by
//! these alone as by all that were offered: so the way that is chosen for the offered ones is chosen again for those it
//! took.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use arrow::util::display::array_value_to_string;
use async_trait::async_trait;
use crossbeam_channel::Sender;
use dataflows::plan::explain::failure;
use dataflows::runtime::state_tables::ERRORS;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::expr::{Between, InList};
use datafusion::logical_expr::{BinaryExpr, Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, SendableRecordBatchStream,
    Statistics, StatisticsArgs,
};
use datafusion::scalar::ScalarValue;
use state::{CatalogueEntry, IndexLayout};

use super::conditions::{Bounded, Bounds, Tightness, ViewKey};
use super::epoch::EpochReads;
use super::scans::{BATCHES_AHEAD, Counters, ScanRequest, StoredIndex, StoredView, ViewSize};

/// Literals of an IN list that EXPLAIN shows.
const SHOWN_LITERALS: usize = 5;

/// A view as a table whose rows are read by the query.
#[derive(Debug)]
pub(super) struct ViewTable {
    view: Arc<StoredView>,
    key: ViewKey,
    /// Indexes with their keys, in the order declared.
    indexes: Vec<(Arc<StoredIndex>, ViewKey)>,
    scans: Sender<ScanRequest>,
}

impl ViewTable {
    /// A view of the epoch, with the way to the server of its scans; its size is estimated if the query names it. It is
    /// told by its entry, its columns, and all entries of the catalogue, among which are its indexes.
    ///
    /// # Errors
    /// When the state does not know the view as its entry has it.
    pub(super) fn new(
        epoch: &dyn EpochReads,
        (entry, entries): (&CatalogueEntry, &[CatalogueEntry]),
        schema: SchemaRef,
        named: bool,
        scans: Sender<ScanRequest>,
    ) -> anyhow::Result<ViewTable> {
        let mut key = ViewKey::new(&schema, entry.key.as_deref())?;
        if entry.name == ERRORS {
            key.leave_out(failure::is_spelled);
        }
        let size = if named { ViewSize::estimate(epoch, entry.id)? } else { ViewSize::default() };
        let mut indexes = Vec::new();
        for layout in IndexLayout::of_view(entries, entry)? {
            let Some(stored) = entries.iter().find(|entry| entry.id == layout.table_id) else { continue };
            let Some(of) = &stored.index else { continue };
            let key = ViewKey::of_index(&schema, &of.columns, entry.key.as_deref())?;
            indexes.push((Arc::new(StoredIndex { name: stored.name.clone(), layout }), key));
        }
        Ok(ViewTable {
            view: Arc::new(StoredView { entry: entry.clone(), schema, size }),
            key,
            indexes,
            scans,
        })
    }

    /// The same view, read by its own key alone: for a planner that offers conditions in several parts.
    pub(super) fn without_indexes(&self) -> ViewTable {
        ViewTable {
            view: self.view.clone(),
            key: self.key.clone(),
            indexes: Vec::new(),
            scans: self.scans.clone(),
        }
    }

    /// The index by which conditions bound the rows most tightly, if it is one, and the bounds. An index goes before
    /// the view's own entries where both are bounded alike: its ranges lie in one place, not in each key group. Only
    /// single entries of the view are nearer.
    fn bound(&self, conditions: &[&Expr]) -> (Option<Arc<StoredIndex>>, Bounded) {
        let mut best: Option<(&Arc<StoredIndex>, Bounded)> = None;
        for (index, key) in &self.indexes {
            let bounded = key.bound(conditions);
            let least = best.as_ref().map_or(Tightness::default(), |(_, best)| best.tightness);
            if bounded.tightness > least {
                best = Some((index, bounded));
            }
        }
        let own = self.key.bound(conditions);
        match best {
            Some((index, bounded)) if bounded.tightness >= own.tightness => (Some(index.clone()), bounded),
            _ => (None, own),
        }
    }
}

#[async_trait]
impl TableProvider for ViewTable {
    fn schema(&self) -> SchemaRef {
        self.view.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let mut support = Vec::with_capacity(filters.len());
        for taken in self.bound(filters).1.taken {
            support.push(match taken {
                Some(_) => TableProviderFilterPushDown::Exact,
                None => TableProviderFilterPushDown::Unsupported,
            });
        }
        Ok(support)
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let offered: Vec<&Expr> = filters.iter().collect();
        let (index, bounded) = self.bound(&offered);
        // The filters come from one call of `supports_filters_pushdown`, or without indexes from several. Each took
        // those of leading columns, so together they are of leading columns again, and all are taken.
        let mut conditions = Vec::with_capacity(filters.len());
        for (filter, taken) in filters.iter().zip(bounded.taken) {
            let Some(place) = taken else {
                let message = format!("a condition on the key of view {} was lost", self.view.entry.name);
                return Err(DataFusionError::Internal(message));
            };
            conditions.push((place, condition_text(filter)));
        }
        // In the order of the key; the optimiser leaves them in any.
        conditions.sort_by_key(|(place, _)| *place);
        let columns = match projection {
            Some(columns) => columns.clone(),
            None => (0..self.view.schema.fields().len()).collect(),
        };
        let schema = Arc::new(self.view.schema.project(&columns)?);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema.clone()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Arc::new(ViewScan {
            view: self.view.clone(),
            index,
            columns,
            schema,
            bounds: Arc::new(bounded.bounds),
            conditions: conditions.into_iter().map(|(_, text)| text).collect(),
            limit,
            scans: self.scans.clone(),
            // Its channel takes part in the runtime's turns by itself.
            properties: Arc::new(properties.with_scheduling_type(SchedulingType::Cooperative)),
            metrics: ExecutionPlanMetricsSet::new(),
        }))
    }
}

/// Plan of a scan of a view.
#[derive(Clone, Debug)]
struct ViewScan {
    view: Arc<StoredView>,
    index: Option<Arc<StoredIndex>>,
    columns: Vec<usize>,
    schema: SchemaRef,
    bounds: Arc<Bounds>,
    /// The conditions that the bounds stand for, as text.
    conditions: Vec<String>,
    limit: Option<usize>,
    scans: Sender<ScanRequest>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl DisplayAs for ViewScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<&str> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        write!(f, "ViewScan: view={}, columns=[{}]", self.view.entry.name, columns.join(", "))?;
        if let Some(index) = &self.index {
            write!(f, ", index={}", index.name)?;
        }
        if !self.conditions.is_empty() {
            write!(f, ", key=({})", self.conditions.join(", "))?;
            match self.bounds.as_ref() {
                Bounds::Points(keys) => {
                    write!(f, ", points={}, groups={}", keys.len(), self.bounds.groups())?
                }
                Bounds::Ranges(ranges) => write!(f, ", ranges={}", ranges.len())?,
                Bounds::All | Bounds::Range { .. } => write!(f, ", groups={}", self.bounds.groups())?,
            }
        }
        match self.limit {
            Some(limit) => write!(f, ", limit={limit}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for ViewScan {
    fn name(&self) -> &str {
        "ViewScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let stream = RecordBatchReceiverStreamBuilder::new(self.schema.clone(), BATCHES_AHEAD);
        let counters = Counters {
            entries: MetricBuilder::new(&self.metrics).counter("entries_read", partition),
            seeks: MetricBuilder::new(&self.metrics).counter("seeks", partition),
            rows: MetricBuilder::new(&self.metrics).output_rows(partition),
        };
        let request = ScanRequest {
            view: self.view.clone(),
            index: self.index.clone(),
            columns: self.columns.clone(),
            schema: self.schema.clone(),
            bounds: self.bounds.clone(),
            limit: self.limit,
            counters,
            rows: stream.tx(),
        };
        if self.scans.send(request).is_err() {
            return Err(DataFusionError::Internal("the scans of the query have ended".to_owned()));
        }
        Ok(stream.build())
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(&self, _: &[Arc<Statistics>], _: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let size = match self.bounds.as_ref() {
            Bounds::Points(keys) => self.view.size.at_most(keys.len() as u64),
            Bounds::All | Bounds::Range { .. } | Bounds::Ranges(_) => self.view.size,
        };
        let mut statistics = Statistics::new_unknown(&self.schema);
        // A join holds its smaller side in memory.
        statistics.total_byte_size = Precision::Inexact(usize::try_from(size.bytes).unwrap_or(usize::MAX));
        statistics.num_rows = Precision::Inexact(usize::try_from(size.rows).unwrap_or(usize::MAX));
        Ok(Arc::new(statistics))
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        Some(Arc::new(ViewScan { limit, ..self.clone() }))
    }

    fn fetch(&self) -> Option<usize> {
        self.limit
    }
}

/// A condition on a key as SQL, without the types that the query engine prints.
fn condition_text(condition: &Expr) -> String {
    match condition {
        Expr::Column(column) => column.name().to_owned(),
        Expr::Cast(cast) => condition_text(&cast.expr),
        Expr::Literal(value, _) => literal_text(value),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            format!("{} {op} {}", condition_text(left), condition_text(right))
        }
        Expr::Between(Between { expr, low, high, .. }) => {
            let (expr, low, high) = (condition_text(expr), condition_text(low), condition_text(high));
            format!("{expr} BETWEEN {low} AND {high}")
        }
        Expr::InList(InList { expr, list, .. }) => {
            let mut shown: Vec<String> = list.iter().take(SHOWN_LITERALS).map(condition_text).collect();
            if list.len() > SHOWN_LITERALS {
                shown.push(format!("{} more", list.len() - SHOWN_LITERALS));
            }
            format!("{} IN ({})", condition_text(expr), shown.join(", "))
        }
        other => other.to_string(),
    }
}

/// A literal as SQL: text and times in quotes.
fn literal_text(value: &ScalarValue) -> String {
    let text = match value.to_array() {
        Ok(array) => array_value_to_string(&array, 0).unwrap_or_default(),
        Err(_) => value.to_string(),
    };
    if value.data_type().is_numeric() || value.data_type() == DataType::Boolean {
        text
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}
