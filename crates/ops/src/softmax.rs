//! Softmax and ranks: what a person is told of the outputs.

use crate::real::Real;

/// Probabilities of one image's `logits`, in `f64`. The largest is taken away first, so that
/// nothing overflows.
pub fn softmax(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> =
        logits.iter().map(|&logit| (f64::from(logit) - f64::from(largest)).exp()).collect();
    let total: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / total).collect()
}

/// How many classes come before `label`: those with a larger output, and among equals the earlier
/// ones. An output that is not a number comes before all, so that it never counts as found.
pub fn rank<T: Real>(outputs: &[T], label: usize) -> usize {
    let own = outputs[label];
    let before = |(class, &other): (usize, &T)| {
        other > own || other.is_nan() || own.is_nan() || (other == own && class < label)
    };
    outputs.iter().enumerate().filter(|&at| at.0 != label && before(at)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one_however_large_the_logits() {
        assert_eq!(softmax(&[1e38, 1e38, -3e38]), [0.5, 0.5, 0.0]);
    }

    #[test]
    fn labels_are_ranked_by_output_with_equals_in_class_order() {
        let cases = [
            (vec![3.0, 2.0, 1.0], 0, 0),
            (vec![3.0, 2.0, 1.0], 2, 2),
            (vec![1.0, 1.0, 1.0], 0, 0),
            (vec![1.0, 1.0, 1.0], 2, 2),
            (vec![f32::NAN, 5.0], 1, 1),
            (vec![f32::NAN, 5.0], 0, 1),
        ];
        for (outputs, label, expected) in cases {
            assert_eq!(rank(&outputs, label), expected, "{outputs:?}, {label}");
        }
    }
}
