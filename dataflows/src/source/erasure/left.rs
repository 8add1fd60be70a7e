//! Places that may hold an erased identity and that are not the state's: a receipt names them.

use crate::plan::formats::Format;
use crate::plan::{Op, Plan, Source, When};

/// The places, in words.
pub fn places_left(plan: &Plan) -> Vec<String> {
    let mut places = Vec::new();
    for source in &plan.sources {
        let place = place_of(source);
        if source.erases.is_some() {
            places.push(format!("{place}: the order itself"));
        } else if !source.erase_by.is_empty() {
            places.push(format!("{place}: the records as they were sent, until their retention"));
        } else {
            places.push(format!("{place}: source {} has no erase.by, and is left as it is", source.name));
        }
        if let Some(topic) = &source.dead_letter_topic {
            places.push(format!("topic {topic}: rejected records of source {}", source.name));
        }
    }
    for sink in &plan.sinks {
        let over_erasable = plan.sources_of(sink.rel).iter().any(|at| !plan.sources[*at].erase_by.is_empty());
        if !over_erasable {
            continue;
        }
        let connector = sink.options.get("connector").map_or("", String::as_str);
        let place = ["topic", "path"].iter().find_map(|name| sink.options.get(*name));
        let place = format!("{connector} {}", place.map_or("", String::as_str));
        places.push(match (connector, sink.format) {
            ("blackhole", _) => continue,
            ("kafka", Format::Upsert) => format!(
                "{place}: what sink {} has sent, until compaction; keys of deleted rows until delete.retention.ms",
                sink.name
            ),
            _ => format!("{place}: what sink {} has sent", sink.name),
        });
    }
    for view in &plan.views {
        if !plan.sources_of(view.rel).iter().any(|at| !plan.sources[*at].erase_by.is_empty()) {
            continue;
        }
        let keeps = above(plan, view.rel, &|at| match &plan.rels[at].op {
            Op::EmitOnClose { .. } | Op::TemporalJoin { when: When::ProcTime, .. } => true,
            _ => plan.rels[at].inputs_expire,
        });
        if keeps {
            places.push(format!(
                "view {}: results of rows that the state has forgotten, which stay as they are",
                view.name
            ));
        }
    }
    places.push("backups and checkpoints made before".to_owned());
    places
}

/// Returns true if a relation, or any below it, is of some kind.
fn above(plan: &Plan, rel: usize, is_kind: &dyn Fn(usize) -> bool) -> bool {
    let (mut left, mut seen) = (vec![rel], vec![false; plan.rels.len()]);
    while let Some(at) = left.pop() {
        if std::mem::replace(&mut seen[at], true) {
            continue;
        }
        if is_kind(at) {
            return true;
        }
        left.extend(plan.rels[at].op.inputs());
    }
    false
}

/// The place that a source reads.
fn place_of(source: &Source) -> String {
    let connector = source.options.get("connector").map_or("", String::as_str);
    let place = ["topic", "path"].iter().find_map(|name| source.options.get(*name));
    match place {
        Some(place) if connector == "kafka" => format!("topic {place}"),
        Some(place) => format!("{connector} {place}"),
        None => connector.to_owned(),
    }
}
