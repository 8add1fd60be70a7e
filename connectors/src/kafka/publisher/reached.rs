//! The topics that are published to, told from others of the same name.
//!
//! The client does not tell a topic's id. But offsets never go back: a topic that ends before what was published to
//! it was deleted and made anew, or its broker lost data. So the end of each partition is remembered, as a lower bound:
//! from each transaction the offset of its first record there, which the broker tells before the commit. A topic
//! with more partitions than it had is refused where records have keys: a key's records would stand in two of them,
//! and the older one would stay for ever.

use std::collections::BTreeMap;

use crate::ConnectorError;
use crate::kafka::client::First;

/// By topic, how far each partition reached at least.
pub type Reached = BTreeMap<String, Vec<i64>>;

/// Tells whether a topic is the one that was published to. `ends` are those it has now, None when there is no such topic.
///
/// ```
/// use connectors::kafka::judge;
/// assert!(judge("t", &[3, 0], Some(&[5, 0])).is_ok());
/// assert!(judge("t", &[3, 0], Some(&[2, 9])).is_err());
/// assert!(judge("t", &[3, 0], None).is_err());
/// assert!(judge("t", &[0, 0], None).is_ok(), "nothing was published to it");
/// ```
///
/// # Errors
/// Why it is not.
pub fn judge(topic: &str, reached: &[i64], ends: Option<&[i64]>) -> Result<(), ConnectorError> {
    let Some(ends) = ends else {
        return match reached.iter().any(|reached| *reached > 0) {
            true => Err(ConnectorError::GoneTopic { topic: topic.to_string() }),
            false => Ok(()),
        };
    };
    for (partition, reached) in (0..).zip(reached) {
        let end = ends.get(partition as usize).copied().unwrap_or(0);
        if end < *reached {
            return Err(remade(topic, partition, end, *reached));
        }
    }
    Ok(())
}

fn remade(topic: &str, partition: i32, end: i64, reached: i64) -> ConnectorError {
    ConnectorError::RemadeSink { topic: topic.to_string(), partition, end, reached }
}

/// The first records of a transaction, one a partition: they are marked, so that the broker's answer for them is kept.
#[derive(Debug, Default)]
pub(crate) struct Firsts {
    topics: Vec<(String, Vec<bool>)>,
    /// The topic of the last record: records of one topic come together.
    last: usize,
    places: Vec<(usize, usize)>,
}

impl Firsts {
    /// What a record is marked with: 0 unless it is the first of its partition.
    pub(crate) fn mark(&mut self, topic: &str, partition: i32) -> usize {
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

    /// Where the broker put them, by topic and partition.
    pub(crate) fn places(&self, put: &[First]) -> Vec<(&str, usize, i64)> {
        let place = |first: &First| {
            let (topic, partition) = self.places.get(first.mark.checked_sub(1)?)?;
            Some((self.topics[*topic].0.as_str(), *partition, first.offset))
        };
        put.iter().filter_map(place).collect()
    }
}

/// Refuses a transaction, before its commit, of which a record stands before what was published earlier: its topic
/// was made anew meanwhile.
///
/// # Errors
/// Which topic it is.
pub(crate) fn judge_places(places: &[(&str, usize, i64)], reached: &Reached) -> Result<(), ConnectorError> {
    for (topic, partition, offset) in places {
        let held = reached.get(*topic).and_then(|held| held.get(*partition)).copied().unwrap_or(0);
        if *offset < held {
            return Err(remade(topic, *partition as i32, *offset, held));
        }
    }
    Ok(())
}

/// Takes in the places of a transaction that is committed.
pub(crate) fn keep_places(places: &[(&str, usize, i64)], reached: &mut Reached) {
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
        let mut firsts = Firsts::default();
        let marks = [("a", 1), ("a", 1), ("a", 0), ("b", 1), ("a", 0), ("b", 1), ("b", 70)];
        let marks = marks.map(|(topic, partition)| firsts.mark(topic, partition));
        assert_eq!(marks, [1, 0, 2, 3, 0, 0, 4]);
        let mut reached = Reached::from([("a".to_string(), vec![4, 9])]);
        let put = |mark, offset| First { mark, offset };
        let places = firsts.places(&[put(1, 9), put(3, 0), put(2, 40), put(0, 7), put(9, 7)]);
        assert_eq!(places, [("a", 1, 9), ("b", 1, 0), ("a", 0, 40)]);
        judge_places(&places, &reached).unwrap();
        keep_places(&places, &mut reached);
        assert_eq!(reached["a"], [41, 10]);
        assert_eq!(reached["b"], [0, 1]);
        let error = judge_places(&firsts.places(&[put(1, 3)]), &reached).unwrap_err().to_string();
        assert!(error.contains("topic \"a\" partition 1") && error.contains("made anew"), "{error}");
    }

    #[test]
    fn a_topic_with_fewer_partitions_is_another_one() {
        assert!(judge("t", &[1, 1], Some(&[1])).is_err());
        assert!(judge("t", &[1], Some(&[1, 0])).is_ok());
        assert!(judge("t", &[], None).is_ok());
    }
}
