//! Rows of the committed epoch for the additions of an edited topology above operators that have dropped some of theirs.
//!
//! A kept view holds them all. They are fed at the committed epoch, beside the operator's own output, and pass the
//! stateless steps between the view and the additions a second time. Nothing but that epoch is on these streams.

pub(super) mod gate;

use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::{Concatenate, Input};

use super::linear::{self, Deltas};
use super::operators::each_message;
use super::{Renderer, Restore};
use crate::error::RunError;
use crate::plan::{Op, RelId};

impl<'s> Renderer<'s, '_> {
    /// Renders the rows of the committed epoch of a relation that is rendered, where a view holds them or they
    /// follow from such ones by a stateless step.
    ///
    /// # Errors
    /// When the plan breaks one of its own invariants.
    pub(super) fn render_past(&mut self, id: RelId) -> Result<(), RunError> {
        let Some(fill) = self.state_tables.fill.clone() else { return Ok(()) };
        if !self.start.is_restored() {
            return Ok(());
        }
        if let Some(rows) = fill.views.get(&id) {
            let (handle, stream) = self.scope.new_input();
            let shape = self.shapes[id].clone();
            self.restores.push(Restore::View { rows: rows.clone(), shape, handle });
            self.past.insert(id, stream);
            return Ok(());
        }
        let inputs = self.plan.rels[id].op.inputs();
        if self.plan.rels[id].op.is_stateful() || !inputs.iter().any(|input| self.past.contains_key(input)) {
            return Ok(());
        }
        let past = self.repeat_step(id)?;
        self.past.insert(id, past);
        Ok(())
    }

    /// Renders a stateless step once more, over the rows of the committed epoch. A row that fails has been
    /// recorded by the step itself, unless its operator had dropped it.
    fn repeat_step(&self, id: RelId) -> Result<Deltas<'s>, RunError> {
        let rel = &self.plan.rels[id];
        let errors = self.error_table(id)?.without_recording();
        let output = self.shapes[id].clone();
        match &rel.op {
            Op::Filter { input, predicate } => {
                let shape = self.shapes[*input].clone();
                Ok(linear::filter(self.only_past(*input), shape, predicate.clone(), errors))
            }
            Op::Project { input, exprs } => {
                let from = self.shapes[*input].clone();
                Ok(linear::project(self.only_past(*input), from, output, exprs.clone(), errors))
            }
            Op::Unnest { input, column, outer } => {
                let (stream, from) = (self.only_past(*input), self.shapes[*input].clone());
                Ok(linear::unnest(stream, from, output, *column, *outer, self.collector.clone()))
            }
            Op::Union { inputs } => {
                let streams: Vec<_> = inputs.iter().map(|input| self.only_past(*input)).collect();
                Ok(self.scope.concatenate(streams))
            }
            _ => Err(RunError::Broken("a step with state is rendered twice".into())),
        }
    }

    /// The rows of a relation at the committed epoch alone.
    fn only_past(&self, id: RelId) -> Deltas<'s> {
        if let Some(past) = self.past.get(&id) {
            return past.clone();
        }
        let upto = self.start.epoch;
        each_message(self.streams[id].clone(), Pipeline, "Past", move |time, batches, output| {
            if *time.time() <= upto {
                output.session(&time).give_container(batches);
            }
        })
    }
}
