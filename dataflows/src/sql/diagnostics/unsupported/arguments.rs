//! Refusal of calls with a number of arguments that PostgreSQL refuses and DataFusion's planner takes.
//!
//! DataFusion reads `count()` as `count(*)`, counts the rows of `count(a, b)` in which neither is NULL, and plans
//! `first_value()`, `last_value()` and `nth_value()` over a value that is not there.

use datafusion_sql::sqlparser::ast::{DuplicateTreatment, Function, FunctionArguments, Spanned};

use super::order::{Refusal, refusal};

/// Refuses a call of `name`, in lower case, with too few or too many arguments.
pub(super) fn refuse_arguments(f: &Function, name: &str) -> Option<Refusal> {
    let span = f.name.span();
    let FunctionArguments::List(list) = &f.args else { return None };
    // A rewrite's call has no place, and the arguments that it means.
    if span.start.line == 0 {
        return None;
    }
    match (name, list.args.len()) {
        ("count", 0) => {
            refusal(span, "count() counts nothing", "write count(*) for the rows, or count(x) for values")
        }
        // DISTINCT over several values has a refusal of its own.
        ("count", 2..) if list.duplicate_treatment != Some(DuplicateTreatment::Distinct) => refusal(
            span,
            "count takes one argument",
            "write count(*) FILTER (WHERE x IS NOT NULL AND y IS NOT NULL)",
        ),
        ("first_value" | "last_value", given) if given != 1 => {
            refusal(span, format!("{name} takes one argument"), format!("write {name}(x)"))
        }
        ("nth_value", given) if given != 2 && f.over.is_some() => {
            refusal(span, "nth_value takes two arguments", "write nth_value(x, n) OVER (ORDER BY y)")
        }
        _ => None,
    }
}
