//! Candidates of a table on their way to the workers that own their keys.

use std::collections::BTreeMap;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use schemas::memory::{HeapBytes, vector_bytes};
use schemas::{Ownership, RowCodec, Rows};
use serde::{Deserialize, Serialize};

use crate::error::RunError;
use crate::plan::{Conflict, Source};
use crate::render::batch::{Data, DeltaBatch, RelationType};
use crate::source::held::{Held, Trace};
use crate::source::ingest::Candidates;

/// Candidates on their way to the worker that owns their keys.
#[derive(Clone, Serialize, Deserialize)]
pub struct Chunk {
    pub(super) owner: u64,
    pub(super) partition: i32,
    pub(super) offsets: Vec<i64>,
    pub(super) keys: Rows,
    pub(super) rows: Rows,
    pub(super) versions: Rows,
    pub(super) declared: Vec<u32>,
    pub(super) events: Vec<i64>,
    pub(super) horizons: Vec<i64>,
    /// True for a record that deletes; its row is then empty.
    pub(super) deletes: Vec<bool>,
    /// The trace that each record leaves, where some are of erased persons; else empty.
    pub(super) erased: Vec<Trace>,
    /// The batch the rows came in, which chunks of other owners share; None after serialization.
    #[serde(skip)]
    pub(super) batch: Option<RecordBatch>,
    /// Position of each row in `batch`.
    pub(super) places: Vec<u32>,
}

/// Packs candidates into chunks by owner.
pub struct Packer {
    shape: RelationType,
    key: Vec<usize>,
    key_codec: RowCodec,
    version: Option<(usize, RowCodec)>,
    declared: usize,
}

impl Packer {
    /// Makes the packer of a keyed source.
    ///
    /// # Errors
    /// When a column type has no packed form, or the source has no key.
    pub fn new(source: &Source) -> Result<Packer, RunError> {
        let Some(keyed) = &source.keyed else {
            return Err(RunError::Broken(format!("{} has no key", source.name)));
        };
        let type_of = |at: &usize| source.schema.field(*at).data_type().clone();
        let version = match keyed.conflict {
            Conflict::Overwrite { version: Some(at) } => Some((at, RowCodec::new(&[type_of(&at)])?)),
            _ => None,
        };
        Ok(Packer {
            shape: RelationType::new(&source.schema)?,
            key_codec: RowCodec::new(&keyed.key.iter().map(type_of).collect::<Vec<_>>())?,
            key: keyed.key.clone(),
            version,
            declared: source.schema.fields().len() - source.includes.len(),
        })
    }

    /// Packs the candidates of `records`' partition for the owners of their keys.
    ///
    /// # Errors
    /// When a column cannot be encoded.
    pub fn pack(
        &self,
        candidates: Candidates,
        records: &schemas::Records,
        ownership: &Ownership,
    ) -> Result<Vec<Chunk>, RunError> {
        let batch = candidates.batch;
        let columns: Vec<_> = self.key.iter().map(|at| batch.column(*at).clone()).collect();
        let keys = self.key_codec.encode(&columns)?;
        let rows = self.shape.codec.encode(batch.columns())?;
        let versions = match &self.version {
            Some((at, codec)) => Some(codec.encode(std::slice::from_ref(batch.column(*at)))?),
            None => None,
        };
        // Without INCLUDEd columns the whole packed row is declared, and its prefix need not be measured.
        let all_declared = self.declared == batch.num_columns();
        // Each owner has about its share of the rows.
        let share = |all: usize| all / ownership.workers().max(1) * 9 / 8 + 1;
        let mut chunks: BTreeMap<u64, Chunk> = BTreeMap::new();
        for row in 0..batch.num_rows() {
            let (key, bytes) = (keys.get(row), rows.get(row));
            let owner = ownership.owner_of(key) as u64;
            let chunk = chunks.entry(owner).or_insert_with(|| {
                let places = share(batch.num_rows());
                Chunk {
                    offsets: Vec::with_capacity(places),
                    keys: Rows::with_capacity(places, share(keys.bytes_len())),
                    rows: Rows::with_capacity(places, share(rows.bytes_len())),
                    ..Chunk::new(owner, records.partition)
                }
            });
            chunk.offsets.push(records.offsets[candidates.records[row] as usize]);
            chunk.keys.push(key);
            chunk.events.push(candidates.events[row]);
            chunk.horizons.push(candidates.horizons[row]);
            chunk.places.push(row as u32);
            let deletes = candidates.deletes.get(row) == Some(&true);
            chunk.deletes.push(deletes);
            let trace = candidates.erased.get(row).copied().unwrap_or_default();
            if !candidates.erased.is_empty() {
                chunk.erased.push(trace);
            }
            let version =
                versions.as_ref().filter(|_| !deletes).map_or(&[][..], |versions| versions.get(row));
            chunk.versions.push(version);
            if deletes || trace != Trace::Row {
                chunk.rows.push(&[]);
                chunk.declared.push(0);
                continue;
            }
            chunk.rows.push(bytes);
            let declared =
                if all_declared { bytes.len() } else { self.shape.codec.prefix_len(bytes, self.declared)? };
            chunk.declared.push(declared as u32);
        }
        for chunk in chunks.values_mut() {
            chunk.batch = Some(batch.clone());
        }
        Ok(chunks.into_values().collect())
    }
}

impl HeapBytes for Chunk {
    /// The bytes of the packed rows; the batch they came in is counted where it is fed.
    fn heap_bytes(&self) -> usize {
        let packed = self.keys.heap_bytes() + self.rows.heap_bytes() + self.versions.heap_bytes();
        let times = vector_bytes(&self.offsets) + vector_bytes(&self.events) + vector_bytes(&self.horizons);
        packed + times + vector_bytes(&self.declared) + vector_bytes(&self.places)
    }
}

impl Chunk {
    /// A chunk without candidates, which makes the table look at an epoch.
    pub fn empty(owner: u64) -> Chunk {
        Chunk::new(owner, 0)
    }

    pub(super) fn new(owner: u64, partition: i32) -> Chunk {
        Chunk {
            owner,
            partition,
            offsets: vec![],
            keys: Rows::new(),
            rows: Rows::new(),
            versions: Rows::new(),
            declared: vec![],
            events: vec![],
            horizons: vec![],
            deletes: vec![],
            erased: vec![],
            batch: None,
            places: vec![],
        }
    }
}

impl Chunk {
    /// The stored form of an accepted row.
    pub(super) fn held_row(&self, row: usize) -> Held {
        Held {
            deleted: false,
            erased: false,
            partition: self.partition,
            offset: self.offsets[row],
            event_us: self.events[row],
            version: self.versions.get(row).to_vec(),
            declared: self.declared[row],
            row: self.rows.get(row).to_vec(),
        }
    }

    /// The tombstone that replaces a deleted row; None where rows have no version.
    pub(super) fn tombstone(&self, row: usize, held: Option<&Held>) -> Option<Held> {
        let held = held.filter(|held| !held.version.is_empty())?;
        Some(Held {
            deleted: true,
            erased: false,
            partition: self.partition,
            offset: self.offsets[row],
            event_us: held.event_us,
            version: held.version.clone(),
            declared: 0,
            row: vec![],
        })
    }

    /// The stored form of an erased person's row: which row of its key is the latest must not depend on when the person was
    /// erased.
    pub(super) fn erased_row(&self, row: usize) -> Held {
        Held { deleted: true, erased: true, declared: 0, row: vec![], ..self.held_row(row) }
    }

    /// The trace that a record leaves of its row.
    pub(super) fn trace_of(&self, row: usize) -> Trace {
        self.erased.get(row).copied().unwrap_or_default()
    }

    /// Insertions of these rows: columns of the shared batch, or packed rows where there is none.
    pub(super) fn insertions(&self, rows: Vec<u32>) -> Result<DeltaBatch, RunError> {
        let diffs = vec![1; rows.len()];
        match &self.batch {
            Some(batch) if rows.len() == batch.num_rows() => {
                Ok(DeltaBatch::from_columns(batch.clone(), diffs))
            }
            Some(batch) => {
                let places: UInt32Array = rows.iter().map(|row| self.places[*row as usize]).collect();
                Ok(DeltaBatch::from_columns(take_record_batch(batch, &places)?, diffs))
            }
            None => {
                let mut packed = Rows::new();
                for row in rows {
                    packed.push(self.rows.get(row as usize));
                }
                Ok(DeltaBatch { data: Data::Packed(packed), diffs })
            }
        }
    }
}
