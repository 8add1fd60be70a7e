//! `herald check --sample`: looks for personal values in the first records of each source, at paths that no tag covers.
//!
//! Records are decoded as the source would decode them, so only its columns are looked at: a field that no column has is
//! not kept anywhere. Structs, lists and JSONB are walked to their leaves. A key of a JSON object that looks personal is
//! one, too, of the object's path; the values below such keys share a path, `scores.*`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use dataflows::plan::{Plan, Source};
use dataflows::source::decoder;
use schemas::Encoder;
use serde_json::{Value, json};

use super::looks::{Look, look_at, masked};
use crate::commands::init::sample::read_sample;

/// Most paths of a source that are told apart: JSON with ids for keys has no end of them.
const MAX_PATHS: usize = 10_000;
/// Time after which a registry is no longer waited for.
const DECODE_TIMEOUT: Duration = Duration::from_secs(30);

/// The answer about one source.
pub(super) struct Sampled {
    /// The source.
    pub source: String,
    /// Number of records that were read; the reason, if none were.
    pub records: Result<usize, String>,
    /// Paths whose values look personal.
    pub found: Vec<PersonalPath>,
    /// Tagged paths that no record has.
    pub unmet: Vec<String>,
}

/// A path whose values look personal.
pub(super) struct PersonalPath {
    path: String,
    look: Look,
    /// Number of its values that do, and of all that are not null.
    count: usize,
    of: usize,
    /// One of them, masked.
    example: String,
}

/// Samples all sources of a plan. Those that need the network are only with `connect`.
pub(super) fn sample_sources(plan: &Plan, most: usize, connect: bool) -> Result<Vec<Sampled>> {
    let mut answers = Vec::new();
    for source in &plan.sources {
        let connector = source.options.get("connector").map_or("", String::as_str);
        let reason = match connector {
            "file" => None,
            "kafka" if connect => None,
            "kafka" => Some("not sampled: --connect lets its topic be read"),
            _ => continue,
        };
        answers.push(match reason {
            Some(reason) => {
                let (source, records) = (source.name.clone(), Err(reason.to_owned()));
                Sampled { source, records, found: Vec::new(), unmet: Vec::new() }
            }
            None => sample_source(source, most).with_context(|| format!("source {}", source.name))?,
        });
    }
    Ok(answers)
}

fn sample_source(source: &Source, most: usize) -> Result<Sampled> {
    let cancel = Arc::new(AtomicBool::new(false));
    let mut decoder = decoder::of(source, &cancel)?;
    std::thread::spawn({
        let cancel = cancel.clone();
        move || {
            std::thread::sleep(DECODE_TIMEOUT);
            cancel.store(true, Ordering::Relaxed);
        }
    });
    let (mut tally, mut read) = (PersonalTally::default(), 0);
    for records in read_sample(&source.name, &source.options, most)? {
        let batch = decoder.decode(&records)?.batch;
        let rows = Encoder::json(&batch.schema())?.encode(&batch)?;
        for row in 0..batch.num_rows().min(most.saturating_sub(read)) {
            let value: Value = serde_json::from_slice(rows.get(row).unwrap_or(b"null"))?;
            tally.add("", &value);
        }
        read += records.len();
    }
    if read == 0 {
        let (source, records) = (source.name.clone(), Err("not sampled: there are no records".to_owned()));
        return Ok(Sampled { source, records, found: Vec::new(), unmet: Vec::new() });
    }
    let tags = &source.personal;
    let is_tagged = |path: &str| tags.iter().any(|tag| tag.covers(path));
    let mut found = tally.found();
    found.retain(|one| !is_tagged(&one.path));
    let mut unmet = Vec::new();
    for tag in tags {
        if !tally.met.iter().any(|path| tag.covers(path)) {
            unmet.push(tag.path.clone());
        }
    }
    Ok(Sampled { source: source.name.clone(), records: Ok(read.min(most)), found, unmet })
}

/// Counts of values by their paths.
#[derive(Default)]
struct PersonalTally {
    /// Values that are not null.
    values: BTreeMap<String, usize>,
    /// Values that look personal, with the first of them.
    looks: BTreeMap<(String, Look), (usize, String)>,
    /// All paths.
    met: BTreeSet<String>,
}

impl PersonalTally {
    fn add(&mut self, path: &str, value: &Value) {
        if !path.is_empty() && (self.met.contains(path) || self.met.len() < MAX_PATHS) {
            self.met.insert(path.to_owned());
        }
        match value {
            Value::Null => {}
            Value::Array(items) => {
                for item in items {
                    self.add(&format!("{path}[]"), item);
                }
            }
            Value::Object(members) => {
                for (name, inner) in members {
                    let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    let is_key = !path.is_empty() && look_at("*", name).is_some();
                    if is_key {
                        self.add_text(path, name);
                        self.add(&format!("{path}.*"), inner);
                    } else {
                        self.add(&below, inner);
                    }
                }
            }
            Value::String(text) if text.trim().is_empty() => {}
            Value::String(text) => self.add_text(path, text),
            _ => *self.values.entry(path.to_owned()).or_default() += 1,
        }
    }

    fn add_text(&mut self, path: &str, text: &str) {
        if self.values.len() >= MAX_PATHS && !self.values.contains_key(path) {
            return;
        }
        *self.values.entry(path.to_owned()).or_default() += 1;
        if let Some(look) = look_at(path, text) {
            let entry = self.looks.entry((path.to_owned(), look)).or_insert_with(|| (0, masked(look, text)));
            entry.0 += 1;
        }
    }

    /// The paths whose values look personal, each with its most frequent kind.
    fn found(&self) -> Vec<PersonalPath> {
        let mut best: BTreeMap<&str, PersonalPath> = BTreeMap::new();
        for ((path, look), (count, example)) in &self.looks {
            let of = self.values.get(path).copied().unwrap_or(*count);
            if look.needs_most() && count * 2 < of {
                continue;
            }
            if best.get(path.as_str()).is_none_or(|other| other.count < *count) {
                let (look, count, example) = (*look, *count, example.clone());
                best.insert(path, PersonalPath { path: path.clone(), look, count, of, example });
            }
        }
        best.into_values().collect()
    }
}

impl Sampled {
    /// Warnings for people, a line of 80 columns at most each, and a summary.
    pub(super) fn text(&self) -> String {
        let name = &self.source;
        let read = match &self.records {
            Ok(read) => read,
            Err(reason) => return format!("source {name}: {reason}.\n"),
        };
        let mut out = String::new();
        for one in &self.found {
            out.push_str(&format!(
                "warning: source {name}: {}\n  {} like {}, as {}.\n  Tag it:{}\n  Or leave it out of the columns.\n",
                one.path,
                share_text(one.count, one.of),
                one.look.words(),
                one.example,
                option_text(&one.path),
            ));
        }
        for path in &self.unmet {
            out.push_str(&format!(
                "warning: source {name}: {path}\n  It is tagged as personal, and no record of the sample has it.\n"
            ));
        }
        let found = match self.found.len() {
            0 => "no path without a tag looks personal".to_owned(),
            1 => "1 path without a tag looks personal".to_owned(),
            n => format!("{n} paths without a tag look personal"),
        };
        let records = if *read == 1 { "1 record".to_owned() } else { format!("{read} records") };
        out + &format!("source {name}: {found} in {records}.\n")
    }

    /// The answer for programs.
    pub(super) fn json(&self) -> Value {
        let mut found = Vec::with_capacity(self.found.len());
        for one in &self.found {
            found.push(json!({
                "path": one.path, "kind": one.look.tag(), "looks_like": one.look.words(), "values": one.count,
                "of": one.of, "example": one.example,
            }));
        }
        json!({
            "source": self.source, "records": self.records.as_ref().ok(), "not_sampled": self.records.as_ref().err(),
            "personal": found, "tags_without_values": self.unmet,
        })
    }
}

/// The option that tags a path, on a line of its own where it is long.
fn option_text(path: &str) -> String {
    let option = format!("personal = '{path}' in WITH.");
    if option.chars().count() > 60 { format!("\n    {option}") } else { format!(" {option}") }
}

/// The share of values in words: all 165 values look, 3 of 165 values (2%) look.
fn share_text(count: usize, of: usize) -> String {
    if count == of {
        return if of == 1 { "its 1 value looks".to_owned() } else { format!("all {of} values look") };
    }
    let percent = 100.0 * count as f64 / of.max(1) as f64;
    let percent = if percent < 1.0 { "under 1%".to_owned() } else { format!("{percent:.0}%") };
    format!("{count} of {of} values ({percent}) {}", if count == 1 { "looks" } else { "look" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally_of(rows: &[Value]) -> Vec<(String, usize, usize, String)> {
        let mut tally = PersonalTally::default();
        rows.iter().for_each(|row| tally.add("", row));
        tally.found().into_iter().map(|one| (one.path, one.count, one.of, one.example)).collect()
    }

    #[test]
    fn nested_values_and_keys_are_walked() {
        let rows = [
            json!({"id": 1, "players": [{"who": "xuid(2533277490754884)", "mail": null}, {"who": "bot"}]}),
            json!({"id": 2, "body": {"scores": {"xuid(2533277490754884)": 3}, "text": ["hi", "ask anna@example.com"]}}),
        ];
        assert_eq!(
            tally_of(&rows),
            [
                ("body.scores".to_owned(), 1, 1, "xuid(25***)".to_owned()),
                ("body.text[]".to_owned(), 1, 2, "a***@e***.com".to_owned()),
                ("players[].who".to_owned(), 1, 2, "xuid(25***)".to_owned()),
            ]
        );
    }

    #[test]
    fn a_form_by_chance_needs_most_values() {
        let rows: Vec<Value> =
            (0..10).map(|n| json!({"note": if n == 0 { "order#1234" } else { "none" }})).collect();
        assert!(tally_of(&rows).is_empty());
        let rows: Vec<Value> = (0..10).map(|n| json!({"who": format!("player#{}", 1000 + n)})).collect();
        assert_eq!(tally_of(&rows)[0].1, 10);
    }

    #[test]
    fn shares_are_told_in_words() {
        assert_eq!(share_text(165, 165), "all 165 values look");
        assert_eq!(share_text(1, 1), "its 1 value looks");
        assert_eq!(share_text(3, 165), "3 of 165 values (2%) look");
        assert_eq!(share_text(1, 1000), "1 of 1000 values (under 1%) looks");
    }
}
