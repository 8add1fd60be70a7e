//! The sequence against the rules of the standard generator.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::generate::reader::GeneratedReader;

const TABLES: [&str; 3] = ["person", "auction", "bid"];

fn nexmark(table: &str, pairs: &[(&str, &str)]) -> Result<Nexmark, ConnectorError> {
    let named = [("nexmark.table.type", table)];
    let pairs = pairs.iter().chain(&named);
    Nexmark::from_options(&pairs.map(|(a, b)| (a.to_string(), b.to_string())).collect())
}

/// Offset, timestamp and value of all records, of the three tables in turn.
fn events(pairs: &[(&str, &str)]) -> [Vec<(i64, i64, Value)>; 3] {
    TABLES.map(|table| {
        let mut reader = GeneratedReader::open(nexmark(table, pairs).unwrap(), 0);
        let records = reader.poll(usize::MAX, usize::MAX, Duration::ZERO).remove(0);
        assert!(reader.done());
        let row = |at: usize| {
            let value = serde_json::from_slice(records.values.get(at).unwrap()).unwrap();
            (records.offsets[at], records.timestamps[at].unwrap(), value)
        };
        (0..records.len()).map(row).collect()
    })
}

fn number(value: &Value, field: &str) -> i64 {
    value[field].as_i64().unwrap_or_else(|| panic!("{field} of {value}"))
}

#[test]
fn the_three_sources_share_one_sequence() {
    let [persons, auctions, bids] = events(&[("nexmark.event.num", "10000")]);
    assert_eq!([persons.len(), auctions.len(), bids.len()], [200, 600, 9200]);
    let mut all: Vec<i64> = [&persons, &auctions, &bids].into_iter().flatten().map(|(at, ..)| *at).collect();
    all.sort_unstable();
    assert_eq!(all, (0..10_000).collect::<Vec<_>>());
    for (at, (offset, ms, person)) in persons.iter().enumerate() {
        assert_eq!((*offset, number(person, "id")), (50 * at as i64, 1000 + at as i64));
        assert_eq!(*ms, 1_767_225_600_000 + offset / 10, "10,000 events a second");
    }
    assert_eq!(persons[1].2["date_time"], "2026-01-01T00:00:00.005Z");
    let ids: Vec<i64> = auctions.iter().map(|(.., auction)| number(auction, "id")).collect();
    assert_eq!(ids, (1000..1600).collect::<Vec<_>>());
    assert_eq!(auctions[3].0, 51);
}

#[test]
fn fields_are_as_the_standard_has_them() {
    let [persons, auctions, bids] = events(&[("nexmark.event.num", "50000")]);
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(names(&persons[0].2), "id name email_address credit_card city state date_time extra");
    assert_eq!(
        names(&auctions[0].2),
        "id item_name description initial_bid reserve date_time expires seller category extra"
    );
    assert_eq!(names(&bids[0].2), "auction bidder price channel url date_time extra");
    let size = |rows: &[(i64, i64, Value)]| {
        let length = |value: &Value| value.as_str().map_or(8, str::len);
        let sum: usize =
            rows.iter().flat_map(|(.., row)| row.as_object().unwrap().values()).map(length).sum();
        sum / rows.len()
    };
    // Times count 8 bytes and are 24 long here; channel and url are not counted.
    assert!((200..230).contains(&size(&persons)), "{}", size(&persons));
    assert!((500..550).contains(&size(&auctions)), "{}", size(&auctions));
    for (_, ms, auction) in &auctions {
        assert!(number(auction, "reserve") > number(auction, "initial_bid"));
        assert!((10..15).contains(&number(auction, "category")));
        let expires = chrono::DateTime::parse_from_rfc3339(auction["expires"].as_str().unwrap()).unwrap();
        assert!((1..=334).contains(&(expires.timestamp_millis() - ms)), "{auction}");
    }
    let channels: std::collections::BTreeMap<&str, &str> =
        bids.iter().map(|(.., b)| (b["channel"].as_str().unwrap(), b["url"].as_str().unwrap())).collect();
    for (.., bid) in &bids {
        let (channel, url) = (bid["channel"].as_str().unwrap(), bid["url"].as_str().unwrap());
        assert_eq!(channels[channel], url, "a channel has one address");
        assert_eq!(url.split('/').count(), 7, "{url}");
    }
    let with_id = channels.values().filter(|url| url.contains("&channel_id=")).count();
    assert!((85..95).contains(&(100 * with_id / channels.len())), "{with_id} of {}", channels.len());
}

#[test]
fn few_are_hot() {
    let [_, auctions, bids] = events(&[("nexmark.event.num", "50000")]);
    let share = |rows: &[(i64, i64, Value)], hot: &dyn Fn(&Value) -> bool| {
        100 * rows.iter().filter(|(.., row)| hot(row)).count() / rows.len()
    };
    let hot_seller = share(&auctions, &|a| number(a, "seller") % 100 == 0);
    let hot_bidder = share(&bids, &|b| number(b, "bidder") % 100 == 1);
    let hot_auction = share(&bids, &|b| number(b, "auction") % 100 == 0);
    let hot_channel = share(&bids, &|b| !b["channel"].as_str().unwrap().starts_with("channel-"));
    assert!((72..79).contains(&hot_seller), "{hot_seller}");
    assert!((72..79).contains(&hot_bidder), "{hot_bidder}");
    assert!((48..54).contains(&hot_auction), "{hot_auction}");
    assert!((48..53).contains(&hot_channel), "{hot_channel}");
    // Prices are as likely in each power of ten.
    for power in 2..8 {
        let decade = 10_i64.pow(power);
        let in_it = share(&bids, &|b| (decade..10 * decade).contains(&number(b, "price")));
        assert!((15..19).contains(&in_it), "{in_it}% from {decade} on");
    }
}

#[test]
fn what_is_named_is_there_or_comes_soon() {
    let [_, auctions, bids] = events(&[("nexmark.event.num", "50000"), ("nexmark.active.people", "50")]);
    for (offset, _, row) in auctions.iter().chain(&bids) {
        let (person, auction) = (offset / 50, offset / 50 * 3 + 2);
        let who = row.get("seller").or_else(|| row.get("bidder")).and_then(Value::as_i64).unwrap() - 1000;
        let hot = who % 100 <= 1 && who / 100 == person / 100;
        assert!(hot || (person - 49..=person + 10).contains(&who), "{who} at person {person}");
        if let Some(what) = row.get("auction").and_then(Value::as_i64).map(|id| id - 1000) {
            let hot = what == auction / 100 * 100;
            assert!(hot || (auction - 100..=auction + 10).contains(&what), "{what} at auction {auction}");
        }
    }
}

#[test]
fn events_may_come_out_of_order() {
    let in_order = events(&[("nexmark.event.num", "5000")]);
    let group = ("nexmark.out.of.order.group.size", "100");
    let mixed = events(&[("nexmark.event.num", "5000"), group]);
    for (ordered, mixed) in in_order.iter().zip(&mixed) {
        let (mut a, mut b): (Vec<_>, Vec<_>) = (
            ordered.iter().map(|e| e.2.to_string()).collect(),
            mixed.iter().map(|e| e.2.to_string()).collect(),
        );
        assert!(a.len() < 5000 / 50 * 46 || a != b, "bids come in another order");
        a.sort_unstable();
        b.sort_unstable();
        assert!(a == b, "the same events in another order");
        assert!(mixed.iter().all(|(at, ms, _)| (ms - 1_767_225_600_000 - at / 10).abs() < 10));
    }
}

#[test]
fn what_is_read_does_not_depend_on_where_reading_began() {
    for table in TABLES {
        let mixed = ("nexmark.out.of.order.group.size", "7");
        let nexmark = nexmark(table, &[("nexmark.event.num", "3001"), mixed]).unwrap();
        let mut reader = GeneratedReader::open(nexmark.clone(), 0);
        let whole = reader.poll(usize::MAX, usize::MAX, Duration::ZERO).remove(0);
        let (mut at, mut pieces) = (0, Vec::new());
        while at < 3001 {
            let mut reader = GeneratedReader::open(nexmark.clone(), at);
            for records in reader.poll(5, usize::MAX, Duration::ZERO) {
                pieces.extend(
                    (0..records.len())
                        .map(|i| (records.offsets[i], records.values.get(i).map(<[u8]>::to_vec))),
                );
            }
            assert!(reader.position() > at);
            at = reader.position();
        }
        let wanted: Vec<_> =
            (0..whole.len()).map(|i| (whole.offsets[i], whole.values.get(i).map(<[u8]>::to_vec))).collect();
        assert!(pieces == wanted, "{table}");
    }
}

/// Events of a seed are the same for ever: state and offsets refer to them.
#[test]
fn events_never_change() {
    let seed = [("nexmark.event.num", "5"), ("nexmark.seed", "7")];
    let sizes = [("nexmark.avg.person.byte.size", "80"), ("nexmark.avg.auction.byte.size", "60")];
    let pairs: Vec<_> = seed.into_iter().chain(sizes).chain([("nexmark.avg.bid.byte.size", "40")]).collect();
    let [persons, auctions, bids] = events(&pairs);
    let found = [&persons[0].2, &auctions[0].2, &bids[0].2].map(Value::to_string).join("\n");
    assert_eq!(found, include_str!("first_events.jsonl").trim_end());
}

#[test]
fn pace_is_kept_by_the_clock() {
    let slow = nexmark("bid", &[("nexmark.min.event.gap.in.ns", "3600000000000")]).unwrap();
    let mut reader = GeneratedReader::open(slow, 100);
    assert!(reader.poll(10, usize::MAX, Duration::from_millis(1)).is_empty());
    assert_eq!((reader.position(), reader.lag(), reader.is_bounded()), (100, 0, false));
    let ended = nexmark("bid", &[("nexmark.event.num", "1000")]).unwrap();
    assert_eq!(GeneratedReader::open(ended, 500).lag(), 460);
}

#[test]
fn mistakes_are_named() {
    let error = |table: &str, pairs: &[(&str, &str)]| nexmark(table, pairs).unwrap_err().to_string();
    assert_eq!(error("bids", &[]), "option nexmark.table.type: 'bids' is not known; did you mean 'bid'?");
    assert_eq!(
        error("bid", &[("nexmark.event.nun", "1")]),
        "option nexmark.event.nun: is not known here; did you mean \"nexmark.event.num\"?"
    );
    assert_eq!(error("bid", &[("nexmark.event.rate", "0")]), "option nexmark.event.rate: must be above 0");
    assert!(error("bid", &[("nexmark.out.of.order.group.size", "1906")]).contains("multiple of 953"));
    assert!(error("bid", &[("nexmark.base.time", "today")]).contains("such as 2026-01-31T12:00:00Z"));
    let none = Nexmark::from_options(&BTreeMap::new()).unwrap_err().to_string();
    assert_eq!(none, "option nexmark.table.type: is required");
    assert!(nexmark("BID", &[]).is_ok());
}
