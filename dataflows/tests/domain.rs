//! The match domain as it is shipped: a further game is one file more, and no other file knows of a game's own tables.
//! Its sinks to topics of events have the fields of the event's schema, and the topic layout has the topics as they
//! write them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use arrow::datatypes::Field;
use dataflows::plan::formats::Format;
use dataflows::plan::{Plan, Sink};
use dataflows::sql::parse::ast::OptionItem;
use dataflows::sql::{SqlFile, compile, parse_topics};
use serde_json::Value;

/// Directory of the domain's files.
fn domain() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies/domain")
}

/// The files of the domain, in the order of their names.
fn shipped() -> Vec<SqlFile> {
    let mut files = Vec::new();
    for entry in fs::read_dir(domain()).expect("the domain") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "sql") {
            files.push(read(&path));
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}

fn read(path: &Path) -> SqlFile {
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    SqlFile { name, text: fs::read_to_string(path).expect("a file") }
}

fn plan(files: &[SqlFile]) -> Plan {
    let compiled = compile(files, &|_| None, &|_| Err(std::io::ErrorKind::NotFound.into()), &|_| Ok(None));
    compiled.unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

fn view_names(plan: &Plan) -> BTreeSet<&str> {
    plan.views.iter().map(|view| view.name.as_str()).collect()
}

#[test]
fn a_third_game_is_one_file_more() {
    let files = shipped();
    let before = plan(&files);
    let mut more = files.clone();
    let last_adapter = more.iter().rposition(|file| file.name.starts_with('2')).expect("an adapter");
    more.insert(last_adapter + 1, read(&domain().join("tests/emberfall.sql")));
    let after = plan(&more);

    // One file more, and no word of it in the others.
    assert_eq!(more.len(), files.len() + 1);
    for file in &files {
        assert!(!file.text.to_lowercase().contains("emberfall"), "{} knows of the third game", file.name);
    }
    // One table more; the views and sinks are those that were there, with the same columns.
    assert_eq!(after.sources.len(), before.sources.len() + 1);
    assert_eq!(view_names(&after), view_names(&before));
    assert_eq!(after.sinks.len(), before.sinks.len());
    for (one, other) in before.views.iter().zip(&after.views) {
        assert_eq!(before.rels[one.rel].schema, after.rels[other.rel].schema, "{}", one.name);
    }
}

#[test]
fn a_game_may_be_left_out() {
    for adapter in ["20_riot.sql", "21_halo.sql"] {
        let files: Vec<SqlFile> = shipped().into_iter().filter(|file| file.name != adapter).collect();
        assert!(view_names(&plan(&files)).contains("mv_global_stats"), "without {adapter}");
    }
}

#[test]
fn views_by_theme_read_the_model_alone() {
    let games = ["riot_", "halo_"];
    for file in shipped() {
        let adapter = file.name.starts_with('2');
        for game in games {
            assert!(adapter || !file.text.contains(game), "{} reads a table of one game: {game}", file.name);
        }
    }
}

/// The schema of the event that a topic is named after, if it is one.
fn event_schema(topic: &str) -> Option<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../schemas/avro/{topic}.avsc"));
    Some(serde_json::from_str(&fs::read_to_string(path).ok()?).expect("JSON"))
}

/// The types of columns, as SQL has them, that write a field of an Avro type; and whether the field may be null.
fn fitting(of: &Value) -> (&'static [&'static str], bool) {
    if let [null, inner] = of.as_array().map(Vec::as_slice).unwrap_or_default() {
        assert_eq!(null, "null", "{of}");
        return (fitting(inner).0, true);
    }
    let logical = of["logicalType"].as_str();
    let types: &[&str] = match (of["type"].as_str().or(of.as_str()), logical) {
        (Some("string"), Some("uuid")) => &["UUID"],
        (Some("long"), Some("timestamp-micros")) => &["TIMESTAMPTZ"],
        (Some("string"), None) => &["VARCHAR"],
        (Some("int"), None) => &["SMALLINT", "INT"],
        (Some("long"), None) => &["BIGINT"],
        (Some("double"), None) => &["DOUBLE"],
        (Some("boolean"), None) => &["BOOLEAN"],
        // A map is an object in JSON.
        (Some("map"), None) => &["JSONB"],
        _ => panic!("no column is known for {of}"),
    };
    (types, false)
}

/// The differences of a sink from the schema of its event.
fn differences(plan: &Plan, sink: &Sink, event: &str, schema: &Value) -> Vec<String> {
    let columns = plan.rels[sink.rel].schema.fields();
    let fields = schema["fields"].as_array().expect("fields");
    let column = |name: &str| columns.iter().find(|column| column.name() == name);
    let mut found = Vec::new();
    for field in fields {
        let name = field["name"].as_str().expect("a name");
        let Some(column) = column(name) else {
            found.push(format!("{event}: the sink has no column {name}"));
            continue;
        };
        let ((types, null), is) = (fitting(&field["type"]), schemas::sql_type(column));
        if !types.contains(&is.as_str()) {
            found.push(format!("{event}: column {name} is {is}, and the field takes {types:?}"));
        }
        if null && !column.is_nullable() && !OFTEN_NULL.contains(&name) {
            found.push(format!("{event}: column {name} is proven NOT NULL, and the field may be null"));
        }
        let unproven = UNPROVEN.iter().any(|(of, columns)| *of == event && columns.contains(&name));
        if !null && column.is_nullable() != unproven {
            let proven = if unproven { "proven after all" } else { "not proven NOT NULL, as the field is" };
            found.push(format!("{event}: column {name} is {proven}"));
        }
    }
    for column in columns {
        if !fields.iter().any(|field| field["name"] == column.name().as_str()) {
            found.push(format!("{event}: the schema has no field {}", column.name()));
        }
    }
    let types = columns.iter().find(|column| column.name() == "event_type");
    if types.and_then(|column| constant_of(plan, sink, column)).is_none_or(|text| text != event) {
        found.push(format!("{event}: event_type is another one"));
    }
    found
}

/// Fields that other writers of an event may leave out, where Herald's own never do.
const OFTEN_NULL: [&str; 1] = ["games"];

/// Columns of fields that are never null, of which the planner cannot prove as much: casts, sums, and identities that
/// conditions keep.
const UNPROVEN: [(&str, &[&str]); 7] = [
    ("analytics.computed", &["event_id", "occurred_at", "group_key", "dimensions", "metrics"]),
    ("anomaly.detected", &["event_id", "value", "bound"]),
    ("notification.triggered", &["event_id", "occurred_at", "user_id", "kind"]),
    ("player.stats.updated", &["event_id", "occurred_at", "player_id", "wins", "kills", "deaths", "assists"]),
    ("prediction.generated", &["event_id", "player_id", "predicted", "games"]),
    ("recommendation.created", &["event_id", "occurred_at", "player_id", "score"]),
    ("trend.detected", &["event_id", "player_id", "recent"]),
];

/// The value of a column that is the same in every row.
fn constant_of(plan: &Plan, sink: &Sink, column: &Field) -> Option<String> {
    let rel = &plan.rels[sink.rel];
    let at = rel.schema.index_of(column.name()).expect("a column");
    rel.constants.get(&at).map(ToString::to_string)
}

#[test]
fn sinks_of_events_have_the_fields_of_their_schemas() {
    let plans = [plan(&shipped()), plan(&[read(&domain().join("../notifications.sql"))])];
    let (mut events, mut found) = (BTreeSet::new(), Vec::new());
    for plan in &plans {
        for sink in &plan.sinks {
            let topic = &sink.options["topic"];
            if let Some(schema) = event_schema(topic) {
                events.insert(topic.as_str());
                found.extend(differences(plan, sink, topic, &schema));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    let written = [
        "analytics.computed",
        "anomaly.detected",
        "notification.triggered",
        "player.stats.updated",
        "prediction.generated",
        "recommendation.created",
        "trend.detected",
    ];
    assert_eq!(events.into_iter().collect::<Vec<_>>(), written);
}

/// Options of each topic of the shipped layout.
fn layout() -> BTreeMap<String, BTreeMap<String, String>> {
    let file = read(&domain().join("../topics.sql"));
    let topics = parse_topics(&file, &|_| None, &|_| Err(std::io::ErrorKind::NotFound.into()))
        .unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let options =
        |with: Vec<OptionItem>| with.into_iter().map(|option| (option.name, option.value)).collect();
    topics.into_iter().map(|topic| (topic.name.text, options(topic.with))).collect()
}

/// Faults of a layout before a topology: topics that it lacks, or has otherwise than the sinks write them.
fn faults(layout: &BTreeMap<String, BTreeMap<String, String>>, plan: &Plan) -> Vec<String> {
    let mut found = Vec::new();
    for source in &plan.sources {
        let topics = [source.options.get("topic"), source.dead_letter_topic.as_ref()];
        for topic in topics.into_iter().flatten().filter(|topic| !layout.contains_key(*topic)) {
            found.push(format!("{}: no topic {topic}", source.name));
        }
    }
    for sink in &plan.sinks {
        let topic = &sink.options["topic"];
        let Some(options) = layout.get(topic) else {
            found.push(format!("{}: no topic {topic}", sink.name));
            continue;
        };
        let policy = options.get("cleanup.policy").map_or("delete", String::as_str);
        let compacted = policy.split(',').any(|part| part.trim() == "compact");
        // A change log is read change by change.
        if compacted != (sink.format == Format::Upsert) {
            found.push(format!("{}: {:?} into a topic of policy {policy}", sink.name, sink.format));
        }
        let schema = &plan.rels[sink.rel].schema;
        let key: Vec<&str> = sink.key.iter().map(|column| schema.field(*column).name().as_str()).collect();
        let told = options.get("key").map_or("", String::as_str);
        if told.split(',').map(str::trim).ne(key.iter().copied()) {
            found.push(format!("{}: key {}, in the layout {told}", sink.name, key.join(",")));
        }
        if let Some(partitions) = sink.options.get("topic.partitions")
            && options.get("partitions") != Some(partitions)
        {
            found.push(format!(
                "{}: {partitions} partitions, in the layout {:?}",
                sink.name,
                options.get("partitions")
            ));
        }
    }
    found
}

#[test]
fn the_layout_has_the_topics_as_the_sinks_write_them() {
    let beside = |name| plan(&[read(&domain().join("..").join(name))]);
    let plans = [plan(&shipped()), beside("notifications.sql"), beside("quality.sql")];
    let mut layout = layout();
    for plan in &plans {
        assert_eq!(faults(&layout, plan), Vec::<String>::new());
    }

    // Each fault of a layout is found.
    layout.remove("rank.changed");
    layout.remove("analytics.computed.map_stats");
    let mut set = |topic: &str, option: &str, value: &str| {
        let options = layout.get_mut(topic).expect("a topic");
        options.insert(option.to_owned(), value.to_owned());
    };
    set("trend.detected", "cleanup.policy", "delete");
    set("prediction.generated", "key", "game,player_id");
    set("recommendation.created", "partitions", "7");
    set("notification.trigger", "cleanup.policy", "compact");
    let found = faults(&layout, &plans[0]);
    let expected = [
        "rank_changes: no topic rank.changed",
        "map_stats_out: no topic analytics.computed.map_stats",
        "trends_out: Upsert into a topic of policy delete",
        "predictions_out: key game,player_id,match_id, in the layout game,player_id",
        "recommendations_out: 6 partitions, in the layout Some(\"7\")",
        "triggers_out: Debezium into a topic of policy compact",
    ];
    assert_eq!(found, expected);
}
