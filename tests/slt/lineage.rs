//! Lineage is sound: a column of a view that changes when the values of a source's column change is listed as depending
//! on it.
//!
//! The topologies are those of the scripts, with a view for every query, over all rows that a script feeds; the one that
//! has every operator; and the shipped one. Each runs once as it is, and again with the values at one place of one source
//! changed: taken from other records, NULL, or another value. A column whose values changed must be listed. What is
//! listed and was not seen to change is fine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use dataflows::plan::Plan;
use dataflows::plan::explain::lineage::{Lineage, Place, Step};
use schemas::is_jsonb;
use serde_json::{Value, json};
use sqllogictest::{DefaultColumnType, Record};

use crate::answer::{Answer, run};
use crate::database::{Fed, fed_rows};
use crate::engine::compiled;

/// A topology with what it reads.
struct Case {
    name: String,
    text: String,
    fed: Vec<Fed>,
}

/// The topology of a script with a view for each query that can be planned.
fn of_script(script: &Path) -> Case {
    let mut case = Case { name: script.display().to_string(), text: String::new(), fed: Vec::new() };
    let mut queries = Vec::new();
    for record in sqllogictest::parse_file::<DefaultColumnType>(script).unwrap() {
        match record {
            Record::Statement { sql, .. } if sql.starts_with("INSERT") => {
                let Ok(plan) = compiled(&case.text) else { continue };
                // One that is refused is a test of its own.
                case.fed.extend(fed_rows(&plan, &sql));
            }
            Record::Statement { sql, .. } => {
                let all = format!("{}{};\n", case.text, sql.trim_end_matches(';'));
                if compiled(&all).is_ok() {
                    case.text = all;
                }
            }
            Record::Query { sql, .. } if !crate::not_yet(&sql) => queries.push(sql),
            _ => {}
        }
    }
    let declared = case.text.clone();
    for (at, query) in queries.iter().enumerate() {
        let view = format!("CREATE MATERIALIZED VIEW answer_{at} AS\n{query};\n");
        if compiled(&format!("{declared}{view}")).is_ok() {
            case.text.push_str(&view);
        }
    }
    case
}

const ROWS_OF_EVERY: &[&str] = &[
    "INSERT INTO players VALUES ('ann', 'EU', 'bob'), ('bob', 'NA', 'cid'), ('cid', 'EU', NULL), ('dan', 'KR', 'ann')",
    r#"INSERT INTO games (id, player, champion, points, tags, moves, rating, revision, ended_at, note) VALUES
       ('g1', 'ann', 1, 10, '["a", "long"]', '[{"kind": "go", "at": 1, "place": {"x": 1, "y": 2}}]', '{"before": 5, "after": 9}', 1, '2026-01-01T10:00:00Z', 'n'),
       ('g2', 'bob', 2, 60, '["bb"]', '[{"kind": "wait", "at": 2, "place": {"x": 3, "y": 4}}, {"kind": "go", "at": 3, "place": {"x": 5, "y": 6}}]', '{"before": 6, "after": 7}', 2, '2026-01-01T10:30:00Z', NULL),
       ('g3', 'ann', 3, 60, '[]', '[]', '{"before": 7, "after": 3}', 3, '2026-01-01T11:00:00Z', 'm'),
       ('g3', 'ann', 0, 70, '["c"]', NULL, NULL, 4, '2026-01-01T11:10:00Z', 'm'),
       ('g4', 'eve', 4, 2000, NULL, NULL, NULL, 1, '2026-01-01T11:20:00Z', NULL),
       ('g5', 'eve', 4, 20, NULL, '[{"kind": "go", "at": 9, "place": null}]', '{"before": 1, "after": 2}', 1, '2026-01-01T12:00:00Z', NULL)"#,
    "INSERT INTO shots VALUES ('ann', 5, '2026-01-01T09:59:00Z'), ('ann', 2, '2026-01-01T10:40:00Z'),
       ('bob', 12, '2026-01-01T10:50:00Z'), ('cid', 4, '2026-01-01T11:10:00Z'), ('ann', 30, '2026-01-01T12:30:00Z'),
       ('bob', 7, '2026-01-01T12:40:00Z'), ('cid', 1, '2026-01-01T09:00:00Z')",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The topology that has every operator.
fn every() -> Case {
    let text = std::fs::read_to_string(root().join("dataflows/tests/explain/lineage/every.sql")).unwrap();
    let plan = compiled(&text).unwrap();
    let fed = ROWS_OF_EVERY.iter().map(|sql| fed_rows(&plan, sql).unwrap()).collect();
    Case { name: "every operator".to_owned(), text, fed }
}

/// The shipped topology over a part of the matches of the tests.
fn matches() -> Case {
    let text = std::fs::read_to_string(root().join("dataflows/topologies/match_analytics.sql")).unwrap();
    let plan = compiled(&text).unwrap();
    let mut fed = Vec::new();
    for (source, file, most) in [("matches", "matches.jsonl", 12), ("champions", "champions.jsonl", 200)] {
        let lines = std::fs::read_to_string(root().join("tests/fixtures").join(file)).unwrap();
        let fields = &plan.sources.iter().find(|known| known.name == source).unwrap().decoded;
        let mut rows = Vec::new();
        for line in lines.lines().take(most) {
            let record: BTreeMap<String, Value> = serde_json::from_str(line).unwrap();
            let named: BTreeMap<String, Value> =
                record.into_iter().map(|(name, value)| (name.to_lowercase(), lower_names(value))).collect();
            rows.push(
                fields.fields().iter().map(|f| named.get(f.name()).cloned().unwrap_or_default()).collect(),
            );
        }
        fed.push(Fed { source: source.to_owned(), rows });
    }
    Case { name: "match_analytics.sql".to_owned(), text, fed }
}

/// The value with the names of its fields in lower case.
fn lower_names(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (name.to_lowercase(), lower_names(value))).collect()
        }
        Value::Array(items) => items.into_iter().map(lower_names).collect(),
        other => other,
    }
}

/// The places of values in a column of some type, each with its type: lists count as values, too.
fn leaves(field: &Field, path: &[Step], out: &mut Vec<(Vec<Step>, Field)>) {
    let within = |step: Step| path.iter().cloned().chain([step]).collect::<Vec<_>>();
    match field.data_type() {
        DataType::Struct(fields) => {
            for field in fields {
                leaves(field, &within(Step::Field(field.name().clone())), out);
            }
        }
        DataType::List(item) => {
            out.push((path.to_vec(), field.clone()));
            leaves(item, &within(Step::Items), out);
        }
        _ => out.push((path.to_vec(), field.clone())),
    }
}

/// Calls `by` with every value at a place.
fn visit(value: &mut Value, path: &[Step], by: &mut dyn FnMut(&mut Value)) {
    match (path.split_first(), value) {
        (None, value) => by(value),
        (Some((Step::Field(name), rest)), Value::Object(fields)) => {
            if let Some(value) = fields.get_mut(name) {
                visit(value, rest, by);
            }
        }
        (Some((Step::Items, rest)), Value::Array(items)) => {
            for item in items {
                visit(item, rest, by);
            }
        }
        // NULL around the place.
        _ => {}
    }
}

/// Another value of the type.
fn other_value(value: &Value, field: &Field) -> Value {
    match (value, field.data_type()) {
        // Towards zero: it must fit the type.
        (Value::Number(number), _) if number.is_i64() => match number.as_i64().unwrap() {
            n @ 1.. => json!(n - 1),
            n => json!(n + 1),
        },
        (Value::Number(number), _) => json!(number.as_f64().unwrap() / 2.0),
        (Value::Bool(is), _) => json!(!is),
        (Value::String(text), DataType::Utf8) if !is_jsonb(field) => json!(format!("{text}x")),
        (Value::Array(items), DataType::List(_)) => items.iter().skip(1).cloned().collect(),
        (other, _) => other.clone(),
    }
}

/// The rows with the values at a place changed, in one of several ways.
fn changed(fed: &[Fed], (plan, place): (&Plan, &Place), field: &Field, way: usize) -> Vec<Fed> {
    let of = &plan.sources[place.source];
    let (source, path) = (of.name.as_str(), place.path.as_slice());
    let column = of.decoded.index_of(of.schema.field(place.column).name()).unwrap();
    let mut fed = fed.to_vec();
    let mut values = Vec::new();
    for of in fed.iter_mut().filter(|of| of.source == source) {
        for row in &mut of.rows {
            visit(&mut row[column], path, &mut |value| values.push(value.clone()));
        }
    }
    let mut at = 0;
    for of in fed.iter_mut().filter(|of| of.source == source) {
        for row in &mut of.rows {
            visit(&mut row[column], path, &mut |value| {
                let next = values[(at + 1) % values.len()].clone();
                *value = match (at + way) % 3 {
                    0 => other_value(value, field),
                    1 => next,
                    _ => Value::Null,
                };
                at += 1;
            });
        }
    }
    fed
}

/// The values of each column of each view, sorted.
fn columns(answers: &[Answer]) -> Vec<Vec<Vec<String>>> {
    let of_view = |answer: &Answer| {
        (0..answer.fields.len())
            .map(|at| {
                let mut values: Vec<String> = answer.rows.iter().map(|row| row[at].to_string()).collect();
                values.sort_unstable();
                values
            })
            .collect()
    };
    answers.iter().map(of_view).collect()
}

/// Numbers of dependencies that were seen and of those that are listed, and those that are missing.
#[derive(Default)]
struct Found {
    seen: usize,
    listed: usize,
    missing: Vec<String>,
}

/// Sources in groups, none of which has two that a view reads together: their values are changed at once.
fn groups(plan: &Plan) -> Vec<Vec<usize>> {
    let read: Vec<BTreeSet<usize>> = plan.views.iter().map(|view| plan.sources_of(view.rel)).collect();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for source in 0..plan.sources.len() {
        let apart = |group: &&mut Vec<usize>| {
            group.iter().all(|other| !read.iter().any(|of| of.contains(&source) && of.contains(other)))
        };
        match groups.iter_mut().find(apart) {
            Some(group) => group.push(source),
            None => groups.push(vec![source]),
        }
    }
    groups
}

/// The places of a source's values, each with its type.
fn places(plan: &Plan, source: usize) -> Vec<(Place, Field)> {
    let of = &plan.sources[source];
    let mut all = Vec::new();
    for field in of.decoded.fields() {
        let mut within = Vec::new();
        leaves(field, &[], &mut within);
        let column = of.schema.index_of(field.name()).unwrap();
        all.extend(within.into_iter().map(|(path, field)| (Place { source, column, path }, field)));
    }
    all
}

/// A changed place of each source of a group, and the views' columns before and after.
struct Changed<'c> {
    places: Vec<Place>,
    before: &'c [Vec<Vec<String>>],
    after: &'c [Vec<Vec<String>>],
}

/// A topology with its lineage, as it is judged.
struct Subject {
    name: String,
    plan: Arc<Plan>,
    lineage: Lineage,
}

/// Changes the values at every place of a topology, in some ways each, and shows what changes.
fn perturb(case: &Case, ways: usize, mut judge: impl FnMut(&Subject, &Changed<'_>)) {
    let plan = Arc::new(compiled(&case.text).unwrap_or_else(|why| panic!("{}: {why}", case.name)));
    let subject = Subject { name: case.name.clone(), lineage: Lineage::of(&plan), plan: Arc::clone(&plan) };
    let before = columns(&run(&plan, &case.fed, plan.views.len(), 1));
    for group in groups(&plan) {
        let all: Vec<Vec<(Place, Field)>> = group.iter().map(|source| places(&plan, *source)).collect();
        let most = all.iter().map(Vec::len).max().unwrap_or(0);
        for (at, way) in (0..most).flat_map(|at| (0..ways).map(move |way| (at, way))) {
            let (mut fed, mut changes) = (case.fed.clone(), Vec::new());
            for (place, field) in all.iter().filter_map(|places| places.get(at)) {
                fed = changed(&fed, (&plan, place), field, way);
                changes.push(place.clone());
            }
            let after = columns(&run(&plan, &fed, plan.views.len(), 1));
            judge(&subject, &Changed { places: changes, before: &before, after: &after });
        }
    }
}

/// Compares what changed with what is listed.
fn compare(
    subject: &Subject,
    changes: &Changed<'_>,
    listed: &impl Fn(&Lineage, usize, usize, &Place) -> bool,
    found: &mut Found,
) {
    let Subject { name, plan, lineage } = subject;
    for (at, view) in plan.views.iter().enumerate() {
        let read = plan.sources_of(view.rel);
        // A view that reads none of the sources must not change either.
        let place = changes.places.iter().find(|place| read.contains(&place.source));
        for (column, field) in plan.rels[view.rel].schema.fields().iter().enumerate() {
            let listed = place.is_some_and(|place| listed(lineage, view.rel, column, place));
            let (before, after) = (&changes.before[at][column], &changes.after[at][column]);
            found.listed += usize::from(listed);
            found.seen += usize::from(before != after);
            if before != after && !listed {
                found.missing.push(format!(
                    "{}: {}.{} changes with {} and is not listed: {before:?} is {after:?}\n{}",
                    name,
                    view.name,
                    field.name(),
                    place.map_or("nothing that it reads".to_owned(), |place| place.text(plan)),
                    view.definition
                ));
            }
        }
    }
}

impl Found {
    fn assert_sound(&self, least: usize) {
        println!("{} of {} listed dependencies were seen", self.seen, self.listed);
        assert!(self.missing.is_empty(), "{} are missing:\n{}", self.missing.len(), self.missing.join("\n"));
        assert!(self.seen > least, "only {} changes were seen", self.seen);
    }
}

/// The oracle finds what is missing, too: values without conditions, and conditions without values.
#[test]
fn whatever_changes_with_a_column_is_listed() {
    let (mut whole, mut values, mut conditions) = (Found::default(), Found::default(), Found::default());
    let by_values = |lineage: &Lineage, rel: usize, column: usize, place: &Place| {
        lineage.rels[rel].columns[column].values.contains_key(place)
    };
    let by_conditions = |lineage: &Lineage, rel: usize, column: usize, place: &Place| {
        lineage.conditions_of(rel, column).iter().any(|id| lineage.conditions[*id].reads(place))
    };
    for case in [every(), matches()] {
        perturb(&case, 2, |subject, changes| {
            compare(subject, changes, &Lineage::depends, &mut whole);
            compare(subject, changes, &by_values, &mut values);
            compare(subject, changes, &by_conditions, &mut conditions);
        });
    }
    whole.assert_sound(100);
    let lacks = |found: &Found, told: &str| found.missing.iter().any(|missing| missing.contains(told));
    assert!(lacks(&values, "known.id changes with players.region"), "{:#?}", values.missing);
    assert!(lacks(&conditions, "full_join.region changes with players.region"), "{:#?}", conditions.missing);
}

#[test]
fn whatever_changes_with_a_column_of_a_script_is_listed() {
    let mut found = Found::default();
    for script in crate::scripts() {
        let began = std::time::Instant::now();
        perturb(&of_script(&script), 1, |subject, changes| {
            compare(subject, changes, &Lineage::depends, &mut found);
        });
        println!("{}: {:?}", script.display(), began.elapsed());
    }
    found.assert_sound(1000);
}
