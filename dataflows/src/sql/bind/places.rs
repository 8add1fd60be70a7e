//! Check that a topology writes no topic or file twice, and none that it reads.
//!
//! A sink into a topic that a source reads, or dead letters into one, would be read again and written again
//! without end; two sinks on one topic would overwrite each other's rows. Clusters are the same if they share
//! a bootstrap server. Dead letters of a source that is not on Kafka go to the cluster of the sinks, and are refused
//! where there is none. Other topologies are not visible here; a start checks the topics themselves.

use std::collections::BTreeSet;

use super::find_option;
use crate::mistake::{Mistake, Pos};
use crate::sql::parse::ast::{OptionItem, Statement};

/// Prefix of the topics in which topologies record their published progress.
const PROGRESS_TOPIC_PREFIX: &str = "herald.progress.";

/// Topic or file.
#[derive(Debug, PartialEq, Eq)]
enum TopicOrFile<'a> {
    Topic { servers: BTreeSet<String>, topic: &'a str },
    File(&'a str),
}

/// Use of a topic or file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PlaceUse {
    Source,
    DeadLetters,
    Sink,
}

/// Relation or sink with the topic or file that it uses.
struct PlaceUser<'a> {
    name: &'a str,
    kind: PlaceUse,
    place: TopicOrFile<'a>,
    /// Position of the option that names it.
    pos: Pos,
}

/// Reports conflicting uses of topics and files.
pub(crate) fn check_conflicts(statements: &[Statement]) -> Vec<Mistake> {
    let cluster = output_cluster(statements);
    let mut users: Vec<PlaceUser<'_>> = Vec::new();
    for statement in statements {
        users.extend(places_of(statement, cluster.as_ref()));
    }
    let mut mistakes = Vec::new();
    for (at, user) in users.iter().enumerate() {
        if let (PlaceUse::Sink | PlaceUse::DeadLetters, TopicOrFile::Topic { topic, .. }) =
            (user.kind, &user.place)
            && topic.starts_with(PROGRESS_TOPIC_PREFIX)
        {
            let message = format!(
                "topics named {PROGRESS_TOPIC_PREFIX}* are those in which Herald keeps what it has published"
            );
            mistakes.push(Mistake::new(user.pos, message).hint("name another topic"));
        }
        mistakes.extend(first_conflict(&users, at));
    }
    mistakes
}

/// Reports dead letters that have no cluster to go to. All statements of the topology must be there.
pub(crate) fn dead_letters_nowhere(statements: &[Statement]) -> Vec<Mistake> {
    if statements.iter().any(writes_to_kafka) {
        return Vec::new();
    }
    statements.iter().filter_map(refuse_dead_letters).collect()
}

/// First conflict of the user at position `at` with another. A pair is reported once: at the writer, or at
/// the later of two writers.
fn first_conflict(users: &[PlaceUser<'_>], at: usize) -> Option<Mistake> {
    let user = &users[at];
    for (other, with) in users.iter().enumerate() {
        if other != at
            && is_same_place(&user.place, &with.place)
            && let Some(mistake) = find_conflict(user, with, other < at)
        {
            return Some(mistake);
        }
    }
    None
}

/// Mistake if `user` must not share a topic or file with `with`; `later` if it is the later of the two.
fn find_conflict(user: &PlaceUser<'_>, with: &PlaceUser<'_>, later: bool) -> Option<Mistake> {
    let place = match &user.place {
        TopicOrFile::Topic { topic, .. } => format!("topic {topic}"),
        TopicOrFile::File(path) => format!("file {path}"),
    };
    let (message, hint) = match (user.kind, with.kind) {
        (PlaceUse::Sink, PlaceUse::Source) => (
            format!(
                "sink {} writes to {place}, which {} reads: its output would be read again, and written again",
                user.name, with.name
            ),
            "write to another; what other views need of it they can select from the sink's view",
        ),
        (PlaceUse::DeadLetters, PlaceUse::Source) => (
            format!(
                "dead letters of {} go to {place}, which {} reads: they would be read again, and refused again",
                user.name, with.name
            ),
            "name a topic that nothing reads here, or leave dead_letter.topic out: the table herald.dead_letter holds them all the same",
        ),
        (PlaceUse::Sink, PlaceUse::Sink) if later => (
            format!(
                "sinks {} and {} both write to {place}: readers could not tell their rows apart",
                with.name, user.name
            ),
            "give each its own, or make one view of both with UNION ALL",
        ),
        (PlaceUse::DeadLetters, PlaceUse::Sink) => (
            format!("dead letters of {} go to {place}, to which sink {} writes", user.name, with.name),
            "name another topic for dead letters",
        ),
        _ => return None,
    };
    Some(Mistake::new(user.pos, message).hint(hint))
}

/// Tells whether two topics or files are the same.
fn is_same_place(a: &TopicOrFile<'_>, b: &TopicOrFile<'_>) -> bool {
    match (a, b) {
        (TopicOrFile::File(a), TopicOrFile::File(b)) => a == b,
        (TopicOrFile::Topic { servers, topic }, TopicOrFile::Topic { servers: others, topic: other }) => {
            topic == other && !servers.is_disjoint(others)
        }
        _ => false,
    }
}

/// Uses of topics and files in a statement; `cluster` is that of the topology's output.
fn places_of<'a>(statement: &'a Statement, cluster: Option<&BTreeSet<String>>) -> Vec<PlaceUser<'a>> {
    let (name, with, kind) = match statement {
        Statement::Relation(create) => (&create.name.text, &create.with, PlaceUse::Source),
        Statement::Sink(create) => (&create.name.text, &create.with, PlaceUse::Sink),
        Statement::View(_) | Statement::Declared(_) | Statement::Insert(_) | Statement::Index(_) => {
            return vec![];
        }
    };
    let on_kafka = is_on_kafka(with);
    let own = if on_kafka { bootstrap_servers(with) } else { None };
    let mut users = Vec::new();
    if let (Some(servers), Some(item)) = (own.clone(), find_option(with, "topic")) {
        let place = TopicOrFile::Topic { servers, topic: &item.value };
        users.push(PlaceUser { name, kind, place, pos: item.pos });
    }
    if let Some(item) = find_option(with, "path")
        && find_connector(with) == Some("file")
    {
        users.push(PlaceUser { name, kind, place: TopicOrFile::File(&item.value), pos: item.pos });
    }
    let cluster = if on_kafka { own } else { cluster.cloned() };
    if let (Some(servers), Some(item)) = (cluster, dead_letter_topic(statement)) {
        let place = TopicOrFile::Topic { servers, topic: &item.value };
        users.push(PlaceUser { name, kind: PlaceUse::DeadLetters, place, pos: item.pos });
    }
    users
}

/// Connector that the options name.
fn find_connector(with: &[OptionItem]) -> Option<&str> {
    find_option(with, "connector").map(|item| item.value.as_str())
}

/// Tells whether options are those of the connector `kafka`.
fn is_on_kafka(with: &[OptionItem]) -> bool {
    find_connector(with) == Some("kafka")
}

/// Bootstrap servers of the cluster that the options name.
fn bootstrap_servers(with: &[OptionItem]) -> Option<BTreeSet<String>> {
    let names = ["properties.bootstrap.server", "properties.bootstrap.servers"];
    let servers = names.iter().find_map(|name| find_option(with, name))?;
    let servers = servers.value.split(',').map(str::trim).filter(|server| !server.is_empty());
    Some(servers.map(str::to_ascii_lowercase).collect())
}

/// Topic of a source's dead letters.
fn dead_letter_topic(statement: &Statement) -> Option<&OptionItem> {
    match statement {
        Statement::Relation(create) => find_option(&create.with, "dead_letter.topic"),
        _ => None,
    }
}

/// Tells whether a statement writes to Kafka: a sink, or the dead letters of a source there.
fn writes_to_kafka(statement: &Statement) -> bool {
    match statement {
        Statement::Relation(create) => is_on_kafka(&create.with) && dead_letter_topic(statement).is_some(),
        Statement::Sink(create) => is_on_kafka(&create.with),
        _ => false,
    }
}

/// Bootstrap servers of the cluster that takes sinks and dead letters.
fn output_cluster(statements: &[Statement]) -> Option<BTreeSet<String>> {
    statements.iter().find_map(output_servers)
}

/// Bootstrap servers to which a statement writes; None if it does not write to Kafka.
fn output_servers(statement: &Statement) -> Option<BTreeSet<String>> {
    if !writes_to_kafka(statement) {
        return None;
    }
    match statement {
        Statement::Relation(create) => bootstrap_servers(&create.with),
        Statement::Sink(create) => bootstrap_servers(&create.with),
        _ => None,
    }
}

/// Refusal of the topic of a source's dead letters in a topology that writes nothing to Kafka.
fn refuse_dead_letters(statement: &Statement) -> Option<Mistake> {
    let item = dead_letter_topic(statement)?;
    let message =
        format!("dead letters go to topic {}, but this topology writes nothing to Kafka", item.value);
    Some(Mistake::new(item.pos, message).hint(
        "leave dead_letter.topic out: the table herald.dead_letter holds rejected records all the same",
    ))
}
