//! A circuit with what feeds it and what is taken from it.

use anyhow::{Context, Result};
use dbsp::circuit::CircuitConfig;
use dbsp::typed_batch::IndexedZSetReader;
use dbsp::{DBSPHandle, OutputHandle, RootCircuit, Runtime};

use crate::answer::{Answer, Columns, Line};
use crate::feed::Feed;

/// Takes the changes of a step, into an answer if there is one.
pub type Taken = Box<dyn Fn(Option<&mut Answer>)>;

/// A query over files.
pub struct Job {
    circuit: DBSPHandle,
    feeds: Vec<Feed>,
    taken: Taken,
}

/// Builds a circuit that one worker runs, with state in memory.
///
/// # Errors
/// When dbsp refuses it.
pub fn build<T: Send + 'static>(
    constructor: impl FnOnce(&mut RootCircuit) -> Result<T> + Clone + Send + 'static,
) -> Result<(DBSPHandle, T)> {
    // No step gets more input while its changes are computed.
    let config = CircuitConfig::with_workers(1).with_allow_input_during_commit(false);
    Runtime::init_circuit(config, constructor).context("dbsp refuses the circuit")
}

/// Takes the changes of a circuit's output; `write` adds the columns of a key and a value.
pub fn taken<T>(output: OutputHandle<T>, write: fn(&T::Key, &T::Val, &mut Line)) -> Taken
where
    T: IndexedZSetReader + Send + Clone + 'static,
{
    Box::new(move |answer| {
        let changes = output.take_from_all();
        let Some(answer) = answer else { return };
        for batch in changes {
            for (key, value, weight) in batch.iter() {
                let mut line = Line::default();
                write(&key, &value, &mut line);
                answer.add(line, weight);
            }
        }
    })
}

/// Takes the changes of a circuit's output, whose rows have the columns of the answer.
pub fn taken_rows<T>(output: OutputHandle<T>) -> Taken
where
    T: IndexedZSetReader<Val = ()> + Send + Clone + 'static,
    T::Key: Columns,
{
    taken(output, write_row::<T::Key>)
}

fn write_row<R: Columns>(row: &R, (): &(), line: &mut Line) {
    line.put_all(row);
}

impl Job {
    /// A query.
    pub fn new(circuit: DBSPHandle, feeds: Vec<Feed>, taken: Taken) -> Job {
        Job { circuit, feeds, taken }
    }

    /// Runs until all files are at their ends; the changes of each step are added to an answer, or dropped.
    ///
    /// # Errors
    /// When a line is no event, or the circuit fails.
    pub fn run(&mut self, mut answer: Option<&mut Answer>) -> Result<()> {
        loop {
            let mut any = false;
            for feed in &mut self.feeds {
                any |= feed()?;
            }
            if !any {
                return Ok(());
            }
            self.circuit.transaction().context("the circuit failed")?;
            (self.taken)(answer.as_deref_mut());
        }
    }
}
