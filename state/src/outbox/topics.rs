//! Records of the topics that a state publishes to, and orders to send a sink's content again.
//!
//! Both are keys of the `meta` family below `published/`: a copy that becomes a state of its own drops all of
//! those (`identity::adopt_copy`). The ends of topics are written from time to time and without a sync, so
//! the held values are lower bounds. A topic that ends below them was deleted and created again.

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
    /// The number of partitions it had.
    pub partitions: i32,
    /// A lower bound of each partition's end offset.
    pub reached: Vec<i64>,
    /// Set when the topic was found missing or replaced during publishing: later attempts may have hidden
    /// that.
    pub lost: bool,
}

impl Store {
    /// Reads the topics that this state has published to, by name.
    pub fn known_topics(&self) -> Result<BTreeMap<String, KnownTopic>, StateError> {
        Ok(self.meta_json(TOPICS)?.unwrap_or_default())
    }

    /// Replaces the held topics.
    pub fn set_known_topics(&self, topics: &BTreeMap<String, KnownTopic>) -> Result<(), StateError> {
        self.refuse_poisoned()?;
        let mut batch = WriteBatch::new();
        self.put_meta_json(&mut batch, TOPICS, topics)?;
        self.db.write_opt(batch, &WriteOptions::default()).map_err(StateError::database_in(self.dir()))
    }

    /// Reads the sinks that were ordered to be sent again, each with the epoch committed at the time of the
    /// order. The order holds until another epoch is committed; it supersedes the sink's output up to that
    /// epoch in the outbox.
    pub fn resends(&self) -> Result<BTreeMap<String, u64>, StateError> {
        Ok(self.meta_json(RESENDS)?.unwrap_or_default())
    }

    /// Orders a sink to be sent again as of the committed epoch, and returns that epoch.
    pub fn order_resend(&self, sink: &str) -> Result<u64, StateError> {
        self.refuse_poisoned()?;
        let (mut resends, epoch) = (self.resends()?, self.committed().epoch);
        resends.insert(sink.to_owned(), epoch);
        let mut batch = WriteBatch::new();
        self.put_meta_json(&mut batch, RESENDS, &resends)?;
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        self.db.write_opt(batch, &synced).map_err(StateError::database_in(self.dir()))?;
        Ok(epoch)
    }
}
