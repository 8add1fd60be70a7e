//! A sink's whole content as a change, for a sink that the user wants sent again.
//!
//! A sink that shows a materialized view sends the content of the view's table, including rows that cannot be
//! derived again, such as windows that were emitted on close. Each worker sends the rows of the key groups it
//! owns.

use schemas::{Ownership, RowCodec, Rows, without_group};

use crate::collect::SinkDelta;
use crate::error::RunError;
use crate::render::aggregates::input::encode_keys;
use crate::render::batch::RelationType;
use crate::runtime::restore::scan_groups;
use crate::runtime::worker::Setup;

/// Returns true if a materialized view holds the rows that the sink sends.
pub fn has_view(plan: &crate::plan::Plan, sink: usize) -> bool {
    plan.views.iter().any(|view| view.rel == plan.sinks[sink].rel)
}

/// One worker's rows of the view that a sink shows, at the committed epoch, sorted by the sink's key; None
/// where no view holds them.
///
/// # Errors
/// When the state cannot be read, or does not fit the plan.
pub fn content(
    setup: &Setup,
    sink: usize,
    (index, peers): (usize, usize),
) -> Result<Option<SinkDelta>, RunError> {
    let sink = &setup.plan.sinks[sink];
    let mut views = setup.plan.views.iter().zip(&setup.state_tables.views);
    let Some((view, table_id)) = views.find(|(view, _)| view.rel == sink.rel) else {
        return Ok(None);
    };
    let (mut rows, mut diffs) = (Rows::new(), Vec::new());
    // A counted table maps rows, behind the key group, to counts; a keyed one maps keys to rows.
    scan_groups(&setup.store, *table_id, &Ownership::even(peers).ranges(index), |stored, value| {
        if view.key.is_some() {
            rows.push(value);
            diffs.push(1);
        } else if let Some(count) = state::count_of(value) {
            rows.push(without_group(stored));
            diffs.push(count);
        }
        Ok(())
    })?;
    let schema = &setup.plan.rels[sink.rel].schema;
    let keys = {
        let shape = RelationType::new(schema)?;
        let columns = shape.assemble(shape.codec.decode(rows.iter())?, rows.len())?;
        let key_codec = RowCodec::of(&schema.project(&sink.key)?)?;
        let columns: Vec<_> = sink.key.iter().map(|column| columns.column(*column).clone()).collect();
        encode_keys(&key_codec, &columns, rows.len())?
    };
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|a, b| keys.get(*a).cmp(keys.get(*b)));
    let mut delta = SinkDelta::default();
    for at in order {
        delta.push(keys.get(at), rows.get(at), diffs[at]);
    }
    Ok(Some(delta))
}
