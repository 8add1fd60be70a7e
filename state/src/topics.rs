//! What a state remembers of the topics it publishes to, and which sinks are to be sent again.
//!
//! Both stand in the `meta` family below `published/`, as all that a copy forgets which becomes a state of its own
//! (`identity::adopt`). How far topics reached is written now and then and not synced: what is held is a lower bound
//! at any time, and that is all that tells a topic from one that was made anew.

use std::collections::BTreeMap;

use rocksdb::{WriteBatch, WriteOptions};
use serde::{Deserialize, Serialize};

use crate::error::StateError;
use crate::store::Store;

const TOPICS: &str = "published/topics";
const RESENDS: &str = "published/resends";

/// A topic that was published to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KnownTopic {
    /// How many partitions it had.
    pub partitions: i32,
    /// The end of each partition, at least.
    pub reached: Vec<i64>,
    /// It was found to be gone, or another one, while it was published to: what was tried since may hide that.
    pub lost: bool,
}

impl Store {
    /// The topics that this state has published to, by name.
    pub fn known_topics(&self) -> Result<BTreeMap<String, KnownTopic>, StateError> {
        Ok(self.reads().meta_json(TOPICS)?.unwrap_or_default())
    }

    /// Remembers topics in place of those held.
    pub fn set_known_topics(&self, topics: &BTreeMap<String, KnownTopic>) -> Result<(), StateError> {
        self.refuse_poisoned()?;
        let mut batch = WriteBatch::new();
        self.put_meta_json(&mut batch, TOPICS, topics)?;
        self.db
            .write_opt(batch, &WriteOptions::default())
            .map_err(|source| StateError::database(self.dir(), source))
    }

    /// The sinks that were ordered to be sent again, each with the epoch that was committed then. Until another one
    /// is committed the order stands; what the outbox holds of such a sink up to that epoch is superseded.
    pub fn resends(&self) -> Result<BTreeMap<String, u64>, StateError> {
        Ok(self.reads().meta_json(RESENDS)?.unwrap_or_default())
    }

    /// Orders a sink to be sent again as of the committed epoch, which it gives back.
    pub fn order_resend(&self, sink: &str) -> Result<u64, StateError> {
        self.refuse_poisoned()?;
        let (mut resends, epoch) = (self.resends()?, self.meta().epoch);
        resends.insert(sink.to_owned(), epoch);
        let mut batch = WriteBatch::new();
        self.put_meta_json(&mut batch, RESENDS, &resends)?;
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        self.db.write_opt(batch, &synced).map_err(|source| StateError::database(self.dir(), source))?;
        Ok(epoch)
    }
}
