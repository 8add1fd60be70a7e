//! Statistics of one or two columns of doubles, from exact sums.
//!
//! The accumulators of a statistic stand side by side: of one column x the sums of x and x * x; of
//! pairs the sums of x, y, x * y, x * x and y * y, over the pairs without NULL. Each result is a
//! quotient of whole numbers made of them, rounded where it is divided. NaN and infinities have the
//! effect they have in DataFusion: a variance of one value is 0 whatever the value, of more values
//! with one that is not finite it is NaN; a correlation with such values on one side is NULL.

use super::accum::{Acc, Sum};
use super::float_sum::FloatSum;
use super::product_sum::{ProductSum, Scaled, Whole};
use crate::plan::aggregate::Stat;

/// Empty accumulators of a statistic.
pub fn empty(stat: Stat) -> Vec<Acc> {
    let sum = || Acc { n: 0, sum: Sum::Float(Box::default()) };
    let products = || Acc { n: 0, sum: Sum::Products(Box::default()) };
    match stat.pairs() {
        false => vec![sum(), products()],
        true => vec![sum(), sum(), products(), products(), products()],
    }
}

/// Adds a pair of values (x, y); without y, a value of one column.
pub fn add(accs: &mut [Acc], (x, y): (f64, Option<f64>), times: i64) {
    let of_pairs = |y| [(x, None), (y, None), (x, Some(y)), (x, Some(x)), (y, Some(y))];
    let (single, pair) = ([(x, None), (x, Some(x))], y.map(of_pairs));
    let factors: &[(f64, Option<f64>)] = pair.as_ref().map_or(&single, |pair| pair);
    let finite = x.is_finite() && y.is_none_or(f64::is_finite);
    for (acc, (factor, other)) in accs.iter_mut().zip(factors) {
        acc.n += times;
        match (&mut acc.sum, other) {
            (Sum::Float(sum), None) => sum.add(*factor, times),
            (Sum::Products(sum), Some(other)) if finite => sum.add(*factor, *other, times),
            _ => {}
        }
    }
}

/// The statistic; None for NULL.
pub fn finish(stat: Stat, accs: &[Acc]) -> Option<f64> {
    let n = accs.first().map_or(0, |acc| acc.n);
    match (stat.pairs(), accs) {
        (false, [x, xx, ..]) => single(stat, n, float(x)?, products(xx)?),
        (true, [x, y, xy, xx, yy, ..]) => {
            let sums = Pairs {
                n,
                x: float(x)?,
                y: float(y)?,
                xy: products(xy)?,
                xx: products(xx)?,
                yy: products(yy)?,
            };
            sums.finish(stat)
        }
        _ => None,
    }
}

fn float(acc: &Acc) -> Option<&FloatSum> {
    if let Sum::Float(sum) = &acc.sum { Some(sum) } else { None }
}

fn products(acc: &Acc) -> Option<&ProductSum> {
    if let Sum::Products(sum) = &acc.sum { Some(sum) } else { None }
}

fn single(stat: Stat, n: i64, x: &FloatSum, xx: &ProductSum) -> Option<f64> {
    let sample = matches!(stat, Stat::VarSamp | Stat::StddevSamp);
    if n <= i64::from(sample) {
        return None;
    }
    if n == 1 {
        return Some(0.0);
    }
    if !x.is_finite() {
        return Some(f64::NAN);
    }
    let variance = Whole::spread(n, xx, (x, x)).scaled().over(n as f64 * (n - i64::from(sample)) as f64);
    let deviation = matches!(stat, Stat::StddevPop | Stat::StddevSamp);
    Some(if deviation { variance.root().value() } else { variance.value() })
}

/// Sums over pairs.
struct Pairs<'a> {
    n: i64,
    x: &'a FloatSum,
    y: &'a FloatSum,
    xy: &'a ProductSum,
    xx: &'a ProductSum,
    yy: &'a ProductSum,
}

impl Pairs<'_> {
    fn finish(&self, stat: Stat) -> Option<f64> {
        let n = self.n;
        if n <= i64::from(stat == Stat::CovarSamp) {
            return None;
        }
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
        let (xx, yy, xy) = (self.spread_x(), self.spread_y(), self.spread());
        let count = n as f64;
        let result = match stat {
            Stat::CovarPop => xy.over(count * count),
            Stat::CovarSamp => xy.over(count * (n - 1) as f64),
            Stat::RegrSxx => xx.over(count),
            Stat::RegrSyy => yy.over(count),
            Stat::RegrSxy => xy.over(count),
            Stat::Corr | Stat::RegrR2 if xx.is_zero() || yy.is_zero() => return None,
            Stat::Corr => return Some(xy.per(xx.times(yy).root()).value().clamp(-1.0, 1.0)),
            Stat::RegrR2 => return Some(xy.times(xy).per(xx.times(yy)).value().min(1.0)),
            _ if xx.is_zero() => return None,
            Stat::RegrSlope => xy.per(xx),
            Stat::RegrIntercept => Whole::crossed((self.y, self.xx), (self.x, self.xy)).scaled().per(xx),
            _ => return None,
        };
        Some(result.value())
    }

    fn spread(&self) -> Scaled {
        Whole::spread(self.n, self.xy, (self.x, self.y)).scaled()
    }

    fn spread_x(&self) -> Scaled {
        Whole::spread(self.n, self.xx, (self.x, self.x)).scaled()
    }

    fn spread_y(&self) -> Scaled {
        Whole::spread(self.n, self.yy, (self.y, self.y)).scaled()
    }
}
