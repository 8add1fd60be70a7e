//! Options of the comparison.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::systems::System;
use crate::options::parse_number;

/// Amounts, systems and the place of the report.
pub struct PeerOptions {
    /// Flat records; 0 for none.
    pub flat: u64,
    /// Nested records; 0 for none.
    pub nested: u64,
    /// Players.
    pub keys: u64,
    /// True if few players play most games (Zipf's law with exponent 0.99), false if all are alike.
    pub zipf: bool,
    /// Runs of each system.
    pub repeat: usize,
    /// Systems to measure.
    pub systems: Vec<System>,
    /// File that the report is written to as JSON.
    pub json: Option<PathBuf>,
}

impl PeerOptions {
    /// Reads the arguments.
    ///
    /// # Errors
    /// When one is not known.
    pub fn parse(arguments: &[String]) -> Result<PeerOptions> {
        let systems = System::ALL.to_vec();
        let (flat, nested, keys) = (1_000_000, 100_000, 100_000);
        let mut options = PeerOptions { flat, nested, keys, zipf: false, repeat: 5, systems, json: None };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--events" => options.flat = parse_amount(value()?)?,
                "--nested" => options.nested = parse_amount(value()?)?,
                "--keys" => options.keys = parse_number(value()?)?,
                "--zipf" => options.zipf = true,
                "--repeat" => options.repeat = parse_number(value()?)? as usize,
                "--only" => {
                    options.systems = value()?.split(',').map(System::parse).collect::<Result<_>>()?
                }
                "--json" => options.json = Some(PathBuf::from(value()?)),
                other => bail!(
                    "{other} is not known; there are --events N, --nested N, --keys N, --zipf, --repeat N, \
                     --only NAME,NAME,.. and --json FILE"
                ),
            }
        }
        Ok(options)
    }
}

/// A number as [`parse_number`] reads it, or 0.
fn parse_amount(text: &str) -> Result<u64> {
    if text == "0" { Ok(0) } else { parse_number(text) }
}
