//! Medians, bounds and quantiles of figures.

use std::time::Duration;

/// Median and bounds of a figure of some runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The least.
    pub least: f64,
    /// The one in the middle, or the mean of two.
    pub median: f64,
    /// The greatest.
    pub most: f64,
}

impl Spread {
    /// The spread of figures; zeros of none.
    pub fn of(figures: &[f64]) -> Spread {
        let mut figures = figures.to_vec();
        figures.sort_by(f64::total_cmp);
        let at = |index: usize| figures.get(index).copied().unwrap_or_default();
        let last = figures.len().saturating_sub(1);
        Spread { least: at(0), median: (at(last / 2) + at(figures.len() / 2)) / 2.0, most: at(last) }
    }
}

/// The milliseconds within which a share of the times is, of times in ascending order; 0 of none.
pub fn quantile_ms(times: &[Duration], share: f64) -> f64 {
    let at = (times.len() as f64 * share).ceil() as usize;
    let time = times.get(at.saturating_sub(1)).or(times.last());
    time.map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_between_the_bounds() {
        let figures = [3.0, 1.0, 2.0, 10.0];
        assert_eq!(Spread::of(&figures), Spread { least: 1.0, median: 2.5, most: 10.0 });
        assert_eq!(Spread::of(&figures[..3]).median, 2.0);
    }

    #[test]
    fn a_quantile_is_one_of_the_times() {
        let times: Vec<Duration> = (1..=2000).map(Duration::from_millis).collect();
        let quantiles = |count: usize| [0.5, 0.99, 0.999].map(|share| quantile_ms(&times[..count], share));
        assert_eq!(quantiles(2000), [1000.0, 1980.0, 1998.0]);
        assert_eq!(quantiles(3), [2.0, 3.0, 3.0]);
        assert_eq!(quantiles(0), [0.0; 3]);
    }
}
