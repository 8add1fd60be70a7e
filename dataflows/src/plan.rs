//! A topology after planning and before rendering: relations in dependency order.
//!
//! A [`Plan`] is a directed acyclic graph of [`Rel`]s, each naming its inputs by index; views and
//! sinks name the relation they show. It holds no DataFusion plan: expressions are [`Scalar`]s,
//! which wrap a vectorised physical expression over the input's columns by position. The durability of
//! state is decided here (DESIGN.md 2.3.5), so that `explain` and the renderer cannot disagree.
//!
//! The plan of one view, projections left out:
//!
//! ```text
//! CREATE MATERIALIZED VIEW spent AS SELECT p.country, sum(b.amount) FROM bets b
//! JOIN players p ON b.player = p.id WHERE b.amount > 0 GROUP BY p.country
//!
//!   #0 Source bets        #1 Table players       Op::Source(0), Op::Source(1)
//!          |                     |
//!   #2 Filter amount > 0         |               stateless
//!          |                     |
//!   #3 Join on player = id ------+               durable: the first state after an append-only source
//!          |
//!   #4 Aggregate by [country]                    recomputed on a restart from the rows of #3
//!          |
//!   view spent                                   View { rel: 4 }
//! ```
//!
//! Invariants: inputs precede their users; column positions are within the input's schema; every schema uses
//! Herald's column types only; [`Rel::inputs_expire`] is set for every relation above state that expires.

pub mod aggregate;
pub(crate) mod analysis;
pub mod canonical;
pub mod explain;
pub mod formats;
pub mod group_rows;
pub mod history;
pub(crate) mod rewrite;
pub mod scalar;
pub mod sources;
pub mod state_role;
pub mod window;

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion_common::ScalarValue;

pub use aggregate::{AggFunc, Aggregate};
pub use group_rows::{Fold, SortKey};
pub use history::History;
pub use scalar::Scalar;
use window::Window;

use crate::mistake::SqlError;
use formats::{Encoding, Format, IncludeKind};
use schemas::types::personal::PersonalTag;
use sources::SecondReading;
use sources::erase_path::ErasePath;
use state_role::StateRole;

/// Index of a relation in [`Plan::rels`].
pub type RelId = usize;

/// A planned topology.
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
    /// State that is dropped once it is final. The horizon's column is one of the operator's key (of GROUP BY
    /// or PARTITION BY), for a join one of the side's rows.
    pub expiry: BTreeMap<(RelId, StateRole), Horizon>,
    /// Horizons of the output of operators whose state expires: output rows below them do not change any
    /// more.
    pub settled: BTreeMap<RelId, Vec<Horizon>>,
    /// Warnings about parts of the text that have no effect, with their places; not errors.
    pub warnings: Vec<SqlError>,
    /// Sources that are read a second time, for the additions of an edit.
    pub again: Option<Box<SecondReading>>,
    /// Fingerprint of the text as a whole, also where a second reading is added: what views and sinks send is of it.
    pub version: String,
}

/// Bound below which rows are final: after an epoch no row is inserted or retracted whose time in
/// `column` is below every source's watermark at that epoch less its lag. A row with NULL there
/// is never final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// Position of the time.
    pub column: usize,
    /// Sources by index in [`Plan::sources`], and their lags in microseconds.
    pub marks: Vec<(usize, i64)>,
}

/// One relation: an operator, its output columns and facts about them.
#[derive(Clone, Debug)]
pub struct Rel {
    /// The operator that computes it.
    pub op: Op,
    /// Output columns.
    pub schema: SchemaRef,
    /// Column sets that are each unique at every epoch.
    pub unique: Vec<Vec<usize>>,
    /// Pairs of columns that determine each other (`window_start`, `window_end`).
    pub paired: Vec<Pair>,
    /// Columns that have one value in all rows, which a key in `unique` may name.
    pub constants: BTreeMap<usize, ScalarValue>,
    /// Changes that its rows may have.
    pub growth: Growth,
    /// True when some state upstream drops rows without retracting them (retention, expiry, EMIT ON WINDOW
    /// CLOSE).
    pub inputs_expire: bool,
    /// True when the operator's state is durable. Always false for stateless operators and for sources.
    pub durable: bool,
    /// The view this relation was written in, for messages, counters and state names.
    pub owner: String,
}

impl Rel {
    /// A relation of which nothing but operator and columns is known yet.
    pub fn new(op: Op, schema: SchemaRef, owner: &str) -> Rel {
        Rel {
            op,
            schema,
            unique: vec![],
            paired: vec![],
            constants: BTreeMap::new(),
            growth: Growth::Updating,
            inputs_expire: false,
            durable: false,
            owner: owner.to_owned(),
        }
    }

    /// Returns true if no row is ever retracted, and all follow from append-only sources.
    pub fn is_append_only(&self) -> bool {
        self.growth == Growth::AppendOnly
    }

    /// Returns true if it has a row over no rows.
    fn has_initial_row(&self) -> bool {
        match &self.op {
            Op::Aggregate { keys, .. } | Op::GroupRows { keys, .. } => keys.is_empty(),
            _ => false,
        }
    }
}

/// Changes that rows of a relation may have, from the most to the fewest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Growth {
    /// Rows may be retracted.
    Updating,
    /// No row is ever retracted: some come from tables that keep the first row of each key for ever.
    Growing,
    /// No row is ever retracted, and all follow from append-only sources, whose rows the state does not keep.
    AppendOnly,
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
    /// Replaces the list in `column`, in place, by its items, one output row each.
    Unnest {
        /// Input.
        input: RelId,
        /// Position of the list column.
        column: usize,
        /// Keeps a row with NULL where the list is empty or NULL.
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
    /// Rows while now() is between two of their times. now() is the least watermark of `clock`; it is NULL,
    /// so that no row passes, until each source has a watermark.
    TemporalFilter {
        /// Input.
        input: RelId,
        /// A row enters once now() is at or above every one of these times; a row with a NULL time never
        /// does.
        since: Vec<Edge>,
        /// A row leaves for good once now() is at or above one of these times; a row with a NULL time never
        /// enters.
        until: Vec<Edge>,
        /// Sources whose watermarks make now(), by index in [`Plan::sources`]; at least one.
        clock: Vec<usize>,
    },
    /// Emits each row once it is final and not before; retracts none.
    EmitOnClose {
        /// Input.
        input: RelId,
        /// Bound below which rows are final.
        horizon: Horizon,
    },
    /// GROUP BY: output is the keys, then the aggregates. Without keys there is always exactly one row
    /// (over no rows: count 0, others NULL).
    Aggregate {
        /// Input.
        input: RelId,
        /// Over the input's columns.
        keys: Vec<Scalar>,
        /// Aggregates in output order.
        aggregates: Vec<Aggregate>,
    },
    /// Window functions over ordered partitions: output is the input's columns, then the functions'.
    Window {
        /// Input.
        input: RelId,
        /// Partitions, their order and the functions.
        window: Box<Window>,
    },
    /// GROUP BY with aggregates that need the rows of their group; output, also without keys, as of
    /// `Aggregate`.
    GroupRows {
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
        /// The pairs and rows of the output.
        kind: JoinKind,
        /// Over left's columns; same count and types as `right_keys`. Empty: every pair has equal keys.
        left_keys: Vec<Scalar>,
        /// Over right's columns.
        right_keys: Vec<Scalar>,
        /// Boolean over left's columns followed by right's.
        residual: Option<Scalar>,
        /// True when NULL keys equal each other (INTERSECT, EXCEPT).
        null_equal: bool,
    },
    /// Each row of the left with the rows of the right as of a time; output is left's columns, then right's,
    /// which are NULL where no row matches. NULL keys match nothing.
    TemporalJoin {
        /// Left input.
        left: RelId,
        /// Right input.
        right: RelId,
        /// Over left's columns; same count and types as `right_keys`.
        left_keys: Vec<Scalar>,
        /// Over right's columns.
        right_keys: Vec<Scalar>,
        /// True when a left row without a match stays.
        outer: bool,
        /// The time of the right's rows.
        when: When,
    },
    /// WITH RECURSIVE: rows, and in each round the rows that follow from those of the round before, until a
    /// round adds none.
    Recursive(Box<Recursive>),
    /// Input of the body of a [`Recursive`], and found there alone: 0 are the rows of the round before, n
    /// those of its side n.
    Given(usize),
}

/// A recursion. Its state is recomputed on a restart, so its inputs must come whole then.
#[derive(Clone, Debug)]
pub struct Recursive {
    /// The name it has in the query.
    pub name: String,
    /// The rows of round 0.
    pub base: RecursiveInput,
    /// Relations that the rounds read beside it, as [`Op::Given`] from 1 on.
    pub sides: Vec<RecursiveInput>,
    /// Relations of one round: first `Given(0)` and the sides; the last is the result.
    pub body: Plan,
    /// UNION instead of UNION ALL: a row of an earlier round, or a second copy of a row, is not new.
    pub distinct: bool,
}

impl Recursive {
    /// Limit on rounds; a row that first comes in a later one is reported in `herald.errors`.
    pub const ROUNDS: u64 = 1000;
    /// Limit on the copies of a row of a UNION ALL; more are reported in `herald.errors`.
    pub const TIMES: i64 = 1_000_000;

    /// The base and the sides.
    pub fn inputs(&self) -> impl Iterator<Item = &RecursiveInput> {
        [&self.base].into_iter().chain(&self.sides)
    }
}

/// An input of a recursion; all its rows come again on a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecursiveInput {
    /// The relation.
    pub rel: RelId,
    /// True when its last column is the number of copies of the row, not a part of it.
    pub counted: bool,
}

/// A time of a row plus a constant.
#[derive(Clone, Debug)]
pub struct Edge {
    /// TIMESTAMP or TIMESTAMPTZ in microseconds, over the input's columns.
    pub time: Scalar,
    /// The constant, microseconds.
    pub us: i64,
}

impl Edge {
    /// The same with another expression of the time.
    pub fn map(&self, by: &dyn Fn(&Scalar) -> Scalar) -> Edge {
        Edge { time: by(&self.time), us: self.us }
    }
}

/// Time as of which a temporal join reads the right side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The epoch of the left row: all rows of the key as they are then; nothing is revised later.
    ProcTime,
    /// The left row's time: the row of the key with the nearest time, of equal times the one with the
    /// greatest bytes; revised when either side changes.
    AsOf {
        /// Position of the left's time.
        left: usize,
        /// Position of the right's time.
        right: usize,
        /// The side of the left's time on which it is.
        nearest: Nearest,
    },
}

/// Side of a left row's time on which a row of the right is sought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Nearest {
    /// True when equal times do not match.
    pub strict: bool,
    /// True for the first row that is not before, instead of the latest that is not after.
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
            | Op::TemporalFilter { input, .. }
            | Op::EmitOnClose { input, .. }
            | Op::Aggregate { input, .. }
            | Op::GroupRows { input, .. }
            | Op::Window { input, .. } => vec![*input],
            Op::Union { inputs } => inputs.clone(),
            Op::Join { left, right, .. } | Op::TemporalJoin { left, right, .. } => vec![*left, *right],
            Op::Recursive(recursive) => recursive.inputs().map(|input| input.rel).collect(),
        }
    }

    /// Returns true if the operator keeps state of its own.
    pub fn is_stateful(&self) -> bool {
        matches!(
            self,
            Op::Distinct { .. }
                | Op::TemporalFilter { .. }
                | Op::EmitOnClose { .. }
                | Op::Aggregate { .. }
                | Op::GroupRows { .. }
                | Op::Window { .. }
                | Op::Join { .. }
                | Op::TemporalJoin { .. }
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
    /// Left rows with a match, each with its own number of copies.
    Semi,
    /// Left rows without a match.
    Anti,
}

impl JoinKind {
    /// Returns true if the right side's columns are part of the output.
    pub fn outputs_pairs(self) -> bool {
        !matches!(self, JoinKind::Semi | JoinKind::Anti)
    }
}

/// A source or table: the records it reads and the rules that make rows of them.
#[derive(Clone, Debug)]
pub struct Source {
    /// Name.
    pub name: String,
    /// Columns the decoder fills: declared ones that are not generated, in order.
    pub decoded: SchemaRef,
    /// All columns: declared ones in order, then INCLUDEd ones.
    pub schema: SchemaRef,
    /// The origin of each column of `schema`.
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
    /// The topic of dead letters, from `dead_letter.topic`.
    pub dead_letter_topic: Option<String>,
    /// Paths of personal data: tags of the option `personal`, and of the Avro schema that defines the columns.
    pub personal: Vec<PersonalTag>,
    /// Of a table of orders to erase persons: the position of the column that names the person, from `erase`.
    pub erases: Option<usize>,
    /// Paths to the values that name persons, from `erase.by`.
    pub erase_by: Vec<ErasePath>,
}

/// Origin of a source column.
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
    /// Name, as dead letters state it.
    pub name: String,
    /// Text as written.
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

/// Key of a TABLE and its rule for records of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// Positions in `Source::schema` of the primary key.
    pub key: Vec<usize>,
    /// Conflict rule.
    pub conflict: Conflict,
    /// Retention below the partition's watermark, microseconds; None to keep rows for ever.
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
    /// Its query as written, which is shown and decides nothing.
    pub definition: String,
    /// The relation it shows.
    pub rel: RelId,
    /// A proven unique key (column positions); None means the whole row with its multiplicity.
    pub key: Option<Vec<usize>>,
    /// Its `retention` in microseconds.
    pub retention_us: Option<i64>,
    /// Bound below which its rows are not served any more: the retention after they are final.
    pub served: Option<Horizon>,
    /// Its indexes in the order declared.
    pub indexes: Vec<ViewIndex>,
    /// Bounds on the changes that the state keeps for those who follow the view; None keeps none.
    pub history: Option<History>,
    /// Columns whose values are exported as metrics, labelled by all others.
    pub metrics: Vec<usize>,
    /// Sources by index in [`Plan::sources`], and their lags in microseconds: windows that end at or before
    /// every source's watermark less its lag are final. None if no row of the view is ever final.
    pub final_marks: Option<Vec<(usize, i64)>>,
}

/// An index of a materialized view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewIndex {
    /// Name.
    pub name: String,
    /// Positions of the indexed columns, in the order of the index.
    pub columns: Vec<usize>,
}

/// A sink.
#[derive(Clone, Debug)]
pub struct Sink {
    /// Name.
    pub name: String,
    /// The relation it sends.
    pub rel: RelId,
    /// FORMAT.
    pub format: Format,
    /// ENCODE.
    pub encoding: Encoding,
    /// KEY ENCODE; defaults to the value's.
    pub key_encoding: Encoding,
    /// ENCODE options.
    pub encode_options: BTreeMap<String, String>,
    /// KEY ENCODE options; default to the value's where both have one encoding.
    pub key_encode_options: BTreeMap<String, String>,
    /// Key columns: UPSERT's primary key, DEBEZIUM's, or PLAIN's `key`. Empty for none.
    pub key: Vec<usize>,
    /// The columns that leave as pseudonyms, if any do.
    pub pseudonyms: Option<schemas::Pseudonyms>,
    /// The name of the Avro record: that of the view, or one that is given.
    pub record_name: String,
    /// WITH options left for the connector.
    pub options: BTreeMap<String, String>,
}
