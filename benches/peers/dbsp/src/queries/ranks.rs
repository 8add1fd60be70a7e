//! Queries that take the first rows of each group.
//!
//! Where one row of a group is wanted, nothing is ever taken back, so the winner needs the one before and no others. That is
//! dbsp's chain_aggregate; its topk would keep every row.

use std::cmp::{Ordering, Reverse};
use std::path::Path;

use anyhow::Result;
use dbsp::CmpFunc;
use dbsp::utils::Tup2;

use crate::feed::{self, Kind, Lines};
use crate::job::{self, Job};
use crate::values::{Text, Time, row};

row! {
    /// An auction in q9; its id is the key.
    Item {
        item_name: Text, description: Text, initial_bid: i64, reserve: i64, date_time: Time, expires: Time, seller: i64,
        category: i64, extra: Text,
    }
}

row! {
    /// An auction in q9 as it is read.
    #[derive(serde::Deserialize)]
    Auction {
        id: i64, item_name: Text, description: Text, initial_bid: i64, reserve: i64, date_time: Time, expires: Time,
        seller: i64, category: i64, extra: Text,
    }
}

row! {
    /// A bid in q9; the auction is the key.
    Offer { price: i64, date_time: Time, event: i64, bidder: i64, extra: Text, }
}

row! {
    /// A bid in q9 as it is read.
    #[derive(serde::Deserialize)]
    Bid { auction: i64, bidder: i64, price: i64, date_time: Time, extra: Text, event: i64, }
}

impl Offer {
    /// The rank of a bid: the greatest wins.
    fn rank(&self) -> (i64, Reverse<Time>, Reverse<i64>) {
        (self.price, Reverse(self.date_time), Reverse(self.event))
    }
}

/// The winning bid of each auction.
pub fn q9(dir: &Path) -> Result<Job> {
    let (circuit, (auctions, bids, output)) = job::build(|circuit| {
        let (auctions, auction_handle) = circuit.add_input_indexed_zset::<i64, Item>();
        let (bids, bid_handle) = circuit.add_input_indexed_zset::<i64, Offer>();
        let in_time = bids.join_index(&auctions, |id, bid, auction| {
            (auction.date_time..=auction.expires).contains(&bid.date_time).then(|| (*id, bid.clone()))
        });
        let winners = in_time.chain_aggregate(
            |bid, _| bid.clone(),
            |winner, bid, _| if bid.rank() > winner.rank() { bid.clone() } else { winner },
        );
        let won =
            winners.join_index(&auctions, |id, bid, auction| Some((*id, Tup2(auction.clone(), bid.clone()))));
        Ok((auction_handle, bid_handle, won.accumulate_output()))
    })?;
    let auctions = feed::keyed(Lines::open(dir, Kind::Auction)?, auctions, |auction: Auction| {
        let Auction { id, item_name, description, initial_bid, reserve, .. } = auction;
        let Auction { date_time, expires, seller, category, extra, .. } = auction;
        (
            id,
            Item {
                item_name,
                description,
                initial_bid,
                reserve,
                date_time,
                expires,
                seller,
                category,
                extra,
            },
        )
    });
    let bids = feed::keyed(Lines::open(dir, Kind::Bid)?, bids, |bid: Bid| {
        let Bid { auction, bidder, price, date_time, extra, event } = bid;
        (auction, Offer { price, date_time, event, bidder, extra })
    });
    let taken = job::taken(output, |id, Tup2(auction, bid), line| {
        line.put("id", id);
        line.put_all(auction);
        line.put("auction", id);
        line.put("bidder", &bid.bidder);
        line.put("price", &bid.price);
        line.put("bid_date_time", &bid.date_time);
        line.put("bid_extra", &bid.extra);
    });
    Ok(Job::new(circuit, vec![auctions, bids], taken))
}

row! {
    /// A bid in q18; bidder and auction are the key.
    Last { price: i64, channel: Text, url: Text, date_time: Time, extra: Text, event: i64, }
}

row! {
    /// A bid in q18 and q19 as it is read.
    #[derive(serde::Deserialize)]
    Whole {
        auction: i64, bidder: i64, price: i64, channel: Text, url: Text, date_time: Time, extra: Text, event: i64,
    }
}

impl Last {
    /// The rank of a bid: the greatest is the last bid, and the first of those at one time.
    fn rank(&self) -> (Time, Reverse<i64>) {
        (self.date_time, Reverse(self.event))
    }
}

/// The last bid of each bidder for each auction.
pub fn q18(dir: &Path) -> Result<Job> {
    let (circuit, (bids, output)) = job::build(|circuit| {
        let (bids, handle) = circuit.add_input_indexed_zset::<Tup2<i64, i64>, Last>();
        let last = bids.chain_aggregate(
            |bid, _| bid.clone(),
            |last, bid, _| if bid.rank() > last.rank() { bid.clone() } else { last },
        );
        Ok((handle, last.accumulate_output()))
    })?;
    let feed = feed::keyed(Lines::open(dir, Kind::Bid)?, bids, |bid: Whole| {
        let Whole { auction, bidder, price, channel, url, date_time, extra, event } = bid;
        (Tup2(bidder, auction), Last { price, channel, url, date_time, extra, event })
    });
    let taken = job::taken(output, |Tup2(bidder, auction), bid, line| {
        line.put("auction", auction);
        line.put("bidder", bidder);
        line.put("price", &bid.price);
        line.put("channel", &bid.channel);
        line.put("url", &bid.url);
        line.put("date_time", &bid.date_time);
        line.put("extra", &bid.extra);
    });
    Ok(Job::new(circuit, vec![feed], taken))
}

row! {
    /// A bid in q19; the auction is the key.
    Ranked {
        price: i64, event: i64, bidder: i64, channel: Text, url: Text, date_time: Time, extra: Text,
    }
}

/// The order of bids in q19: the highest first, and of equal prices the one that came first.
struct HighestFirst;

impl CmpFunc<Ranked> for HighestFirst {
    fn cmp(left: &Ranked, right: &Ranked) -> Ordering {
        right.price.cmp(&left.price).then_with(|| left.event.cmp(&right.event))
    }
}

/// The ten highest bids of each auction.
pub fn q19(dir: &Path) -> Result<Job> {
    let (circuit, (bids, output)) = job::build(|circuit| {
        let (bids, handle) = circuit.add_input_indexed_zset::<i64, Ranked>();
        let top =
            bids.topk_row_number_custom_order::<HighestFirst, _, _>(10, |rank, bid| Tup2(rank, bid.clone()));
        Ok((handle, top.accumulate_output()))
    })?;
    let feed = feed::keyed(Lines::open(dir, Kind::Bid)?, bids, |bid: Whole| {
        let Whole { auction, bidder, price, channel, url, date_time, extra, event } = bid;
        (auction, Ranked { price, event, bidder, channel, url, date_time, extra })
    });
    let taken = job::taken(output, |auction, Tup2(rank, bid), line| {
        line.put("auction", auction);
        line.put("bidder", &bid.bidder);
        line.put("price", &bid.price);
        line.put("channel", &bid.channel);
        line.put("url", &bid.url);
        line.put("date_time", &bid.date_time);
        line.put("extra", &bid.extra);
        line.put("rank_number", rank);
    });
    Ok(Job::new(circuit, vec![feed], taken))
}
