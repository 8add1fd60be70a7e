//! Binder of `CREATE SOURCE` and `CREATE TABLE`: resolves names to column indexes and checks types.
//!
//! Columns come from the declaration, those of `*` from the encoding's schema. Generated columns
//! can read the decoded and the INCLUDEd ones; constraints, watermark, key and version can read all.
//! The connector validates the options that are left in a source.

mod erase;
mod export;
pub(crate) mod history;
pub(crate) mod index;
pub(crate) mod keyed;
mod option_columns;
mod personal;
pub(crate) mod places;
pub(crate) mod sink;
pub(crate) mod view_metrics;
mod whole;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::catalog::Catalog;
use super::diagnostics::did_you_mean::did_you_mean;
use super::diagnostics::site::Site;
use super::parse::ast::{ColumnDef, ConflictDef, CreateRelation, Name, OptionItem, WatermarkDef};
use super::parse::interval::duration_us;
use super::parse::statement::columns;
use super::query;
use crate::mistake::{Mistake, Pos};
use crate::plan::analysis::event_time;
use crate::plan::formats::{Encoding, IncludeKind};
use crate::plan::{Check, Conflict, Keyed, Origin, Scalar, Source, Watermark};
use personal::PERSONAL;
use schemas::types::personal::{PersonalTag, take_tags};

/// Function that asks the encoding (a registry, a schema file) for the columns of a relation that leaves them
/// out. None if the encoding names no columns.
pub type ColumnsOf<'a> = dyn Fn(&CreateRelation) -> Result<Option<Vec<Field>>, String> + 'a;

/// Option for how far the times of a watermark may be ahead of their records'.
const MAX_AHEAD: &str = "watermark.max_ahead";
/// Its default.
const DAY_US: i64 = 86_400_000_000;

/// Resolves one relation.
///
/// # Errors
/// All mistakes of the statement.
pub(crate) fn relation(
    create: &CreateRelation,
    catalog: &Catalog,
    columns_of: &ColumnsOf<'_>,
) -> Result<Source, Vec<Mistake>> {
    let mut bind = RelationBinder { create, catalog, mistakes: Vec::new(), personal: Vec::new() };
    let columns = bind.expand_columns(columns_of);
    bind.mistakes.extend(whole::check(create, &columns));
    let (decoded, schema, origins) = bind.build_schemas(&columns);
    let source = bind.build_source(decoded, schema, origins);
    if bind.mistakes.is_empty() { Ok(source) } else { Err(bind.mistakes) }
}

/// Collects options into a map.
pub(crate) fn option_map(items: &[OptionItem]) -> BTreeMap<String, String> {
    items.iter().map(|o| (o.name.clone(), o.value.clone())).collect()
}

/// Finds the option of that name.
pub(crate) fn find_option<'a>(items: &'a [OptionItem], name: &str) -> Option<&'a OptionItem> {
    items.iter().find(|o| o.name == name)
}

/// Refuses a missing connector, and one that is not among `known`.
pub(crate) fn check_connector(items: &[OptionItem], known: &[&str], of: (&str, Pos)) -> Result<(), Mistake> {
    match find_option(items, "connector") {
        None => Err(Mistake::new(of.1, format!("{} has no connector", of.0)).hint(format!(
            "write WITH (connector = '{}', ...): {}",
            known[0],
            list_connectors(known)
        ))),
        Some(o) if known.contains(&o.value.as_str()) => Ok(()),
        Some(o) => {
            let hint = match (o.value.as_str(), did_you_mean(&o.value, known.iter().copied())) {
                ("upsert-kafka", _) => {
                    "write connector = 'kafka', and FORMAT UPSERT behind WITH (...)".to_owned()
                }
                (_, Some(near)) => near,
                (_, None) => format!("the connectors for it are {}", list_connectors(known)),
            };
            Err(Mistake::new(o.pos, format!("unknown connector {} for {}", o.value, of.0)).hint(hint))
        }
    }
}

/// Connectors as a list for a message: `kafka, file, parquet or blackhole`.
fn list_connectors(known: &[&str]) -> String {
    match known.split_last() {
        Some((last, first)) => format!("{} or {last}", first.join(", ")),
        None => " or ".to_owned(),
    }
}

/// Hint at the column of `schema` whose name is nearest to `name`.
fn similar_column(schema: &Schema, name: &str) -> Option<String> {
    did_you_mean(name, schema.fields().iter().map(|f| f.name().as_str()))
}

struct RelationBinder<'a> {
    create: &'a CreateRelation,
    catalog: &'a Catalog,
    mistakes: Vec<Mistake>,
    /// Tags of the schema that defines the columns.
    personal: Vec<PersonalTag>,
}

impl RelationBinder<'_> {
    fn site(&self, pos: Pos) -> Site {
        Site { file: pos.file, pos }
    }

    /// Declared columns, with the encoding's in place of `*`; a declared one hides one of the encoding.
    fn expand_columns(&mut self, columns_of: &ColumnsOf<'_>) -> Vec<ColumnDef> {
        let create = self.create;
        let Some(star) = create.star else { return create.columns.clone() };
        let found = match columns_of(create) {
            Ok(Some(fields)) => fields,
            Ok(None) => {
                let hint = match create.encode.0 {
                    Encoding::Bytes => "declare the one that takes the record's value: (body BYTEA)",
                    Encoding::Text => "declare the one that takes the record's value: (body VARCHAR)",
                    _ => {
                        "declare them, or use ENCODE AVRO with schema.registry or schema.file, which names them"
                    }
                };
                let message = format!("the columns of {} are not declared", create.name.text);
                self.mistakes.push(Mistake::new(star, message).hint(hint));
                vec![]
            }
            Err(message) => {
                self.mistakes.push(Mistake::new(
                    star,
                    format!("cannot learn the columns of {}: {message}", create.name.text),
                ));
                vec![]
            }
        };
        let (mut columns, after): (Vec<_>, Vec<_>) =
            create.columns.iter().cloned().partition(|c| c.name.pos < star);
        for field in found {
            if create.columns.iter().any(|c| c.name.text == *field.name()) {
                continue;
            }
            let (field, tags) = take_tags(field);
            self.personal.extend(tags);
            columns.push(ColumnDef {
                name: Name { text: field.name().clone(), pos: star },
                not_null: false,
                generated: None,
                // Records may lack any field, at any depth.
                data_type: schemas::types::columns::nullable_field(&field),
            });
        }
        columns.extend(after);
        columns
    }

    /// Schemas of the decoded columns and of all columns, and the origin of each.
    fn build_schemas(&mut self, columns: &[ColumnDef]) -> (SchemaRef, SchemaRef, Vec<Origin>) {
        let create = self.create;
        let mut decoded = Vec::new();
        for c in columns {
            if c.generated.is_none() {
                decoded.push(c.data_type.clone().with_name(&c.name.text).with_nullable(true));
            }
        }
        let included: Vec<Field> =
            create.includes.iter().map(|i| included_field(&i.name.text, &i.kind)).collect();
        let base = Schema::new(decoded.iter().chain(&included).cloned().collect::<Vec<_>>());
        let (mut fields, mut origins, mut next) = (Vec::new(), Vec::new(), 0);
        for c in columns {
            // Key columns are NOT NULL without being declared so.
            let nullable = !(c.not_null || is_key(create, &c.name.text));
            let field = schemas::without_default(c.data_type.clone());
            fields.push(field.with_name(&c.name.text).with_nullable(nullable));
            let Some(expr) = &c.generated else {
                origins.push(Origin::Decoded(next));
                next += 1;
                continue;
            };
            let over = (create.name.text.as_str(), &base);
            match query::plan_expression(
                self.catalog,
                expr,
                over,
                Some(c.data_type.data_type()),
                self.site(c.name.pos),
            ) {
                Ok(scalar) => {
                    self.same_json(c, &scalar, &base);
                    origins.push(Origin::Generated(scalar));
                }
                Err(mistakes) => self.mistakes.extend(mistakes),
            }
        }
        for (at, field) in included.into_iter().enumerate() {
            let nullable = field.is_nullable() && !is_key(create, field.name());
            fields.push(field.with_nullable(nullable));
            origins.push(Origin::Included(at));
        }
        (Arc::new(Schema::new(decoded)), Arc::new(Schema::new(fields)), origins)
    }

    /// Refuses text as the value of a JSONB column: it was not parsed as JSON.
    fn same_json(&mut self, column: &ColumnDef, scalar: &Scalar, base: &Schema) {
        let made = scalar.expr().return_field(base).is_ok_and(|field| schemas::is_jsonb(&field));
        if schemas::is_jsonb(&column.data_type) && !made {
            let message = format!("the column {} is JSONB, and its expression is not", column.name.text);
            let hint = "write CAST(x AS JSONB) to read a text, or to_jsonb(x) for another value";
            self.mistakes.push(Mistake::new(column.name.pos, message).hint(hint));
        }
    }

    fn build_source(&mut self, decoded: SchemaRef, schema: SchemaRef, origins: Vec<Origin>) -> Source {
        let create = self.create;
        let what = format!("{} {}", if create.table { "table" } else { "source" }, create.name.text);
        let known = ["kafka", "file", "datagen", "nexmark"];
        if let Err(mistake) = check_connector(&create.with, &known, (&what, create.pos)) {
            self.mistakes.push(mistake);
        }
        let watermark = self.bind_watermark(&schema);
        let max_ahead_us = self.bind_max_ahead(&schema);
        let keyed = self.bind_key(&schema);
        let key: &[usize] = match &keyed {
            Some(keyed) => &keyed.key,
            None => &[],
        };
        self.mistakes.extend(keyed::check_format(create, (&schema, &origins), key));
        let (key_encoding, key_encode_options) = keyed::key_encoding(create, &origins, key);
        let checks = self.bind_checks(&schema);
        let not_null = (0..schema.fields().len())
            .filter(|c| !schema.field(*c).is_nullable() && self.may_be_null(*c, &schema))
            .collect();
        let mut options = option_map(&create.with);
        let dead_letter_topic = options.remove("dead_letter.topic");
        // These options are Herald's; the connector gets the rest.
        let personal = self.bind_personal(&schema);
        for own in [MAX_AHEAD, "retention", PERSONAL, erase::ERASE, erase::ERASE_BY] {
            options.remove(own);
        }
        let (erased, mistakes) = erase::bind(create, (&schema, &origins), key);
        self.mistakes.extend(mistakes);
        Source {
            name: create.name.text.clone(),
            decoded,
            schema,
            origins,
            includes: create.includes.iter().map(|i| i.kind.clone()).collect(),
            not_null,
            checks,
            watermark,
            max_ahead_us,
            keyed,
            format: create.format.0,
            encoding: create.encode.0,
            encode_options: self::option_map(&create.encode.1),
            key_encoding,
            key_encode_options,
            options,
            dead_letter_topic,
            personal,
            erases: erased.orders,
            erase_by: erased.paths,
        }
    }

    /// Tags of personal data: of the schema that defines the columns, and of the option.
    fn bind_personal(&mut self, schema: &Schema) -> Vec<PersonalTag> {
        let mut tags = std::mem::take(&mut self.personal);
        if let Some(item) = find_option(&self.create.with, PERSONAL) {
            match personal::read_tags(item, schema) {
                Ok(listed) => tags.extend(listed),
                Err(mistakes) => self.mistakes.extend(mistakes),
            }
        }
        tags
    }

    /// Returns false for partition and offset: every record has them, so no check is needed.
    fn may_be_null(&self, column: usize, schema: &Schema) -> bool {
        let name = schema.field(column).name();
        !self
            .create
            .includes
            .iter()
            .any(|i| i.name.text == *name && matches!(i.kind, IncludeKind::Partition | IncludeKind::Offset))
    }

    /// Finds a column by its name; reports an unknown one.
    fn find_column(&mut self, schema: &Schema, name: &Name) -> Option<usize> {
        if let Some((at, _)) = schema.column_with_name(&name.text) {
            return Some(at);
        }
        let message = format!("{} has no column {}", self.create.name.text, name.text);
        let hint = similar_column(schema, &name.text);
        self.mistakes.push(Mistake::new(name.pos, message).maybe_hint(hint));
        None
    }

    /// Reads an option that is a length of time; reports an invalid one.
    fn duration_option(&mut self, name: &str) -> Option<i64> {
        let item = find_option(&self.create.with, name)?;
        match duration_us(&item.value) {
            Ok(us) if us >= 0 => Some(us),
            Ok(_) => {
                self.mistakes.push(
                    Mistake::new(item.pos, format!("{name} is negative"))
                        .hint(format!("write {name} = '1 day'")),
                );
                None
            }
            Err(message) => {
                self.mistakes.push(
                    Mistake::new(item.pos, format!("{name}: {message}"))
                        .hint(format!("write {name} = '400 days'")),
                );
                None
            }
        }
    }

    /// Finds the column of a watermark, which stands before its AS and behind it; reports unknown names, and
    /// two columns.
    fn watermark_column(&mut self, schema: &Schema, def: &WatermarkDef) -> Option<usize> {
        let column = self.find_column(schema, &def.column);
        if def.of.text == def.column.text {
            return column;
        }
        let of = self.find_column(schema, &def.of);
        if column.is_some() && of.is_some() {
            let hint = columns::watermark_hint(&def.column.text);
            self.mistakes
                .push(Mistake::new(def.of.pos, columns::watermark_form(&def.column.text)).hint(hint));
        }
        None
    }

    fn bind_watermark(&mut self, schema: &Schema) -> Option<Watermark> {
        let def = self.create.watermark.as_ref()?;
        let column = self.watermark_column(schema, def)?;
        if !matches!(schema.field(column).data_type(), DataType::Timestamp(TimeUnit::Microsecond, _)) {
            let message = format!(
                "the watermark column {} is {}",
                def.column.text,
                schemas::sql_type(schema.field(column))
            );
            let hint = if schema.field(column).data_type().is_integer() {
                columns::number_watermark_hint(&def.column.text)
            } else {
                "a watermark needs a TIMESTAMP or TIMESTAMPTZ column".to_owned()
            };
            self.mistakes.push(Mistake::new(def.column.pos, message).hint(hint));
            return None;
        }
        Some(Watermark { column, delay_us: def.delay_us })
    }

    /// Reads `watermark.max_ahead`; refuses it without a watermark, whose times it bounds.
    fn bind_max_ahead(&mut self, schema: &Schema) -> i64 {
        let length = self.duration_option(MAX_AHEAD);
        if let (Some(item), None) = (find_option(&self.create.with, MAX_AHEAD), &self.create.watermark) {
            let message = format!("{MAX_AHEAD} bounds the times of a watermark, and there is none");
            let hint = format!("add {}, or leave the option out", event_time::watermark_items(schema));
            self.mistakes.push(Mistake::new(item.pos, message).hint(hint));
        }
        length.unwrap_or(DAY_US)
    }

    fn bind_key(&mut self, schema: &Schema) -> Option<Keyed> {
        let create = self.create;
        let retention_us = self.duration_option("retention");
        if let Some(item) = find_option(&create.with, "retention")
            && (!create.table || create.watermark.is_none())
        {
            let (message, hint) = if create.table {
                (
                    "retention needs a watermark, which says how old a row is",
                    format!("add {}", event_time::watermark_items(schema)),
                )
            } else {
                (
                    "a source keeps no rows to retain",
                    "leave retention out, or CREATE TABLE with a PRIMARY KEY".to_owned(),
                )
            };
            self.mistakes.push(Mistake::new(item.pos, message).hint(hint));
        }
        if !create.table {
            return None;
        }
        let mut key: Vec<usize> = Vec::with_capacity(create.primary_key.len());
        for name in &create.primary_key {
            key.extend(self.find_column(schema, name));
        }
        let conflict = match &create.conflict {
            Some((ConflictDef::DoNothing, _)) => Conflict::DoNothing,
            None | Some((ConflictDef::Overwrite { version: None }, _)) => {
                Conflict::Overwrite { version: None }
            }
            Some((ConflictDef::Overwrite { version: Some(name) }, _)) => {
                Conflict::Overwrite { version: self.bind_version(schema, name, &key) }
            }
        };
        Some(Keyed { key, conflict, retention_us })
    }

    fn bind_version(&mut self, schema: &Schema, name: &Name, key: &[usize]) -> Option<usize> {
        let column = self.find_column(schema, name)?;
        if schema.field(column).data_type().is_nested() || schemas::is_jsonb(schema.field(column)) {
            let message = format!(
                "the version column {} is {}, which has no order",
                name.text,
                schemas::sql_type(schema.field(column))
            );
            self.mistakes.push(Mistake::new(name.pos, message).hint("use a number or a time"));
        } else if key.contains(&column) {
            let message = format!("the version column {} is part of the key", name.text);
            self.mistakes.push(
                Mistake::new(name.pos, message)
                    .hint("rows of one key would all have one version: name another column"),
            );
        }
        Some(column)
    }

    fn bind_checks(&mut self, schema: &SchemaRef) -> Vec<Check> {
        let create = self.create;
        let mut checks = Vec::new();
        for def in &create.checks {
            let over = (create.name.text.as_str(), schema.as_ref());
            match query::plan_expression(self.catalog, &def.expr, over, None, self.site(def.pos)) {
                Ok(predicate) => match predicate.data_type(schema) {
                    Ok(DataType::Boolean) => {
                        checks.push(Check { name: def.name.clone(), text: def.text.clone(), predicate })
                    }
                    _ => self.mistakes.push(
                        Mistake::new(def.pos, format!("the constraint {} is not a condition", def.name))
                            .hint("write a comparison, such as CHECK (x >= 0)"),
                    ),
                },
                Err(mistakes) => self.mistakes.extend(mistakes),
            }
        }
        checks
    }
}

/// Tells whether a column is part of the PRIMARY KEY.
fn is_key(create: &CreateRelation, name: &str) -> bool {
    create.primary_key.iter().any(|key| key.text == name)
}

fn included_field(name: &str, kind: &IncludeKind) -> Field {
    let (data_type, nullable) = match kind {
        IncludeKind::Timestamp => (schemas::timestamptz(), true),
        IncludeKind::Key | IncludeKind::Header(_) | IncludeKind::Payload => (DataType::Binary, true),
        IncludeKind::Partition => (DataType::Int32, false),
        IncludeKind::Offset => (DataType::Int64, false),
    };
    Field::new(name, data_type, nullable)
}
