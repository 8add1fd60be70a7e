//! The match domain as the binary brings it along: its files and tests as shipped, over Kafka, and its files over
//! files.

use crate::commands::fmt::layout;

/// Pairs of a file's name and its text.
macro_rules! shipped {
    ($folder:literal, $($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../../dataflows/topologies/domain/", $folder, $name)))),*]
    };
}

/// The topology's files, in the order in which they are applied.
pub const FILES: [(&str, &str); 14] = shipped!(
    "",
    "10_model.sql",
    "11_people.sql",
    "12_erasures.sql",
    "20_riot.sql",
    "21_halo.sql",
    "30_ranks.sql",
    "40_performance.sql",
    "41_champions.sql",
    "42_analytics.sql",
    "43_maps.sql",
    "50_live.sql",
    "51_timelines.sql",
    "60_insights.sql",
    "90_sinks.sql",
);

/// The golden tests, and the two SQL files that they add.
pub const TESTS: [(&str, &str); 18] = shipped!(
    "tests/",
    "adapters.test.sql",
    "analytics.test.sql",
    "champions.test.sql",
    "computed.test.sql",
    "conflicts.test.sql",
    "emberfall.sql",
    "emberfall.test.sql",
    "erasure.test.sql",
    "events.test.sql",
    "insights.test.sql",
    "live.test.sql",
    "maps.test.sql",
    "model_views.sql",
    "orders.test.sql",
    "people.test.sql",
    "performance.test.sql",
    "ranks.test.sql",
    "timelines.test.sql",
);

/// Options of Kafka that a file has no use for.
const OF_KAFKA: [&str; 3] = ["properties.bootstrap.server", "dead_letter.topic", "topic.partitions"];

/// Returns the text of a domain's file with files in place of topics: `data/TOPIC.jsonl` of a source,
/// `results/TOPIC.jsonl` of a sink. Only WITH clauses change, and the keys of records, which are JSON in files.
pub fn over_files(text: &str) -> String {
    let mut done = String::new();
    let mut rest = text;
    while let Some((before, clause)) = rest.split_once("WITH (\n") {
        let (options, behind) = clause.split_once("\n)").unwrap_or((clause, ""));
        done.push_str(&format!("{before}WITH (\n{}\n)", file_options(options)));
        rest = behind;
    }
    done.push_str(rest);
    let sql = done.replace("KEY ENCODE TEXT", "KEY ENCODE JSON");
    layout(&sql).unwrap_or(sql)
}

/// The options of a WITH clause, with those of a file in place of those of Kafka.
fn file_options(options: &str) -> String {
    let is_sink = options.contains("primary_key = ");
    let mut kept = Vec::new();
    for option in options.split(",\n") {
        let (name, value) = option.trim().split_once(" = ").unwrap_or((option, ""));
        let topic = value.trim_matches('\'');
        match name {
            "connector" => kept.push("  connector = 'file'".to_owned()),
            "topic" if is_sink => kept.push(format!("  path = 'results/{topic}.jsonl'")),
            "topic" => kept.push(format!("  path = 'data/{topic}.jsonl',\n  follow = 'true'")),
            _ if OF_KAFKA.contains(&name) => {}
            _ => kept.push(option.to_owned()),
        }
    }
    kept.join(",\n")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use anyhow::Result;
    use dataflows::sql::SqlFile;

    use super::*;
    use crate::topology::{Network, Variables, plan_topology};

    #[test]
    fn the_domain_over_files_has_the_same_parts() -> Result<()> {
        let plan_of = |change: fn(&str) -> String| {
            let files = FILES.map(|(name, text)| SqlFile { name: name.to_owned(), text: change(text) });
            plan_topology(&files, &Variables::only(&[]), Network::Refused)
        };
        let (kafka, files) = (plan_of(str::to_owned)?, plan_of(over_files)?);
        let parts = |plan: &dataflows::plan::Plan| (plan.sources.len(), plan.views.len(), plan.sinks.len());
        assert_eq!(parts(&kafka), parts(&files));
        for (name, text) in FILES {
            let files = over_files(text);
            assert!(!files.contains("KAFKA") && !files.contains("'kafka'"), "{name}");
            assert!(layout(&files).is_ok_and(|text| text == files), "{name} is laid out otherwise");
            assert_eq!(
                files.matches("connector = 'file'").count(),
                text.matches("connector = 'kafka'").count()
            );
        }
        Ok(())
    }

    #[test]
    fn no_file_and_no_test_is_left_out() -> Result<()> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("dataflows/topologies/domain");
        for (folder, shipped) in [(folder.clone(), &FILES[..]), (folder.join("tests"), &TESTS[..])] {
            let mut found = Vec::new();
            for entry in std::fs::read_dir(&folder)? {
                let name = entry?.file_name().to_string_lossy().into_owned();
                found.extend(name.ends_with(".sql").then_some(name));
            }
            found.sort();
            let shipped: Vec<&str> = shipped.iter().map(|(name, _)| *name).collect();
            assert_eq!(found, shipped, "{}", folder.display());
        }
        Ok(())
    }
}
