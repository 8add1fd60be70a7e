//! Conditions on the key of a view or of an index, as bounds on the entries that a scan reads.
//!
//! A stored key is its key group and the packed key ([`schemas::stored_key`]). Packed values compare as bytes in SQL's
//! order, and none is the beginning of another, so the packed leading columns are a prefix of the packed key. Values
//! of all key columns therefore name single entries; values of the leading ones are a range of each key group, which a
//! range of the next column narrows. A view without a key is kept by its whole rows: there, all columns are the key.
//!
//! The key of an index has no group ([`state::IndexLayout`]): its columns, and behind them those of the view's key.
//! Values of the leading ones are a range of the whole table for each combination.
//!
//! A condition is taken only if the bounds mean exactly what it means in SQL: for columns whose values are equal if
//! and only if their bytes are (not REAL, DOUBLE, INTERVAL, JSONB, arrays and structs), and for literals that the
//! column's type holds exactly. NULL is packed below all values, and no range begins there. All other conditions stay
//! filters above the scan.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, FieldRef, Schema, TimeUnit};
use datafusion::logical_expr::expr::{Between, InList};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::scalar::ScalarValue;
use schemas::{KEY_GROUPS, RowCodec, is_equal_by_bytes, stored_group, stored_key};
use serde::{Deserialize, Serialize};

use crate::exit::mistake;

/// Most entries, or ranges of an index, that a scan looks up; with more, the conditions stay filters.
pub(super) const MAX_POINTS: usize = 1000;
/// First byte of every packed value that is not NULL.
const VALUE_MARK: u8 = 1;
/// A byte above the first one of every packed value.
const ABOVE_VALUES: u8 = 2;

/// Entries of a view that a scan reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bounds {
    /// Every entry.
    All,
    /// The entries with these stored keys, which are sorted.
    Points(Vec<Vec<u8>>),
    /// In each key group, the entries whose packed key is at or above `from` and below `to`.
    Range {
        /// The least packed key.
        from: Vec<u8>,
        /// The end of the packed keys.
        to: Vec<u8>,
    },
    /// The entries of an index with keys in these ranges, which are sorted and apart.
    Ranges(Vec<KeyRange>),
}

/// Keys of an index at or above `from` and below `to`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRange {
    /// The least key.
    pub from: Vec<u8>,
    /// The end of the keys.
    pub to: Vec<u8>,
}

/// Measure of bounds: of two ways to the rows, the one with the greater is taken. Its parts count in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tightness {
    /// Set if single entries are named, by values of the whole key.
    pub points: bool,
    /// Leading columns of which single values are given; one that comes again in the key counts once.
    pub equal: usize,
    /// Set if there is a range of the next column.
    pub range: bool,
}

impl Bounds {
    /// The number of places in the state that a scan looks up, at most.
    pub(super) fn lookups(&self) -> usize {
        match self {
            Bounds::All => 1,
            Bounds::Range { .. } => KEY_GROUPS,
            Bounds::Points(keys) => keys.len(),
            Bounds::Ranges(ranges) => ranges.len(),
        }
    }

    /// The number of key groups in which a scan looks.
    pub(super) fn groups(&self) -> usize {
        match self {
            Bounds::All | Bounds::Range { .. } => KEY_GROUPS,
            Bounds::Ranges(_) => 0,
            Bounds::Points(keys) => {
                let mut groups = BTreeSet::new();
                for key in keys {
                    groups.insert(stored_group(key));
                }
                groups.len()
            }
        }
    }
}

/// Bounds that follow from conditions.
pub(super) struct Bounded {
    /// The entries to read.
    pub bounds: Bounds,
    /// For each condition that the bounds imply, the place in the key of the column that it restricts.
    pub taken: Vec<Option<usize>>,
    /// The measure of the bounds.
    pub tightness: Tightness,
}

/// Key columns of entries, in the order in which they are packed.
#[derive(Clone, Debug)]
pub(super) struct ViewKey {
    columns: Vec<KeyColumn>,
    /// Set for the key of an index.
    of_index: bool,
}

/// Column of a key.
#[derive(Clone, Debug)]
struct KeyColumn {
    field: FieldRef,
    /// Codec of its values; None if equality in SQL is not that of their bytes, or they are shown otherwise.
    codec: Option<RowCodec>,
    /// The place of the same column further left: one of an index that is in the view's key, too.
    repeats: Option<usize>,
}

impl ViewKey {
    /// The key of a view with these columns; without key columns, its whole rows.
    ///
    /// # Errors
    /// When the view does not have a column of its key.
    pub(super) fn new(schema: &Schema, key: Option<&[usize]>) -> Result<ViewKey> {
        Ok(ViewKey { columns: key_columns(schema, &[], key)?, of_index: false })
    }

    /// The key of an index of such a view: the columns `indexed`, and behind them the view's key.
    ///
    /// # Errors
    /// When the view does not have a column of the index or of its key.
    pub(super) fn of_index(schema: &Schema, indexed: &[usize], key: Option<&[usize]>) -> Result<ViewKey> {
        Ok(ViewKey { columns: key_columns(schema, indexed, key)?, of_index: true })
    }

    /// The names of its columns.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.field.name().as_str())
    }

    /// A literal of the column at a place in the key of `view`, as it is packed there.
    ///
    /// # Errors
    /// A mistake if the text is no literal of the column's type, or if equal values of the type are stored
    /// differently.
    pub(super) fn pack_text(&self, at: usize, text: &str, view: &str) -> Result<Vec<u8>> {
        let column = self.columns.get(at).with_context(|| format!("the key of {view} has no column {at}"))?;
        let (name, of) = (column.field.name(), schemas::sql_type(&column.field));
        let Some(codec) = &column.codec else {
            return Err(mistake(format!(
                "{name} of the key of view {view} is {of}, whose equal values may be stored differently\n  \
                 ask /v1/query, as SELECT * FROM {view} WHERE {name} = ..."
            )));
        };
        let value = dataflows::sql::literal_value(text, &column.field)
            .map_err(|why| mistake(format!("{name} of the key of view {view} is {of}: {why}")))?;
        pack(codec, value).with_context(|| format!("{name} of the key of view {view} cannot be packed"))
    }

    /// Takes no conditions on the columns whose values are shown otherwise than they are stored.
    pub(super) fn leave_out(&mut self, is_shown_otherwise: fn(&str) -> bool) {
        for column in &mut self.columns {
            if is_shown_otherwise(column.field.name()) {
                column.codec = None;
            }
        }
    }

    /// Bounds that follow from conditions which all hold.
    pub(super) fn bound(&self, conditions: &[&Expr]) -> Bounded {
        let mut allowed = vec![Allowed::anything(); self.columns.len()];
        let mut restricted = Vec::with_capacity(conditions.len());
        for condition in conditions {
            let found = self.allowed_by(condition);
            restricted.push(found.as_ref().map(|(at, _)| *at));
            if let Some((at, values)) = found {
                allowed[at].narrow(values);
            }
        }
        let found = if self.of_index { self.ranges_of(&allowed) } else { bounds_of(&allowed) };
        let Restricted { bounds, tightness, columns } = found;
        let mut taken = Vec::with_capacity(conditions.len());
        for at in restricted {
            taken.push(at.filter(|at| *at < columns));
        }
        Bounded { bounds, taken, tightness }
    }

    /// Ranges of an index that follow from the values allowed in each key column.
    fn ranges_of(&self, allowed: &[Allowed]) -> Restricted {
        let (mut prefixes, mut equal, mut columns) = (vec![Vec::new()], 0, 0);
        for (at, column) in self.columns.iter().enumerate() {
            // Of a column that comes again, only a single value is in the same place twice.
            let values = match column.repeats {
                Some(first) => allowed[first].values.as_ref().filter(|values| values.len() == 1),
                None => allowed[at].values.as_ref(),
            };
            let Some(values) = values.filter(|values| prefixes.len() * values.len() <= MAX_POINTS) else {
                break;
            };
            prefixes = extended(&prefixes, values);
            columns += 1;
            equal += usize::from(column.repeats.is_none());
        }
        let range = allowed.get(columns).filter(|column| column.is_range());
        if columns == 0 && range.is_none() {
            return Restricted::nothing();
        }
        let mut ranges = Vec::with_capacity(prefixes.len());
        for prefix in prefixes {
            let (from, to) = match range {
                Some(column) => {
                    ([prefix.as_slice(), &column.from].concat(), [prefix.as_slice(), &column.to].concat())
                }
                None => (prefix.clone(), prefix_end(&prefix)),
            };
            if from < to {
                ranges.push(KeyRange { from, to });
            }
        }
        let tightness = Tightness { points: false, equal, range: range.is_some() };
        let columns = columns + usize::from(range.is_some());
        Restricted { bounds: Bounds::Ranges(ranges), tightness, columns }
    }

    /// The key column that a condition restricts, and the values that it allows; None if it is no such condition.
    fn allowed_by(&self, condition: &Expr) -> Option<(usize, Allowed)> {
        match condition {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
                let (at, ours) = self.allowed_by(left)?;
                let (other, theirs) = self.allowed_by(right)?;
                if at == other { Some((at, ours.either(theirs)?)) } else { None }
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (left.as_ref(), right.as_ref()) {
                (column, Expr::Literal(value, _)) => self.compared(column, *op, value),
                (Expr::Literal(value, _), column) => self.compared(column, op.swap()?, value),
                _ => None,
            },
            Expr::Between(Between { expr, negated: false, low, high }) => {
                let (Expr::Literal(low, _), Expr::Literal(high, _)) = (low.as_ref(), high.as_ref()) else {
                    return None;
                };
                let (at, mut allowed) = self.compared(expr, Operator::GtEq, low)?;
                allowed.narrow(self.compared(expr, Operator::LtEq, high)?.1);
                Some((at, allowed))
            }
            Expr::InList(InList { expr, list, negated: false }) => {
                let at = self.column_of(expr)?;
                let mut values = BTreeSet::new();
                for item in list {
                    let Expr::Literal(value, _) = item else { return None };
                    values.insert(self.columns[at].pack_value(value)?);
                }
                Some((at, Allowed { values: Some(values), ..Allowed::anything() }))
            }
            _ => None,
        }
    }

    /// The key column and the values that a comparison with a literal allows.
    fn compared(&self, column: &Expr, op: Operator, value: &ScalarValue) -> Option<(usize, Allowed)> {
        let at = self.column_of(column)?;
        let packed = self.columns[at].pack_value(value)?;
        let (first, end) = (vec![VALUE_MARK], vec![ABOVE_VALUES]);
        let allowed = match op {
            Operator::Eq => Allowed { values: Some(BTreeSet::from([packed])), ..Allowed::anything() },
            Operator::Lt => Allowed { values: None, from: first, to: packed },
            Operator::LtEq => Allowed { values: None, from: first, to: prefix_end(&packed) },
            Operator::Gt => Allowed { values: None, from: prefix_end(&packed), to: end },
            Operator::GtEq => Allowed { values: None, from: packed, to: end },
            _ => return None,
        };
        Some((at, allowed))
    }

    /// The key column that an expression is, also behind a cast to a wider whole number.
    fn column_of(&self, expr: &Expr) -> Option<usize> {
        let (column, cast) = match expr {
            Expr::Column(column) => (column, None),
            Expr::Cast(cast) => match cast.expr.as_ref() {
                Expr::Column(column) => (column, Some(cast.field.data_type())),
                _ => return None,
            },
            _ => return None,
        };
        let at = self.columns.iter().position(|key| key.field.name() == column.name())?;
        match cast {
            Some(to) if !is_widened(self.columns[at].field.data_type(), to) => None,
            _ => Some(at),
        }
    }
}

/// Columns of a key: those that are indexed, and those of the view's key; without that, all of the view's.
fn key_columns(schema: &Schema, indexed: &[usize], key: Option<&[usize]>) -> Result<Vec<KeyColumn>> {
    let all: Vec<usize> = (0..schema.fields().len()).collect();
    let mut columns: Vec<KeyColumn> = Vec::new();
    for at in indexed.iter().chain(key.unwrap_or(&all)) {
        let field = schema.fields().get(*at).with_context(|| format!("the view has no column {at}"))?;
        let codec = if is_equal_by_bytes(field) {
            Some(RowCodec::new(std::slice::from_ref(field.data_type()))?)
        } else {
            None
        };
        let repeats = columns.iter().position(|column| column.field.name() == field.name());
        columns.push(KeyColumn { field: field.clone(), codec, repeats });
    }
    Ok(columns)
}

/// Each prefix with each value behind it, in ascending order as both are.
fn extended(prefixes: &[Vec<u8>], values: &BTreeSet<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut longer = Vec::with_capacity(prefixes.len() * values.len());
    for prefix in prefixes {
        for value in values {
            longer.push([prefix.as_slice(), value].concat());
        }
    }
    longer
}

impl KeyColumn {
    /// A literal as it is packed in this column; None for NULL, and for a value that the column cannot hold.
    fn pack_value(&self, value: &ScalarValue) -> Option<Vec<u8>> {
        let codec = self.codec.as_ref()?;
        let held = exact_value(value, self.field.data_type())?;
        pack(codec, held.to_array().ok()?).ok()
    }
}

/// The packed form of a column's only value.
fn pack(codec: &RowCodec, value: ArrayRef) -> Result<Vec<u8>> {
    Ok(codec.encode(&[value])?.get(0).to_vec())
}

/// Values that conditions allow in a key column, as packed bytes.
#[derive(Clone, Debug)]
struct Allowed {
    /// The only values; None if there is a range alone.
    values: Option<BTreeSet<Vec<u8>>>,
    /// The least value.
    from: Vec<u8>,
    /// The end of the values.
    to: Vec<u8>,
}

impl Allowed {
    /// No restriction.
    fn anything() -> Allowed {
        Allowed { values: None, from: Vec::new(), to: vec![ABOVE_VALUES] }
    }

    /// Keeps the values that another condition allows, too.
    fn narrow(&mut self, other: Allowed) {
        let values = match (self.values.take(), other.values) {
            (Some(ours), Some(theirs)) => Some(ours.intersection(&theirs).cloned().collect()),
            (ours, theirs) => ours.or(theirs),
        };
        self.from = std::mem::take(&mut self.from).max(other.from);
        self.to = std::mem::take(&mut self.to).min(other.to);
        self.values = values.map(|values| self.within_range(values));
    }

    /// Those of `values` that lie in the range.
    fn within_range(&self, values: BTreeSet<Vec<u8>>) -> BTreeSet<Vec<u8>> {
        let mut within = BTreeSet::new();
        for value in values {
            if self.from <= value && value < self.to {
                within.insert(value);
            }
        }
        within
    }

    /// The values that one of two conditions allows; None if one is a range.
    fn either(self, other: Allowed) -> Option<Allowed> {
        let mut values = self.values?;
        values.extend(other.values?);
        Some(Allowed { values: Some(values), ..Allowed::anything() })
    }

    /// The value, if there is only one.
    fn only_value(&self) -> Option<&[u8]> {
        match &self.values {
            Some(values) if values.len() == 1 => values.first().map(Vec::as_slice),
            _ => None,
        }
    }

    /// Tells whether there is a range and nothing else.
    fn is_range(&self) -> bool {
        self.values.is_none() && (!self.from.is_empty() || self.to != [ABOVE_VALUES])
    }
}

/// Bounds that follow from the values allowed in key columns.
struct Restricted {
    bounds: Bounds,
    tightness: Tightness,
    /// The leading columns of the key of which the bounds say all that is allowed.
    columns: usize,
}

impl Restricted {
    /// Bounds that say nothing.
    fn nothing() -> Restricted {
        Restricted { bounds: Bounds::All, tightness: Tightness::default(), columns: 0 }
    }
}

/// Bounds of a view's entries that follow from the values allowed in each key column.
fn bounds_of(allowed: &[Allowed]) -> Restricted {
    if let Some(points) = points_of(allowed) {
        let columns = allowed.len();
        let tightness = Tightness { points: true, equal: columns, range: false };
        return Restricted { bounds: Bounds::Points(points), tightness, columns };
    }
    let mut prefix = Vec::new();
    for (at, column) in allowed.iter().enumerate() {
        if let Some(value) = column.only_value() {
            prefix.extend_from_slice(value);
            continue;
        }
        if column.is_range() {
            let from = [prefix.as_slice(), &column.from].concat();
            let to = [prefix.as_slice(), &column.to].concat();
            let bounds = if from < to { Bounds::Range { from, to } } else { Bounds::Points(Vec::new()) };
            let tightness = Tightness { points: false, equal: at, range: true };
            return Restricted { bounds, tightness, columns: at + 1 };
        }
        if at == 0 {
            break;
        }
        let bounds = Bounds::Range { to: prefix_end(&prefix), from: prefix };
        return Restricted {
            bounds,
            tightness: Tightness { points: false, equal: at, range: false },
            columns: at,
        };
    }
    Restricted::nothing()
}

/// The stored keys of all entries that can be, if every key column has but some values and they are not too many.
fn points_of(allowed: &[Allowed]) -> Option<Vec<Vec<u8>>> {
    if allowed.is_empty() {
        return None;
    }
    let mut keys: Vec<Vec<u8>> = vec![Vec::new()];
    for column in allowed {
        let values = column.values.as_ref()?;
        if values.is_empty() {
            return Some(Vec::new());
        }
        if keys.len() * values.len() > MAX_POINTS {
            return None;
        }
        keys = extended(&keys, values);
    }
    let mut stored = Vec::with_capacity(keys.len());
    for key in &keys {
        stored.push(stored_key(key));
    }
    stored.sort_unstable();
    Some(stored)
}

/// The least bytes above all that begin with `prefix`, which has a byte below the greatest.
fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

/// Tells whether a cast takes whole numbers to a type that holds all of them.
fn is_widened(from: &DataType, to: &DataType) -> bool {
    from.is_signed_integer() && to.is_signed_integer() && from.primitive_width() <= to.primitive_width()
}

/// The value of a literal in another type; None for NULL, and if the type does not hold it exactly.
fn exact_value(value: &ScalarValue, to: &DataType) -> Option<ScalarValue> {
    if value.is_null() {
        return None;
    }
    if value.data_type() == *to {
        return Some(value.clone());
    }
    match (to, value) {
        (DataType::Int16, _) => Some(ScalarValue::Int16(Some(scaled(value, 0)?.try_into().ok()?))),
        (DataType::Int32, _) => Some(ScalarValue::Int32(Some(scaled(value, 0)?.try_into().ok()?))),
        (DataType::Int64, _) => Some(ScalarValue::Int64(Some(scaled(value, 0)?.try_into().ok()?))),
        (DataType::Decimal128(precision, scale), _) => {
            Some(ScalarValue::Decimal128(Some(scaled(value, *scale)?), *precision, *scale))
        }
        (DataType::Utf8, ScalarValue::Utf8View(Some(text)) | ScalarValue::LargeUtf8(Some(text))) => {
            Some(ScalarValue::Utf8(Some(text.clone())))
        }
        (DataType::Timestamp(TimeUnit::Microsecond, zone), ScalarValue::TimestampMicrosecond(us, of))
            if zone.is_some() == of.is_some() =>
        {
            Some(ScalarValue::TimestampMicrosecond(*us, zone.clone()))
        }
        _ => None,
    }
}

/// The unscaled number of a whole or decimal literal at a scale; None if it has more digits behind the point.
fn scaled(value: &ScalarValue, scale: i8) -> Option<i128> {
    let (unscaled, held) = match value {
        ScalarValue::Int8(Some(number)) => (i128::from(*number), 0),
        ScalarValue::Int16(Some(number)) => (i128::from(*number), 0),
        ScalarValue::Int32(Some(number)) => (i128::from(*number), 0),
        ScalarValue::Int64(Some(number)) => (i128::from(*number), 0),
        ScalarValue::UInt64(Some(number)) => (i128::from(*number), 0),
        ScalarValue::Decimal128(Some(number), _, held) => (*number, *held),
        _ => return None,
    };
    let factor = 10_i128.checked_pow(u32::from(scale.abs_diff(held)))?;
    if scale >= held {
        return unscaled.checked_mul(factor);
    }
    if unscaled % factor == 0 { Some(unscaled / factor) } else { None }
}
