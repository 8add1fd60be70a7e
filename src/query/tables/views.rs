//! Views as tables of the query engine: nothing is read before the query runs, and then only what it needs.
//!
//! A table takes conditions on its key or on that of an index ([`ViewKey`]), wanted columns and a limit, and plans a
//! [`ViewScan`], which asks the [server of scans](super::scans) for the rows. EXPLAIN shows what it took, EXPLAIN
//! ANALYZE what it read.
//!
//! Each way to the rows, the view's own entries and every index, has a measure of how tightly conditions bound it
//! ([`Tightness`]); of several that are bounded alike, the one with the fewest bytes to read is taken, as the state
//! estimates them. The engine asks which conditions are taken, and then for a scan under these: that takes a way which
//! stands for all of them, as the first one did, so it need not be the same.

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
use super::scans::{
    BATCHES_AHEAD, Counters, EpochRequest, ScanRequest, SizeRequest, StoredIndex, StoredView, ViewSize,
};

/// Literals of an IN list that EXPLAIN shows.
const SHOWN_LITERALS: usize = 5;

/// A view as a table whose rows are read by the query.
#[derive(Debug)]
pub(super) struct ViewTable {
    view: Arc<StoredView>,
    key: ViewKey,
    /// Indexes with their keys, in the order declared.
    indexes: Vec<(Arc<StoredIndex>, ViewKey)>,
    scans: Sender<EpochRequest>,
}

/// Bytes that are read on in the time of a look-up, about.
const LOOKUP_BYTES: u64 = 4 << 10;

/// Way to the rows of a view.
struct Way {
    /// The index that is read; None for the view's own entries.
    index: Option<Arc<StoredIndex>>,
    /// The conditions that it takes, and the entries that are left.
    bounded: Bounded,
}

/// Chooses the way to take: of those that conditions bound most tightly the one that costs least, and of several such
/// ones the first. The cost is asked for only where there are several.
fn choose<T>(mut ways: Vec<(Tightness, T)>, mut cost: impl FnMut(&T) -> u64) -> Option<T> {
    let tightest = ways.iter().map(|(tightness, _)| *tightness).max()?;
    ways.retain(|(tightness, _)| *tightness == tightest);
    let way = match ways.len() {
        1 => ways.pop(),
        _ => ways.into_iter().min_by_key(|(_, way)| cost(way)),
    };
    way.map(|(_, way)| way)
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
        scans: Sender<EpochRequest>,
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

    /// The ways to the rows under some conditions: the indexes that they bound, in the order declared, and the view's own
    /// entries.
    fn ways(&self, conditions: &[&Expr]) -> Vec<(Tightness, Way)> {
        let mut ways = Vec::with_capacity(self.indexes.len() + 1);
        for (index, key) in &self.indexes {
            let bounded = key.bound(conditions);
            if bounded.tightness > Tightness::default() {
                ways.push((bounded.tightness, Way { index: Some(index.clone()), bounded }));
            }
        }
        let own = self.key.bound(conditions);
        ways.push((own.tightness, Way { index: None, bounded: own }));
        ways
    }

    /// The cost of a way: the bytes that it reads, and those that it could read in the time of its look-ups.
    fn cost(&self, way: &Way) -> u64 {
        let table_id = way.index.as_ref().map_or(self.view.entry.id, |index| index.layout.table_id);
        let (sender, bytes) = crossbeam_channel::bounded(1);
        let bounds = Arc::new(way.bounded.bounds.clone());
        let lookups = bounds.lookups() as u64 * LOOKUP_BYTES;
        let asked = self.scans.send(EpochRequest::Size(SizeRequest { table_id, bounds, bytes: sender }));
        // Without an answer the state cannot be read, which the scan will tell.
        let bytes = asked.ok().and_then(|()| bytes.recv().ok()).unwrap_or(0);
        lookups.saturating_add(bytes)
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
        let way = choose(self.ways(filters), |way| self.cost(way));
        let mut support = Vec::with_capacity(filters.len());
        for taken in way.map(|way| way.bounded.taken).unwrap_or_default() {
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
        // The filters come from one call of `supports_filters_pushdown`, whose way took them, or without indexes from
        // several. Each took those of leading columns, so together they are of leading columns again, and all are taken.
        let mut ways = self.ways(&offered);
        ways.retain(|(_, way)| way.bounded.taken.iter().all(Option::is_some));
        let Some(Way { index, bounded }) = choose(ways, |way| self.cost(way)) else {
            let message = format!("a condition on the key of view {} was lost", self.view.entry.name);
            return Err(DataFusionError::Internal(message));
        };
        let mut conditions = Vec::with_capacity(filters.len());
        for (filter, place) in filters.iter().zip(bounded.taken) {
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
    scans: Sender<EpochRequest>,
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
        if self.scans.send(EpochRequest::Rows(request)).is_err() {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn tight(points: bool, equal: usize, range: bool) -> Tightness {
        Tightness { points, equal, range }
    }

    /// Equality of the whole key goes before all, then the most leading columns with given values, then a range behind
    /// them, then the fewest bytes; of ways that are alike in all of it, the first is taken.
    #[test]
    fn the_way_is_chosen_by_bounds_and_then_by_bytes() {
        for (ways, chosen) in [
            (vec![("i", tight(false, 3, true), 0), ("key", tight(true, 2, false), 900)], "key"),
            (vec![("i", tight(false, 2, false), 900), ("key", tight(false, 1, true), 0)], "i"),
            (vec![("i", tight(false, 1, false), 0), ("j", tight(false, 1, true), 900)], "j"),
            (vec![("i", tight(false, 0, true), 900), ("key", tight(false, 0, false), 0)], "i"),
            (vec![("i", tight(false, 1, false), 900), ("j", tight(false, 1, false), 800)], "j"),
            (vec![("i", tight(false, 1, true), 900), ("key", tight(false, 1, true), 800)], "key"),
            (vec![("i", tight(false, 1, true), 900), ("j", tight(false, 1, true), 900)], "i"),
            (vec![("key", tight(false, 0, false), 900)], "key"),
        ] {
            let mut asked = 0;
            let alike =
                ways.iter().filter(|way| way.1 == ways.iter().map(|way| way.1).max().unwrap_or_default());
            let alike = alike.count();
            let measured = ways.iter().map(|way| (way.1, way)).collect();
            let found = choose(measured, |way| {
                asked += 1;
                way.2
            });
            assert_eq!(found.map(|way| way.0), Some(chosen), "{ways:?}");
            assert_eq!(asked, if alike == 1 { 0 } else { alike }, "{ways:?}");
        }
        assert_eq!(choose(Vec::<(Tightness, ())>::new(), |()| 0), None);
    }
}
