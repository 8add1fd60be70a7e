//! Topics as a file declares them: the options of CREATE TOPIC, each mistake at its place.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Error, Result};
use connectors::kafka::TopicLayout;
use dataflows::sql::diagnostics::did_you_mean::did_you_mean;
use dataflows::sql::parse::ast::{CreateTopic, OptionItem};
use dataflows::sql::parse::interval::duration_us;
use dataflows::sql::{self, Mistake};
use schemas::Registry;

use crate::exit::{SqlMistakes, mistake};
use crate::topology::{Variables, read_files};

/// Options with a meaning of Herald's own; all others are Kafka's, and have a dot.
const OWN: [&str; 7] =
    ["partitions", "replication.factor", "key", "retention", "value.schema", "key.schema", "compatibility"];
/// Options of Kafka's topics without a dot.
const WITHOUT_DOT: [&str; 1] = ["preallocate"];
/// Levels of compatibility that registries have.
const LEVELS: [&str; 7] =
    ["NONE", "BACKWARD", "BACKWARD_TRANSITIVE", "FORWARD", "FORWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE"];

/// A declared topic.
pub struct DeclaredTopic {
    /// The topic as wanted on the broker.
    pub topic: TopicLayout,
    /// Its subjects as wanted in the registry.
    pub subjects: Vec<DeclaredSubject>,
}

/// A declared subject.
pub struct DeclaredSubject {
    /// Name.
    pub name: String,
    /// The schema's file as written, and its text in one line.
    pub schema: Option<(String, String)>,
    /// Level of compatibility, in capitals.
    pub level: Option<String>,
}

/// Reads a file; `has_registry` tells whether there is one for its schemas.
///
/// # Errors
/// All mistakes, with their places.
pub fn read(path: &Path, variables: &Variables, has_registry: bool) -> Result<Vec<DeclaredTopic>> {
    let files = read_files(&[path.to_path_buf()])?;
    let env = |name: &str| variables.value_of(name, &files);
    let read_file = |path: &str| std::fs::read_to_string(path);
    let failed = |errors| Error::new(SqlMistakes::new(errors, &files));
    let created = sql::parse_topics(&files[0], &env, &read_file).map_err(failed)?;
    let (mut topics, mut mistakes) = (Vec::new(), Vec::new());
    for create in &created {
        let mut reader = Reader {
            create,
            dir: path.parent().unwrap_or(Path::new("")),
            has_registry,
            mistakes: &mut mistakes,
        };
        topics.push(reader.read());
    }
    if !mistakes.is_empty() {
        return Err(failed(mistakes.into_iter().map(|mistake| mistake.named(&files)).collect()));
    }
    if topics.is_empty() {
        return Err(mistake(format!("{} has no CREATE TOPIC", path.display())));
    }
    Ok(topics)
}

/// Reader of one statement's options.
struct Reader<'a> {
    create: &'a CreateTopic,
    /// The directory of the file, which paths of schemas begin at.
    dir: &'a Path,
    has_registry: bool,
    mistakes: &'a mut Vec<Mistake>,
}

impl Reader<'_> {
    fn read(&mut self) -> DeclaredTopic {
        let name = self.create.name.text.clone();
        if name.starts_with("__") {
            let message = format!("topic \"{name}\" is one of Kafka's own: their names begin with __");
            self.mistakes.push(Mistake::new(self.create.name.pos, message));
        }
        let partitions = self.count("partitions", i32::MAX);
        let replication = self.count("replication.factor", i32::from(i16::MAX));
        let configs = self.configs();
        let value_schema = self.schema("value.schema", &name);
        let key_schema = self.schema("key.schema", &name);
        let level = self.level();
        let mut key = self.item("key").map(|item| item.value.clone());
        if let (None, Some((file, _))) = (&key, &key_schema) {
            key = Some(format!("the fields of {file}"));
        }
        let mut subjects = Vec::new();
        // A level without a schema is for the subject that every topic may have.
        if value_schema.is_some() || (level.is_some() && key_schema.is_none()) {
            let name = format!("{name}-value");
            subjects.push(DeclaredSubject { name, schema: value_schema, level: level.clone() });
        }
        if key_schema.is_some() {
            subjects.push(DeclaredSubject { name: format!("{name}-key"), schema: key_schema, level });
        }
        DeclaredTopic { topic: TopicLayout { name, partitions, replication, key, configs }, subjects }
    }

    fn item(&self, name: &str) -> Option<&OptionItem> {
        self.create.with.iter().find(|item| item.name == name)
    }

    /// Reports a mistake at the option `name`, or at the statement if it is not there.
    fn refuse(&mut self, name: &str, message: &str, hint: &str) {
        let pos = self.item(name).map_or(self.create.name.pos, |item| item.pos);
        let message = format!("topic \"{}\": option {name}: {message}", self.create.name.text);
        self.mistakes.push(Mistake::new(pos, message).hint(hint));
    }

    /// A number from 1 on.
    fn count(&mut self, name: &str, most: i32) -> Option<i32> {
        let text = self.item(name)?.value.clone();
        match text.trim().parse() {
            Ok(count) if (1..=most).contains(&count) => Some(count),
            _ => {
                let hint = format!("write {name} = '3', or leave it out for the broker's default");
                self.refuse(name, &format!("'{text}' is no number from 1 on"), &hint);
                None
            }
        }
    }

    /// Kafka's options, and the retention, which has a form of ours.
    fn configs(&mut self) -> BTreeMap<String, String> {
        let mut configs = BTreeMap::new();
        for item in &self.create.with {
            let name = item.name.as_str();
            if OWN.contains(&name) {
                continue;
            }
            if !name.contains('.') && !WITHOUT_DOT.contains(&name) {
                let hint = did_you_mean(name, OWN).unwrap_or_else(|| {
                    format!("known are {}, and Kafka's options of topics, as retention.ms", OWN.join(", "))
                });
                self.refuse(name, "is not known", &hint);
                continue;
            }
            configs.insert(item.name.clone(), item.value.trim().to_owned());
        }
        if let Some(millis) = self.retention()
            && configs.insert("retention.ms".to_owned(), millis).is_some()
        {
            self.refuse("retention", "stands beside retention.ms", "write one of them");
        }
        configs
    }

    /// The retention in milliseconds.
    fn retention(&mut self) -> Option<String> {
        let text = self.item("retention")?.value.trim().to_lowercase();
        if text == "-1" || text == "forever" {
            return Some("-1".to_owned());
        }
        match duration_us(&text) {
            Ok(us) if us >= 1000 && us % 1000 == 0 => return Some((us / 1000).to_string()),
            Ok(_) => {
                self.refuse(
                    "retention",
                    "is not a whole number of milliseconds",
                    "write retention = '30 days'",
                );
            }
            Err(why) => self.refuse("retention", &why, "write retention = '30 days', or 'forever'"),
        }
        None
    }

    /// The file and the text of a schema.
    fn schema(&mut self, option: &str, topic: &str) -> Option<(String, String)> {
        let file = self.item(option)?.value.clone();
        if !self.has_registry {
            self.refuse(option, "there is no registry for it", "name one: --registry http://HOST:PORT");
            return None;
        }
        let read = std::fs::read_to_string(self.dir.join(&file)).map_err(|error| error.to_string());
        let parsed = read.and_then(|text| {
            let value: serde_json::Value =
                serde_json::from_str(&text).map_err(|error| format!("is no JSON: {error}"))?;
            let text = value.to_string();
            // The registry of this process takes every schema that can be read.
            let registered = Registry::in_memory().register(topic, &text);
            registered.map(|_| text).map_err(|error| error.to_string())
        });
        match parsed {
            Ok(text) => Some((file, text)),
            Err(why) => {
                let hint = "write the path of an Avro schema, from the directory of this file on";
                self.refuse(option, &format!("{file}: {why}"), hint);
                None
            }
        }
    }

    /// The level of compatibility.
    fn level(&mut self) -> Option<String> {
        let text = self.item("compatibility")?.value.clone();
        let level = text.trim().to_uppercase();
        if !LEVELS.contains(&level.as_str()) {
            let hint = format!("write one of {}", LEVELS.join(", ").to_lowercase());
            self.refuse("compatibility", &format!("'{text}' is no level of a registry"), &hint);
            return None;
        }
        if !self.has_registry {
            let hint = "name one: --registry http://HOST:PORT";
            self.refuse("compatibility", "there is no registry for it", hint);
            return None;
        }
        Some(level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str, has_registry: bool) -> Result<Vec<DeclaredTopic>, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("avro")).unwrap();
        std::fs::write(dir.path().join("avro/n.avsc"), "{\n \"type\": \"long\"\n}\n").unwrap();
        std::fs::write(dir.path().join("avro/bad.avsc"), "{\"type\": \"lng\"}").unwrap();
        let path = dir.path().join("topics.sql");
        std::fs::write(&path, text).unwrap();
        let shown = format!("{}/", dir.path().display());
        read(&path, &Variables::only(&[("N", "12")]), has_registry)
            .map_err(|error| error.to_string().replace(&shown, ""))
    }

    #[test]
    fn options_are_herald_s_and_kafka_s() {
        let text = "CREATE TOPIC \"a.b\" WITH (partitions = '${N}', replication.factor = 1, key = 'id', retention = '30 days', \
                    cleanup.policy = 'compact', preallocate = true, value.schema = 'avro/n.avsc', key.schema = \
                    'avro/n.avsc', compatibility = 'full_transitive'); CREATE TOPIC c WITH (retention = 'FOREVER');
                    CREATE TOPIC d WITH (compatibility = 'none'); CREATE TOPIC e";
        let topics = read_text(text, true).unwrap();
        let first = &topics[0].topic;
        assert_eq!(
            (first.partitions, first.replication, first.key.as_deref()),
            (Some(12), Some(1), Some("id"))
        );
        let configs: Vec<(&str, &str)> =
            first.configs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(
            configs,
            [("cleanup.policy", "compact"), ("preallocate", "true"), ("retention.ms", "2592000000")]
        );
        let subjects: Vec<(&str, Option<&str>, Option<&str>)> = topics
            .iter()
            .flat_map(|topic| &topic.subjects)
            .map(|s| (s.name.as_str(), s.schema.as_ref().map(|(_, text)| text.as_str()), s.level.as_deref()))
            .collect();
        let (long, full) = (Some(r#"{"type":"long"}"#), Some("FULL_TRANSITIVE"));
        assert_eq!(
            subjects,
            [("a.b-value", long, full), ("a.b-key", long, full), ("d-value", None, Some("NONE"))]
        );
        assert_eq!(topics[1].topic.configs["retention.ms"], "-1");
        assert_eq!(topics[3].topic, TopicLayout { name: "e".to_owned(), ..TopicLayout::default() });
    }

    #[test]
    fn each_mistake_is_told_with_its_place() {
        let text = "CREATE TOPIC a WITH (partitions = '0', partitons = '3', retention = '1 month', retention.ms = 5);\n\
                    CREATE TOPIC b WITH (value.schema = 'none.avsc', key.schema = 'avro/bad.avsc', compatibility = 'ful');\n\
                    CREATE TOPIC __own WITH (retention = '1 day', retention.ms = 5);";
        let told = read_text(text, true).err().unwrap();
        for part in [
            "topics.sql:1:22: topic \"a\": option partitions: '0' is no number from 1 on",
            "topics.sql:1:40: topic \"a\": option partitons: is not known\n  did you mean partitions?",
            "topics.sql:1:57: topic \"a\": option retention: '1 month' has no fixed length",
            "topics.sql:2:22: topic \"b\": option value.schema: none.avsc: No such file",
            "topics.sql:2:50: topic \"b\": option key.schema: avro/bad.avsc: ",
            "topics.sql:2:80: topic \"b\": option compatibility: 'ful' is no level of a registry",
            "topics.sql:3:14: topic \"__own\" is one of Kafka's own",
            "topics.sql:3:26: topic \"__own\": option retention: stands beside retention.ms",
        ] {
            assert!(told.contains(part), "{part}\n{told}");
        }
        assert!(told.ends_with("8 mistakes found."), "{told}");
        let without = read_text("CREATE TOPIC a WITH (value.schema = 'avro/n.avsc')", false).err().unwrap();
        assert!(without.contains("there is no registry for it\n  name one: --registry"), "{without}");
        assert!(read_text("-- nothing", true).err().unwrap().contains("has no CREATE TOPIC"));
    }
}
