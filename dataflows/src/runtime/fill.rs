//! The filling of the tables that an edited topology adds, as the comparison with its state has it: the work
//! of the first epoch ([`Fill`]), and that which epochs do piece by piece ([`Pieces`]).

mod pieces;

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::SchemaRef;

use crate::plan::RelId;
pub use pieces::{ALL_GROUPS, FillStep, PIECE_ROWS, Pacer, Pieces, WaitingRows};

/// The work of the first epoch of an edited topology.
#[derive(Clone, Debug, Default)]
pub struct Fill {
    /// The topology's name.
    pub topology: String,
    /// Operators whose state is new.
    pub rels: BTreeSet<RelId>,
    /// State tables that are new.
    pub tables: BTreeSet<u32>,
    /// Sinks that send something.
    pub sinks: BTreeMap<usize, SinkFill>,
    /// Relations whose rows come from a view's table.
    pub views: BTreeMap<RelId, ViewRows>,
    /// Names by which rows of the error table go on, with their new names.
    pub kept_owners: BTreeMap<String, String>,
    /// Relations that the state has: those of kept views and sinks, those whose state is kept, and all below them.
    pub kept_rels: BTreeSet<RelId>,
    /// Owners of operators whose state goes on under others, in small letters, with those.
    pub moved_owners: BTreeMap<String, BTreeSet<String>>,
    /// The state's sinks that go on and send nothing, with their new names.
    pub kept_sinks: BTreeMap<String, String>,
    /// The outbox's targets that the topology has no more, or that are those of other places.
    pub dropped_targets: Vec<u16>,
}

/// A view's table that holds the rows of a relation.
#[derive(Clone, Debug)]
pub struct ViewRows {
    /// The state table.
    pub table_id: u32,
    /// True if it maps keys to rows.
    pub keyed: bool,
    /// The view's columns, and the one among them for each of the relation's; None where their rows are the same. A
    /// column that the view lacks is NULL, and nobody reads it.
    pub picked: Option<(SchemaRef, Vec<Option<usize>>)>,
}

/// The content of a sink that sends something.
#[derive(Clone, Debug, Default)]
pub struct SinkFill {
    /// The view's table that holds its rows, which is keyed or not; None if the dataflow emits them.
    pub now: Option<(u32, bool)>,
    /// The rows that it sent before, if it sends the difference.
    pub before: Option<SentBefore>,
}

/// The view that a sink sent before.
#[derive(Clone, Debug)]
pub struct SentBefore {
    /// Its state table.
    pub table_id: u32,
    /// Its columns.
    pub schema: SchemaRef,
    /// True if its table maps keys to rows.
    pub keyed: bool,
    /// The columns of the sink's key.
    pub key: Vec<usize>,
}

impl Fill {
    /// Returns true if the dataflow emits the rows of a sink at the committed epoch.
    pub fn takes_sink(&self, sink: usize) -> bool {
        self.sinks.get(&sink).is_some_and(|sink| sink.now.is_none())
    }
}
