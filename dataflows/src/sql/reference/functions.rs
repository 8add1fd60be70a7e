//! Functions by family: their names, their calls with types, and a line about each.
//!
//! The types come from the functions' own definitions where these have them; the other calls are written
//! down, and a test compiles each of them.

use datafusion_expr::ScalarUDF;

use crate::functions::eval::about::{About, Family, called};
use crate::functions::eval::own;
use crate::functions::planning::{either, is_final};
use crate::functions::windows::ranks;
use crate::functions::{ABOUT, FUNCTIONS, aggregates, json, time};
use crate::sql::parse::query::{jsonb, window};
use crate::sql::syntax::{lambda, now};

/// A function as the reference pages show it.
#[derive(Clone, Debug)]
pub struct FunctionEntry {
    /// Part of the page.
    pub family: &'static str,
    /// Its names, the usual one first.
    pub names: Vec<&'static str>,
    /// Its calls, with types in place of arguments, and the type of each result.
    pub calls: Vec<(String, String)>,
    /// Its result, in one sentence.
    pub result: &'static str,
    /// True if only a view may call it: a query that is answered once may not.
    pub views_only: bool,
    /// True if only a query that is answered once may call it.
    pub queries_only: bool,
}

/// Returns every function that a query may call, by family.
pub fn functions() -> Vec<FunctionEntry> {
    let mut entries = Vec::new();
    for (family, tables) in ABOUT.iter().chain(FAMILIES) {
        for line in tables.iter().copied().flatten() {
            entries.push(describe_function(family, line));
        }
    }
    entries
}

/// The lines about functions that are no scalar functions, by family.
const FAMILIES: &[Family] = &[
    ("Lambdas over arrays", &[&lambda::ABOUT]),
    ("Aggregates", &[aggregates::ABOUT, GROUPING]),
    ("Window functions", &[ranks::ABOUT]),
    ("Rows", &[ROWS, jsonb::ABOUT, window::ABOUT]),
    (CLOCK, &[NOW]),
    (FINALITY, &[is_final::ABOUT]),
];

const GROUPING: &[About] = &[called(
    "grouping",
    &["grouping(any) -> INT"],
    "1 where the grouping set of the row leaves the column out, else 0.",
)];

const ROWS: &[About] = &[called(
    "unnest",
    &["unnest(T[]) -> T"],
    "A row for each item: `FROM t, UNNEST(t.items) AS i`; in SELECT, too.",
)];

const FINALITY: &str = "Finality";
const CLOCK: &str = "Clock";
const NOW: &[About] = &[called(
    "now current_timestamp",
    &["now() -> TIMESTAMPTZ"],
    "The watermark of the sources below, in a condition on a time: `t > now() - INTERVAL '1 day'`.",
)];

fn describe_function(family: &'static str, line: &'static About) -> FunctionEntry {
    let names: Vec<&'static str> = line.names.split(' ').collect();
    let mut calls = Vec::new();
    for call in line.calls {
        if let Some((call, result)) = call.rsplit_once(" -> ") {
            calls.push((call.to_owned(), result.to_owned()));
        }
    }
    if calls.is_empty()
        && let Some(function) = FUNCTIONS.scalar(names[0])
    {
        for (arguments, result) in overloads(&function) {
            calls.push((format!("{}({arguments})", names[0]), result));
        }
    }
    let views_only = names.iter().any(|name| now::is_clock(name));
    let queries_only = names.contains(&is_final::IS_FINAL);
    FunctionEntry { family, names, calls, result: line.result, views_only, queries_only }
}

/// Returns the arguments and the result of each overload, as the function's own definition tells them; none
/// where it does not.
fn overloads(function: &ScalarUDF) -> Vec<(String, String)> {
    if let Some(both) = either::both(function) {
        return both.into_iter().flat_map(overloads).collect();
    }
    for known in [own::overloads, time::overloads, json::overloads] {
        if let Some(overloads) = known(function) {
            return overloads;
        }
    }
    vec![]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{SqlFile, compile};

    /// The columns of the table that calls are compiled over, by the words that stand for them.
    const COLUMNS: [(&str, &str); 17] = [
        ("any", "VARCHAR"),
        ("T", "BIGINT"),
        ("T[]", "BIGINT[]"),
        ("T[][]", "BIGINT[][]"),
        ("integer", "BIGINT"),
        ("STRUCT", "STRUCT<a INT>"),
        ("BOOLEAN", "BOOLEAN"),
        ("DOUBLE", "DOUBLE"),
        ("DOUBLE[]", "DOUBLE[]"),
        ("DECIMAL", "DECIMAL(10, 2)"),
        ("VARCHAR", "VARCHAR"),
        ("VARCHAR[]", "VARCHAR[]"),
        ("BYTEA", "BYTEA"),
        ("TIMESTAMP", "TIMESTAMP"),
        ("TIMESTAMPTZ", "TIMESTAMPTZ"),
        ("INTERVAL", "INTERVAL"),
        ("JSONB", "JSONB"),
    ];
    /// Words that stand for constants.
    const CONSTANTS: [(&str, &str); 3] = [("BIGINT", "2"), ("OFFSET", "1"), ("DEFAULT", "-1")];

    /// A call with columns and constants in place of types.
    fn over_columns(call: &str) -> String {
        let (mut out, mut rest) = (String::new(), call);
        while let Some(first) = rest.chars().next() {
            let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let arrays = rest[word..].len() - rest[word..].trim_start_matches("[]").len();
            let length = if word == 0 { first.len_utf8() } else { word + arrays };
            let (name, behind) = rest.split_at(length);
            let column = COLUMNS.iter().position(|(known, _)| *known == name).map(|at| format!("c{at}"));
            let constant = || CONSTANTS.iter().find(|(known, _)| *known == name).map(|c| c.1.to_owned());
            // Not in front of a text: INTERVAL '1 hour' is a constant already.
            let put = column.or_else(constant).filter(|_| !behind.starts_with(" '"));
            out.push_str(put.as_deref().unwrap_or(name));
            rest = behind;
        }
        out
    }

    /// A call with its optional arguments, and without them.
    fn with_and_without(call: &str) -> [String; 2] {
        let call = call.replace("T, ...", "T, T").replace(", ...", "");
        let (mut with, mut without, mut rest) = (String::new(), String::new(), call.as_str());
        while let Some((before, behind)) = rest.split_once(", [") {
            let (optional, after) = behind.split_once(']').expect("a bracket that closes");
            with.push_str(&format!("{before}, {optional}"));
            without.push_str(before);
            rest = after;
        }
        [with + rest, without + rest]
    }

    /// A query with such a call; None for the result where it is not the query's first column.
    fn query_of(entry: &FunctionEntry, call: &str, result: &str) -> (String, Option<String>) {
        let call = over_columns(call).replace("OVER (...)", "OVER (ORDER BY c1)");
        if entry.family == CLOCK {
            return (format!("SELECT c1 AS x FROM t WHERE at > {call}"), None);
        }
        if result.contains(',') {
            let from = if call.starts_with(char::is_uppercase) { call } else { format!("t, {call} AS r") };
            return (format!("SELECT * FROM {from}"), None);
        }
        let group = if entry.names[0] == "grouping" { " GROUP BY ROLLUP (c0)" } else { "" };
        let known = COLUMNS.iter().find(|(known, _)| *known == result).map_or(result, |(_, of)| *of);
        let expected = (!result.starts_with("any")).then(|| without_details(known));
        (format!("SELECT {call} AS x FROM t{group}"), expected)
    }

    /// A type without its digits and its fields.
    fn without_details(of: &str) -> String {
        let mut depth = 0;
        let mut kept = |c: &char| {
            let inside = depth > 0;
            depth += i32::from(matches!(c, '(' | '<')) - i32::from(matches!(c, ')' | '>'));
            !inside && depth == 0
        };
        of.chars().filter(|c| kept(c)).collect()
    }

    fn first_column(query: &str) -> Result<String, String> {
        let columns = COLUMNS.iter().enumerate().map(|(at, (_, of))| format!("c{at} {of}, "));
        let text = format!(
            "CREATE SOURCE t ({}at TIMESTAMPTZ, WATERMARK FOR at AS at) WITH (connector = 'file', path = 't')
             FORMAT PLAIN ENCODE JSON;
             CREATE MATERIALIZED VIEW v AS {query};",
            columns.collect::<String>()
        );
        let file = SqlFile { name: "calls.sql".to_owned(), text };
        let no_file = |_: &str| Err(std::io::Error::from(std::io::ErrorKind::NotFound));
        let plan = compile(&[file], &|_| None, &no_file, &|_| Ok(None));
        let plan = plan.map_err(|mistakes| mistakes[0].to_string())?;
        Ok(schemas::sql_type(plan.rels[plan.views[0].rel].schema.field(0)))
    }

    #[test]
    fn written_calls_are_true() {
        let lines = ABOUT.iter().chain(FAMILIES).flat_map(|(_, tables)| tables.iter().copied()).flatten();
        let written: Vec<&str> = lines.filter(|line| !line.calls.is_empty()).map(|line| line.names).collect();
        let (mut wrong, mut compiled) = (Vec::new(), 0);
        for entry in functions().iter().filter(|entry| written.contains(&entry.names.join(" ").as_str())) {
            // Calls of queries are planned in the tests of questions.
            if entry.queries_only {
                continue;
            }
            for (call, result) in &entry.calls {
                for form in with_and_without(call) {
                    let (query, expected) = query_of(entry, &form, result);
                    compiled += 1;
                    match (first_column(&query), expected) {
                        (Ok(found), Some(of)) if without_details(&found) != of => {
                            wrong.push(format!("{query}: it gives {found}, not {of}"));
                        }
                        (Ok(_), _) => {}
                        (Err(mistake), _) => wrong.push(format!("{query}: {mistake}")),
                    }
                }
            }
        }
        assert!(compiled > 200 && wrong.is_empty(), "{} of {compiled}:\n{}", wrong.len(), wrong.join("\n"));
    }

    #[test]
    fn every_function_has_a_call() {
        let functions = functions();
        let silent: Vec<&FunctionEntry> = functions.iter().filter(|entry| entry.calls.is_empty()).collect();
        assert!(silent.is_empty(), "write the calls of {silent:?} in its ABOUT");
    }

    #[test]
    fn names_on_one_line_mean_the_same() {
        for line in ABOUT.iter().flat_map(|(_, tables)| tables.iter().copied()).flatten() {
            let mut known = line.names.split(' ').map(|name| FUNCTIONS.scalar(name).expect(name));
            let first = overloads(&known.next().expect("a name"));
            for other in known.filter(|_| line.calls.is_empty()) {
                assert_eq!(overloads(&other), first, "{}", line.names);
            }
        }
    }
}
