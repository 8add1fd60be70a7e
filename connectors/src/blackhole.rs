//! The sink that keeps nothing: for benches, and to try a topology out.
//!
//! It reads the chunks as any sink does, so that their cost is real, and counts their records.

use schemas::OutChunk;

use crate::ConnectorError;

/// Counts of the output that was discarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blackhole {
    /// Last epoch.
    pub epoch: u64,
    /// Records of all epochs.
    pub records: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

impl Blackhole {
    /// Takes the output of an epoch; does nothing for an epoch it has had already.
    pub fn publish(&mut self, epoch: u64, chunks: &[Vec<u8>]) -> Result<(), ConnectorError> {
        if epoch <= self.epoch {
            return Ok(());
        }
        for chunk in chunks {
            for record in OutChunk::read(chunk)? {
                let record = record?;
                let bytes = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
                self.records += 1;
                self.bytes += bytes as u64;
            }
        }
        self.epoch = epoch;
        Ok(())
    }
}
