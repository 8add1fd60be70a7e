//! `herald dead-letter replay`: sends rejected records to their topics again, each once, and counts them.
//!
//! The topology's files name the sources, their topics and their dead-letter topics. Each dead-letter topic
//! is one [`Replay`], which marks there the records that it sends. No state is read or written, and the
//! topology may run meanwhile.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use anyhow::{Error, Result, anyhow};
use connectors::kafka::{KafkaSource, Replay, ReplayConfig, ReplayCount, ReplayCounts, ReplayFilter};
use connectors::{ConnectorError, SourceConnector};
use dataflows::plan::Source;
use schemas::Outcome;
use schemas::types::time::parse_timestamp;

use super::{parse_outcome, unknown_source};
use crate::cli::{DeadLetterFilter, ReplayArgs, StatusFormat};
use crate::commands::running::status::align_columns;
use crate::exit::mistake;
use crate::topology::{self, Network};

/// Time for which a broker's answer is waited for.
const BROKER_TIMEOUT: Duration = Duration::from_secs(10);

/// `herald dead-letter replay`.
///
/// # Errors
/// When no source can be replayed, when a broker fails, or when a selected record could not be sent.
pub fn command(args: &ReplayArgs) -> Result<()> {
    let files = topology::read_files(&args.files)?;
    let variables = topology::Variables::read(args.env_file.as_deref())?;
    let filter = parse_filter(&args.filter)?;
    let plan = topology::plan_topology(&files, &variables, Network::Allowed)?;
    let sources = select_sources(&plan.sources, args.filter.source.as_deref())?;
    let mut counts = ReplayCounts::new();
    for config in replay_configs(&sources, filter) {
        let topic = config.dead_letter_topic.clone();
        let mut replay = Replay::new(config);
        let ended = if args.dry_run { replay.count() } else { replay.run() };
        counts.extend(replay.counts().clone());
        if let Err(error) = ended {
            if !counts.is_empty() {
                print_counts(&counts, args);
            }
            return Err(replay_error(error, &topic, args.dry_run));
        }
    }
    print_counts(&counts, args);
    let ReplayCount { selected, cut, elsewhere, .. } = total_of(&counts);
    match cut + elsewhere {
        unsent if unsent > 0 && !args.dry_run => {
            Err(anyhow!("{unsent} of {selected} selected records could not be sent"))
        }
        _ => Ok(()),
    }
}

/// Parses the filters.
fn parse_filter(filter: &DeadLetterFilter) -> Result<ReplayFilter> {
    Ok(ReplayFilter {
        outcome: filter.outcome.as_deref().map(parse_outcome).transpose()?,
        since_us: parse_bound("since", filter.since.as_deref())?,
        until_us: parse_bound("until", filter.until.as_deref())?,
    })
}

/// Parses the time of a flag, if it is given.
fn parse_bound(flag: &str, text: Option<&str>) -> Result<Option<i64>> {
    let Some(text) = text else { return Ok(None) };
    match parse_timestamp(text) {
        Some(us) => Ok(Some(us)),
        None => Err(mistake(format!("--{flag} {text}: write a time such as 2026-01-01T00:00:00Z"))),
    }
}

/// A source whose rejected records can be replayed.
struct Replayed<'p> {
    source: &'p Source,
    kafka: KafkaSource,
    dead_letter_topic: &'p str,
}

impl<'p> Replayed<'p> {
    /// The source's topics, or the reason why its records cannot be replayed.
    fn new(source: &'p Source) -> Result<Replayed<'p>, String> {
        let name = &source.name;
        let connector = SourceConnector::from_options(&source.options);
        let connector = connector.map_err(|error| format!("source {name}: {error}"))?;
        let SourceConnector::Kafka(kafka) = connector else {
            let connector = source.options.get("connector").map_or("", String::as_str);
            let instead = match connector {
                "file" => {
                    "append the mended lines to its file, or write them to a new file that its path matches"
                }
                _ => "it makes its records itself: there is nothing to send again",
            };
            return Err(format!(
                "source {name} has the connector {connector}. Records are sent again to topics of Kafka alone\n  {instead}"
            ));
        };
        let Some(dead_letter_topic) = &source.dead_letter_topic else {
            return Err(format!(
                "source {name} has no dead-letter topic, which holds the rejected records and the marks of those replayed\n  \
                 add dead_letter.topic = 'TOPIC' to its options; what is rejected from then on can be replayed. The table \
                 herald.dead_letter is no substitute: it forgets its oldest records, and what was replayed"
            ));
        };
        Ok(Replayed { source, kafka, dead_letter_topic })
    }

    /// Tells whether another source reads the same topic.
    fn shares_topic(&self, other: &Replayed<'_>) -> bool {
        (other.kafka.cluster.identity(), &other.kafka.topic)
            == (self.kafka.cluster.identity(), &self.kafka.topic)
    }
}

/// The source that is named, or all that can be replayed; the others are named on standard error.
fn select_sources<'p>(sources: &'p [Source], named: Option<&str>) -> Result<Vec<Replayed<'p>>> {
    refuse_split_marks(sources)?;
    if let Some(named) = named {
        let Some(found) = sources.iter().find(|source| source.name == named) else {
            return Err(unknown_source(named, sources.iter().map(|source| source.name.as_str()).collect()));
        };
        return Ok(vec![Replayed::new(found).map_err(mistake)?]);
    }
    let (mut found, mut refused) = (Vec::new(), Vec::new());
    for source in sources {
        match Replayed::new(source) {
            Ok(replayed) => found.push(replayed),
            Err(reason) => refused.push(reason),
        }
    }
    if found.is_empty() {
        return Err(mistake(match refused.as_slice() {
            [] => "the topology has no sources".to_owned(),
            refused => refused.join("\n"),
        }));
    }
    for reason in refused {
        eprintln!("left out: {}", reason.lines().next().unwrap_or_default());
    }
    Ok(found)
}

/// Refuses two sources of one topic with dead-letter topics of their own: a record that both rejected would be
/// sent once for each, since each topic has only its own marks.
fn refuse_split_marks(sources: &[Source]) -> Result<()> {
    let replayed: Vec<Replayed<'_>> = sources.iter().map(Replayed::new).filter_map(Result::ok).collect();
    for (at, one) in replayed.iter().enumerate() {
        for other in &replayed[at + 1..] {
            if one.shares_topic(other) && one.dead_letter_topic != other.dead_letter_topic {
                return Err(mistake(format!(
                    "sources {} and {} read topic {} and have different dead-letter topics: a record that both \
                     rejected would be sent twice\n  give them the same dead_letter.topic",
                    one.source.name, other.source.name, one.kafka.topic
                )));
            }
        }
    }
    Ok(())
}

/// One configuration per dead-letter topic.
fn replay_configs(sources: &[Replayed<'_>], filter: ReplayFilter) -> Vec<ReplayConfig> {
    let mut configs: BTreeMap<(&str, &str), ReplayConfig> = BTreeMap::new();
    for Replayed { source, kafka, dead_letter_topic } in sources {
        let config = configs.entry((kafka.cluster.identity(), *dead_letter_topic));
        let config = config.or_insert_with(|| ReplayConfig {
            cluster: kafka.cluster.clone(),
            dead_letter_topic: (*dead_letter_topic).to_owned(),
            sources: BTreeMap::new(),
            filter,
            timeout: BROKER_TIMEOUT,
        });
        config.sources.insert(source.name.clone(), kafka.topic.clone());
    }
    configs.into_values().collect()
}

/// The error of a replay that ended early.
fn replay_error(error: ConnectorError, topic: &str, dry_run: bool) -> Error {
    match error {
        ConnectorError::Fenced { .. } => {
            anyhow!("another replay of topic {topic} was started: it sends the rest, and this one ends")
        }
        error if dry_run => Error::new(error).context(format!("topic {topic} was not read to its end")),
        error => Error::new(error).context(format!(
            "topic {topic} was not replayed to its end; what was sent is marked, and the same command sends the rest"
        )),
    }
}

/// The sum of all numbers.
fn total_of(counts: &ReplayCounts) -> ReplayCount {
    let mut sum = ReplayCount::default();
    for of in counts.values() {
        sum.selected += of.selected;
        sum.replayed += of.replayed;
        sum.already += of.already;
        sum.cut += of.cut;
        sum.elsewhere += of.elsewhere;
    }
    sum
}

/// Prints the numbers, and a warning of late records on standard error.
fn print_counts(counts: &ReplayCounts, args: &ReplayArgs) {
    match args.format {
        StatusFormat::Text => print!("{}", counts_text(counts, args.dry_run)),
        StatusFormat::Json => println!("{}", counts_json(counts, args.dry_run)),
    }
    let late = counts.iter().filter(|((_, outcome), _)| *outcome == Outcome::Late);
    let late: u64 = late.map(|(_, of)| of.replayed).sum();
    if late > 0 {
        eprintln!(
            "warning: {late} of the records were late, and are late again unless their WATERMARK's delay or their table's retention is longer now"
        );
    }
}

/// The numbers as a table, with a line of totals.
fn counts_text(counts: &ReplayCounts, dry_run: bool) -> String {
    let (head, sent) = if dry_run { ("TO REPLAY", "to replay") } else { ("REPLAYED", "replayed") };
    let mut rows = vec![["SOURCE", "OUTCOME", "SELECTED", head, "ALREADY", "CUT"].map(str::to_owned)];
    for ((source, outcome), of) in counts {
        let numbers = [of.selected, of.replayed, of.already, of.cut].map(|number| number.to_string());
        let [selected, replayed, already, cut] = numbers;
        rows.push([source.clone(), outcome.name().to_owned(), selected, replayed, already, cut]);
    }
    let mut out = String::new();
    if !counts.is_empty() {
        out.push_str(&align_columns(&rows, 2..6));
        out.push('\n');
    }
    let ReplayCount { selected, replayed, already, cut, elsewhere } = total_of(counts);
    let _ = writeln!(out, "{selected} selected: {replayed} {sent}, {already} already replayed, {cut} cut.");
    if cut > 0 {
        let _ = writeln!(
            out,
            "Of {cut} the dead-letter topic holds only a part: `herald dead-letter show` has key and value whole."
        );
    }
    if elsewhere > 0 {
        let _ = writeln!(
            out,
            "{elsewhere} came from a topic or partition that their source does not have, and are left out."
        );
    }
    out
}

/// The numbers for programs.
fn counts_json(counts: &ReplayCounts, dry_run: bool) -> serde_json::Value {
    let sent = if dry_run { "to_replay" } else { "replayed" };
    let mut all = Vec::with_capacity(counts.len());
    for ((source, outcome), of) in counts {
        all.push(serde_json::json!({
            "source": source, "outcome": outcome.name(), "selected": of.selected, sent: of.replayed,
            "already": of.already, "cut": of.cut, "elsewhere": of.elsewhere,
        }));
    }
    serde_json::json!({"dry_run": dry_run, "counts": all})
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dataflows::plan::Plan;
    use dataflows::sql::SqlFile;

    use super::*;
    use crate::topology::Variables;

    /// A plan of sources, each with a name and its options, and a view over each.
    fn plan(sources: &[(&str, &str)]) -> Arc<Plan> {
        let one = |(name, options): &(&str, &str)| {
            format!(
                "CREATE SOURCE {name} (id INT) WITH ({options}) FORMAT PLAIN ENCODE JSON;\n\
                 CREATE MATERIALIZED VIEW of_{name} AS SELECT id FROM {name};\n"
            )
        };
        let file = SqlFile { name: "test.sql".to_owned(), text: sources.iter().map(one).collect() };
        topology::plan_topology(&[file], &Variables::only(&[]), Network::Refused).unwrap()
    }

    fn kafka(topic: &str, dead: &str) -> String {
        format!("connector = 'kafka', topic = '{topic}', properties.bootstrap.server = 'b:9092'{dead}")
    }

    fn counts() -> ReplayCounts {
        let numbers = |selected, replayed, already, cut, elsewhere| ReplayCount {
            selected,
            replayed,
            already,
            cut,
            elsewhere,
        };
        ReplayCounts::from([
            (("clicks".to_owned(), Outcome::Decode), numbers(12, 9, 3, 0, 0)),
            (("views".to_owned(), Outcome::Late), numbers(4, 1, 0, 1, 2)),
        ])
    }

    #[test]
    fn sources_of_one_dead_letter_topic_are_replayed_together() {
        let dead = ", dead_letter.topic = 'dead'";
        let plan = plan(&[
            ("clicks", &kafka("web.clicks", dead)),
            ("views", &kafka("web.views", dead)),
            ("orders", &kafka("orders", ", dead_letter.topic = 'orders.dead'")),
            ("silent", &kafka("silent", "")),
            ("lines", "connector = 'file', path = 'lines.jsonl'"),
        ]);
        let topics = |named| {
            let configs = replay_configs(&select_sources(&plan.sources, named)?, ReplayFilter::default());
            let shown = |config: ReplayConfig| (config.dead_letter_topic, config.sources);
            Ok::<_, Error>(configs.into_iter().map(shown).collect::<Vec<_>>())
        };
        let of = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(source, topic)| ((*source).to_owned(), (*topic).to_owned())).collect()
        };
        let all = [
            ("dead".to_owned(), of(&[("clicks", "web.clicks"), ("views", "web.views")])),
            ("orders.dead".to_owned(), of(&[("orders", "orders")])),
        ];
        assert_eq!(topics(None).unwrap(), all);
        assert_eq!(topics(Some("views")).unwrap(), [("dead".to_owned(), of(&[("views", "web.views")]))]);
        for (named, said) in [
            ("silent", "add dead_letter.topic = 'TOPIC'"),
            (
                "lines",
                "has the connector file. Records are sent again to topics of Kafka alone\n  append the mended",
            ),
            (
                "click",
                "no such source\n  did you mean clicks? There are clicks, views, orders, silent, lines",
            ),
        ] {
            let error = topics(Some(named)).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
            assert_eq!(crate::exit::code(&error), 2);
        }
    }

    #[test]
    fn a_topology_without_dead_letter_topics_is_told_of_all_its_sources() {
        let lines = "connector = 'file', path = 'lines.jsonl'";
        let plan = plan(&[("silent", &kafka("silent", "")), ("lines", lines)]);
        let error = select_sources(&plan.sources, None).map(|found| found.len()).unwrap_err().to_string();
        assert!(error.contains("source silent") && error.contains("source lines"), "{error}");
    }

    #[test]
    fn filters_are_read() {
        let filter = DeadLetterFilter {
            outcome: Some("late".to_owned()),
            since: Some("1970-01-01T00:00:01Z".to_owned()),
            until: Some("1970-01-02".to_owned()),
            ..DeadLetterFilter::default()
        };
        let parsed = parse_filter(&filter).unwrap();
        assert_eq!(parsed.outcome, Some(Outcome::Late));
        assert_eq!((parsed.since_us, parsed.until_us), (Some(1_000_000), Some(86_400_000_000)));
        for wrong in [
            DeadLetterFilter { since: Some("yesterday".to_owned()), ..filter.clone() },
            DeadLetterFilter { outcome: Some("accepted".to_owned()), ..filter },
        ] {
            assert_eq!(crate::exit::code(&parse_filter(&wrong).unwrap_err()), 2);
        }
    }

    #[test]
    fn numbers_are_shown_with_their_sum() {
        assert_eq!(
            counts_text(&counts(), false),
            "SOURCE  OUTCOME  SELECTED  REPLAYED  ALREADY  CUT\n\
             clicks  decode         12         9        3    0\n\
             views   late            4         1        0    1\n\n\
             16 selected: 10 replayed, 3 already replayed, 1 cut.\n\
             Of 1 the dead-letter topic holds only a part: `herald dead-letter show` has key and value whole.\n\
             2 came from a topic or partition that their source does not have, and are left out.\n"
        );
        let none = counts_text(&ReplayCounts::new(), true);
        assert_eq!(none, "0 selected: 0 to replay, 0 already replayed, 0 cut.\n");
        let json = counts_json(&counts(), true);
        assert_eq!(json["counts"][0]["to_replay"], 9);
        assert_eq!(json["counts"][1]["elsewhere"], 2);
    }
}
