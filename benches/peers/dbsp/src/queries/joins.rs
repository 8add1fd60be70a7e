//! Queries that join bids, auctions and persons by their ids.

use std::path::Path;

use anyhow::Result;
use dbsp::algebra::F64;
use dbsp::utils::{Tup2, Tup3};

use crate::feed::{self, Kind, Lines};
use crate::job::{self, Job};
use crate::values::{Text, Time, row};

/// The category that q3 and q20 look at.
const CATEGORY: i64 = 10;
/// The states that q3 looks at.
const STATES: [&str; 3] = ["OR", "ID", "CA"];

row! {
    /// Name and place of a person.
    Resident { name: Text, city: Text, state: Text, }
}

row! {
    /// A person in q3.
    #[derive(serde::Deserialize)]
    Person { id: i64, name: Text, city: Text, state: Text, }
}

row! {
    /// An auction in q3.
    #[derive(serde::Deserialize)]
    Sale { id: i64, seller: i64, category: i64, }
}

/// Persons who sell in some states in one category, with the auctions.
pub fn q3(dir: &Path) -> Result<Job> {
    let (circuit, (persons, auctions, output)) = job::build(|circuit| {
        let (persons, person_handle) = circuit.add_input_indexed_zset::<i64, Resident>();
        let (auctions, auction_handle) = circuit.add_input_indexed_zset::<i64, Tup2<i64, i64>>();
        let persons = persons.filter(|(_, person)| STATES.contains(&&*person.state));
        let auctions = auctions.filter(|(_, Tup2(category, _))| *category == CATEGORY);
        let sales = auctions.join(&persons, |_, Tup2(_, id), person| Person {
            id: *id,
            name: person.name.clone(),
            city: person.city.clone(),
            state: person.state.clone(),
        });
        Ok((person_handle, auction_handle, sales.accumulate_output()))
    })?;
    let persons = feed::keyed(Lines::open(dir, Kind::Person)?, persons, |person: Person| {
        (person.id, Resident { name: person.name, city: person.city, state: person.state })
    });
    let auctions = feed::keyed(Lines::open(dir, Kind::Auction)?, auctions, |sale: Sale| {
        (sale.seller, Tup2(sale.category, sale.id))
    });
    Ok(Job::new(circuit, vec![persons, auctions], job::taken(output, |sale, (), line| line.put_all(sale))))
}

row! {
    /// Category and times of an auction.
    Times { category: i64, date_time: Time, expires: Time, }
}

row! {
    /// An auction in q4.
    #[derive(serde::Deserialize)]
    Auction { id: i64, category: i64, date_time: Time, expires: Time, }
}

row! {
    /// A bid in q4.
    #[derive(serde::Deserialize)]
    Price { auction: i64, price: i64, date_time: Time, }
}

/// The mean of the winning prices of each category.
pub fn q4(dir: &Path) -> Result<Job> {
    let (circuit, (auctions, bids, output)) = job::build(|circuit| {
        let (auctions, auction_handle) = circuit.add_input_indexed_zset::<i64, Times>();
        let (bids, bid_handle) = circuit.add_input_indexed_zset::<i64, Tup2<i64, Time>>();
        let prices = bids.join_index(&auctions, |id, Tup2(price, at), auction| {
            (auction.date_time..=auction.expires).contains(at).then(|| (Tup2(*id, auction.category), *price))
        });
        // Nothing is ever taken back of bids and auctions, so the highest price needs the one before and no others.
        let highest = prices.chain_aggregate(|price, _| *price, |highest, price, _| highest.max(*price));
        let means = highest.map_index(|(Tup2(_, category), price)| (*category, *price));
        let means = means.aggregate_linear_postprocess(
            |price| Tup2(*price, 1),
            |Tup2(sum, count): Tup2<i64, i64>| F64::new(sum as f64 / count as f64),
        );
        Ok((auction_handle, bid_handle, means.accumulate_output()))
    })?;
    let auctions = feed::keyed(Lines::open(dir, Kind::Auction)?, auctions, |auction: Auction| {
        let Auction { id, category, date_time, expires } = auction;
        (id, Times { category, date_time, expires })
    });
    let bids = feed::keyed(Lines::open(dir, Kind::Bid)?, bids, |bid: Price| {
        (bid.auction, Tup2(bid.price, bid.date_time))
    });
    let taken = job::taken(output, |category, mean, line| {
        line.put("category", category);
        line.put("final", mean);
    });
    Ok(Job::new(circuit, vec![auctions, bids], taken))
}

row! {
    /// A bid in q20.
    #[derive(serde::Deserialize)]
    Offer { auction: i64, bidder: i64, price: i64, channel: Text, url: Text, date_time: Time, extra: Text, }
}

row! {
    /// An auction in q20 and q23, all of it.
    #[derive(serde::Deserialize)]
    Item {
        id: i64, item_name: Text, description: Text, initial_bid: i64, reserve: i64, date_time: Time, expires: Time,
        seller: i64, category: i64, extra: Text,
    }
}

row! {
    /// A bid with its auction.
    Expanded {
        auction: i64, bidder: i64, price: i64, channel: Text, url: Text, bid_date_time: Time, bid_extra: Text,
        item_name: Text, description: Text, initial_bid: i64, reserve: i64, auction_date_time: Time, expires: Time,
        seller: i64, category: i64, auction_extra: Text,
    }
}

/// Bids for what is in one category, with its auction.
pub fn q20(dir: &Path) -> Result<Job> {
    let (circuit, (auctions, bids, output)) = job::build(|circuit| {
        let (auctions, auction_handle) = circuit.add_input_indexed_zset::<i64, Item>();
        let (bids, bid_handle) = circuit.add_input_indexed_zset::<i64, Offer>();
        let auctions = auctions.filter(|(_, auction)| auction.category == CATEGORY);
        let expanded = bids.join(&auctions, |_, bid, auction| expand(bid.clone(), auction.clone()));
        Ok((auction_handle, bid_handle, expanded.accumulate_output()))
    })?;
    let auctions =
        feed::keyed(Lines::open(dir, Kind::Auction)?, auctions, |auction: Item| (auction.id, auction));
    let bids = feed::keyed(Lines::open(dir, Kind::Bid)?, bids, |bid: Offer| (bid.auction, bid));
    Ok(Job::new(circuit, vec![auctions, bids], job::taken(output, |row, (), line| line.put_all(row))))
}

fn expand(bid: Offer, auction: Item) -> Expanded {
    Expanded {
        auction: bid.auction,
        bidder: bid.bidder,
        price: bid.price,
        channel: bid.channel,
        url: bid.url,
        bid_date_time: bid.date_time,
        bid_extra: bid.extra,
        item_name: auction.item_name,
        description: auction.description,
        initial_bid: auction.initial_bid,
        reserve: auction.reserve,
        auction_date_time: auction.date_time,
        expires: auction.expires,
        seller: auction.seller,
        category: auction.category,
        auction_extra: auction.extra,
    }
}

row! {
    /// A person in q23.
    #[derive(serde::Deserialize)]
    Bidder {
        id: i64, name: Text, email_address: Text, credit_card: Text, city: Text, state: Text, extra: Text,
    }
}

row! {
    /// A bid in q23.
    #[derive(serde::Deserialize)]
    Visit { bidder: i64, price: i64, channel: Text, url: Text, extra: Text, }
}

/// Bids of those who sell as well.
pub fn q23(dir: &Path) -> Result<Job> {
    let (circuit, (persons, auctions, bids, output)) = job::build(|circuit| {
        let (persons, person_handle) = circuit.add_input_indexed_zset::<i64, Bidder>();
        let (auctions, auction_handle) = circuit.add_input_indexed_zset::<i64, Item>();
        let (bids, bid_handle) = circuit.add_input_indexed_zset::<i64, Visit>();
        // Persons and auctions are fewer than bids, so these are joined first.
        let sellers = persons
            .join_index(&auctions, |id, person, auction| Some((*id, Tup2(person.clone(), auction.clone()))));
        let sold = bids.join(&sellers, |_, bid, Tup2(person, auction)| {
            Tup3(bid.clone(), person.clone(), auction.clone())
        });
        Ok((person_handle, auction_handle, bid_handle, sold.accumulate_output()))
    })?;
    let persons = feed::keyed(Lines::open(dir, Kind::Person)?, persons, |person: Bidder| (person.id, person));
    let auctions =
        feed::keyed(Lines::open(dir, Kind::Auction)?, auctions, |auction: Item| (auction.seller, auction));
    let bids = feed::keyed(Lines::open(dir, Kind::Bid)?, bids, |bid: Visit| (bid.bidder, bid));
    let taken = job::taken(output, |Tup3(bid, person, auction), (), line| {
        line.put("bidder", &bid.bidder);
        line.put("price", &bid.price);
        line.put("channel", &bid.channel);
        line.put("url", &bid.url);
        line.put("bid_extra", &bid.extra);
        line.put("person_id", &person.id);
        line.put("name", &person.name);
        line.put("email_address", &person.email_address);
        line.put("credit_card", &person.credit_card);
        line.put("city", &person.city);
        line.put("state", &person.state);
        line.put("person_extra", &person.extra);
        line.put("item_name", &auction.item_name);
        line.put("description", &auction.description);
        line.put("initial_bid", &auction.initial_bid);
        line.put("reserve", &auction.reserve);
        line.put("auction_date_time", &auction.date_time);
        line.put("expires", &auction.expires);
        line.put("seller", &auction.seller);
        line.put("category", &auction.category);
        line.put("auction_extra", &auction.extra);
    });
    Ok(Job::new(circuit, vec![persons, auctions, bids], taken))
}
