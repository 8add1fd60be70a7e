//! The relations of `pg_catalog` and `information_schema`: their columns, and their rows as Arrow batches.
//!
//! The columns are those of PostgreSQL 16, whatever Herald has to tell in them, so that no statement fails
//! over a column that is missing. A relation that nothing fills is empty.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use anyhow::{Context, Result};
use arrow::array::{
    ArrayBuilder, ArrayRef, BooleanBuilder, Float32Builder, Float64Builder, Int16Builder, Int32Builder,
    Int64Builder, ListBuilder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder, new_null_array,
};
use arrow::datatypes::{DataType, Schema, SchemaRef};

use super::types::{arrow_type, label_field};

/// Relation of a system schema.
pub(super) struct Relation {
    pub schema: &'static str,
    pub name: &'static str,
    pub oid: u32,
    /// `r` for tables, `v` for views, `f` for a function that stands in FROM.
    pub kind: &'static str,
    pub columns: Vec<Column>,
}

/// Column of a system relation.
pub(super) struct Column {
    pub name: &'static str,
    /// Name of its builtin type.
    pub type_name: &'static str,
    /// True for a column that is never NULL: its default is zero, false or the empty text.
    pub required: bool,
}

impl Relation {
    /// The columns as Arrow fields with labels.
    pub fn arrow_schema(&self) -> SchemaRef {
        let fields = self.columns.iter().map(|column| label_field(column.name, column.type_name));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// The column with a name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// All system relations.
pub(super) static RELATIONS: LazyLock<Vec<Relation>> =
    LazyLock::new(|| include_str!("data/relations.txt").lines().filter_map(parse_relation).collect());

/// Places in [`RELATIONS`] by schema and name.
static BY_NAME: LazyLock<HashMap<(&'static str, &'static str), usize>> = LazyLock::new(|| {
    RELATIONS.iter().enumerate().map(|(at, found)| ((found.schema, found.name), at)).collect()
});

/// Types of columns by name, of those columns that have the same type wherever they stand.
static COLUMN_TYPES: LazyLock<HashMap<&'static str, Option<&'static str>>> = LazyLock::new(|| {
    let mut types = HashMap::new();
    for column in RELATIONS.iter().flat_map(|relation| &relation.columns) {
        let entry = types.entry(column.name).or_insert(Some(column.type_name));
        if *entry != Some(column.type_name) {
            *entry = None;
        }
    }
    types
});

/// Parses a line of the list of relations.
fn parse_relation(line: &'static str) -> Option<Relation> {
    let mut words = line.split(' ');
    let (schema, name) = (words.next()?, words.next()?);
    let (oid, kind) = (words.next()?.parse().ok()?, words.next()?);
    Some(Relation { schema, name, oid, kind, columns: words.filter_map(parse_column).collect() })
}

/// Parses a column: `name:type`, with `!` if it is never NULL.
fn parse_column(word: &'static str) -> Option<Column> {
    let (name, type_name) = word.split_once(':')?;
    let required = type_name.ends_with('!');
    Some(Column { name, type_name: type_name.trim_end_matches('!'), required })
}

/// The system relation with a name.
pub(super) fn relation(schema: &str, name: &str) -> Option<&'static Relation> {
    let places: &HashMap<(&str, &str), usize> = &BY_NAME;
    RELATIONS.get(*places.get(&(schema, name))?)
}

/// Type of the catalogue's columns with this name, if all have the same.
pub(super) fn column_type(name: &str) -> Option<&'static str> {
    COLUMN_TYPES.get(name).copied().flatten()
}

/// Value of a column of the catalogue.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Ints(Vec<i64>),
    Texts(Vec<Option<String>>),
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Value {
        Value::Int(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Value {
        Value::Int(i64::from(value))
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Value {
        Value::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Value {
        Value::Text(value)
    }
}

impl From<Vec<i64>> for Value {
    fn from(value: Vec<i64>) -> Value {
        Value::Ints(value)
    }
}

impl From<Vec<String>> for Value {
    fn from(value: Vec<String>) -> Value {
        Value::Texts(value.into_iter().map(Some).collect())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

/// Values of a type, one after the other.
enum Cells {
    Bool(BooleanBuilder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Text(StringBuilder),
    Time(TimestampMicrosecondBuilder),
    Int16s(ListBuilder<Int16Builder>),
    Int32s(ListBuilder<Int32Builder>),
    Int64s(ListBuilder<Int64Builder>),
    Texts(ListBuilder<StringBuilder>),
    /// Values of a type that the catalogue never has any of, by their number.
    Nulls(DataType, usize),
}

impl Cells {
    fn new(data_type: &DataType) -> Cells {
        match data_type {
            DataType::Boolean => Cells::Bool(BooleanBuilder::new()),
            DataType::Int16 => Cells::Int16(Int16Builder::new()),
            DataType::Int32 => Cells::Int32(Int32Builder::new()),
            DataType::Int64 => Cells::Int64(Int64Builder::new()),
            DataType::Float32 => Cells::Float32(Float32Builder::new()),
            DataType::Float64 => Cells::Float64(Float64Builder::new()),
            DataType::Utf8 => Cells::Text(StringBuilder::new()),
            DataType::Timestamp(..) => {
                Cells::Time(TimestampMicrosecondBuilder::new().with_data_type(data_type.clone()))
            }
            DataType::List(item) => match item.data_type() {
                DataType::Int16 => Cells::Int16s(ListBuilder::new(Int16Builder::new())),
                DataType::Int32 => Cells::Int32s(ListBuilder::new(Int32Builder::new())),
                DataType::Int64 => Cells::Int64s(ListBuilder::new(Int64Builder::new())),
                DataType::Utf8 => Cells::Texts(ListBuilder::new(StringBuilder::new())),
                _ => Cells::Nulls(data_type.clone(), 0),
            },
            _ => Cells::Nulls(data_type.clone(), 0),
        }
    }

    /// Appends a value; one that is not of the type is NULL.
    fn push(&mut self, value: Value) {
        match (self, value) {
            (Cells::Bool(cells), value) => cells.append_option(as_bool(&value)),
            (Cells::Int16(cells), value) => {
                cells.append_option(as_int(&value).and_then(|value| i16::try_from(value).ok()));
            }
            (Cells::Int32(cells), value) => {
                cells.append_option(as_int(&value).and_then(|value| i32::try_from(value).ok()));
            }
            (Cells::Int64(cells), value) => cells.append_option(as_int(&value)),
            (Cells::Time(cells), value) => cells.append_option(as_int(&value)),
            (Cells::Float32(cells), value) => cells.append_option(as_float(&value).map(|value| value as f32)),
            (Cells::Float64(cells), value) => cells.append_option(as_float(&value)),
            (Cells::Text(cells), Value::Text(text)) => cells.append_value(text),
            (Cells::Text(cells), _) => cells.append_null(),
            (Cells::Int16s(cells), Value::Ints(items)) => {
                cells.append_value(items.iter().map(|item| i16::try_from(*item).ok()));
            }
            (Cells::Int16s(cells), _) => cells.append_null(),
            (Cells::Int32s(cells), Value::Ints(items)) => {
                cells.append_value(items.iter().map(|item| i32::try_from(*item).ok()));
            }
            (Cells::Int32s(cells), _) => cells.append_null(),
            (Cells::Int64s(cells), Value::Ints(items)) => cells.append_value(items.into_iter().map(Some)),
            (Cells::Int64s(cells), _) => cells.append_null(),
            (Cells::Texts(cells), Value::Texts(items)) => cells.append_value(items),
            (Cells::Texts(cells), _) => cells.append_null(),
            (Cells::Nulls(_, count), _) => *count += 1,
        }
    }

    fn finish(mut self) -> ArrayRef {
        let builder: &mut dyn ArrayBuilder = match &mut self {
            Cells::Bool(cells) => cells,
            Cells::Int16(cells) => cells,
            Cells::Int32(cells) => cells,
            Cells::Int64(cells) => cells,
            Cells::Float32(cells) => cells,
            Cells::Float64(cells) => cells,
            Cells::Text(cells) => cells,
            Cells::Time(cells) => cells,
            Cells::Int16s(cells) => cells,
            Cells::Int32s(cells) => cells,
            Cells::Int64s(cells) => cells,
            Cells::Texts(cells) => cells,
            Cells::Nulls(data_type, count) => return new_null_array(data_type, *count),
        };
        builder.finish()
    }
}

fn as_bool(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        _ => None,
    }
}

fn as_int(value: &Value) -> Option<i64> {
    match value {
        Value::Int(value) => Some(*value),
        _ => None,
    }
}

fn as_float(value: &Value) -> Option<f64> {
    match value {
        Value::Float(value) => Some(*value),
        Value::Int(value) => Some(*value as f64),
        _ => None,
    }
}

/// Array of a type's values, as the functions of the catalogue give it.
pub(super) fn array_of(data_type: &DataType, values: Vec<Value>) -> ArrayRef {
    let mut cells = Cells::new(data_type);
    for value in values {
        cells.push(value);
    }
    cells.finish()
}

/// Rows of a system relation that are being made.
pub(super) struct Rows {
    relation: &'static Relation,
    columns: Vec<Cells>,
    count: usize,
}

impl Rows {
    /// No rows yet.
    pub fn new(relation: &'static Relation) -> Rows {
        let columns = relation.columns.iter().map(|column| Cells::new(&arrow_type(column.type_name)));
        Rows { relation, columns: columns.collect(), count: 0 }
    }

    /// Appends a row by the names of its columns. The others have their defaults.
    pub fn push<const N: usize>(&mut self, row: [(&str, Value); N]) {
        let mut row: Vec<(&str, Option<Value>)> =
            row.into_iter().map(|(name, value)| (name, Some(value))).collect();
        // Rows name columns in the relation's order, so the search mostly finds the first that is left.
        let mut next = 0;
        for (column, cells) in self.relation.columns.iter().zip(&mut self.columns) {
            let place = match row.get(next) {
                Some((name, _)) if *name == column.name => Some(next),
                _ => row.iter().position(|(name, _)| *name == column.name),
            };
            let given = place.and_then(|at| {
                next = at + 1;
                row[at].1.take()
            });
            cells.push(given.unwrap_or_else(|| default_value(column)));
        }
        debug_assert!(row.iter().all(|(_, value)| value.is_none()), "a column of {}", self.relation.name);
        self.count += 1;
    }

    /// The rows as a batch.
    ///
    /// # Errors
    /// When the columns do not fit the relation, which is a fault of this module.
    pub fn finish(self) -> Result<RecordBatch> {
        let arrays = self.columns.into_iter().map(Cells::finish).collect();
        RecordBatch::try_new(self.relation.arrow_schema(), arrays)
            .with_context(|| format!("the rows of {} do not fit its columns", self.relation.name))
    }
}

/// Value of a column that a row does not name.
fn default_value(column: &Column) -> Value {
    if !column.required {
        return Value::Null;
    }
    match arrow_type(column.type_name) {
        DataType::Boolean => Value::Bool(false),
        DataType::Utf8 => Value::Text(String::new()),
        DataType::List(_) => Value::Ints(Vec::new()),
        DataType::Float32 | DataType::Float64 => Value::Float(0.0),
        _ => Value::Int(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_list_is_read() {
        assert_eq!(RELATIONS.len(), include_str!("data/relations.txt").lines().count());
        let class = relation("pg_catalog", "pg_class").expect("pg_class");
        assert_eq!((class.oid, class.kind), (1259, "r"));
        assert_eq!(class.column("relkind").map(|column| column.type_name), Some("char"));
        assert_eq!((column_type("typreceive"), column_type("oid")), (Some("regproc"), Some("oid")));
    }

    #[test]
    fn a_row_has_defaults_for_columns_that_it_does_not_name() {
        let mut rows = Rows::new(relation("pg_catalog", "pg_constraint").expect("pg_constraint"));
        rows.push([("oid", 7_i64.into()), ("conkey", vec![1_i64, 2].into())]);
        let batch = rows.finish().expect("a batch");
        let columns = batch.project(&[0, 4, 18, 19]).expect("columns");
        let text = arrow::util::pretty::pretty_format_batches(&[columns]).expect("text").to_string();
        let cells: Vec<&str> = text.lines().nth(3).expect("a row").split('|').map(str::trim).collect();
        assert_eq!(cells, ["", "7", "false", "[1, 2]", "", ""]);
    }
}
