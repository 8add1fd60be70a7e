//! Answers: rows that the changes of a query leave, a JSON object a line, in the form of `Flink.java --answer`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;

use anyhow::{Result, ensure};
use dbsp::algebra::F64;

use crate::values::{Text, Thousandths, Time};

/// A row that is being written.
#[derive(Default)]
pub struct Line(String);

impl Line {
    /// Adds a column.
    pub fn put<V: Value>(&mut self, name: &str, value: &V) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        write_text(&mut self.0, name);
        self.0.push(':');
        value.write(&mut self.0);
    }

    /// Adds all columns of a row.
    pub fn put_all<C: Columns>(&mut self, row: &C) {
        row.write(self);
    }
}

/// A row, or a part of one.
pub trait Columns {
    /// Adds its columns.
    fn write(&self, line: &mut Line);
}

/// A value of a column.
pub trait Value {
    /// Adds it as JSON.
    fn write(&self, out: &mut String);
}

impl Value for i64 {
    fn write(&self, out: &mut String) {
        push(out, format_args!("{self}"));
    }
}

impl Value for F64 {
    fn write(&self, out: &mut String) {
        // The fewest digits that are this number's alone.
        push(out, format_args!("{:?}", self.into_inner()));
    }
}

impl Value for Text {
    fn write(&self, out: &mut String) {
        write_text(out, self);
    }
}

impl Value for Time {
    fn write(&self, out: &mut String) {
        push(out, format_args!("\"{self}\""));
    }
}

impl Value for Thousandths {
    fn write(&self, out: &mut String) {
        push(out, format_args!("\"{self}\""));
    }
}

fn push(out: &mut String, value: std::fmt::Arguments) {
    // Writing to a String does not fail.
    let _ = out.write_fmt(value);
}

fn write_text(out: &mut String, text: &str) {
    push(out, format_args!("{}", serde_json::Value::from(text)));
}

/// The number of each row.
#[derive(Default)]
pub struct Answer(BTreeMap<String, i64>);

impl Answer {
    /// Adds a change of that weight; a row whose weights are 0 together is left out.
    pub fn add(&mut self, line: Line, weight: i64) {
        let mut line = line.0;
        line.push('}');
        let count = self.0.entry(line).or_default();
        *count += weight;
    }

    /// Writes every row as often as it is there.
    ///
    /// # Errors
    /// When one was taken back more often than given.
    pub fn print(self, out: &mut impl Write) -> Result<()> {
        for (line, count) in self.0 {
            ensure!(count >= 0, "taken back more often than given: {line}");
            for _ in 0..count {
                writeln!(out, "{line}")?;
            }
        }
        Ok(())
    }
}
