//! Lineage as a graph, for Graphviz: copies are solid lines, computed values dashed, conditions dotted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::question::Question;
use super::{Lineage, Output, Place};
use crate::plan::Plan;
use crate::plan::explain::dot::escape_quotes;

/// The answer to a question: a node for each place of a source and each column, an edge for each contribution.
pub(super) fn as_dot(plan: &Plan, lineage: &Lineage, question: &Question<'_>) -> String {
    let mut edges = Edges { plan, places: BTreeMap::new(), out: String::new() };
    for (number, of) in Output::all(plan).enumerate() {
        let output = (number, of);
        match question {
            Question::All => edges.write_output((output, None), lineage, &|_| true),
            Question::Output(asked, column) if asked.name() == of.name() => {
                edges.write_output((output, *column), lineage, &|_| true);
            }
            Question::Output(..) => {}
            Question::Source(source) => {
                edges.write_output((output, None), lineage, &|place| place.source == *source);
            }
            Question::Place(on) => {
                edges.write_output((output, None), lineage, &|place| place.reads(true, on));
            }
        }
    }
    let mut out = String::from("digraph lineage {\n  rankdir = LR;\n  node [shape = box];\n");
    for (place, number) in &edges.places {
        let _ = writeln!(out, "  p{number} [label = \"{}\"];", escape_quotes(&place.text(plan)));
    }
    out + &edges.out + "}\n"
}

struct Edges<'p> {
    plan: &'p Plan,
    places: BTreeMap<Place, usize>,
    out: String,
}

impl Edges<'_> {
    fn place(&mut self, place: &Place) -> usize {
        let next = self.places.len();
        *self.places.entry(place.clone()).or_insert(next)
    }

    fn write_output(
        &mut self,
        ((number, output), only): ((usize, Output<'_>), Option<usize>),
        lineage: &Lineage,
        shown: &dyn Fn(&Place) -> bool,
    ) {
        let mut lines = String::new();
        for (at, column) in lineage.rels[output.rel()].columns.iter().enumerate() {
            if only.is_some_and(|only| only != at) {
                continue;
            }
            let node = format!("o{number}c{at}");
            let mut edges = String::new();
            for (place, used) in column.values.iter().filter(|(place, _)| shown(place)) {
                let style = if used.copied { "solid" } else { "dashed" };
                let _ = writeln!(edges, "  p{} -> {node} [style = {style}];", self.place(place));
            }
            self.write_conditions(&mut edges, (lineage, &column.conditions), &node, shown);
            if !edges.is_empty() || only.is_some() {
                let label = format!("{}.{}", output.name(), output.columns(self.plan)[at]);
                let _ = writeln!(lines, "  {node} [label = \"{}\", shape = cds];", escape_quotes(&label));
                lines.push_str(&edges);
            }
        }
        let (node, mut edges) = (format!("o{number}"), String::new());
        self.write_conditions(&mut edges, (lineage, &lineage.rows_of(output)), &node, shown);
        if !edges.is_empty() {
            let label = format!("rows of {}", output.name());
            let _ = writeln!(lines, "  {node} [label = \"{}\", shape = cylinder];", escape_quotes(&label));
            lines.push_str(&edges);
        }
        self.out.push_str(&lines);
    }

    fn write_conditions(
        &mut self,
        out: &mut String,
        (lineage, ids): (&Lineage, &BTreeSet<usize>),
        node: &str,
        shown: &dyn Fn(&Place) -> bool,
    ) {
        let mut words: BTreeMap<&Place, BTreeSet<&str>> = BTreeMap::new();
        for condition in ids.iter().map(|id| &lineage.conditions[*id]) {
            for place in condition.places.keys().filter(|place| shown(place)) {
                words.entry(place).or_default().insert(condition.kind.word());
            }
        }
        for (place, words) in words {
            let label: Vec<&str> = words.into_iter().collect();
            let place = self.place(place);
            let _ = writeln!(out, "  p{place} -> {node} [style = dotted, label = \"{}\"];", label.join(", "));
        }
    }
}
