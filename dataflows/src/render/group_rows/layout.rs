//! Layout of the rows that a group keeps.

use crate::render::aggregates::input::{encode_keys, expression_types};
use arrow::datatypes::{DataType, Schema};
use schemas::{Ownership, RowCodec};

use crate::arrange::updates::ExchangeBuffer;
use crate::error::RunError;
use crate::plan::Scalar;
use crate::plan::group_rows::Fold;
use crate::render::batch::{DeltaBatch, RelationType};
use crate::render::linear::Errors;

/// Aggregate, with the columns of an entry that it reads.
#[derive(Clone)]
pub struct GroupRowsSlot {
    /// The aggregate as planned.
    pub fold: Fold,
    /// Entry column of the argument.
    pub arg: usize,
    /// Entry column of the filter.
    pub filter: Option<usize>,
    /// Entry columns of the ORDER BY expressions, in the plan's order.
    pub order: Vec<usize>,
}

/// GROUP BY resolved for rendering.
#[derive(Clone)]
pub struct RowGrouping {
    /// Key expressions over the input.
    pub keys: Vec<Scalar>,
    /// Packed form of the key.
    pub key_codec: RowCodec,
    /// Expressions that the aggregates read, each once.
    pub reads: Vec<Scalar>,
    /// Packed form of an entry: the columns of `reads`.
    pub entry_codec: RowCodec,
    /// Aggregates in output order.
    pub slots: Vec<GroupRowsSlot>,
    /// Packed form of the results.
    pub results: RowCodec,
}

impl RowGrouping {
    /// Resolves keys and aggregates over rows of `input`.
    ///
    /// # Errors
    /// When an expression has no type over `input`.
    pub fn new(input: &Schema, keys: &[Scalar], folds: &[Fold]) -> Result<RowGrouping, RunError> {
        let mut reads: Vec<Scalar> = Vec::new();
        let mut slots = Vec::with_capacity(folds.len());
        for fold in folds {
            let arg = entry_column(&mut reads, &fold.arg);
            let filter = fold.filter.as_ref().map(|filter| entry_column(&mut reads, filter));
            let mut order = Vec::with_capacity(fold.order.len());
            for key in &fold.order {
                order.push(entry_column(&mut reads, &key.expr));
            }
            slots.push(GroupRowsSlot { fold: fold.clone(), arg, filter, order });
        }
        let outputs: Vec<DataType> = folds.iter().map(|fold| fold.output.clone()).collect();
        Ok(RowGrouping {
            keys: keys.to_vec(),
            key_codec: RowCodec::new(&expression_types(input, keys)?)?,
            entry_codec: RowCodec::new(&expression_types(input, &reads)?)?,
            reads,
            slots,
            results: RowCodec::new(&outputs)?,
        })
    }

    /// Returns key and entry of each row of a batch.
    pub(super) fn keyed_entries(
        &self,
        shape: &RelationType,
        errors: &Errors,
        (epoch, ownership): (u64, &Ownership),
        delta: DeltaBatch,
    ) -> Result<ExchangeBuffer<i64>, RunError> {
        let batch = shape.decode_columns(&delta)?;
        let exprs: Vec<&Scalar> = self.keys.iter().chain(&self.reads).collect();
        let (columns, _, diffs) = errors.evaluate(epoch, &exprs, batch, delta.diffs)?;
        let (keys, reads) = columns.split_at(self.keys.len());
        let keys = encode_keys(&self.key_codec, keys, diffs.len())?;
        let entries = encode_keys(&self.entry_codec, reads, diffs.len())?;
        let mut outgoing = ExchangeBuffer::new(epoch, ownership);
        for (at, diff) in diffs.into_iter().enumerate() {
            outgoing.push_key(keys.get(at));
            outgoing.push_value(entries.get(at), diff);
        }
        Ok(outgoing)
    }
}

/// Returns the entry column of an expression, which is added to `reads` unless it is there.
fn entry_column(reads: &mut Vec<Scalar>, expr: &Scalar) -> usize {
    // Expressions are equal if their text is; a repeated one shares its column.
    let text = expr.to_string();
    if let Some(known) = reads.iter().position(|known| known.to_string() == text) {
        return known;
    }
    reads.push(expr.clone());
    reads.len() - 1
}
