//! Facts about each relation: unique keys, paired and constant columns, growth, expiring inputs, durable.
//!
//! Facts flow from inputs to users in one pass. They are proofs, not guesses: a key is listed only
//! where it is unique at every epoch whatever the data. Durable are the first state after an append-only source,
//! every state whose inputs expire, and groups whose totals live in the state; all other state is recomputed from
//! those states and from keyed tables.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, TimeUnit};
use datafusion_expr::Operator;
use datafusion_physical_expr::expressions::{BinaryExpr, CastExpr, Column, Literal};
use datafusion_physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use super::constants::{Constants, carried_column, constants_of, telling_inputs};
use super::{event_time, interval};
use crate::functions::windows::event_windows::{HOP_END, TUMBLE_END, TUMBLE_START};
use crate::plan::aggregate::has_totals;
use crate::plan::canonical::{is_time, strip_canonical};
use crate::plan::formats::Format;
use crate::plan::formats::IncludeKind;
use crate::plan::state_role::StateRole;
use crate::plan::window::{Call, Window};
use crate::plan::{
    Conflict, Growth, JoinKind, Keyed, Op, Origin, Pair, Plan, Recursive, Rel, RelId, Scalar, Source, When,
};

/// Limit on the keys of one relation; joins multiply them.
const MAX_KEYS: usize = 8;

/// Computes the facts of every relation.
pub(crate) fn annotate(plan: &mut Plan) {
    event_time::set_expiry(plan);
    // True where rows come from an append-only source with no state between.
    let mut unsaved: Vec<bool> = Vec::with_capacity(plan.rels.len());
    for id in 0..plan.rels.len() {
        let facts = facts_of(plan, id);
        let inputs = plan.rels[id].op.inputs();
        let raw = match &plan.rels[id].op {
            Op::Source(i) => plan.sources[*i].keyed.is_none(),
            _ => inputs.iter().any(|i| unsaved[*i]),
        };
        let stateful = plan.rels[id].op.is_stateful();
        let expires =
            plan.expiry.range((id, StateRole::Groups)..).next().is_some_and(|((of, _), _)| *of == id);
        let totals = has_totals(plan, id);
        let rel = &mut plan.rels[id];
        rel.unique = facts.unique;
        rel.paired = facts.paired;
        rel.constants = facts.constants;
        rel.growth = facts.growth;
        let forgets =
            matches!(rel.op, Op::EmitOnClose { .. } | Op::TemporalJoin { when: When::ProcTime, .. });
        // The inputs of a recursion come whole on a restart, and it is derived again from them.
        let saves = stateful && !matches!(rel.op, Op::Recursive(_));
        rel.durable = saves && (raw || forgets || facts.inputs_expire || totals);
        // Rows that never leave are not kept in the state once they have entered.
        let stays = matches!(&rel.op, Op::TemporalFilter { until, .. } if until.is_empty());
        let forgets = forgets || (stays && rel.durable);
        // Recomputed state is emitted whole on a restart before any of it expires, so its users miss nothing.
        rel.inputs_expire = facts.inputs_expire || forgets || (expires && rel.durable);
        let unsaved_rows = raw && !stateful;
        // What is durable above these stays so if `erase.by` comes to a table, which is no edit: its stored form must not
        // depend on that.
        if rel.growth == Growth::Growing && (unsaved_rows || rel.inputs_expire) {
            rel.growth = Growth::Updating;
        }
        unsaved.push(unsaved_rows);
    }
}

/// Learns the keys of the relations from `first` on, while a topology is still being read.
pub(crate) fn learn_keys(plan: &mut Plan, first: RelId) {
    for id in first..plan.rels.len() {
        let facts = facts_of(plan, id);
        let rel = &mut plan.rels[id];
        (rel.unique, rel.paired, rel.constants) = (facts.unique, facts.paired, facts.constants);
    }
}

/// Facts about one relation.
struct Facts {
    unique: Vec<Vec<usize>>,
    paired: Vec<Pair>,
    constants: Constants,
    growth: Growth,
    inputs_expire: bool,
}

impl Facts {
    /// Takes keys and pairs of an input whose columns the relation keeps.
    fn inherit_keys(&mut self, input: &Rel) {
        self.paired.clone_from(&input.paired);
        self.unique.clone_from(&input.unique);
    }

    /// Notes that rows are retracted, unless the operator only adds to them.
    fn grow_if(&mut self, only_adds: bool) {
        if !only_adds {
            self.growth = Growth::Updating;
        }
    }
}

/// The facts of one relation, from those of its inputs.
fn facts_of(plan: &Plan, id: RelId) -> Facts {
    let rel = &plan.rels[id];
    let inputs: Vec<&Rel> = rel.op.inputs().into_iter().map(|i| &plan.rels[i]).collect();
    let mut facts = Facts {
        unique: Vec::new(),
        paired: Vec::new(),
        constants: constants_of(rel, &inputs),
        growth: inputs.iter().map(|i| i.growth).min().unwrap_or(Growth::AppendOnly),
        inputs_expire: inputs.iter().any(|i| i.inputs_expire),
    };
    match &rel.op {
        Op::Source(i) => source_facts(plan, *i, &mut facts),
        // At most one row: even the empty set of columns is a key.
        Op::Values(rows) if rows.num_rows() <= 1 => facts.unique.push(vec![]),
        Op::Values(_) | Op::Given(_) => {}
        Op::TemporalFilter { until, .. } => {
            facts.grow_if(until.is_empty());
            facts.inherit_keys(inputs[0]);
        }
        Op::Filter { .. } => facts.inherit_keys(inputs[0]),
        Op::Project { exprs, .. } => {
            facts.paired = output_pairs(exprs, inputs[0]);
            facts.unique = carried_keys(exprs, inputs[0]);
        }
        Op::Unnest { column, .. } => {
            facts.paired = inputs[0].paired.iter().copied().filter(|pair| !pair.has(*column)).collect();
        }
        Op::Union { .. } => {
            facts.paired = common_pairs(&inputs);
            facts.unique = united_keys(rel, &inputs);
        }
        Op::Distinct { .. } => {
            facts.inherit_keys(inputs[0]);
            facts.unique.push((0..rel.schema.fields().len()).collect());
        }
        Op::EmitOnClose { .. } => {
            facts.growth = Growth::AppendOnly;
            facts.inherit_keys(inputs[0]);
        }
        Op::Aggregate { keys, .. } | Op::GroupRows { keys, .. } => {
            facts.growth = Growth::Updating;
            facts.paired = output_pairs(keys, inputs[0]);
            facts.unique = vec![(0..keys.len()).collect()];
            // A key of the input whose columns are grouping keys is a key of the output, too.
            facts.unique.extend(carried_keys(keys, inputs[0]));
        }
        Op::Window { window, .. } => {
            facts.growth = Growth::Updating;
            facts.paired.clone_from(&inputs[0].paired);
            facts.unique = window_keys(window, inputs[0]);
        }
        Op::Join { kind, left_keys, right_keys, .. } => {
            join_facts(*kind, (left_keys, right_keys), (inputs[0], inputs[1]), &mut facts)
        }
        Op::TemporalJoin { right_keys, when, .. } => {
            temporal_join_facts(*when, right_keys, (inputs[0], inputs[1]), &mut facts)
        }
        Op::Recursive(recursive) => recursive_facts(plan, rel, recursive, &mut facts),
    }
    facts.unique = minimal_keys(facts.unique, &facts.paired);
    facts
}

/// The facts of a source: the key of a table, or partition and offset where both are INCLUDEd.
fn source_facts(plan: &Plan, index: usize, facts: &mut Facts) {
    let source = &plan.sources[index];
    match &source.keyed {
        Some(keyed) => {
            // A row past its retention is not retracted, and its key may come again as a new row.
            let forgets = keyed.retention_us.is_some();
            facts.unique = if forgets { vec![] } else { vec![keyed.key.clone()] };
            facts.growth = growth_of_table(source, keyed);
            facts.inputs_expire = forgets;
        }
        None => {
            let partition = included_column(source, &IncludeKind::Partition);
            let offset = included_column(source, &IncludeKind::Offset);
            if let (Some(partition), Some(offset)) = (partition, offset) {
                facts.unique = vec![vec![partition, offset]];
            }
        }
    }
}

/// The growth of a table: the first row of a key stays, unless its person is erased.
fn growth_of_table(source: &Source, keyed: &Keyed) -> Growth {
    // A delete, which only other formats have, would free the key.
    let stays = keyed.conflict == Conflict::DoNothing && source.format == Format::Plain;
    if stays && source.erase_by.is_empty() { Growth::Growing } else { Growth::Updating }
}

/// The column that holds a part of a record's origin.
fn included_column(source: &Source, kind: &IncludeKind) -> Option<usize> {
    let include = source.includes.iter().position(|included| included == kind)?;
    source.origins.iter().position(|origin| matches!(origin, Origin::Included(at) if *at == include))
}

/// The facts of a recursion.
fn recursive_facts(plan: &Plan, rel: &Rel, recursive: &Recursive, facts: &mut Facts) {
    if recursive.distinct {
        facts.unique.push((0..rel.schema.fields().len()).collect());
    }
    // Some inputs are read without their retractions.
    facts.growth = Growth::AppendOnly;
    for input in retracting_inputs(plan, &rel.op) {
        facts.growth = facts.growth.min(plan.rels[input].growth);
    }
    facts.grow_if(rounds_only_add(recursive));
}

/// The facts of a join.
fn join_facts(kind: JoinKind, keys: (&[Scalar], &[Scalar]), sides: (&Rel, &Rel), facts: &mut Facts) {
    let (left, right) = sides;
    let width = left.schema.fields().len();
    facts.grow_if(kind.only_adds());
    facts.paired.clone_from(&left.paired);
    if !kind.outputs_pairs() {
        facts.unique.clone_from(&left.unique);
        return;
    }
    for pair in &right.paired {
        facts.paired.push(pair.shifted(width));
    }
    if kind != JoinKind::Full && fixes_key(keys.1, right) {
        facts.unique.extend(left.unique.iter().cloned());
    }
    if kind == JoinKind::Inner && fixes_key(keys.0, left) {
        for key in &right.unique {
            facts.unique.push(shifted_key(key, width));
        }
    }
    for l in &left.unique {
        for r in &right.unique {
            // In a FULL JOIN, a left and a right row without matches could be equal where both keys can be
            // all NULL.
            if kind != JoinKind::Full || never_all_null(l, left) || never_all_null(r, right) {
                let mut both = l.clone();
                both.extend(shifted_key(r, width));
                facts.unique.push(both);
            }
        }
    }
}

/// A key of the right side of a join, as columns of the joined row.
fn shifted_key(key: &[usize], width: usize) -> Vec<usize> {
    key.iter().map(|column| column + width).collect()
}

/// Returns true if some column of `key` is never NULL.
fn never_all_null(key: &[usize], rel: &Rel) -> bool {
    key.iter().any(|column| !rel.schema.field(*column).is_nullable())
}

/// The facts of a temporal join.
fn temporal_join_facts(when: When, right_keys: &[Scalar], (left, right): (&Rel, &Rel), facts: &mut Facts) {
    let now = when == When::ProcTime;
    facts.growth = left.growth;
    facts.grow_if(now);
    facts.inherit_keys(left);
    // As of PROCTIME() a left row is paired with every right row of its key.
    if now && !fixes_key(right_keys, right) {
        facts.unique.clear();
    }
}

/// The pairs that all inputs of a union have with one distance: else one start would have two ends.
fn common_pairs(inputs: &[&Rel]) -> Vec<Pair> {
    let Some((first, others)) = inputs.split_first() else { return vec![] };
    let mut paired = first.paired.clone();
    for other in others {
        paired.retain(|pair| other.paired.contains(pair));
    }
    paired
}

/// The keys of a union of inputs that a column tells apart: that column, and a key of each input.
fn united_keys(rel: &Rel, inputs: &[&Rel]) -> Vec<Vec<usize>> {
    let mut keys: Vec<Vec<usize>> = telling_inputs(rel, inputs).map(|column| vec![column]).collect();
    for input in inputs {
        let both =
            |key: &Vec<usize>| input.unique.iter().map(|own| [&key[..], own].concat()).collect::<Vec<_>>();
        // What pairs the columns of one input need not pair those of another.
        keys = minimal_keys(keys.iter().flat_map(both).collect(), &[]);
    }
    keys
}

/// Returns true if `scalars` fix a key of `rel`.
fn fixes_key(scalars: &[Scalar], rel: &Rel) -> bool {
    let columns: Vec<usize> = scalars.iter().filter_map(Scalar::as_column).collect();
    rel.unique.iter().any(|key| covers_key(key, &columns, &rel.paired))
}

/// The keys of a window operator: the input's, and the partition with a row number; where only the first row
/// is emitted, the partition alone.
fn window_keys(window: &Window, input: &Rel) -> Vec<Vec<usize>> {
    let partition: Option<Vec<usize>> = window.partition.iter().map(Scalar::as_column).collect();
    let mut keys = input.unique.clone();
    let Some(partition) = partition else { return keys };
    for (at, function) in window.functions.iter().enumerate() {
        if matches!(function.call, Call::RowNumber) {
            let first_only = window.first.is_some_and(|f| f.function == at && f.most <= 1);
            let number = (!first_only).then_some(input.schema.fields().len() + at);
            keys.push(partition.iter().copied().chain(number).collect());
        }
    }
    keys
}

/// Returns true if `columns` fix every column of `key`; a column also fixes those it is paired with.
pub(crate) fn covers_key(key: &[usize], columns: &[usize], paired: &[Pair]) -> bool {
    key.iter().all(|column| columns.contains(column) || has_partner(*column, columns, paired))
}

/// Returns true if `column` is paired with one of `columns`.
fn has_partner(column: usize, columns: &[usize], paired: &[Pair]) -> bool {
    paired_with(column, paired).any(|partner| columns.contains(&partner))
}

/// The columns that are paired with `column`.
fn paired_with(column: usize, paired: &[Pair]) -> impl Iterator<Item = usize> {
    paired.iter().filter_map(move |pair| match pair.columns {
        (a, b) if a == column => Some(b),
        (a, b) if b == column => Some(a),
        _ => None,
    })
}

impl Pair {
    /// A pair of `a` and `b`, which is later by `apart_us`.
    fn new(a: usize, b: usize, apart_us: i64) -> Option<Pair> {
        if a < b {
            return Some(Pair { columns: (a, b), apart_us });
        }
        Some(Pair { columns: (b, a), apart_us: apart_us.checked_neg()? })
    }

    fn has(&self, column: usize) -> bool {
        self.columns.0 == column || self.columns.1 == column
    }

    fn shifted(&self, by: usize) -> Pair {
        Pair { columns: (self.columns.0 + by, self.columns.1 + by), ..*self }
    }
}

/// Minimal keys: without columns that another one of the key is paired with, and without keys that contain
/// another.
fn minimal_keys(keys: Vec<Vec<usize>>, paired: &[Pair]) -> Vec<Vec<usize>> {
    let mut out: Vec<Vec<usize>> = Vec::new();
    for mut columns in keys {
        columns.sort_unstable();
        columns.dedup();
        // Of two paired columns the later one in the key is dropped.
        let mut key: Vec<usize> = Vec::with_capacity(columns.len());
        for column in columns {
            if !has_partner(column, &key, paired) {
                key.push(column);
            }
        }
        if !out.iter().any(|known| covers_key(known, &key, paired)) {
            out.retain(|known| !covers_key(&key, known, paired));
            out.push(key);
        }
    }
    out.truncate(MAX_KEYS);
    out
}

/// The keys of the input that the output has as well.
fn carried_keys(exprs: &[Scalar], input: &Rel) -> Vec<Vec<usize>> {
    input.unique.iter().filter_map(|key| carried_key(key, exprs, input)).collect()
}

/// The output columns that hold `key`'s columns, or paired columns where those are dropped. A constant that is
/// dropped tells no rows apart: the others are a key without it.
fn carried_key(key: &[usize], exprs: &[Scalar], input: &Rel) -> Option<Vec<usize>> {
    let mut carried = Vec::with_capacity(key.len());
    for column in key {
        let mut standing = std::iter::once(*column).chain(paired_with(*column, &input.paired));
        match standing.find_map(|column| output_of(column, exprs, input)) {
            Some(output) => carried.push(output),
            None if input.constants.contains_key(column) => {}
            None => return None,
        }
    }
    // A key of constants alone says that there is one row at most, and would hide the other keys.
    if carried.is_empty() && !key.is_empty() { None } else { Some(carried) }
}

/// The output column that holds a column of the input.
fn output_of(column: usize, exprs: &[Scalar], input: &Rel) -> Option<usize> {
    exprs.iter().position(|expr| carried_column(expr, input) == Some(column))
}

/// Pairs of output columns: pairs of the input, copies of one value, and `a` beside `a + constant`.
fn output_pairs(exprs: &[Scalar], input: &Rel) -> Vec<Pair> {
    let mut out = Vec::new();
    for (i, a) in exprs.iter().enumerate() {
        for (j, b) in exprs.iter().enumerate().skip(i + 1) {
            if let Some(apart) = distance_between(a, b, input) {
                out.extend(Pair::new(i, j, apart));
            }
        }
    }
    out
}

/// The constant time by which `b` is later than `a`, where each determines the other; 0 for copies of one
/// value.
fn distance_between(a: &Scalar, b: &Scalar, input: &Rel) -> Option<i64> {
    if a.expr().as_ref() == b.expr().as_ref() {
        return Some(0);
    }
    if let Some(apart) = pair_distance(a, b, &input.paired) {
        return Some(apart);
    }
    match constant_shift(a.expr(), b.expr(), &input.schema) {
        Some(later) => Some(later),
        None => constant_shift(b.expr(), a.expr(), &input.schema)?.checked_neg(),
    }
}

/// Distance of two columns of the input that are a pair.
fn pair_distance(a: &Scalar, b: &Scalar, paired: &[Pair]) -> Option<i64> {
    let (x, y) = (a.as_column()?, b.as_column()?);
    let pair = paired.iter().find(|pair| pair.has(x) && pair.has(y))?;
    if pair.columns == (x, y) { Some(pair.apart_us) } else { pair.apart_us.checked_neg() }
}

/// The constant time by which `b` is later than `a`: each then determines the other. None where there is
/// none.
fn constant_shift(a: &Arc<dyn PhysicalExpr>, b: &Arc<dyn PhysicalExpr>, input: &Schema) -> Option<i64> {
    let b = match b.downcast_ref::<CastExpr>() {
        Some(cast) if same_instant(cast, input) => cast.expr(),
        _ => b,
    };
    let b = strip_canonical(b);
    if let Some(end) = b.downcast_ref::<ScalarFunctionExpr>() {
        let ends_a = match (end.name(), a.downcast_ref::<ScalarFunctionExpr>()) {
            (HOP_END, _) => end.args().first().is_some_and(|of| of.as_ref() == a.as_ref()),
            (TUMBLE_END, Some(start)) => start.name() == TUMBLE_START && start.args() == end.args(),
            _ => false,
        };
        return if ends_a { event_time::constant_us(end.args().get(1)?) } else { None };
    }
    let sum = b.downcast_ref::<BinaryExpr>()?;
    let from = sum.left().data_type(input).ok()?;
    let moved = from == DataType::Date32 || is_time(&from);
    if !moved || strip_canonical(sum.left()).as_ref() != a.as_ref() || a.is::<Literal>() {
        return None;
    }
    // Months have no fixed length: two times may meet in one.
    let length = interval::literal_length(sum.right())?;
    match sum.op() {
        Operator::Plus => Some(length),
        Operator::Minus => length.checked_neg(),
        _ => None,
    }
}

/// Returns true if a cast is one-to-one: between TIMESTAMP and TIMESTAMPTZ, not to a day or a time of day.
fn same_instant(cast: &CastExpr, input: &Schema) -> bool {
    is_timestamp(cast.cast_type()) && cast.expr().data_type(input).is_ok_and(|from| is_timestamp(&from))
}

/// Returns true for TIMESTAMP, and for TIMESTAMPTZ in UTC.
fn is_timestamp(of: &DataType) -> bool {
    *of == DataType::Timestamp(TimeUnit::Microsecond, None) || *of == schemas::timestamptz()
}

/// Returns true if a new row makes no round of the recursion retract one.
fn rounds_only_add(recursive: &Recursive) -> bool {
    recursive.body.rels.iter().all(|rel| !matches!(rel.op, Op::Join { kind, .. } if !kind.only_adds()))
}

impl JoinKind {
    /// Returns true if a new row of an input makes the join retract none.
    fn only_adds(self) -> bool {
        matches!(self, JoinKind::Inner | JoinKind::Semi)
    }
}

/// The inputs whose retractions become retractions of the output; of a recursion those below the counts of
/// equal rows.
fn retracting_inputs(plan: &Plan, op: &Op) -> Vec<RelId> {
    let recursive = match op {
        Op::Recursive(recursive) => recursive,
        Op::TemporalJoin { left, when: When::ProcTime, .. } => return vec![*left],
        op => return op.inputs(),
    };
    let mut read = Vec::new();
    for input in recursive.inputs() {
        if input.counted {
            read.extend(plan.rels[input.rel].op.inputs());
        } else {
            read.push(input.rel);
        }
    }
    read
}

/// Returns true if no row of `rel` is ever retracted; for a plan that is not annotated yet.
fn only_adds(plan: &Plan, rel: RelId) -> bool {
    let rel = &plan.rels[rel];
    let adds = match &rel.op {
        Op::Source(at) => plan.sources[*at].keyed.is_none(),
        Op::EmitOnClose { .. } => return true,
        Op::Join { kind, .. } => kind.only_adds(),
        Op::TemporalFilter { until, .. } => until.is_empty(),
        Op::TemporalJoin { when: When::ProcTime, .. } => true,
        Op::Values(_) | Op::Filter { .. } | Op::Project { .. } | Op::Unnest { .. } | Op::Union { .. } => true,
        Op::Recursive(recursive) => rounds_only_add(recursive),
        op => matches!(op, Op::Distinct { .. }),
    };
    adds && retracting_inputs(plan, &rel.op).into_iter().all(|input| only_adds(plan, input))
}

/// Description of the operator because of which `rel` can retract rows.
pub(crate) fn why_retracts(plan: &Plan, rel: RelId) -> String {
    let r = &plan.rels[rel];
    if let Some(input) = retracting_inputs(plan, &r.op).into_iter().find(|i| !only_adds(plan, *i)) {
        return why_retracts(plan, input);
    }
    match &r.op {
        Op::Source(i) => format!("the table {} revises and deletes rows", plan.sources[*i].name),
        Op::Aggregate { .. } | Op::GroupRows { .. } => {
            format!("the GROUP BY of {} revises its results", r.owner)
        }
        Op::Window { .. } => format!("the window functions of {} revise their results", r.owner),
        Op::TemporalFilter { .. } => format!("rows of {} leave as now() moves on", r.owner),
        Op::Recursive(_) => {
            format!("the LEFT JOIN, NOT IN or NOT EXISTS of {} takes rows back when a match comes", r.owner)
        }
        Op::TemporalJoin { .. } => format!("the ASOF JOIN of {} revises what it found", r.owner),
        Op::Join { kind, .. } => {
            let join = match kind {
                JoinKind::Full => "FULL JOIN",
                JoinKind::Anti => "NOT IN, NOT EXISTS or EXCEPT",
                _ => "LEFT JOIN",
            };
            format!("the {join} of {} takes back unmatched rows when a match comes", r.owner)
        }
        _ => format!("{} can take rows back", r.owner),
    }
}

/// The expression as a plain column.
pub(crate) fn column_of(expr: &Arc<dyn PhysicalExpr>) -> Option<&Column> {
    expr.downcast_ref::<Column>()
}
