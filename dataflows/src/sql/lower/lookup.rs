//! Joins as of a time: their keys and times as positions.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion_common::{Result, plan_err};
use datafusion_physical_expr::expressions::IsNotNullExpr;

use super::{Lower, cast, scalar};
use crate::plan::{Op, RelId, Scalar, When};
use crate::sql::logical::joins::temporal::{MATCH, Temporal};

impl Lower<'_> {
    pub(super) fn lookup(&mut self, join: &Temporal) -> Result<RelId> {
        let (mut left, mut right) = (self.node(&join.left)?, self.node(&join.right)?);
        let (l, r) = (self.schema(left), self.schema(right));
        let (mut left_keys, mut right_keys) = (Vec::new(), Vec::new());
        for (a, b) in &join.on {
            let (a, b) = (scalar(a, join.left.schema())?, scalar(b, join.right.schema())?);
            right_keys.push(cast(b, &a.data_type(&l)?, &r)?);
            left_keys.push(a);
        }
        let when = match &join.times {
            Some((a, b, nearest)) => {
                let (a, b) = (scalar(a, join.left.schema())?, scalar(b, join.right.schema())?);
                let (Some(a), Some(b)) = (a.as_column(), b.as_column()) else { return plan_err!("{MATCH}") };
                if l.field(a).data_type() != r.field(b).data_type() {
                    return plan_err!("{MATCH}");
                }
                // What has no time is found by nothing, and finds nothing: it need not be kept.
                right = self.timed(right, b);
                if !join.outer {
                    left = self.timed(left, a);
                }
                When::Time { left: a, right: b, nearest: *nearest }
            }
            None => When::Now,
        };
        let fields = r
            .fields()
            .iter()
            .map(|f| Arc::new(f.as_ref().clone().with_nullable(join.outer || f.is_nullable())));
        let schema = Arc::new(Schema::new(l.fields().iter().cloned().chain(fields).collect::<Vec<_>>()));
        Ok(self.push(Op::Lookup { left, right, left_keys, right_keys, outer: join.outer, when }, schema))
    }

    /// The rows whose time is known.
    fn timed(&mut self, input: RelId, column: usize) -> RelId {
        let schema = self.schema(input);
        let time = Scalar::column(schema.field(column).name(), column);
        let predicate = Scalar::new(Arc::new(IsNotNullExpr::new(Arc::clone(time.expr()))));
        self.push(Op::Filter { input, predicate }, schema)
    }
}
