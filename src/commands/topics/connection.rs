//! Settings of the connections to a broker and a registry: flags, and a file of NAME=VALUE lines.

use std::collections::BTreeMap;

use anyhow::Result;
use connectors::kafka::KafkaCluster;
use connectors::options::Options;
use dataflows::sql::parse::env::substitute;
use schemas::Registry;

use crate::cli::TopicsArgs;
use crate::exit::mistake;
use crate::topology::Variables;

/// The broker and the registry of a command.
pub struct Connection {
    /// The brokers.
    pub cluster: KafkaCluster,
    /// The registry, if one is named.
    pub registry: Option<Registry>,
}

impl Connection {
    /// Reads flags and settings.
    ///
    /// # Errors
    /// When the file cannot be read, or a setting is not known.
    pub fn read(args: &TopicsArgs, variables: &Variables) -> Result<Connection> {
        let (mut kafka, mut of_registry) = (BTreeMap::new(), BTreeMap::new());
        if let Some(path) = &args.properties {
            let shown = path.display();
            let text = std::fs::read_to_string(path)
                .map_err(|error| mistake(format!("cannot read the settings in {shown}: {error}")))?;
            let env = |name: &str| variables.value_of(name, &[]);
            let read_file = |path: &str| std::fs::read_to_string(path);
            for (number, line) in text.lines().enumerate() {
                let line = line.trim();
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                let refused = |why: &str| mistake(format!("{shown}:{}: {why}", number + 1));
                let (name, value) = line
                    .split_once('=')
                    .ok_or_else(|| refused("write NAME=VALUE, as security.protocol=SASL_SSL"))?;
                let value = substitute(value.trim(), &env, &read_file)
                    .map_err(|error| refused(&format!("{}\n  {}", error.message, error.hint)))?;
                let name = name.trim();
                if name.starts_with("schema.registry.") {
                    of_registry.insert(name.to_owned(), value);
                } else {
                    kafka.insert(format!("properties.{name}"), value);
                }
            }
        }
        kafka.retain(|name, _| !name.starts_with("properties.bootstrap.server"));
        kafka.insert("properties.bootstrap.server".to_owned(), args.bootstrap.clone());
        let cluster = KafkaCluster::take_from(&mut Options::new(&kafka))?;
        let registry = match &args.registry {
            Some(url) => Some(Registry::new(url, &of_registry)?),
            None => None,
        };
        Ok(Connection { cluster, registry })
    }
}
