//! Orders to erase persons, on their way from the worker that read them to all workers.
//!
//! They travel when an epoch is closed, before its records are complete: every table knows whom it erases when it decides
//! the epoch. That is one more round of the workers, which only topologies with a table of orders take.

use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::{Input, Probe};
use timely::dataflow::{ProbeHandle, Scope, Stream};
use timely::worker::Worker;

use super::{Feed, Handle, Setup, Topology};
use crate::error::RunError;
use crate::render::operators::each_message;
use crate::source::erasure::{Order, SharedErasing, tables_filtered_anew};
use crate::source::table::Chunk;

/// Input of the orders of an epoch.
pub(super) struct OrderInput {
    handle: Handle<Order>,
    probe: ProbeHandle<u64>,
}

/// Builds the way of orders to all workers.
pub(super) fn order_input(scope: Scope<'_, u64>, erasing: Option<SharedErasing>) -> OrderInput {
    let probe = ProbeHandle::new();
    let (handle, stream): (Handle<Order>, _) = scope.new_input();
    let exchange = Exchange::new(|order: &Order| order.to);
    let taken: Stream<'_, u64, Vec<()>> =
        each_message(stream, exchange, "TakeOrders", move |time, orders: &mut Vec<Order>, _output| {
            if let Some(erasing) = &erasing {
                erasing.borrow_mut().arrived.entry(*time.time()).or_default().append(orders);
            }
        });
    taken.probe_with(&probe);
    OrderInput { handle, probe }
}

impl Setup {
    /// Returns true if the first epoch filters rows that the state holds, by other paths to persons than before.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn filters_anew(&self) -> Result<bool, RunError> {
        Ok(!tables_filtered_anew(&self.plan, &self.store)?.is_empty())
    }
}

impl Topology {
    /// Tells all workers the orders that this one has read in the epoch, and waits for theirs. Returns its own.
    pub(super) fn share_orders(&mut self, worker: &mut Worker, epoch: u64) -> Result<Vec<Order>, RunError> {
        let Some(erasing) = self.erasing.clone() else {
            // The input must not hold the epoch.
            self.orders.handle.advance_to(epoch + 1);
            return Ok(Vec::new());
        };
        let noted = std::mem::take(&mut erasing.borrow_mut().noted);
        if self.ownership.workers() > 1 {
            self.orders.handle.advance_to(epoch);
            for to in 0..self.ownership.workers() as u64 {
                for order in &noted {
                    self.orders.handle.send(Order { to, ..order.clone() });
                }
            }
            self.orders.handle.advance_to(epoch + 1);
            self.step_through(worker, &self.orders.probe.clone(), epoch)?;
        } else {
            self.orders.handle.advance_to(epoch + 1);
            erasing.borrow_mut().arrived.insert(epoch, noted.clone());
        }
        erasing.borrow_mut().take_orders(epoch);
        erasing.borrow_mut().watermarks = self.watermarks.borrow().clone();
        for (source, feed) in self.feeds.iter_mut().enumerate() {
            // A table without records of the epoch looks at its rows all the same.
            if let Feed::Chunks(handle, _) = feed
                && erasing.borrow().to_erase_in(source).is_some()
            {
                handle.send(Chunk::empty(self.index as u64));
            }
        }
        Ok(noted)
    }
}
