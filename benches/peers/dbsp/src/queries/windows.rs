//! Queries over windows of event time. A window is a column like any other: it is in the answer from its first event on.

use std::path::Path;

use anyhow::Result;
use dbsp::operator::Max;
use dbsp::utils::{Tup2, Tup3};

use crate::feed::{self, Kind, Lines};
use crate::job::{self, Job};
use crate::values::{Text, Time, row};

/// Milliseconds of a window.
const WINDOW_MS: i64 = 10_000;
/// Milliseconds from a hopping window to the next.
const HOP_MS: i64 = 2_000;

row! {
    /// A bid in q5.
    #[derive(serde::Deserialize)]
    Seen { auction: i64, date_time: Time, }
}

/// The auctions with the most bids of the last 10 seconds, every 2 seconds.
pub fn q5(dir: &Path) -> Result<Job> {
    let (circuit, (bids, output)) = job::build(|circuit| {
        let (bids, handle) = circuit.add_input_zset::<Seen>();
        // Bids of an auction in one hop become one row with their number as its weight, and that row goes to the windows.
        let hops = bids.map(|bid| Tup2(bid.date_time.window(HOP_MS), bid.auction));
        let counts = hops
            .flat_map_index(|Tup2(hop, auction)| {
                let (hop, auction) = (*hop, *auction);
                (0..WINDOW_MS / HOP_MS).map(move |back| (Tup2(hop.later(-back * HOP_MS), auction), ()))
            })
            .weighted_count();
        let most = counts.map_index(|(Tup2(window, _), count)| (*window, *count)).aggregate(Max);
        // No count is above the most, so those that are not below it are equal to it.
        let most = most.map_index(|(window, count)| (Tup2(*window, *count), ()));
        let hot = counts
            .map_index(|(Tup2(window, auction), count)| (Tup2(*window, *count), *auction))
            .join(&most, |Tup2(window, count), auction, ()| Tup3(*auction, *count, *window));
        Ok((handle, hot.accumulate_output()))
    })?;
    let feed = feed::rows(Lines::open(dir, Kind::Bid)?, bids);
    let taken = job::taken(output, |Tup3(auction, count, window), (), line| {
        line.put("auction", auction);
        line.put("num", count);
        line.put("window_start", window);
    });
    Ok(Job::new(circuit, vec![feed], taken))
}

row! {
    /// A bid in q7; its price is the key.
    Bid { auction: i64, bidder: i64, date_time: Time, extra: Text, event: i64, }
}

row! {
    /// A bid in q7 as it is read.
    #[derive(serde::Deserialize)]
    Priced { auction: i64, bidder: i64, price: i64, date_time: Time, extra: Text, event: i64, }
}

row! {
    /// A highest bid with the end of its window.
    Highest {
        auction: i64, bidder: i64, price: i64, date_time: Time, extra: Text, event: i64, window_end: Time,
    }
}

/// The highest bids of each 10 seconds, of which both ends count.
pub fn q7(dir: &Path) -> Result<Job> {
    let (circuit, (bids, output)) = job::build(|circuit| {
        let (bids, handle) = circuit.add_input_indexed_zset::<i64, Bid>();
        let prices =
            bids.map_index(|(price, bid)| (bid.date_time.window(WINDOW_MS).later(WINDOW_MS), *price));
        // Nothing is ever taken back of bids, so the highest price needs the one before and no others.
        let highest = prices.chain_aggregate(|price, _| *price, |highest, price, _| highest.max(*price));
        let windows = highest.map_index(|(end, price)| (*price, *end));
        let bids = bids.join_flatmap(&windows, |price, bid, end| {
            (end.later(-WINDOW_MS)..=*end).contains(&bid.date_time).then(|| Highest {
                auction: bid.auction,
                bidder: bid.bidder,
                price: *price,
                date_time: bid.date_time,
                extra: bid.extra.clone(),
                event: bid.event,
                window_end: *end,
            })
        });
        Ok((handle, bids.accumulate_output()))
    })?;
    let feed = feed::keyed(Lines::open(dir, Kind::Bid)?, bids, |bid: Priced| {
        let Priced { auction, bidder, price, date_time, extra, event } = bid;
        (price, Bid { auction, bidder, date_time, extra, event })
    });
    let taken = job::taken(output, |bid, (), line| {
        line.put_all(bid);
        // The partition, which is 0 of a file.
        line.put("part", &0);
    });
    Ok(Job::new(circuit, vec![feed], taken))
}

row! {
    /// A person in q8.
    #[derive(serde::Deserialize)]
    Person { id: i64, name: Text, date_time: Time, }
}

row! {
    /// An auction in q8.
    #[derive(serde::Deserialize)]
    Auction { seller: i64, date_time: Time, }
}

/// Persons who entered and opened an auction within the same 10 seconds.
pub fn q8(dir: &Path) -> Result<Job> {
    let (circuit, (persons, auctions, output)) = job::build(|circuit| {
        let (persons, person_handle) = circuit.add_input_zset::<Person>();
        let (auctions, auction_handle) = circuit.add_input_zset::<Auction>();
        let persons = persons
            .map_index(|person| (Tup2(person.id, person.date_time.window(WINDOW_MS)), person.name.clone()))
            .distinct();
        let sellers = auctions
            .map_index(|auction| (Tup2(auction.seller, auction.date_time.window(WINDOW_MS)), ()))
            .distinct();
        let entered = persons.join(&sellers, |Tup2(id, window), name, ()| Tup3(*id, name.clone(), *window));
        Ok((person_handle, auction_handle, entered.accumulate_output()))
    })?;
    let persons = feed::rows(Lines::open(dir, Kind::Person)?, persons);
    let auctions = feed::rows(Lines::open(dir, Kind::Auction)?, auctions);
    let taken = job::taken(output, |Tup3(id, name, window), (), line| {
        line.put("id", id);
        line.put("name", name);
        line.put("starttime", window);
    });
    Ok(Job::new(circuit, vec![persons, auctions], taken))
}

row! {
    /// A bid in q12.
    #[derive(serde::Deserialize)]
    Made { bidder: i64, date_time: Time, }
}

/// The number of bids of a user in each 10 seconds.
pub fn q12(dir: &Path) -> Result<Job> {
    let (circuit, (bids, output)) = job::build(|circuit| {
        let (bids, handle) = circuit.add_input_zset::<Made>();
        let windows = bids.map_index(|bid| (Tup2(bid.bidder, bid.date_time.window(WINDOW_MS)), ()));
        Ok((handle, windows.weighted_count().accumulate_output()))
    })?;
    let feed = feed::rows(Lines::open(dir, Kind::Bid)?, bids);
    let taken = job::taken(output, |Tup2(bidder, window), count, line| {
        line.put("bidder", bidder);
        line.put("bid_count", count);
        line.put("starttime", window);
        line.put("endtime", &window.later(WINDOW_MS));
    });
    Ok(Job::new(circuit, vec![feed], taken))
}
