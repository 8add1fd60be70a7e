//! Reader of `CREATE SOURCE` and `CREATE TABLE`: columns, key, constraints, connector and format.
//!
//! The column list ([`columns`]) comes first, unless it is left out; ON CONFLICT, INCLUDE, WITH, FORMAT
//! and ENCODE follow in any order, each once (INCLUDE any number of times). Mistakes that the statement
//! alone shows are refused here: a table without key, a source with one, names declared twice, a relation
//! without connector, formats that need a table.

use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::columns::{self, RelationItems};
use super::options::{self, Tail};
use crate::mistake::{Mistake, Pos};
use crate::plan::formats::{Encoding, Format, IncludeKind};
use crate::sql::diagnostics::did_you_mean::did_you_mean;
use crate::sql::parse::ast::{ConflictDef, CreateRelation, IncludeDef, Name};
use crate::sql::parse::cursor::{Cursor, Read};
use crate::sql::parse::tokens::{begin_with, is_any_word};

/// Reads the statement from after `CREATE SOURCE` or `CREATE TABLE`.
pub fn relation(
    cursor: &mut Cursor<'_>,
    table: bool,
    pos: Pos,
    mistakes: &mut Vec<Mistake>,
) -> Read<CreateRelation> {
    let word = if table { "table" } else { "source" };
    let name = cursor.relation_name(&format!("a {word} name"))?;
    let mut items = RelationItems::default();
    if cursor.peek() == Some(&Token::LParen) {
        columns::read_list(cursor, &mut items, mistakes)?;
    } else {
        items.star = Some(pos);
    }
    if cursor.peek_words(&["as"]) {
        let hint = format!("write CREATE MATERIALIZED VIEW {} AS SELECT ...", name.text);
        return Err(Mistake::new(
            cursor.pos(),
            format!("a {word} has no query: its rows come from a connector"),
        )
        .hint(hint));
    }
    let mut conflict = None;
    let mut includes: Vec<IncludeDef> = Vec::new();
    let mut tail = Tail::default();
    while cursor.peek().is_some() {
        let at = cursor.pos();
        if cursor.take_words(&["on", "conflict"]) {
            if conflict.replace((on_conflict(cursor)?, at)).is_some() {
                mistakes.push(Mistake::new(at, "ON CONFLICT is given twice"));
            }
        } else if cursor.take_words(&["include"]) {
            match read_include(cursor) {
                Ok(include) => includes.push(include),
                Err(mistake) => {
                    mistakes.push(mistake);
                    cursor.seek(cursor.find_token(starts_clause));
                }
            }
        } else if !tail.read_clause(cursor, mistakes)? {
            return Err(unexpected_clause(cursor, &tail));
        }
    }
    let what = format!("{word} {}", name.text);
    tail.check_complete(&what, name.pos, mistakes);
    check_key(table, &name, &items, conflict.as_ref(), mistakes);
    check_names(&items, &includes, mistakes);
    check_format(tail.format, table, mistakes);
    mistakes.extend(refuse_parquet(&tail));
    let checks = columns::name_checks(&name.text, items.checks, mistakes);
    Ok(CreateRelation {
        table,
        columns: items.columns,
        star: items.star,
        primary_key: items.primary_key,
        checks,
        watermark: items.watermark,
        conflict,
        includes,
        with: tail.with.map(|(options, _)| options).unwrap_or_default(),
        // A missing clause is among the mistakes already, and then the statement is dropped.
        format: tail.format.unwrap_or((Format::Plain, pos)),
        encode: tail.encode.unwrap_or((Encoding::Json, Vec::new(), pos)),
        key_encode: tail.key_encode,
        name,
        pos,
    })
}

/// Refuses ENCODE PARQUET, which only sinks write.
fn refuse_parquet(tail: &Tail) -> Option<Mistake> {
    let (encoding, _, pos) = tail.encode.as_ref()?;
    let mistake = Mistake::new(*pos, "ENCODE PARQUET is for sinks only");
    (*encoding == Encoding::Parquet).then(|| mistake.hint("write ENCODE JSON or ENCODE AVRO"))
}

/// Tells whether a clause that follows the column list begins here.
fn starts_clause(rest: &[TokenWithSpan]) -> bool {
    is_any_word(&rest[0].token, &["on", "include", "with", "format", "encode"])
        || begin_with(rest, &["key", "encode"])
}

/// Refusal of a word that begins no clause; `before` are the clauses before it.
fn unexpected_clause(cursor: &Cursor<'_>, before: &Tail) -> Mistake {
    let hint = match cursor.peek() {
        Some(Token::Word(w)) => {
            did_you_mean(&w.value, ["INCLUDE", "WITH", "FORMAT", "ENCODE", "ON CONFLICT"])
        }
        _ => None,
    };
    let hint = hint.or_else(|| options::order_hint(cursor, before));
    cursor.expected("ON CONFLICT, INCLUDE, WITH or FORMAT").maybe_hint(hint)
}

/// Reads the rule after ON CONFLICT.
fn on_conflict(cursor: &mut Cursor<'_>) -> Read<ConflictDef> {
    if cursor.take_words(&["do", "nothing"]) {
        return Ok(ConflictDef::DoNothing);
    }
    if cursor.take_words(&["overwrite"]) || cursor.take_words(&["do", "update", "full"]) {
        if !cursor.take_words(&["with", "version", "column"]) {
            return Ok(ConflictDef::Overwrite { version: None });
        }
        let pos = cursor.pos();
        let mut columns = cursor.name_list("a column name")?;
        return match (columns.pop(), columns.is_empty()) {
            (Some(version), true) => Ok(ConflictDef::Overwrite { version: Some(version) }),
            _ => {
                Err(Mistake::new(pos, "a version is one column")
                    .hint("write WITH VERSION COLUMN (updated_at)"))
            }
        };
    }
    let hint = "write ON CONFLICT DO NOTHING (the first wins) or ON CONFLICT OVERWRITE [WITH VERSION COLUMN (c)] (the last wins)";
    Err(cursor.expected("DO NOTHING or OVERWRITE after ON CONFLICT").hint(hint))
}

/// The words behind INCLUDE.
pub const INCLUDES: [(&str, IncludeKind); 6] = [
    ("timestamp", IncludeKind::Timestamp),
    ("key", IncludeKind::Key),
    ("partition", IncludeKind::Partition),
    ("offset", IncludeKind::Offset),
    ("payload", IncludeKind::Payload),
    ("header", IncludeKind::Header(String::new())),
];

/// Reads the metadata column after INCLUDE.
fn read_include(cursor: &mut Cursor<'_>) -> Read<IncludeDef> {
    let pos = cursor.pos();
    let Some((word, mut kind)) = INCLUDES.into_iter().find(|(word, _)| cursor.take_words(&[word])) else {
        let what = "timestamp, key, partition, offset, header or payload after INCLUDE";
        let hint = match cursor.peek() {
            Some(Token::Word(w)) => {
                did_you_mean(&w.value, ["timestamp", "key", "partition", "offset", "header", "payload"])
            }
            _ => None,
        };
        return Err(cursor.expected(what).maybe_hint(hint));
    };
    let mut default = format!("_herald_{word}");
    if let IncludeKind::Header(header) = &mut kind {
        *header = cursor
            .take_string("a header's name in single quotes")
            .map_err(|m| m.hint("write INCLUDE header 'name' AS column"))?;
        default = format!("{default}_{header}");
    }
    let name = if cursor.take_words(&["as"]) {
        cursor.take_name("a column name")?
    } else {
        Name { text: default, pos }
    };
    Ok(IncludeDef { kind, name })
}

/// Refuses a table without a key, and a source with a key or ON CONFLICT.
fn check_key(
    table: bool,
    name: &Name,
    items: &RelationItems,
    conflict: Option<&(ConflictDef, Pos)>,
    mistakes: &mut Vec<Mistake>,
) {
    let keyed = "write CREATE TABLE for rows that replace each other by key";
    match (table, items.primary_key.first()) {
        (true, None) => mistakes
            .push(Mistake::new(name.pos, format!("table {} has no PRIMARY KEY", name.text)).hint(
                "add PRIMARY KEY (column), or write CREATE SOURCE if every record is a row of its own",
            )),
        (false, Some(key)) => {
            mistakes.push(Mistake::new(key.pos, "a source is append-only and has no PRIMARY KEY").hint(keyed))
        }
        _ => {}
    }
    if let (false, Some((_, pos))) = (table, conflict) {
        mistakes.push(Mistake::new(*pos, "a source is append-only and has no ON CONFLICT").hint(keyed));
    }
}

/// Refuses column names declared twice, INCLUDEd ones among them.
fn check_names(items: &RelationItems, includes: &[IncludeDef], mistakes: &mut Vec<Mistake>) {
    let names: Vec<&Name> =
        items.columns.iter().map(|c| &c.name).chain(includes.iter().map(|i| &i.name)).collect();
    for (i, name) in names.iter().enumerate() {
        if names[..i].iter().any(|other| other.text == name.text) {
            let mistake = Mistake::new(name.pos, format!("column {} is declared twice", name.text));
            mistakes.push(mistake.hint("names fold to lower case unless quoted"));
        }
    }
}

/// Refuses UPSERT and DEBEZIUM of a source: only rows of tables can be replaced and deleted.
fn check_format(format: Option<(Format, Pos)>, table: bool, mistakes: &mut Vec<Mistake>) {
    let (word, pos) = match format {
        Some((Format::Upsert, pos)) if !table => ("UPSERT", pos),
        Some((Format::Debezium, pos)) if !table => ("DEBEZIUM", pos),
        _ => return,
    };
    mistakes.push(
        Mistake::new(
            pos,
            format!("a source is append-only, and FORMAT {word} replaces and deletes rows by key"),
        )
        .hint("write CREATE TABLE with a PRIMARY KEY, or FORMAT PLAIN if every record is a row of its own"),
    );
}
