//! GROUP BY with aggregates that need the rows of their group, up to the arrangement.
//!
//! An entry of a group is the packed columns that its aggregates read of a row: arguments, filters and
//! ORDER BY expressions, each expression once. Rows equal in these are one counted entry. Where the state
//! is durable, entries are stored with their counts, as the rows of a join are.

use super::layout::RowGrouping;
use super::operator::{GroupRowsOperator, emit_groups};
use crate::arrange::trace;
use crate::collect::Shared;
use crate::error::RunError;
use crate::plan::state_role::StateRole;
use crate::plan::{Op, RelId};
use crate::render::Renderer;
use crate::render::batch::RelationType;
use crate::render::joins::kinds::KeyedStream;
use crate::render::linear::{Deltas, Errors, to_updates};

impl<'s> Renderer<'s, '_> {
    /// Renders a GROUP BY whose aggregates need the rows of their group.
    ///
    /// # Errors
    /// When the plan breaks one of its own invariants.
    pub(in crate::render) fn render_group_rows(&mut self, id: RelId) -> Result<Deltas<'s>, RunError> {
        let Op::GroupRows { input, keys, folds } = &self.plan.rels[id].op else {
            return Err(RunError::Broken("not a fold".into()));
        };
        let durable = self.plan.rels[id].durable;
        let grouping = RowGrouping::new(&self.plan.rels[*input].schema, keys, folds)?;
        let (stream, errors) = (self.new_input(id, *input, durable), self.error_table(id)?);
        let collector = self.collector.clone();
        let updates =
            key_entries(stream, self.shapes[*input].clone(), grouping.clone(), errors.clone(), collector);
        let (updates, removal_loop) = self.with_expiry(updates, (id, StateRole::Groups));
        let updates = self.persist_rows(updates, (id, StateRole::Groups), &grouping.key_codec)?;
        let name = self.counter_name(id, "groups");
        // Removals of expired groups pass `persist_rows`, which deletes them from the state.
        let arranged = trace::arrange(updates, &name, self.collector.clone());
        let expired = self.connect_expiry(
            &[&arranged],
            removal_loop,
            (&name, StateRole::Groups),
            grouping.key_codec.clone(),
        )?;
        let (first, collector) = (self.start.first_epoch(), self.collector.clone());
        let unread = self.unread_epoch(id);
        let operator = GroupRowsOperator { grouping, expired, first, unread, name, collector, errors };
        Ok(emit_groups(arranged, operator))
    }
}

fn key_entries<'s>(
    stream: Deltas<'s>,
    shape: RelationType,
    grouping: RowGrouping,
    errors: Errors,
    collector: Shared,
) -> KeyedStream<'s> {
    to_updates(stream, "FoldKeys", collector, move |epoch, ownership, batch| {
        grouping.keyed_entries(&shape, &errors, (epoch, ownership), batch)
    })
}
