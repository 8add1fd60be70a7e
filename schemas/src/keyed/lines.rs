//! Keyed records as lines of a file: `{"key": ..., "value": ...}`, the form that file sinks write.

use jiter::{Jiter, Peek};

/// The bytes of a key and of a value; a JSON null is a null.
pub type KeyAndValue<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

/// Splits a line into key and value, byte for byte. None for a line of another form.
pub fn split_line(line: &[u8]) -> Option<KeyAndValue<'_>> {
    let mut json = Jiter::new(line);
    let key = next_value_bytes(json.next_object().ok()?? == "key", &mut json, line)?;
    let value = next_value_bytes(json.next_key().ok()?? == "value", &mut json, line)?;
    let ends = json.next_key().ok()?.is_none();
    json.finish().ok().filter(|()| ends)?;
    Some((key, value))
}

/// Returns the bytes of the next value, if `due` (its name was the expected one).
fn next_value_bytes<'a>(due: bool, json: &mut Jiter<'_>, line: &'a [u8]) -> Option<Option<&'a [u8]>> {
    let peek = json.peek().ok().filter(|_| due)?;
    let start = json.current_index();
    json.known_skip(peek).ok()?;
    let bytes = line.get(start..json.current_index())?;
    Some((peek != Peek::Null).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::split_line;

    fn split(line: &str) -> Option<(Option<&str>, Option<&str>)> {
        let text = |bytes: &'static [u8]| std::str::from_utf8(bytes).unwrap();
        let line: &'static str = String::from(line).leak();
        split_line(line.as_bytes()).map(|(key, value)| (key.map(text), value.map(text)))
    }

    #[test]
    fn key_and_value_are_taken_byte_for_byte() {
        assert_eq!(
            split(r#" {"key": {"id" :1} , "value": {"a": [1, 2]} } "#),
            Some((Some(r#"{"id" :1}"#), Some(r#"{"a": [1, 2]}"#)))
        );
        assert_eq!(split(r#"{"key":"x","value":null}"#), Some((Some("\"x\""), None)));
        assert_eq!(split(r#"{"key":null,"value":1}"#), Some((None, Some("1"))));
    }

    #[test]
    fn other_lines_are_none() {
        for line in [
            r#"{"value":1,"key":1}"#,
            r#"{"key":1}"#,
            r#"{"key":1,"value":2,"more":3}"#,
            r#"{"key":1,"other":2}"#,
            r#"{"key":1,"value":2,"value":3}"#,
            r#"{"key":1,"value":2"#,
            r#"{"key":1,"value":2} x"#,
            "{}",
            "[1]",
            "",
        ] {
            assert_eq!(split(line), None, "{line}");
        }
    }
}
