//! The suite every device must pass: each operation, forward and backward, beside the plain loops.
//!
//! A [`Case`] runs one operation on any device from inputs that depend on the case alone. Outputs
//! are filled with NaN first, so that a place left unwritten, or added to instead of overwritten,
//! shows. To hold a device to the contract:
//!
//! ```
//! # let device = alexnet_ops::Reference::<f32>::new();
//! let failures = alexnet_ops::conformance::check(&device);
//! assert!(failures.is_empty(), "{failures:#?}");
//! ```

mod cases;
mod run;

use crate::{Device, Reference};
pub use cases::{Case, Levels, Windows, cases};

/// Largest difference allowed, as a share of the largest magnitude in the output: a few hundred
/// roundings of `f32`, what sums of some thousand products in another order may differ by.
pub const TOLERANCE: f32 = 2e-5;

/// What one operation wrote: the output's name and its values.
pub type Outputs = Vec<(&'static str, Vec<f32>)>;

/// An output that differs from the reference.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The case, in words.
    pub case: String,
    /// Which of its outputs.
    pub output: &'static str,
    /// Where it differs most.
    pub index: usize,
    /// What the reference has there.
    pub expected: f32,
    /// What the device has there.
    pub found: f32,
    /// The difference over the largest magnitude of the reference's output.
    pub error: f32,
}

/// Runs every case on `device` and on the reference; returns what differs.
pub fn check<D: Device>(device: &D) -> Vec<Failure> {
    let reference = Reference::<f32>::new();
    let mut failures = Vec::new();
    for case in cases() {
        let (expected, found) = (case.run(&reference), case.run(device));
        for ((output, expected), (_, found)) in expected.iter().zip(&found) {
            failures.extend(compare(&format!("{case:?}"), output, expected, found, TOLERANCE));
        }
    }
    failures
}

/// The place where two outputs differ most, if that is more than `tolerance` times the largest
/// magnitude expected, or only one of them is a number.
///
/// # Panics
/// When the outputs differ in length.
pub fn compare(
    case: &str,
    output: &'static str,
    expected: &[f32],
    found: &[f32],
    tolerance: f32,
) -> Option<Failure> {
    assert_eq!(expected.len(), found.len(), "{case}: {output}");
    let largest = expected.iter().fold(0.0_f32, |a, b| a.max(b.abs())).max(f32::MIN_POSITIVE);
    let error = |i: usize| {
        let difference = (expected[i] - found[i]).abs() / largest;
        match (expected[i].is_nan(), found[i].is_nan()) {
            (true, true) => 0.0,
            _ if difference.is_nan() => f32::INFINITY,
            _ => difference,
        }
    };
    let index = (0..expected.len()).max_by(|&a, &b| error(a).total_cmp(&error(b)))?;
    let failure = Failure {
        case: case.to_owned(),
        output,
        index,
        expected: expected[index],
        found: found[index],
        error: error(index),
    };
    (failure.error > tolerance).then_some(failure)
}

/// Reproducible values in −1..1: element `index` of array `salt`. The same integer hash as in
/// `goldens/common.py`.
pub fn value(index: usize, salt: u32) -> f32 {
    let mut h =
        (index as u32).wrapping_mul(0x9E37_79B1).wrapping_add(salt.wrapping_mul(0x85EB_CA77));
    h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
    h = (h ^ (h >> 12)).wrapping_mul(0x297A_2D39);
    h ^= h >> 15;
    (h >> 8) as f32 / (1 << 23) as f32 - 1.0
}

/// [`value`]s `0..len`, times `scale`.
pub fn values(len: usize, salt: u32, scale: f32) -> Vec<f32> {
    (0..len).map(|i| value(i, salt) * scale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_passes_its_own_suite_and_leaves_no_output_unwritten() {
        let failures = check(&Reference::<f32>::new());
        assert!(failures.is_empty(), "{failures:#?}");
    }

    #[test]
    fn the_suite_sees_a_difference_a_nan_and_nothing_else() {
        let expected = [1.0, -2.0, 0.5];
        assert_eq!(compare("case", "y", &expected, &expected, TOLERANCE), None);
        let spoilt = [f32::NAN, -2.0, 0.5];
        assert_eq!(compare("case", "y", &spoilt, &spoilt, TOLERANCE), None);
        for (expected, found, index) in
            [(expected, [1.0, -2.0, 0.6], 2), (expected, spoilt, 0), (spoilt, expected, 0)]
        {
            let failure = compare("case", "y", &expected, &found, TOLERANCE).expect("a failure");
            assert_eq!(failure.index, index);
        }
    }
}
