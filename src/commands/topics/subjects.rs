//! Subjects as a file declares them, compared with a schema registry.
//!
//! The level of compatibility is set before a schema is registered, so that the schema has to fit the level that is
//! wanted. The registry tests a schema at the level that holds at the time.

use anyhow::Result;
use schemas::Registry;

use super::file::DeclaredSubject;
use super::report::{Step, TopicReport};

/// Adds the steps and obstacles of a subject to the report of its topic.
///
/// # Errors
/// When the registry does not answer.
pub fn compare(subject: &DeclaredSubject, registry: &Registry, report: &mut TopicReport) -> Result<()> {
    let name = &subject.name;
    let mut new_level = None;
    if let Some(wanted) = &subject.level {
        let held = registry.compatibility(name)?;
        if held.as_ref() != Some(wanted) {
            new_level = Some(wanted);
            report.steps.push(Step::Level { subject: name.clone(), from: held, to: wanted.clone() });
        }
    }
    let Some((file, schema)) = &subject.schema else { return Ok(()) };
    if registry.is_registered(name, schema)? {
        return Ok(());
    }
    let refusals = match new_level {
        Some(level) if level == "NONE" => Vec::new(),
        _ => registry.incompatibilities(name, schema)?,
    };
    if !refusals.is_empty() {
        let why = refusals.join("; ");
        match new_level {
            None => report.obstacles.push(format!(
                "the registry would refuse {file} for subject {name}: {why}; correct the schema, or register it \
                 under another subject"
            )),
            Some(level) => report.warnings.push(format!(
                "at its present level of compatibility subject {name} would refuse {file}: {why}; it is asked again \
                 at {level}"
            )),
        }
    }
    let (subject, file, schema) = (name.clone(), file.clone(), schema.clone());
    report.steps.push(Step::Register { subject, file, schema });
    Ok(())
}
