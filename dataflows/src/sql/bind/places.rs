//! Topics and files that a topology reads and writes: none is written twice, or read back.
//!
//! A sink into a topic that a source reads, or dead letters into one, would be read again and written again without
//! end; two sinks on one topic would overwrite each other's rows. Clusters are one where they share a bootstrap
//! server. What other topologies write is not seen here; a start looks at the topics themselves.

use std::collections::BTreeSet;

use super::option;
use crate::sql::ast::{OptionItem, Pos, Statement};
use crate::sql::diagnostics::error::Mistake;

/// Topics of this name are those in which topologies keep what is published.
const OWN: &str = "herald.progress.";

/// A topic or a file.
#[derive(Debug, PartialEq, Eq)]
enum Place<'a> {
    Topic { servers: BTreeSet<String>, topic: &'a str },
    File(&'a str),
}

/// What is done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Source,
    DeadLetters,
    Sink,
}

/// One relation or sink and its place.
struct User<'a> {
    name: &'a str,
    kind: Use,
    place: Place<'a>,
    /// Where it is named.
    pos: Pos,
}

/// What is wrong with the places of a topology.
pub(crate) fn check(statements: &[Statement]) -> Vec<Mistake> {
    let users: Vec<User<'_>> = statements.iter().flat_map(users).collect();
    let mut mistakes = Vec::new();
    for (at, user) in users.iter().enumerate() {
        if let (Use::Sink | Use::DeadLetters, Place::Topic { topic, .. }) = (user.kind, &user.place)
            && topic.starts_with(OWN)
        {
            let message =
                format!("topics named {OWN}* are those in which Herald keeps what it has published");
            mistakes.push(Mistake::new(user.pos, message).hint("name another topic"));
        }
        // Each pair once, at the one that writes, or at the later of two.
        let others = users.iter().enumerate().filter(|(other, _)| *other != at);
        let clash = others
            .filter(|(_, other)| same(&user.place, &other.place))
            .find_map(|(other, with)| clash(user, with, other < at));
        mistakes.extend(clash);
    }
    mistakes
}

/// Why `user` must not have the place of `with`.
fn clash(user: &User<'_>, with: &User<'_>, later: bool) -> Option<Mistake> {
    let place = match &user.place {
        Place::Topic { topic, .. } => format!("topic {topic}"),
        Place::File(path) => format!("file {path}"),
    };
    let (message, hint) = match (user.kind, with.kind) {
        (Use::Sink, Use::Source) => (
            format!(
                "sink {} writes to {place}, which {} reads: its output would be read again, and written again",
                user.name, with.name
            ),
            "write to another; what other views need of it they can select from the sink's view",
        ),
        (Use::DeadLetters, Use::Source) => (
            format!(
                "dead letters of {} go to {place}, which {} reads: they would be read again, and refused again",
                user.name, with.name
            ),
            "name a topic that nothing reads here, or leave dead_letter.topic out: the table herald.dead_letter holds them all the same",
        ),
        (Use::Sink, Use::Sink) if later => (
            format!(
                "sinks {} and {} both write to {place}: readers could not tell their rows apart",
                with.name, user.name
            ),
            "give each its own, or make one view of both with UNION ALL",
        ),
        (Use::DeadLetters, Use::Sink) => (
            format!("dead letters of {} go to {place}, to which sink {} writes", user.name, with.name),
            "name another topic for dead letters",
        ),
        _ => return None,
    };
    Some(Mistake::new(user.pos, message).hint(hint))
}

fn same(a: &Place<'_>, b: &Place<'_>) -> bool {
    match (a, b) {
        (Place::File(a), Place::File(b)) => a == b,
        (Place::Topic { servers, topic }, Place::Topic { servers: others, topic: other }) => {
            topic == other && !servers.is_disjoint(others)
        }
        _ => false,
    }
}

fn users(statement: &Statement) -> Vec<User<'_>> {
    let (name, with, kind) = match statement {
        Statement::Relation(create) => (&create.name.text, &create.with, Use::Source),
        Statement::Sink(create) => (&create.name.text, &create.with, Use::Sink),
        Statement::View(_) => return vec![],
    };
    let user = |kind, item: &OptionItem, place| User { name, kind, place, pos: item.pos };
    let mut users = Vec::new();
    match option(with, "connector").map(|item| item.value.as_str()) {
        Some("kafka") => {
            let read = option(with, "topic").map(|item| (kind, item));
            let letters = option(with, "dead_letter.topic").filter(|_| kind == Use::Source);
            for (kind, item) in read.into_iter().chain(letters.map(|item| (Use::DeadLetters, item))) {
                users.extend(topic(with, item).map(|place| user(kind, item, place)));
            }
        }
        Some("file") => {
            let path = option(with, "path");
            users.extend(path.map(|item| user(kind, item, Place::File(&item.value))));
        }
        _ => {}
    }
    users
}

/// The topic that an option names, on the cluster that the others name.
fn topic<'a>(with: &[OptionItem], item: &'a OptionItem) -> Option<Place<'a>> {
    let names = ["properties.bootstrap.server", "properties.bootstrap.servers"];
    let servers = names.iter().find_map(|name| option(with, name))?;
    let servers = servers.value.split(',').map(|server| server.trim().to_ascii_lowercase());
    Some(Place::Topic { servers: servers.filter(|server| !server.is_empty()).collect(), topic: &item.value })
}
