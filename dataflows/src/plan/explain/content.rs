//! Prints of the rows and the state of relations: equal ones hold equal rows, whatever inner columns are called and
//! however the steps without state between two operators are cut.
//!
//! The whole plan decides which columns a shared relation has and which steps are merged, so the fingerprint of a view
//! may change with the views beside it. Its print does not: projections are put into the expressions above them, and a
//! column of an operator is named by the text of its expression. The print of an operator's state adds what its stored form
//! depends on.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion_common::ScalarValue;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_expr::Operator;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{BinaryExpr, Literal};
use schemas::RowCodec;

use super::fingerprint::{fingerprint, hash_hex, source_fingerprint};
use super::source_name;
use crate::plan::analysis::fallible::{input_scalars, may_fail};
use crate::plan::analysis::properties::column_of;
use crate::plan::{Edge, Op, Plan, RelId, Scalar, When};

/// Version of the prints. They hold texts of DataFusion and Arrow: another one belongs to any change by which the prints
/// of a plan differ from those that a state has, so that they are not compared.
const VERSION: u32 = 1;

/// A print as states have it.
fn versioned(hash: &str) -> String {
    format!("{VERSION}:{hash}")
}

/// Returns true if two prints, each perhaps with more behind it, are of one version and differ.
pub fn is_other_print(held: &str, now: &str) -> bool {
    let version = |print: &str| print.split_once(':').map(|(version, _)| version.to_owned());
    version(held) == version(now) && held != now
}

/// Rows of a relation as expressions over the columns of the last operator that is more than a projection.
struct RelationContent {
    /// Print of that operator and all below it.
    base: String,
    /// The columns.
    columns: Vec<Scalar>,
}

/// Prints of all relations of a plan.
pub struct Prints {
    contents: Vec<RelationContent>,
    states: Vec<String>,
}

impl Prints {
    /// Computes the prints of a plan.
    pub fn of(plan: &Plan) -> Prints {
        let mut prints = Prints { contents: Vec::new(), states: Vec::new() };
        for id in 0..plan.rels.len() {
            let (content, mut state) = prints.content_of(plan, id);
            let mut failing = Vec::new();
            if plan.rels[id].op.is_stateful() {
                note_failing(plan, id, &mut failing);
            }
            // A row that failed is taken back by its text, so that one must not change while the state is kept.
            if !failing.is_empty() {
                state = hash_hex(&format!("{state}\n{}", failing.join("\n")));
            }
            prints.contents.push(content);
            prints.states.push(versioned(&state));
        }
        prints
    }

    /// The print of a relation's rows, with the names and types of its columns.
    pub fn rows(&self, plan: &Plan, rel: RelId) -> String {
        let mut parts = vec![self.contents[rel].base.clone(), self.columns_text(plan, rel)];
        parts.extend(plan.rels[rel].schema.fields().iter().map(|field| field.name().clone()));
        versioned(&hash_hex(&parts.join("\n")))
    }

    /// The column of `view` for each column of a relation, if the view is a projection of it; None for a column that
    /// the view lacks.
    pub fn columns_within(&self, rel: RelId, view: RelId) -> Option<Vec<Option<usize>>> {
        let (of, within) = (&self.contents[rel], &self.contents[view]);
        if of.base != within.base {
            return None;
        }
        let texts: Vec<String> = within.columns.iter().map(ToString::to_string).collect();
        let mut found = Vec::with_capacity(of.columns.len());
        for column in &of.columns {
            let text = column.to_string();
            found.push(texts.iter().position(|other| *other == text));
        }
        Some(found)
    }

    /// The print of the state of a relation's operator.
    pub fn state(&self, rel: RelId) -> &str {
        &self.states[rel]
    }

    /// The texts of a relation's columns with their types.
    fn columns_text(&self, plan: &Plan, rel: RelId) -> String {
        let mut texts = Vec::new();
        for (column, field) in self.contents[rel].columns.iter().zip(plan.rels[rel].schema.fields()) {
            texts.push(format!("{column} {}", schemas::sql_type(field)));
        }
        texts.join(", ")
    }

    /// A scalar over a relation as one over the columns of its content.
    fn lifted(&self, scalar: &Scalar, input: RelId) -> Scalar {
        replaced(scalar, &self.contents[input].columns)
    }

    /// The texts of scalars over a relation.
    fn texts(&self, scalars: &[Scalar], input: RelId) -> String {
        let mut texts = Vec::with_capacity(scalars.len());
        for scalar in scalars {
            texts.push(self.lifted(scalar, input).to_string());
        }
        texts.join(", ")
    }

    /// The texts of edges over a relation.
    fn edges_text(&self, edges: &[Edge], input: RelId) -> String {
        let mut texts = Vec::with_capacity(edges.len());
        for edge in edges {
            texts.push(format!("{} {}", self.lifted(&edge.time, input), edge.us));
        }
        texts.join(", ")
    }

    /// The content of a relation whose inputs are known, and the print of its operator's state.
    fn content_of(&self, plan: &Plan, id: RelId) -> (RelationContent, String) {
        let rel = &plan.rels[id];
        let base_of = |input: RelId| self.contents[input].base.as_str();
        match &rel.op {
            Op::Source(at) => {
                without_state(source_fingerprint(plan, *at), numbered(rel.schema.fields().len()))
            }
            Op::Values(rows) => {
                let text = format!("{}\n{}", fingerprint(plan, id), values_text(rows));
                without_state(hash_hex(&text), numbered(rel.schema.fields().len()))
            }
            Op::Recursive(recursive) => {
                let body = &recursive.body;
                let mut text = format!(
                    "{}\n{}",
                    fingerprint(plan, id),
                    Prints::of(body).rows(body, body.rels.len() - 1)
                );
                for input in recursive.inputs() {
                    text = format!("{text}\n{} {}", base_of(input.rel), self.columns_text(plan, input.rel));
                }
                without_state(hash_hex(&text), numbered(rel.schema.fields().len()))
            }
            Op::Given(_) => without_state(fingerprint(plan, id), numbered(rel.schema.fields().len())),
            Op::Filter { input, predicate } => {
                let mut base = base_of(*input).to_owned();
                for condition in conditions(self.lifted(predicate, *input).expr()) {
                    base = hash_hex(&format!("{base}\nfilter {condition}"));
                }
                without_state(base, self.contents[*input].columns.clone())
            }
            Op::Project { input, exprs } => {
                let columns = exprs.iter().map(|expr| self.lifted(expr, *input)).collect();
                without_state(base_of(*input).to_owned(), columns)
            }
            Op::Unnest { input, column, outer } => {
                let mut columns = self.contents[*input].columns.clone();
                let base = hash_hex(&format!("{}\nunnest {} {outer}", base_of(*input), columns[*column]));
                columns[*column] = named(&format!("item {base}"));
                without_state(base, columns)
            }
            Op::Union { inputs } => {
                let mut text = "union".to_owned();
                for input in inputs {
                    text = format!("{text}\n{} {}", base_of(*input), self.columns_text(plan, *input));
                }
                without_state(hash_hex(&text), numbered(rel.schema.fields().len()))
            }
            _ => self.content_with_state(plan, id),
        }
    }

    /// The content of a relation whose operator keeps rows or totals.
    fn content_with_state(&self, plan: &Plan, id: RelId) -> (RelationContent, String) {
        let rel = &plan.rels[id];
        let base_of = |input: RelId| self.contents[input].base.as_str();
        match &rel.op {
            Op::Distinct { input } => {
                let text = format!("{}\ndistinct {}", base_of(*input), self.columns_text(plan, *input));
                let columns = self.contents[*input].columns.iter().map(sealed).collect();
                with_state(&text, columns, "")
            }
            Op::EmitOnClose { input, horizon } => {
                let time = &self.contents[*input].columns[horizon.column];
                let mut text = format!("{}\nclose {time}", base_of(*input));
                for (source, lag) in &horizon.marks {
                    text = format!("{text} {} {lag}", source_name(plan, *source));
                }
                let columns = self.contents[*input].columns.clone();
                with_state(&text, columns, &self.columns_text(plan, *input))
            }
            Op::TemporalFilter { input, since, until, clock } => {
                let (since, until) = (self.edges_text(since, *input), self.edges_text(until, *input));
                let clock: Vec<&str> = clock.iter().map(|source| source_name(plan, *source)).collect();
                let text = format!("{}\nwithin {since}; {until}; {}", base_of(*input), clock.join(", "));
                let columns = self.contents[*input].columns.clone();
                with_state(&text, columns, &self.columns_text(plan, *input))
            }
            Op::Aggregate { input, keys, aggregates } => {
                let by = |scalar: &Scalar| self.lifted(scalar, *input);
                let items = aggregates.iter().map(|aggregate| aggregate.map(&by).to_string()).collect();
                self.grouped(plan, id, (*input, keys), items)
            }
            Op::GroupRows { input, keys, folds } => {
                let by = |scalar: &Scalar| self.lifted(scalar, *input);
                let mut items = Vec::with_capacity(folds.len());
                for fold in folds {
                    let constant = fold.constant.as_ref().map(literal_text).unwrap_or_default();
                    items.push(format!("{} {constant}", fold.map(by)));
                }
                self.grouped(plan, id, (*input, keys), items)
            }
            Op::Window { input, window } => {
                let window = window.map(&|scalar: &Scalar| self.lifted(scalar, *input));
                let first = window.first.map(|first| (first.function, first.most));
                // Rows of equal order stand in the order of all their bytes.
                let ties = self.columns_text(plan, *input);
                let text = format!(
                    "{}\nwindow {} {} {} {first:?} {ties}",
                    base_of(*input),
                    super::comma_list(&window.partition),
                    super::comma_list(&window.order),
                    super::comma_list(&window.functions)
                );
                let mut columns = self.contents[*input].columns.clone();
                columns
                    .extend(window.functions.iter().map(|function| named(&hash_hex(&function.to_string()))));
                with_state(&text, columns, &self.columns_text(plan, *input))
            }
            _ => self.joined(plan, id),
        }
    }

    /// The content of a GROUP BY with the texts of its items.
    fn grouped(
        &self,
        plan: &Plan,
        id: RelId,
        (input, keys): (RelId, &[Scalar]),
        items: Vec<String>,
    ) -> (RelationContent, String) {
        let mut columns = Vec::with_capacity(keys.len() + items.len());
        for key in keys {
            columns.push(sealed(&self.lifted(key, input)));
        }
        for (item, field) in items.iter().zip(plan.rels[id].schema.fields().iter().skip(keys.len())) {
            columns.push(named(&hash_hex(&format!("{item} {}", schemas::sql_type(field)))));
        }
        let mut types = Vec::with_capacity(keys.len());
        for field in plan.rels[id].schema.fields().iter().take(keys.len()) {
            types.push(schemas::sql_type(field));
        }
        let base = &self.contents[input].base;
        let text = format!("{base}\ngroup {} {}", self.texts(keys, input), types.join(", "));
        let (content, _) = with_state(&text, columns, "");
        let stored: Vec<String> = content.columns.iter().map(ToString::to_string).collect();
        let state = hash_hex(&format!("{} {} {}", content.base, stored.join(", "), items.join(", ")));
        (content, state)
    }

    /// The content of a join.
    fn joined(&self, plan: &Plan, id: RelId) -> (RelationContent, String) {
        let (left, right, keys, detail, pairs) = match &plan.rels[id].op {
            Op::Join { left, right, kind, left_keys, right_keys, residual, null_equal } => {
                let both = self.both(*left, *right);
                let residual = residual.as_ref().map(|residual| replaced(residual, &both).to_string());
                let detail = format!("{kind:?} {null_equal} {residual:?}");
                (*left, *right, (left_keys, right_keys), detail, kind.outputs_pairs())
            }
            Op::TemporalJoin { left, right, left_keys, right_keys, outer, when } => {
                let when = match when {
                    When::ProcTime => "now".to_owned(),
                    When::AsOf { left: l, right: r, nearest } => {
                        let columns = (&self.contents[*left].columns[*l], &self.contents[*right].columns[*r]);
                        // Of rows of equal times the greatest bytes count.
                        let ties = self.columns_text(plan, *right);
                        format!("{} {} {nearest:?} {ties}", columns.0, columns.1)
                    }
                };
                (*left, *right, (left_keys, right_keys), format!("as of {outer} {when}"), true)
            }
            _ => return without_state(fingerprint(plan, id), numbered(plan.rels[id].schema.fields().len())),
        };
        let text = format!(
            "{}\n{}\njoin {detail} on {} = {}",
            self.contents[left].base,
            self.contents[right].base,
            self.texts(keys.0, left),
            self.texts(keys.1, right)
        );
        let mut columns = self.both(left, right);
        if !pairs {
            columns.truncate(self.contents[left].columns.len());
        }
        let stored = format!("{}\n{}", self.columns_text(plan, left), self.columns_text(plan, right));
        with_state(&text, columns, &stored)
    }

    /// The columns of both sides of a join, each with its side.
    fn both(&self, left: RelId, right: RelId) -> Vec<Scalar> {
        let mut columns = Vec::new();
        for (side, rel) in [("left", left), ("right", right)] {
            for column in &self.contents[rel].columns {
                columns.push(named(&format!("{side} {}", hash_hex(&column.to_string()))));
            }
        }
        columns
    }
}

/// Notes the texts of rows that can fail and be taken back, in an operator and in the steps without state below it.
fn note_failing(plan: &Plan, id: RelId, texts: &mut Vec<String>) {
    let op = &plan.rels[id].op;
    if may_fail(plan, id) && op.inputs().iter().any(|input| !plan.rels[*input].is_append_only()) {
        texts.extend(input_scalars(op).into_iter().map(|(_, scalar)| scalar.to_string()));
        for input in op.inputs() {
            texts.extend(plan.rels[input].schema.fields().iter().map(|field| field.name().clone()));
        }
    }
    for input in op.inputs() {
        if !plan.rels[input].op.is_stateful() {
            note_failing(plan, input, texts);
        }
    }
}

/// A relation whose operator has no state that is stored.
fn without_state(base: String, columns: Vec<Scalar>) -> (RelationContent, String) {
    (RelationContent { base, columns }, String::new())
}

/// A relation whose operator has state; `stored` is the text of its stored form.
fn with_state(text: &str, columns: Vec<Scalar>, stored: &str) -> (RelationContent, String) {
    let base = hash_hex(text);
    let state = hash_hex(&format!("{base}\n{stored}"));
    (RelationContent { base, columns }, state)
}

/// A column of that name.
fn named(name: &str) -> Scalar {
    Scalar::column(name, 0)
}

/// An expression as a column of the operator that computes it.
fn sealed(scalar: &Scalar) -> Scalar {
    named(&hash_hex(&scalar.to_string()))
}

/// Columns by their positions.
fn numbered(columns: usize) -> Vec<Scalar> {
    (0..columns).map(|at| named(&at.to_string())).collect()
}

/// A scalar with its columns replaced by expressions, and its literals by their exact texts.
fn replaced(scalar: &Scalar, columns: &[Scalar]) -> Scalar {
    let expr = Arc::clone(scalar.expr()).transform_up(|expr| {
        if let Some(column) = column_of(&expr) {
            return Ok(match columns.get(column.index()) {
                Some(expression) => Transformed::yes(Arc::clone(expression.expr())),
                None => Transformed::no(expr),
            });
        }
        Ok(match expr.downcast_ref::<Literal>() {
            Some(literal) => Transformed::yes(Arc::clone(named(&literal_text(literal.value())).expr())),
            None => Transformed::no(expr),
        })
    });
    match expr {
        Ok(replaced) => Scalar::new(replaced.data),
        // An expression that cannot be rebuilt is known by all that it may read.
        Err(_) => named(&format!("{:?} of {columns:?}", scalar.expr())),
    }
}

/// A value with its type; its bytes in full, as `Debug` leaves out some.
fn literal_text(value: &ScalarValue) -> String {
    let (of, array) = (value.data_type(), value.to_array());
    let packed =
        array.ok().and_then(|array| RowCodec::new(std::slice::from_ref(&of)).ok()?.encode(&[array]).ok());
    match packed {
        Some(rows) => format!("{of} {:?} {value:?}", rows.get(0)),
        None => format!("{of} {value:?}"),
    }
}

/// Rows that a query has written, as their bytes.
fn values_text(batch: &RecordBatch) -> String {
    let codec = RowCodec::of(&batch.schema());
    match codec.and_then(|codec| codec.encode(batch.columns())) {
        Ok(rows) => format!("{:?}", rows.iter().collect::<Vec<_>>()),
        Err(_) => format!("{batch:?}"),
    }
}

/// The conditions that AND joins, in their order.
fn conditions(expr: &Arc<dyn PhysicalExpr>) -> Vec<String> {
    match expr.downcast_ref::<BinaryExpr>() {
        Some(both) if *both.op() == Operator::And => {
            let mut all = conditions(both.left());
            all.extend(conditions(both.right()));
            all
        }
        _ => vec![expr.to_string()],
    }
}
