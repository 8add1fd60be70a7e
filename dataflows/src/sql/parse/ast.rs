//! Syntax tree of a topology: its statements before any name is resolved.
//!
//! The parser produces these; the binder turns them into a [`crate::plan::Plan`]. Expressions,
//! queries and types are `sqlparser`'s own trees, with their spans; everything that Herald adds to SQL
//! (sources, tables with conflict rules, sinks) is defined here. Every name and option keeps its
//! position in the text, so that each refusal can point at it.

use crate::mistake::Pos;
use crate::plan::formats::{Encoding, Format, IncludeKind};
use datafusion_sql::sqlparser::ast as sql;

/// Identifier in normal form (folded to lower case unless quoted) and its position.
#[derive(Clone, Debug, PartialEq)]
pub struct Name {
    /// Identifier in normal form.
    pub text: String,
    /// Its position.
    pub pos: Pos,
}

/// One `name = value` of a `WITH` or `ENCODE` list, variables already replaced.
#[derive(Clone, Debug, PartialEq)]
pub struct OptionItem {
    /// Option name, lower-cased except for the part after `properties.`.
    pub name: String,
    /// Value after substitution of `${...}`.
    pub value: String,
    /// Position of the option's name.
    pub pos: Pos,
}

/// One statement of a topology.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "there are tens of statements, and each is read once")]
pub enum Statement {
    /// `CREATE SOURCE` (append-only) or `CREATE TABLE` (keyed).
    Relation(CreateRelation),
    /// `CREATE VIEW` or `CREATE MATERIALIZED VIEW`, with its query.
    View(CreateView),
    /// The same without a query.
    Declared(DeclareView),
    /// `INSERT INTO` a view that is declared without a query.
    Insert(Insert),
    /// `CREATE SINK`.
    Sink(CreateSink),
    /// `CREATE INDEX`.
    Index(CreateIndex),
}

/// `CREATE SOURCE | TABLE`.
#[derive(Clone, Debug)]
pub struct CreateRelation {
    /// Its name.
    pub name: Name,
    /// True for TABLE (keyed), false for SOURCE (append-only).
    pub table: bool,
    /// Declared columns in order.
    pub columns: Vec<ColumnDef>,
    /// Position of a `*` in the column list, or of the statement if the list is missing.
    pub star: Option<Pos>,
    /// PRIMARY KEY columns.
    pub primary_key: Vec<Name>,
    /// CHECK constraints.
    pub checks: Vec<CheckDef>,
    /// WATERMARK clause.
    pub watermark: Option<WatermarkDef>,
    /// ON CONFLICT clause.
    pub conflict: Option<(ConflictDef, Pos)>,
    /// INCLUDE clauses in order.
    pub includes: Vec<IncludeDef>,
    /// WITH options.
    pub with: Vec<OptionItem>,
    /// FORMAT word.
    pub format: (Format, Pos),
    /// ENCODE word and its options.
    pub encode: (Encoding, Vec<OptionItem>, Pos),
    /// KEY ENCODE word, where given.
    pub key_encode: Option<(Encoding, Vec<OptionItem>, Pos)>,
    /// The statement's first token.
    pub pos: Pos,
}

/// One declared column.
#[derive(Clone, Debug)]
pub struct ColumnDef {
    /// Its name.
    pub name: Name,
    /// Its type, converted to Arrow; struct and array types included.
    pub data_type: arrow::datatypes::Field,
    /// NOT NULL.
    pub not_null: bool,
    /// `AS (expr)`.
    pub generated: Option<sql::Expr>,
}

/// `CONSTRAINT name CHECK (expr)`; unnamed ones are called `TABLE_check`, `TABLE_check1`, ...
#[derive(Clone, Debug)]
pub struct CheckDef {
    /// Name.
    pub name: String,
    /// Condition.
    pub expr: sql::Expr,
    /// The condition as written.
    pub text: String,
    /// Its position.
    pub pos: Pos,
}

/// `WATERMARK FOR column AS of [- INTERVAL '...']`.
#[derive(Clone, Debug)]
pub struct WatermarkDef {
    /// The event-time column.
    pub column: Name,
    /// The same column, as it stands behind AS; the binder refuses another one.
    pub of: Name,
    /// The delay in microseconds.
    pub delay_us: i64,
}

/// ON CONFLICT.
#[derive(Clone, Debug, PartialEq)]
pub enum ConflictDef {
    /// DO NOTHING: the first row of a key is kept.
    DoNothing,
    /// OVERWRITE: the last row of a key is kept, or the one with the greatest version.
    Overwrite {
        /// WITH VERSION COLUMN (c).
        version: Option<Name>,
    },
}

/// `INCLUDE kind [name] AS alias`.
#[derive(Clone, Debug)]
pub struct IncludeDef {
    /// Part of the record.
    pub kind: IncludeKind,
    /// Column name: the alias, or `_herald_KIND`.
    pub name: Name,
}

/// `CREATE [MATERIALIZED] VIEW`.
#[derive(Clone, Debug)]
pub struct CreateView {
    /// Its name.
    pub name: Name,
    /// MATERIALIZED.
    pub materialized: bool,
    /// WITH options.
    pub with: Vec<OptionItem>,
    /// The query.
    pub query: Box<sql::Query>,
    /// Position of EMIT ON WINDOW CLOSE, if it is written.
    pub emit_on_close: Option<Pos>,
    /// The query as written, white space kept.
    pub text: String,
    /// The statement's first token.
    pub pos: Pos,
}

/// `CREATE [MATERIALIZED] VIEW` with typed columns and without a query: INSERT statements fill it.
#[derive(Clone, Debug)]
pub struct DeclareView {
    /// Its name.
    pub name: Name,
    /// MATERIALIZED.
    pub materialized: bool,
    /// Its columns, nullable, in order.
    pub columns: Vec<arrow::datatypes::Field>,
    /// WITH options.
    pub with: Vec<OptionItem>,
    /// The statement's first token.
    pub pos: Pos,
}

/// `INSERT INTO view [(column, ...)] query`.
#[derive(Clone, Debug)]
pub struct Insert {
    /// The view.
    pub into: Name,
    /// The columns that the query fills, in its order; all of the view without a list.
    pub columns: Option<Vec<Name>>,
    /// The query.
    pub query: Box<sql::Query>,
    /// The query as written, white space kept.
    pub text: String,
    /// The statement's first token.
    pub pos: Pos,
}

/// `CREATE INDEX`.
#[derive(Clone, Debug)]
pub struct CreateIndex {
    /// Its name.
    pub name: Name,
    /// The view.
    pub view: Name,
    /// The indexed columns in order.
    pub columns: Vec<Name>,
}

/// `CREATE TOPIC` of a topic layout.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateTopic {
    /// Its name.
    pub name: Name,
    /// WITH options.
    pub with: Vec<OptionItem>,
}

/// Input of a sink.
#[derive(Clone, Debug)]
pub enum SinkInput {
    /// FROM: a relation by name.
    From(Name),
    /// AS: a query and its text.
    Query(Box<sql::Query>, String),
}

/// `CREATE SINK`.
#[derive(Clone, Debug)]
pub struct CreateSink {
    /// Its name.
    pub name: Name,
    /// Its input.
    pub input: SinkInput,
    /// WITH options.
    pub with: Vec<OptionItem>,
    /// FORMAT word.
    pub format: (Format, Pos),
    /// ENCODE word and its options.
    pub encode: (Encoding, Vec<OptionItem>, Pos),
    /// KEY ENCODE word, where given.
    pub key_encode: Option<(Encoding, Vec<OptionItem>, Pos)>,
    /// The statement's first token.
    pub pos: Pos,
}
