//! Tests of lineage: frozen texts, the impact of columns, and identity columns.
//!
//! The lineage of `tests/explain/lineage/every.sql` and of the shipped topology is frozen in `*.txt` beside it; with
//! HERALD_UPDATE=1 set, differing texts are written anew, to be reviewed before they are committed. That lineage is
//! sound is shown by `tests/slt/lineage.rs`, which changes values and looks at results.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{Step, explain_lineage, identity_columns};
use crate::plan::explain::Form;
use crate::plan::{JoinKind, Op, Plan, When};
use crate::sql::{SqlFile, compile};

fn compiled(text: &str) -> Plan {
    let files = [SqlFile { name: "t.sql".into(), text: text.into() }];
    let no_file = |_: &str| Err(std::io::Error::from(std::io::ErrorKind::NotFound));
    compile(&files, &|_| None, &no_file, &|_| Ok(None)).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn every() -> Plan {
    compiled(&fs::read_to_string(root().join("tests/explain/lineage/every.sql")).unwrap())
}

fn matches() -> Plan {
    compiled(&fs::read_to_string(root().join("topologies/match_analytics.sql")).unwrap())
}

fn told(plan: &Plan, asked: &str) -> String {
    explain_lineage(plan, Some(asked), Form::Text).unwrap()
}

#[test]
fn lineage_is_as_frozen() {
    let asked =
        ["games.rating['after']", "games.note", "games", "matches.duration_s", "player_alltime.kills"];
    for (name, plan) in [("every", every()), ("match_analytics", matches())] {
        let mut found = explain_lineage(&plan, None, Form::Text).unwrap();
        for asked in asked {
            if let Ok(text) = explain_lineage(&plan, Some(asked), Form::Text) {
                found.push_str(&format!("\n\n--lineage {asked}\n\n{text}"));
            }
        }
        let too_long: Vec<&str> =
            found.lines().filter(|line| line.chars().count() > 80 && line.trim().contains(' ')).collect();
        assert!(too_long.is_empty(), "{too_long:#?}");
        let frozen = root().join(format!("tests/explain/lineage/{name}.txt"));
        if std::env::var_os("HERALD_UPDATE").is_some() {
            fs::write(&frozen, &found).unwrap();
        }
        assert_eq!(found, fs::read_to_string(&frozen).unwrap_or_default(), "{}", frozen.display());
    }
}

/// The name of an operator; kinds of joins are operators of their own.
fn operator(op: &Op) -> &'static str {
    match op {
        Op::Source(_) => "Source",
        Op::Values(_) => "Values",
        Op::Filter { .. } => "Filter",
        Op::Project { .. } => "Project",
        Op::Unnest { .. } => "Unnest",
        Op::Union { .. } => "Union",
        Op::Distinct { .. } => "Distinct",
        Op::TemporalFilter { .. } => "TemporalFilter",
        Op::EmitOnClose { .. } => "EmitOnClose",
        Op::Aggregate { .. } => "Aggregate",
        Op::GroupRows { .. } => "GroupRows",
        Op::Window { .. } => "Window",
        Op::Join { kind: JoinKind::Inner, .. } => "Join",
        Op::Join { kind: JoinKind::Left, .. } => "LeftJoin",
        Op::Join { kind: JoinKind::Full, .. } => "FullJoin",
        Op::Join { kind: JoinKind::Semi, .. } => "SemiJoin",
        Op::Join { kind: JoinKind::Anti, .. } => "AntiJoin",
        Op::TemporalJoin { when: When::ProcTime, .. } => "LookupJoin",
        Op::TemporalJoin { when: When::AsOf { .. }, .. } => "AsOfJoin",
        Op::Recursive(_) => "Recursive",
        Op::Given(_) => "Given",
    }
}

#[test]
fn the_frozen_topology_has_every_operator() {
    let mut names = BTreeSet::new();
    for rel in &every().rels {
        names.insert(operator(&rel.op));
        if let Op::Recursive(recursive) = &rel.op {
            names.extend(recursive.body.rels.iter().map(|rel| operator(&rel.op)));
        }
    }
    assert_eq!(names.len(), 21, "{names:?}");
}

#[test]
fn the_impact_of_a_column_is_summed_up() {
    let plan = matches();
    let text = told(&plan, "matches.duration_s");
    assert!(text.ends_with("2 views, 2 sinks depend on it.\n"), "{text}");
    let text = told(&plan, "matches.event_id");
    assert!(text.ends_with("Nothing reads it: it could be left out.\n"), "{text}");
    let text = told(&plan, "champions.name");
    assert!(text.contains("champion_name"), "{text}");
    assert!(text.ends_with("1 view, 1 sink depend on it.\n"), "{text}");
    // A LEFT JOIN by the key of the right decides nothing about the left.
    assert!(!told(&plan, "champions.champion_id").contains("games"));
    // Of a list only the number of items decides the rows.
    let kills = told(&plan, "matches.match.info.participants.kills");
    assert!(kills.contains("max_kills") && !kills.contains("rows by"), "{kills}");
    assert_eq!(kills, told(&plan, "MATCHES.\"match\"['info']['participants'][]['kills']"));
}

#[test]
fn columns_that_hold_a_place_unchanged_are_found() {
    let plan = matches();
    let field = |name: &str| Step::Field(name.to_owned());
    let path = [field("info"), field("participants"), Step::Items, field("puuid")];
    let found = identity_columns(&plan, "matches", ("match", &path));
    let is = |view: &str, column: &str| (view.to_owned(), column.to_owned());
    assert_eq!(found, [is("player_alltime", "puuid"), is("player_alltime_out", "puuid")]);
    // By way of a generated column.
    let path = [field("info"), field("platformid")];
    let found = identity_columns(&plan, "matches", ("match", &path));
    assert_eq!(found, [is("champion_hourly", "platform"), is("champion_hourly_out", "platform")]);
    assert_eq!(identity_columns(&plan, "matches", ("platform", &[])), found);
    assert!(identity_columns(&plan, "matches", ("ended_at", &[])).is_empty());
    assert!(identity_columns(&plan, "nothing", ("ended_at", &[])).is_empty());
    let every = every();
    let found = identity_columns(&every, "players", ("player", &[]));
    for view in ["left_join", "zones", "chains"] {
        assert!(found.contains(&is(view, "player")), "{view}: {found:?}");
    }
    // One branch of a UNION copies.
    let found = identity_columns(&every, "shots", ("power", &[]));
    assert!(found.contains(&is("seen", "power")) && !found.contains(&is("running", "total")), "{found:?}");
}

#[test]
fn a_name_that_is_not_there_is_told() {
    let plan = matches();
    for (asked, said) in [
        ("nothing", "is called nothing. There is champion_hourly"),
        ("matches.nothing", "matches has no column nothing. Its columns are event_id"),
        ("matches.match.nothing", "match has no field nothing. Its fields are metadata, info"),
        ("matches.ended_at[]", "ended_at is no list"),
        ("player_alltime.kills.x", "are told as a whole"),
        ("matches[", "is no column"),
    ] {
        let told = explain_lineage(&plan, Some(asked), Form::Text).unwrap_err();
        assert!(told.contains(said), "{told}");
    }
}

#[test]
fn every_form_tells_every_column() {
    let plan = every();
    let json: serde_json::Value =
        serde_json::from_str(&explain_lineage(&plan, None, Form::Json).unwrap()).unwrap();
    let dot = explain_lineage(&plan, None, Form::Dot).unwrap();
    for (at, view) in plan.views.iter().enumerate() {
        let names: Vec<&String> = plan.rels[view.rel].schema.fields().iter().map(|f| f.name()).collect();
        let columns = json["views"][at]["columns"].as_array().unwrap();
        assert_eq!(columns.iter().map(|c| c["name"].as_str().unwrap()).collect::<Vec<_>>(), names);
        assert!(
            dot.contains(&format!("rows of {}\"", view.name)) || dot.contains(&format!("\"{}.", view.name))
        );
    }
    let impact: serde_json::Value =
        serde_json::from_str(&explain_lineage(&plan, Some("games.points"), Form::Json).unwrap()).unwrap();
    assert_eq!(impact["source"], "games");
    assert!(impact["views"].as_array().unwrap().iter().any(|view| view["name"] == "above"));
    assert!(explain_lineage(&plan, Some("games.points"), Form::Dot).unwrap().contains("games.points"));
}

/// Records of sinks carry the version: it must not change with a release.
#[test]
fn the_version_of_a_text_goes_by_its_meaning() {
    let version = |text: &str| compiled(text).version;
    let source = "CREATE SOURCE s (a INT, b INT) WITH (connector = 'kafka', topic = 's', properties.bootstrap.server = 'x:1') \
                  FORMAT PLAIN ENCODE JSON;";
    let base = version(&format!("{source} CREATE MATERIALIZED VIEW v AS SELECT a FROM s WHERE b > 1;"));
    assert_eq!(base, "8c93cc2ef619");
    let moved = source.replace("x:1", "y:2");
    assert_eq!(
        base,
        version(&format!("-- again\n{moved}\ncreate materialized view V as\n  select A from S where B > 1;"))
    );
    assert_ne!(
        base,
        version(&format!("{source} CREATE MATERIALIZED VIEW v AS SELECT a FROM s WHERE b > 2;"))
    );
    assert_ne!(
        base,
        version(&format!("{source} CREATE MATERIALIZED VIEW w AS SELECT a FROM s WHERE b > 1;"))
    );
    let kept = base.len() == 12 && base.chars().all(|c| c.is_ascii_hexdigit());
    assert!(kept, "{base}");
}
