//! Reports: numbers of bids, bidders and auctions by level of price.
//!
//! The distinct bidders of a group are counted in two aggregates: the levels that each bidder of the group has bids of, and
//! how many bidders have each. So one pass does for all levels.

use std::path::Path;

use anyhow::Result;
use dbsp::algebra::{AddByRef, F64};
use dbsp::utils::{Tup2, Tup3, Tup4};
use dbsp::{DBData, OrdIndexedZSet, OrdZSet, RootCircuit, Stream};

use crate::feed::{self, Kind, Lines};
use crate::job::{self, Job};
use crate::values::{Text, Time, day_text, minute_text, row};

/// Numbers of all and of each level.
type Counts = Tup4<i64, i64, i64, i64>;

/// The level of a price, 0 to 2.
fn level(price: i64) -> u8 {
    match price {
        ..10_000 => 0,
        10_000..1_000_000 => 1,
        _ => 2,
    }
}

/// One, in all and at the levels whose bits are set.
fn ones(levels: u8) -> Counts {
    let at = |level: u8| i64::from(levels >> level & 1);
    Tup4(1, at(0), at(1), at(2))
}

/// Counts the distinct ids of each group, in all and by level. The keys are ids and groups, the values levels: most ids
/// differ, so that few groups, which may be texts, are compared.
fn count_distinct<G: DBData>(
    ids: &Stream<RootCircuit, OrdIndexedZSet<Tup2<i64, G>, u8>>,
) -> Stream<RootCircuit, OrdIndexedZSet<G, Counts>> {
    // Nothing is ever taken back of bids, so a level that was seen stays.
    ids.chain_aggregate(|level, _| 1u8 << *level, |levels, level, _| levels | 1 << *level)
        .map_index(|(Tup2(_, group), levels)| (group.clone(), *levels))
        .aggregate_linear(|levels| ones(*levels))
}

row! {
    /// A bid in q15.
    #[derive(serde::Deserialize)]
    Bid { date_time: Time, price: i64, auction: i64, bidder: i64, }
}

/// Bids, bidders and auctions of each day by level of price.
pub fn q15(dir: &Path) -> Result<Job> {
    let (circuit, (bids, output)) = job::build(|circuit| {
        let (bids, handle) = circuit.add_input_zset::<Bid>();
        // The values are levels, so there are three rows a day, with numbers of bids as their weights.
        let counts = bids
            .map_index(|bid| (bid.date_time.day(), level(bid.price)))
            .aggregate_linear(|level| ones(1 << level));
        let bidders = bids.map_index(|bid| (Tup2(bid.bidder, bid.date_time.day()), level(bid.price)));
        let auctions = bids.map_index(|bid| (Tup2(bid.auction, bid.date_time.day()), level(bid.price)));
        let report = counts
            .join_index(&count_distinct(&bidders), |day, bids, bidders| Some((*day, Tup2(*bids, *bidders))))
            .join_index(&count_distinct(&auctions), |day, Tup2(bids, bidders), auctions| {
                Some((Text::from(day_text(*day)), Tup3(*bids, *bidders, *auctions)))
            });
        Ok((handle, report.accumulate_output()))
    })?;
    let feed = feed::rows(Lines::open(dir, Kind::Bid)?, bids);
    let taken = job::taken(output, |day, Tup3(bids, bidders, auctions), line| {
        line.put("day", day);
        put_counts(line, ("bids", bids));
        put_counts(line, ("bidders", bidders));
        put_counts(line, ("auctions", auctions));
    });
    Ok(Job::new(circuit, vec![feed], taken))
}

/// Adds the four numbers of something.
fn put_counts(line: &mut crate::answer::Line, (of, counts): (&str, &Counts)) {
    let Tup4(all, first, second, third) = counts;
    line.put(&format!("total_{of}"), all);
    line.put(&format!("rank1_{of}"), first);
    line.put(&format!("rank2_{of}"), second);
    line.put(&format!("rank3_{of}"), third);
}

row! {
    /// A bid in q16.
    #[derive(serde::Deserialize)]
    OnChannel { auction: i64, bidder: i64, price: i64, date_time: Time, channel: Text, }
}

/// A channel and a day.
type Channel = Tup2<Text, i64>;

impl OnChannel {
    /// The group of the bid.
    fn group(&self) -> Channel {
        Tup2(self.channel.clone(), self.date_time.day())
    }
}

/// The number of bids of each channel and day by level of price, and the last minute.
fn count_bids(
    bids: &Stream<RootCircuit, OrdZSet<OnChannel>>,
) -> Stream<RootCircuit, OrdIndexedZSet<Channel, Tup2<i64, Counts>>> {
    let levels = bids.map_index(|bid| (bid.group(), Tup2(bid.date_time.minute(), level(bid.price))));
    let times = |level: u8, number: i64| {
        let Tup4(all, first, second, third) = ones(1 << level);
        Tup4(all * number, first * number, second * number, third * number)
    };
    levels.chain_aggregate(
        move |Tup2(minute, level), number| Tup2(*minute, times(*level, number)),
        move |Tup2(last, counts), Tup2(minute, level), number| {
            Tup2(last.max(*minute), counts.add_by_ref(&times(*level, number)))
        },
    )
}

/// Bids, bidders and auctions of each channel and day by level of price.
pub fn q16(dir: &Path) -> Result<Job> {
    let (circuit, (bids, output)) = job::build(|circuit| {
        let (bids, handle) = circuit.add_input_zset::<OnChannel>();
        let bidders = bids.map_index(|bid| (Tup2(bid.bidder, bid.group()), level(bid.price)));
        let auctions = bids.map_index(|bid| (Tup2(bid.auction, bid.group()), level(bid.price)));
        let report = count_bids(&bids)
            .join_index(&count_distinct(&bidders), |group, bids, bidders| {
                Some((group.clone(), Tup2(bids.clone(), *bidders)))
            })
            .join_index(&count_distinct(&auctions), |group, Tup2(Tup2(minute, bids), bidders), auctions| {
                let Tup2(channel, day) = group;
                let key = Tup3(channel.clone(), Text::from(day_text(*day)), Text::from(minute_text(*minute)));
                Some((key, Tup3(*bids, *bidders, *auctions)))
            });
        Ok((handle, report.accumulate_output()))
    })?;
    let feed = feed::rows(Lines::open(dir, Kind::Bid)?, bids);
    let taken = job::taken(output, |Tup3(channel, day, minute), Tup3(bids, bidders, auctions), line| {
        line.put("channel", channel);
        line.put("day", day);
        line.put("minute", minute);
        put_counts(line, ("bids", bids));
        put_counts(line, ("bidders", bidders));
        put_counts(line, ("auctions", auctions));
    });
    Ok(Job::new(circuit, vec![feed], taken))
}

row! {
    /// A bid in q17.
    #[derive(serde::Deserialize)]
    Price { auction: i64, price: i64, date_time: Time, }
}

row! {
    /// Prices of an auction and day.
    Prices { total: i64, rank1: i64, rank2: i64, rank3: i64, min: i64, max: i64, sum: i64, }
}

impl Prices {
    /// A number of bids of one price.
    fn of(price: i64, number: i64) -> Prices {
        let Tup4(_, rank1, rank2, rank3) = ones(1 << level(price));
        let [rank1, rank2, rank3] = [rank1, rank2, rank3].map(|one| one * number);
        Prices { total: number, rank1, rank2, rank3, min: price, max: price, sum: price * number }
    }

    /// These and others.
    fn with(self, other: Prices) -> Prices {
        Prices {
            total: self.total + other.total,
            rank1: self.rank1 + other.rank1,
            rank2: self.rank2 + other.rank2,
            rank3: self.rank3 + other.rank3,
            min: self.min.min(other.min),
            max: self.max.max(other.max),
            sum: self.sum + other.sum,
        }
    }
}

/// Bids and prices of each auction and day.
pub fn q17(dir: &Path) -> Result<Job> {
    let (circuit, (bids, output)) = job::build(|circuit| {
        let (bids, handle) = circuit.add_input_zset::<Price>();
        // Nothing is ever taken back of bids, so the least and the greatest price need those before and no others.
        let report = bids
            .map_index(|bid| (Tup2(bid.auction, bid.date_time.day()), bid.price))
            .chain_aggregate(
                |price, number| Prices::of(*price, number),
                |prices, price, number| prices.with(Prices::of(*price, number)),
            )
            .map_index(|(Tup2(auction, day), prices)| {
                let mean = F64::new(prices.sum as f64 / prices.total as f64);
                (Tup2(*auction, Text::from(day_text(*day))), Tup2(prices.clone(), mean))
            });
        Ok((handle, report.accumulate_output()))
    })?;
    let feed = feed::rows(Lines::open(dir, Kind::Bid)?, bids);
    let taken = job::taken(output, |Tup2(auction, day), Tup2(prices, mean), line| {
        line.put("auction", auction);
        line.put("day", day);
        line.put("total_bids", &prices.total);
        line.put("rank1_bids", &prices.rank1);
        line.put("rank2_bids", &prices.rank2);
        line.put("rank3_bids", &prices.rank3);
        line.put("min_price", &prices.min);
        line.put("max_price", &prices.max);
        line.put("avg_price", mean);
        line.put("sum_price", &prices.sum);
    });
    Ok(Job::new(circuit, vec![feed], taken))
}
