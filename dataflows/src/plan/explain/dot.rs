//! The plan as a graph, for Graphviz: an index is a note at its view.

use std::fmt::Write as _;

use super::{OperatorText, column_names, durability, is_shown, shown_operator, state_text};
use crate::plan::{Plan, RelId};

/// The relations, and the views and sinks that are shown, as nodes of a graph.
pub(super) fn as_dot(plan: &Plan, shown: &[RelId], only: Option<&str>) -> String {
    let mut out = String::from("digraph topology {\n  rankdir = LR;\n  node [shape = box];\n");
    for id in shown {
        let rel = &plan.rels[*id];
        let OperatorText { op, detail } = shown_operator(plan, rel);
        let state = match state_text(plan, *id) {
            Some(_) => format!("\\n{}", durability(rel)),
            None => String::new(),
        };
        let short: String = detail.chars().take(60).collect();
        let style = if state.is_empty() { "" } else { ", style = bold" };
        let _ = writeln!(
            out,
            "  r{id} [label = \"#{id} {op} [{}]\\n{}{state}\"{style}];",
            escape_quotes(&rel.owner),
            escape_quotes(&short)
        );
        for input in rel.op.inputs() {
            let _ = writeln!(out, "  r{input} -> r{id};");
        }
    }
    for (at, view) in plan.views.iter().enumerate().filter(|(_, v)| is_shown(only, &v.name)) {
        let _ = writeln!(
            out,
            "  v{at} [label = \"{}\", shape = cylinder];\n  r{} -> v{at};",
            escape_quotes(&view.name),
            view.rel
        );
        let columns = &plan.rels[view.rel].schema;
        for (number, index) in view.indexes.iter().enumerate() {
            let _ = writeln!(
                out,
                "  v{at}i{number} [label = \"{}\\n({})\", shape = note];\n  v{at} -> v{at}i{number} [style = dashed];",
                escape_quotes(&index.name),
                escape_quotes(&column_names(columns, &index.columns).join(", "))
            );
        }
    }
    for (at, sink) in plan.sinks.iter().enumerate().filter(|(_, s)| is_shown(only, &s.name)) {
        let _ = writeln!(
            out,
            "  s{at} [label = \"{}\", shape = cds];\n  r{} -> s{at};",
            escape_quotes(&sink.name),
            sink.rel
        );
    }
    out.push_str("}\n");
    out
}

/// A text as it stands between quotation marks.
pub(super) fn escape_quotes(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
