//! A sink's whole content as a change, for a sink that is to be sent again on purpose.
//!
//! A sink that shows a materialized view sends what the view's table holds, whatever the rows came from: also those
//! that nothing could derive again, such as windows that were emitted on close. Each worker gives the rows of the key
//! groups that live with it.

use schemas::{RowCodec, Rows};
use state::StateError;

use crate::error::RunError;
use crate::render::aggregates::input::encode_keys;
use crate::render::batch::Shape;
use crate::render::collect::SinkDelta;
use crate::worker::{Setup, owned_groups};

/// Tells whether a materialized view holds what the sink sends.
pub fn held(plan: &crate::plan::Plan, sink: usize) -> bool {
    plan.views.iter().any(|view| view.rel == plan.sinks[sink].rel)
}

/// One worker's rows of the view that a sink shows, at the committed epoch, sorted by the sink's key; None where no
/// view holds them.
///
/// # Errors
/// When the state cannot be read, or does not fit the plan.
pub fn content(
    setup: &Setup,
    sink: usize,
    (index, peers): (usize, usize),
) -> Result<Option<SinkDelta>, RunError> {
    let sink = &setup.plan.sinks[sink];
    let mut views = setup.plan.views.iter().zip(&setup.spaces.views);
    let Some((view, space)) = views.find(|(view, _)| view.rel == sink.rel) else {
        return Ok(None);
    };
    let (mut rows, mut diffs) = (Rows::new(), Vec::new());
    for group in owned_groups(index, peers) {
        setup.store.scan(*space, &[group], |stored, value| -> Result<(), StateError> {
            if view.key.is_some() {
                rows.push(value);
                diffs.push(1);
            } else if let (Some((_, row)), Some(count)) = (stored.split_first(), state::count_of(value)) {
                rows.push(row);
                diffs.push(count);
            }
            Ok(())
        })?;
    }
    let schema = &setup.plan.rels[sink.rel].schema;
    let keys = {
        let shape = Shape::new(schema)?;
        let columns = shape.assemble(shape.codec.decode(rows.iter())?, rows.len())?;
        let of = RowCodec::of(&schema.project(&sink.key)?)?;
        let columns: Vec<_> = sink.key.iter().map(|column| columns.column(*column).clone()).collect();
        encode_keys(&of, &columns, rows.len())?
    };
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|a, b| keys.get(*a).cmp(keys.get(*b)));
    let mut delta = SinkDelta::default();
    for at in order {
        delta.keys.push(keys.get(at));
        delta.rows.push(rows.get(at));
        delta.diffs.push(diffs[at]);
    }
    Ok(Some(delta))
}
