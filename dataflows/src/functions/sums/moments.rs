//! Statistics of one or two columns of doubles, from exact sums.
//!
//! The accumulators of a statistic are adjacent: for one column x the sums of x and x * x; for
//! pairs the sums of x, y, x * y, x * x and y * y, over the pairs without NULL. Each result is a
//! quotient of whole numbers computed from them, rounded at the division. NaN and infinities have the
//! same effect as in DataFusion: the variance of one value is 0 for any value; of more values with one
//! that is not finite it is NaN; a correlation with such values on one side is NULL.

use super::accum::{Acc, ExactSum};
use super::float_sum::FloatSum;
use super::product_sum::{ProductSum, Scaled, WideInteger};
use crate::plan::aggregate::Stat;

/// Creates the empty accumulators of a statistic.
pub fn empty(stat: Stat) -> Vec<Acc> {
    let sum = || Acc { n: 0, sum: ExactSum::Float(Box::default()) };
    let products = || Acc { n: 0, sum: ExactSum::Products(Box::default()) };
    if stat.is_over_pairs() {
        vec![sum(), sum(), products(), products(), products()]
    } else {
        vec![sum(), products()]
    }
}

/// Adds a pair of values (x, y), or without y a value of one column, `times` times.
pub fn add(accs: &mut [Acc], (x, y): (f64, Option<f64>), times: i64) {
    let of_pairs = |y| [(x, None), (y, None), (x, Some(y)), (x, Some(x)), (y, Some(y))];
    let (single, pair) = ([(x, None), (x, Some(x))], y.map(of_pairs));
    let factors: &[(f64, Option<f64>)] = pair.as_ref().map_or(&single, |pair| pair);
    for (acc, (factor, other)) in accs.iter_mut().zip(factors) {
        acc.n += times;
        match (&mut acc.sum, other) {
            (ExactSum::Float(sum), None) => sum.add(*factor, times),
            (ExactSum::Products(sum), Some(other)) => sum.add(*factor, *other, times),
            _ => {}
        }
    }
}

/// Computes the statistic; None for NULL.
pub fn finish(stat: Stat, accs: &[Acc]) -> Option<f64> {
    let n = accs.first().map_or(0, |acc| acc.n);
    match (stat.is_over_pairs(), accs) {
        (false, [x, xx, ..]) => finish_single(stat, n, as_float_sum(x)?, as_product_sum(xx)?),
        (true, [x, y, xy, xx, yy, ..]) => {
            let sums = PairSums {
                n,
                x: as_float_sum(x)?,
                y: as_float_sum(y)?,
                xy: as_product_sum(xy)?,
                xx: as_product_sum(xx)?,
                yy: as_product_sum(yy)?,
            };
            sums.finish_pairs(stat)
        }
        _ => None,
    }
}

fn as_float_sum(acc: &Acc) -> Option<&FloatSum> {
    if let ExactSum::Float(sum) = &acc.sum { Some(sum) } else { None }
}

fn as_product_sum(acc: &Acc) -> Option<&ProductSum> {
    if let ExactSum::Products(sum) = &acc.sum { Some(sum) } else { None }
}

/// Computes a statistic of one column.
fn finish_single(stat: Stat, n: i64, x: &FloatSum, xx: &ProductSum) -> Option<f64> {
    let sample = matches!(stat, Stat::VarSamp | Stat::StddevSamp);
    if n <= i64::from(sample) {
        return None;
    }
    // As in DataFusion, also for a value that is not finite.
    if n == 1 {
        return Some(0.0);
    }
    if !x.is_finite() {
        return Some(f64::NAN);
    }
    let variance =
        WideInteger::spread(n, xx, (x, x)).into_scaled().divide_by(n as f64 * (n - i64::from(sample)) as f64);
    let deviation = matches!(stat, Stat::StddevPop | Stat::StddevSamp);
    Some(if deviation { variance.sqrt().value() } else { variance.value() })
}

/// Sums over pairs.
struct PairSums<'a> {
    n: i64,
    x: &'a FloatSum,
    y: &'a FloatSum,
    xy: &'a ProductSum,
    xx: &'a ProductSum,
    yy: &'a ProductSum,
}

impl PairSums<'_> {
    /// Computes a statistic of pairs.
    fn finish_pairs(&self, stat: Stat) -> Option<f64> {
        let n = self.n;
        if n <= i64::from(stat == Stat::CovarSamp) {
            return None;
        }
        // NULL and NaN first, in DataFusion's order of precedence.
        let (over_x, over_y) = (self.x.is_finite(), self.y.is_finite());
        match stat {
            Stat::RegrAvgx => return Some(self.x.value() / n as f64),
            Stat::RegrAvgy => return Some(self.y.value() / n as f64),
            Stat::Corr if !over_x && !over_y => return Some(f64::NAN),
            Stat::Corr | Stat::RegrSlope | Stat::RegrIntercept | Stat::RegrR2 if n < 2 => return None,
            Stat::Corr if !over_x || !over_y => return None,
            Stat::RegrSxx if over_x => {}
            Stat::RegrSyy if over_y => {}
            _ if !over_x || !over_y => return Some(f64::NAN),
            _ => {}
        }
        let (xx, yy, xy) = (self.spread_x(), self.spread_y(), self.spread_xy());
        let count = n as f64;
        let result = match stat {
            Stat::CovarPop => xy.divide_by(count * count),
            Stat::CovarSamp => xy.divide_by(count * (n - 1) as f64),
            Stat::RegrSxx => xx.divide_by(count),
            Stat::RegrSyy => yy.divide_by(count),
            Stat::RegrSxy => xy.divide_by(count),
            Stat::Corr if xx.is_zero() || yy.is_zero() => return None,
            // A constant y is fully determined by x.
            Stat::RegrR2 if yy.is_zero() && !xx.is_zero() => return Some(1.0),
            Stat::RegrR2 if xx.is_zero() => return None,
            Stat::Corr => return Some(xy.divide(xx.times(yy).sqrt()).value().clamp(-1.0, 1.0)),
            Stat::RegrR2 => return Some(xy.times(xy).divide(xx.times(yy)).value().min(1.0)),
            _ if xx.is_zero() => return None,
            Stat::RegrSlope => xy.divide(xx),
            Stat::RegrIntercept => {
                WideInteger::cross_difference((self.y, self.xx), (self.x, self.xy)).into_scaled().divide(xx)
            }
            _ => return None,
        };
        Some(result.value())
    }

    fn spread_xy(&self) -> Scaled {
        WideInteger::spread(self.n, self.xy, (self.x, self.y)).into_scaled()
    }

    fn spread_x(&self) -> Scaled {
        WideInteger::spread(self.n, self.xx, (self.x, self.x)).into_scaled()
    }

    fn spread_y(&self) -> Scaled {
        WideInteger::spread(self.n, self.yy, (self.y, self.y)).into_scaled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};

    fn of(stat: Stat, values: &[(f64, Option<f64>)]) -> Option<f64> {
        let mut accs = empty(stat);
        values.iter().for_each(|value| add(&mut accs, *value, 1));
        finish(stat, &accs)
    }

    fn single_of(stat: Stat, values: &[f64]) -> Option<f64> {
        of(stat, &values.iter().map(|x| (*x, None)).collect::<Vec<_>>())
    }

    fn near(found: Option<f64>, wanted: f64) {
        let found = found.unwrap();
        let same = (found - wanted).abs() <= 4.0 * f64::EPSILON * wanted.abs();
        assert!(same, "{found:e}, wanted {wanted:e}");
    }

    /// Whole numbers below 2^40, where n * sum(x * x) - sum(x)^2 fits 128 bits.
    #[test]
    fn variance_of_whole_numbers_is_that_of_128_bits() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(21);
        for round in 0..2000i64 {
            let offset = [0, 1_000_000_000, -1_000_000_000_000, 1 << 39][round as usize % 4];
            let width = [2, 10, 1000, 1 << 30][rng.random_range(0..4)];
            let n = rng.random_range(2..50);
            let whole: Vec<i64> = (0..n).map(|_| offset + rng.random_range(0..width)).collect();
            let sum: i128 = whole.iter().map(|x| i128::from(*x)).sum();
            let squares: i128 = whole.iter().map(|x| i128::from(*x) * i128::from(*x)).sum();
            let spread = i128::from(n) * squares - sum * sum;
            let mut accs = empty(Stat::VarPop);
            whole.iter().for_each(|x| add(&mut accs, (*x as f64, None), 3));
            // Values that are added and removed leave no trace.
            let strange = [1e300, -1e-300, f64::MIN_POSITIVE / 8.0, f64::NAN, f64::INFINITY, 0.1];
            strange.iter().for_each(|x| add(&mut accs, (*x, None), 7));
            whole.iter().for_each(|x| add(&mut accs, (*x as f64, None), -2));
            strange.iter().for_each(|x| add(&mut accs, (*x, None), -7));
            let n = i128::from(n);
            near(finish(Stat::VarPop, &accs), spread as f64 / (n * n) as f64);
            near(finish(Stat::VarSamp, &accs), spread as f64 / (n * (n - 1)) as f64);
            near(finish(Stat::StddevPop, &accs), (spread as f64 / (n * n) as f64).sqrt());
            let mut bytes = vec![];
            crate::functions::sums::accum::Accums::new(1, accs.iter().cloned())
                .to_bytes()
                .clone_into(&mut bytes);
            let read = crate::functions::sums::accum::Accums::from_bytes(&bytes).unwrap();
            assert_eq!(read.accs(), &accs[..]);
            whole.iter().for_each(|x| add(&mut accs, (*x as f64, None), -1));
            assert!(accs.iter().all(|acc| acc.n == 0));
            assert!(as_float_sum(&accs[0]).unwrap().is_zero() && as_product_sum(&accs[1]).unwrap().is_zero());
        }
    }

    #[test]
    fn pairs_of_whole_numbers_are_those_of_128_bits() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(22);
        for round in 0..2000i64 {
            let offset = [0, 1_000_000_000, -(1 << 33)][round as usize % 3];
            let n = rng.random_range(3..40);
            let mut draw = || i128::from(offset + rng.random_range(-1000..1000i64));
            let whole: Vec<(i128, i128)> = (0..n).map(|_| (draw(), draw())).collect();
            let values: Vec<_> = whole.iter().map(|(x, y)| (*x as f64, Some(*y as f64))).collect();
            let sum = |each: fn(&(i128, i128)) -> i128| whole.iter().map(each).sum::<i128>();
            let (x, y) = (sum(|p| p.0), sum(|p| p.1));
            let n = i128::from(n);
            let xx = n * sum(|p| p.0 * p.0) - x * x;
            let yy = n * sum(|p| p.1 * p.1) - y * y;
            let xy = n * sum(|p| p.0 * p.1) - x * y;
            if xx == 0 || yy == 0 {
                continue;
            }
            let (fx, fy, fxy) = (xx as f64, yy as f64, xy as f64);
            near(of(Stat::CovarPop, &values), fxy / (n * n) as f64);
            near(of(Stat::CovarSamp, &values), fxy / (n * (n - 1)) as f64);
            near(of(Stat::Corr, &values), fxy / (fx * fy).sqrt());
            near(of(Stat::RegrSlope, &values), fxy / fx);
            near(of(Stat::RegrR2, &values), fxy * fxy / (fx * fy));
            near(of(Stat::RegrSxx, &values), fx / n as f64);
            near(of(Stat::RegrSyy, &values), fy / n as f64);
            near(of(Stat::RegrSxy, &values), fxy / n as f64);
            near(of(Stat::RegrAvgx, &values), x as f64 / n as f64);
            near(of(Stat::RegrAvgy, &values), y as f64 / n as f64);
            // (y * sum(xx) - x * sum(xy)) / (n * sum(xx) - x * x): each product is below 2^127.
            let intercept = y * sum(|p| p.0 * p.0) - x * sum(|p| p.0 * p.1);
            near(of(Stat::RegrIntercept, &values), intercept as f64 / fx);
        }
    }

    /// Multiplying all values by a power of two multiplies the variance by its square, to the last bit.
    #[test]
    fn variance_does_not_depend_on_the_scale() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(23);
        for _ in 0..500 {
            let values: Vec<f64> = (0..9).map(|_| 1e9 + rng.random::<f64>()).collect();
            let variance = single_of(Stat::VarSamp, &values).unwrap();
            for power in [-500, -33, -1, 1, 7, 400] {
                let factor = 2f64.powi(power);
                let scaled: Vec<f64> = values.iter().map(|x| x * factor).collect();
                assert_eq!(single_of(Stat::VarSamp, &scaled).unwrap(), variance * factor * factor);
            }
            // Distances from the first value are exact, and so small that doubles do for the check.
            let from: Vec<f64> = values.iter().map(|x| x - values[0]).collect();
            let mean = from.iter().sum::<f64>() / 9.0;
            let check = from.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / 8.0;
            assert!((variance - check).abs() <= 1e-13 * check, "{variance} {check}");
        }
        assert_eq!(single_of(Stat::VarPop, &[1e200; 5]), Some(0.0));
        assert_eq!(single_of(Stat::StddevPop, &[0.1; 7]), Some(0.0));
        assert_eq!(single_of(Stat::StddevPop, &[1e200, -1e200]), Some(1e200));
        assert_eq!(single_of(Stat::VarPop, &[1e200, -1e200]), Some(f64::INFINITY));
        assert_eq!(single_of(Stat::VarPop, &[f64::MAX, f64::MIN]), Some(f64::INFINITY));
        assert_eq!(single_of(Stat::StddevPop, &[5e-324, -5e-324]), Some(5e-324));
    }

    #[test]
    fn few_values_and_values_that_are_not_finite() {
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        assert_eq!(single_of(Stat::VarPop, &[]), None);
        assert_eq!(single_of(Stat::VarSamp, &[3.0]), None);
        assert_eq!(single_of(Stat::VarPop, &[3.0]), Some(0.0));
        assert_eq!(single_of(Stat::StddevPop, &[nan]), Some(0.0));
        assert!(single_of(Stat::VarPop, &[1.0, inf]).unwrap().is_nan());
        assert!(single_of(Stat::StddevSamp, &[1.0, nan]).unwrap().is_nan());
        let pair = |x: f64, y: f64| (x, Some(y));
        assert_eq!(of(Stat::CovarSamp, &[pair(1.0, 2.0)]), None);
        assert_eq!(of(Stat::CovarPop, &[pair(1.0, 2.0)]), Some(0.0));
        assert_eq!(of(Stat::Corr, &[pair(1.0, 2.0), pair(1.0, 3.0)]), None);
        assert_eq!(of(Stat::Corr, &[pair(1.0, nan), pair(2.0, 3.0)]), None);
        assert!(of(Stat::Corr, &[pair(inf, nan), pair(2.0, 3.0)]).unwrap().is_nan());
        assert_eq!(of(Stat::RegrSlope, &[pair(1.0, 2.0), pair(1.0, 3.0)]), None);
        assert_eq!(of(Stat::RegrSlope, &[pair(1.0, 2.0), pair(2.0, 2.0)]), Some(0.0));
        assert_eq!(of(Stat::RegrIntercept, &[pair(1.0, 2.0), pair(2.0, 3.0)]), Some(1.0));
        assert!(of(Stat::RegrSxy, &[pair(1.0, inf), pair(2.0, 2.0)]).unwrap().is_nan());
        assert_eq!(of(Stat::RegrSxx, &[pair(1.0, inf), pair(2.0, 2.0)]), Some(0.5));
    }
}
