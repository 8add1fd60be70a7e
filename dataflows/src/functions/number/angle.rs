//! Angles: trigonometric functions in radians and in degrees.
//!
//! The functions in degrees are scaled so that they are exact where the exact value is known (the sine of 30
//! degrees is 0.5), by the method of PostgreSQL. An infinite angle is an error, as is a ratio outside -1 to
//! 1.

use crate::functions::eval::about::{About, about};
use crate::functions::eval::own::{Answer, Def, Gives, Kind, def, double, double_within};
use crate::functions::eval::value::{Out, Value};

use Kind::Double;

/// The definitions of these functions.
pub(in crate::functions) const TABLE: &[Def] = &[
    double_within("sin", check_finite, f64::sin),
    double_within("cos", check_finite, f64::cos),
    double_within("tan", check_finite, f64::tan),
    double_within("cot", check_finite, cotangent),
    double_within("asin", check_ratio, f64::asin),
    double_within("acos", check_ratio, f64::acos),
    double("atan", &[Double], Gives::Double, f64::atan),
    double("sinh", &[Double], Gives::Double, f64::sinh),
    double("cosh", &[Double], Gives::Double, f64::cosh),
    double("tanh", &[Double], Gives::Double, f64::tanh),
    double("asinh", &[Double], Gives::Double, f64::asinh),
    double_within("acosh", check_cosine, f64::acosh),
    double_within("atanh", check_ratio, f64::atanh),
    def("degrees", &[Double], Gives::Double, to_degrees),
    def("radians", &[Double], Gives::Double, to_radians),
    double_within("sind", check_finite, sind),
    double_within("cosd", check_finite, cosd),
    double_within("tand", check_finite, tand),
    double_within("cotd", check_finite, cotd),
    double_within("asind", check_ratio, arcsine_degrees),
    double_within("acosd", check_ratio, arccosine_degrees),
    double("atand", &[Double], Gives::Double, arctangent_degrees),
    def("atan2", &[Double, Double], Gives::Double, point_angle).total(),
    def("atan2d", &[Double, Double], Gives::Double, point_degrees).total(),
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

/// Refuses an infinite angle.
fn check_finite(x: f64) -> Result<(), String> {
    if x.is_infinite() { Err(OUTSIDE.to_owned()) } else { Ok(()) }
}

/// Refuses a ratio outside -1 to 1.
fn check_ratio(x: f64) -> Result<(), String> {
    if (-1.0..=1.0).contains(&x) || x.is_nan() { Ok(()) } else { Err(OUTSIDE.to_owned()) }
}

/// Refuses a number that no hyperbolic cosine has.
fn check_cosine(x: f64) -> Result<(), String> {
    if x < 1.0 { Err(OUTSIDE.to_owned()) } else { Ok(()) }
}

fn cotangent(x: f64) -> f64 {
    1.0 / x.tan()
}

fn to_degrees(v: &[Value<'_>]) -> Answer {
    let x = v[0].double();
    super::check_range(x / DEGREE, x.is_finite(), x != 0.0)
}

fn to_radians(v: &[Value<'_>]) -> Answer {
    let x = v[0].double();
    super::check_range(x * DEGREE, x.is_finite(), x != 0.0)
}

fn point_angle(v: &[Value<'_>]) -> Answer {
    Ok(Out::Double(v[0].double().atan2(v[1].double())))
}

fn point_degrees(v: &[Value<'_>]) -> Answer {
    Ok(Out::Double(v[0].double().atan2(v[1].double()) / 1f64.atan() * 45.0))
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

fn tand(x: f64) -> f64 {
    tangent(x, |x| sine(x) / cosine(x))
}

fn cotd(x: f64) -> f64 {
    tangent(x, |x| cosine(x) / sine(x))
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

/// Returns the degrees of a sine from -1 to 1.
fn arcsine_degrees(x: f64) -> f64 {
    if x < 0.0 { -asind(-x) } else { asind(x) }
}

/// Returns the degrees of a cosine from -1 to 1.
fn arccosine_degrees(x: f64) -> f64 {
    if x < 0.0 { 90.0 + asind(-x) } else { acosd(x) }
}

fn arctangent_degrees(x: f64) -> f64 {
    x.atan() / 1f64.atan() * 45.0
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
