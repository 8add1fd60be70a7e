//! Comparison of state and sinks at start: the epoch after which publishing goes on, or the reason why it
//! must not.
//!
//! A state has committed epochs up to E and knows those up to P to be published; the marker K is
//! the last epoch in the sinks. Rows and marker are atomic, so P <= K <= E as long as state and sinks
//! belong together: then publishing goes on after K. Everything else means that one of them was
//! copied, restored or wiped, and going on would write an epoch twice or leave one out.

use super::progress::Marker;
use crate::{ConnectorError, Mismatch};

/// The epoch after which publishing goes on. `digest_of` gives the digest of an epoch that is
/// still in the outbox.
///
/// ```
/// use connectors::kafka::{Marker, settle};
/// let marker = Marker::whole("s", 5, &[]);
/// let digest = marker.digest;
/// assert_eq!(settle(Some(&marker), "s", 7, 4, |_| Some(digest)).unwrap(), 5);
/// assert!(settle(Some(&marker), "another", 7, 4, |_| Some(digest)).is_err());
/// ```
pub fn settle(
    marker: Option<&Marker>,
    state_id: &str,
    committed: u64,
    published: u64,
    digest_of: impl Fn(u64) -> Option<u128>,
) -> Result<u64, ConnectorError> {
    let refuse = |mismatch| Err(ConnectorError::StateMismatch(mismatch));
    let Some(marker) = marker else {
        return match published {
            0 => Ok(0),
            _ => refuse(Mismatch::LostData { marker: None, published }),
        };
    };
    let epoch = marker.epoch;
    if marker.state_id != state_id {
        return refuse(Mismatch::Foreign { marker: marker.state_id.clone(), published: epoch });
    }
    if epoch > committed {
        return refuse(Mismatch::Ahead { published: epoch, committed });
    }
    // The last epoch that is published whole.
    let whole = if marker.is_whole() { epoch } else { epoch.saturating_sub(1) };
    if whole < published {
        return refuse(Mismatch::LostData { marker: Some(whole), published });
    }
    match digest_of(epoch) {
        Some(digest) if digest != marker.digest => refuse(Mismatch::Diverged { epoch }),
        // Epochs after `published` are still in the outbox; one that is not there was committed by another
        // copy.
        None if epoch > published => refuse(Mismatch::Diverged { epoch }),
        _ => Ok(whole),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, marker, committed, published, and the expected result.
    type Case = (&'static str, Option<Marker>, u64, u64, Result<u64, Mismatch>);

    fn marker(epoch: u64, part: u32, parts: u32) -> Marker {
        Marker { state_id: "me".into(), epoch, part, parts, digest: u128::from(epoch) * 10 }
    }

    fn settled(marker: Option<Marker>, committed: u64, published: u64) -> Result<u64, Mismatch> {
        // The outbox holds what follows `published`.
        let digest_of = |epoch: u64| (epoch > published).then_some(u128::from(epoch) * 10);
        match settle(marker.as_ref(), "me", committed, published, digest_of) {
            Ok(after) => Ok(after),
            Err(ConnectorError::StateMismatch(mismatch)) => Err(mismatch),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn the_table() {
        let whole = |epoch| Some(marker(epoch, 1, 1));
        let lost = |marker, published| Err(Mismatch::LostData { marker, published });
        let cases: [Case; 12] = [
            ("new state, new sinks", None, 0, 0, Ok(0)),
            ("committed, nothing published yet", None, 5, 0, Ok(0)),
            ("published, then the topic was wiped", None, 5, 3, lost(None, 3)),
            ("all is published", whole(5), 5, 5, Ok(5)),
            ("crash before publishing", whole(3), 5, 3, Ok(3)),
            ("crash after publishing, before the state knew", whole(5), 5, 3, Ok(5)),
            ("crash in the middle of catching up", whole(4), 6, 3, Ok(4)),
            (
                "an older copy of the state",
                whole(6),
                5,
                5,
                Err(Mismatch::Ahead { published: 6, committed: 5 }),
            ),
            ("the broker lost the last transactions", whole(3), 5, 4, lost(Some(3), 4)),
            ("an epoch in parts, half way", Some(marker(5, 2, 4)), 5, 4, Ok(4)),
            (
                "an epoch in parts is known whole, the marker is not",
                Some(marker(5, 2, 4)),
                5,
                5,
                lost(Some(4), 5),
            ),
            ("claimed with --fresh", Some(marker(0, 0, 0)), 3, 0, Ok(0)),
        ];
        for (name, marker, committed, published, expected) in cases {
            assert_eq!(settled(marker, committed, published), expected, "{name}");
        }
    }

    #[test]
    fn another_state_is_refused() {
        let foreign = Marker { state_id: "you".into(), ..marker(2, 1, 1) };
        let expected = Mismatch::Foreign { marker: "you".into(), published: 2 };
        assert_eq!(settled(Some(foreign.clone()), 5, 2), Err(expected.clone()));
        assert_eq!(settled(Some(foreign), 0, 0), Err(expected));
    }

    #[test]
    fn a_copy_that_went_its_own_way_is_refused() {
        let other = Marker { digest: 1, ..marker(5, 1, 1) };
        assert_eq!(settled(Some(other), 5, 4), Err(Mismatch::Diverged { epoch: 5 }));
        // Epoch 5 went out with content here, and this state has none of it in its outbox.
        let settled = settle(Some(&marker(5, 1, 1)), "me", 6, 4, |_| None);
        assert!(matches!(settled, Err(ConnectorError::StateMismatch(Mismatch::Diverged { epoch: 5 }))));
    }
}
