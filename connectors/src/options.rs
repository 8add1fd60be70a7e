//! Options of the `WITH` clause: taken one by one; those left over are refused.
//!
//! Names that were asked for are remembered, so the error for an unknown option names the nearest
//! known one. Values of options with names like secrets are never shown: use [`redacted`] before
//! printing options.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use schemas::did_you_mean::{levenshtein, nearest};

use crate::ConnectorError;

/// The options of one source or sink while they are being read.
pub struct Options<'a> {
    values: &'a BTreeMap<String, String>,
    known: BTreeSet<&'static str>,
    prefixes: Vec<&'static str>,
}

impl<'a> Options<'a> {
    /// Starts reading `values`.
    pub fn new(values: &'a BTreeMap<String, String>) -> Options<'a> {
        Options { values, known: BTreeSet::new(), prefixes: Vec::new() }
    }

    /// The text of an option, if it is given.
    pub fn text(&mut self, name: &'static str) -> Option<&'a str> {
        self.known.insert(name);
        self.values.get(name).map(String::as_str)
    }

    /// The text of an option that must be given.
    pub fn required(&mut self, name: &'static str) -> Result<&'a str, ConnectorError> {
        match self.text(name) {
            Some(text) if !text.trim().is_empty() => Ok(text),
            Some(_) => Err(ConnectorError::config(name, "must not be empty")),
            None => {
                let near = nearest_name(name, self.unknown_names()).map(|n| format!(" (found \"{n}\")"));
                let message = format!("is required{}", near.unwrap_or_default());
                Err(ConnectorError::config(name, message))
            }
        }
    }

    /// An option that is parsed; `what` describes a valid value in the error, as in "a whole number".
    pub fn parse<T: FromStr>(&mut self, name: &'static str, what: &str) -> Result<Option<T>, ConnectorError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.trim().parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(ConnectorError::config(name, format!("must be {what}, not '{text}'"))),
        }
    }

    /// An option that is 'true' or 'false'; false when absent.
    pub fn flag(&mut self, name: &'static str) -> Result<bool, ConnectorError> {
        Ok(self.parse(name, "'true' or 'false'")?.unwrap_or(false))
    }

    /// A share between 0 and 1; 0 when absent.
    pub fn share(&mut self, name: &'static str) -> Result<f64, ConnectorError> {
        let share = self.parse(name, "a number between 0 and 1")?.unwrap_or(0.0);
        if (0.0..=1.0).contains(&share) {
            return Ok(share);
        }
        Err(ConnectorError::config(name, format!("must be between 0 and 1, not {share}")))
    }

    /// All options whose name starts with `prefix`, without it.
    pub fn prefixed(&mut self, prefix: &'static str) -> BTreeMap<String, String> {
        self.prefixes.push(prefix);
        let mut found = BTreeMap::new();
        for (name, value) in self.values {
            if let Some(rest) = name.strip_prefix(prefix) {
                found.insert(rest.to_string(), value.clone());
            }
        }
        found
    }

    /// Refuses options that were not asked for.
    pub fn finish(self) -> Result<(), ConnectorError> {
        let unknown = self.unknown_names().next().map(str::to_string);
        let Some(unknown) = unknown else { return Ok(()) };
        let known = self.known.iter().chain(&self.prefixes).copied();
        let message = match nearest_name(&unknown, known.clone()) {
            Some(near) => format!("is not known here; did you mean \"{near}\"?"),
            None => {
                let all: Vec<&str> = known.collect();
                format!("is not known here; known are {}", all.join(", "))
            }
        };
        Err(ConnectorError::UnknownOption { option: unknown, message })
    }

    /// Names of options that were not asked for.
    fn unknown_names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str).filter(move |name| !self.is_known(name))
    }

    /// Tells whether an option was asked for.
    fn is_known(&self, name: &str) -> bool {
        self.known.contains(name) || self.prefixes.iter().any(|prefix| name.starts_with(prefix))
    }
}

/// The candidate nearest to `name`, if the distance is at most a third of the name's length (at least two).
pub fn nearest_name<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    nearest(name, candidates, levenshtein, |_| (name.len() / 3).max(2))
}

/// Tells whether the option `connector` names this connector.
pub fn names_connector(options: &BTreeMap<String, String>, connector: &str) -> bool {
    options.get("connector").is_some_and(|named| named == connector)
}

/// Returns true if the value of this option must not be shown.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words = ["password", "secret", "token", "key.pem", "private", "credential", "jaas", "account_key"];
    words.iter().any(|word| name.contains(word)) || name.ends_with("oauthbearer.config")
}

/// The options with secrets replaced, safe to print.
pub fn redacted(options: &BTreeMap<String, String>) -> BTreeMap<&str, &str> {
    options
        .iter()
        .map(|(name, value)| (name.as_str(), if is_secret(name) { "***" } else { value.as_str() }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect()
    }

    #[test]
    fn unknown_options_are_refused_with_the_nearest() {
        let values = options(&[("topc", "a"), ("properties.x", "1")]);
        let mut opts = Options::new(&values);
        opts.text("topic");
        opts.prefixed("properties.");
        let error = opts.finish().unwrap_err().to_string();
        assert_eq!(error, "option topc: is not known here; did you mean \"topic\"?");
    }

    #[test]
    fn missing_options_show_what_was_found_instead() {
        let values = options(&[("topc", "a")]);
        let error = Options::new(&values).required("topic").unwrap_err().to_string();
        assert_eq!(error, "option topic: is required (found \"topc\")");
    }

    #[test]
    fn bad_values_say_what_they_should_be() {
        let values = options(&[("n", "x")]);
        let error = Options::new(&values).parse::<u64>("n", "a whole number").unwrap_err();
        assert_eq!(error.to_string(), "option n: must be a whole number, not 'x'");
    }

    #[test]
    fn secrets_are_not_shown() {
        let values = options(&[("sasl.password", "hunter2"), ("ssl.key.password", "x"), ("topic", "t")]);
        let shown = format!("{:?}", redacted(&values));
        assert!(!shown.contains("hunter2") && shown.contains("\"t\""), "{shown}");
    }

    #[test]
    fn nearest_wants_likeness() {
        assert_eq!(
            nearest_name("bootstrp.server", ["bootstrap.server", "topic"].into_iter()),
            Some("bootstrap.server")
        );
        assert_eq!(nearest_name("colour", ["topic", "path"].into_iter()), None);
    }
}
