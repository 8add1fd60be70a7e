//! GROUP BY with aggregates that need the rows of their group, up to the arrangement.
//!
//! Under a group's key stands what its aggregates read of each row: arguments, filters and ORDER BY
//! expressions, each expression once, packed and counted. Rows alike in these are one entry. Where the
//! state is durable, these entries are, with their counts, as the rows of a join are.

use arrow::datatypes::{DataType, Schema};
use schemas::RowCodec;

use super::operator::{Folded, folded};
use crate::arrange::trace;
use crate::arrange::updates::Outgoing;
use crate::error::RunError;
use crate::plan::state_role::Part;
use crate::plan::{Fold, Op, RelId, Scalar};
use crate::render::Renderer;
use crate::render::aggregates::input::encode_keys;
use crate::render::batch::{DeltaBatch, Shape};
use crate::render::collect::Shared;
use crate::render::joins::kinds::Keyed;
use crate::render::linear::{Deltas, Errors, to_updates};

/// A GROUP BY, resolved for rendering.
#[derive(Clone)]
pub struct Folding {
    /// Key expressions over the input.
    pub keys: Vec<Scalar>,
    /// Packed form of the key.
    pub key_codec: RowCodec,
    /// What the aggregates read, each expression once.
    pub reads: Vec<Scalar>,
    /// Packed form of an entry: the columns of `reads`.
    pub entry_codec: RowCodec,
    /// Aggregates in output order.
    pub slots: Vec<Slot>,
    /// Packed form of the results.
    pub results: RowCodec,
}

/// One aggregate and where an entry has what it reads.
#[derive(Clone)]
pub struct Slot {
    /// The aggregate as planned.
    pub fold: Fold,
    /// Column of the argument.
    pub arg: usize,
    /// Column of the filter.
    pub filter: Option<usize>,
    /// Columns of the order, as the plan has them.
    pub order: Vec<usize>,
}

impl Folding {
    /// Resolves keys and aggregates over rows of `input`.
    ///
    /// # Errors
    /// When an expression has no type over `input`.
    pub fn new(input: &Schema, keys: &[Scalar], folds: &[Fold]) -> Result<Folding, RunError> {
        let types = |scalars: &[Scalar]| -> Result<Vec<DataType>, RunError> {
            let types = scalars.iter().map(|k| k.data_type(input)).collect::<Result<_, _>>();
            types.map_err(|e| RunError::Broken(e.to_string()))
        };
        let mut reads: Vec<Scalar> = Vec::new();
        let mut place = |scalar: &Scalar| {
            let text = scalar.to_string();
            reads.iter().position(|known| known.to_string() == text).unwrap_or_else(|| {
                reads.push(scalar.clone());
                reads.len() - 1
            })
        };
        let mut slots = Vec::with_capacity(folds.len());
        for fold in folds {
            let arg = place(&fold.arg);
            let filter = fold.filter.as_ref().map(&mut place);
            let order = fold.order.iter().map(|key| place(&key.expr)).collect();
            slots.push(Slot { fold: fold.clone(), arg, filter, order });
        }
        let outputs: Vec<DataType> = folds.iter().map(|fold| fold.output.clone()).collect();
        Ok(Folding {
            keys: keys.to_vec(),
            key_codec: RowCodec::new(&types(keys)?)?,
            entry_codec: RowCodec::new(&types(&reads)?)?,
            reads,
            slots,
            results: RowCodec::new(&outputs)?,
        })
    }

    /// Key and entry of each row of a batch.
    fn updates(
        &self,
        shape: &Shape,
        errors: &Errors,
        (epoch, peers): (u64, usize),
        delta: DeltaBatch,
    ) -> Result<Outgoing<i64>, RunError> {
        let batch = shape.columns(&delta)?;
        let exprs: Vec<&Scalar> = self.keys.iter().chain(&self.reads).collect();
        let (columns, _, diffs) = errors.evaluate(epoch, &exprs, batch, delta.diffs)?;
        let (keys, reads) = columns.split_at(self.keys.len());
        let keys = encode_keys(&self.key_codec, keys, diffs.len())?;
        let entries = encode_keys(&self.entry_codec, reads, diffs.len())?;
        let mut outgoing = Outgoing::new(epoch, peers);
        for (at, diff) in diffs.into_iter().enumerate() {
            outgoing.key(keys.get(at));
            outgoing.value(entries.get(at), diff);
        }
        Ok(outgoing)
    }
}

impl<'s> Renderer<'s, '_> {
    /// A GROUP BY of this kind.
    ///
    /// # Errors
    /// When the plan does not hold what it promises.
    pub(in crate::render) fn fold(&mut self, id: RelId) -> Result<Deltas<'s>, RunError> {
        let Op::Fold { input, keys, folds } = &self.plan.rels[id].op else {
            return Err(RunError::Broken("not a fold".into()));
        };
        let durable = self.plan.rels[id].durable;
        let folding = Folding::new(&self.plan.rels[*input].schema, keys, folds)?;
        let (stream, errors) = (self.input(durable, self.streams[*input].clone()), self.errors(id)?);
        let collector = self.collector.clone();
        let updates = keyed(stream, self.shapes[*input].clone(), folding.clone(), errors.clone(), collector);
        let (updates, back) = self.expiring(updates, (id, Part::Groups));
        let updates = self.kept(updates, (id, durable, Part::Groups), &folding.key_codec)?;
        let name = self.named(id, "groups");
        let arranged = trace::arrange(updates, &name, self.collector.clone());
        let gone = self.tie(&[&arranged], back, (&name, Part::Groups, folding.key_codec.clone()))?;
        let (first, collector) = (self.start.first(), self.collector.clone());
        Ok(folded(arranged, Folded { folding, gone, first, name, collector, errors }))
    }
}

fn keyed<'s>(
    stream: Deltas<'s>,
    shape: Shape,
    folding: Folding,
    errors: Errors,
    collector: Shared,
) -> Keyed<'s> {
    to_updates(stream, "FoldKeys", collector, move |epoch, peers, batch| {
        folding.updates(&shape, &errors, (epoch, peers), batch)
    })
}
