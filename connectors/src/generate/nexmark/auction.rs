//! Auctions: item, seller, first price and time of expiry.

use std::io::Write;

use super::shape::{FIRST_ID, Shape, last_auction};
use super::words::{filling, random_price, random_text};
use crate::generate::matches::write_time;
use crate::generate::random::Random;

const FIRST_CATEGORY: u64 = 10;
const CATEGORIES: u64 = 5;

/// Writes the auction of this event and returns its id.
pub(super) fn write_auction(shape: &Shape, number: u64, random: &mut Random, out: &mut Vec<u8>) -> u64 {
    let id = FIRST_ID + last_auction(number);
    let seller = shape.draw_seller(number, random);
    let category = FIRST_CATEGORY + random.below(CATEGORIES);
    let initial_bid = random_price(random);
    let time = shape.time_ms(number);
    let expires = time.saturating_add(shape.auction_ms(number, random));
    let (name, description) = (random_text(random, 20, ' '), random_text(random, 100, ' '));
    let reserve = initial_bid + random_price(random);
    let extra = filling(random, 48 + name.len() + description.len(), shape.bytes[1]);
    // Writing to a Vec does not fail.
    let _ = write!(
        out,
        "{{\"id\":{id},\"item_name\":\"{name}\",\"description\":\"{description}\",\
         \"initial_bid\":{initial_bid},\"reserve\":{reserve},\"date_time\":"
    );
    write_time(out, time);
    let _ = write!(out, ",\"expires\":");
    write_time(out, expires);
    let _ = write!(out, ",\"seller\":{seller},\"category\":{category},\"extra\":\"{extra}\"}}");
    id
}
