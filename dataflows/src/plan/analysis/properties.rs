//! What is known of each relation: unique keys, paired columns, append-only, forgetters, durable.
//!
//! Facts flow from inputs to users in one pass. They are proofs, not guesses: a key is listed only
//! where it is unique at every epoch whatever the data. Durability follows DESIGN.md 2.3.5: the
//! first state after an append-only source, and every state below a forgetter; all other state is
//! recomputed from what those (and keyed tables) hold.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, TimeUnit};
use datafusion_expr::Operator;
use datafusion_physical_expr::expressions::{BinaryExpr, CastExpr, Column, Literal};
use datafusion_physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use super::{event_time, interval};
use crate::functions::windows::event_windows::{HOP_END, TUMBLE_END, TUMBLE_START};
use crate::plan::canonical::bare;
use crate::plan::formats::IncludeKind;
use crate::plan::state_role::Part;
use crate::plan::window::{Call, Window};
use crate::plan::{JoinKind, Op, Pair, Plan, Recursive, Rel, RelId, Scalar, When};

/// Keys kept for one relation; joins multiply them.
const MAX_KEYS: usize = 8;

/// Computes the facts of every relation.
pub(crate) fn annotate(plan: &mut Plan) {
    event_time::expire(plan);
    // True where rows come from an append-only source with no state between.
    let mut unsaved: Vec<bool> = Vec::with_capacity(plan.rels.len());
    for id in 0..plan.rels.len() {
        let facts = facts(plan, id);
        let inputs = plan.rels[id].op.inputs();
        let raw = match &plan.rels[id].op {
            Op::Source(i) => plan.sources[*i].keyed.is_none(),
            _ => inputs.iter().any(|i| unsaved[*i]),
        };
        let stateful = plan.rels[id].op.stateful();
        let expires = plan.expiry.range((id, Part::Groups)..).next().is_some_and(|((of, _), _)| *of == id);
        let rel = &mut plan.rels[id];
        rel.unique = facts.unique;
        rel.paired = facts.paired;
        rel.append_only = facts.append_only;
        let forgets = matches!(rel.op, Op::Close { .. } | Op::Lookup { when: When::Now, .. });
        // A recursion reads what is whole on a restart, and is derived again from it.
        let saves = stateful && !matches!(rel.op, Op::Recursive(_));
        rel.durable = saves && (raw || forgets || facts.below_forgetter);
        // Rows that never leave are not kept once they are in.
        let stays = matches!(&rel.op, Op::Within { until, .. } if until.is_empty());
        let forgets = forgets || (stays && rel.durable);
        // What is recomputed on a restart comes out whole before anything of it expires.
        rel.below_forgetter = facts.below_forgetter || forgets || (expires && rel.durable);
        unsaved.push(raw && !stateful);
    }
}

/// Learns the keys of the relations from `first` on, while a topology is still being read.
pub(crate) fn learn(plan: &mut Plan, first: RelId) {
    for id in first..plan.rels.len() {
        let facts = facts(plan, id);
        let rel = &mut plan.rels[id];
        (rel.unique, rel.paired) = (facts.unique, facts.paired);
    }
}

struct Facts {
    unique: Vec<Vec<usize>>,
    paired: Vec<Pair>,
    append_only: bool,
    below_forgetter: bool,
}

fn facts(plan: &Plan, id: RelId) -> Facts {
    let rel = &plan.rels[id];
    let inputs: Vec<&Rel> = rel.op.inputs().into_iter().map(|i| &plan.rels[i]).collect();
    let mut facts = Facts {
        unique: Vec::new(),
        paired: Vec::new(),
        append_only: inputs.iter().all(|i| i.append_only),
        below_forgetter: inputs.iter().any(|i| i.below_forgetter),
    };
    match &rel.op {
        Op::Source(i) => source(plan, *i, &mut facts),
        Op::Values(rows) => {
            if rows.num_rows() <= 1 {
                facts.unique.push(vec![]);
            }
        }
        Op::Within { until, .. } => {
            facts.append_only &= until.is_empty();
            facts.paired.clone_from(&inputs[0].paired);
            facts.unique.clone_from(&inputs[0].unique);
        }
        Op::Filter { .. } => {
            facts.unique.clone_from(&inputs[0].unique);
            facts.paired.clone_from(&inputs[0].paired);
        }
        Op::Project { exprs, .. } => {
            facts.paired = pairs(exprs, inputs[0]);
            facts.unique = inputs[0].unique.iter().filter_map(|key| through(key, exprs, inputs[0])).collect();
        }
        Op::Unnest { column, .. } => {
            facts.paired = inputs[0].paired.iter().copied().filter(|pair| !pair.holds(*column)).collect();
        }
        Op::Union { .. } => {
            // A pair stands where the distance is one in all inputs: else one start would have two ends.
            let mut paired = inputs.first().map(|i| i.paired.clone()).unwrap_or_default();
            paired.retain(|p| inputs.iter().all(|i| i.paired.contains(p)));
            facts.paired = paired;
        }
        Op::Distinct { .. } => {
            facts.paired.clone_from(&inputs[0].paired);
            facts.unique.clone_from(&inputs[0].unique);
            facts.unique.push((0..rel.schema.fields().len()).collect());
        }
        Op::Close { .. } => {
            facts.append_only = true;
            facts.paired.clone_from(&inputs[0].paired);
            facts.unique.clone_from(&inputs[0].unique);
        }
        Op::Aggregate { keys, .. } | Op::Fold { keys, .. } => {
            facts.append_only = false;
            facts.paired = pairs(keys, inputs[0]);
            facts.unique = vec![(0..keys.len()).collect()];
            // A key of the input that the grouping keeps is a key of the output too.
            facts.unique.extend(inputs[0].unique.iter().filter_map(|key| through(key, keys, inputs[0])));
        }
        Op::Window { window, .. } => {
            facts.append_only = false;
            facts.paired.clone_from(&inputs[0].paired);
            facts.unique = window_keys(window, inputs[0]);
        }
        Op::Join { kind, left_keys, right_keys, .. } => {
            join(*kind, (left_keys, right_keys), (inputs[0], inputs[1]), &mut facts)
        }
        Op::Lookup { right_keys, when, .. } => {
            let now = *when == When::Now;
            facts.append_only = now && inputs[0].append_only;
            facts.paired.clone_from(&inputs[0].paired);
            if !now || covers(right_keys, inputs[1]) {
                facts.unique.clone_from(&inputs[0].unique);
            }
        }
        Op::Recursive(recursive) => {
            if recursive.distinct {
                facts.unique.push((0..rel.schema.fields().len()).collect());
            }
            facts.append_only =
                adds(recursive) && read(plan, &rel.op).into_iter().all(|input| plan.rels[input].append_only);
        }
        Op::Given(_) => {}
    }
    facts.unique = reduce(facts.unique, &facts.paired);
    facts
}

fn source(plan: &Plan, index: usize, facts: &mut Facts) {
    let source = &plan.sources[index];
    match &source.keyed {
        Some(keyed) => {
            // A forgotten row is not taken back, and its key may come again as a new row.
            let forgets = keyed.retention_us.is_some();
            facts.unique = if forgets { vec![] } else { vec![keyed.key.clone()] };
            facts.append_only = false;
            facts.below_forgetter = forgets;
        }
        None => {
            let at = |kind: &IncludeKind| {
                let include = source.includes.iter().position(|i| i == kind)?;
                source
                    .origins
                    .iter()
                    .position(|o| matches!(o, crate::plan::Origin::Included(i) if *i == include))
            };
            if let (Some(partition), Some(offset)) = (at(&IncludeKind::Partition), at(&IncludeKind::Offset)) {
                facts.unique = vec![vec![partition, offset]];
            }
        }
    }
}

fn join(kind: JoinKind, keys: (&[Scalar], &[Scalar]), sides: (&Rel, &Rel), facts: &mut Facts) {
    let (left, right) = sides;
    let width = left.schema.fields().len();
    let shift = |key: &Vec<usize>| -> Vec<usize> { key.iter().map(|c| c + width).collect() };
    facts.append_only &= matches!(kind, JoinKind::Inner | JoinKind::Semi);
    facts.paired.clone_from(&left.paired);
    if !kind.pairs() {
        facts.unique.clone_from(&left.unique);
        return;
    }
    facts.paired.extend(right.paired.iter().map(|pair| pair.moved(width)));
    if kind != JoinKind::Full && covers(keys.1, right) {
        facts.unique.extend(left.unique.iter().cloned());
    }
    if kind == JoinKind::Inner && covers(keys.0, left) {
        facts.unique.extend(right.unique.iter().map(shift));
    }
    // Where both keys can be all NULL, a left and a right row without a match could look alike.
    let told = |key: &[usize], rel: &Rel| key.iter().any(|c| !rel.schema.field(*c).is_nullable());
    for l in &left.unique {
        for r in &right.unique {
            if kind != JoinKind::Full || told(l, left) || told(r, right) {
                facts.unique.push(l.iter().copied().chain(shift(r)).collect());
            }
        }
    }
}

/// Whether `scalars` fix a key of `rel`.
fn covers(scalars: &[Scalar], rel: &Rel) -> bool {
    let columns: Vec<usize> = scalars.iter().filter_map(Scalar::as_column).collect();
    rel.unique.iter().any(|key| covered(key, &columns, &rel.paired))
}

/// The input's keys, and the partition with a row number, which alone is unique where only the first
/// row comes out.
fn window_keys(window: &Window, input: &Rel) -> Vec<Vec<usize>> {
    let partition: Option<Vec<usize>> = window.partition.iter().map(Scalar::as_column).collect();
    let numbers = |at: &usize| matches!(window.functions[*at].call, Call::RowNumber);
    let mut keys = input.unique.clone();
    if let Some(partition) = partition {
        for at in (0..window.functions.len()).filter(numbers) {
            let alone = window.first.is_some_and(|f| f.function == at && f.most <= 1);
            let number = (!alone).then_some(input.schema.fields().len() + at);
            keys.push(partition.iter().copied().chain(number).collect());
        }
    }
    keys
}

/// Whether `columns` fix every column of `key`, pairs standing for each other.
pub(crate) fn covered(key: &[usize], columns: &[usize], paired: &[Pair]) -> bool {
    key.iter().all(|k| columns.contains(k) || partners(*k, paired).any(|p| columns.contains(&p)))
}

fn partners(column: usize, paired: &[Pair]) -> impl Iterator<Item = usize> {
    paired.iter().filter_map(move |pair| match pair.columns {
        (a, b) if a == column => Some(b),
        (a, b) if b == column => Some(a),
        _ => None,
    })
}

impl Pair {
    /// `b` is `a`, so much later.
    fn new(a: usize, b: usize, apart_us: i64) -> Option<Pair> {
        if a < b {
            return Some(Pair { columns: (a, b), apart_us });
        }
        Some(Pair { columns: (b, a), apart_us: apart_us.checked_neg()? })
    }

    fn holds(&self, column: usize) -> bool {
        self.columns.0 == column || self.columns.1 == column
    }

    fn moved(&self, by: usize) -> Pair {
        Pair { columns: (self.columns.0 + by, self.columns.1 + by), ..*self }
    }
}

/// Minimal keys: of two paired columns one is enough, and what contains another key is no news.
fn reduce(keys: Vec<Vec<usize>>, paired: &[Pair]) -> Vec<Vec<usize>> {
    let mut out: Vec<Vec<usize>> = Vec::new();
    for mut key in keys {
        key.sort_unstable();
        key.dedup();
        let mut at = 0;
        while at < key.len() {
            let first = key[at];
            let partner: Vec<usize> = partners(first, paired).collect();
            let mut index = 0;
            key.retain(|c| {
                index += 1;
                index - 1 <= at || !partner.contains(c)
            });
            at += 1;
        }
        if !out.iter().any(|known| covered(known, &key, paired)) {
            out.retain(|known| !covered(&key, known, paired));
            out.push(key);
        }
    }
    out.truncate(MAX_KEYS);
    out
}

/// The output columns that hold `key`'s columns, a partner where the column itself is dropped.
fn through(key: &[usize], exprs: &[Scalar], input: &Rel) -> Option<Vec<usize>> {
    let output = |column: usize| exprs.iter().position(|e| carried(e, input) == Some(column));
    key.iter().map(|c| output(*c).or_else(|| partners(*c, &input.paired).find_map(output))).collect()
}

/// The column whose values `expr` tells apart: it is the column, or a checked cast of a whole number.
fn carried(expr: &Scalar, input: &Rel) -> Option<usize> {
    let Some(cast) = expr.expr().downcast_ref::<CastExpr>() else { return expr.as_column() };
    let from = cast.expr().data_type(&input.schema).ok()?;
    let whole = from.is_integer() && cast.cast_type().is_integer();
    column_of(cast.expr()).filter(|_| whole).map(Column::index)
}

/// Pairs of output columns: pairs of the input, copies of one value, and `a` beside `a + constant`.
fn pairs(exprs: &[Scalar], input: &Rel) -> Vec<Pair> {
    let mut out = Vec::new();
    for (i, a) in exprs.iter().enumerate() {
        for (j, b) in exprs.iter().enumerate().skip(i + 1) {
            let apart = || {
                let later = shifted(a.expr(), b.expr(), &input.schema);
                later.or_else(|| shifted(b.expr(), a.expr(), &input.schema)?.checked_neg())
            };
            let apart = if a.expr().as_ref() == b.expr().as_ref() {
                Some(0)
            } else {
                kept(a, b, &input.paired).or_else(apart)
            };
            out.extend(apart.and_then(|apart| Pair::new(i, j, apart)));
        }
    }
    out
}

/// How far apart two columns of the input are that are a pair.
fn kept(a: &Scalar, b: &Scalar, paired: &[Pair]) -> Option<i64> {
    let (x, y) = (a.as_column()?, b.as_column()?);
    let pair = paired.iter().find(|pair| pair.holds(x) && pair.holds(y))?;
    if pair.columns == (x, y) { Some(pair.apart_us) } else { pair.apart_us.checked_neg() }
}

/// How much later `b` is than `a`, where it is `a` moved by a constant time: each determines the other.
fn shifted(a: &Arc<dyn PhysicalExpr>, b: &Arc<dyn PhysicalExpr>, input: &Schema) -> Option<i64> {
    let b = b.downcast_ref::<CastExpr>().filter(|cast| same_instant(cast, input)).map_or(b, CastExpr::expr);
    let b = bare(b);
    if let Some(end) = b.downcast_ref::<ScalarFunctionExpr>() {
        let size = || event_time::constant(end.args().get(1)?);
        let start = a.downcast_ref::<ScalarFunctionExpr>();
        let of = match end.name() {
            HOP_END => end.args().first().is_some_and(|of| of.as_ref() == a.as_ref()),
            TUMBLE_END => start.is_some_and(|s| s.name() == TUMBLE_START && s.args() == end.args()),
            _ => false,
        };
        return of.then(size).flatten();
    }
    let sum = b.downcast_ref::<BinaryExpr>()?;
    let moved = matches!(
        sum.left().data_type(input).ok()?,
        DataType::Date32 | DataType::Timestamp(TimeUnit::Microsecond, _)
    );
    if !moved || bare(sum.left()).as_ref() != a.as_ref() || a.is::<Literal>() {
        return None;
    }
    // Months have no fixed length: two times may meet in one.
    let length = interval::literal_us(sum.right().downcast_ref::<Literal>()?.value())?;
    match sum.op() {
        Operator::Plus => Some(length),
        Operator::Minus => length.checked_neg(),
        _ => None,
    }
}

/// Whether a cast keeps every value apart: between TIMESTAMP and TIMESTAMPTZ, not to a day or a time of day.
fn same_instant(cast: &CastExpr, input: &Schema) -> bool {
    let local = DataType::Timestamp(TimeUnit::Microsecond, None);
    let time = |of: &DataType| *of == local || *of == schemas::timestamptz();
    time(cast.cast_type()) && cast.expr().data_type(input).is_ok_and(|from| time(&from))
}

/// Tells whether a round takes nothing back because a row comes.
fn adds(recursive: &Recursive) -> bool {
    let least =
        |op: &Op| !matches!(op, Op::Join { kind, .. } if !matches!(kind, JoinKind::Inner | JoinKind::Semi));
    recursive.body.rels.iter().all(|rel| least(&rel.op))
}

/// The inputs of which what is taken back is taken back of the output; of a recursion those beneath the counts of
/// equal rows.
fn read(plan: &Plan, op: &Op) -> Vec<RelId> {
    let recursive = match op {
        Op::Recursive(recursive) => recursive,
        Op::Lookup { left, when: When::Now, .. } => return vec![*left],
        op => return op.inputs(),
    };
    let read = recursive.inputs().flat_map(|input| match input.counted {
        true => plan.rels[input.rel].op.inputs(),
        false => vec![input.rel],
    });
    read.collect()
}

/// Whether no row of `rel` is ever taken back, of a plan that is not annotated yet.
fn only_adds(plan: &Plan, rel: RelId) -> bool {
    let rel = &plan.rels[rel];
    let adds = match &rel.op {
        Op::Source(at) => plan.sources[*at].keyed.is_none(),
        Op::Close { .. } => return true,
        Op::Join { kind, .. } => matches!(kind, JoinKind::Inner | JoinKind::Semi),
        Op::Within { until, .. } => until.is_empty(),
        Op::Lookup { when: When::Now, .. } => true,
        Op::Values(_) | Op::Filter { .. } | Op::Project { .. } | Op::Unnest { .. } | Op::Union { .. } => true,
        Op::Recursive(recursive) => self::adds(recursive),
        op => matches!(op, Op::Distinct { .. }),
    };
    adds && read(plan, &rel.op).into_iter().all(|input| only_adds(plan, input))
}

/// The operator because of which `rel` can retract rows, in words.
pub(crate) fn why_retracts(plan: &Plan, rel: RelId) -> String {
    let r = &plan.rels[rel];
    if let Some(input) = read(plan, &r.op).into_iter().find(|i| !only_adds(plan, *i)) {
        return why_retracts(plan, input);
    }
    match &r.op {
        Op::Source(i) => format!("the table {} revises and deletes rows", plan.sources[*i].name),
        Op::Aggregate { .. } | Op::Fold { .. } => format!("the GROUP BY of {} revises its results", r.owner),
        Op::Window { .. } => format!("the window functions of {} revise their results", r.owner),
        Op::Within { .. } => format!("rows of {} leave as now() moves on", r.owner),
        Op::Recursive(_) => {
            format!("the LEFT JOIN, NOT IN or NOT EXISTS of {} takes rows back when a match comes", r.owner)
        }
        Op::Lookup { .. } => format!("the ASOF JOIN of {} revises what it found", r.owner),
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

/// Used by the pruning pass, which looks for columns the same way.
pub(crate) fn column_of(expr: &Arc<dyn PhysicalExpr>) -> Option<&Column> {
    expr.downcast_ref::<Column>()
}
