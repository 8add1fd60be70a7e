//! Plans as text, JSON and a graph, and their fingerprints.
//!
//! `explain` shows each relation with its operator, the facts about it, the state it keeps, and
//! whether that state is durable or recomputed; it shows no option that could hold a secret. A
//! fingerprint is the hash of the canonical text of a relation and all below it: two plans with the
//! same fingerprint keep the same state. The address of a broker is not part of it; the topic that is
//! read or written is. What is shown has SQL's words in place of the engine's (`words`); so have the texts of
//! the error table ([`failure`]).

mod content;
mod dot;
pub mod failure;
mod fingerprint;
mod json;
pub mod lineage;
mod sources;
mod words;

use std::fmt::{Display, Write as _};

use arrow::datatypes::Schema;

pub use content::{Prints, is_other_print};
pub use fingerprint::{
    fingerprint, pseudonyms_of_form, sink_fingerprint, sink_form, source_fingerprint, version,
};

pub use self::sources::export_path;
use self::sources::{connector_text, key_of, source_text};
use super::aggregate::has_totals;
use super::analysis::interval;
use super::formats::Format;
use super::state_role::StateRole;
use super::window::{Window, kept_first};
use super::{
    Conflict, Edge, History, Horizon, JoinKind, Op, Plan, Recursive, RecursiveInput, Rel, RelId, Scalar,
    Sink, View, When,
};

/// Forms of `explain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// For Graphviz.
    Dot,
}

/// Writes the plan, or the part of it that the view, sink or source `only` needs, in the given form.
/// None where nothing is called `only`.
pub fn explain(plan: &Plan, only: Option<&str>, form: Form) -> Option<String> {
    let shown = match only {
        None => (0..plan.rels.len()).collect(),
        Some(name) => rels_below(plan, rel_named(plan, name)?),
    };
    Some(match form {
        Form::Text => as_text(plan, &shown, only),
        Form::Json => format!("{:#}\n", json::as_json(plan, &shown, only)),
        Form::Dot => dot::as_dot(plan, &shown, only),
    })
}

/// The names that `explain` accepts.
pub fn names(plan: &Plan) -> Vec<&str> {
    let views = plan.views.iter().map(|v| v.name.as_str());
    views
        .chain(plan.sinks.iter().map(|s| s.name.as_str()))
        .chain(plan.sources.iter().map(|s| s.name.as_str()))
        .collect()
}

/// The relation of the view, sink or source of that name.
fn rel_named(plan: &Plan, name: &str) -> Option<RelId> {
    if let Some(view) = plan.views.iter().find(|v| v.name == name) {
        return Some(view.rel);
    }
    if let Some(sink) = plan.sinks.iter().find(|s| s.name == name) {
        return Some(sink.rel);
    }
    plan.rels.iter().position(|r| matches!(r.op, Op::Source(i) if plan.sources[i].name == name))
}

/// Returns true if a view or sink of that name is shown: all are where `only` names none.
fn is_shown(only: Option<&str>, name: &str) -> bool {
    only.is_none_or(|only| only == name)
}

/// A relation and all below it, ascending.
fn rels_below(plan: &Plan, root: RelId) -> Vec<RelId> {
    let mut live = vec![false; plan.rels.len()];
    live[root] = true;
    for id in (0..=root).rev() {
        if live[id] {
            for input in plan.rels[id].op.inputs() {
                live[input] = true;
            }
        }
    }
    (0..plan.rels.len()).filter(|id| live[*id]).collect()
}

/// The name of an operator and its arguments, columns by name.
struct OperatorText {
    op: &'static str,
    detail: String,
}

/// Name and arguments of a relation's operator as they are shown.
fn shown_operator(plan: &Plan, rel: &Rel) -> OperatorText {
    let OperatorText { op, detail } = operator_text(plan, rel);
    let op = match op {
        "Close" => "EmitOnWindowClose",
        "Fold" => "RowAggregate",
        "Lookup" => "LookupJoin",
        "LeftLookup" => "LeftLookupJoin",
        "Within" => "TemporalFilter",
        other => other,
    };
    let detail = detail.replace(PROCTIME_TEXT, "as of processing time (not reproducible on recomputation)");
    OperatorText { op, detail: words::readable(&detail) }
}

/// Name of a relation's operator as it is shown.
pub fn operator_name(plan: &Plan, rel: &Rel) -> &'static str {
    shown_operator(plan, rel).op
}

/// Canonical text of the time of a join as of PROCTIME().
const PROCTIME_TEXT: &str = "as it is in the epoch (exempt from what recomputation guarantees)";

/// Connector and topic or path of a source or sink, which tell where its records are.
pub fn place_text(options: &std::collections::BTreeMap<String, String>) -> String {
    connector_text(options)
}

/// Name and arguments of a relation's operator. Fingerprints hash this text: it must stay as it is.
fn operator_text(plan: &Plan, rel: &Rel) -> OperatorText {
    let (op, detail) = match &rel.op {
        Op::Source(i) => {
            (if plan.sources[*i].keyed.is_some() { "Table" } else { "Source" }, plan.sources[*i].name.clone())
        }
        Op::Values(rows) => ("Values", format!("{} rows", rows.num_rows())),
        Op::Filter { predicate, .. } => ("Filter", predicate.to_string()),
        Op::TemporalFilter { since, until, clock, .. } => ("Within", within_text(plan, since, until, clock)),
        Op::Project { exprs, .. } => ("Project", projection_text(rel, exprs)),
        Op::Unnest { column, outer, .. } => (
            "Unnest",
            format!(
                "{}{}",
                rel.schema.field(*column).name(),
                if *outer { " (rows without items stay)" } else { "" }
            ),
        ),
        Op::Union { .. } => ("Union", String::new()),
        Op::Distinct { .. } => ("Distinct", String::new()),
        Op::EmitOnClose { horizon, .. } => {
            ("Close", final_when(plan, &rel.schema, (horizon.column, horizon)))
        }
        Op::Aggregate { keys, aggregates, .. } => {
            let aggregates = named_columns(rel, keys.len(), aggregates);
            ("Aggregate", format!("by [{}]: {aggregates}", comma_list(keys)))
        }
        Op::Window { window, .. } => window_text(rel, window),
        Op::GroupRows { keys, folds, .. } => {
            let folds = named_columns(rel, keys.len(), folds);
            ("Fold", format!("by [{}]: {folds}", comma_list(keys)))
        }
        Op::Join { .. } => join_text(&rel.op),
        Op::TemporalJoin { .. } => temporal_join_text(plan, rel),
        Op::Recursive(of) => (
            "Recursive",
            format!("{} by UNION{}, round by round", of.name, if of.distinct { "" } else { " ALL" }),
        ),
        Op::Given(0) => ("Round", "the rows of the round before".to_owned()),
        Op::Given(side) => ("Side", side.to_string()),
    };
    OperatorText { op, detail }
}

/// The texts of some items, with commas between them.
fn comma_list<T: Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The items of an operator, each behind the name of its column; that of the first is `first`.
fn named_columns<T: Display>(rel: &Rel, first: usize, items: &[T]) -> String {
    let mut named = Vec::with_capacity(items.len());
    for (item, field) in items.iter().zip(rel.schema.fields().iter().skip(first)) {
        named.push(format!("{} = {item}", field.name()));
    }
    named.join(", ")
}

/// The expressions of a projection, each behind the name of its column.
fn projection_text(rel: &Rel, exprs: &[Scalar]) -> String {
    let mut named = Vec::with_capacity(exprs.len());
    for (expr, field) in exprs.iter().zip(rel.schema.fields()) {
        let text = expr.to_string();
        // A column that keeps its name is written once.
        if text == format!("{}@{}", field.name(), expr.as_column().unwrap_or(usize::MAX)) {
            named.push(text);
        } else {
            named.push(format!("{} = {text}", field.name()));
        }
    }
    named.join(", ")
}

/// The watermarks while which a row passes, in words.
fn within_text(plan: &Plan, since: &[Edge], until: &[Edge], clock: &[usize]) -> String {
    let mut edges = Vec::with_capacity(since.len() + until.len());
    for edge in since {
        edges.push(edge_text(edge, ("at or above", "above")));
    }
    for edge in until {
        edges.push(edge_text(edge, ("below", "at or below")));
    }
    let clock: Vec<&str> = clock.iter().map(|source| source_name(plan, *source)).collect();
    let marks = if let [one] = *clock {
        format!("the watermark of {one}")
    } else {
        format!("the least watermark of {}", clock.join(", "))
    };
    format!("while {marks} is {}", edges.join(" and "))
}

/// A time of a row less or plus a constant, behind its relation to the watermark in words.
fn edge_text(edge: &Edge, (even, odd): (&str, &str)) -> String {
    // A time less a microsecond, or plus one, is how the other of "at" and "above" is written.
    let (words, us) = if edge.us.rem_euclid(1_000) == 1 { (odd, edge.us - 1) } else { (even, edge.us) };
    let moved = match us {
        0 => String::new(),
        1.. => format!(" plus {}", length_text(us)),
        _ => format!(" less {}", length_text(us.saturating_neg())),
    };
    format!("{words} {}{moved}", edge.time)
}

/// The name of the source at `source`.
fn source_name(plan: &Plan, source: usize) -> &str {
    plan.sources.get(source).map_or("a source", |s| s.name.as_str())
}

fn window_text(rel: &Rel, window: &Window) -> (&'static str, String) {
    let by = comma_list(&window.partition);
    let order = if window.order.is_empty() { "row".to_owned() } else { comma_list(&window.order) };
    let first = match &window.first {
        Some(first) => format!(", first {} by {}", first.most, window.functions[first.function]),
        None => String::new(),
    };
    let before = rel.schema.fields().len() - window.functions.len();
    let named = named_columns(rel, before, &window.functions);
    ("Window", format!("by [{by}] order [{order}]{first}: {named}"))
}

fn join_text(op: &Op) -> (&'static str, String) {
    let Op::Join { kind, left_keys, right_keys, residual, null_equal, .. } = op else {
        return ("Join", String::new());
    };
    let equals = if *null_equal { "is not distinct from" } else { "=" };
    let on = equal_keys_text(left_keys, right_keys, equals).unwrap_or_else(|| "every pair".to_owned());
    let residual = match residual {
        Some(residual) => format!(" where {residual}"),
        None => String::new(),
    };
    let name = match kind {
        JoinKind::Inner => "Join",
        JoinKind::Left => "LeftJoin",
        JoinKind::Full => "FullJoin",
        JoinKind::Semi => "SemiJoin",
        JoinKind::Anti => "AntiJoin",
    };
    (name, format!("{on}{residual}"))
}

/// The condition that the keys of a join's sides are equal; None without keys.
fn equal_keys_text(left: &[Scalar], right: &[Scalar], equals: &str) -> Option<String> {
    let on: Vec<String> = left.iter().zip(right).map(|(l, r)| format!("{l} {equals} {r}")).collect();
    if on.is_empty() { None } else { Some(format!("on {}", on.join(" and "))) }
}

fn temporal_join_text(plan: &Plan, rel: &Rel) -> (&'static str, String) {
    let Op::TemporalJoin { left, right, left_keys, right_keys, outer, when } = &rel.op else {
        return ("Lookup", String::new());
    };
    let on = equal_keys_text(left_keys, right_keys, "=").unwrap_or_else(|| "every row".to_owned());
    let (name, when) = match when {
        When::ProcTime => (if *outer { "LeftLookup" } else { "Lookup" }, PROCTIME_TEXT.to_owned()),
        When::AsOf { left: l, right: r, nearest } => {
            let which = match (nearest.forward, nearest.strict) {
                (false, true) => ("latest", "before"),
                (false, false) => ("latest", "not after"),
                (true, true) => ("first", "after"),
                (true, false) => ("first", "not before"),
            };
            let (sought, given) = (&plan.rels[*right].schema, &plan.rels[*left].schema);
            (
                if *outer { "LeftAsOfJoin" } else { "AsOfJoin" },
                format!("the {} {} {} {}", which.0, sought.field(*r).name(), which.1, given.field(*l).name()),
            )
        }
    };
    (name, format!("{on}, {when}"))
}

/// The state that an operator keeps, in words; None for stateless ones.
fn state_text(plan: &Plan, id: RelId) -> Option<String> {
    let rel = &plan.rels[id];
    Some(match &rel.op {
        Op::Source(i) => {
            let source = &plan.sources[*i];
            let keyed = source.keyed.as_ref()?;
            let rule = match &keyed.conflict {
                Conflict::DoNothing => "the first row of each key".to_owned(),
                Conflict::Overwrite { version: None } => "the latest row of each key".to_owned(),
                Conflict::Overwrite { version: Some(v) } => {
                    format!("the row of each key with the greatest {}", source.schema.field(*v).name())
                }
            };
            let versioned = matches!(keyed.conflict, Conflict::Overwrite { version: Some(_) });
            let deleted = versioned && source.format != Format::Plain;
            let tombstones = if deleted { ", and the version of each deleted one" } else { "" };
            format!("{rule}{tombstones}, key {}", names_of(&source.schema, &keyed.key))
        }
        Op::Distinct { .. } => "every row and its count".to_owned(),
        Op::Aggregate { aggregates, .. } => {
            let indexed = !has_totals(plan, id) && aggregates.iter().any(|a| a.func.is_extreme());
            let kept = if indexed { ", and the values of min and max" } else { "" };
            format!("accumulators of each group{kept}")
        }
        Op::Window { window, .. } => {
            let of =
                if window.partition.is_empty() { "in one partition, on one worker" } else { "by partition" };
            let kept = if kept_first(plan, id).is_some() { "the output rows" } else { "every row" };
            format!("{kept} {of}, in order")
        }
        Op::GroupRows { .. } => {
            "the aggregates' arguments of every row of each group, with its count".to_owned()
        }
        Op::Join { left, right, residual: Some(residual), .. }
            if interval::band(residual, &plan.rels[*left].schema, &plan.rels[*right].schema, None)
                .is_some() =>
        {
            "the rows of both sides by join key and time".to_owned()
        }
        Op::Join { left_keys, .. } if left_keys.is_empty() => {
            "the rows of both sides in one group, on one worker".to_owned()
        }
        Op::Join { .. } => "the rows of both sides by join key".to_owned(),
        Op::EmitOnClose { .. } => "rows that are not final yet".to_owned(),
        Op::TemporalFilter { until, .. } if until.is_empty() => "rows that do not pass yet".to_owned(),
        Op::TemporalFilter { .. } => "rows that pass or will pass".to_owned(),
        Op::TemporalJoin { left, when: When::ProcTime, .. } => {
            let found =
                if plan.rels[*left].is_append_only() { "" } else { ", and the matches of each left row" };
            format!("the rows of the right side by join key{found}")
        }
        Op::TemporalJoin { .. } => "the rows of both sides by join key and time".to_owned(),
        Op::Recursive(of) if of.distinct => "the rows of every round, and sides by join key".to_owned(),
        Op::Recursive(_) => "the rows of every round with their counts, and sides by join key".to_owned(),
        _ => return None,
    })
}

fn durability(rel: &Rel) -> &'static str {
    if matches!(rel.op, Op::Source(_)) || rel.durable { "durable" } else { "recomputed" }
}

/// The condition under which a row is final, in words.
fn final_when(plan: &Plan, schema: &Schema, (column, horizon): (usize, &Horizon)) -> String {
    let column = schema.field(column).name();
    let mut marks = Vec::with_capacity(horizon.marks.len());
    for (source, lag) in &horizon.marks {
        // "At or below" a watermark is written in the plan as a lag of one microsecond less.
        let (words, lag) = if (lag + 1) % 1_000 == 0 { ("at or below", lag + 1) } else { ("below", *lag) };
        let moved = match lag {
            0 => String::new(),
            1.. => format!(" less {}", length_text(lag)),
            _ => format!(" plus {}", length_text(-lag)),
        };
        marks.push(format!("is {words} the watermark of {}{moved}", source_name(plan, *source)));
    }
    format!("{column} {}", marks.join(" and "))
}

/// The retention of a view's rows, in words.
fn view_kept(plan: &Plan, view: &View) -> String {
    match &view.served {
        Some(served) => {
            let schema = &plan.rels[view.rel].schema;
            format!("served until {}", final_when(plan, schema, (served.column, served)))
        }
        None => "kept for ever".to_owned(),
    }
}

/// The history of a view, in words; nothing for the usual one.
fn history_kept(view: &View) -> String {
    match &view.history {
        Some(history) if *history == History::default() => String::new(),
        Some(History { age_us, bytes }) => {
            let size = match bytes >> 20 {
                mebibytes if mebibytes << 20 == *bytes => format!("{mebibytes} MiB"),
                _ => format!("{} KiB", bytes >> 10),
            };
            format!("; changes kept for {}, at most {size}", length_text(*age_us))
        }
        None => "; no changes kept".to_owned(),
    }
}

/// The columns of a view that are metrics, in words; nothing without them.
fn exported(plan: &Plan, view: &View) -> String {
    match view.metrics.as_slice() {
        [] => String::new(),
        metrics => format!("; metrics {}", names_of(&plan.rels[view.rel].schema, metrics)),
    }
}

/// The condition under which a relation's state is dropped, in words.
fn expiry_text(plan: &Plan, id: RelId) -> String {
    let rel = &plan.rels[id];
    let all = [StateRole::Groups, StateRole::Partitions, StateRole::Left, StateRole::Right];
    let parts: Vec<String> = all.into_iter().filter_map(|role| part_expiry(plan, id, role)).collect();
    if !parts.is_empty() {
        let but =
            if matches!(rel.op, Op::TemporalJoin { .. }) { ", but for the latest of each key" } else { "" };
        return format!("dropped once {}{but}", parts.join(", and "));
    }
    match &rel.op {
        Op::EmitOnClose { .. } => return "dropped when they are emitted".to_owned(),
        Op::TemporalFilter { until, .. } if until.is_empty() => {
            return "dropped when they pass".to_owned();
        }
        Op::TemporalFilter { .. } => return "dropped when they no longer pass".to_owned(),
        _ => {}
    }
    let source = match rel.op {
        Op::Source(i) => plan.sources.get(i),
        _ => None,
    };
    match source.and_then(|s| s.keyed.as_ref()?.retention_us) {
        Some(us) => format!("dropped once {} below the watermark of the partition", length_text(us)),
        None => "kept for ever".to_owned(),
    }
}

/// The condition under which one part of a relation's state is dropped, in words; None where it is kept.
fn part_expiry(plan: &Plan, id: RelId, role: StateRole) -> Option<String> {
    let horizon = plan.expiry.get(&(id, role))?;
    let rel = &plan.rels[id];
    let inputs = rel.op.inputs();
    let of = match role {
        StateRole::Left => *inputs.first()?,
        StateRole::Right => *inputs.get(1)?,
        _ => id,
    };
    // A window's horizon counts its PARTITION BY expressions, unless it ends sessions.
    let column = match &rel.op {
        Op::Window { .. } if plan.settled.contains_key(&id) => horizon.column,
        Op::Window { window, .. } => window.partition.get(horizon.column)?.as_column()?,
        _ => horizon.column,
    };
    Some(final_when(plan, &plan.rels[of].schema, (column, horizon)))
}

/// Microseconds in the largest unit that divides them.
fn length_text(us: i64) -> String {
    let units = [
        (86_400_000_000, "day"),
        (3_600_000_000, "hour"),
        (60_000_000, "minute"),
        (1_000_000, "second"),
        (1_000, "millisecond"),
    ];
    let fit = units.into_iter().find(|(unit, _)| us != 0 && us % unit == 0);
    match fit {
        Some((unit, name)) => count_text(us / unit, name),
        None => count_text(us, "microsecond"),
    }
}

/// A number of things that are called `unit`.
fn count_text(count: i64, unit: &str) -> String {
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// The names of some columns.
fn column_names<'s>(schema: &'s Schema, columns: &[usize]) -> Vec<&'s str> {
    columns.iter().map(|c| schema.field(*c).name().as_str()).collect()
}

fn names_of(schema: &Schema, columns: &[usize]) -> String {
    format!("({})", column_names(schema, columns).join(", "))
}

fn keys_text(rel: &Rel) -> String {
    match rel.unique.as_slice() {
        [] => "none".to_owned(),
        keys => {
            let telling = keys.iter().map(|key| names_of(&rel.schema, &rel.telling_columns(key)));
            telling.collect::<Vec<_>>().join(" ")
        }
    }
}

fn as_text(plan: &Plan, shown: &[RelId], only: Option<&str>) -> String {
    let mut out = String::new();
    for id in shown {
        let rel = &plan.rels[*id];
        let OperatorText { op, detail } = shown_operator(plan, rel);
        let inputs = inputs_text(&rel.op, '#');
        let space = if detail.is_empty() { "" } else { " " };
        let _ = writeln!(out, "#{id} {op}{inputs}{space}{detail}  [{}]", rel.owner);
        let _ = writeln!(out, "     columns  {}", words::readable(&words::shown_columns(&rel.schema)));
        let changes = if rel.is_append_only() { "append-only" } else { "updating (retracts)" };
        let expires = if rel.inputs_expire { "; input state expires" } else { "" };
        let _ = writeln!(out, "     key      {}; {changes}{expires}", words::readable(&keys_text(rel)));
        if let Op::Recursive(of) = &rel.op {
            let _ = write_rounds(&mut out, of);
        }
        if let Some(state) = state_text(plan, *id) {
            let expiry = words::readable(&expiry_text(plan, *id));
            let _ = writeln!(out, "     state    {state}; {}; {expiry}", durability(rel));
        }
        if let Op::Source(i) = rel.op {
            out.push_str(&source_text(&plan.sources[i]));
        }
    }
    for view in plan.views.iter().filter(|v| is_shown(only, &v.name)) {
        let key = match &view.key {
            Some(key) => names_of(&plan.rels[view.rel].schema, key),
            None => "the whole row, counted".to_owned(),
        };
        let (kept, more) = (view_kept(plan, view), history_kept(view) + &exported(plan, view));
        let _ = writeln!(out, "view {} shows #{}, kept by {key}; durable; {kept}{more}", view.name, view.rel);
        for index in &view.indexes {
            let columns = names_of(&plan.rels[view.rel].schema, &index.columns);
            let _ = writeln!(out, "index {} of {} by {columns}; durable", index.name, view.name);
        }
    }
    for sink in plan.sinks.iter().filter(|s| is_shown(only, &s.name)) {
        let key = if sink.key.is_empty() {
            String::new()
        } else {
            format!(", key {}", names_of(&plan.rels[sink.rel].schema, &sink.key))
        };
        let _ = writeln!(
            out,
            "sink {} sends #{} as {} {} to {}{key}{}",
            sink.name,
            sink.rel,
            sink.format.word(),
            sink.encoding.word(),
            connector_text(&sink.options),
            pseudonyms_of(plan, sink)
        );
    }
    if only.is_none() {
        let _ = writeln!(out, "version {}", plan.version);
    }
    out
}

/// The columns that leave as pseudonyms, and the fingerprint of their key; empty if none do.
fn pseudonyms_of(plan: &Plan, sink: &Sink) -> String {
    let Some(pseudonyms) = &sink.pseudonyms else { return String::new() };
    let names = names_of(&plan.rels[sink.rel].schema, &pseudonyms.columns);
    format!(", pseudonyms {names} by key {}", pseudonyms.key.fingerprint())
}

/// The numbers of an operator's inputs, each behind a blank and `mark`.
fn inputs_text(op: &Op, mark: char) -> String {
    op.inputs().iter().map(|input| format!(" {mark}{input}")).collect()
}

/// An input of a recursion: the number of its relation.
fn recursive_input_text(input: &RecursiveInput) -> String {
    format!("#{}{}", input.rel, if input.counted { ", counted" } else { "" })
}

/// Writes the operators of a recursion's rounds.
fn write_rounds(out: &mut String, of: &Recursive) -> std::fmt::Result {
    writeln!(out, "     begins   {}", recursive_input_text(&of.base))?;
    for (id, rel) in of.body.rels.iter().enumerate() {
        let OperatorText { op, detail } = shown_operator(&of.body, rel);
        let detail = match rel.op {
            Op::Given(side) if side > 0 => of.sides.get(side - 1).map_or(detail, recursive_input_text),
            _ => detail,
        };
        let inputs = inputs_text(&rel.op, '.');
        let space = if detail.is_empty() { "" } else { " " };
        writeln!(out, "     round    .{id} {op}{inputs}{space}{detail}")?;
    }
    Ok(())
}
