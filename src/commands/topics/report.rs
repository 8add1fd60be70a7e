//! The comparison of a file with a broker and a registry, as text and as JSON.

use connectors::kafka::{ConfigChange, TopicLayout, TopicStep};
use serde_json::{Value, json};

pub use crate::topology::plan::wrapped;

/// Exit code when something is to be done.
pub const PENDING: i32 = 3;
/// Exit code when something is impossible.
const IMPOSSIBLE: i32 = 4;
/// Columns of the word for a topic's fate, with the space behind it.
const FATE_WIDTH: usize = 12;
/// Units of time, in milliseconds.
const UNITS: [(i64, &str); 4] =
    [(86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1000, "second")];

/// A step of `apply`.
pub enum Step {
    /// A step on the broker.
    Topic(TopicStep),
    /// A level of compatibility is set.
    Level {
        /// The subject.
        subject: String,
        /// Level of its own that it has, if any.
        from: Option<String>,
        /// Level wanted.
        to: String,
    },
    /// A schema is registered.
    Register {
        /// The subject.
        subject: String,
        /// The schema's file as written.
        file: String,
        /// Its text.
        schema: String,
    },
}

/// The comparison of one topic.
pub struct TopicReport {
    /// Name.
    pub name: String,
    /// Meaning of the records' keys.
    pub key: Option<String>,
    /// Steps, in the order in which they are done.
    pub steps: Vec<Step>,
    /// Reasons for which it is impossible.
    pub obstacles: Vec<String>,
    /// Consequences of the steps.
    pub warnings: Vec<String>,
}

/// The whole comparison.
pub struct Report {
    /// The brokers.
    pub bootstrap: String,
    /// The registry's address, without credentials.
    pub registry: Option<String>,
    /// The topics of the file, in its order.
    pub topics: Vec<TopicReport>,
    /// Topics of the broker that the file does not name.
    pub others: Vec<String>,
}

impl Step {
    /// The order for it, as in "could not create the topic".
    pub fn order(&self) -> String {
        match self {
            Step::Topic(TopicStep::Create(_)) => "create the topic".to_owned(),
            Step::Topic(TopicStep::Configure(_)) => "set its options".to_owned(),
            Step::Topic(TopicStep::Grow { from, to }) => format!("add partitions, {from} -> {to}"),
            Step::Level { subject, to, .. } => format!("set the compatibility of subject {subject} to {to}"),
            Step::Register { subject, file, .. } => format!("register {file} under subject {subject}"),
        }
    }

    /// A sentence that it is done.
    pub fn done(&self) -> String {
        match self {
            Step::Topic(TopicStep::Create(topic)) => {
                let mut said = format!("created, {}", size_words(topic));
                for (name, value) in &topic.configs {
                    said.push_str(&format!(", {name} = {}", value_words(name, value)));
                }
                said
            }
            Step::Topic(TopicStep::Configure(changes)) => {
                changes.iter().map(change_words).collect::<Vec<_>>().join(", ")
            }
            Step::Topic(TopicStep::Grow { from, to }) => format!("partitions {from} -> {to}"),
            Step::Level { subject, from, to } => {
                format!(
                    "compatibility of subject {subject} {} -> {to}",
                    from.as_deref().unwrap_or("(default)")
                )
            }
            Step::Register { subject, file, .. } => format!("{file} registered under subject {subject}"),
        }
    }

    /// Lines that tell it before it is done.
    fn lines(&self) -> Vec<String> {
        match self {
            Step::Topic(TopicStep::Create(topic)) => {
                let configs = topic.configs.iter();
                configs.map(|(name, value)| format!("{name} = {}", value_words(name, value))).collect()
            }
            Step::Topic(TopicStep::Configure(changes)) => changes.iter().map(change_words).collect(),
            Step::Topic(TopicStep::Grow { .. }) | Step::Level { .. } => vec![self.done()],
            Step::Register { subject, file, .. } => vec![format!("register {file} under subject {subject}")],
        }
    }

    /// The step for programs.
    pub fn json(&self) -> Value {
        match self {
            Step::Topic(TopicStep::Create(topic)) => json!({
                "step": "create", "partitions": topic.partitions, "replication_factor": topic.replication,
                "configs": topic.configs,
            }),
            Step::Topic(TopicStep::Configure(changes)) => {
                let pair = |change: &ConfigChange| {
                    (change.name.clone(), json!({"from": change.old, "to": change.new}))
                };
                let configs: serde_json::Map<String, Value> = changes.iter().map(pair).collect();
                json!({"step": "configure", "configs": configs})
            }
            Step::Topic(TopicStep::Grow { from, to }) => json!({"step": "grow", "from": from, "to": to}),
            Step::Level { subject, from, to } => {
                json!({"step": "set_compatibility", "subject": subject, "from": from, "to": to})
            }
            Step::Register { subject, file, .. } => {
                json!({"step": "register", "subject": subject, "schema": file})
            }
        }
    }
}

/// The size of a topic that is made.
fn size_words(topic: &TopicLayout) -> String {
    let partitions = match topic.partitions {
        Some(1) => "1 partition".to_owned(),
        Some(count) => format!("{count} partitions"),
        None => "partitions by the broker's default".to_owned(),
    };
    match topic.replication {
        Some(factor) => format!("{partitions}, replication factor {factor}"),
        None => format!("{partitions}, replicas by the broker's default"),
    }
}

fn change_words(change: &ConfigChange) -> String {
    let name = &change.name;
    let old = change.old.as_ref().map_or("(none)".to_owned(), |old| value_words(name, old));
    format!("{name} {old} -> {}", value_words(name, &change.new))
}

/// The value of an option; milliseconds with their length in words.
fn value_words(name: &str, value: &str) -> String {
    match (value.parse::<i64>(), name) {
        (Ok(-1), "retention.ms") => "-1 (forever)".to_owned(),
        (Ok(millis), _) if millis > 0 && name.ends_with(".ms") => match length_words(millis) {
            Some(words) => format!("{value} ({words})"),
            None => value.to_owned(),
        },
        _ => value.to_owned(),
    }
}

/// A length of time in the greatest unit that measures it.
fn length_words(millis: i64) -> Option<String> {
    let (unit, word) = UNITS.into_iter().find(|(unit, _)| millis % unit == 0)?;
    let count = millis / unit;
    Some(if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") })
}

impl TopicReport {
    /// The word for all that becomes of the topic and its subjects.
    fn fate(&self) -> &'static str {
        match (self.obstacles.as_slice(), self.steps.as_slice()) {
            ([_, ..], _) => "impossible",
            (_, []) => "nothing",
            (_, [Step::Topic(TopicStep::Create(_)), ..]) => "create",
            _ => "change",
        }
    }

    fn text(&self) -> String {
        let fate = self.fate();
        let mut head = format!("{fate:<FATE_WIDTH$}{}", self.name);
        if let Some(Step::Topic(TopicStep::Create(topic))) = self.steps.first()
            && fate == "create"
        {
            head.push_str(&format!(", {}", size_words(topic)));
        }
        if let Some(key) = &self.key {
            head.push_str(&format!(", key {key}"));
        }
        let mut text = wrapped(&head, FATE_WIDTH);
        let mut add =
            |line: &str| text.push_str(&wrapped(&format!("{:FATE_WIDTH$}{line}", ""), FATE_WIDTH + 2));
        if self.obstacles.is_empty() {
            self.steps.iter().flat_map(Step::lines).for_each(|line| add(&line));
            self.warnings.iter().for_each(|warning| add(&format!("Warning: {warning}.")));
        } else {
            self.obstacles.iter().for_each(|obstacle| add(&format!("{}.", obstacle.trim_end_matches('.'))));
        }
        text
    }

    fn json(&self) -> Value {
        let steps: Vec<Value> = self.steps.iter().map(Step::json).collect();
        json!({
            "topic": self.name, "fate": self.fate(), "key": self.key, "steps": steps,
            "obstacles": self.obstacles, "warnings": self.warnings,
        })
    }
}

impl Report {
    /// The exit code: 0 if nothing is to be done, 3 if something is, 4 if something is impossible.
    pub fn code(&self) -> i32 {
        if self.topics.iter().any(|topic| !topic.obstacles.is_empty()) {
            IMPOSSIBLE
        } else if self.topics.iter().any(|topic| !topic.steps.is_empty()) {
            PENDING
        } else {
            0
        }
    }

    /// The report for people.
    pub fn text(&self) -> String {
        let mut text: String = self.topics.iter().map(TopicReport::text).collect();
        if !self.others.is_empty() {
            let others = format!("Not in the file, and left alone: {}.", self.others.join(", "));
            text.push_str(&wrapped(&others, 2));
        }
        let total: usize = self.topics.iter().map(|topic| topic.steps.len()).sum();
        let impossible = self.topics.iter().filter(|topic| !topic.obstacles.is_empty()).count();
        let end = match (impossible, total) {
            (0, 0) => format!("Nothing to do: Kafka at {} is as the file says.", self.bootstrap),
            (0, 1) => "1 step to do, by `herald topics apply`.".to_owned(),
            (0, _) => format!("{total} steps to do, by `herald topics apply`."),
            (1, _) => "1 topic is impossible as written; until then nothing is applied.".to_owned(),
            _ => format!("{impossible} topics are impossible as written; until then nothing is applied."),
        };
        text.push_str(&wrapped(&end, 2));
        text
    }

    /// The report for programs.
    pub fn json(&self) -> Value {
        let topics: Vec<Value> = self.topics.iter().map(TopicReport::json).collect();
        json!({
            "bootstrap": self.bootstrap, "registry": self.registry, "topics": topics,
            "not_in_file": self.others, "code": self.code(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str, steps: Vec<Step>, obstacles: &[&str], warnings: &[&str]) -> TopicReport {
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        TopicReport {
            name: name.to_owned(),
            key: None,
            steps,
            obstacles: own(obstacles),
            warnings: own(warnings),
        }
    }

    fn report(topics: Vec<TopicReport>) -> Report {
        let others = vec!["audit".to_owned(), "billing".to_owned()];
        Report { bootstrap: "broker:9092".to_owned(), registry: None, topics, others }
    }

    fn created() -> Step {
        let configs = [("cleanup.policy", "delete"), ("retention.ms", "2592000000")];
        Step::Topic(TopicStep::Create(TopicLayout {
            name: "match.completed".to_owned(),
            partitions: Some(12),
            replication: Some(1),
            key: None,
            configs: configs.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        }))
    }

    #[test]
    fn a_report_tells_each_topic_and_the_next_command() {
        let change = |old: &str, new: &str| ConfigChange {
            name: "retention.ms".to_owned(),
            old: Some(old.to_owned()),
            new: new.to_owned(),
        };
        let level = Step::Level { subject: "a-value".to_owned(), from: None, to: "FULL".to_owned() };
        let register = Step::Register {
            subject: "a-value".to_owned(),
            file: "a.avsc".to_owned(),
            schema: "\"long\"".to_owned(),
        };
        let mut first = topic("match.completed", vec![created(), level, register], &[], &[]);
        first.key = Some("match_id".to_owned());
        let second = vec![
            Step::Topic(TopicStep::Configure(vec![change("604800000", "-1")])),
            Step::Topic(TopicStep::Grow { from: 3, to: 6 }),
        ];
        let told = report(vec![
            first,
            topic("players", second, &[], &["it is keyed"]),
            topic("rest", vec![], &[], &[]),
        ]);
        let expected = "\
create      match.completed, 12 partitions, replication factor 1, key match_id
            cleanup.policy = delete
            retention.ms = 2592000000 (30 days)
            compatibility of subject a-value (default) -> FULL
            register a.avsc under subject a-value
change      players
            retention.ms 604800000 (7 days) -> -1 (forever)
            partitions 3 -> 6
            Warning: it is keyed.
nothing     rest
Not in the file, and left alone: audit, billing.
5 steps to do, by `herald topics apply`.
";
        assert_eq!((told.text().as_str(), told.code()), (expected, 3));
        assert_eq!(told.json()["topics"][1]["steps"][0]["configs"]["retention.ms"]["to"], "-1");
        let nothing = report(vec![topic("rest", vec![], &[], &[])]);
        assert_eq!(nothing.code(), 0);
        assert!(nothing.text().ends_with("Nothing to do: Kafka at broker:9092 is as the file says.\n"));
    }

    #[test]
    fn an_impossible_topic_is_told_by_its_reason_alone() {
        let told = report(vec![topic("a", vec![created()], &["it has 9 partitions"], &["no"])]);
        assert_eq!(told.code(), 4);
        assert!(
            told.text().starts_with("impossible  a\n            it has 9 partitions.\nNot in"),
            "{}",
            told.text()
        );
        assert_eq!(told.json()["topics"][0]["fate"], "impossible");
    }

    #[test]
    fn times_have_words() {
        let words: Vec<String> = ["86400000", "3600000", "90000", "1500", "-1"]
            .map(|value| value_words("segment.ms", value))
            .into();
        assert_eq!(words, ["86400000 (1 day)", "3600000 (1 hour)", "90000 (90 seconds)", "1500", "-1"]);
        assert_eq!(value_words("segment.bytes", "86400000"), "86400000");
    }
}
