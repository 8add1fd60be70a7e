//! Rules of sources: the conditions by which records become rows.

use std::collections::{BTreeMap, BTreeSet};

use super::columns::Deriver;
use super::reading::{merge, read};
use super::{ColumnLineage, ConditionId, ConditionKind, Place, RowsLineage, Use};
use crate::functions::text::format::quote_identifier;
use crate::plan::analysis::fallible::fallible;
use crate::plan::explain::{length_text, names_of};
use crate::plan::{Conflict, Origin, Source};
use arrow::datatypes::Schema;

impl Deriver<'_> {
    /// The columns of a source. A generated one is a place, and so are those that it is computed from.
    pub fn source_columns(&self, source: usize) -> Vec<ColumnLineage> {
        let of = &self.topology.sources[source];
        let own = |column: usize| {
            let place = Place { source, column, path: Vec::new() };
            let used = Use { copied: true, ..Use::default() };
            ColumnLineage { values: [(place, used)].into(), ..ColumnLineage::default() }
        };
        let (inner, names) = generating_columns(of, &own);
        let mut columns = Vec::with_capacity(of.origins.len());
        for (at, origin) in of.origins.iter().enumerate() {
            let mut column = own(at);
            if let Origin::Generated(expr) = origin {
                let mut from = self.with_columns(&inner, &names, |columns| read(expr.expr(), columns));
                for used in from.values.values_mut() {
                    used.generated = true;
                }
                from.expressions.clear();
                merge(&mut column, &from);
            }
            columns.push(column);
        }
        columns
    }

    /// The rows of a source with its rules.
    pub fn source_rows(&mut self, source: usize) -> RowsLineage {
        let columns = self.source_columns(source);
        let rows = self.source_rules(source, &columns);
        RowsLineage { columns, rows }
    }

    fn source_rules(&mut self, source: usize, columns: &[ColumnLineage]) -> BTreeSet<ConditionId> {
        let topology = self.topology;
        let of = &topology.sources[source];
        let mut rules: Vec<(ConditionKind, String, Vec<usize>)> = Vec::new();
        for column in &of.not_null {
            rules.push((ConditionKind::NotNull, column_name(&of.schema, *column), vec![*column]));
        }
        for check in &of.checks {
            let read = super::reading::columns_of(check.predicate.expr());
            rules.push((ConditionKind::Check, format!("{}: {}", check.name, check.text), read));
        }
        if let Some(keyed) = &of.keyed {
            let wins = match &keyed.conflict {
                Conflict::DoNothing => "the first record of a key stays",
                Conflict::Overwrite { version: Some(_) } => "a later version of a key takes its place",
                Conflict::Overwrite { version: None } => "the last record of a key wins",
            };
            let text = format!("{}: {wins}", names_of(&of.schema, &keyed.key));
            rules.push((ConditionKind::PrimaryKey, text, keyed.key.clone()));
            if let Conflict::Overwrite { version: Some(version) } = keyed.conflict {
                let text = format!("{}: the greatest wins", column_name(&of.schema, version));
                rules.push((ConditionKind::Version, text, vec![version]));
            }
        }
        rules.extend(watermark_rules(of));
        let mut all = BTreeSet::new();
        for (kind, text, read) in rules {
            let read: Vec<&ColumnLineage> = read.iter().filter_map(|at| columns.get(*at)).collect();
            all.extend(self.note_over((kind, text), &read));
        }
        all.extend(self.generated_rules(of, columns));
        for id in &all {
            self.mark_rule(*id);
        }
        all
    }

    /// Rules by which a record is refused on which a generated column fails.
    fn generated_rules(&mut self, of: &Source, columns: &[ColumnLineage]) -> BTreeSet<ConditionId> {
        let inner = inner_schema(of);
        let mut all = BTreeSet::new();
        for (at, origin) in of.origins.iter().enumerate() {
            if let Origin::Generated(expr) = origin
                && fallible(expr.expr(), &inner)
            {
                let text = format!("generated column {}", column_name(&of.schema, at));
                all.extend(self.note_over((ConditionKind::Failure, text), &[&columns[at]]));
            }
        }
        all
    }
}

/// Rules by event time.
fn watermark_rules(of: &Source) -> Vec<(ConditionKind, String, Vec<usize>)> {
    let Some(watermark) = of.watermark else { return Vec::new() };
    let mut rules = Vec::new();
    let column = column_name(&of.schema, watermark.column);
    let delay = match watermark.delay_us {
        0 => String::new(),
        us => format!(" less {}", length_text(us)),
    };
    let mark = format!("the greatest {column} of the partition{delay}");
    match of.keyed.as_ref().map(|keyed| keyed.retention_us) {
        None => rules.push((
            ConditionKind::Watermark,
            format!("{column} below {mark} is late"),
            vec![watermark.column],
        )),
        Some(Some(us)) => rules.push((
            ConditionKind::Retention,
            format!("rows with {column} {} below {mark} are dropped, and late", length_text(us)),
            vec![watermark.column],
        )),
        Some(None) => {}
    }
    let ahead = length_text(of.max_ahead_us);
    let text = format!("{column} may be {ahead} after the record's time");
    rules.push((ConditionKind::Watermark, text, vec![watermark.column]));
    rules
}

/// The name of a column as it is written.
fn column_name(schema: &Schema, column: usize) -> String {
    quote_identifier(schema.field(column).name())
}

/// The columns that generated ones are computed from, with their names: the decoded ones, then the INCLUDEd.
fn generating_columns(
    of: &Source,
    own: &dyn Fn(usize) -> ColumnLineage,
) -> (Vec<ColumnLineage>, Vec<String>) {
    let mut by_origin: BTreeMap<(bool, usize), usize> = BTreeMap::new();
    for (at, origin) in of.origins.iter().enumerate() {
        match origin {
            Origin::Decoded(decoded) => drop(by_origin.insert((false, *decoded), at)),
            Origin::Included(included) => drop(by_origin.insert((true, *included), at)),
            Origin::Generated(_) => {}
        }
    }
    let (mut columns, mut names) = (Vec::new(), Vec::new());
    for at in by_origin.into_values() {
        columns.push(own(at));
        names.push(of.schema.field(at).name().clone());
    }
    (columns, names)
}

/// The schema that generated columns are computed over.
fn inner_schema(of: &Source) -> Schema {
    let mut fields: Vec<_> = of.decoded.fields().iter().cloned().collect();
    for (at, origin) in of.origins.iter().enumerate() {
        if matches!(origin, Origin::Included(_)) {
            fields.push(of.schema.fields()[at].clone());
        }
    }
    Schema::new(fields)
}
