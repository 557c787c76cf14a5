//! Softmax on the host: what a person is told of the outputs.

/// Probabilities of one image's `logits`, in `f64`. The largest is taken away first, so that
/// nothing overflows.
pub fn softmax(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> =
        logits.iter().map(|&logit| (f64::from(logit) - f64::from(largest)).exp()).collect();
    let total: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / total).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one_however_large_the_logits() {
        assert_eq!(softmax(&[1e38, 1e38, -3e38]), [0.5, 0.5, 0.0]);
    }
}
