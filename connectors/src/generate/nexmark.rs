//! Generated records of NEXMark: persons, auctions and bids of an online auction.
//!
//! The standard generator's: of every 50 events one is a person, three are auctions and 46 are bids;
//! few sellers, bidders, auctions and channels are hot; ids, times, prices and the sizes of records
//! follow its rules. `nexmark.table.type` selects the one of the three that a source reads. An event depends
//! on the options and its number only, and a record's offset is that number: so sources with the
//! same options read the same sequence, each its own type, and any of them may start anywhere.
//!
//! | option | meaning | default |
//! | --- | --- | --- |
//! | `nexmark.table.type` | `person`, `auction` or `bid` | must be given |
//! | `nexmark.event.num` | how many events there are, all three types together | without end |
//! | `nexmark.min.event.gap.in.ns` | the least time from one event to the next, by the clock | none |
//! | `nexmark.seed` | another seed gives other events | 0 |
//! | `nexmark.base.time` | the time of event 0 | 2026-01-01T00:00:00Z |
//! | `nexmark.event.rate` | events in a second of event time | 10000 |
//! | `nexmark.out.of.order.group.size` | events come out of order within groups of so many | 1 |
//! | `nexmark.active.people`, `nexmark.in.flight.auctions` | how far back ids reach | 1000, 100 |
//! | `nexmark.hot.seller.ratio`, `.bidder.`, `.auction.`, `.channel.` | one in so many is not hot | 4, 4, 2, 2 |
//! | `nexmark.avg.person.byte.size`, `.auction.`, `.bid.` | average size that `extra` fills a record up to | 200, 500, 100 |

mod auction;
mod bid;
mod person;
mod shape;
mod words;

use std::collections::BTreeMap;

use shape::Shape;

use super::random::Random;
use super::reader::Generator;
use crate::ConnectorError;
use crate::options::{Options, nearest_name};

/// The type of event that a source reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Sellers and bidders.
    Person,
    /// Items for sale.
    Auction,
    /// Offers for an auction.
    Bid,
}

impl Table {
    /// Number of events of this type in a round of fifty.
    fn per_round(self) -> u64 {
        match self {
            Table::Person => shape::PERSONS,
            Table::Auction => shape::AUCTIONS,
            Table::Bid => shape::ROUND - shape::PERSONS - shape::AUCTIONS,
        }
    }

    fn from_name(name: &str) -> Result<Table, ConnectorError> {
        match name.to_lowercase().as_str() {
            "person" => Ok(Table::Person),
            "auction" => Ok(Table::Auction),
            "bid" => Ok(Table::Bid),
            other => {
                let hint = nearest_name(other, ["person", "auction", "bid"].into_iter())
                    .map_or("known are person, auction, bid".to_owned(), |n| format!("did you mean '{n}'?"));
                let message = format!("'{name}' is not known; {hint}");
                Err(ConnectorError::config("nexmark.table.type", message))
            }
        }
    }
}

/// Content and amount of the events of a nexmark source.
#[derive(Clone, Debug)]
pub struct Nexmark {
    table: Table,
    shape: Shape,
    /// Number of events of all three types together; None for an endless sequence.
    pub event_num: Option<u64>,
    /// The least time between two events by the clock, in nanoseconds; None without a pace.
    pub gap_ns: Option<u64>,
}

impl Nexmark {
    /// From the options of a source.
    pub fn from_options(values: &BTreeMap<String, String>) -> Result<Nexmark, ConnectorError> {
        let number = "a whole number";
        let mut options = Options::new(values);
        options.text("connector");
        let table = Table::from_name(options.required("nexmark.table.type")?)?;
        let event_num = options.parse("nexmark.event.num", number)?;
        let gap_ns = options.parse("nexmark.min.event.gap.in.ns", number)?.filter(|gap| *gap > 0);
        let shape = Shape::take_from(&mut options)?;
        options.finish()?;
        Ok(Nexmark { table, shape, event_num, gap_ns })
    }
}

impl Generator for Nexmark {
    fn total(&self) -> Option<u64> {
        self.event_num
    }

    fn gap_s(&self) -> Option<f64> {
        self.gap_ns.map(|ns| ns as f64 / 1e9)
    }

    /// None where an event of another type stands.
    fn write(&self, offset: u64, key: &mut Vec<u8>, value: &mut Vec<u8>) -> Option<Option<i64>> {
        let number = self.shape.number_at(offset);
        if shape::table_of(number) != self.table {
            return None;
        }
        let mut random = Random::new(self.shape.seed, number);
        let id = match self.table {
            Table::Person => person::write_person(&self.shape, number, &mut random, value),
            Table::Auction => auction::write_auction(&self.shape, number, &mut random, value),
            Table::Bid => bid::write_bid(&self.shape, number, &mut random, value),
        };
        key.extend_from_slice(id.to_string().as_bytes());
        Some(Some(self.shape.time_ms(number)))
    }

    fn records_in(&self, offsets: u64) -> u64 {
        offsets / shape::ROUND * self.table.per_round()
    }
}

#[cfg(test)]
mod tests;
