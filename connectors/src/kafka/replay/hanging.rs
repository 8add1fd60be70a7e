//! Search for what a replay that died has left open in the topics that records are sent to.
//!
//! The takeover of the transactional id ends the transaction of that replay, in every partition. Brokers from 4.1 on
//! may leave the end out in some (KAFKA-20734, see [`crate::kafka::publisher::unsettled`]). There its records hang:
//! they hide later ones from read_committed, and the next commit of this producer in that partition would make them
//! visible, though it sends them again. So they are looked for after each takeover, and ended by a transaction that
//! sends a record to each such partition and is aborted. The record is a copy of the one that hangs, so that readers
//! of uncommitted records meet nothing new.
//!
//! Where the transaction of that replay was committed, its markers say that the records are sent, and the abort would
//! lose those that hang. Nothing can commit them: that takes a record in their partition, and the transaction that
//! sends it may fail. So their markers are taken back before the abort, in a transaction of its own, and the records
//! are sent again. Whoever is killed between the two leaves records that hang and have no marker.
//!
//! A record that a replay has sent names its marker, and with it the dead-letter topic, so that a replay of another one
//! in the same topics is not taken for this one. Other producers may have transactions open in these topics, for as
//! long as they like. They are waited for a moment only; behind one that lasts longer, a record that hangs is not seen.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::message::{BorrowedMessage, Message, OwnedMessage};

use super::reading::{Part, TopicReader, read_error};
use super::selection::{Marker, MarkerKind, named_id};
use super::sender::Sender;
use super::{DeadTopic, RETRY_PAUSE, ReplayConfig, open_consumer, read_marker};
use crate::ConnectorError;
use crate::kafka::client::{MARKER_HEADER, REPLAY_HEADER, header_of};
use crate::kafka::offsets::await_offsets;
use crate::kafka::topics::{Topics, partition_ends};

/// Time that an open transaction may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// Ends the records of earlier replays that hang in the topics of the sources. No transaction may be open in the
/// dead-letter topic up to its ends: its markers tell which records were committed. Returns true if markers were taken
/// back, behind those ends.
///
/// # Errors
/// A record that hangs on; a broker that does not answer.
pub(super) fn end_hanging(
    dead: &DeadTopic<'_>,
    topics: &Topics,
    sender: &mut Sender,
) -> Result<bool, ConnectorError> {
    let hanging = find_hanging(dead, topics)?;
    if hanging.is_empty() {
        return Ok(false);
    }
    tracing::warn!(
        partitions = hanging.len(),
        "the broker has not ended the last replay everywhere; it is aborted"
    );
    let ids = hanging_ids(dead, topics, &hanging)?;
    let markers = find_markers(dead, |_, id| ids.contains(&id))?;
    if !markers.is_empty() {
        tracing::warn!(records = markers.len(), "records of a committed replay hang; they are sent again");
        sender.recall(&markers)?;
    }
    sender.abort_hanging(&hanging)?;
    match find_hanging(dead, topics)?.first() {
        None => Ok(!markers.is_empty()),
        Some(record) => Err(ConnectorError::Transaction(format!(
            "a replay's transaction on topic \"{}\" partition {} is still open: \
             kafka-transactions.sh find-hanging finds it, and its abort ends it",
            record.topic(),
            record.partition()
        ))),
    }
}

/// The first records of open transactions that are a replay's. One of an earlier release, which names no marker, is
/// left out if it was committed.
fn find_hanging(dead: &DeadTopic<'_>, topics: &Topics) -> Result<Vec<OwnedMessage>, ConnectorError> {
    let (mut hanging, mut unnamed, mut places) = (Vec::new(), Vec::new(), HashSet::new());
    for topic in dead.config.sources.values().collect::<BTreeSet<&String>>() {
        let open = first_open(dead.config, topics, topic)?;
        read_open(dead.config, topic, &open, |message| {
            if own_id(&dead.config.dead_letter_topic, message).is_some() {
                hanging.push(message.detach());
            } else if let Some(place) = unnamed_place(message) {
                places.insert(place.to_vec());
                unnamed.push(message.detach());
            }
        })?;
    }
    if unnamed.is_empty() {
        return Ok(hanging);
    }
    let markers = find_markers(dead, |place, _| places.contains(place))?;
    for record in unnamed {
        let place = unnamed_place(&record).unwrap_or_default();
        if markers.iter().any(|marker| marker.place == place) {
            tracing::warn!(
                topic = record.topic(),
                partition = record.partition(),
                offset = record.offset(),
                "the broker has not ended a replay that is committed; the next one to this partition ends it"
            );
        } else {
            hanging.push(record);
        }
    }
    Ok(hanging)
}

/// The id of the record that a record was sent for, if a replay of this dead-letter topic has sent it.
fn own_id<M: Message>(dead_letter_topic: &str, message: &M) -> Option<u128> {
    named_id(dead_letter_topic, header_of(message, MARKER_HEADER)?)
}

/// The place of the record that a record was sent for, if a replay of an earlier release has sent it. Which one is not
/// known.
fn unnamed_place<M: Message>(message: &M) -> Option<&[u8]> {
    if header_of(message, MARKER_HEADER).is_some() { None } else { header_of(message, REPLAY_HEADER) }
}

/// The ids of this topic's replays that hang: of these records, and of those behind them in their partitions. No
/// transaction of the same producer has ended there since, else they would not hang.
fn hanging_ids(
    dead: &DeadTopic<'_>,
    topics: &Topics,
    hanging: &[OwnedMessage],
) -> Result<HashSet<u128>, ConnectorError> {
    let (mut ids, mut parts) = (HashSet::new(), BTreeMap::<&str, Vec<Part>>::new());
    for record in hanging {
        if own_id(&dead.config.dead_letter_topic, record).is_some() {
            let first = Offset::Offset(record.offset());
            parts.entry(record.topic()).or_default().push(Part {
                partition: record.partition(),
                first,
                end: 0,
            });
        }
    }
    for (topic, mut open) in parts {
        let Some(bounds) = topics.bounds(topic)? else { continue };
        for part in &mut open {
            part.end = bounds.get(part.partition as usize).map_or(0, |(_, end)| *end);
        }
        read_open(dead.config, topic, &open, |message| {
            ids.extend(own_id(&dead.config.dead_letter_topic, message));
        })?;
    }
    Ok(ids)
}

/// The markers in the dead-letter topic whose key and id are wanted, without those that were taken back.
fn find_markers(
    dead: &DeadTopic<'_>,
    is_wanted: impl Fn(&[u8], u128) -> bool,
) -> Result<Vec<Marker>, ConnectorError> {
    let mut found: BTreeMap<u128, Marker> = BTreeMap::new();
    dead.scan(|message| {
        let Some((kind, id)) = read_marker(message)? else { return Ok(()) };
        let place = message.key().unwrap_or_default();
        if kind == MarkerKind::Recalled {
            found.remove(&id);
        } else if is_wanted(place, id) {
            found.insert(id, Marker { partition: message.partition(), place: place.to_vec(), id });
        }
        Ok(())
    })?;
    Ok(found.into_values().collect())
}

/// The first record of the earliest open transaction, whichever producer's, in each partition of a topic that has one
/// which began before now.
fn first_open(config: &ReplayConfig, topics: &Topics, topic: &str) -> Result<Vec<Part>, ConnectorError> {
    // A topic that is missing is told when records are sent to it.
    let Some(bounds) = topics.bounds(topic)? else { return Ok(Vec::new()) };
    let (ends, until) = (partition_ends(&bounds), Instant::now() + END_TIMEOUT);
    let consumer = open_consumer(config, "read_committed", false)?;
    loop {
        let stable = await_offsets(&consumer, topic, 0..ends.len() as i32, Offset::End, config.timeout)
            .map_err(|error| read_error(config, topic, error))?;
        let mut open = Vec::new();
        for (partition, (first, end)) in (0..).zip(stable.into_iter().zip(&ends)) {
            if first < *end {
                open.push(Part { partition, first: Offset::Offset(first), end: first + 1 });
            }
        }
        if open.is_empty() || Instant::now() > until {
            return Ok(open);
        }
        std::thread::sleep(RETRY_PAUSE);
    }
}

/// Visits the records of these parts of a topic, committed or not.
fn read_open(
    config: &ReplayConfig,
    topic: &str,
    open: &[Part],
    mut visit: impl FnMut(&BorrowedMessage<'_>),
) -> Result<(), ConnectorError> {
    if open.is_empty() {
        return Ok(());
    }
    let reader = TopicReader { config, topic, isolation: "read_uncommitted" };
    reader.read(open, |message| {
        visit(message);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use rdkafka::Timestamp;
    use rdkafka::message::{Header, OwnedHeaders};

    use super::*;

    #[test]
    fn a_replay_of_another_dead_letter_topic_is_told_from_this_one() {
        let sent = |headers: &[(&str, &str)]| {
            let mut owned = OwnedHeaders::new();
            for (key, value) in headers {
                owned = owned.insert(Header { key, value: Some(*value) });
            }
            let at = Timestamp::CreateTime(7);
            OwnedMessage::new(None, None, "plays".to_owned(), at, 0, 3, Some(owned))
        };
        let place = ("herald.replay", "plays/0/7");
        let own = sent(&[place, ("herald.replay.marker", "plays.rejected/2a")]);
        assert_eq!((own_id("plays.rejected", &own), unnamed_place(&own)), (Some(42), None));
        assert_eq!((own_id("rejected", &own), unnamed_place(&own)), (None, None));
        let earlier = sent(&[place]);
        assert_eq!(own_id("plays.rejected", &earlier), None);
        assert_eq!(unnamed_place(&earlier), Some(&b"plays/0/7"[..]));
        let other = sent(&[("trace", "1")]);
        assert_eq!((own_id("plays.rejected", &other), unnamed_place(&other)), (None, None));
    }
}
