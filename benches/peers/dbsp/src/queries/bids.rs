//! Queries that look at each bid alone.

use std::path::Path;

use anyhow::Result;

use crate::feed::{self, Kind, Lines};
use crate::job::{self, Job};
use crate::values::{Text, Thousandths, Time, day_text, minute_text, row};

row! {
    /// A bid without its channel.
    #[derive(serde::Deserialize)]
    Bid { auction: i64, bidder: i64, price: i64, date_time: Time, extra: Text, }
}

row! {
    /// A price of an auction.
    #[derive(serde::Deserialize)]
    Price { auction: i64, price: i64, }
}

row! {
    /// A bid with where it was made.
    #[derive(serde::Deserialize)]
    Visit { auction: i64, bidder: i64, price: i64, channel: Text, url: Text, }
}

row! {
    /// A bid in euros.
    InEuros { auction: i64, bidder: i64, price: Thousandths, date_time: Time, extra: Text, }
}

row! {
    /// A bid with its day and minute.
    Logged { auction: i64, bidder: i64, price: i64, date_time: Time, extra: Text, day: Text, minute: Text, }
}

row! {
    /// A bid in euros with the kind of hour and the number of c in extra.
    Calculated {
        auction: i64, bidder: i64, price: Thousandths, bid_time_type: Text, date_time: Time, extra: Text, c_counts: i64,
    }
}

row! {
    /// A bid with the directories of its address.
    Directories { auction: i64, bidder: i64, price: i64, channel: Text, dir1: Text, dir2: Text, dir3: Text, }
}

/// 0.908 of a price, in thousandths.
fn in_euros(price: i64) -> Thousandths {
    Thousandths(908 * i128::from(price))
}

/// Every bid as it is.
pub fn q0(dir: &Path) -> Result<Job> {
    let (circuit, (bids, output)) = job::build(|circuit| {
        let (bids, handle) = circuit.add_input_zset::<Bid>();
        Ok((handle, bids.accumulate_output()))
    })?;
    let feed = feed::rows(Lines::open(dir, Kind::Bid)?, bids);
    Ok(Job::new(circuit, vec![feed], job::taken_rows(output)))
}

/// Every bid in euros.
pub fn q1(dir: &Path) -> Result<Job> {
    let (circuit, (bids, output)) = job::build(|circuit| {
        let (bids, handle) = circuit.add_input_zset::<Bid>();
        let priced = bids.map(|bid| InEuros {
            auction: bid.auction,
            bidder: bid.bidder,
            price: in_euros(bid.price),
            date_time: bid.date_time,
            extra: bid.extra.clone(),
        });
        Ok((handle, priced.accumulate_output()))
    })?;
    let feed = feed::rows(Lines::open(dir, Kind::Bid)?, bids);
    Ok(Job::new(circuit, vec![feed], job::taken_rows(output)))
}

/// Bids for some auctions.
pub fn q2(dir: &Path) -> Result<Job> {
    let (circuit, (bids, output)) = job::build(|circuit| {
        let (bids, handle) = circuit.add_input_zset::<Price>();
        Ok((handle, bids.filter(|bid| bid.auction % 123 == 0).accumulate_output()))
    })?;
    let feed = feed::rows(Lines::open(dir, Kind::Bid)?, bids);
    Ok(Job::new(circuit, vec![feed], job::taken_rows(output)))
}

/// Every bid with its day and minute.
pub fn q10(dir: &Path) -> Result<Job> {
    let (circuit, (bids, output)) = job::build(|circuit| {
        let (bids, handle) = circuit.add_input_zset::<Bid>();
        let logged = bids.map(|bid| Logged {
            auction: bid.auction,
            bidder: bid.bidder,
            price: bid.price,
            date_time: bid.date_time,
            extra: bid.extra.clone(),
            day: day_text(bid.date_time.day()).into(),
            minute: minute_text(bid.date_time.minute()).into(),
        });
        Ok((handle, logged.accumulate_output()))
    })?;
    let feed = feed::rows(Lines::open(dir, Kind::Bid)?, bids);
    Ok(Job::new(circuit, vec![feed], job::taken_rows(output)))
}

/// Bids in a range of prices, with the kind of hour and the number of c in extra.
pub fn q14(dir: &Path) -> Result<Job> {
    let (circuit, (bids, output)) = job::build(|circuit| {
        let (bids, handle) = circuit.add_input_zset::<Bid>();
        let range = Thousandths(1_000_000_001)..Thousandths(50_000_000_000);
        let calculated = bids.filter(move |bid| range.contains(&in_euros(bid.price))).map(|bid| Calculated {
            auction: bid.auction,
            bidder: bid.bidder,
            price: in_euros(bid.price),
            bid_time_type: kind_of_hour(bid.date_time.minute() / 60).into(),
            date_time: bid.date_time,
            extra: bid.extra.clone(),
            c_counts: bid.extra.bytes().filter(|letter| *letter == b'c').count() as i64,
        });
        Ok((handle, calculated.accumulate_output()))
    })?;
    let feed = feed::rows(Lines::open(dir, Kind::Bid)?, bids);
    Ok(Job::new(circuit, vec![feed], job::taken_rows(output)))
}

fn kind_of_hour(hour: i64) -> &'static str {
    match hour {
        8..=18 => "dayTime",
        ..=6 | 20.. => "nightTime",
        _ => "otherTime",
    }
}

/// The three directories of each bid's address.
pub fn q22(dir: &Path) -> Result<Job> {
    let (circuit, (bids, output)) = job::build(|circuit| {
        let (bids, handle) = circuit.add_input_zset::<Visit>();
        let directories = bids.map(|bid| {
            let mut parts = bid.url.split('/').skip(3);
            let [dir1, dir2, dir3] = std::array::from_fn(|_| Text::from(parts.next().unwrap_or_default()));
            let Visit { auction, bidder, price, channel, .. } = bid.clone();
            Directories { auction, bidder, price, channel, dir1, dir2, dir3 }
        });
        Ok((handle, directories.accumulate_output()))
    })?;
    let feed = feed::rows(Lines::open(dir, Kind::Bid)?, bids);
    Ok(Job::new(circuit, vec![feed], job::taken_rows(output)))
}
