//! Angles: trigonometric functions in radians and in degrees.
//!
//! The functions in degrees are scaled so that they are exact where the exact value is known (the sine of 30
//! degrees is 0.5), by the method of PostgreSQL. An infinite angle is an error, as is a ratio outside -1 to
//! 1.

use crate::functions::eval::about::{About, about};
use crate::functions::eval::own::{Answer, Def, Gives, Kind, def};
use crate::functions::eval::value::Out;

use Kind::Double;

/// Makes a definition of one argument.
macro_rules! angle {
    ($name:literal, $of:expr) => {
        def($name, &[Double], Gives::Double, |v, _| {
            let of: fn(f64) -> Answer = $of;
            of(v[0].double())
        })
    };
}

/// The definitions of these functions.
pub(in crate::functions) const TABLE: &[Def] = &[
    angle!("sin", |x| of_finite(x, f64::sin)),
    angle!("cos", |x| of_finite(x, f64::cos)),
    angle!("tan", |x| of_finite(x, f64::tan)),
    angle!("cot", |x| of_finite(x, |x| 1.0 / x.tan())),
    angle!("asin", |x| of_ratio(x, f64::asin)),
    angle!("acos", |x| of_ratio(x, f64::acos)),
    angle!("atan", |x| Ok(x.atan().into())),
    angle!("sinh", |x| Ok(x.sinh().into())),
    angle!("cosh", |x| Ok(x.cosh().into())),
    angle!("tanh", |x| Ok(x.tanh().into())),
    angle!("asinh", |x| Ok(x.asinh().into())),
    angle!("acosh", |x| if x < 1.0 { Err(OUTSIDE.to_owned()) } else { Ok(x.acosh().into()) }),
    angle!("atanh", |x| of_ratio(x, f64::atanh)),
    angle!("degrees", |x| super::check_range(x / DEGREE, x.is_finite(), x != 0.0)),
    angle!("radians", |x| super::check_range(x * DEGREE, x.is_finite(), x != 0.0)),
    angle!("sind", |x| of_finite(x, sind)),
    angle!("cosd", |x| of_finite(x, cosd)),
    angle!("tand", |x| of_finite(x, |x| tangent(x, |x| sine(x) / cosine(x)))),
    angle!("cotd", |x| of_finite(x, |x| tangent(x, |x| cosine(x) / sine(x)))),
    angle!("asind", |x| of_ratio(x, |x| if x < 0.0 { -asind(-x) } else { asind(x) })),
    angle!("acosd", |x| of_ratio(x, |x| if x < 0.0 { 90.0 + asind(-x) } else { acosd(x) })),
    angle!("atand", |x| Ok((x.atan() / 1f64.atan() * 45.0).into())),
    def("atan2", &[Double, Double], Gives::Double, |v, _| Ok(v[0].double().atan2(v[1].double()).into()))
        .total(),
    def("atan2d", &[Double, Double], Gives::Double, |v, _| {
        Ok(Out::Double(v[0].double().atan2(v[1].double()) / 1f64.atan() * 45.0))
    })
    .total(),
];

/// The lines of the reference pages about these functions.
pub(in crate::functions) const ABOUT: &[About] = &[
    about("sin", "Sine of an angle in radians."),
    about("cos", "Cosine of an angle in radians."),
    about("tan", "Tangent of an angle in radians."),
    about("cot", "Cotangent of an angle in radians."),
    about("asin", "Angle of a sine, in radians."),
    about("acos", "Angle of a cosine, in radians."),
    about("atan", "Angle of a tangent, in radians."),
    about("atan2", "Angle of the point (x, y) in radians: `atan2(y, x)`."),
    about("sinh", "Hyperbolic sine."),
    about("cosh", "Hyperbolic cosine."),
    about("tanh", "Hyperbolic tangent."),
    about("asinh", "Inverse hyperbolic sine."),
    about("acosh", "Inverse hyperbolic cosine."),
    about("atanh", "Inverse hyperbolic tangent."),
    about("degrees", "Radians in degrees."),
    about("radians", "Degrees in radians."),
    about("sind", "Sine of an angle in degrees."),
    about("cosd", "Cosine of an angle in degrees."),
    about("tand", "Tangent of an angle in degrees."),
    about("cotd", "Cotangent of an angle in degrees."),
    about("asind", "Angle of a sine, in degrees."),
    about("acosd", "Angle of a cosine, in degrees."),
    about("atand", "Angle of a tangent, in degrees."),
    about("atan2d", "Angle of the point (x, y) in degrees: `atan2d(y, x)`."),
];

/// Radians of one degree.
const DEGREE: f64 = std::f64::consts::PI / 180.0;
const OUTSIDE: &str = "input is out of range";

fn of_finite(x: f64, of: fn(f64) -> f64) -> Answer {
    if x.is_infinite() { Err(OUTSIDE.to_owned()) } else { Ok(of(x).into()) }
}

fn of_ratio(x: f64, of: fn(f64) -> f64) -> Answer {
    if (-1.0..=1.0).contains(&x) || x.is_nan() { Ok(of(x).into()) } else { Err(OUTSIDE.to_owned()) }
}

/// Returns the sine of 0 to 30 degrees.
fn small_sine(x: f64) -> f64 {
    x.to_radians().sin() / 30f64.to_radians().sin() / 2.0
}

/// Returns the cosine of 0 to 60 degrees.
fn large_cosine(x: f64) -> f64 {
    1.0 - (1.0 - x.to_radians().cos()) / (1.0 - 60f64.to_radians().cos()) / 2.0
}

/// Returns the sine of 0 to 90 degrees.
fn sine(x: f64) -> f64 {
    if x <= 30.0 { small_sine(x) } else { large_cosine(90.0 - x) }
}

/// Returns the cosine of 0 to 90 degrees.
fn cosine(x: f64) -> f64 {
    if x <= 60.0 { large_cosine(x) } else { small_sine(90.0 - x) }
}

fn sind(x: f64) -> f64 {
    let (turned, mut sign) = (x % 360.0, 1.0);
    let mut angle = turned.abs();
    if turned < 0.0 {
        sign = -sign;
    }
    if angle > 180.0 {
        angle = 360.0 - angle;
        sign = -sign;
    }
    if angle > 90.0 {
        angle = 180.0 - angle;
    }
    sign * sine(angle)
}

fn cosd(x: f64) -> f64 {
    let mut angle = (x % 360.0).abs();
    let mut sign = 1.0;
    if angle > 180.0 {
        angle = 360.0 - angle;
    }
    if angle > 90.0 {
        angle = 180.0 - angle;
        sign = -sign;
    }
    sign * cosine(angle)
}

/// Returns the tangent or cotangent, given as a `ratio` of sine and cosine, scaled to be exactly 1 for 45
/// degrees.
fn tangent(x: f64, ratio: fn(f64) -> f64) -> f64 {
    let turned = x % 360.0;
    // `-0.0 < 0.0` is false: a negative zero takes the second branch.
    let (mut angle, mut sign) = if turned < 0.0 { (-turned, -1.0) } else { (turned, 1.0) };
    if angle > 180.0 {
        angle = 360.0 - angle;
        sign = -sign;
    }
    if angle > 90.0 {
        angle = 180.0 - angle;
        sign = -sign;
    }
    sign * (ratio(angle) / ratio(45.0)) + 0.0
}

/// Returns the degrees of a sine from 0 to 1.
fn asind(x: f64) -> f64 {
    if x <= 0.5 { x.asin() / 0.5f64.asin() * 30.0 } else { 90.0 - x.acos() / 0.5f64.acos() * 60.0 }
}

/// Returns the degrees of a cosine from 0 to 1.
fn acosd(x: f64) -> f64 {
    if x <= 0.5 { 90.0 - x.asin() / 0.5f64.asin() * 30.0 } else { x.acos() / 0.5f64.acos() * 60.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_angles_are_exact() {
        assert_eq!([sind(30.0), sind(150.0), sind(-90.0), sind(180.0)], [0.5, 0.5, -1.0, 0.0]);
        assert_eq!([cosd(60.0), cosd(120.0), cosd(-180.0), cosd(90.0)], [0.5, -0.5, -1.0, 0.0]);
        assert_eq!([45.0, 135.0, 180.0].map(|x| tangent(x, |x| sine(x) / cosine(x))), [1.0, -1.0, 0.0]);
        assert_eq!([asind(0.5), asind(1.0), acosd(0.5), acosd(0.0)], [30.0, 90.0, 60.0, 90.0]);
    }
}
