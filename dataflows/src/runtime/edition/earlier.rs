//! States of releases that summed the groups above tables at each start, and did not store them.

use state::{Catalogue, StateTableKind};

use crate::plan::Plan;
use crate::plan::aggregate::has_totals;
use crate::plan::state_role::StateRole;
use crate::runtime::state_tables::{StateTables, arrangement_name};

/// A plan as the release that wrote a catalogue had it: groups that have no table there are not durable.
pub fn plan_of_state(plan: &Plan, held: &Catalogue) -> Plan {
    let mut plan = plan.clone();
    for id in 0..plan.rels.len() {
        let name = arrangement_name(&plan, (id, StateRole::Groups));
        if has_totals(&plan, id) && held.find(StateTableKind::Arrangement, &name).is_none() {
            plan.rels[id].durable = false;
        }
    }
    plan
}

/// A catalogue with all that an edit goes by, where an earlier release did not write it and the text is the state's own:
/// then only the groups are new. Any other catalogue is returned as it is.
pub fn with_edition_facts(plan: &Plan, held: &Catalogue) -> Catalogue {
    let mut known = held.clone();
    let Ok(tables) = StateTables::of(&plan_of_state(plan, held), Some(held)) else { return known };
    let told = tables.catalogue(&held.topology);
    for entry in &mut known.entries {
        if let Some(same) = told.find(entry.kind, &entry.name) {
            entry.clone_from(same);
        }
    }
    known
}
