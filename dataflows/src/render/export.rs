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
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;

use super::batch::{DeltaBatch, Shape};
use super::collect::{Shared, stored_key};
use super::linear::Deltas;
use crate::arrange::updates::{Entry, Outgoing, Updates, by_key};
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

/// Gathers, consolidates and hands over the changes of each epoch. The stream it returns is empty and
/// serves the probe.
pub fn export<'s>(stream: Deltas<'s>, export: Export) -> Stream<'s, u64, Vec<()>> {
    let peers = stream.scope().peers();
    let (shape, key, after) = (export.shape.clone(), export.key.clone(), export.after);
    let fail = export.collector.clone();
    let packed = stream.unary::<CapacityContainerBuilder<Vec<Updates<i64>>>, _, _, _>(
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
                        let mut outgoing = Outgoing::new(*time.time(), peers);
                        match split(&shape, key.as_deref(), batch, &mut outgoing) {
                            Ok(()) => outgoing.finish().for_each(|updates| session.give(updates)),
                            Err(error) => fail.borrow_mut().fail(error),
                        }
                    }
                });
            }
        },
    );
    let exchange = Exchange::new(|updates: &Updates<i64>| updates.owner);
    packed.unary_frontier::<CapacityContainerBuilder<Vec<()>>, _, _, _>(exchange, "Export", move |_, _| {
        let mut pending: BTreeMap<u64, (Vec<Updates<i64>>, Capability<u64>)> = BTreeMap::new();
        move |(input, frontier), _output| {
            input.for_each(|time, updates: &mut Vec<Updates<i64>>| {
                let entry = pending.entry(*time.time()).or_insert_with(|| (Vec::new(), time.retain(0)));
                entry.0.append(updates);
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
fn split(
    shape: &Shape,
    key: Option<&[usize]>,
    mut delta: DeltaBatch,
    outgoing: &mut Outgoing<i64>,
) -> Result<(), RunError> {
    let diffs = std::mem::take(&mut delta.diffs);
    let prefix = key.map(|key| key.iter().enumerate().all(|(at, column)| at == *column));
    let keys = match (key, prefix) {
        (Some(key), Some(false)) => {
            let batch = shape.columns(&delta)?;
            let types: Vec<_> = key.iter().map(|c| shape.schema.field(*c).data_type().clone()).collect();
            let columns: Vec<_> = key.iter().map(|c| batch.column(*c).clone()).collect();
            let codec = schemas::RowCodec::new(&types)?;
            Some(super::aggregates::input::encode_keys(&codec, &columns, diffs.len())?)
        }
        _ => None,
    };
    let rows = shape.packed(delta)?;
    for (at, diff) in diffs.into_iter().enumerate() {
        let row = rows.get(at);
        match (key, &keys) {
            (None, _) => {
                outgoing.key(row);
                outgoing.value(&[], diff);
            }
            (_, Some(keys)) => {
                outgoing.key(keys.get(at));
                outgoing.value(row, diff);
            }
            (Some(key), None) => {
                outgoing.key(&row[..shape.codec.prefix_len(row, key.len())?]);
                outgoing.value(row, diff);
            }
        }
    }
    Ok(())
}

impl Export {
    fn hand_over(&self, epoch: u64, mut updates: Vec<Updates<i64>>) -> Result<(), RunError> {
        let mut collector = self.collector.borrow_mut();
        let out = collector.at(epoch);
        let mut broken = false;
        by_key(&mut updates, |key, rows| {
            broken |= self.unique && !one_row_at_most(rows);
            for space in &self.views {
                let stored = stored_key(key);
                if self.key.is_none() {
                    out.count(*space, &stored, rows[0].2);
                } else {
                    let row = rows.iter().find(|row| row.2 > 0).map(|row| row.0);
                    out.write(*space, &stored, row);
                }
            }
            for sink in &self.sinks {
                let delta = out.sinks.entry(*sink).or_default();
                for (row, _, diff) in rows.iter() {
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
        });
        if broken {
            return Err(RunError::Broken(format!("{}: a key proven unique has several rows", self.name)));
        }
        Ok(())
    }
}

/// Whether a key's changes take away at most one row and bring at most one.
fn one_row_at_most(rows: &[Entry<'_, i64>]) -> bool {
    let diffs = || rows.iter().map(|row| row.2);
    rows.len() <= 2
        && diffs().all(|diff| diff.abs() == 1)
        && diffs().sum::<i64>().abs() <= 1
        && diffs().filter(|diff| *diff > 0).count() <= 1
}
