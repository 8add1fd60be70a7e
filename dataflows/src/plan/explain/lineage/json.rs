//! Lineage as JSON, for programs.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::impact::{affected, counts, generated_from};
use super::question::Question;
use super::{ColumnLineage, Condition, ConditionId, ConditionKind, Lineage, Output, Place, Step, Use};
use crate::plan::{Origin, Plan};

/// The answer to a question.
pub(super) fn as_json(plan: &Plan, lineage: &Lineage, question: &Question<'_>) -> Value {
    match question {
        Question::All => {
            let outputs: Vec<Output<'_>> = Output::all(plan).collect();
            outputs_json(plan, lineage, &outputs, None)
        }
        Question::Output(output, column) => outputs_json(plan, lineage, &[*output], *column),
        Question::Source(source) => {
            let columns = (0..plan.sources[*source].schema.fields().len()).map(|column| {
                impact_json(plan, lineage, &Place { source: *source, column, path: Vec::new() })
            });
            json!({"source": plan.sources[*source].name, "columns": columns.collect::<Vec<_>>()})
        }
        Question::Place(place) => impact_json(plan, lineage, place),
    }
}

/// Views and sinks with their columns, and the conditions that these name by number.
fn outputs_json(plan: &Plan, lineage: &Lineage, outputs: &[Output<'_>], only: Option<usize>) -> Value {
    let (mut views, mut sinks, mut used) = (Vec::new(), Vec::new(), BTreeSet::new());
    for output in outputs {
        let rows = lineage.rows_of(*output);
        used.extend(&rows);
        let mut columns = Vec::new();
        for (at, of) in lineage.rels[output.rel()].columns.iter().enumerate() {
            if only.is_none_or(|only| only == at) {
                used.extend(&of.conditions);
                columns.push(column_json(plan, output.columns(plan)[at], of));
            }
        }
        let told = json!({"name": output.name(), "columns": columns, "rows": rows});
        match output {
            Output::View(_) => views.push(told),
            Output::Sink(_) => sinks.push(told),
        }
    }
    let conditions: Vec<Value> = used.iter().map(|id| condition_json(plan, lineage, *id)).collect();
    json!({"views": views, "sinks": sinks, "conditions": conditions})
}

fn column_json(plan: &Plan, name: &str, of: &ColumnLineage) -> Value {
    let sources: Vec<Value> = of.values.iter().map(|(place, used)| value_json(plan, place, *used)).collect();
    let expressions: Vec<Value> =
        of.expressions.iter().map(|e| json!({"column": e.name, "text": e.text})).collect();
    json!({"name": name, "sources": sources, "expressions": expressions, "conditions": of.conditions})
}

/// A place whose values a column has.
fn value_json(plan: &Plan, place: &Place, used: Use) -> Value {
    let mut told = place_json(plan, place);
    told["kind"] = json!("value");
    told["copied"] = json!(used.copied);
    told["computed"] = json!(used.computed);
    told["by_generated_column"] = json!(used.generated);
    told
}

fn place_json(plan: &Plan, place: &Place) -> Value {
    let source = &plan.sources[place.source];
    let mut path = Vec::with_capacity(place.path.len());
    for step in &place.path {
        path.push(match step {
            Step::Field(name) => json!(name),
            // A name of a field is never a list.
            Step::Items => json!([]),
        });
    }
    let column = source.schema.field(place.column).name();
    json!({"source": source.name, "column": column, "path": path, "text": place.text(plan)})
}

fn condition_json(plan: &Plan, lineage: &Lineage, id: ConditionId) -> Value {
    let condition = &lineage.conditions[id];
    let sources: Vec<Value> = condition.places.keys().map(|place| place_json(plan, place)).collect();
    json!({
        "id": id,
        "kind": kind_word(condition),
        "clause": condition.kind.word(),
        "text": condition.text,
        "written_in": condition.owner,
        "sources": sources,
    })
}

/// The kind of a contribution.
fn kind_word(condition: &Condition) -> &'static str {
    match condition.kind {
        ConditionKind::Group => "group",
        _ if condition.is_rule => "rule",
        _ => "condition",
    }
}

/// Everything that depends on a place.
fn impact_json(plan: &Plan, lineage: &Lineage, place: &Place) -> Value {
    let all = affected(plan, lineage, place);
    let (mut views, mut sinks, mut used) = (Vec::new(), Vec::new(), BTreeSet::new());
    for of in &all {
        used.extend(&of.rows);
        let names = of.output.columns(plan);
        let mut columns = Vec::new();
        for column in &of.columns {
            used.extend(&column.conditions);
            columns.push(json!({
                "name": names[column.column],
                "copied": column.copied,
                "computed": column.computed,
                "conditions": column.conditions,
            }));
        }
        let mut told = json!({"name": of.output.name(), "columns": columns, "rows": of.rows});
        match of.output {
            Output::View(_) => {
                told["indexes"] = json!(of.indexes);
                views.push(told);
            }
            Output::Sink(_) => sinks.push(told),
        }
    }
    let conditions: Vec<Value> = used.iter().map(|id| condition_json(plan, lineage, *id)).collect();
    let source = &plan.sources[place.source];
    let mut told = place_json(plan, place);
    told["type"] = json!(schemas::sql_type(source.schema.field(place.column)));
    told["generated"] = json!(matches!(source.origins[place.column], Origin::Generated(_)));
    told["generates"] = json!(generated_from(plan, place));
    told["views"] = json!(views);
    told["sinks"] = json!(sinks);
    told["conditions"] = json!(conditions);
    told["summary"] = json!(counts(&all).sentence());
    told
}
