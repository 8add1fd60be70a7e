//! Lineage as text, in 80 columns.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::impact::{Affected, affected, counts, generated_from};
use super::question::Question;
use super::{ColumnLineage, Condition, ConditionId, ConditionKind, Lineage, Output, Place};
use crate::functions::text::format::quote_identifier;
use crate::plan::{Origin, Plan};

/// Columns of a line.
const WIDTH: usize = 80;
/// Most columns of a name that stands beside its origin.
const NAME_WIDTH: usize = 20;

/// Writes the answer to a question.
pub(super) fn as_text(plan: &Plan, lineage: &Lineage, question: &Question<'_>) -> String {
    let mut out = String::new();
    match question {
        Question::All => {
            let mut all = BTreeSet::new();
            for output in Output::all(plan) {
                if let Some(view) = output.shown_view(plan) {
                    write_sink(&mut out, plan, output, &view.name);
                } else {
                    write_output(&mut out, plan, (lineage, output), None);
                    all.extend(conditions_within(lineage, output, None));
                }
                out.push('\n');
            }
            write_rules(&mut out, lineage, &all);
        }
        Question::Output(output, column) => {
            write_output(&mut out, plan, (lineage, *output), *column);
            out.push('\n');
            write_rules(&mut out, lineage, &conditions_within(lineage, *output, *column));
        }
        Question::Source(source) => write_source(&mut out, plan, lineage, *source),
        Question::Place(place) => write_impact(&mut out, plan, lineage, place),
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// All conditions of a view or sink, or those of one column.
fn conditions_within(lineage: &Lineage, output: Output<'_>, column: Option<usize>) -> BTreeSet<ConditionId> {
    let mut all = lineage.rows_of(output);
    for (at, of) in lineage.rels[output.rel()].columns.iter().enumerate() {
        if column.is_none_or(|column| column == at) {
            all.extend(&of.conditions);
        }
    }
    all
}

/// Writes a sink that sends the rows of a view as they are.
fn write_sink(out: &mut String, plan: &Plan, output: Output<'_>, view: &str) {
    let key = match output {
        Output::Sink(sink) if !sink.key.is_empty() => {
            format!(", key {}", super::super::names_of(&plan.rels[sink.rel].schema, &sink.key))
        }
        _ => String::new(),
    };
    wrap(out, "", 2, &format!("{} {} sends view {view}{key}", output.word(), output.name()));
}

/// Writes a view or sink, or one of its columns.
fn write_output(
    out: &mut String,
    plan: &Plan,
    (lineage, output): (&Lineage, Output<'_>),
    only: Option<usize>,
) {
    let columns = output.columns(plan);
    match only {
        None => drop(writeln!(out, "{} {}", output.word(), quote_identifier(output.name()))),
        Some(at) => {
            let (name, column) = (quote_identifier(output.name()), quote_identifier(columns[at]));
            let _ = writeln!(out, "{} {name}, column {column}", output.word());
        }
    }
    let shown = columns.iter().enumerate().filter(|(at, _)| only.is_none_or(|only| only == *at));
    let width = shown.clone().map(|(_, name)| quote_identifier(name).chars().count()).max().unwrap_or(0);
    let width = width.min(NAME_WIDTH);
    for (at, name) in shown {
        let lines = column_lines(plan, lineage, (&lineage.rels[output.rel()].columns[at], name));
        write_beside(out, (&quote_identifier(name), width), &lines);
    }
    write_rows(out, plan, lineage, &lineage.rows_of(output));
}

/// Lines with the name of the thing that they are about before the first.
fn write_beside(out: &mut String, (name, width): (&str, usize), lines: &[String]) {
    let indent = width + 4;
    let mut first = format!("  {name:width$}  ");
    if name.chars().count() > width {
        let _ = writeln!(out, "  {name}");
        first = " ".repeat(indent);
    }
    for line in lines {
        wrap(out, &first, indent + 2, line);
        first = " ".repeat(indent);
    }
    if lines.is_empty() {
        let _ = writeln!(out, "{}", first.trim_end());
    }
}

/// The origin of a column, in lines.
fn column_lines(plan: &Plan, lineage: &Lineage, (of, name): (&ColumnLineage, &str)) -> Vec<String> {
    let mut lines = Vec::new();
    if of.expressions.is_empty() && of.values.is_empty() {
        lines.push("constants of the query".to_owned());
    }
    for expression in &of.expressions {
        // The name of the column itself stands beside it.
        let own = expression.name == name || of.expressions.len() == 1;
        let named = if own { String::new() } else { format!("{} ", shown_name(&expression.name)) };
        lines.push(format!("{named}= {}", expression.text));
    }
    let copied = of.values.iter().filter(|(_, used)| used.copied && !used.generated);
    let copied: Vec<String> = copied.map(|(place, _)| place.text(plan)).collect();
    if !copied.is_empty() {
        lines.push(format!("copy of {}", copied.join(", ")));
    }
    let read = of.values.iter().filter(|(_, used)| used.computed && !used.generated);
    let read: Vec<String> = read.map(|(place, _)| place.text(plan)).collect();
    if !read.is_empty() {
        lines.push(format!("from {}", read.join(", ")));
    }
    for id in &of.conditions {
        if !lineage.conditions[*id].is_rule {
            lines.push(condition_line(plan, &lineage.conditions[*id]));
        }
    }
    let rules = rule_owners(lineage, &of.conditions);
    if !rules.is_empty() {
        lines.push(format!("rules of {}", rules.join(", ")));
    }
    lines
}

/// The name of a column that an expression computes, as planning may have made it.
fn shown_name(name: &str) -> String {
    let made = super::super::words::readable(name);
    if made.contains(['(', ')', ' ']) { made } else { quote_identifier(&made) }
}

/// A condition with the places that it reads, in one line.
fn condition_line(plan: &Plan, condition: &Condition) -> String {
    let places = places_text(plan, condition);
    let from = if places.is_empty() { String::new() } else { format!(" -- {}", places.join(", ")) };
    let text = if condition.text.is_empty() { String::new() } else { format!(" {}", condition.text) };
    format!("{}{text}{from}", condition.kind.word())
}

/// The places of a condition, generated columns and not what they are computed from.
fn places_text(plan: &Plan, condition: &Condition) -> Vec<String> {
    let columns: Vec<&Place> = condition.places.keys().collect();
    let mut texts = Vec::with_capacity(columns.len());
    for place in &columns {
        if !is_behind_generated(plan, place, &columns) {
            texts.push(place.text(plan));
        }
    }
    texts
}

/// Returns true if a place is read by way of a generated column that is among `columns`.
fn is_behind_generated(plan: &Plan, place: &Place, columns: &[&Place]) -> bool {
    let source = &plan.sources[place.source];
    let mut generated = columns.iter().filter(|other| {
        other.source == place.source
            && matches!(source.origins.get(other.column), Some(Origin::Generated(_)))
            && other.column != place.column
    });
    generated.any(|other| {
        let columns = super::columns::Deriver::new(plan).source_columns(place.source);
        columns[other.column].values.contains_key(place)
    })
}

/// The sources whose rules are among some conditions.
fn rule_owners(lineage: &Lineage, ids: &BTreeSet<ConditionId>) -> Vec<String> {
    let mut owners: Vec<String> = Vec::new();
    for id in ids {
        let condition = &lineage.conditions[*id];
        if condition.is_rule && !owners.contains(&condition.owner) {
            owners.push(condition.owner.clone());
        }
    }
    owners
}

/// Writes the conditions that decide which rows there are.
fn write_rows(out: &mut String, plan: &Plan, lineage: &Lineage, ids: &BTreeSet<ConditionId>) {
    let mut lines: Vec<String> = Vec::new();
    for id in ids {
        let condition = &lineage.conditions[*id];
        if !condition.is_rule {
            let line = condition_line(plan, condition);
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    let rules = rule_owners(lineage, ids);
    if !rules.is_empty() {
        lines.push(format!("rules of {}", rules.join(", ")));
    }
    if !lines.is_empty() {
        let _ = writeln!(out, "  rows by");
    }
    for line in lines {
        wrap(out, "    ", 6, &line);
    }
}

/// Writes the rules of sources that are among some conditions.
fn write_rules(out: &mut String, lineage: &Lineage, ids: &BTreeSet<ConditionId>) {
    for owner in rule_owners(lineage, ids) {
        let _ = writeln!(out, "rules of {owner}");
        let of_owner =
            || ids.iter().map(|id| &lineage.conditions[*id]).filter(|c| c.is_rule && c.owner == owner);
        let not_null: Vec<&str> =
            of_owner().filter(|c| c.kind == ConditionKind::NotNull).map(|c| c.text.as_str()).collect();
        if !not_null.is_empty() {
            wrap(out, "  ", 4, &format!("NOT NULL {}", not_null.join(", ")));
        }
        for condition in of_owner().filter(|condition| condition.kind != ConditionKind::NotNull) {
            wrap(out, "  ", 4, &format!("{} {}", condition.kind.word(), condition.text));
        }
        out.push('\n');
    }
}

/// Writes how many views and sinks depend on each column of a source.
fn write_source(out: &mut String, plan: &Plan, lineage: &Lineage, source: usize) {
    let fields = plan.sources[source].schema.fields();
    let _ = writeln!(out, "source {}", quote_identifier(&plan.sources[source].name));
    let names: Vec<String> = fields.iter().map(|field| quote_identifier(field.name())).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).min(NAME_WIDTH);
    for (column, name) in names.iter().enumerate() {
        let place = Place { source, column, path: Vec::new() };
        let counts = counts(&affected(plan, lineage, &place));
        write_beside(out, (name, width), &[counts.sentence()]);
    }
}

/// Writes everything that depends on a place.
fn write_impact(out: &mut String, plan: &Plan, lineage: &Lineage, place: &Place) {
    let field = plan.sources[place.source].schema.field(place.column);
    let of_type =
        if place.path.is_empty() { format!(" {}", schemas::sql_type(field)) } else { String::new() };
    wrap(out, "", 2, &format!("{}{of_type}", place.text(plan)));
    for generated in generated_from(plan, place) {
        let _ = writeln!(out, "  generates {}", quote_identifier(&generated));
    }
    out.push('\n');
    let all = affected(plan, lineage, place);
    for of in &all {
        write_affected(out, plan, lineage, of);
        out.push('\n');
    }
    let _ = writeln!(out, "{}", counts(&all).sentence());
}

/// Writes a view or sink that depends on a place.
fn write_affected(out: &mut String, plan: &Plan, lineage: &Lineage, of: &Affected<'_>) {
    if let Some(view) = of.output.shown_view(plan) {
        write_sink(out, plan, of.output, &view.name);
        return;
    }
    let _ = writeln!(out, "{} {}", of.output.word(), quote_identifier(of.output.name()));
    let names = of.output.columns(plan);
    let shown = of.columns.iter().map(|column| quote_identifier(names[column.column]));
    let width = shown.map(|name| name.chars().count()).max().unwrap_or(0).min(NAME_WIDTH);
    for column in &of.columns {
        let mut lines = Vec::new();
        let lineage_of = &lineage.rels[of.output.rel()].columns[column.column];
        if column.computed {
            let first = lineage_of.expressions.first().map(|e| format!("= {}", e.text));
            lines.push(first.unwrap_or_else(|| "computed by a generated column".to_owned()));
        }
        if column.copied {
            lines.push("copy".to_owned());
        }
        for id in &column.conditions {
            lines.push(short_condition(&lineage.conditions[*id]));
        }
        write_beside(out, (&quote_identifier(names[column.column]), width), &lines);
    }
    let mut rows: Vec<String> = Vec::new();
    for id in &of.rows {
        let line = short_condition(&lineage.conditions[*id]);
        if !rows.contains(&line) {
            rows.push(line);
        }
    }
    if !rows.is_empty() {
        let _ = writeln!(out, "  rows by");
    }
    for line in rows {
        wrap(out, "    ", 6, &line);
    }
    for index in &of.indexes {
        let _ = writeln!(out, "  index {index}");
    }
}

/// A condition without its places.
fn short_condition(condition: &Condition) -> String {
    let rule = if condition.is_rule { format!(" (a rule of {})", condition.owner) } else { String::new() };
    format!("{} {}{rule}", condition.kind.word(), condition.text)
}

/// Writes a text in lines of at most [`WIDTH`] columns, the first behind `first`, others behind `indent` blanks.
fn wrap(out: &mut String, first: &str, indent: usize, text: &str) {
    let mut line = first.to_owned();
    let mut empty = true;
    for word in text.split(' ') {
        if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(out, "{}", line.trim_end());
            line = " ".repeat(indent);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    let _ = writeln!(out, "{}", line.trim_end());
}
