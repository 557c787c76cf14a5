//! Loss and accuracy, counted.

use serde::{Deserialize, Serialize};

/// Labels among the first so many count as found.
pub const TOP: usize = 5;

/// Running counts over images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Images counted.
    pub images: u64,
    /// Sum of their losses.
    pub loss_sum: f64,
    /// Images whose label is the largest output.
    pub top1: u64,
    /// Images whose label is among the five largest.
    pub top5: u64,
}

/// What the counts come to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Metrics {
    /// Images counted.
    pub images: u64,
    /// Mean cross-entropy.
    pub loss: f64,
    /// Share of images whose label is the largest output.
    pub top1_accuracy: f64,
    /// Share of images whose label is among the five largest.
    pub top5_accuracy: f64,
}

impl Totals {
    /// Counts one image by its outputs (logits or probabilities).
    pub fn add(&mut self, outputs: &[f32], label: u32, loss: f64) {
        let rank = rank(outputs, label as usize);
        self.images += 1;
        self.loss_sum += loss;
        self.top1 += u64::from(rank < 1);
        self.top5 += u64::from(rank < TOP);
    }

    /// Counts one image that could not be read.
    pub fn add_wrong(&mut self, loss: f64) {
        self.images += 1;
        self.loss_sum += loss;
    }

    /// Means of the counts; of nothing, zeros.
    pub fn metrics(&self) -> Metrics {
        let images = self.images.max(1) as f64;
        Metrics {
            images: self.images,
            loss: self.loss_sum / images,
            top1_accuracy: self.top1 as f64 / images,
            top5_accuracy: self.top5 as f64 / images,
        }
    }
}

/// How many classes come before `label`: those with a larger output, and among equals the earlier
/// ones. An output that is not a number comes before all, so that it never counts as found.
pub(crate) fn rank(outputs: &[f32], label: usize) -> usize {
    let own = outputs[label];
    let before = |(class, &other): (usize, &f32)| {
        other > own || other.is_nan() || own.is_nan() || (other == own && class < label)
    };
    outputs.iter().enumerate().filter(|&at| at.0 != label && before(at)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn means_are_over_the_images_counted() {
        let mut totals = Totals::default();
        totals.add(&[0.1, 0.9], 1, 0.5);
        totals.add(&[0.1, 0.9], 0, 1.5);
        let expected = Metrics { images: 2, loss: 1.0, top1_accuracy: 0.5, top5_accuracy: 1.0 };
        assert_eq!(totals.metrics(), expected);
    }
}
