//! Edits of tables and sources that need records which the state does not keep: they are refused in words, by
//! `herald plan` as by `herald run`, and leave the state to the edition that made it.

use std::fs;

use super::draw::Draw;
use super::feed::Feed;
use super::plan::OBSTACLE;
use super::query::{Filter, Query, Rel, Table};
use super::scene::{NEW, OLD, PATIENCE, Scene};
use super::topology::{Format, Sink, Topology, View};
use crate::child;

/// An edit of the text, and the table or source that the refusal names.
struct Case {
    what: &'static str,
    from: &'static str,
    to: &'static str,
    names: &'static str,
}

const CASES: [Case; 8] = [
    Case { what: "a column more", from: "score BIGINT", to: "score BIGINT, age BIGINT", names: "users" },
    Case { what: "a column less", from: "name VARCHAR, team", to: "team", names: "users" },
    Case { what: "another type", from: "score BIGINT", to: "score DOUBLE", names: "users" },
    Case {
        what: "NOT NULL",
        from: "team VARCHAR, score",
        to: "team VARCHAR NOT NULL, score",
        names: "users",
    },
    Case { what: "another constraint", from: "points < 1000", to: "points < 9000", names: "games" },
    Case { what: "no constraint", from: "CONSTRAINT sane CHECK (points < 1000), ", to: "", names: "games" },
    Case { what: "no version", from: " WITH VERSION COLUMN (rev)", to: "", names: "games" },
    Case {
        what: "another watermark",
        from: "INTERVAL '5 minutes'",
        to: "INTERVAL '9 minutes'",
        names: "clicks",
    },
];

/// A view of each table, with a sink of it.
fn topology() -> Topology {
    let mut topology =
        Topology { tables: vec![Table::Users, Table::Games, Table::Clicks], ..Topology::default() };
    let picks = [
        (Table::Users, vec!["id", "score"], "score", Format::Upsert),
        (Table::Games, vec!["id", "points"], "points", Format::Upsert),
        (Table::Clicks, vec!["page", "n"], "n", Format::Plain),
    ];
    for (table, columns, filtered, format) in picks {
        let filter = Some(Filter { column: filtered.to_owned(), op: ">", constant: 7 });
        let columns = columns.into_iter().map(str::to_owned).collect();
        let query = Query::Pick { from: Rel::Table(table), columns, more: None, filter };
        let (view, sink) = (topology.next_id(), topology.next_id());
        topology.views.push(View {
            id: view,
            name: format!("of_{}", table.name()),
            query,
            materialized: true,
        });
        let key = if format == Format::Plain { vec![] } else { vec!["id".to_owned()] };
        topology.sinks.push(Sink { id: sink, name: format!("{}_out", table.name()), view, format, key });
    }
    topology
}

/// Asserts that `check` accepts an edition, and that `run` and `plan` refuse it over the state in these words.
fn assert_refused(scene: &Scene, what: &str, (text, words): (&str, &[&str])) {
    fs::write(scene.edited.join(NEW), text).expect("a file");
    let checked = child::herald(&scene.edited, &["check", NEW], &[], PATIENCE);
    assert_eq!(checked.code, Some(0), "{what}: {}{}", checked.stdout, checked.stderr);
    let refused = scene.run(NEW, 1, "");
    assert_eq!(refused.code, Some(2), "{what}: {}\n{}", refused.stdout, refused.stderr);
    let planned = scene.plan();
    assert_eq!(planned.code, Some(OBSTACLE), "{what}: {}\n{}", planned.stdout, planned.stderr);
    let planned = format!("{}{}", planned.stdout, planned.stderr);
    for word in words {
        assert!(refused.stderr.contains(word), "{what}: run does not say {word}:\n{}", refused.stderr);
        assert!(planned.contains(word), "{what}: plan does not say {word}:\n{planned}");
    }
}

#[test]
fn edits_that_need_gone_records_are_refused_in_words() {
    let (old, mut draw) = (topology(), Draw::new(3));
    let feeds: Vec<Feed> = Table::ALL.map(|table| Feed::new(&mut draw, table)).into();
    let scene = Scene::new(&old, &old, &feeds);
    Scene::ended_well("the edition", scene.run(OLD, 1, "")).expect("a run");
    let sent = scene.outputs(&Default::default());
    assert!(sent.len() == 3 && sent.values().all(|text| !text.is_empty()), "{sent:?}");
    for Case { what, from, to, names } in CASES {
        let text = old.sql();
        assert_eq!(text.matches(from).count(), 1, "{what}");
        assert_refused(&scene, what, (&text.replace(from, to), &[names, "--allow-gap"]));
    }
    let swapped = Topology { sinks: old.sinks.iter().rev().cloned().collect(), ..old.clone() };
    assert_refused(&scene, "files in another order", (&swapped.sql(), &["clicks_out", "order"]));
    assert_eq!(scene.outputs(&Default::default()), sent, "a refused edit sends nothing");
    Scene::ended_well("the edition again", scene.run(OLD, 1, "")).expect("the old edition goes on");
    assert_eq!(scene.outputs(&Default::default()), sent);
    scene.remove();
}
