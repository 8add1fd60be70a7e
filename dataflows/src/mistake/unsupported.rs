//! Forms of queries that planning cannot turn into relations, as typed errors.
//!
//! The passes over the logical plan return them inside a [`DataFusionError`]; `explain_error` gives each its place in the
//! text and its hint. DataFusion's own errors have no types and are told by their sentences there.

use std::fmt;

use datafusion_common::DataFusionError;

/// A form of a query that is not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsupported {
    /// NOT IN over columns that can be NULL.
    NotIn,
    /// A subquery that cannot be made a join.
    NotJoinable,
    /// A value subquery that may have several rows.
    NotOneRow,
    /// Conditions of an ASOF JOIN that are no equalities.
    AsofCondition,
    /// A MATCH_CONDITION of another form.
    MatchCondition,
    /// Conditions of a LEFT JOIN as of PROCTIME() that are no equalities.
    LookupCondition,
    /// now() where no source has a watermark.
    NoWatermark,
    /// now() where it is not supported.
    NowHere,
    /// A frame that ends before the current row and does not start there.
    FrameBackwards,
    /// A frame from a distance in months to one in days.
    FrameUnits,
}

/// The place that an error is shown at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// The first subquery.
    Subquery,
    /// The statement.
    Statement,
    /// The condition of an ASOF JOIN.
    Asof,
    /// The condition of a join as of PROCTIME().
    Lookup,
    /// The first now().
    Now,
}

impl Unsupported {
    /// Returns the remedy.
    pub(crate) fn hint(self) -> &'static str {
        match self {
            Unsupported::NotIn => {
                "write NOT EXISTS (SELECT ... WHERE b.x = a.x), which takes a NULL for no match"
            }
            Unsupported::NotJoinable => "join the relation, or a view of it with GROUP BY, by hand",
            Unsupported::NotOneRow => {
                "aggregate in it, for example max(x), or end it with ORDER BY ... LIMIT 1"
            }
            Unsupported::AsofCondition => "put other conditions in WHERE, or in a view of the right side",
            Unsupported::MatchCondition => {
                "write MATCH_CONDITION (a.ts >= b.ts), a being the left side; compute times in a view"
            }
            Unsupported::LookupCondition => "put other conditions in a view of the right side",
            Unsupported::NoWatermark => {
                "add WATERMARK FOR ts AS ts - INTERVAL '1 minute' to a source or table it reads"
            }
            Unsupported::NowHere => "put it in WHERE, or filter one side of the join by it in a subquery",
            Unsupported::FrameBackwards => {
                "write the earlier bound first: BETWEEN 1 PRECEDING AND CURRENT ROW"
            }
            Unsupported::FrameUnits => "write both in days, or both in months",
        }
    }

    /// Returns the place it is shown at.
    pub(crate) fn shown_at(self) -> Shown {
        match self {
            Unsupported::NotIn | Unsupported::NotJoinable | Unsupported::NotOneRow => Shown::Subquery,
            Unsupported::AsofCondition | Unsupported::MatchCondition => Shown::Asof,
            Unsupported::LookupCondition => Shown::Lookup,
            Unsupported::NoWatermark | Unsupported::NowHere => Shown::Now,
            Unsupported::FrameBackwards | Unsupported::FrameUnits => Shown::Statement,
        }
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unsupported::NotIn => "NOT IN (SELECT ...) over columns that can be NULL is not supported here",
            Unsupported::NotJoinable => "this subquery cannot be made a join",
            Unsupported::NotOneRow => "a subquery as a value must have one row",
            Unsupported::AsofCondition => {
                "an ASOF JOIN takes equalities in ON, and the times in MATCH_CONDITION"
            }
            Unsupported::MatchCondition => {
                "MATCH_CONDITION compares one column of each side, of one type, by >=, >, <= or <"
            }
            Unsupported::LookupCondition => "a LEFT JOIN as of PROCTIME() takes equalities in ON",
            Unsupported::NoWatermark => "now() is the watermark, and no source below has one",
            Unsupported::NowHere => "a condition on now() is not supported here",
            Unsupported::FrameBackwards => {
                "the frame's end comes before the current row and its start does not"
            }
            Unsupported::FrameUnits => "a frame between a distance in months and one in days has no order",
        })
    }
}

impl std::error::Error for Unsupported {}

impl From<Unsupported> for DataFusionError {
    fn from(form: Unsupported) -> DataFusionError {
        DataFusionError::External(Box::new(form))
    }
}
