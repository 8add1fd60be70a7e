//! How far the rows of a relation go before an operator keeps them.

use crate::plan::{Plan, RelId};

/// Relations that take rows of some relations.
pub(crate) struct Reach {
    /// True for the relations themselves, and for those that stateless operators make of their rows.
    pub(crate) stateless: Vec<bool>,
    /// Stateful operators that read one of these.
    pub(crate) stateful: Vec<RelId>,
}

/// Follows the rows of the relations for which `is_root` is true; state ends the way.
pub(crate) fn reach(plan: &Plan, is_root: impl Fn(RelId) -> bool) -> Reach {
    let (mut stateless, mut stateful) = (vec![false; plan.rels.len()], Vec::new());
    // Operators come behind their inputs.
    for (id, rel) in plan.rels.iter().enumerate() {
        let reads = rel.op.inputs().iter().any(|input| stateless[*input]);
        if reads && rel.op.is_stateful() {
            stateful.push(id);
        }
        stateless[id] = is_root(id) || (reads && !rel.op.is_stateful());
    }
    Reach { stateless, stateful }
}

/// Tells whether some state that a restart derives again takes the rows of a relation.
pub(crate) fn is_refilled_from(plan: &Plan, id: RelId) -> bool {
    reach(plan, |at| at == id).stateful.into_iter().any(|reader| !plan.rels[reader].durable)
}
