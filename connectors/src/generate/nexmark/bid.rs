//! Bids: bidder, auction, price and channel.
//!
//! There are four hot channels and 10,000 others. A channel has one address for ever; nine in ten
//! addresses of channels that are not hot name the channel's id.

use std::io::Write;

use super::shape::Shape;
use super::words::{filling, random_price, random_text};
use crate::generate::matches::write_time;
use crate::generate::random::Random;

const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
const CHANNELS: u64 = 10_000;
/// Separates the random stream of a channel from that of an event.
const CHANNEL_SEED: u64 = 0x0063_6861_6e6e_656c;

/// Writes the bid of this event and returns the auction it is for.
pub(super) fn write_bid(shape: &Shape, number: u64, random: &mut Random, out: &mut Vec<u8>) -> u64 {
    let auction = shape.draw_auction(number, random);
    let bidder = shape.draw_bidder(number, random);
    let price = random_price(random);
    let (channel, url) = draw_channel(shape, random);
    let extra = filling(random, 32, shape.bytes[2]);
    // Writing to a Vec does not fail.
    let _ = write!(
        out,
        "{{\"auction\":{auction},\"bidder\":{bidder},\"price\":{price},\"channel\":\"{channel}\",\
         \"url\":\"{url}\",\"date_time\":"
    );
    write_time(out, shape.time_ms(number));
    let _ = write!(out, ",\"extra\":\"{extra}\"}}");
    auction
}

fn draw_channel(shape: &Shape, random: &mut Random) -> (String, String) {
    let hot = random.below(shape.hot_channel) > 0;
    let at = random.below(if hot { HOT_CHANNELS.len() as u64 } else { CHANNELS });
    let place = if hot { CHANNELS + at } else { at };
    let mut fixed = Random::new(shape.seed ^ CHANNEL_SEED, place);
    let mut part = || random_text(&mut fixed, 5, '_');
    let mut url = format!("https://www.nexmark.com/{}/{}/{}/item.htm?query=1", part(), part(), part());
    if let Some(name) = HOT_CHANNELS.get(at as usize).filter(|_| hot) {
        return ((*name).to_owned(), url);
    }
    if fixed.below(10) > 0 {
        url.push_str(&format!("&channel_id={}", (at as i32).reverse_bits().unsigned_abs()));
    }
    (format!("channel-{at}"), url)
}
