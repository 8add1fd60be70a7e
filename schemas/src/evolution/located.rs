//! JSON whose values know their place in the text.
//!
//! `serde_json` tells a value, but not where it stands, and keeps the last of two members of one name. A schema
//! with two fields of one name is a mistake here.

use std::fmt;

use serde_json::Value;

/// A place in a text: line and column, both from 1. Columns count characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A mistake in a text, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misplaced {
    /// The place.
    pub at: Place,
    /// The mistake and the remedy.
    pub message: String,
}

impl Misplaced {
    /// A mistake at a place.
    pub fn new(at: Place, message: impl Into<String>) -> Misplaced {
        Misplaced { at, message: message.into() }
    }
}

/// A JSON value with its place.
#[derive(Clone, Debug)]
pub struct Located {
    /// The place of its first character.
    pub at: Place,
    /// The value.
    pub value: LocatedJson,
}

/// The forms of a value.
#[derive(Clone, Debug)]
pub enum LocatedJson {
    /// A null, true, false or a number.
    Scalar(Value),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Located>),
    /// An object, in the order of its text.
    Object(Vec<LocatedMember>),
}

/// A member of an object.
#[derive(Clone, Debug)]
pub struct LocatedMember {
    /// Its name.
    pub name: String,
    /// The place of its name.
    pub at: Place,
    /// Its value.
    pub value: Located,
}

impl Located {
    /// Reads a text.
    ///
    /// # Errors
    /// When it is no JSON, or an object has two members of one name.
    pub fn read(text: &str) -> Result<Located, Misplaced> {
        // Tells every mistake of syntax, and bounds the depth of the recursion below.
        if let Err(error) = serde_json::from_str::<Value>(text) {
            let at = Place { line: error.line().max(1), column: error.column().max(1) };
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or_default();
            return Err(Misplaced::new(at, format!("this is no JSON: {message}")));
        }
        let mut reader = TextReader { text, next: 0, at: Place { line: 1, column: 1 } };
        reader.read_value()
    }

    /// The members, if it is an object.
    pub fn members(&self) -> &[LocatedMember] {
        match &self.value {
            LocatedJson::Object(members) => members,
            _ => &[],
        }
    }

    /// The items, if it is an array.
    pub fn items(&self) -> &[Located] {
        match &self.value {
            LocatedJson::List(items) => items,
            _ => &[],
        }
    }

    /// A member's value.
    pub fn get(&self, name: &str) -> Option<&Located> {
        let member = self.members().iter().find(|member| member.name == name)?;
        Some(&member.value)
    }

    /// The string, if it is one.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            LocatedJson::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if it is one.
    pub fn number(&self) -> Option<f64> {
        match &self.value {
            LocatedJson::Scalar(value) => value.as_f64(),
            _ => None,
        }
    }

    /// The truth value, if it is one.
    pub fn boolean(&self) -> Option<bool> {
        match &self.value {
            LocatedJson::Scalar(value) => value.as_bool(),
            _ => None,
        }
    }

    /// The value without places.
    pub fn to_value(&self) -> Value {
        match &self.value {
            LocatedJson::Scalar(value) => value.clone(),
            LocatedJson::Text(text) => Value::String(text.clone()),
            LocatedJson::List(items) => Value::Array(items.iter().map(Located::to_value).collect()),
            LocatedJson::Object(members) => {
                let pairs = members.iter().map(|member| (member.name.clone(), member.value.to_value()));
                Value::Object(pairs.collect())
            }
        }
    }
}

/// A reader of a text that is valid JSON.
struct TextReader<'t> {
    text: &'t str,
    /// The byte that is read next.
    next: usize,
    at: Place,
}

impl TextReader<'_> {
    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.next).copied().unwrap_or_default()
    }

    /// Steps over bytes that are whole characters.
    fn step(&mut self, bytes: usize) {
        for char in self.text[self.next..self.next + bytes].chars() {
            if char == '\n' {
                self.at = Place { line: self.at.line + 1, column: 1 };
            } else {
                self.at.column += 1;
            }
        }
        self.next += bytes;
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\r' | b'\n') {
            self.step(1);
        }
    }

    fn read_value(&mut self) -> Result<Located, Misplaced> {
        self.skip_space();
        let at = self.at;
        let value = match self.peek() {
            b'{' => LocatedJson::Object(self.read_members()?),
            b'[' => {
                self.step(1);
                let mut items = Vec::new();
                while !self.ends_with(b']') {
                    items.push(self.read_value()?);
                }
                LocatedJson::List(items)
            }
            b'"' => LocatedJson::Text(self.read_text()?),
            _ => {
                let rest = &self.text[self.next..];
                let end = rest.find([',', ']', '}', ' ', '\t', '\r', '\n']).unwrap_or(rest.len());
                let scalar = serde_json::from_str(&rest[..end]);
                let scalar = scalar.map_err(|error| Misplaced::new(at, error.to_string()))?;
                self.step(end);
                LocatedJson::Scalar(scalar)
            }
        };
        Ok(Located { at, value })
    }

    /// Steps over a comma, or over the end of an array or an object: then returns true.
    fn ends_with(&mut self, end: u8) -> bool {
        self.skip_space();
        let found = self.peek();
        if found == b',' || found == end {
            self.step(1);
            self.skip_space();
        }
        found == end || self.next >= self.text.len()
    }

    fn read_members(&mut self) -> Result<Vec<LocatedMember>, Misplaced> {
        self.step(1);
        let mut members: Vec<LocatedMember> = Vec::new();
        while !self.ends_with(b'}') {
            let at = self.at;
            let name = self.read_text()?;
            if members.iter().any(|member| member.name == name) {
                return Err(Misplaced::new(at, format!("\"{name}\" is given twice: leave one out")));
            }
            self.skip_space();
            self.step(1);
            let value = self.read_value()?;
            members.push(LocatedMember { name, at, value });
        }
        Ok(members)
    }

    fn read_text(&mut self) -> Result<String, Misplaced> {
        let (at, bytes) = (self.at, self.text.as_bytes());
        let mut end = self.next + 1;
        while end < bytes.len() && bytes[end] != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        let quoted = self.text.get(self.next..=end).unwrap_or_default();
        let text = serde_json::from_str(quoted).map_err(|error| Misplaced::new(at, error.to_string()))?;
        self.step(quoted.len());
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_lines_and_characters() {
        let text = "{\"a\": [1, -2.5e3,\n  {\"é\\\"\" : null}],\n \"b\":true, \"c\": {}, \"d\":[]}";
        let read = Located::read(text).unwrap();
        assert_eq!(read.to_value(), serde_json::from_str::<Value>(text).unwrap());
        let list = read.get("a").unwrap();
        assert_eq!(list.items()[2].at.to_string(), "2:3");
        let member = &list.items()[2].members()[0];
        assert_eq!((member.at.to_string(), member.value.at.to_string()), ("2:4".into(), "2:12".into()));
        assert_eq!(read.members()[1].at.to_string(), "3:2");
        assert_eq!(read.members()[3].value.at.to_string(), "3:25");
    }

    #[test]
    fn mistakes_have_a_place() {
        let told = |text: &str| {
            let mistake = Located::read(text).unwrap_err();
            format!("{}: {}", mistake.at, mistake.message)
        };
        assert_eq!(told("{\"a\":1,\n\"a\":2}"), "2:1: \"a\" is given twice: leave one out");
        assert!(told("{\"a\":\n,}").starts_with("2:1: this is no JSON: expected value"));
        assert!(told("").starts_with("1:1: this is no JSON"));
        assert!(told(&"[".repeat(100_000)).contains("recursion limit"));
    }
}
