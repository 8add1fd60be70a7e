//! Finality of a view's windows: by which watermarks no record can change them any more.
//!
//! `is_final(t)` of a query and EMIT ON WINDOW CLOSE go by the same bounds. A bound says below which times of
//! its column rows are final; as the windows that these times tell of end `ahead` of them, it also says which
//! windows are final by their ends. Of several columns the weakest bound counts, so that the answer holds for
//! a time of any of them.

use std::collections::BTreeMap;

use super::event_time::ColumnBounds;

/// Sources and their lags in microseconds: windows of a relation that end at or before every source's
/// watermark less its lag are final. None if no column of the relation has a bound.
pub(crate) fn final_marks(bounds: &ColumnBounds) -> Option<Vec<(usize, i64)>> {
    let mut marks: BTreeMap<usize, i64> = BTreeMap::new();
    for bound in bounds.iter().flatten().filter(|bound| bound.becomes_final()) {
        for (source, lag) in &bound.marks {
            // Times are final below the watermark less the lag, so the last end of a final window is `ahead`
            // of that, less one microsecond.
            let lag = lag.saturating_sub(bound.ahead.saturating_sub(1));
            let held = marks.entry(*source).or_insert(lag);
            *held = lag.max(*held);
        }
    }
    if marks.is_empty() { None } else { Some(marks.into_iter().collect()) }
}
