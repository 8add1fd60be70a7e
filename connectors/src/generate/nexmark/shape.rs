//! The shape of the sequence: which event has which number, its time, and the ids it may name.
//!
//! Ids are counted from the numbers alone: person `n` is event `50 n`, auctions `3 n` to `3 n + 2`
//! follow it, and then 46 bids. An event names persons and auctions that came shortly before it, or,
//! rarely, ones that come shortly after: [`FUTURE_IDS`] of them.

use super::Table;
use crate::ConnectorError;
use crate::generate::random::Random;
use crate::options::Options;

/// Events of a round.
pub(super) const ROUND: u64 = 50;
/// Persons of a round: they come first.
pub(super) const PERSONS: u64 = 1;
/// Auctions of a round: they come next.
pub(super) const AUCTIONS: u64 = 3;
/// The first id of persons and of auctions.
pub(super) const FIRST_ID: u64 = 1000;
/// Number of ids beyond the last existing one that may be named.
const FUTURE_IDS: u64 = 10;
/// Group of ids of which the first is hot.
const HOT_GROUP: u64 = 100;
/// Step of the permutation within a group that comes out of order: a prime.
const SHUFFLE_STEP: u64 = 953;
/// 2026-01-01T00:00:00Z.
const BASE: &str = "2026-01-01T00:00:00Z";

/// Options of the sequence.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// Seed of everything random.
    pub seed: u64,
    base_ms: i64,
    rate: u64,
    group: u64,
    active_people: u64,
    in_flight: u64,
    hot_seller: u64,
    hot_bidder: u64,
    hot_auction: u64,
    /// One in so many bids does not come through a hot channel.
    pub hot_channel: u64,
    /// Average sizes of a person, an auction and a bid, in bytes.
    pub bytes: [u64; 3],
}

impl Shape {
    /// Takes its options from those of a source.
    pub fn take_from(options: &mut Options<'_>) -> Result<Shape, ConnectorError> {
        let base = options.text("nexmark.base.time").unwrap_or(BASE);
        let base = chrono::DateTime::parse_from_rfc3339(base).map_err(|_| {
            ConnectorError::config("nexmark.base.time", "must be a time such as 2026-01-31T12:00:00Z")
        })?;
        let group = positive_option(options, "nexmark.out.of.order.group.size", 1)?;
        if group % SHUFFLE_STEP == 0 {
            let message = format!("must not be a multiple of {SHUFFLE_STEP}, or events would come twice");
            return Err(ConnectorError::config("nexmark.out.of.order.group.size", message));
        }
        Ok(Shape {
            seed: options.parse("nexmark.seed", "a whole number")?.unwrap_or(0),
            base_ms: base.timestamp_millis(),
            rate: positive_option(options, "nexmark.event.rate", 10_000)?,
            group,
            active_people: positive_option(options, "nexmark.active.people", 1000)?,
            in_flight: positive_option(options, "nexmark.in.flight.auctions", 100)?,
            hot_seller: positive_option(options, "nexmark.hot.seller.ratio", 4)?,
            hot_bidder: positive_option(options, "nexmark.hot.bidder.ratio", 4)?,
            hot_auction: positive_option(options, "nexmark.hot.auction.ratio", 2)?,
            hot_channel: positive_option(options, "nexmark.hot.channel.ratio", 2)?,
            bytes: [
                positive_option(options, "nexmark.avg.person.byte.size", 200)?,
                positive_option(options, "nexmark.avg.auction.byte.size", 500)?,
                positive_option(options, "nexmark.avg.bid.byte.size", 100)?,
            ],
        })
    }

    /// The number of the event that comes at `place`: the place itself where events come in order.
    pub fn number_at(&self, place: u64) -> u64 {
        let within = place % self.group;
        place - within + within * SHUFFLE_STEP % self.group
    }

    /// Event time, milliseconds since 1970.
    pub fn time_ms(&self, number: u64) -> i64 {
        let since = u128::from(number) * 1000 / u128::from(self.rate);
        self.base_ms.saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
    }

    /// Time that an auction which begins with this event is open: on average until as many others
    /// have begun as are open at a time.
    pub fn auction_ms(&self, number: u64, random: &mut Random) -> i64 {
        let after = number + self.in_flight * ROUND / AUCTIONS;
        let horizon = self.time_ms(after).saturating_sub(self.time_ms(number));
        random.between(1, horizon.saturating_mul(2).max(1))
    }

    /// Seller of the auction that begins with this event.
    pub fn draw_seller(&self, number: u64, random: &mut Random) -> u64 {
        let hot = random.below(self.hot_seller) > 0;
        FIRST_ID
            + if hot { last_person(number) / HOT_GROUP * HOT_GROUP } else { self.draw_person(number, random) }
    }

    /// Bidder of this event. The hot bidder is the person after the hot seller.
    pub fn draw_bidder(&self, number: u64, random: &mut Random) -> u64 {
        let hot = random.below(self.hot_bidder) > 0;
        FIRST_ID
            + if hot {
                last_person(number) / HOT_GROUP * HOT_GROUP + 1
            } else {
                self.draw_person(number, random)
            }
    }

    /// Auction that this bid is for.
    pub fn draw_auction(&self, number: u64, random: &mut Random) -> u64 {
        let last = last_auction(number);
        if random.below(self.hot_auction) > 0 {
            return FIRST_ID + last / HOT_GROUP * HOT_GROUP;
        }
        let first = last.saturating_sub(self.in_flight);
        FIRST_ID + first + random.below(last - first + 1 + FUTURE_IDS)
    }

    fn draw_person(&self, number: u64, random: &mut Random) -> u64 {
        let people = last_person(number) + 1;
        let active = people.min(self.active_people);
        people - active + random.below(active + FUTURE_IDS)
    }
}

/// The type of the event with this number.
pub(super) fn table_of(number: u64) -> Table {
    match number % ROUND {
        at if at < PERSONS => Table::Person,
        at if at < PERSONS + AUCTIONS => Table::Auction,
        _ => Table::Bid,
    }
}

/// The last person that was there at this event, counted from 0.
pub(super) fn last_person(number: u64) -> u64 {
    number / ROUND
}

/// The last auction that was there at this event, which is no person, counted from 0.
pub(super) fn last_auction(number: u64) -> u64 {
    number / ROUND * AUCTIONS + (number % ROUND).clamp(PERSONS, AUCTIONS) - PERSONS
}

/// A number above 0. Half the bits are enough for all of these, and no sum or product overflows.
fn positive_option(
    options: &mut Options<'_>,
    name: &'static str,
    default: u32,
) -> Result<u64, ConnectorError> {
    match options.parse::<u32>(name, "a whole number")?.unwrap_or(default) {
        0 => Err(ConnectorError::config(name, "must be above 0")),
        number => Ok(u64::from(number)),
    }
}
