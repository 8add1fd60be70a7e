//! Where a relation leaves the dataflow: views and sinks of one relation by one key.
//!
//! Deltas are gathered by key at the key's owner until their epoch is complete, consolidated, and
//! handed to the collector once: as the new content of view tables, and as the change that sinks
//! send. A key proven unique that shows two rows at once is a broken promise and stops the worker
//! before the commit.

use std::collections::BTreeMap;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::Operator;

use super::batch::{Data, DeltaBatch, Shape};
use super::collect::{Shared, stored_key};
use super::linear::Deltas;
use super::packed::{Update, owner_of};
use crate::error::RunError;

/// What to do with a relation's changes.
pub struct Export {
    /// Rows.
    pub shape: Shape,
    /// Key columns; None: the whole row.
    pub key: Option<Vec<usize>>,
    /// Whether `key` is proven unique.
    pub unique: bool,
    /// Spaces of the views shown.
    pub views: Vec<u32>,
    /// Sinks fed.
    pub sinks: Vec<usize>,
    /// Output at or before this epoch is already in the state.
    pub after: u64,
    /// Name for messages.
    pub name: String,
    /// Where changes go.
    pub collector: Shared,
}

type Pending = Vec<(Vec<u8>, Vec<u8>, i64)>;

/// Gathers, consolidates and hands over the changes of each epoch. The stream it returns is empty and
/// serves the probe.
pub fn export<'s>(stream: Deltas<'s>, export: Export) -> Stream<'s, u64, Vec<()>> {
    let peers = stream.scope().peers();
    let (shape, key, after) = (export.shape.clone(), export.key.clone(), export.after);
    let fail = export.collector.clone();
    let packed = stream.unary::<CapacityContainerBuilder<Vec<Update<i64>>>, _, _, _>(
        Pipeline,
        "ExportKeys",
        move |_, _| {
            move |input, output| {
                input.for_each(|time, batches: &mut Vec<DeltaBatch>| {
                    if *time.time() <= after {
                        return;
                    }
                    let mut session = output.session(&time);
                    for batch in batches.drain(..) {
                        match split(&shape, key.as_deref(), batch) {
                            Ok(rows) => {
                                rows.into_iter()
                                    .for_each(|(k, v, d)| session.give(((k, v), *time.time(), d)));
                            }
                            Err(error) => fail.borrow_mut().fail(error),
                        }
                    }
                });
            }
        },
    );
    let exchange = Exchange::new(move |u: &Update<i64>| if peers == 1 { 0 } else { owner_of(&u.0.0, peers) });
    packed.unary_frontier::<CapacityContainerBuilder<Vec<()>>, _, _, _>(exchange, "Export", move |_, _| {
        let mut pending: BTreeMap<u64, (Pending, timely::dataflow::operators::Capability<u64>)> =
            BTreeMap::new();
        move |(input, frontier), _output| {
            input.for_each(|time, updates: &mut Vec<Update<i64>>| {
                let entry = pending.entry(*time.time()).or_insert_with(|| (Vec::new(), time.retain(0)));
                entry.0.extend(updates.drain(..).map(|((key, row), _, diff)| (key, row, diff)));
            });
            while let Some(entry) = pending.first_entry() {
                if frontier.less_equal(entry.key()) {
                    break;
                }
                let (epoch, (updates, _capability)) = entry.remove_entry();
                if let Err(error) = export.hand_over(epoch, updates) {
                    export.collector.borrow_mut().fail(error);
                }
            }
        }
    })
}

/// Packed key, packed row and diff of each row; the key of a whole-row export is the row.
fn split(shape: &Shape, key: Option<&[usize]>, mut delta: DeltaBatch) -> Result<Pending, RunError> {
    let diffs = std::mem::take(&mut delta.diffs);
    let Some(key) = key else {
        let rows = shape.packed(delta)?;
        return Ok(rows.iter().zip(diffs).map(|(row, diff)| (row.to_vec(), vec![], diff)).collect());
    };
    let prefix = key.iter().enumerate().all(|(at, column)| at == *column);
    if let (true, Data::Packed(rows)) = (prefix, &delta.data) {
        return rows
            .iter()
            .zip(diffs)
            .map(|(row, diff)| {
                Ok((row[..shape.codec.prefix_len(row, key.len())?].to_vec(), row.to_vec(), diff))
            })
            .collect();
    }
    let batch = shape.columns(&delta)?;
    let types: Vec<_> = key.iter().map(|c| shape.schema.field(*c).data_type().clone()).collect();
    let columns: Vec<_> = key.iter().map(|c| batch.column(*c).clone()).collect();
    let keys = super::aggregate::encode_keys(&schemas::RowCodec::new(&types)?, &columns, diffs.len())?;
    let rows = shape.packed(delta)?;
    Ok(diffs
        .into_iter()
        .enumerate()
        .map(|(at, diff)| (keys.get(at).to_vec(), rows.get(at).to_vec(), diff))
        .collect())
}

impl Export {
    fn hand_over(&self, epoch: u64, updates: Pending) -> Result<(), RunError> {
        let updates = consolidate(updates);
        let mut collector = self.collector.borrow_mut();
        let out = collector.at(epoch);
        let mut at = 0;
        while at < updates.len() {
            let end = at + updates[at..].iter().take_while(|u| u.0 == updates[at].0).count();
            let (key, group) = (&updates[at].0, &updates[at..end]);
            at = end;
            if self.unique
                && !(group.len() <= 2
                    && group.iter().map(|u| u.2).all(|d| d.abs() == 1)
                    && group.iter().map(|u| u.2).sum::<i64>().abs() <= 1
                    && group.iter().filter(|u| u.2 > 0).count() <= 1)
            {
                return Err(RunError::Broken(format!("{}: a key proven unique has several rows", self.name)));
            }
            for space in &self.views {
                let stored = stored_key(key);
                if self.key.is_none() {
                    out.count(*space, &stored, group[0].2);
                } else {
                    let row = group.iter().find(|u| u.2 > 0).map(|u| u.1.as_slice());
                    out.write(*space, &stored, row);
                }
            }
            for sink in &self.sinks {
                let delta = out.sinks.entry(*sink).or_default();
                for (key, row, diff) in group {
                    if self.key.is_none() {
                        delta.keys.push(&[]);
                        delta.rows.push(key);
                    } else {
                        delta.keys.push(key);
                        delta.rows.push(row);
                    }
                    delta.diffs.push(*diff);
                }
            }
        }
        Ok(())
    }
}

/// Sorts by key and row and adds up diffs; what cancels is gone.
fn consolidate(mut updates: Pending) -> Pending {
    updates.sort_unstable();
    let mut out: Pending = Vec::with_capacity(updates.len());
    for (key, row, diff) in updates {
        match out.last_mut() {
            Some(last) if last.0 == key && last.1 == row => last.2 += diff,
            _ => out.push((key, row, diff)),
        }
    }
    out.retain(|u| u.2 != 0);
    out
}
