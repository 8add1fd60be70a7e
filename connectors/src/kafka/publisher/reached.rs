//! Detection of output topics that were deleted and created again under the same name.
//!
//! The client does not report a topic's id. But offsets never go back: a topic that ends before records
//! published to it was deleted and created again, or its broker lost data. So the end of each partition is
//! stored, as a lower bound: from each transaction the offset of its first record there, which the broker
//! reports before the commit. A topic with more partitions than it had is refused where records have keys: a
//! key's records would be in two of them, and the older one would stay for ever.

use std::collections::BTreeMap;

use crate::ConnectorError;
use crate::kafka::client::MarkedOffset;

/// By topic, a lower bound of the end of each partition.
pub type Reached = BTreeMap<String, Vec<i64>>;

/// Tells whether a partition with one of these ends has held records.
pub fn has_records(ends: &[i64]) -> bool {
    ends.iter().any(|end| *end > 0)
}

/// Verifies that a topic is the one that was published to. `ends` are its present ends, None when it does not
/// exist.
///
/// ```
/// use connectors::kafka::verify_reached;
/// assert!(verify_reached("t", &[3, 0], Some(&[5, 0])).is_ok());
/// assert!(verify_reached("t", &[3, 0], Some(&[2, 9])).is_err());
/// assert!(verify_reached("t", &[3, 0], None).is_err());
/// assert!(verify_reached("t", &[0, 0], None).is_ok(), "nothing was published to it");
/// ```
///
/// # Errors
/// When the topic is gone, or ends before an offset that it had reached.
pub fn verify_reached(topic: &str, reached: &[i64], ends: Option<&[i64]>) -> Result<(), ConnectorError> {
    let Some(ends) = ends else {
        return if has_records(reached) {
            Err(ConnectorError::GoneTopic { topic: topic.to_string() })
        } else {
            Ok(())
        };
    };
    for (partition, reached) in (0..).zip(reached) {
        let end = ends.get(partition as usize).copied().unwrap_or(0);
        if end < *reached {
            return Err(remade_error(topic, partition, end, *reached));
        }
    }
    Ok(())
}

fn remade_error(topic: &str, partition: i32, end: i64, reached: i64) -> ConnectorError {
    ConnectorError::RemadeSink { topic: topic.to_string(), partition, end, reached }
}

/// The first records of a transaction, one per partition: they are marked, so that their offsets are kept.
#[derive(Debug, Default)]
pub(crate) struct FirstRecords {
    topics: Vec<(String, Vec<bool>)>,
    /// Index of the last record's topic: records of one topic come together.
    last: usize,
    /// Topic index and partition of each mark, counted from 1.
    places: Vec<(usize, usize)>,
}

impl FirstRecords {
    /// The mark of a record: 0 unless it is the first of its partition.
    pub(crate) fn mark_record(&mut self, topic: &str, partition: i32) -> usize {
        if self.topics.get(self.last).is_none_or(|held| held.0 != topic) {
            self.last = self.topics.iter().position(|held| held.0 == topic).unwrap_or(self.topics.len());
        }
        if self.last == self.topics.len() {
            self.topics.push((topic.to_string(), Vec::new()));
        }
        let (seen, partition) = (&mut self.topics[self.last].1, partition.max(0) as usize);
        if seen.len() <= partition {
            seen.resize(partition + 1, false);
        }
        if std::mem::replace(&mut seen[partition], true) {
            return 0;
        }
        self.places.push((self.last, partition));
        self.places.len()
    }

    /// Topic, partition and offset of the marked records that were delivered.
    pub(crate) fn delivered_offsets(&self, put: &[MarkedOffset]) -> Vec<(&str, usize, i64)> {
        let place = |first: &MarkedOffset| {
            let (topic, partition) = self.places.get(first.mark.checked_sub(1)?)?;
            Some((self.topics[*topic].0.as_str(), *partition, first.offset))
        };
        put.iter().filter_map(place).collect()
    }
}

/// Refuses a transaction, before its commit, in which a record has an offset below one that was published
/// earlier: its topic was deleted and created again meanwhile.
///
/// # Errors
/// Names that topic.
pub(crate) fn verify_offsets(places: &[(&str, usize, i64)], reached: &Reached) -> Result<(), ConnectorError> {
    for (topic, partition, offset) in places {
        let held = reached.get(*topic).and_then(|held| held.get(*partition)).copied().unwrap_or(0);
        if *offset < held {
            return Err(remade_error(topic, *partition as i32, *offset, held));
        }
    }
    Ok(())
}

/// Stores the offsets of a transaction that is committed.
pub(crate) fn store_offsets(places: &[(&str, usize, i64)], reached: &mut Reached) {
    for (topic, partition, offset) in places {
        let held = match reached.get_mut(*topic) {
            Some(held) => held,
            None => reached.entry((*topic).to_string()).or_default(),
        };
        if held.len() <= *partition {
            held.resize(partition + 1, 0);
        }
        held[*partition] = held[*partition].max(offset + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_record_of_each_partition_is_marked() {
        let mut firsts = FirstRecords::default();
        let marks = [("a", 1), ("a", 1), ("a", 0), ("b", 1), ("a", 0), ("b", 1), ("b", 70)];
        let marks = marks.map(|(topic, partition)| firsts.mark_record(topic, partition));
        assert_eq!(marks, [1, 0, 2, 3, 0, 0, 4]);
        let mut reached = Reached::from([("a".to_string(), vec![4, 9])]);
        let put = |mark, offset| MarkedOffset { mark, offset };
        let places = firsts.delivered_offsets(&[put(1, 9), put(3, 0), put(2, 40), put(0, 7), put(9, 7)]);
        assert_eq!(places, [("a", 1, 9), ("b", 1, 0), ("a", 0, 40)]);
        verify_offsets(&places, &reached).unwrap();
        store_offsets(&places, &mut reached);
        assert_eq!(reached["a"], [41, 10]);
        assert_eq!(reached["b"], [0, 1]);
        let error =
            verify_offsets(&firsts.delivered_offsets(&[put(1, 3)]), &reached).unwrap_err().to_string();
        assert!(error.contains("topic \"a\" partition 1") && error.contains("made anew"), "{error}");
    }

    #[test]
    fn a_topic_with_fewer_partitions_is_another_one() {
        assert!(verify_reached("t", &[1, 1], Some(&[1])).is_err());
        assert!(verify_reached("t", &[1], Some(&[1, 0])).is_ok());
        assert!(verify_reached("t", &[], None).is_ok());
    }
}
