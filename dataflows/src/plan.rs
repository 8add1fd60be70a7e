//! A topology after planning and before rendering: relations in dependency order.
//!
//! A [`Plan`] is a directed acyclic graph of [`Rel`]s, each naming its inputs by index; views and
//! sinks name the relation they show. It holds no DataFusion plan: expressions are [`Scalar`]s,
//! which wrap a vectorised physical expression over the input's columns by position. What is
//! durable is decided here (DESIGN.md 2.3.5), so that `explain` and the renderer cannot disagree.
//!
//! Invariants: inputs precede their users; column positions are within the input's schema; every
//! schema uses Herald's column types only; a relation below a forgetter is marked so.

pub mod aggregate;
pub(crate) mod analysis;
pub mod canonical;
pub mod explain;
pub mod formats;
pub mod group_rows;
pub(crate) mod rewrite;
pub mod scalar;
pub mod state_role;
pub mod window;

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

pub use aggregate::{AggFunc, Aggregate};
pub use group_rows::{Fold, SortKey};
pub use scalar::Scalar;
use window::Window;

use crate::sql::diagnostics::error::SqlError;
use formats::{Encoding, Format, IncludeKind};
use state_role::Part;

/// Index of a relation in [`Plan::rels`].
pub type RelId = usize;

impl Plan {
    /// The sources below a relation.
    pub fn sources_of(&self, rel: RelId) -> BTreeSet<usize> {
        let (mut seen, mut open, mut sources) = (BTreeSet::from([rel]), vec![rel], BTreeSet::new());
        while let Some(rel) = open.pop() {
            if let Op::Source(at) = self.rels[rel].op {
                sources.insert(at);
            }
            open.extend(self.rels[rel].op.inputs().into_iter().filter(|input| seen.insert(*input)));
        }
        sources
    }

    /// Whether a relation has rows before the first record: an aggregate without GROUP BY has one over nothing.
    pub fn begins(&self) -> bool {
        let single = |rel: &Rel| match &rel.op {
            Op::Aggregate { keys, .. } | Op::Fold { keys, .. } => keys.is_empty(),
            _ => false,
        };
        self.rels.iter().any(single)
    }

    /// For each source, those that must be read to their end first when it has not been read yet: what its
    /// rows are joined with as of PROCTIME(), which they would find empty.
    pub fn awaited(&self) -> Vec<BTreeSet<usize>> {
        let mut awaited = vec![BTreeSet::new(); self.sources.len()];
        for rel in &self.rels {
            let Op::Lookup { left, right, when: When::Now, .. } = &rel.op else { continue };
            let (left, right) = (self.sources_of(*left), self.sources_of(*right));
            for source in left.difference(&right) {
                awaited[*source].extend(right.difference(&left).copied());
            }
        }
        awaited
    }
}

/// A whole topology, planned.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Sources in the order declared; `Op::Source` refers to them by index.
    pub sources: Vec<Source>,
    /// Relations; inputs come before their users.
    pub rels: Vec<Rel>,
    /// Materialized views in the order declared.
    pub views: Vec<View>,
    /// Sinks in the order declared.
    pub sinks: Vec<Sink>,
    /// State that is dropped once it is final. The column is one of the operator's key (the GROUP BY's or
    /// PARTITION BY's), for a join one of the side's rows.
    pub expiry: BTreeMap<(RelId, Part), Horizon>,
    /// Rows that come out of a join whose state expires and do not change any more, by columns of its output.
    pub settled: BTreeMap<RelId, Vec<Horizon>>,
    /// What the text has that changes nothing, with its place: told, and no mistake.
    pub warnings: Vec<SqlError>,
}

/// From when on rows are final: after an epoch no row comes, and none is taken back, whose time in
/// `column` is below every source's watermark at that epoch less its lag. A row without a time there
/// is never final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// Position of the time.
    pub column: usize,
    /// Sources by index in [`Plan::sources`], and their lags in microseconds.
    pub marks: Vec<(usize, i64)>,
}

/// One relation: an operator, its output columns and what is known of them.
#[derive(Clone, Debug)]
pub struct Rel {
    /// What computes it.
    pub op: Op,
    /// Output columns.
    pub schema: SchemaRef,
    /// Column sets that are each unique at every epoch.
    pub unique: Vec<Vec<usize>>,
    /// Pairs of columns that determine each other (`window_start`, `window_end`).
    pub paired: Vec<Pair>,
    /// True when no row is ever retracted.
    pub append_only: bool,
    /// True when something upstream forgets without retracting (retention, expiry, EMIT ON WINDOW CLOSE).
    pub below_forgetter: bool,
    /// True when the state this operator keeps is durable. Always false for stateless ones and for sources.
    pub durable: bool,
    /// The view this relation was written in, for messages, counters and state names.
    pub owner: String,
}

/// Two columns of which each determines the other in the same way in every row: the second is the first
/// moved by a constant time, or both are NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Positions, the lower first.
    pub columns: (usize, usize),
    /// The second less the first in microseconds; 0 for equal values of any type.
    pub apart_us: i64,
}

/// The operators.
#[derive(Clone, Debug)]
pub enum Op {
    /// Rows of `Plan::sources[i]`: all its columns, in schema order.
    Source(usize),
    /// Rows written in the query, there from the first epoch on.
    Values(RecordBatch),
    /// Rows for which the predicate is true.
    Filter {
        /// Input.
        input: RelId,
        /// Boolean over the input's columns.
        predicate: Scalar,
    },
    /// One expression an output column.
    Project {
        /// Input.
        input: RelId,
        /// Over the input's columns.
        exprs: Vec<Scalar>,
    },
    /// The list in `column` is replaced, in place, by its items, one output row each.
    Unnest {
        /// Input.
        input: RelId,
        /// Position of the list column.
        column: usize,
        /// Keep a row with NULL where the list is empty or NULL.
        outer: bool,
    },
    /// Bag union.
    Union {
        /// Inputs, same column types.
        inputs: Vec<RelId>,
    },
    /// Each row once.
    Distinct {
        /// Input.
        input: RelId,
    },
    /// Rows while now() is between two times of theirs; now() is the least watermark of `clock`, and NULL, so
    /// that no row is in, until each has one.
    Within {
        /// Input.
        input: RelId,
        /// A row is in once now() is at or above every one of these,
        since: Vec<Edge>,
        /// and while it is below every one of these; then it has left for good. A NULL time is never in.
        until: Vec<Edge>,
        /// Sources by index in [`Plan::sources`], at least one.
        clock: Vec<usize>,
    },
    /// Each row once it is final and not before; nothing is taken back.
    Close {
        /// Input.
        input: RelId,
        /// When a row is final.
        horizon: Horizon,
    },
    /// GROUP BY: output is the keys, then the aggregates. With no keys there is always exactly one row
    /// (count 0, others NULL over nothing).
    Aggregate {
        /// Input.
        input: RelId,
        /// Over the input's columns.
        keys: Vec<Scalar>,
        /// Aggregates in output order.
        aggregates: Vec<Aggregate>,
    },
    /// Functions over ordered partitions: output is the input's columns, then the functions'.
    Window {
        /// Input.
        input: RelId,
        /// Partitions, their order and the functions.
        window: Box<Window>,
    },
    /// GROUP BY with aggregates that need the rows of their group; output, and a GROUP BY without keys, as
    /// `Aggregate`.
    Fold {
        /// Input.
        input: RelId,
        /// Over the input's columns.
        keys: Vec<Scalar>,
        /// Aggregates in output order.
        folds: Vec<Fold>,
    },
    /// Join; output is left's columns, then right's unless the kind is Semi or Anti; columns of a side that
    /// may be missing are nullable. NULL keys match nothing unless `null_equal`.
    Join {
        /// Left input.
        left: RelId,
        /// Right input.
        right: RelId,
        /// Which pairs and rows come out.
        kind: JoinKind,
        /// Over left's columns; same count and types as `right_keys`. Empty: every pair has equal keys.
        left_keys: Vec<Scalar>,
        /// Over right's columns.
        right_keys: Vec<Scalar>,
        /// Boolean over left's columns followed by right's.
        residual: Option<Scalar>,
        /// Whether NULL keys equal each other (INTERSECT, EXCEPT).
        null_equal: bool,
    },
    /// Each row of the left with rows of the right as of a time; output is left's columns, then right's,
    /// which are NULL where nothing is found. NULL keys find nothing.
    Lookup {
        /// Left input.
        left: RelId,
        /// Right input.
        right: RelId,
        /// Over left's columns; same count and types as `right_keys`.
        left_keys: Vec<Scalar>,
        /// Over right's columns.
        right_keys: Vec<Scalar>,
        /// Whether a left row that finds nothing stays.
        outer: bool,
        /// As of when.
        when: When,
    },
    /// WITH RECURSIVE: rows, and round after round what follows from those of the round before, until a round
    /// adds none.
    Recursive(Box<Recursive>),
    /// Rows that a [`Recursive`] gives to the relations of its body, and found there alone: 0 are those of the
    /// round before, n those of its side n.
    Given(usize),
}

/// A recursion. What it keeps is recomputed on a restart, so its inputs are whole then.
#[derive(Clone, Debug)]
pub struct Recursive {
    /// The name it has in the query.
    pub name: String,
    /// The rows of round 0.
    pub base: Whole,
    /// Relations that the rounds read beside it, as [`Op::Given`] from 1 on.
    pub sides: Vec<Whole>,
    /// Relations of one round: they begin with `Given(0)` and the sides, and the last is the result.
    pub body: Plan,
    /// UNION: a row that was there in an earlier round, or is there twice, is no new one.
    pub distinct: bool,
}

impl Recursive {
    /// Rounds whose rows count; what first comes in a later one is told in `herald.errors`.
    pub const ROUNDS: u64 = 1000;
    /// Copies of a row of a UNION ALL that are kept at most; more are told in `herald.errors`.
    pub const TIMES: i64 = 1_000_000;

    /// The base and the sides.
    pub fn inputs(&self) -> impl Iterator<Item = &Whole> {
        [&self.base].into_iter().chain(&self.sides)
    }
}

/// An input whose rows all come again on a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    /// The relation.
    pub rel: RelId,
    /// Tells whether its last column is no part of a row, but says how often it is there.
    pub counted: bool,
}

/// A time of a row, moved.
#[derive(Clone, Debug)]
pub struct Edge {
    /// TIMESTAMP or TIMESTAMPTZ in microseconds, over the input's columns.
    pub time: Scalar,
    /// So much later, microseconds.
    pub us: i64,
}

impl Edge {
    /// The same with another expression of the time.
    pub fn map(&self, of: &dyn Fn(&Scalar) -> Scalar) -> Edge {
        Edge { time: of(&self.time), us: self.us }
    }
}

/// As of when a lookup finds rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// All rows of the key as they are in the epoch the left row comes in; nothing is revised later.
    Now,
    /// The row of the key whose time is nearest to the left row's, the greatest bytes among equals; revised
    /// when either side changes.
    Time {
        /// Position of the left's time.
        left: usize,
        /// Position of the right's time.
        right: usize,
        /// On which side of it.
        nearest: Nearest,
    },
}

/// On which side of a row's time a row of the right is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Nearest {
    /// Whether equal times do not match.
    pub strict: bool,
    /// The first that is not before, instead of the latest that is not after.
    pub forward: bool,
}

impl Op {
    /// The inputs, in order.
    pub fn inputs(&self) -> Vec<RelId> {
        match self {
            Op::Source(_) | Op::Values(_) | Op::Given(_) => vec![],
            Op::Filter { input, .. }
            | Op::Project { input, .. }
            | Op::Unnest { input, .. }
            | Op::Distinct { input }
            | Op::Within { input, .. }
            | Op::Close { input, .. }
            | Op::Aggregate { input, .. }
            | Op::Fold { input, .. }
            | Op::Window { input, .. } => vec![*input],
            Op::Union { inputs } => inputs.clone(),
            Op::Join { left, right, .. } | Op::Lookup { left, right, .. } => vec![*left, *right],
            Op::Recursive(recursive) => recursive.inputs().map(|input| input.rel).collect(),
        }
    }

    /// Whether the operator keeps state of its own.
    pub fn stateful(&self) -> bool {
        matches!(
            self,
            Op::Distinct { .. }
                | Op::Within { .. }
                | Op::Close { .. }
                | Op::Aggregate { .. }
                | Op::Fold { .. }
                | Op::Window { .. }
                | Op::Join { .. }
                | Op::Lookup { .. }
                | Op::Recursive(_)
        )
    }
}

/// Join kinds of this release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    /// Matching pairs.
    Inner,
    /// Matching pairs, and left rows without a match, right columns NULL.
    Left,
    /// Matching pairs, and rows of either side without a match, the other's columns NULL.
    Full,
    /// Left rows with a match, each as often as it is there.
    Semi,
    /// Left rows without a match.
    Anti,
}

impl JoinKind {
    /// Whether the right side's columns are part of the output.
    pub fn pairs(self) -> bool {
        !matches!(self, JoinKind::Semi | JoinKind::Anti)
    }
}

/// A source or table: what is read and what becomes of it.
#[derive(Clone, Debug)]
pub struct Source {
    /// Name.
    pub name: String,
    /// Columns the decoder fills: declared ones that are not generated, in order.
    pub decoded: SchemaRef,
    /// All columns: declared ones in order, then INCLUDEd ones.
    pub schema: SchemaRef,
    /// Where each column of `schema` comes from.
    pub origins: Vec<Origin>,
    /// INCLUDEd columns in order; `Origin::Included(i)` refers to them.
    pub includes: Vec<IncludeKind>,
    /// Positions in `schema` that are NOT NULL (primary key columns are).
    pub not_null: Vec<usize>,
    /// CHECK constraints over `schema`.
    pub checks: Vec<Check>,
    /// Watermark.
    pub watermark: Option<Watermark>,
    /// Event times further than this beyond the record's timestamp are a constraint failure, microseconds.
    pub max_ahead_us: i64,
    /// Key and conflict rule of a TABLE; None for an append-only SOURCE.
    pub keyed: Option<Keyed>,
    /// FORMAT.
    pub format: Format,
    /// ENCODE.
    pub encoding: Encoding,
    /// ENCODE options.
    pub encode_options: BTreeMap<String, String>,
    /// KEY ENCODE; defaults to the value's. PLAIN reads no key.
    pub key_encoding: Encoding,
    /// KEY ENCODE options; default to the value's where both have one encoding.
    pub key_encode_options: BTreeMap<String, String>,
    /// WITH options left for the connector (`connector`, `topic`, `properties.*`, ...).
    pub options: BTreeMap<String, String>,
    /// `dead_letter.topic`, where named.
    pub dead_letter_topic: Option<String>,
}

/// Where a source column comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// Column of `Source::decoded`.
    Decoded(usize),
    /// Computed over the decoded columns followed by the INCLUDEd ones.
    Generated(Scalar),
    /// `Source::includes[i]`.
    Included(usize),
}

/// A CHECK constraint.
#[derive(Clone, Debug)]
pub struct Check {
    /// Name, as the dead letter states it.
    pub name: String,
    /// As written.
    pub text: String,
    /// Boolean over `Source::schema`.
    pub predicate: Scalar,
}

/// An event-time column and its delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// Position in `Source::schema`; TIMESTAMP or TIMESTAMPTZ in microseconds.
    pub column: usize,
    /// Delay, microseconds.
    pub delay_us: i64,
}

/// What a TABLE does with records of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// Positions in `Source::schema` of the primary key.
    pub key: Vec<usize>,
    /// Conflict rule.
    pub conflict: Conflict,
    /// Retention below the partition's watermark, microseconds; None is for ever.
    pub retention_us: Option<i64>,
}

/// Conflict rule of a TABLE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// The first row of a key stays.
    DoNothing,
    /// The row with the greatest version stays; without a version column the latest.
    Overwrite {
        /// Position of the version column in `Source::schema`.
        version: Option<usize>,
    },
}

/// A materialized view.
#[derive(Clone, Debug)]
pub struct View {
    /// Name.
    pub name: String,
    /// What it shows.
    pub rel: RelId,
    /// A proven unique key (column positions); None means the whole row with its multiplicity.
    pub key: Option<Vec<usize>>,
    /// Its `retention` in microseconds.
    pub retention_us: Option<i64>,
    /// From when on its rows are served no longer: the retention after they are final.
    pub served: Option<Horizon>,
}

/// A sink.
#[derive(Clone, Debug)]
pub struct Sink {
    /// Name.
    pub name: String,
    /// What it sends.
    pub rel: RelId,
    /// FORMAT.
    pub format: Format,
    /// ENCODE.
    pub encoding: Encoding,
    /// KEY ENCODE; defaults to the value's.
    pub key_encoding: Encoding,
    /// ENCODE options.
    pub encode_options: BTreeMap<String, String>,
    /// Key columns: UPSERT's primary key, DEBEZIUM's, or PLAIN's `key`. Empty for none.
    pub key: Vec<usize>,
    /// The view or name the Avro record is called after.
    pub record_name: String,
    /// WITH options left for the connector.
    pub options: BTreeMap<String, String>,
}
