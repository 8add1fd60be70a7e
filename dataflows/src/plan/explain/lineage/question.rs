//! The argument of `--lineage`: a view or sink, a source, or a column of one, perhaps with a path.

use arrow::datatypes::{DataType, Field, FieldRef};

use super::{Output, Place, Step};
use crate::plan::Plan;

/// Things of which lineage is told.
#[derive(Debug)]
pub(super) enum Question<'p> {
    /// All views and sinks.
    All,
    /// A view or sink, or one of its columns.
    Output(Output<'p>, Option<usize>),
    /// All columns of a source.
    Source(usize),
    /// A column of a source, or a place within it.
    Place(Place),
}

/// Finds the thing that is asked for.
///
/// # Errors
/// A sentence, when there is no such thing.
pub(super) fn read<'p>(plan: &'p Plan, asked: Option<&str>) -> Result<Question<'p>, String> {
    let Some(asked) = asked else { return Ok(Question::All) };
    let steps = split_steps(asked).ok_or_else(|| {
        format!("{asked} is no column: write NAME, NAME.COLUMN or SOURCE.COLUMN['field'][]['field']")
    })?;
    let Some((Step::Field(name), rest)) = steps.split_first() else {
        return Err(format!("{asked} does not begin with the name of a view, sink or source"));
    };
    let output = Output::all(plan).find(|output| same_name(output.name(), name));
    if let Some(output) = output {
        let column = match rest {
            [] => None,
            [Step::Field(column)] => Some(find_column(output.name(), &output.columns(plan), column)?),
            _ => return Err(format!("{asked}: columns of views and sinks are told as a whole")),
        };
        return Ok(Question::Output(output, column));
    }
    let Some(source) = plan.sources.iter().position(|source| same_name(&source.name, name)) else {
        return Err(format!(
            "no materialized view, sink or source is called {name}. There is {}",
            super::super::names(plan).join(", ")
        ));
    };
    let Some((Step::Field(column), path)) = rest.split_first() else { return Ok(Question::Source(source)) };
    let schema = &plan.sources[source].schema;
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let column = find_column(&plan.sources[source].name, &names, column)?;
    let path = resolve_path(schema.field(column), path)?;
    Ok(Question::Place(Place { source, column, path }))
}

/// Returns true if a name is meant: SQL folds names that are not quoted to lower case.
fn same_name(name: &str, asked: &str) -> bool {
    name == asked || name == asked.to_lowercase()
}

fn find_column(of: &str, names: &[&str], asked: &str) -> Result<usize, String> {
    let exact = names.iter().position(|name| *name == asked);
    exact
        .or_else(|| names.iter().position(|name| same_name(name, asked)))
        .ok_or_else(|| format!("{of} has no column {asked}. Its columns are {}", names.join(", ")))
}

/// The steps as the type of the column has them; `[]` may be left out before a field.
fn resolve_path(column: &Field, steps: &[Step]) -> Result<Vec<Step>, String> {
    let (mut path, mut at) = (Vec::new(), column.clone());
    for step in steps {
        if let (DataType::List(items), Step::Field(_)) = (at.data_type(), step) {
            path.push(Step::Items);
            at = items.as_ref().clone();
        }
        let next: FieldRef = match (at.data_type(), step) {
            (DataType::List(items), Step::Items) => {
                path.push(Step::Items);
                items.clone()
            }
            (DataType::Struct(fields), Step::Field(name)) => {
                let found = fields.iter().find(|field| same_name(field.name(), name));
                let Some(found) = found else {
                    let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
                    let of = if at.name() == "item" { column.name() } else { at.name() };
                    return Err(format!("{of} has no field {name}. Its fields are {}", names.join(", ")));
                };
                path.push(Step::Field(found.name().clone()));
                found.clone()
            }
            (_, Step::Items) => return Err(format!("{} is no list", at.name())),
            (_, Step::Field(name)) => {
                return Err(format!("{} is no STRUCT, so that it has no field {name}", at.name()));
            }
        };
        at = next.as_ref().clone();
    }
    Ok(path)
}

/// The names of an argument, with `[]` between them; None where brackets or quotes are not closed.
fn split_steps(asked: &str) -> Option<Vec<Step>> {
    let (mut steps, mut rest) = (Vec::new(), asked.trim());
    while !rest.is_empty() {
        rest = rest.strip_prefix('.').unwrap_or(rest);
        let (step, left) = if let Some(inside) = rest.strip_prefix('[') {
            let (inside, left) = inside.split_once(']')?;
            match inside.trim_matches('\'') {
                "" | "*" => (Step::Items, left),
                name => (Step::Field(name.to_owned()), left),
            }
        } else if let Some(inside) = rest.strip_prefix('"') {
            let (name, left) = inside.split_once('"')?;
            (Step::Field(name.to_owned()), left)
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            if end == 0 {
                return None;
            }
            (Step::Field(rest[..end].to_owned()), &rest[end..])
        };
        steps.push(step);
        rest = left;
    }
    Some(steps)
}
