//! The plan as JSON, for programs.

use arrow::datatypes::Schema;
use serde_json::{Value, json};

use super::{
    OperatorText, column_names, connector_text, durability, expiry_text, fingerprint, is_shown, length_text,
    shown_operator, state_text, view_kept, write_rounds,
};
use crate::plan::{Op, Plan, RelId};

/// The relations, and the views and sinks that are shown.
pub(super) fn as_json(plan: &Plan, shown: &[RelId], only: Option<&str>) -> Value {
    let relations: Vec<Value> = shown.iter().map(|id| relation_json(plan, *id)).collect();
    let (mut views, mut sinks) = (Vec::new(), Vec::new());
    for view in plan.views.iter().filter(|v| is_shown(only, &v.name)) {
        let schema = &plan.rels[view.rel].schema;
        let key = view.key.as_ref().map(|key| column_names(schema, key));
        let kept = view_kept(plan, view);
        let mut indexes = Vec::with_capacity(view.indexes.len());
        for index in &view.indexes {
            indexes.push(json!({"name": index.name, "columns": column_names(schema, &index.columns)}));
        }
        views.push(json!({
            "name": view.name,
            "relation": view.rel,
            "key": key,
            "kept": kept,
            "history": view.history.map(|history| json!({
                "age": length_text(history.age_us),
                "bytes": history.bytes,
            })),
            "indexes": indexes,
        }));
    }
    for sink in plan.sinks.iter().filter(|s| is_shown(only, &s.name)) {
        sinks.push(json!({
            "name": sink.name,
            "relation": sink.rel,
            "format": sink.format.word(),
            "encoding": sink.encoding.word(),
            "to": connector_text(&sink.options),
            "key": column_names(&plan.rels[sink.rel].schema, &sink.key),
        }));
    }
    json!({"version": plan.version, "relations": relations, "views": views, "sinks": sinks})
}

/// A relation with the facts about it.
fn relation_json(plan: &Plan, id: RelId) -> Value {
    let rel = &plan.rels[id];
    let OperatorText { op, detail } = shown_operator(plan, rel);
    let keys: Vec<_> =
        rel.unique.iter().map(|key| column_names(&rel.schema, &rel.telling_columns(key))).collect();
    json!({
        "id": id,
        "operator": op,
        "detail": detail,
        "inputs": rel.op.inputs(),
        "view": rel.owner,
        "columns": columns_json(&rel.schema),
        "keys": keys,
        "append_only": rel.is_append_only(),
        "inputs_expire": rel.inputs_expire,
        "state": state_json(plan, id),
        "round": rounds_json(&rel.op),
        "fingerprint": fingerprint(plan, id),
    })
}

/// Columns with their types.
fn columns_json(schema: &Schema) -> Vec<Value> {
    let mut columns = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let sql_type = schemas::sql_type(field);
        columns.push(json!({"name": field.name(), "type": sql_type, "nullable": field.is_nullable()}));
    }
    columns
}

/// The state that a relation keeps; null for stateless operators.
fn state_json(plan: &Plan, id: RelId) -> Value {
    let rel = &plan.rels[id];
    let Some(keeps) = state_text(plan, id) else { return Value::Null };
    json!({"keeps": keeps, "durable": durability(rel) == "durable", "expires": expiry_text(plan, id)})
}

/// Operators of a recursion's rounds, a line each; null for other operators.
fn rounds_json(op: &Op) -> Value {
    let Op::Recursive(of) = op else { return Value::Null };
    let mut text = String::new();
    let _ = write_rounds(&mut text, of);
    json!(text.lines().map(str::trim).collect::<Vec<_>>())
}
