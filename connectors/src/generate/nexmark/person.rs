//! Persons: names, addresses of email, credit cards and cities.

use std::io::Write;

use super::shape::{FIRST_ID, Shape, last_person};
use super::words::{filling, one_of, random_text};
use crate::generate::matches::write_time;
use crate::generate::random::Random;

const FIRST_NAMES: [&str; 11] =
    ["Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"];
const LAST_NAMES: [&str; 9] =
    ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"];
const CITIES: [&str; 10] = [
    "Phoenix",
    "Los Angeles",
    "San Francisco",
    "Boise",
    "Portland",
    "Bend",
    "Redmond",
    "Seattle",
    "Kent",
    "Cheyenne",
];
const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];

/// Writes the person of this event and returns its id.
pub(super) fn write_person(shape: &Shape, number: u64, random: &mut Random, out: &mut Vec<u8>) -> u64 {
    let id = FIRST_ID + last_person(number);
    let name = format!("{} {}", one_of(random, &FIRST_NAMES), one_of(random, &LAST_NAMES));
    let email = format!("{}@{}.com", random_text(random, 7, ' '), random_text(random, 5, ' '));
    let mut quad = || random.below(10_000);
    let card = format!("{:04} {:04} {:04} {:04}", quad(), quad(), quad(), quad());
    let (city, state) = (one_of(random, &CITIES), one_of(random, &STATES));
    let size = 8 + name.len() + email.len() + card.len() + city.len() + state.len();
    let extra = filling(random, size, shape.bytes[0]);
    // Writing to a Vec does not fail.
    let _ = write!(
        out,
        "{{\"id\":{id},\"name\":\"{name}\",\"email_address\":\"{email}\",\"credit_card\":\"{card}\",\
         \"city\":\"{city}\",\"state\":\"{state}\",\"date_time\":"
    );
    write_time(out, shape.time_ms(number));
    let _ = write!(out, ",\"extra\":\"{extra}\"}}");
    id
}
