//! Parser of topic layouts: files of `CREATE TOPIC "name" WITH (option = value, ...)`.
//!
//! A layout is no part of a topology: it says which topics there are, and `herald topics` compares it with a broker.
//! The options are given their meaning there. Here the statements are read, and names that Kafka would refuse or that
//! come twice.

use datafusion_sql::sqlparser::tokenizer::Token;

use super::ast::CreateTopic;
use super::cursor::{Context, Cursor, Read, Shared};
use super::statement::options;
use super::tokens::end_of;
use super::{name_mistakes, read_tokens, sort_mistakes};
use crate::mistake::{Mistake, SqlError, SqlFile};

/// Longest name of a topic.
const MAX_NAME: usize = 249;

/// Parses a topic layout.
///
/// # Errors
/// Every mistake, in the order of their places.
pub fn parse_topics(
    file: &SqlFile,
    env: &dyn Fn(&str) -> Option<String>,
    read_file: &dyn Fn(&str) -> std::io::Result<String>,
) -> Result<Vec<CreateTopic>, Vec<SqlError>> {
    let shared = Shared::default();
    let context = Context { file: 0, text: &file.text, env, read_file, shared: &shared };
    let (tokens, broken) = read_tokens(&context);
    let (mut topics, mut mistakes): (Vec<CreateTopic>, Vec<Mistake>) = (Vec::new(), Vec::new());
    let mut rest = tokens.as_slice();
    while !rest.is_empty() {
        let semicolon = rest.iter().position(|t| t.token == Token::SemiColon);
        // The statement in which the text could not be read further is not parsed.
        if semicolon.is_none() && broken.is_some() {
            break;
        }
        let length = semicolon.unwrap_or(rest.len());
        let end = match semicolon {
            Some(at) => rest[at].span.start,
            None => end_of(rest),
        };
        if length > 0 {
            let mut cursor = Cursor::new(context, rest[..length].to_vec(), end);
            match read_topic(&mut cursor, &mut mistakes) {
                Ok(topic) => topics.push(topic),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        rest = &rest[(length + 1).min(rest.len())..];
    }
    mistakes.extend(broken);
    mistakes.extend(named_twice(&topics));
    if mistakes.is_empty() {
        return Ok(topics);
    }
    sort_mistakes(&mut mistakes);
    Err(name_mistakes(mistakes, std::slice::from_ref(file)))
}

/// Reads one statement.
fn read_topic(cursor: &mut Cursor<'_>, mistakes: &mut Vec<Mistake>) -> Read<CreateTopic> {
    const FORM: &str = "write CREATE TOPIC \"name\" WITH (partitions = '12', retention = '30 days')";
    let pos = cursor.pos();
    if !cursor.take_words(&["create", "topic"]) {
        let other = cursor.peek_words(&["create"]);
        let mistake = Mistake::new(pos, "a topic layout has CREATE TOPIC and nothing else");
        return Err(mistake.hint(if other {
            "keep the statements of a topology in a file of their own"
        } else {
            FORM
        }));
    }
    let name = cursor.take_name("a topic name")?;
    if cursor.peek() == Some(&Token::Period) {
        return Err(Mistake::new(name.pos, "a topic name with a dot stands in double quotes")
            .hint("write CREATE TOPIC \"match.completed\" ..."));
    }
    let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.text.len() > MAX_NAME
        || matches!(name.text.as_str(), "." | "..")
        || !name.text.chars().all(letters)
    {
        let hint = format!("a topic name has letters, digits, `.`, `_` and `-`, at most {MAX_NAME}");
        return Err(Mistake::new(name.pos, format!("Kafka has no topic \"{}\"", name.text)).hint(hint));
    }
    let mut with = Vec::new();
    if cursor.take_words(&["with"]) {
        with = options::read_list(cursor, mistakes)?;
    }
    if cursor.peek().is_some() {
        return Err(cursor.expected("WITH or the end of the statement").hint(FORM));
    }
    Ok(CreateTopic { name, with })
}

/// Mistakes of topics that an earlier statement has named.
fn named_twice(topics: &[CreateTopic]) -> Vec<Mistake> {
    let mut found = Vec::new();
    for (at, topic) in topics.iter().enumerate() {
        if topics[..at].iter().any(|other| other.name.text == topic.name.text) {
            found.push(Mistake::new(topic.name.pos, format!("topic \"{}\" is there twice", topic.name.text)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<CreateTopic>, Vec<String>> {
        let file = SqlFile { name: "topics.sql".to_owned(), text: text.to_owned() };
        let env = |name: &str| (name == "DAYS").then(|| "3 days".to_owned());
        let read_file = |_: &str| Err(std::io::ErrorKind::NotFound.into());
        parse_topics(&file, &env, &read_file)
            .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn each_statement_is_a_topic() {
        let topics = read(
            "-- All.\nCREATE TOPIC \"match.completed\" WITH (partitions = 12, retention = '${DAYS}');;\n\
             create topic Orders;\nCREATE TOPIC x WITH ()",
        );
        let told: Vec<(String, Vec<String>)> = topics
            .unwrap()
            .into_iter()
            .map(|topic| {
                (topic.name.text, topic.with.into_iter().map(|o| format!("{}={}", o.name, o.value)).collect())
            })
            .collect();
        let own = |text: &str| text.to_owned();
        let expected = [
            (own("match.completed"), vec![own("partitions=12"), own("retention=3 days")]),
            (own("orders"), vec![]),
            (own("x"), vec![]),
        ];
        assert_eq!(told, expected);
        assert_eq!(read(" -- none\n").unwrap(), []);
    }

    #[test]
    fn every_mistake_has_its_place() {
        let told = read(
            "CREATE TABLE t (a INT);\nCREATE TOPIC a.b;\nCREATE TOPIC \"a b\";\nCREATE TOPIC c WITH (x = '${NONE}', y);\n\
             CREATE TOPIC d;\nCREATE TOPIC d PARTITIONS 3;\nCREATE TOPIC d;\nCREATE TOPIC 'open",
        )
        .unwrap_err();
        let starts = [
            "topics.sql:1:1: a topic layout has CREATE TOPIC and nothing else",
            "topics.sql:2:14: a topic name with a dot stands in double quotes",
            "topics.sql:3:14: Kafka has no topic \"a b\"",
            "topics.sql:4:26: option x: variable NONE is not set",
            "topics.sql:4:38: expected `=`",
            "topics.sql:6:16: expected WITH or the end of the statement, found `PARTITIONS`",
            "topics.sql:7:14: topic \"d\" is there twice",
            "topics.sql:8:14: a string is not closed",
        ];
        assert_eq!(told.len(), starts.len(), "{told:#?}");
        assert!(told.iter().zip(starts).all(|(mistake, start)| mistake.starts_with(start)), "{told:#?}");
    }
}
