//! Lowering of temporal joins (AS OF a time): keys and times become positions.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion_common::Result;
use datafusion_physical_expr::expressions::IsNotNullExpr;

use super::join::fields_of_side;
use super::{Lower, cast, column_at, lower_scalar, owned_fields};
use crate::mistake::unsupported::Unsupported;
use crate::plan::{Op, RelId, Scalar, When};
use crate::sql::logical::joins::temporal::Temporal;

impl Lower<'_> {
    /// Lowers a join as of a column's time, or as of the time of processing.
    pub(super) fn lower_temporal_join(&mut self, join: &Temporal) -> Result<RelId> {
        let (mut left, mut right) = (self.lower_node(&join.left)?, self.lower_node(&join.right)?);
        let (l, r) = (self.schema_of(left), self.schema_of(right));
        let (mut left_keys, mut right_keys) = (Vec::new(), Vec::new());
        for (a, b) in &join.on {
            let (a, b) = (lower_scalar(a, join.left.schema())?, lower_scalar(b, join.right.schema())?);
            right_keys.push(cast(b, &a.data_type(&l)?, &r)?);
            left_keys.push(a);
        }
        let when = match &join.times {
            Some((a, b, nearest)) => {
                let (a, b) = (lower_scalar(a, join.left.schema())?, lower_scalar(b, join.right.schema())?);
                let (Some(a), Some(b)) = (a.as_column(), b.as_column()) else {
                    return Err(Unsupported::MatchCondition.into());
                };
                if l.field(a).data_type() != r.field(b).data_type() {
                    return Err(Unsupported::MatchCondition.into());
                }
                // Rows without a time match nothing: filter them so that no state is kept for them. A left
                // row without a time must still be emitted by an outer join.
                right = self.push_known_times(right, b);
                if !join.outer {
                    left = self.push_known_times(left, a);
                }
                When::AsOf { left: a, right: b, nearest: *nearest }
            }
            None => When::ProcTime,
        };
        let mut fields = owned_fields(&l);
        fields.extend(fields_of_side(&r, join.outer));
        let schema = Arc::new(Schema::new(fields));
        Ok(self
            .push(Op::TemporalJoin { left, right, left_keys, right_keys, outer: join.outer, when }, schema))
    }

    /// The rows whose time is not NULL.
    fn push_known_times(&mut self, input: RelId, column: usize) -> RelId {
        let schema = self.schema_of(input);
        let time = column_at(&schema, column);
        let predicate = Scalar::new(Arc::new(IsNotNullExpr::new(Arc::clone(time.expr()))));
        self.push(Op::Filter { input, predicate }, schema)
    }
}
