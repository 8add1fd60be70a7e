//! The functions, operators and types of Herald's SQL.
//!
//! Scalar functions are those of `registry`, of [`time`] and of [`json`]; aggregates are DataFusion's.
//! Everything a topology may call is a pure function of its arguments: functions that read the clock or draw
//! random numbers are listed by name only, so that a call is refused with its position and never reaches
//! planning.

pub(crate) mod aggregates;
mod array;
pub(crate) mod eval;
pub(crate) mod json;
pub(crate) mod number;
pub(crate) mod planning;
pub(crate) mod sets;
pub(crate) mod sums;
pub(crate) mod text;
pub(crate) mod types;
pub(crate) mod windows;

pub(crate) mod time;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::Field;
use datafusion_expr::{AggregateUDF, ScalarUDF, Volatility, WindowUDF};

use eval::about::Family;

/// The functions by name, aliases included.
pub(crate) struct Functions {
    scalars: BTreeMap<String, Arc<ScalarUDF>>,
    aggregates: BTreeMap<String, Arc<AggregateUDF>>,
    windows: BTreeMap<String, Arc<WindowUDF>>,
}

/// Returns the function that converts a value of the field `from` to the type of `to` as PostgreSQL does;
/// None where Arrow's cast does the same.
pub(crate) fn cast_function(from: &Field, to: &Field) -> Option<Arc<ScalarUDF>> {
    let (from, to) = (from.data_type(), to.data_type());
    time::cast(from, to).or_else(|| eval::cast::cast(from, to))
}

/// Functions that Herald does not define and whose result differs from call to call.
const VOLATILE: [&str; 8] = [
    "gen_random_uuid",
    "uuid_generate_v4",
    "uuidv4",
    "uuidv7",
    "rand",
    "clock_timestamp",
    "statement_timestamp",
    "transaction_timestamp",
];

/// The lines of the reference pages about the scalar functions, by family.
pub(crate) const ABOUT: &[Family] = &[
    ("Text", &[text::ABOUT, text::format::ABOUT, text::like::ABOUT]),
    ("Regular expressions", &[text::regex::ABOUT]),
    ("Bytes", &[text::bytes::ABOUT]),
    ("Numbers", &[number::ABOUT]),
    ("Angles", &[number::ABOUT_ANGLES]),
    ("Times", &[time::ABOUT]),
    ("JSONB", &[json::ABOUT]),
    ("Arrays", &[array::ABOUT, array::ABOUT_COMPARISONS, eval::registry::ABOUT_ARRAYS]),
    ("Values and structs", &[eval::registry::ABOUT_VALUES]),
    ("Series", &[sets::series::ABOUT]),
];

/// The one set of functions.
pub(crate) static FUNCTIONS: LazyLock<Functions> = LazyLock::new(Functions::new);

impl Functions {
    fn new() -> Functions {
        let mut scalars: BTreeMap<String, Arc<ScalarUDF>> = BTreeMap::new();
        let own = windows::event_windows::functions()
            .into_iter()
            .chain([sets::ordinality::function(), sets::abreast::function()]);
        let own = own
            .chain(json::functions())
            .chain(planning::marks::mark_functions())
            .chain([
                planning::written_cast::function(),
                planning::may_be_null::function(),
                planning::marks::now_function(),
            ])
            .chain(planning::quantified::functions())
            .chain(sets::series::functions())
            .chain(time::functions());
        for mut udf in eval::registry::scalar_functions().into_iter().chain(own) {
            // `to_char` exists for numbers and for times: one function takes both and chooses by the
            // argument's type.
            if udf.name() == "to_char"
                && let Some(numbers) = scalars.get("to_char")
            {
                udf = Arc::new(ScalarUDF::from(planning::either::Either::new(Arc::clone(numbers), udf)));
            }
            for name in udf.aliases().iter().chain([&udf.name().to_owned()]) {
                scalars.insert(name.clone(), Arc::clone(&udf));
            }
        }
        let aliases = eval::registry::alias_functions(&scalars);
        scalars.extend(aliases);
        let mut windows = BTreeMap::new();
        let builtin = datafusion_functions_window::all_default_window_functions();
        // A later function replaces an earlier one of the same name.
        for udwf in
            builtin.into_iter().chain(windows::ranks::functions()).chain(windows::session::functions())
        {
            for name in udwf.aliases().iter().chain([&udwf.name().to_owned()]) {
                windows.insert(name.clone(), Arc::clone(&udwf));
            }
        }
        Functions { scalars, aggregates: aggregates::all_aggregates(), windows }
    }

    /// Returns the scalar function called `name`, unless its result depends on the clock or on chance.
    pub(crate) fn scalar(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        let function = self.scalars.get(name)?;
        is_immutable(function).then_some(function).cloned()
    }

    /// Returns true if `name` is a function whose result depends on more than its arguments.
    pub(crate) fn is_volatile(&self, name: &str) -> bool {
        match self.scalars.get(name) {
            Some(function) if !is_immutable(function) => true,
            _ => VOLATILE.contains(&name),
        }
    }

    /// Returns the replacement to suggest for a function that Herald does not have.
    pub(crate) fn remedy(&self, name: &str) -> Option<&'static str> {
        eval::registry::find_remedy(name)
    }

    /// Returns the aggregate called `name`.
    pub(crate) fn aggregate(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.aggregates.get(name).cloned()
    }

    /// Returns the window function called `name`; aggregates are not included.
    pub(crate) fn window(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.windows.get(name).cloned()
    }

    /// Returns the names of the window functions that may be called.
    pub(crate) fn window_names(&self) -> Vec<String> {
        self.windows.keys().filter(|n| !n.starts_with("herald_")).cloned().collect()
    }

    /// Returns the names of the scalar functions that may be called.
    pub(crate) fn scalar_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for (name, function) in &self.scalars {
            // Operators are functions whose name is their sign: they are not called by name.
            let called = name.starts_with(|c: char| c.is_ascii_alphabetic()) && !name.starts_with("herald_");
            if called && is_immutable(function) {
                names.push(name.clone());
            }
        }
        names
    }

    /// Returns the names of the aggregates that may be called.
    pub(crate) fn aggregate_names(&self) -> Vec<String> {
        let kept = self.aggregates.iter().filter(|(_, f)| aggregates::is_kept(f.name()));
        kept.map(|(name, _)| name.clone()).collect()
    }
}

fn is_immutable(function: &ScalarUDF) -> bool {
    function.signature().volatility == Volatility::Immutable
}

/// Returns true if a call has a result for any arguments. `constant` tells whether the argument at a place is
/// constant; constant patterns were checked when the call was planned.
pub(crate) fn never_fails(function: &ScalarUDF, constant: impl Fn(usize) -> bool) -> bool {
    const MATCHING: [&str; 7] = ["like", "ilike", "similar_to", "~", "~*", "!~", "!~*"];
    eval::own::is_total(function) || (MATCHING.contains(&function.name()) && constant(1) && constant(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_and_chance_are_known_by_name() {
        for name in [
            "now",
            "random",
            "uuid",
            "gen_random_uuid",
            "current_date",
            "current_timestamp",
            "current_time",
            "today",
        ] {
            assert!(FUNCTIONS.is_volatile(name), "{name}");
            assert!(FUNCTIONS.scalar(name).is_none(), "{name}");
        }
        assert!(FUNCTIONS.scalar("date_trunc").is_some());
    }

    #[test]
    fn every_function_has_one_line() {
        let scalars: Vec<_> = ABOUT.iter().flat_map(|(_, tables)| tables.iter().copied()).collect();
        let kinds = [
            (FUNCTIONS.scalar_names(), scalars),
            (FUNCTIONS.aggregate_names(), vec![aggregates::ABOUT]),
            (FUNCTIONS.window_names(), vec![windows::ranks::ABOUT]),
        ];
        for (known, tables) in kinds {
            let lines = tables.iter().flat_map(|table| table.iter());
            let mut named: Vec<&str> = lines.flat_map(|line| line.names.split(' ')).collect();
            named.sort_unstable();
            let without: Vec<&String> = known.iter().filter(|name| !named.contains(&name.as_str())).collect();
            assert!(without.is_empty(), "write a line in the ABOUT beside their table: {without:?}");
            let twice: Vec<_> = named.windows(2).filter(|pair| pair[0] == pair[1]).collect();
            assert!(twice.is_empty(), "two lines for one name: {twice:?}");
            named.retain(|name| !known.iter().any(|other| other == name));
            assert!(named.is_empty(), "a line for functions that are not there: {named:?}");
        }
    }
}
