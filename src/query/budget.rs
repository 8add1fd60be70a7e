//! Memory of a query's tables.

use anyhow::Result;

use crate::exit::mistake;

/// The memory that is left for a query's tables.
pub(crate) struct TableBudget {
    left: usize,
}

impl TableBudget {
    /// Creates a budget of so many bytes.
    pub(crate) fn new(bytes: usize) -> TableBudget {
        TableBudget { left: bytes }
    }

    /// Takes memory for a table; a mistake if the table does not fit.
    pub(crate) fn take(&mut self, bytes: usize, table: &str) -> Result<()> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(mistake(format!(
                "{table} does not fit into the memory a query may take. Read the sink's topic, or keep a smaller view for this question"
            ))),
        }
    }
}
